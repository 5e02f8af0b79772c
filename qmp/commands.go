package qmp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Names of the events that a machine's owner watches; see QEMU's qapi/*.json.
const (
	EventShutdown      = "SHUTDOWN"
	EventPowerdown     = "POWERDOWN"
	EventReset         = "RESET"
	EventStop          = "STOP"
	EventResume        = "RESUME"
	EventGuestPanicked = "GUEST_PANICKED"
	EventGuestCrash    = "GUEST_CRASHLOADED"
	EventWatchdog      = "WATCHDOG"
	EventBlockIOError  = "BLOCK_IO_ERROR"
	EventMigration     = "MIGRATION"
	EventSpiceInit     = "SPICE_INITIALIZED"
	EventSpiceConnect  = "SPICE_CONNECTED"
	EventSpiceGone     = "SPICE_DISCONNECTED"
	EventVserport      = "VSERPORT_CHANGE"
)

// RunState is what a machine is doing, from QEMU's qapi/run-state.json.
type RunState string

const (
	StateRunning       RunState = "running"
	StatePaused        RunState = "paused"
	StatePrelaunch     RunState = "prelaunch"
	StateInMigrate     RunState = "inmigrate"
	StatePostMigrate   RunState = "postmigrate"
	StateFinishMigrate RunState = "finish-migrate"
	StateShutdown      RunState = "shutdown"
	StateInternalError RunState = "internal-error"
	StateIOError       RunState = "io-error"
	StateGuestPanicked RunState = "guest-panicked"
	StateWatchdog      RunState = "watchdog"
	StateSuspended     RunState = "suspended"
	StateRestoreVM     RunState = "restore-vm"
	StateSaveVM        RunState = "save-vm"
)

// Status is the answer to query-status.
type Status struct {
	Running bool     `json:"running"`
	State   RunState `json:"status"`
}

// QueryStatus returns what the machine is doing.
func (c *Client) QueryStatus(ctx context.Context) (Status, error) {
	var st Status
	err := c.Do(ctx, "query-status", nil, &st)
	return st, err
}

// Stop pauses the machine's processors. The machine emits STOP.
func (c *Client) Stop(ctx context.Context) error { return c.Do(ctx, "stop", nil, nil) }

// Cont continues a paused machine. The machine emits RESUME.
func (c *Client) Cont(ctx context.Context) error { return c.Do(ctx, "cont", nil, nil) }

// SystemReset resets the machine as its reset button would.
func (c *Client) SystemReset(ctx context.Context) error { return c.Do(ctx, "system_reset", nil, nil) }

// Powerdown presses the ACPI power button; the guest may ignore it.
func (c *Client) Powerdown(ctx context.Context) error { return c.Do(ctx, "system_powerdown", nil, nil) }

// Quit ends QEMU. The connection ends soon after. If QEMU closes it before the reply arrives, that
// counts as success.
func (c *Client) Quit(ctx context.Context) error {
	err := c.Do(ctx, "quit", nil, nil)
	var closed *ClosedError
	if errors.As(err, &closed) && !errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

// InjectNMI sends the machine a non-maskable interrupt.
func (c *Client) InjectNMI(ctx context.Context) error { return c.Do(ctx, "inject-nmi", nil, nil) }

// HumanMonitor runs a line of QEMU's human monitor and returns its output. Use it if QMP has no
// command for something.
func (c *Client) HumanMonitor(ctx context.Context, line string) (string, error) {
	var out string
	err := c.Do(ctx, "human-monitor-command", map[string]any{"command-line": line}, &out)
	return out, err
}

// An ImageFormat is a format of Screendump.
type ImageFormat string

const (
	PNG ImageFormat = "png" // QEMU 7.2 and later, when built with libpng
	PPM ImageFormat = "ppm" // every QEMU
)

// Screendump writes the primary display's picture to file, an absolute path as QEMU sees it, and
// returns the format. It asks for PNG. It falls back to PPM if QEMU is too old for PNG, was built
// without it, or is 7.1, which crashes on it.
func (c *Client) Screendump(ctx context.Context, file string) (ImageFormat, error) {
	if !filepath.IsAbs(file) {
		return "", fmt.Errorf("qmp: screendump: %q is not an absolute path; QEMU may have another working directory", file)
	}
	if c.AtLeast(7, 2) {
		err := c.Do(ctx, "screendump", map[string]any{"filename": file, "format": PNG}, nil)
		var refused *Error
		if err == nil || !errors.As(err, &refused) {
			return PNG, err
		}
	}
	return PPM, c.Do(ctx, "screendump", map[string]any{"filename": file}, nil)
}

// SPICEInfo is the answer to query-spice.
type SPICEInfo struct {
	Enabled   bool           `json:"enabled"`
	Migrated  bool           `json:"migrated"`
	Host      string         `json:"host"` // address, or the path of a unix socket
	Port      int            `json:"port"` // 0: none
	TLSPort   int            `json:"tls-port"`
	Auth      string         `json:"auth"` // "none" or "spice"
	Version   string         `json:"compiled-version"`
	MouseMode string         `json:"mouse-mode"` // "client", "server" or "unknown"
	Channels  []SPICEChannel `json:"channels"`
}

// SPICEChannel is one connected channel.
type SPICEChannel struct {
	ConnectionID uint32 `json:"connection-id"`
	Type         int    `json:"channel-type"` // spice-protocol enums.h, SPICE_CHANNEL_…
	ID           int    `json:"channel-id"`
	TLS          bool   `json:"tls"`
	Host         string `json:"host"`
	Port         string `json:"port"`
	Family       string `json:"family"`
}

// UnmarshalJSON decodes a channel. Connection ids are 32 random bits; QEMU writes the upper half of
// them as negative numbers.
func (c *SPICEChannel) UnmarshalJSON(b []byte) error {
	type plain SPICEChannel
	signed := struct {
		*plain
		ConnectionID int64 `json:"connection-id"`
	}{plain: (*plain)(c)}
	if err := json.Unmarshal(b, &signed); err != nil {
		return err
	}
	c.ConnectionID = uint32(signed.ConnectionID)
	return nil
}

// QuerySPICE returns where QEMU's SPICE server listens and which channels are connected.
func (c *Client) QuerySPICE(ctx context.Context) (SPICEInfo, error) {
	var info SPICEInfo
	err := c.Do(ctx, "query-spice", nil, &info)
	return info, err
}

// maxTicket is how many bytes of a ticket spice-server keeps. QEMU reports no error for a longer
// ticket, and then no client's ticket matches.
const maxTicket = 59

// SetSPICETicket changes the ticket for clients that connect from now on; connected ones stay.
func (c *Client) SetSPICETicket(ctx context.Context, ticket string) error {
	if len(ticket) > maxTicket {
		return fmt.Errorf("qmp: set_password: the ticket has %d bytes, and spice-server keeps only the first %d", len(ticket), maxTicket)
	}
	return c.Do(ctx, "set_password", map[string]any{"protocol": "spice", "password": ticket, "connected": "keep"}, nil)
}

// ExpireSPICETicket makes the ticket invalid at a time in QEMU's notation:
// "now", "never", "+SECONDS" or seconds since 1970.
func (c *Client) ExpireSPICETicket(ctx context.Context, when string) error {
	return c.Do(ctx, "expire_password", map[string]any{"protocol": "spice", "time": when}, nil)
}

// AddClient gives a connected socket to QEMU's SPICE server, as if the peer had connected to it.
// The caller keeps the file.
func (c *Client) AddClient(ctx context.Context, conn *os.File, tls bool) error {
	const name = "spice-client"
	if err := c.GetFD(ctx, name, conn); err != nil {
		return err
	}
	return c.Do(ctx, "add_client", map[string]any{"protocol": "spice", "fdname": name, "tls": tls}, nil)
}

// GetFD gives QEMU a duplicate of the file under a name, for commands such as migrate with
// "fd:NAME". An earlier file of that name is closed.
func (c *Client) GetFD(ctx context.Context, name string, f *os.File) error {
	_, err := c.RunFiles(ctx, Command{Execute: "getfd", Args: map[string]any{"fdname": name}}, f)
	return err
}

// CloseFD closes a file given with GetFD.
func (c *Client) CloseFD(ctx context.Context, name string) error {
	return c.Do(ctx, "closefd", map[string]any{"fdname": name}, nil)
}

// AddFD adds a duplicate of the file to a new set and returns the set's
// number N; QEMU then opens it as "/dev/fdset/N".
func (c *Client) AddFD(ctx context.Context, f *os.File) (set int, err error) {
	ret, err := c.RunFiles(ctx, Command{Execute: "add-fd"}, f)
	if err != nil {
		return 0, err
	}
	var added struct {
		Set int `json:"fdset-id"`
	}
	if err := unmarshal("add-fd", ret, &added); err != nil {
		return 0, err
	}
	return added.Set, nil
}

// RemoveFD removes a set made with AddFD.
func (c *Client) RemoveFD(ctx context.Context, set int) error {
	return c.Do(ctx, "remove-fd", map[string]any{"fdset-id": set}, nil)
}

// SendKey presses and releases the keys together, by QEMU's names (QKeyCode in qapi/ui.json),
// without a SPICE client.
func (c *Client) SendKey(ctx context.Context, qcodes ...string) error {
	keys := make([]map[string]any, len(qcodes))
	for i, q := range qcodes {
		keys[i] = map[string]any{"type": "qcode", "data": q}
	}
	return c.Do(ctx, "send-key", map[string]any{"keys": keys}, nil)
}
