package harness

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// Beat runs one step of a scenario: it runs act, takes a picture of the result, and notes both on
// the timeline under name. In a lane of Up, a failed beat fails the test, whatever the test does
// with the error.
func (l *Lane) Beat(ctx context.Context, name string, act func(ctx context.Context) error) error {
	l.mu.Lock()
	l.beats++
	file := fmt.Sprintf("beat-%02d-%s.png", l.beats, fileName(name))
	l.mu.Unlock()
	began := time.Now()
	l.log.Add("beat", map[string]any{"name": name, "at": "begin"})
	err := act(ctx)
	end := map[string]any{"name": name, "at": "end", "ms": time.Since(began).Milliseconds()}
	if err != nil {
		end["error"] = err.Error()
	}
	if l.driver != nil {
		picture := filepath.Join(l.dir, file)
		if perr := l.savePicture(context.WithoutCancel(ctx), picture); perr == nil {
			end["picture"] = file
		} else if err == nil {
			err = perr
		}
	}
	l.log.Add("beat", end)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("beat %s: %w", name, err)
	l.mu.Lock()
	if l.beatErr == nil {
		l.beatErr = err
	}
	l.mu.Unlock()
	return err
}

func fileName(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '-'
	}, s)
}
