package truth

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrMemoryFull means that the device has no memory for a surface or a command, because the server
// has not released enough.
var ErrMemoryFull = errors.New("truth: the device's memory is full")

// memory is the device's memory, shared with the helper. Surfaces are at the beginning. The rest is
// a ring of commands, which the server releases roughly in order.
type memory struct {
	file     *os.File
	all      []byte
	surfaces uint64 // where the next surface is put
	ring     uint64 // where the ring begins
	head     uint64 // where the next command is put
	blocks   []*block
	open     *block
	byID     map[uint64]*block
}

// block is the memory of one command.
type block struct {
	id         uint64
	start, end uint64
	released   bool
}

const (
	// DefaultMemory is the size of the device's memory in bytes. It is large because under GLZ the
	// server keeps images of up to 8 Mi pixels.
	DefaultMemory = 192 << 20
	surfaceMemory = 32 << 20
	// align is the alignment of all addresses. 0 is not an address, so the first structure is here.
	align = 64
)

func newMemory(path string, size int) (*memory, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("truth: device memory: %w", err)
	}
	// The file is sparse: pages that are never written take no space.
	if err := f.Truncate(int64(size)); err != nil {
		f.Close()
		return nil, fmt.Errorf("truth: device memory: %w", err)
	}
	all, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("truth: device memory of %d bytes: %w", size, err)
	}
	ring := uint64(min(surfaceMemory, size/2))
	return &memory{file: f, all: all, surfaces: align, ring: ring, head: ring, byID: map[uint64]*block{}}, nil
}

func (m *memory) close() error {
	err := syscall.Munmap(m.all)
	return errors.Join(err, m.file.Close(), os.Remove(m.file.Name()))
}

// surface allocates n zeroed bytes for a surface and returns their address. They are never freed.
func (m *memory) surface(n int) (uint64, error) {
	at := m.surfaces
	if at+uint64(n) > m.ring {
		return 0, ErrMemoryFull
	}
	m.surfaces = (at + uint64(n) + align - 1) &^ (align - 1)
	clear(m.all[at : at+uint64(n)])
	return at, nil
}

// begin assigns all allocations until the next begin to a command.
func (m *memory) begin(id uint64) {
	m.open = &block{id: id, start: m.head, end: m.head}
	m.blocks = append(m.blocks, m.open)
	m.byID[id] = m.open
}

// Alloc allocates n zeroed bytes for the command of the last begin. It returns their address and
// the bytes, or ErrMemoryFull.
func (m *memory) Alloc(n int) (uint64, []byte, error) {
	size := (uint64(n) + align - 1) &^ (align - 1)
	at := m.head
	if m.ring+size > uint64(len(m.all)) {
		return 0, nil, ErrMemoryFull
	}
	if at+size > uint64(len(m.all)) {
		at = m.ring
		if m.open.start != m.open.end || len(m.blocks) > 1 {
			// A block that wraps would not be contiguous: close it and open another for the same
			// command.
			rest := &block{id: m.open.id, start: at, end: at}
			m.blocks = append(m.blocks, rest)
			m.open = rest
		} else {
			m.open.start, m.open.end = at, at
		}
	}
	for _, b := range m.blocks {
		if b.start < at+size && at < b.end {
			return 0, nil, ErrMemoryFull
		}
	}
	m.head = at + size
	m.open.end = m.head
	b := m.all[at : at+uint64(n) : at+uint64(n)]
	clear(m.all[at : at+size])
	return at, b, nil
}

// release frees a command's memory.
func (m *memory) release(id uint64) {
	if b := m.byID[id]; b != nil {
		b.released = true
		delete(m.byID, id)
	}
	released := func(b *block) bool { return b != m.open && (b.released || m.byID[b.id] == nil) }
	for len(m.blocks) > 0 && released(m.blocks[0]) {
		m.blocks = m.blocks[1:]
	}
}
