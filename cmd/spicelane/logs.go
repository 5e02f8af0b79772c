package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/host"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
)

// logNames are the logs of a lane and their files.
var logNames = map[string]string{
	"serial":     "serial.log",
	"qemu":       "qemu.log",
	"proxy":      "proxy.log",
	"client":     "client.log",
	"supervisor": "supervisor.log",
	"timeline":   "timeline.ndjson",
}

func newLogs() *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs NAME [serial|qemu|proxy|client|supervisor|timeline]",
		Short: "Print the log of a part of a lane",
		Long: `Print the log of a part of a lane. On a terminal, control characters are shown as
text (an escape as ^[). Files and pipes get every byte unchanged.`,
		Args:      cobra.RangeArgs(1, 2),
		ValidArgs: []string{"serial", "qemu", "proxy", "client", "supervisor", "timeline"},
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := registry.Find(args[0])
			if err != nil {
				return err
			}
			which := "serial"
			if len(args) == 2 {
				which = args[1]
			}
			name, ok := logNames[which]
			if !ok {
				return usage("there is no log %q; the logs are serial, qemu, proxy, client, supervisor and timeline", which)
			}
			path := filepath.Join(s.Dir, name)
			if follow {
				return followFile(cmd.Context(), forPeople(cmd.OutOrStdout()), path, s)
			}
			f, err := os.Open(path)
			if errors.Is(err, fs.ErrNotExist) {
				return usage("lane %s has no %s log (yet)", s.Name, which)
			}
			if err != nil {
				return usage("%w", err)
			}
			defer f.Close()
			_, err = io.Copy(forPeople(cmd.OutOrStdout()), f)
			return err
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "follow the log until the lane ends")
	return cmd
}

// followFile copies the file at path to w as it grows, until the lane or ctx ends.
func followFile(ctx context.Context, w io.Writer, path string, s registry.State) error {
	watch, err := fsnotify.NewWatcher()
	if err != nil {
		return &verdict.Error{Verdict: verdict.Host, Op: "follow", Err: err}
	}
	defer watch.Close()
	// Watch the directory, not the file, which may not exist yet.
	if err := watch.Add(filepath.Dir(path)); err != nil {
		return usage("%w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for s.State == registry.StateReady || s.State == registry.StateStarting {
			if ctx.Err() != nil || host.AwaitExit(ctx, s.PIDs.Supervisor, downGrace) {
				return
			}
		}
	}()
	var f *os.File
	defer func() {
		if f != nil {
			f.Close()
		}
	}()
	drain := func() error {
		if f == nil {
			if f, err = os.Open(path); err != nil {
				if errors.Is(err, fs.ErrNotExist) {
					return nil
				}
				return usage("%w", err)
			}
		}
		_, err := io.Copy(w, f)
		return err
	}
	for {
		if err := drain(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ended:
			return drain()
		case err := <-watch.Errors:
			return fmt.Errorf("follow %s: %w", path, err)
		case <-watch.Events:
		}
	}
}
