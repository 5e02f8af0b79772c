package qmp

import (
	"context"
	"fmt"
	"io"
	"os"
)

// MigrationInfo is the part of the answer to query-migrate that this package uses.
type MigrationInfo struct {
	Status    string        `json:"status"` // "" before the first, then setup, active, completed, failed, …
	Error     string        `json:"error-desc"`
	TotalMS   int64         `json:"total-time"`
	DownMS    int64         `json:"downtime"`
	RAM       *MigrationRAM `json:"ram"`
	BlockedBy []string      `json:"blocked-reasons"`
}

// MigrationRAM counts bytes.
type MigrationRAM struct {
	Transferred int64 `json:"transferred"`
	Total       int64 `json:"total"`
}

// QueryMigrate returns the progress of a migration in or out.
func (c *Client) QueryMigrate(ctx context.Context) (MigrationInfo, error) {
	var info MigrationInfo
	err := c.Do(ctx, "query-migrate", nil, &info)
	return info, err
}

// Migrate starts to send the machine's state to a QEMU URI, such as "fd:NAME" after GetFD, and
// returns at once. AwaitMigration waits for the end.
func (c *Client) Migrate(ctx context.Context, uri string) error {
	return c.Do(ctx, "migrate", map[string]any{"uri": uri}, nil)
}

// MigrateIncoming starts to receive state on a machine started with
// -incoming defer.
func (c *Client) MigrateIncoming(ctx context.Context, uri string) error {
	return c.Do(ctx, "migrate-incoming", map[string]any{"uri": uri}, nil)
}

// SetMigrationCapabilities switches capabilities, such as "events", on or off.
func (c *Client) SetMigrationCapabilities(ctx context.Context, caps map[string]bool) error {
	type capability struct {
		Name string `json:"capability"`
		On   bool   `json:"state"`
	}
	var list []capability
	for name, on := range caps {
		list = append(list, capability{name, on})
	}
	return c.Do(ctx, "migrate-set-capabilities", map[string]any{"capabilities": list}, nil)
}

// SetMigrationParameters sets parameters by QEMU's names, such as
// "max-bandwidth" in bytes a second.
func (c *Client) SetMigrationParameters(ctx context.Context, params map[string]any) error {
	return c.Do(ctx, "migrate-set-parameters", params, nil)
}

// unlimited is a bandwidth, in bytes per second, that no local file reaches. QEMU's default of 128
// MiB/s would delay saving a lane's state.
const unlimited = 1 << 40

// SaveState writes the state of the paused or running machine to f from its current offset on, and
// waits for the end. The state is that of processors, devices and memory, but not the disks.
// SaveState leaves the machine paused in state postmigrate; Cont continues it. f must be open for
// writing only.
func (c *Client) SaveState(ctx context.Context, f *os.File) error {
	if err := c.SetMigrationCapabilities(ctx, map[string]bool{"events": true}); err != nil {
		return err
	}
	if err := c.SetMigrationParameters(ctx, map[string]any{"max-bandwidth": unlimited}); err != nil {
		return err
	}
	if err := c.transferFile(ctx, f, c.Migrate); err != nil {
		return err
	}
	// QEMU reports completion a moment before it leaves finish-migrate, in which it refuses to
	// continue. No event announces that it has left; a few of these queries are enough.
	for {
		st, err := c.QueryStatus(ctx)
		if err != nil || st.State != StateFinishMigrate {
			return err
		}
	}
}

// LoadState reads a state that SaveState wrote, from f's current offset on, and waits for the end.
// The machine must have been started with -incoming defer and the same devices. It is then in the
// state in which it was saved. f must be open for reading only.
func (c *Client) LoadState(ctx context.Context, f *os.File) error {
	if err := c.SetMigrationCapabilities(ctx, map[string]bool{"events": true}); err != nil {
		return err
	}
	return c.transferFile(ctx, f, c.MigrateIncoming)
}

// transferFile gives f to QEMU and transfers the state to or from it.
func (c *Client) transferFile(ctx context.Context, f *os.File, start func(ctx context.Context, uri string) error) error {
	// QEMU 8.2 and later know "file:", and 11 no longer takes "fd:" for a file. In between, "fd:" draws
	// a warning from QEMU 10.
	if !c.AtLeast(10, 0) {
		const name = "state"
		if err := c.GetFD(ctx, name, f); err != nil {
			return err
		}
		return c.transfer(ctx, func() error { return start(ctx, "fd:"+name) })
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return fmt.Errorf("qmp: %w", err)
	}
	set, err := c.AddFD(ctx, f)
	if err != nil {
		return err
	}
	if err := c.transfer(ctx, func() error { return start(ctx, fmt.Sprintf("file:/dev/fdset/%d,offset=%d", set, at)) }); err != nil {
		return err
	}
	return c.RemoveFD(ctx, set)
}

// transfer starts a migration in either direction and waits for its end.
func (c *Client) transfer(ctx context.Context, start func() error) error {
	// NB: subscribe before the start, or a fast end would be missed.
	sub := c.Subscribe(EventMigration)
	defer sub.Close()
	if err := start(); err != nil {
		return err
	}
	for {
		ev, err := sub.Next(ctx)
		if err != nil {
			return fmt.Errorf("qmp: awaiting the end of a migration: %w", err)
		}
		switch status, _ := ev.Data["status"].(string); status {
		case "completed":
			return nil
		case "failed", "cancelled":
			why := ""
			if info, err := c.QueryMigrate(ctx); err == nil && info.Error != "" {
				why = ": " + info.Error
			}
			return fmt.Errorf("qmp: migration %s%s", status, why)
		}
	}
}
