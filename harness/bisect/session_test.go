package bisect_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/bisect"
	"github.com/spicelane/spicelane/harness/filewatch"
	"github.com/spicelane/spicelane/harness/internal/pagetest"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/need"
)

// search runs a whole search.
func search(t testing.TB, dir string, cfg bisect.Config) *bisect.Result {
	t.Helper()
	s, err := bisect.New(t.Context(), dir, cfg, io.Discard)
	require.NoError(t, err)
	defer s.Close()
	r, err := s.Run(t.Context())
	require.NoError(t, err)
	return r
}

// plain returns a history whose commits have a file "state"; the test is a shell command.
func plain(states ...string) []commit {
	var all []commit
	for i, s := range states {
		all = append(all, commit{subject: fmt.Sprint("change ", i), files: map[string]string{"state": s}})
	}
	return all
}

// shell is a test that passes for the state good, fails for bad, and otherwise ends with that status.
var shell = []string{"sh", "-c", `case $(cat state) in good) exit 0;; bad) exit 1;; *) exit $(cat state);; esac`}

func TestOnlyTheProductsFailuresAreEvidence(t *testing.T) {
	need.Long(t)
	t.Parallel()
	// Commits whose test ends with the harness's status (2), with the host's status (3), or by a
	// signal.
	dir, names := repository(t, plain("good", "good", "2", "good", "3", "125", "bad", "2", "bad"))
	r := search(t, t.TempDir(), bisect.Config{Repository: dir, Good: names[0], Bad: names[8], Test: shell})
	// 4 and 5 could not be tested, so the first bad one may be 4, 5 or 6.
	require.Empty(t, r.First)
	require.ElementsMatch(t, []string{names[4], names[5], names[6]}, r.Candidates)
	require.Equal(t, "the commits that could tell more cannot be tested", r.Why)
	require.Contains(t, r.Summary(), "the first bad commit is one of:\n    ")
	require.Equal(t, names[3], r.GoodTest.Commit)
}

func TestACommitThatDoesNotBuildSaysNothing(t *testing.T) {
	t.Parallel()
	dir, names := repository(t, plain("good", "good", "broken", "good", "bad", "bad", "broken", "bad"))
	r := search(t, t.TempDir(), bisect.Config{Repository: dir, Good: names[0], Bad: names[7], Build: "test $(cat state) != broken && echo built > product",
		Test: []string{"sh", "-c", "test -f product || exit 2; test $(cat state) = good"}})
	require.Equal(t, names[4], r.First, r.Summary())
	for _, c := range r.Tests {
		if i := slices.Index(names, c.Commit); i == 2 || i == 6 {
			require.Equal(t, bisect.Skip, c.Outcome)
			require.Equal(t, "it does not build", c.Reason)
		}
	}
}

func TestWhatABuildLeftIsNotThereForTheNextCommit(t *testing.T) {
	need.Long(t)
	t.Parallel()
	dir, names := repository(t, plain("good", "good", "bad", "bad"))
	// The test fails as soon as an untracked file is there before the build.
	build := "test ! -e left || exit 1; touch left"
	r := search(t, t.TempDir(), bisect.Config{Repository: dir, Good: names[0], Bad: names[3], Build: build, Test: shell})
	require.Equal(t, names[2], r.First)
	r = search(t, t.TempDir(), bisect.Config{Repository: dir, Good: names[0], Bad: names[3], Build: build, Test: shell, Keep: true})
	require.Empty(t, r.First, "with Keep it is there")
}

func TestAFaultOnAMergedBranchIsFound(t *testing.T) {
	need.Long(t)
	t.Parallel()
	state := func(s string) map[string]string { return map[string]string{"state": s} }
	dir, names := repository(t, []commit{
		{"base", state("good"), nil},
		{"main 1", state("good"), nil},
		{"topic 1", state("good"), []int{0}},
		{"topic 2", state("bad"), nil},
		{"topic 3", state("bad"), nil},
		{"main 2", state("good"), []int{1}},
		{"merge", state("bad"), []int{5, 4}},
		{"main 3", state("bad"), nil},
	})
	cfg := bisect.Config{Repository: dir, Good: names[0], Bad: names[7], Test: shell}
	require.Equal(t, names[3], search(t, t.TempDir(), cfg).First)
	cfg.FirstParent = true
	require.Equal(t, names[6], search(t, t.TempDir(), cfg).First, "the merge as a whole")
}

