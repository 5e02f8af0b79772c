package qemu

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Firmware is split UEFI firmware, as flash images.
type Firmware struct {
	Code string // read-only
	Vars string // the machine's own writable copy; Prepare makes it

	// CodeFormat and VarsFormat are FormatRaw or FormatQcow2. With "", Start checks the files;
	// Argv, which reads no files, assumes raw.
	CodeFormat, VarsFormat string
}

// Formats of flash images.
const (
	FormatRaw   = "raw"
	FormatQcow2 = "qcow2"
)

func formatOr(format string) string {
	if format == "" {
		return FormatRaw
	}
	return format
}

// firmwarePlaces are where systems install split x86-64 UEFI firmware without Secure Boot, code and
// variables, in order of preference. 4 MiB builds come first, because newer systems have only
// those.
var firmwarePlaces = [][2]string{
	// Debian, Ubuntu
	{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
	// Arch
	{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
	{"/usr/share/edk2-ovmf/x64/OVMF_CODE.4m.fd", "/usr/share/edk2-ovmf/x64/OVMF_VARS.4m.fd"},
	// openSUSE
	{"/usr/share/qemu/ovmf-x86_64-4m-code.bin", "/usr/share/qemu/ovmf-x86_64-4m-vars.bin"},
	// Fedora
	{"/usr/share/edk2/ovmf/OVMF_CODE_4M.qcow2", "/usr/share/edk2/ovmf/OVMF_VARS_4M.qcow2"},
	{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
	// older Debian, Ubuntu, Arch
	{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
	{"/usr/share/edk2-ovmf/x64/OVMF_CODE.fd", "/usr/share/edk2-ovmf/x64/OVMF_VARS.fd"},
	// QEMU's own, where it was built from source
	{"/usr/local/share/qemu/edk2-x86_64-code.fd", "/usr/local/share/qemu/edk2-i386-vars.fd"},
	{"/usr/share/qemu/edk2-x86_64-code.fd", "/usr/share/qemu/edk2-i386-vars.fd"},
}

// FindOVMF returns UEFI firmware: SPICELANE_OVMF_CODE and SPICELANE_OVMF_VARS if getenv has them,
// otherwise the first complete pair in the usual places. Vars is the system's template, to be
// copied before use. Paths are absolute. If only one of the variables is set, the error is a
// *ConfigError; if a file is not firmware, a *HostError.
func FindOVMF(getenv func(string) string) (Firmware, error) {
	return findOVMF(getenv, "/")
}

func findOVMF(getenv func(string) string, root string) (Firmware, error) {
	code, vars := getenv(EnvOVMFCode), getenv(EnvOVMFVars)
	if (code == "") != (vars == "") {
		return Firmware{}, &ConfigError{What: fmt.Sprintf("only one of %s and %s is set", EnvOVMFCode, EnvOVMFVars), Hint: "set both or neither"}
	}
	if code != "" {
		for _, path := range []*string{&code, &vars} {
			// QEMU runs in another directory.
			var err error
			if *path, err = filepath.Abs(*path); err != nil {
				return Firmware{}, err
			}
			if err := readable(*path); err != nil {
				return Firmware{}, &HostError{What: fmt.Sprintf("the UEFI firmware given in the environment cannot be read: %v", err),
					Hint: "correct " + EnvOVMFCode + " and " + EnvOVMFVars, Err: err}
			}
		}
		return Firmware{Code: code, Vars: vars}.identify()
	}
	for _, place := range firmwarePlaces {
		fw := Firmware{Code: filepath.Join(root, place[0]), Vars: filepath.Join(root, place[1])}
		if readable(fw.Code) == nil && readable(fw.Vars) == nil {
			return fw.identify()
		}
	}
	return Firmware{}, &HostError{What: "UEFI firmware (OVMF) was not found in any of the usual places", Hint: hintOVMF}
}

// identify returns fw with the formats of its files, which it reads. Firmware that it refuses would
// leave the guest with a blank screen; the error is a *HostError.
func (fw Firmware) identify() (Firmware, error) {
	code, codeFormat, err := readFlash(fw.Code)
	if err != nil {
		return fw, err
	}
	vars, varsFormat, err := readFlash(fw.Vars)
	if err != nil {
		return fw, err
	}
	fw.CodeFormat, fw.VarsFormat = codeFormat, varsFormat
	bad := func(format string, args ...any) (Firmware, error) {
		return fw, &HostError{What: fmt.Sprintf(format, args...), Hint: hintOVMF}
	}
	// If it cannot be read here, QEMU decides.
	if code != nil {
		switch has := volumes(code); {
		case !has.code && has.vars:
			return bad("%s holds UEFI variables and no code", fw.Code)
		case !has.code:
			return bad("%s is no UEFI firmware: there is no firmware volume in it", fw.Code)
		}
	}
	if vars != nil {
		switch has := volumes(vars); {
		case !has.vars && has.code:
			return bad("%s holds UEFI code and no variables", fw.Vars)
		case !has.vars:
			return bad("%s holds no UEFI variables: there is no firmware volume in it", fw.Vars)
		}
	}
	// The flash of OVMF's two builds, split: the code knows where its variables end.
	const code2M, vars2M, code4M, vars4M = 1966080, 131072, 3653632, 540672
	if len(code) == code4M && len(vars) == vars2M || len(code) == code2M && len(vars) == vars4M {
		return bad("%s and %s are of different builds (2 MiB and 4 MiB)", fw.Code, fw.Vars)
	}
	return fw, nil
}

// maxFlash limits the size of a flash image in bytes; QEMU's own limit is 8 MiB by default.
const maxFlash = 64 << 20

// readFlash returns the content of a flash image and its format. The content is nil if it cannot be
// determined.
func readFlash(path string) (content []byte, format string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, "", &HostError{What: fmt.Sprintf("the UEFI firmware cannot be read: %v", err), Hint: hintOVMF, Err: err}
	}
	defer f.Close()
	info, err := readQcow2(f)
	switch {
	case errors.Is(err, errNotQcow2):
		b, err := io.ReadAll(io.LimitReader(f, maxFlash+1))
		if err != nil || len(b) > maxFlash {
			return nil, "", &HostError{What: fmt.Sprintf("%s is no UEFI firmware: it has more than %d MiB or cannot be read", path, maxFlash>>20), Hint: hintOVMF, Err: err}
		}
		return b, FormatRaw, nil
	case err != nil:
		return nil, "", &HostError{What: fmt.Sprintf("the UEFI firmware %s is damaged: %v", path, err), Hint: hintOVMF, Err: err}
	case info.size > maxFlash:
		return nil, "", &HostError{What: fmt.Sprintf("%s is no UEFI firmware: it is a disk of %d MiB", path, info.size>>20), Hint: hintOVMF}
	case info.backing != "" || info.external:
		return nil, FormatQcow2, nil
	}
	content, err = qcow2Content(f, info)
	if err != nil {
		return nil, FormatQcow2, nil
	}
	return content, FormatQcow2, nil
}

// Signatures in flash (UEFI Platform Initialization, volume 3): a firmware volume
// has "_FVH" 40 bytes from its beginning, and the GUID of what it holds at 16.
var (
	volumeSignature = []byte("_FVH")
	// gEfiSystemNvDataFvGuid: variables
	variablesGUID = []byte{0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c, 0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50}
)

// contents says which firmware volumes a flash image has.
type contents struct{ code, vars bool }

func volumes(flash []byte) (has contents) {
	for at := 0; ; {
		i := bytes.Index(flash[at:], volumeSignature)
		if i < 0 {
			return has
		}
		at += i
		if at >= 40 {
			if bytes.Equal(flash[at-24:at-8], variablesGUID) {
				has.vars = true
			} else {
				has.code = true
			}
		}
		at += len(volumeSignature)
	}
}

// errUnread means that an image uses features that are not supported here.
var errUnread = errors.New("is not read here")

// qcow2Content reads the whole disk of a small image without a backing file.
func qcow2Content(r io.ReaderAt, info qcow2Info) ([]byte, error) {
	const (
		offsetMask = 0x00fffffffffffe00
		zero       = 1 << 0 // of a second-level entry
		compressed = 1 << 62
	)
	bits := info.clusterBits
	if bits < 9 || bits > 21 {
		return nil, errUnread
	}
	cluster := int64(1) << bits
	disk := make([]byte, info.size)
	entry := make([]byte, 8)
	read := func(at int64) (uint64, error) {
		if n, err := r.ReadAt(entry, at); n < len(entry) {
			return 0, errors.Join(err, errUnread)
		}
		return binary.BigEndian.Uint64(entry), nil
	}
	for at := int64(0); at < info.size; at += cluster {
		n := at >> bits
		l2, err := read(info.l1 + n/(cluster/8)*8)
		if err != nil {
			return nil, err
		}
		if l2 &= offsetMask; l2 == 0 {
			continue
		}
		e, err := read(int64(l2) + n%(cluster/8)*8)
		if err != nil {
			return nil, err
		}
		out := disk[at:min(at+cluster, info.size)]
		switch {
		case e&compressed != 0:
			x := 62 - (bits - 8)
			from := int64(e & (1<<x - 1))
			length := (int64(e>>x&(1<<(bits-8)-1)) + 1) * 512
			z := flate.NewReader(io.NewSectionReader(r, from, length))
			if _, err := io.ReadFull(z, out); err != nil {
				return nil, errors.Join(err, errUnread)
			}
		case e&zero != 0, e&offsetMask == 0:
		default:
			if n, err := r.ReadAt(out, int64(e&offsetMask)); n < len(out) {
				return nil, errors.Join(err, errUnread)
			}
		}
	}
	return disk, nil
}
