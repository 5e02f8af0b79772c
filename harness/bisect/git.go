package bisect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spicelane/spicelane/harness/verdict"
)

// A repository is a git repository of the user's. Nothing in it is changed: tests run in a work tree
// of their own.
type repository struct{ dir string }

// git runs git in the repository and returns what it prints.
func (r repository) git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", r.dir}, args...)...)
	cmd.Env = plainEnv()
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return "", &verdict.Error{Verdict: verdict.Host, Op: "git", Err: err, Hint: "install git"}
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", &verdict.Error{Verdict: verdict.Harness, Op: "git " + args[0] + " in " + r.dir,
			Err: fmt.Errorf("%w: %s", err, oneLine(said.String()))}
	}
	return strings.TrimRight(out.String(), "\n"), nil
}

// plainEnv is the environment without the variables that make git work on another repository, as in a
// hook.
func plainEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX":
		default:
			env = append(env, kv)
		}
	}
	return env
}

// resolve returns the full name of a commit.
func (r repository) resolve(ctx context.Context, rev string) (string, error) {
	if strings.HasPrefix(rev, "-") {
		return "", &verdict.Error{Verdict: verdict.Harness, Op: rev, Err: errors.New("this is no revision")}
	}
	return r.git(ctx, "rev-parse", "--verify", "--quiet", rev+"^{commit}")
}

// history returns the commits from after good up to bad, each after its parents, and their graph.
func (r repository) history(ctx context.Context, good, bad string, firstParent bool) ([]string, *Graph, error) {
	if _, err := r.git(ctx, "merge-base", "--is-ancestor", good, bad); err != nil {
		return nil, nil, fmt.Errorf("%.10s is not an ancestor of %.10s, so what lies between them is not defined: %w", good, bad, err)
	}
	args := []string{"rev-list", "--topo-order", "--reverse", "--parents"}
	if firstParent {
		args = append(args, "--first-parent")
	}
	out, err := r.git(ctx, append(args, good+".."+bad)...)
	if err != nil {
		return nil, nil, err
	}
	if out == "" {
		return nil, nil, &verdict.Error{Verdict: verdict.Harness, Op: "bisect", Err: errors.New("the good and the bad commit are the same")}
	}
	var commits []string
	var parents [][]int
	index := make(map[string]int)
	for _, line := range strings.Split(out, "\n") {
		words := strings.Fields(line)
		var ps []int
		for _, p := range words[1:] {
			if i, ok := index[p]; ok {
				ps = append(ps, i)
			}
		}
		index[words[0]] = len(commits)
		commits = append(commits, words[0])
		parents = append(parents, ps)
	}
	return commits, NewGraph(parents), nil
}

// describe returns a commit's subject, author and date in one line.
func (r repository) describe(ctx context.Context, commit string) (string, error) {
	return r.git(ctx, "show", "--no-patch", "--format=%s (%an, %as)", commit)
}

// addTree makes a work tree at dir, in place of one that a killed session left.
func (r repository) addTree(ctx context.Context, dir, commit string) error {
	r.removeTree(ctx, dir)
	_, err := r.git(ctx, "worktree", "add", "--quiet", "--force", "--detach", dir, commit)
	return err
}

// removeTree removes the work tree at dir, if there is one.
func (r repository) removeTree(ctx context.Context, dir string) {
	// NB: both fail if there is none, or only a part of one.
	_, _ = r.git(ctx, "worktree", "remove", "--force", "--force", dir)
	_ = os.RemoveAll(dir)
	_, _ = r.git(ctx, "worktree", "prune")
}

// checkout puts a commit into the work tree at dir. With clean, it also removes what earlier builds
// left there.
func checkout(ctx context.Context, dir, commit string, clean bool) error {
	tree := repository{dir}
	if _, err := tree.git(ctx, "checkout", "--quiet", "--force", "--detach", commit); err != nil {
		return err
	}
	if !clean {
		return nil
	}
	_, err := tree.git(ctx, "clean", "-ffdxq")
	return err
}
