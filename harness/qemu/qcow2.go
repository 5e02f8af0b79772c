package qemu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// The part of the qcow2 format that is needed to put an empty image above another one, and to find
// the images below one. Offsets and names are those of QEMU's docs/interop/qcow2.txt; all integers
// are big-endian.
const (
	qcow2Magic       = "QFI\xfb"
	qcow2HeaderBytes = 104 // of version 3 without optional fields

	qcow2ClusterBits = 16 // 64 KiB, as qemu-img does
	qcow2Cluster     = 1 << qcow2ClusterBits
	// One cluster of the second-level table maps this many bytes of the disk.
	qcow2PerL1 = qcow2Cluster / 8 * qcow2Cluster

	// Incompatible features.
	qcow2Dirty        = 1 << 0 // the reference counts may be stale
	qcow2ExternalData = 1 << 2 // the data is in another file

	// Types of header extensions.
	qcow2BackingFormat = 0xe2792aca
	qcow2DataFile      = 0x44415441 // the name of the external data file

	// The format's own limit for the name of a backing file.
	maxBackingName = 1023
	// QEMU's limit for the size of the first-level table (block/qcow2.h,
	// QCOW_MAX_L1_SIZE), which bounds the size of a disk.
	maxL1Bytes = 32 << 20
)

// A qcow2Info has the properties in the first cluster of a qcow2 image.
type qcow2Info struct {
	size     int64  // of the disk, in bytes
	backing  string // name of the file below, as written; "" if there is none
	format   string // of the file below, as written; "" if that is not said
	external bool   // the data is in a separate file
	data     string // name of that file, as written; "" if that is not said
	dirty    bool   // it was not closed: the reference counts may be stale

	clusterBits uint32
	l1          int64 // where the first-level table is
}

// errNotQcow2 means that bytes do not begin a qcow2 image.
var errNotQcow2 = errors.New("is not a qcow2 image")

// readQcow2 reads the header of an image.
func readQcow2(r io.ReaderAt) (qcow2Info, error) {
	var info qcow2Info
	h := make([]byte, qcow2HeaderBytes)
	n, err := r.ReadAt(h, 0)
	if err != nil && err != io.EOF {
		return info, err
	}
	if n < len(qcow2Magic) || string(h[:4]) != qcow2Magic {
		return info, errNotQcow2
	}
	// Version 2 ends behind snapshots_offset.
	version := binary.BigEndian.Uint32(h[4:])
	if n < 72 || version == 3 && n < qcow2HeaderBytes {
		return info, fmt.Errorf("qcow2 header: %w", io.ErrUnexpectedEOF)
	}
	if version != 2 && version != 3 {
		return info, fmt.Errorf("qcow2 header: version %d is not known", version)
	}
	size := binary.BigEndian.Uint64(h[24:])
	if size > maxL1Bytes/8*qcow2PerL1 {
		return info, fmt.Errorf("qcow2 header: a disk of %d bytes is larger than the format holds", size)
	}
	info.size = int64(size)
	info.clusterBits = binary.BigEndian.Uint32(h[20:])
	info.l1 = int64(binary.BigEndian.Uint64(h[40:]))
	extensions := int64(72)
	if version == 3 {
		features := binary.BigEndian.Uint64(h[72:])
		info.external = features&qcow2ExternalData != 0
		info.dirty = features&qcow2Dirty != 0
		extensions = int64(binary.BigEndian.Uint32(h[100:]))
	}
	if err := info.readExtensions(r, extensions); err != nil {
		return info, err
	}
	at, length := binary.BigEndian.Uint64(h[8:]), binary.BigEndian.Uint32(h[16:])
	if at == 0 {
		return info, nil
	}
	const largestCluster = 2 << 20
	if length == 0 || length > maxBackingName || at > largestCluster {
		return info, fmt.Errorf("qcow2 header: a backing file's name of %d bytes at %d cannot be", length, at)
	}
	name := make([]byte, length)
	if n, err := r.ReadAt(name, int64(at)); n < len(name) {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return info, fmt.Errorf("qcow2 backing file's name: %w", err)
	}
	info.backing = string(name)
	return info, nil
}

