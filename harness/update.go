package harness

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/verdict"
)

// An updating says what to do with a reference image that is not on the screen.
type updating string

const (
	updateNothing updating = ""
	// updateScreens replaces it, and fails the test: a person has to check the change.
	updateScreens updating = "true"
	// acceptScreens replaces it, and the test goes on.
	acceptScreens updating = "accept"
)

// updateFlag is the flag -update-screens of go test.
var updateFlag updating

// init registers the flag in tests only: programs that use this package define their own flags.
func init() {
	if testing.Testing() && flag.Lookup("update-screens") == nil {
		flag.Var(&updateFlag, "update-screens", "replace reference images that are not on the screen by it, and fail the test; =`accept` lets it pass")
	}
}

// String implements flag.Value.
func (u *updating) String() string { return string(*u) }

// Set implements flag.Value.
func (u *updating) Set(s string) error {
	switch updating(s) {
	case updateScreens, acceptScreens:
		*u = updating(s)
	case "1":
		*u = updateScreens
	case "false", "0":
		*u = updateNothing
	default:
		return errors.New(`want nothing, or "accept"`)
	}
	return nil
}

// IsBoolFlag makes -update-screens a flag that needs no value.
func (u *updating) IsBoolFlag() bool { return true }

// screensUpdating returns the value of the flag, or of SPICELANE_UPDATE_SCREENS. The variable is
// for tests of several packages, not all of which have the flag.
func screensUpdating() (updating, error) {
	if updateFlag != updateNothing {
		return updateFlag, nil
	}
	s := os.Getenv("SPICELANE_UPDATE_SCREENS")
	if s == "" {
		return updateNothing, nil
	}
	var u updating
	if err := u.Set(s); err != nil {
		return u, &verdict.Error{Verdict: verdict.Harness, Op: "update screens", Err: fmt.Errorf("SPICELANE_UPDATE_SCREENS is %q: want 1 or accept", s)}
	}
	return u, nil
}

// update replaces the nearest reference image by the screen, if the test was run to do that, and
// matches again. failed is the error of the wait. update does nothing if the lane has ended or the
// wait was cancelled: what was on the screen then is not what the test is about.
func (l *Lane) update(r *needle.Result, tag string, failed error) (*needle.Result, error) {
	u, err := l.cfg.updating, error(nil)
	if u == updateNothing {
		if u, err = screensUpdating(); err != nil {
			return r, errors.Join(failed, err)
		}
	}
	if u == updateNothing || !errors.Is(failed, context.DeadlineExceeded) {
		return r, failed
	}
	png, err := r.Replace(l.Context())
	if err != nil {
		return r, errors.Join(failed, &verdict.Error{Verdict: verdict.Harness, Op: "update screens", Err: err})
	}
	l.log.Add(headless.KindNeedle, map[string]any{"tag": tag, "replaced": png})
	dir, err := l.needles()
	if err != nil {
		return r, err
	}
	now, err := r.Again(l.Context(), dir)
	if err != nil {
		return r, verdict.Classify("update screens", err)
	}
	if u == acceptScreens {
		return now, nil
	}
	changed := &verdict.Error{Verdict: verdict.Product, Op: "update screens",
		Err: fmt.Errorf("%s is the screen now: look at the change, and run the test again without -update-screens; it was %w", png, failed)}
	if l.cfg.changedScreen == nil {
		return now, changed
	}
	l.cfg.changedScreen(changed)
	return now, nil
}
