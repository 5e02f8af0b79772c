package qemu

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// A layer is one of the stacked images that form a disk.
type layer struct {
	path  string
	qcow2 *qcow2Info // nil for other formats
	data  string     // path of the external data file; "" if there is none
	below *layer     // nil at the bottom
	// unknown describes another component of the disk, if it is not a file here.
	unknown string
}

// maxBackingChain is how many images may be stacked. QEMU has no limit; more than a few mean a
// loop.
const maxBackingChain = 32

func imageError(path, why string, err error) *ConfigError {
	return &ConfigError{What: fmt.Sprintf("the disk image %s %s", path, why), Err: err}
}

// layersOf returns the topmost layer of the disk in the image at path. The error is a *ConfigError:
// a file is missing, not a regular file, or damaged.
func layersOf(path string) (*layer, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	top := &layer{path: path}
	l := top
	for range maxBackingChain {
		below, err := l.read()
		if err != nil {
			return nil, err
		}
		if below == nil {
			return top, nil
		}
		l.below, l = below, below
	}
	return nil, imageError(l.path, fmt.Sprintf("lies above more than %d others", maxBackingChain), nil)
}

// read reads the layer's header and returns the layer below, which has not been read.
func (l *layer) read() (*layer, error) {
	if err := readable(l.path); err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, imageError(l.path, fmt.Sprintf("cannot be read: %v: %s", l.path, err), err)
	}
	info, err := headerOf(l.path)
	if errors.Is(err, errNotQcow2) {
		if format := otherFormat(l.path); format != "" {
			l.unknown = "is a " + format + " image, which may consist of files that are not known here"
		}
		return nil, nil
	}
	if err != nil {
		return nil, imageError(l.path, fmt.Sprintf("is damaged: %v", err), err)
	}
	l.qcow2 = &info
	if info.external {
		if info.data == "" || isProtocol(info.data) {
			l.unknown = fmt.Sprintf("has its data in %q, which is not a file", info.data)
			return nil, nil
		}
		l.data = beside(l.path, info.data)
		if err := readable(l.data); err != nil {
			return nil, imageError(l.path, fmt.Sprintf("has its data in another file, which cannot be read: %v", err), err)
		}
	}
	switch {
	case info.backing == "":
		return nil, nil
	case isProtocol(info.backing):
		l.unknown = fmt.Sprintf("lies above %q, which is not a file", info.backing)
		return nil, nil
	}
	return &layer{path: beside(l.path, info.backing)}, nil
}

// isProtocol tells whether QEMU takes a name for a protocol, not for a file. A protocol, such as
// json:, nbd: or https:, has a colon before the first slash (QEMU's path_has_protocol).
func isProtocol(name string) bool {
	head, _, _ := strings.Cut(name, "/")
	return strings.Contains(head, ":")
}

// beside returns name relative to the directory of the image at path.
func beside(path, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(path), name)
}

// jsonName begins a name that describes an image instead of naming a file.
const jsonName = "json:"

// name returns a name with which QEMU finds the layer from any working directory. Usually that is
// its path. QEMU would resolve the relative name of a data file from its working directory. So if
// the layer, or one below, has such a name, name returns a description of the layer.
func (l *layer) name() (string, error) {
	if !l.needsDescription() {
		return l.path, nil
	}
	b, err := json.Marshal(l.description(""))
	if err != nil {
		return "", err
	}
	name := jsonName + string(b)
	if len(name) > maxBackingName {
		return "", imageError(l.path, "and the files that it consists of have names that are too long together", nil)
	}
	return name, nil
}

func (l *layer) needsDescription() bool {
	return l.qcow2 != nil && l.data != "" && !filepath.IsAbs(l.qcow2.data) || l.below != nil && l.below.needsDescription()
}

// description describes the layer in the form of QEMU's blockdev-add. format is its format
// according to the layer above.
func (l *layer) description(format string) map[string]any {
	file := func(path string) map[string]any { return map[string]any{"driver": "file", "filename": path} }
	d := map[string]any{"driver": format, "file": file(l.path)}
	switch {
	case l.qcow2 != nil:
		d["driver"] = "qcow2"
	case format == "":
		d["driver"] = "raw"
	}
	if l.data != "" {
		d["data-file"] = file(l.data)
	}
	if l.below != nil && l.below.needsDescription() {
		d["backing"] = l.below.description(l.qcow2.format)
	}
	return d
}

// ImageFiles returns the files of a disk image as absolute paths: path itself and its data file,
// then the images below it. If an image has its data elsewhere (another host, a block device), the
// error is a *ConfigError.
func ImageFiles(path string) ([]string, error) {
	top, err := layersOf(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for l := top; l != nil; l = l.below {
		if l.unknown != "" {
			return nil, imageError(l.path, l.unknown, nil)
		}
		files = append(files, l.path)
		if l.data != "" {
			files = append(files, l.data)
		}
	}
	return files, nil
}

// otherFormat names the format of an image that may refer to other files, if QEMU can recognise it
// by its first bytes; "" for all others.
func otherFormat(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	head := make([]byte, 32)
	n, _ := io.ReadFull(f, head)
	for _, format := range []struct{ magic, name string }{
		{"QED\x00", "qed"},
		{"KDMV", "vmdk"}, {"COWD", "vmdk"}, {"# Disk DescriptorFile", "vmdk"},
		{"vhdxfile", "vhdx"},
		{"conectix", "vpc"},
		{"WithoutFreeSpace", "parallels"}, {"WithouFreSpacExt", "parallels"},
	} {
		if bytes.HasPrefix(head[:n], []byte(format.magic)) {
			return format.name
		}
	}
	return ""
}
