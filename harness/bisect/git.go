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

// A repository is a git repository of the user. Its branches, index and work tree are not changed:
// tests run in a separate work tree.
type repository struct{ dir string }

// git runs git in the repository and returns its standard output.
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

// plainEnv returns the environment without the variables that redirect git to another repository,
// such as those that hooks get.
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

// resolve returns the full hash of the commit that rev names.
func (r repository) resolve(ctx context.Context, rev string) (string, error) {
	if strings.HasPrefix(rev, "-") {
		return "", &verdict.Error{Verdict: verdict.Harness, Op: rev, Err: errors.New("this is no revision")}
	}
	return r.git(ctx, "rev-parse", "--verify", "--quiet", rev+"^{commit}")
}

// history returns the commits after good up to bad, each after its parents, and their graph. It
// returns an error unless good is an ancestor of bad.
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

// addTree makes a work tree at dir. It replaces the one that a killed session may have left.
func (r repository) addTree(ctx context.Context, dir, commit string) error {
	r.removeTree(ctx, dir)
	_, err := r.git(ctx, "worktree", "add", "--quiet", "--force", "--detach", dir, commit)
	return err
}

// removeTree removes the work tree at dir, if there is one.
func (r repository) removeTree(ctx context.Context, dir string) {
	// NB: these fail if there is no work tree, or only a part of one.
	_, _ = r.git(ctx, "worktree", "remove", "--force", "--force", dir)
	_ = os.RemoveAll(dir)
	_, _ = r.git(ctx, "worktree", "prune")
}

// checkout checks out a commit in the work tree at dir. With clean, it also removes the files that
// earlier builds left there.
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
