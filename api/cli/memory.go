package cli

import (
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const (
	garbagePercent = 400 // of what is in use may wait to be collected; Go's own default is 100
	memoryShare    = 0.7 // of the memory that this process may use, from which on it collects sooner
)

// spendMemory lets garbage wait longer than Go does by itself. With each collection the embedded server forgets the
// blocks of the log that it holds in memory: a long log is read and written in half the time when that is seldom. Who
// sets GOGC or GOMEMLIMIT has the last word.
func spendMemory(log *slog.Logger) {
	limit, err := memlimit.Set(
		memlimit.WithProvider(memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem)),
		memlimit.WithRatio(memoryShare), memlimit.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil { // without a limit more garbage might be too much
		log.Debug("how much memory there is cannot be found out", "error", err)
		return
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	log.Debug("memory", "limit", limit)
}
