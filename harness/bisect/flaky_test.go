//go:build !race

// These tests run other processes, which the race detector does not see.

package bisect_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/bisect"
	"github.com/spicelane/spicelane/internal/need"
)

// The toy is a TCP proxy in its own git repository. From one commit on, it always changes a byte of
// what it relays; before that commit, it does so in three of ten connections.
const toy = `// Command toyproxy relays one connection.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
)

const revision = %d

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	in, err := l.Accept()
	if err != nil {
		panic(err)
	}
	out, err := net.Dial("tcp", os.Args[1])
	if err != nil {
		panic(err)
	}
	r := bufio.NewReader(in)
	first, err := r.ReadByte()
	if err != nil {
		panic(err)
	}
	%s
	out.Write([]byte{first})
	io.Copy(out, r)
	out.(*net.TCPConn).CloseWrite()
}
`

const (
	toyGood = `if len(os.Args) > 2 { // a bad day
		first ^= 0x80
	}`
	toyBad = `first ^= 0x80 // faster`
)

// toyHistory returns the good commit and 40 more, of which the one with the given number is bad.
func toyHistory(fault int) []commit {
	var all []commit
	for i := range 41 {
		code := toyGood
		if i >= fault {
			code = toyBad
		}
		all = append(all, commit{subject: fmt.Sprintf("change %d", i), files: map[string]string{
			"main.go": fmt.Sprintf(toy, i, code), "go.mod": "module toyproxy\n\ngo 1.26\n"}})
	}
	return all
}

// toyConfig returns the configuration of the search for the toy's fault.
func toyConfig(t testing.TB, dir string, names []string) bisect.Config {
	self, err := os.Executable()
	require.NoError(t, err)
	return bisect.Config{Repository: dir, Good: names[0], Bad: names[len(names)-1], Build: "go build -ldflags='-s -w' -o toyproxy .",
		Test: []string{self}, Timeout: 5 * time.Minute}
}

// One search of a real proxy that is built at each commit, or twenty with SPICELANE_SOAK=full.
func TestAFlakyFaultOfAToyProxyIsFoundAmongFortyCommits(t *testing.T) {
	need.Long(t)
	searches := 1
	if os.Getenv("SPICELANE_SOAK") == "full" {
		searches = 20
	}
	random := rand.New(rand.NewPCG(11, 12))
	tests, good, flaky := 0, 0, 0
	for i := range searches {
		fault := 1 + random.IntN(40)
		dir, names := repository(t, toyHistory(fault))
		t.Setenv(envClient, fmt.Sprint("seed ", i))
		out := t.TempDir()
		r := search(t, out, toyConfig(t, dir, names))
		require.Equal(t, names[fault], r.First, "search %d: %s", i, r.Summary())
		require.Contains(t, r.Subject, fmt.Sprintf("change %d (Ann, ", fault))
		require.GreaterOrEqual(t, r.Probability, bisect.DefaultConfidence)
		for _, c := range r.Tests {
			require.NotEqual(t, bisect.Skip, c.Outcome, c.Reason)
			if slices.Index(names, c.Commit) >= fault {
				require.Equal(t, bisect.Bad, c.Outcome)
				continue
			}
			good++
			if c.Outcome == bisect.Bad {
				flaky++
			}
		}
		t.Logf("search %d: change %d after %d tests", i, fault, len(r.Tests))
		tests += len(r.Tests)
		requireEvidence(t, out, r, names, fault)
		require.Empty(t, git(t, dir, "", "status", "--porcelain", "--untracked-files=no", "--ignore-submodules"), "the user's repository is as it was")
		require.Equal(t, 1, strings.Count(git(t, dir, "", "worktree", "list"), "\n")+1, "the work tree has been removed")
	}
	t.Logf("%d of %d searches found the fault, %.1f tests each; %d of %d tests of good commits failed", searches, searches,
		float64(tests)/float64(searches), flaky, good)
}

// requireEvidence checks that both sides have their test, output and picture, on one page.
func requireEvidence(t *testing.T, out string, r *bisect.Result, names []string, fault int) {
	t.Helper()
	require.NotNil(t, r.GoodTest)
	require.NotNil(t, r.BadTest)
	require.Less(t, slices.Index(names, r.GoodTest.Commit), fault)
	require.GreaterOrEqual(t, slices.Index(names, r.BadTest.Commit), fault)
	b, err := os.ReadFile(filepath.Join(out, r.BadTest.Evidence, "output.log"))
	require.NoError(t, err)
	require.Contains(t, string(b), `sent "a picture of sixteen", got "\xe1 picture of sixteen"`)
	page, err := os.ReadFile(filepath.Join(out, bisect.PageFile))
	require.NoError(t, err)
	require.Equal(t, 2, bytes.Count(page, []byte(`<img src="data:image/png;base64,`)), "both pictures, side by side")
	require.Contains(t, string(page), "First bad commit: "+names[fault])
	var stored bisect.Result
	b, err = os.ReadFile(filepath.Join(out, bisect.ResultFile))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &stored))
	require.Equal(t, r.First, stored.First)
}