// readExtensions reads the names between the header and the backing file's name.
func (info *qcow2Info) readExtensions(r io.ReaderAt, at int64) error {
	const most = 64 // QEMU writes five at most
	for range most {
		h := make([]byte, 8)
		if n, err := r.ReadAt(h, at); n < len(h) {
			if err == io.EOF {
				return nil // an image of version 2 may end here
			}
			return fmt.Errorf("qcow2 header: %w", err)
		}
		kind, length := binary.BigEndian.Uint32(h), binary.BigEndian.Uint32(h[4:])
		at += 8
		if kind == 0 {
			return nil
		}
		if kind == qcow2BackingFormat || kind == qcow2DataFile {
			if length > maxBackingName {
				return fmt.Errorf("qcow2 header: a name of %d bytes cannot be", length)
			}
			name := make([]byte, length)
			if n, err := r.ReadAt(name, at); n < len(name) {
				if err == io.EOF {
					err = io.ErrUnexpectedEOF
				}
				return fmt.Errorf("qcow2 header: %w", err)
			}
			if kind == qcow2DataFile {
				info.data = string(name)
			} else {
				info.format = string(name)
			}
		}
		at += (int64(length) + 7) &^ 7
	}
	return nil
}

// emptyOverlay returns the bytes of a qcow2 image of size bytes whose content comes completely from
// base: an absolute path, or a description of an image (see layer.name).
func emptyOverlay(base, format string, size int64) ([]byte, error) {
	if !filepath.IsAbs(base) && !strings.HasPrefix(base, jsonName) || len(base) > maxBackingName || strings.ContainsRune(base, 0) {
		return nil, fmt.Errorf("%q cannot be the name of a backing file", base)
	}
	if size < 0 || size > maxL1Bytes/8*qcow2PerL1 {
		return nil, fmt.Errorf("a disk of %d bytes cannot be", size)
	}
	l1 := (size + qcow2PerL1 - 1) / qcow2PerL1
	l1Clusters := max(1, (l1*8+qcow2Cluster-1)/qcow2Cluster)
	clusters := 3 + l1Clusters // header, refcount table, refcount block, first-level table

	b := make([]byte, clusters*qcow2Cluster)
	be := binary.BigEndian
	copy(b, qcow2Magic)
	be.PutUint32(b[4:], 3)
	be.PutUint32(b[20:], qcow2ClusterBits)
	be.PutUint64(b[24:], uint64(size))
	be.PutUint32(b[36:], uint32(l1))
	be.PutUint64(b[40:], 3*qcow2Cluster) // l1_table_offset
	be.PutUint64(b[48:], 1*qcow2Cluster) // refcount_table_offset
	be.PutUint32(b[56:], 1)              // refcount_table_clusters
	be.PutUint32(b[96:], 4)              // refcount_order: 16 bits
	be.PutUint32(b[100:], qcow2HeaderBytes)

	at := qcow2HeaderBytes
	be.PutUint32(b[at:], qcow2BackingFormat)
	be.PutUint32(b[at+4:], uint32(len(format)))
	at += 8 + copy(b[at+8:], format)
	at = (at + 7) &^ 7
	at += 8 // the extension that ends the list is all zero
	be.PutUint64(b[8:], uint64(at))
	be.PutUint32(b[16:], uint32(len(base)))
	copy(b[at:], base)

	be.PutUint64(b[1*qcow2Cluster:], 2*qcow2Cluster)
	for i := range clusters {
		be.PutUint16(b[2*qcow2Cluster+2*i:], 1)
	}
	return b, nil
}

// writeOverlay makes an empty overlay at path.
func writeOverlay(path, base, format string, size int64) error {
	b, err := emptyOverlay(base, format, size)
	if err != nil {
		return fmt.Errorf("make an overlay at %s: %w", path, err)
	}
	// QEMU refuses a truncated file; an existing file is overwritten completely.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fileError(path, err)
	}
	// Zeros need no space on the disk.
	last := bytes.TrimRight(b, "\x00")
	_, err = f.Write(last)
	if err == nil {
		err = f.Truncate(int64(len(b)))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		discard(path)
		return fileError(path, err)
	}
	return nil
}

// OverlayState makes the disk of a restored machine (Config.LoadState): an image at path whose
// content comes completely from base. base is the qcow2 image that was copied when the state was
// saved, and is known to be intact. No program runs, and nothing of the disk is copied. If base
// cannot be used, the error is a *ConfigError; if the disk is full, a *HostError.
func OverlayState(base, path string) error {
	base, err := filepath.Abs(base)
	if err != nil {
		return err
	}
	info, err := headerOf(base)
	if err != nil {
		return &ConfigError{What: fmt.Sprintf("the saved disk %s cannot be used: %v", base, err), Err: err}
	}
	return writeOverlay(path, base, "qcow2", info.size)
}

func headerOf(path string) (qcow2Info, error) {
	f, err := os.Open(path)
	if err != nil {
		return qcow2Info{}, err
	}
	defer f.Close()
	return readQcow2(f)
}
