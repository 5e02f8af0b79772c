package runner_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/archive"
	"github.com/spicelane/spicelane/harness/plan"
	"github.com/spicelane/spicelane/harness/plan/result"
	"github.com/spicelane/spicelane/harness/plan/runner"
	"github.com/spicelane/spicelane/harness/verdict"
)

// reusePlan has a lane of a boot sector, which is up at once. Its cell leaves a program for the
// second job, which has no lane and so always runs. STATUS is the exit status of the cell.
const reusePlan = `
secrets: {T: {env: CANARY}}
jobs:
  lane:
    env: {TOKEN: "${{ secrets.T }}"}
    files: [check.sh]
    artifacts: [{name: tool, path: tool}]
    steps:
      - lane: {fixture: echo.yaml, accel: tcg, warm: "off", client: none, cpus: 1}
      - run: |
          echo lane >> ran; sh check.sh
          printf '#!/bin/sh\necho a tool\n' > $SPICELANE_WORK/tool; chmod +x $SPICELANE_WORK/tool
  use:
    needs: lane
    restore: [{from: lane, name: tool, path: in}]
    steps: [{run: "$SPICELANE_WORK/in/tool"}]
`

// A bench runs a plan with a lane again and again, and keeps the results in an archive.
type bench struct {
	*testing.T
	store archive.Dir
	a     *archive.Archive
}

func newBench(t *testing.T) *bench {
	t.Helper()
	harness.RequireHost(t)
	sector, err := os.ReadFile("../../qemu/testdata/echo.bin")
	require.NoError(t, err)
	t.Setenv("CANARY", "c4n4ry-1")
	t.Chdir(t.TempDir())
	disk := make([]byte, 1<<20)
	copy(disk, sector)
	b := &bench{T: t, store: archive.Dir{Path: t.TempDir(), NoSync: true}}
	b.write("echo.img", string(disk))
	b.write("echo.yaml", "name: echo\nimage: echo.img\nfirmware: bios\nmemory_mib: 64\nbanner: READY\n")
	b.write("check.sh", "exit 0\n")
	b.write("plan.yaml", reusePlan)
	b.a, err = archive.Open(t.Context(), b.store, archive.Options{})
	require.NoError(t, err)
	return b
}

func (b *bench) write(name, text string) {
	b.Helper()
	require.NoError(b, os.WriteFile(name, []byte(text), 0o600))
}

// replace replaces a text in the plan.
func (b *bench) replace(old, by string) {
	b.Helper()
	text, err := os.ReadFile("plan.yaml")
	require.NoError(b, err)
	require.Contains(b, string(text), old)
	b.write("plan.yaml", strings.ReplaceAll(string(text), old, by))
}

// once runs the plan. It returns the result of the cell with the lane, whether that cell has run,
// and what the run printed.
func (b *bench) once(program string) (r *result.Run, ran bool, printed []string) {
	b.Helper()
	l, err := plan.Load(b.Context(), "plan.yaml", plan.Options{})
	require.NoError(b, err)
	earlier, err := b.a.Results(b.Context())
	require.NoError(b, err)
	require.NoError(b, os.RemoveAll("run"))
	require.NoError(b, os.RemoveAll("ran"))
	rec := &recorder{}
	r, err = runner.Run(b.Context(), runner.Config{Plan: l, Dir: "run", Observer: rec, Program: program, Reuse: earlier})
	require.NoError(b, err)
	_, err = os.Stat("ran")
	return r, err == nil, rec.lines
}

// keep adds the last run to the archive.
func (b *bench) keep() {
	b.Helper()
	src, err := archive.ReadDir("run", archive.Extra{})
	require.NoError(b, err)
	_, err = b.a.Add(b.Context(), src)
	require.NoError(b, err)
}

