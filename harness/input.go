package harness

import (
	"context"
	"errors"

	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

var errNoClient = &verdict.Error{Verdict: verdict.Harness, Err: errors.New("this lane has no client")}

// Press presses and releases keys, one after the other. control.ParseKey defines how to write them:
// "Enter", "a", "F10", "Ctrl+Alt+Delete".
func (l *Lane) Press(ctx context.Context, keys ...string) error {
	if l.driver == nil {
		return l.errUndriven()
	}
	return l.explain(drive.Press(ctx, l.driver, keys...))
}

// Type types text on the guest's US keyboard and returns when all of it is sent.
func (l *Lane) Type(ctx context.Context, text string) error {
	if l.driver == nil {
		return l.errUndriven()
	}
	if _, err := l.driver.Paste(ctx, control.PasteParams{Text: text}); err != nil {
		return l.explain(&verdict.Error{Verdict: drive.VerdictOf(err), Op: "type", Err: err})
	}
	return nil
}
