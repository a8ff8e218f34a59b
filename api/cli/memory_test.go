package cli

import (
	"log/slog"
	"math"
	"runtime/debug"
	"testing"
)

// TestGarbageMayWait changes what the whole process does, and so runs beside no other test.
func TestGarbageMayWait(t *testing.T) {
	percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(-1)
	defer func() { debug.SetGCPercent(percent); debug.SetMemoryLimit(limit) }()
	for _, c := range []struct {
		gogc, gomemlimit string
		percent          int
		limited          bool
	}{
		{"", "", garbagePercent, true},
		{"50", "", 100, true}, // as the runtime has read it; here 100
		{"", "1GiB", garbagePercent, false},
	} {
		debug.SetGCPercent(100)
		debug.SetMemoryLimit(math.MaxInt64)
		t.Setenv("GOGC", c.gogc)
		if c.gomemlimit != "" {
			t.Setenv("GOMEMLIMIT", c.gomemlimit)
		}
		spendMemory(slog.New(slog.DiscardHandler))
		if got, limited := debug.SetGCPercent(100), debug.SetMemoryLimit(-1) < math.MaxInt64; got != c.percent || limited != c.limited {
			t.Errorf("GOGC=%s GOMEMLIMIT=%s: %d %%, limited %v", c.gogc, c.gomemlimit, got, limited)
		}
	}
}
