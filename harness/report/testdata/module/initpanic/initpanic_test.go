package initpanic

import "testing"

func init() { panic("before any test") }

func TestNever(t *testing.T) {}