func TestACellThatHasPassedForTheSameBuildIsNotRunAgain(t *testing.T) {
	b := newBench(t)
	first, ran, printed := b.once("v1")
	require.Equal(t, result.Success, first.Outcome, first.Cells[0].Reason)
	require.True(t, ran)
	require.Equal(t, []string{"use: a tool"}, printed[len(printed)-1:])
	b.keep()

	second, ran, printed := b.once("v1")
	require.Equal(t, map[string]result.Outcome{"lane": result.Success, "use": result.Success}, outcomes(second))
	require.False(t, ran)
	require.Equal(t, []string{"use: a tool"}, printed, "the artifact is there, and can be run")
	lane := second.Cells[0]
	require.Equal(t, first.ID, lane.ReusedFrom)
	require.Contains(t, runner.Describe(lane), ", taken over from "+first.ID)
	require.Equal(t, first.Cells[0].Identity, lane.Identity)
	require.NoDirExists(t, filepath.Join("run", "cells", "lane", "1", "lanes"))
	require.Empty(t, second.Cells[1].ReusedFrom, "nothing says what it tests")
	b.keep() // its evidence is complete

	// The result names the run that was executed, not the one that reused it.
	third, ran, _ := b.once("v1")
	require.False(t, ran)
	require.Equal(t, first.ID, third.Cells[0].ReusedFrom)

	// A secret is not part of what identifies a cell.
	t.Setenv("CANARY", "another-1")
	_, ran, _ = b.once("v1")
	require.False(t, ran)

	for name, change := range map[string]func() (program string){
		"the proxy": func() string { return "v2" },
		"the guest": func() string {
			disk, err := os.ReadFile("echo.img")
			require.NoError(t, err)
			disk[len(disk)-1] ^= 1
			b.write("echo.img", string(disk))
			return "v1"
		},
		"the configuration":   func() string { b.replace("cpus: 1", "cpus: 2"); return "v1" },
		"the steps":           func() string { b.replace("echo lane >> ran", "echo more >> ran"); return "v1" },
		"a file of the steps": func() string { b.write("check.sh", "exit 0 # now\n"); return "v1" },
	} {
		program := change()
		r, ran, _ := b.once(program)
		require.True(t, ran, "%s is another one", name)
		require.Equal(t, result.Success, r.Outcome, r.Cells[0].Reason)
		b.keep()
		_, ran, _ = b.once(program)
		require.False(t, ran, "%s is the same again", name)
	}
}

// Each time, the cell has run for the previous build, and that run is in the archive.
func TestACellThatHasFailedOrSaysNothingOfTheProductRunsAgain(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		status string
		kind   verdict.Kind
	}{{"1", verdict.Product}, {"2", verdict.Harness}, {"3", verdict.Host}} {
		b.write("check.sh", "exit "+c.status+"\n")
		for range 2 {
			r, ran, _ := b.once("v1")
			require.True(t, ran, c.kind)
			require.Equal(t, result.Failure, r.Cells[0].Outcome)
			require.Equal(t, c.kind, r.Cells[0].Verdict)
			b.keep()
		}
	}
	b.write("check.sh", "test $SPICELANE_ATTEMPT = 2 || exit 3\n")
	b.replace("files:", "retry: {attempts: 2, delay: 1ms}\n    files:")
	for range 2 {
		r, ran, _ := b.once("v1")
		require.True(t, ran, "it passed on the second attempt only")
		require.True(t, r.Cells[0].Flaky())
		b.keep()
	}
	// The product fails where it passed before: the later result counts.
	b.write("check.sh", "test ! -e broken\n")
	_, _, _ = b.once("v1")
	b.keep()
	_, ran, _ := b.once("v1")
	require.False(t, ran)
	b.write("broken", "")
	l, err := plan.Load(t.Context(), "plan.yaml", plan.Options{})
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll("run"))
	r, err := runner.Run(t.Context(), runner.Config{Plan: l, Dir: "run", Program: "v1"})
	require.NoError(t, err)
	require.Equal(t, verdict.Product, r.Cells[0].Verdict)
	b.keep()
	_, ran, _ = b.once("v1")
	require.True(t, ran)
}

// The check fails in the second run, for a reason that nobody could know, so the cell makes no
// artifact.
func TestACellWhoseArtifactsAreLostRunsAgainAndLeavesOnlyItsOwn(t *testing.T) {
	b := newBench(t)
	b.replace("{name: tool, path: tool}]", "{name: tool, path: tool}, {name: text, path: text}]")
	b.replace("echo lane >> ran; ", "echo text > $SPICELANE_WORK/text; echo lane >> ran; test ! -e broken || exit 1; ")
	first, _, _ := b.once("v1")
	require.Equal(t, result.Success, first.Outcome, first.Cells[0].Reason)
	b.keep()
	files, err := b.a.Files(t.Context(), first.ID)
	require.NoError(t, err)
	i := slices.IndexFunc(files, func(f archive.File) bool { return strings.HasSuffix(f.Path, "/tool") })
	blob := filepath.Join(b.store.Path, "blobs", files[i].SHA256[:2], files[i].SHA256+".zst")
	require.NoError(t, os.Remove(blob))

	b.write("broken", "")
	second, ran, printed := b.once("v1")
	require.True(t, ran)
	require.Contains(t, strings.Join(printed, "\n"), "lane: no earlier result can stand for this cell: ")
	require.Equal(t, result.Failure, second.Cells[0].Outcome)
	for _, e := range second.Cells[0].Attempts[0].Evidence {
		require.NotEqual(t, result.KindArtifact, e.Kind, e.Path)
	}
}

func TestACellRunsWhereItIsNotKnownWhatItTests(t *testing.T) {
	b := newBench(t)
	t.Setenv("SPICELANE_OVMF_CODE", filepath.Join(t.TempDir(), "nosuchfile"))
	for range 2 {
		_, ran, printed := b.once("v1")
		require.True(t, ran)
		require.Contains(t, strings.Join(printed, "\n"), "lane: no earlier result can stand for this cell: firmware: ")
		b.keep()
	}
}
