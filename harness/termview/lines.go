package termview

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/viewer"
)

// Lines prints a lane's entries to w until the lane or ctx ends. Each line has the time, the kind,
// the name and the text of an entry; with asJSON, it is a JSON object.
func Lines(ctx context.Context, v *viewer.Viewer, w io.Writer, asJSON bool) error {
	from := 0
	for {
		changed := v.Changed()
		var entries []viewer.Entry
		entries, from = v.Entries(from)
		for _, e := range entries {
			if err := printEntry(w, e, asJSON); err != nil {
				return err
			}
		}
		if s := v.State(); s.Lane != "" && s.Lane != registry.StateReady && s.Lane != registry.StateStarting && len(entries) == 0 {
			return nil
		} else if len(entries) > 0 {
			continue // print what came meanwhile before checking whether the lane has ended
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

func printEntry(w io.Writer, e viewer.Entry, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return enc.Encode(e)
	}
	text := string(printable(e.Text))
	if e.Name != "" {
		text = e.Name + " " + text
	}
	_, err := fmt.Fprintf(w, "%s  %-7s  %s\n", e.At.Format(time.TimeOnly+".000"), e.Kind, text)
	return err
}
