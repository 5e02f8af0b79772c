//go:build race

// Package race says whether this program was built with the race detector.
package race

// Enabled says whether the race detector is on. It makes code about ten times as slow, and uses
// more memory.
const Enabled = true
