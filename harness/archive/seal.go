package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// The seal is a skippable frame of zstd, which decompressors ignore: its magic number, the length
// of what follows, and the sha256 of all bytes of the object before the sha256 itself. Without the
// seal, a flipped bit that the decompressor ignores, such as a reserved one, would go unnoticed.
const (
	sealMagic = 0x184D2A5C
	sealHead  = 8
	sealBytes = sealHead + sha256.Size
)

// maxMemory limits the size of a content that is read into memory: a record, run.json or list of
// files.
const maxMemory = 1 << 30

var encoders = sync.Pool{New: func() any {
	// NB: the options are valid, so there is no error.
	e, _ := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
	return e
}}

// seal writes the content of r to w, compressed and sealed. It returns the content's sha256 in hex
// and its size.
func seal(w io.Writer, r io.Reader) (sum string, size int64, err error) {
	stored, content := sha256.New(), sha256.New()
	out := io.MultiWriter(w, stored)
	e := encoders.Get().(*zstd.Encoder)
	defer encoders.Put(e)
	e.Reset(out)
	size, err = io.Copy(e, io.TeeReader(r, content))
	if err = errors.Join(err, e.Close()); err != nil {
		return "", 0, err
	}
	var head [sealHead]byte
	binary.LittleEndian.PutUint32(head[:], sealMagic)
	binary.LittleEndian.PutUint32(head[4:], sha256.Size)
	if _, err = out.Write(head[:]); err != nil {
		return "", 0, err
	}
	_, err = w.Write(stored.Sum(nil))
	return hex.EncodeToString(content.Sum(nil)), size, err
}

// sealed returns b as an object, and the sha256 of b in hex.
func sealed(b []byte) (object []byte, sum string) {
	var out bytes.Buffer
	sum, _, _ = seal(&out, bytes.NewReader(b)) // NB: a buffer takes everything
	return out.Bytes(), sum
}

// A DamageError says that an object does not have the content that it was stored with.
type DamageError struct {
	Name string // of the object
	Err  error
}

func (e *DamageError) Error() string { return fmt.Sprintf("%s is damaged: %v", e.Name, e.Err) }
func (e *DamageError) Unwrap() error { return e.Err }

// opener reads an object and checks its seal at the end.
type opener struct {
	name    string
	r       io.Reader
	held    []byte // the last sealBytes that have been read
	eof     bool
	broken  error // an error of the store, not of the content
	stored  hash.Hash
	content hash.Hash
	want    string // the content's expected sha256; empty if unknown
	dec     *zstd.Decoder
	close   func() error
}

// unseal returns a reader of an object's content. Read returns a *DamageError if any bit of the
// object has changed, or if want is set and the content has another sha256.
func unseal(name string, rc io.ReadCloser, want string) (io.ReadCloser, error) {
	o := &opener{name: name, r: rc, stored: sha256.New(), content: sha256.New(), want: want, close: rc.Close}
	dec, err := zstd.NewReader(frames{o}, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, errors.Join(err, rc.Close())
	}
	o.dec = dec
	return o, nil
}

// frames is a reader for the decompressor: everything but the seal.
type frames struct{ o *opener }

func (f frames) Read(p []byte) (int, error) {
	o := f.o
	for !o.eof && len(o.held) < sealBytes+len(p) {
		buf := make([]byte, max(len(p), 32<<10))
		n, err := o.r.Read(buf)
		o.held = append(o.held, buf[:n]...)
		if errors.Is(err, io.EOF) {
			o.eof = true
		} else if err != nil {
			o.broken = err
			return 0, err
		}
	}
	n := copy(p, o.held[:max(len(o.held)-sealBytes, 0)])
	o.stored.Write(o.held[:n])
	o.held = append(o.held[:0], o.held[n:]...)
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (o *opener) Read(p []byte) (int, error) {
	n, err := o.dec.Read(p)
	o.content.Write(p[:n])
	switch {
	case errors.Is(err, io.EOF):
		if bad := o.check(); bad != nil {
			return n, &DamageError{Name: o.name, Err: bad}
		}
	case o.broken != nil:
		return n, o.broken
	case err != nil:
		return n, &DamageError{Name: o.name, Err: err}
	}
	return n, err
}

func (o *opener) check() error {
	return check(o.held, o.stored, hex.EncodeToString(o.content.Sum(nil)), o.want)
}

// check compares a seal with the hash of the bytes before it, and a content's sha256 with want.
func check(seal []byte, stored hash.Hash, sum, want string) error {
	if len(seal) != sealBytes || binary.LittleEndian.Uint32(seal) != sealMagic ||
		binary.LittleEndian.Uint32(seal[4:]) != sha256.Size {
		return errors.New("its seal is missing: it has been cut off or overwritten")
	}
	stored.Write(seal[:sealHead])
	if !bytes.Equal(stored.Sum(nil), seal[sealHead:]) {
		return errors.New("its bytes do not match its seal")
	}
	if want != "" && sum != want {
		return fmt.Errorf("its content has sha256 %s", sum)
	}
	return nil
}

var decoders = sync.Pool{New: func() any {
	d, _ := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxMemory))
	return d
}}

// unsealBytes returns the content of an object that is in memory.
func unsealBytes(name string, object []byte, want string) ([]byte, error) {
	at := max(len(object)-sealBytes, 0)
	stored := sha256.New()
	stored.Write(object[:at])
	d := decoders.Get().(*zstd.Decoder)
	defer decoders.Put(d)
	b, err := d.DecodeAll(object[:at], nil)
	if err == nil {
		sum := ""
		if want != "" {
			s := sha256.Sum256(b)
			sum = hex.EncodeToString(s[:])
		}
		err = check(object[at:], stored, sum, want)
	}
	if err != nil {
		return nil, &DamageError{Name: name, Err: err}
	}
	return b, nil
}

func (o *opener) Close() error {
	o.dec.Close()
	return o.close()
}
