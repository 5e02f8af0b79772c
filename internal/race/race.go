//go:build race

// Package race says whether the race detector is in this program.
package race

// Enabled is whether it is. What runs then takes about ten times as long, and more memory.
const Enabled = true
