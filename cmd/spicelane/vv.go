package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/vv"
)

func newVV() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "vv NAME [-o FILE.vv]",
		Short: "Print or save a virt-viewer file for a lane's console",
		Long: `Print a virt-viewer file for the lane's console, or save it with mode 0600, for
remote-viewer and other SPICE clients:

  spicelane vv a -o a.vv && remote-viewer a.vv

The file contains a secret. Behind the built-in proxy that is a token, which opens
one session within a minute and is replaced as soon as it has been used.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := registry.FindReady(args[0])
			if err != nil {
				return err
			}
			f, err := readLaneVV(s)
			if err != nil {
				return err
			}
			// A reader of the file may read it more than once.
			f.DeleteThisFile = false
			if out == "" {
				b, err := f.MarshalText()
				if err == nil {
					_, err = cmd.OutOrStdout().Write(b)
				}
				if err != nil {
					return usage("%w", err)
				}
				return nil
			}
			if err := writeSecret(out, f); err != nil {
				return verdict.Classify("vv", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: open it with: remote-viewer %s\n", out, out)
			return nil
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "save the file as `FILE` instead")
	return cmd
}

// readLaneVV reads the virt-viewer file that a lane keeps.
func readLaneVV(s registry.State) (*vv.File, error) {
	if s.VV == "" {
		return nil, usage("lane %s has no virt-viewer file", s.Name)
	}
	f, err := vv.ReadFile(s.VV)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usage("lane %s has just ended: its virt-viewer file is gone", s.Name)
	}
	if err != nil {
		return nil, usage("virt-viewer file: %w", err)
	}
	return f, nil
}

// writeSecret writes a virt-viewer file that only its owner can read, whatever was there before.
func writeSecret(path string, f *vv.File) error {
	b, err := f.MarshalText()
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	// Opening an existing file does not change its mode.
	if err = file.Chmod(0o600); err == nil {
		_, err = file.Write(b)
	}
	return errors.Join(err, file.Close())
}