func TestNoCommitIsBlamedForATestThatAlwaysFails(t *testing.T) {
	need.Long(t)
	t.Parallel()
	dir, names := repository(t, plain("bad", "bad", "bad", "bad"))
	r := search(t, t.TempDir(), bisect.Config{Repository: dir, Good: names[0], Bad: names[3], Test: shell})
	require.Empty(t, r.First)
	require.Equal(t, "no commit changes how often the test fails", r.Why)
}

func TestThePageOfTestsThatPrintLongLinesFitsIntoAWindow(t *testing.T) {
	t.Parallel()
	dir, names := repository(t, plain("good", "bad"))
	out := t.TempDir()
	line := strings.Repeat("a line without an end ", 40)
	r := search(t, out, bisect.Config{Repository: dir, Good: names[0], Bad: names[1], Test: []string{"sh", "-c", "echo '" + line + "'; " + shell[2]}})
	require.Equal(t, names[1], r.First)
	page := filepath.Join(out, bisect.PageFile)
	b, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(string(b), line), "the output of both sides")
	pagetest.RequireFits(t, page)
}

func TestEarlierResultsAreNotMadeAgain(t *testing.T) {
	need.Long(t)
	t.Parallel()
	dir, names := repository(t, plain("good", "good", "good", "bad", "bad", "bad", "bad", "bad"))
	cfg := bisect.Config{Repository: dir, Good: names[0], Bad: names[7], Test: shell}
	without := search(t, t.TempDir(), cfg)
	cfg.Known = []bisect.Known{{Commit: names[2], Passed: 5}, {Commit: names[3], Failed: 5}, {Commit: strings.Repeat("0", 40), Failed: 9}}
	with := search(t, t.TempDir(), cfg)
	require.Equal(t, names[3], with.First)
	require.Less(t, len(with.Tests), len(without.Tests))
	cfg.Known = append(cfg.Known, bisect.Known{Commit: names[0], Passed: 20}, bisect.Known{Commit: names[7], Failed: 20})
	require.Empty(t, search(t, t.TempDir(), cfg).Tests, "the answer is clear without a test")
}

// Each session is interrupted in the middle of its second test. Then its file gets what a power
// loss leaves: an incomplete line.
func TestASearchThatIsInterruptedAgainAndAgainFindsTheSame(t *testing.T) {
	need.Long(t)
	t.Parallel()
	dir, names := repository(t, plain("good", "good", "good", "good", "good", "good", "good", "bad", "bad", "bad", "bad"))
	signs := t.TempDir()
	hold, held := filepath.Join(signs, "hold"), filepath.Join(signs, "held")
	test := []string{"sh", "-c", fmt.Sprintf("test ! -e %s || { touch %s; exec sleep 1000; }; %s", hold, held, shell[2])}
	cfg := bisect.Config{Repository: dir, Good: names[0], Bad: names[10], Test: test, Confidence: 0.9999}
	want := search(t, t.TempDir(), cfg)

	out := t.TempDir()
	tests := filepath.Join(out, "tests.ndjson")
	s, err := bisect.New(t.Context(), out, cfg, io.Discard)
	require.NoError(t, err)
	s.Close()
	var got *bisect.Result
	interrupted := 0
	for got == nil {
		ctx, cancel := context.WithCancel(t.Context())
		// The session writes a line after each test, and begins the next one after that.
		s, err := bisect.Resume(t.Context(), out, touch(hold))
		require.NoError(t, err)
		var waiting sync.WaitGroup
		waiting.Go(func() {
			defer cancel()
			await(ctx, held)
		})
		got, err = s.Run(ctx)
		cancel()
		waiting.Wait()
		s.Close()
		require.NoError(t, errors.Join(os.RemoveAll(hold), os.RemoveAll(held)))
		if err == nil {
			break
		}
		require.ErrorIs(t, err, context.Canceled)
		interrupted++
		b, err := os.ReadFile(tests)
		require.NoError(t, err)
		require.Equal(t, interrupted, bytes.Count(b, []byte("\n")), "the test that was interrupted is not written down")
		require.NoError(t, os.WriteFile(tests, append(b, `{"n":99,"commit":"`...), 0o600))
	}
	require.Greater(t, interrupted, 5)
	require.Equal(t, names[7], want.First)
	require.Equal(t, names[7], got.First)
	require.Len(t, got.Tests, interrupted+1)
	require.Equal(t, want.Tests[0].Commit, got.Tests[0].Commit)
}

