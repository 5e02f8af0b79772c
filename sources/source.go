package sources

import (
	"context"
	"fmt"
	"slices"

	"github.com/spicelane/spicelane/spice/console"
)

// Console is one console of a source, see [console.Console].
type Console = console.Console

// Source lists consoles. It must be safe for concurrent use.
type Source interface {
	// Name is unique in a catalog and part of the URLs of its consoles.
	Name() string

	// Consoles lists the source's consoles, in a stable order.
	Consoles(ctx context.Context) ([]Console, error)

	// Console returns one console with its ticket. The error is a [*console.UnknownError] if the
	// source does not have it.
	Console(ctx context.Context, uuid string) (Console, error)
}

// Static is a source with a fixed list of consoles.
type Static struct {
	name     string
	consoles []Console
	byUUID   map[string]int
}

// NewStatic makes a source of the given consoles, whose Source field it sets. An empty name or uuid
// is an error, and so is a repeated uuid.
func NewStatic(name string, consoles ...Console) (*Static, error) {
	if name == "" {
		return nil, fmt.Errorf("sources: a source has no name")
	}
	s := &Static{name: name, consoles: slices.Clone(consoles), byUUID: map[string]int{}}
	for i := range s.consoles {
		c := &s.consoles[i]
		c.Source = name
		c.UUID = console.CanonicalUUID(c.UUID)
		if c.UUID == "" {
			return nil, fmt.Errorf("sources: %s: console %q has no uuid", name, c.Name)
		}
		if _, twice := s.byUUID[c.UUID]; twice {
			return nil, fmt.Errorf("sources: %s: uuid %s is used twice", name, c.UUID)
		}
		s.byUUID[c.UUID] = i
	}
	return s, nil
}

// Name returns the source's name.
func (s *Static) Name() string { return s.name }

// Consoles lists the consoles in the order in which they were given.
func (s *Static) Consoles(context.Context) ([]Console, error) { return slices.Clone(s.consoles), nil }

// Console returns the console with that uuid.
func (s *Static) Console(_ context.Context, uuid string) (Console, error) {
	i, ok := s.byUUID[console.CanonicalUUID(uuid)]
	if !ok {
		return Console{}, &console.UnknownError{Source: s.name, UUID: uuid}
	}
	return s.consoles[i], nil
}
