package bisect_test

import (
	"bufio"
	"bytes"
	"fmt"
	"hash/fnv"
	"image"
	"image/color"
	"image/png"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/spicelane/spicelane/harness/bisect"
)

// git runs git in dir with some input.
func git(t testing.TB, dir, input string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "git %v: %s", args, out)
	return strings.TrimSpace(string(out))
}

// A commit of a repository that a test makes.
type commit struct {
	subject string
	files   map[string]string
	from    []int // indices of the parents; nil for the commit before
}

// repository makes a git repository with these commits. It returns its directory and the commits'
// names.
func repository(t testing.TB, commits []commit) (dir string, names []string) {
	t.Helper()
	dir = t.TempDir()
	git(t, dir, "", "init", "-q", "-b", "main")
	var b strings.Builder
	for i, c := range commits {
		fmt.Fprintf(&b, "commit refs/heads/main\nmark :%d\ncommitter Ann <ann@example.org> %d +0000\n", i+1, 1767225600+i*3600)
		fmt.Fprintf(&b, "data %d\n%s\n", len(c.subject), c.subject)
		from := c.from
		if from == nil && i > 0 {
			from = []int{i - 1}
		}
		for j, p := range from {
			fmt.Fprintf(&b, "%s :%d\n", []string{"from", "merge"}[min(j, 1)], p+1)
		}
		for name, text := range c.files {
			fmt.Fprintf(&b, "M 100644 inline %s\ndata %d\n%s\n", name, len(text), text)
		}
	}
	b.WriteString("done\n")
	git(t, dir, b.String(), "fast-import", "--quiet", "--done", "--export-marks=.git/marks")
	marks, err := os.ReadFile(filepath.Join(dir, ".git", "marks"))
	require.NoError(t, err)
	byMark := make(map[int]string)
	for line := range strings.Lines(string(marks)) {
		var mark int
		var name string
		_, err := fmt.Sscanf(line, ":%d %s", &mark, &name)
		require.NoError(t, err)
		byMark[mark] = name
	}
	for i := range commits {
		names = append(names, byMark[i+1])
	}
	git(t, dir, "", "reset", "-q", "--hard")
	return dir, names
}

// envClient turns the test binary into the test command of a search. Its value is a seed, which
// decides which tests have a bad day.
const envClient = "BISECT_TEST_CLIENT"

func TestMain(m *testing.M) {
	if seed := os.Getenv(envClient); seed != "" {
		os.Exit(client(seed))
	}
	goleak.VerifyTestMain(m)
}

// client sends bytes through the toy, and saves a picture of what arrived.
func client(seed string) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 3
	}
	args := []string{l.Addr().String()}
	h := fnv.New32a()
	fmt.Fprint(h, seed, filepath.Base(os.Getenv(bisect.EnvEvidence)))
	if h.Sum32()%10 < 3 {
		args = append(args, "bad day")
	}
	cmd := exec.Command("./toyproxy", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		return 2
	}
	defer cmd.Wait()
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return 2
	}
	conn, err := net.Dial("tcp", strings.TrimSpace(addr))
	if err != nil {
		return 2
	}
	sent := []byte("a picture of sixteen")
	go func() {
		conn.Write(sent)
		conn.(*net.TCPConn).CloseWrite()
	}()
	back, err := l.Accept()
	if err != nil {
		return 2
	}
	got, err := io.ReadAll(back)
	if err != nil {
		return 2
	}
	back.Close()
	conn.Close()
	img := image.NewGray(image.Rect(0, 0, len(got), 1))
	for i, c := range got {
		img.SetGray(i, 0, color.Gray{Y: c})
	}
	var b bytes.Buffer
	if png.Encode(&b, img) != nil || os.WriteFile(filepath.Join(os.Getenv(bisect.EnvEvidence), "screen.png"), b.Bytes(), 0o600) != nil {
		return 2
	}
	if !bytes.Equal(sent, got) {
		fmt.Printf("sent %q, got %q\n", sent, got)
		return 1
	}
	return 0
}