// touch is a writer that creates the file at this path when something is written.
type touch string

func (path touch) Write(p []byte) (int, error) { return len(p), os.WriteFile(string(path), nil, 0o600) }

// await returns when the file at path exists, or when ctx ends.
func await(ctx context.Context, path string) {
	changed, stop := filewatch.Watch(filepath.Dir(path))
	defer stop()
	for ctx.Err() == nil {
		if _, err := os.Stat(path); err == nil {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

func TestABuildThatIsInterruptedSaysNothingAboutItsCommit(t *testing.T) {
	t.Parallel()
	dir, names := repository(t, plain("good", "good", "bad", "bad"))
	signs := t.TempDir()
	begun := filepath.Join(signs, "begun")
	s, err := bisect.New(t.Context(), t.TempDir(), bisect.Config{Repository: dir, Good: names[0], Bad: names[3], Test: shell,
		Build: fmt.Sprintf("test -e %[1]s || { touch %[1]s; exec sleep 1000; }", begun)}, io.Discard)
	require.NoError(t, err)
	defer s.Close()
	ctx, interrupt := context.WithCancel(t.Context())
	go func() {
		await(ctx, begun)
		interrupt()
	}()
	_, err = s.Run(ctx)
	require.ErrorIs(t, err, context.Canceled)
	r, err := s.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, names[2], r.First, r.Summary())
	for _, test := range r.Tests {
		require.NotEqual(t, bisect.Skip, test.Outcome, test.Reason)
	}
}

func TestWhatAGuestSaysDoesNotControlTheTerminalOfASearch(t *testing.T) {
	t.Parallel()
	dir, names := repository(t, plain("good", "bad"))
	program := filepath.Join(t.TempDir(), "go") // the search reads the stream of a program of this name
	require.NoError(t, os.WriteFile(program, []byte(`#!/bin/sh
end=pass
[ "$(cat state)" = good ] || end=fail
cat <<STREAM
{"Action":"run","Package":"p","Test":"TestX"}
{"Action":"output","Package":"p","Test":"TestX","Output":"    x_test.go:3: product fault: it says \u001b[2J\n"}
{"Action":"$end","Package":"p","Test":"TestX"}
{"Action":"$end","Package":"p"}
STREAM
[ $end = pass ]
`), 0o700))
	var log bytes.Buffer
	s, err := bisect.New(t.Context(), t.TempDir(), bisect.Config{Repository: dir, Good: names[0], Bad: names[1], Test: []string{program, "test"}}, &log)
	require.NoError(t, err)
	defer s.Close()
	r, err := s.Run(t.Context())
	require.NoError(t, err)
	require.Contains(t, r.Summary()+log.String(), "it says ^[[2J")
	require.NotContains(t, r.Summary()+log.String(), "\x1b")
}

func TestTwoSearchesDoNotShareADirectory(t *testing.T) {
	t.Parallel()
	dir, names := repository(t, plain("good", "bad"))
	cfg := bisect.Config{Repository: dir, Good: names[0], Bad: names[1], Test: shell}
	out := t.TempDir()
	s, err := bisect.New(t.Context(), out, cfg, io.Discard)
	require.NoError(t, err)
	_, err = bisect.Resume(t.Context(), out, io.Discard)
	require.ErrorContains(t, err, "is under way")
	s.Close()
	_, err = bisect.New(t.Context(), out, cfg, io.Discard)
	require.ErrorContains(t, err, "has a search already; continue it with --resume")
}

func TestAnAnswerIsRefusedForRevisionsThatHaveNone(t *testing.T) {
	t.Parallel()
	state := func(s string) map[string]string { return map[string]string{"state": s} }
	dir, names := repository(t, []commit{{"base", state("good"), nil}, {"left", state("good"), nil}, {"right", state("bad"), []int{0}}})
	for name, c := range map[string]struct {
		cfg  bisect.Config
		says string
	}{
		"no such commit":    {bisect.Config{Good: "none", Bad: names[2], Test: shell}, "has no commit none"},
		"an option":         {bisect.Config{Good: "--all", Bad: names[2], Test: shell}, "this is no revision"},
		"not an ancestor":   {bisect.Config{Good: names[1], Bad: names[2], Test: shell}, "is not an ancestor of"},
		"the same":          {bisect.Config{Good: names[0], Bad: names[0], Test: shell}, "are the same"},
		"no test":           {bisect.Config{Good: names[0], Bad: names[2]}, "there is no command to run"},
		"too little to ask": {bisect.Config{Good: names[0], Bad: names[2], Test: shell, Confidence: 0.4}, "is not between 0.5 and 1"},
	} {
		c.cfg.Repository = dir
		out := t.TempDir()
		s, err := bisect.New(t.Context(), out, c.cfg, io.Discard)
		require.ErrorContains(t, err, c.says, name)
		require.Nil(t, s)
		require.Equal(t, verdict.Harness, verdict.Of(err))
		s, err = bisect.New(t.Context(), out, bisect.Config{Repository: dir, Good: names[0], Bad: names[2], Test: shell}, io.Discard)
		require.NoError(t, err, "%s: nothing else can be searched for in this directory", name)
		s.Close()
	}
}

func TestTheVerdictOfACommandIsItsExitStatus(t *testing.T) {
	t.Parallel()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer null.Close()
	for script, c := range map[string]struct {
		want verdict.Kind
		says string
		git  int
	}{
		"exit 0":          {"", "passed", 0},
		"exit 1":          {verdict.Product, "product fault: exit status 1", 1},
		"exit 2":          {verdict.Harness, "harness fault: exit status 2", 125},
		"exit 3":          {verdict.Host, "host fault: exit status 3", 125},
		"exit 125":        {verdict.Harness, "harness fault: exit status 125", 125},
		"exit 127":        {verdict.Harness, "harness fault: exit status 127", 125},
		"kill -SEGV $$":   {verdict.Harness, `harness fault: it was ended by the signal "segmentation fault"`, 125},
		"exec sleep 1000": {verdict.Harness, "harness fault: it had not ended after 200ms", 125},
	} {
		cmd := bisect.Command{Argv: []string{"sh", "-c", script}, Stdout: null, Stderr: null}
		if strings.Contains(script, "sleep") {
			cmd.Timeout = 200 * time.Millisecond
		}
		a, err := cmd.Run(t.Context())
		require.NoError(t, err)
		require.Equal(t, c.want, a.Verdict, script)
		require.Equal(t, c.says, a.String(), script)
		require.Equal(t, c.git, a.GitStatus(), script)
	}
	_, err = bisect.Command{Argv: []string{"/no/such/program"}, Stdout: null, Stderr: null}.Run(t.Context())
	require.Equal(t, verdict.Harness, verdict.Of(err))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = bisect.Command{Argv: []string{"sleep", "1000"}, Stdout: null, Stderr: null}.Run(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

// go test ends with status 1, no matter who is at fault.
func TestTheVerdictOfGoTestIsInItsStream(t *testing.T) {
	need.Long(t)
	t.Parallel()
	need.Program(t, "go")
	dir := t.TempDir()
	for body, want := range map[string]verdict.Kind{
		`t.Log("fine")`: "",
		`t.Error("host fault: QEMU was not found")`: verdict.Host,
		`t.Error("it sent too little")`:             verdict.Product,
		`does not compile`:                          verdict.Harness,
	} {
		files := map[string]string{"go.mod": "module m\n\ngo 1.26\n", "m_test.go": "package m\n\nimport \"testing\"\n\nfunc TestM(t *testing.T) {\n\t" + body + "\n}\n"}
		for name, text := range files {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		}
		out, err := os.Create(filepath.Join(dir, "out"))
		require.NoError(t, err)
		a, err := bisect.Command{Argv: []string{"go", "test", "./..."}, Dir: dir, Stdout: out, Stderr: out}.Run(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, a.Verdict, "%s: %s", body, a)
		require.NoError(t, out.Close())
	}
}
