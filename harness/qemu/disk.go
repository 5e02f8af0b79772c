package qemu

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// Overlay makes a qcow2 image at path that contains only the differences from base, which stays
// unchanged. base may be qcow2 or raw. If base is missing, damaged or in use, the error is a
// *ConfigError; if the disk is full, a *HostError.
func Overlay(ctx context.Context, base, path string) error {
	tool, err := FindImageTool(os.Getenv)
	if err != nil {
		return err
	}
	base, err = filepath.Abs(base)
	if err != nil {
		return err
	}
	image, err := checkImage(ctx, tool, base)
	if err != nil {
		return err
	}
	return writeOverlay(path, image.name, image.format, image.size)
}

// An imageInfo describes the image below an overlay.
type imageInfo struct {
	name   string // see layer.name
	format string
	size   int64 // of the disk, in bytes
}

// Exit statuses of qemu-img check (qemu-img(1)). Any other is a failure.
const (
	checkLeaks   = 3  // clusters that nobody uses: they waste space and do no harm
	checkNothing = 63 // the format has nothing that could be checked
)

// checkImage returns an error if no guest can be started from the image at path.
func checkImage(ctx context.Context, tool, path string) (imageInfo, error) {
	var image imageInfo
	if err := readable(path); err != nil {
		return image, &ConfigError{What: fmt.Sprintf("the guest's disk image cannot be read: %v", err), Err: err}
	}
	failed := func(out string, err error) (imageInfo, error) {
		if ctx.Err() != nil {
			return image, context.Cause(ctx)
		}
		return image, unusable(path, out, err)
	}
	top, err := layersOf(path)
	if err != nil {
		if _, own := headerOf(path); own != nil && !errors.Is(own, errNotQcow2) {
			return failed("", own)
		}
		return image, err // another of its files is to blame
	}
	if image.name, err = top.name(); err != nil {
		return image, err
	}
	out, err := runTool(ctx, tool, "info", "--output=json", path)
	if err != nil {
		return failed(out, err)
	}
	var info struct {
		Format string `json:"format"`
		Size   int64  `json:"virtual-size"`
	}
	if err := json.Unmarshal([]byte(out), &info); err != nil {
		return failed("qemu-img info made no sense", err)
	}
	image.format, image.size = info.Format, info.Size
	// QEMU treats whatever it does not recognise as a raw image. A file that is named qcow2 and
	// does not begin like one is damaged. A raw image smaller than one sector is not a disk.
	if strings.HasSuffix(path, ".qcow2") && image.format != "qcow2" {
		return failed("its name says qcow2, its content does not", nil)
	}
	if image.size < 512 {
		return failed(fmt.Sprintf("it holds %d bytes", image.size), nil)
	}
	// The reference counts of an image that was not closed are stale. Only a writer needs them, and
	// QEMU repairs them before it writes.
	if top.qcow2 == nil || !top.qcow2.dirty {
		// Formats that cannot be checked are opened, which reveals a lock.
		out, err := runTool(ctx, tool, "check", "-q", image.name)
		var exit *exec.ExitError
		if errors.As(err, &exit) && (exit.ExitCode() == checkLeaks || exit.ExitCode() == checkNothing) {
			err = nil
		}
		if err != nil {
			return failed(out, err)
		}
	}
	return image, nil
}

// lockedImage matches the messages of QEMU and its tool, in versions 2.10 to 10.0, for an image
// that a running machine uses.
var lockedImage = regexp.MustCompile(`Failed to get (shared )?"?[a-z ]+"? lock`)

// unusable returns why the tool could not use the image at path: it is in use, incomplete, or
// damaged.
func unusable(path, out string, err error) error {
	if text := lockedImage.FindString(out); text != "" {
		return inUse(path, text)
	}
	if all := holders(path); len(all) > 0 && all[0].writes {
		return &ConfigError{
			What: fmt.Sprintf("the guest's disk image %s is being written to by %s: %s", path, all[0], said(out, err)),
			Hint: "wait until it is complete",
			Err:  err,
		}
	}
	return &ConfigError{
		What: fmt.Sprintf("the guest's disk image %s is damaged or not an image: %s", path, said(out, err)),
		Hint: "fetch or build it again",
		Err:  err,
	}
}

// runTool runs qemu-img and returns what it printed.
func runTool(ctx context.Context, tool string, args ...string) (string, error) {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// said returns the last line of the tool's output without its name, or the error.
func said(out string, err error) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	last := strings.TrimPrefix(strings.TrimSpace(lines[len(lines)-1]), "qemu-img: ")
	if last == "" && err != nil {
		return err.Error()
	}
	return last
}

// CopyVars copies firmware variables for one machine. An unreadable template and a full disk are
// *HostErrors.
func CopyVars(template, path string) (err error) {
	in, err := os.Open(template)
	if err != nil {
		return &HostError{What: fmt.Sprintf("the firmware's variables cannot be read: %v", err), Hint: hintOVMF, Err: err}
	}
	defer in.Close()
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("copy the firmware's variables: %w", err)
	}
	defer func() {
		if err = errors.Join(err, out.Close()); err != nil {
			discard(path)
			if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
				err = diskFull(path, err)
			}
		}
	}()
	_, err = io.Copy(out, in)
	return err
}

func diskFull(path string, err error) error {
	return &HostError{
		What: fmt.Sprintf("the disk is full: no room for %s", path),
		Hint: "free some space or choose another directory",
		Err:  err,
	}
}

// Files that Prepare makes in Config.Dir.
const (
	diskFile = "disk.qcow2"
	varsFile = "vars.fd"
)

// Prepare fills in a Config. It finds QEMU and firmware if cfg names none, and creates the
// machine's directory, its overlay over cfg.Image and its copy of the firmware's variables. If the
// host lacks something, the error is a *HostError. Files stay in Dir in any case.
func Prepare(ctx context.Context, cfg Config) (Config, error) {
	var err error
	if cfg.Dir == "" {
		return cfg, &ConfigError{What: "the machine has no directory for its logs"}
	}
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return cfg, err
	}
	if err := makeDir(cfg.Dir); err != nil {
		return cfg, err
	}
	if cfg.Binary == "" {
		if cfg.Binary, err = FindQEMU(os.Getenv); err != nil {
			return cfg, err
		}
	}
	if cfg.Spice.enabled() {
		if err := HasSPICE(ctx, cfg.Binary); err != nil {
			return cfg, err
		}
	}
	if cfg.Firmware == (Firmware{}) && !cfg.BIOS {
		fw, err := FindOVMF(os.Getenv)
		if err != nil {
			return cfg, err
		}
		vars := filepath.Join(cfg.Dir, varsFile)
		if err := CopyVars(fw.Vars, vars); err != nil {
			return cfg, err
		}
		fw.Vars = vars
		cfg.Firmware = fw
	}
	if cfg.Image != "" && cfg.Disk == "" {
		disk := filepath.Join(cfg.Dir, diskFile)
		if err := Overlay(ctx, cfg.Image, disk); err != nil {
			return cfg, err
		}
		cfg.Disk = disk
	}
	return cfg, nil
}

func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		if errors.Is(err, syscall.ENOSPC) {
			return diskFull(dir, err)
		}
		return &ConfigError{What: fmt.Sprintf("the machine's directory cannot be made: %v", err), Hint: "choose another directory", Err: err}
	}
	return nil
}
