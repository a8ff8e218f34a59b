package es

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
)

// Tx is the transaction a projector writes in; *sql.Tx satisfies it. The engine passes one that caches statements.
type Tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Reader is the read-only side that queries ask; *sql.DB satisfies it.
type Reader interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Projector folds the log into one SQLite file. Apply is called once for every handled event, in the order of the
// log; its rows and the checkpoint commit together. An error stops this projector, and only this one.
type Projector struct {
	Name     string
	Version  int    // raise it when Apply computes something else from the same events
	Schema   string // CREATE TABLE … statements, run once on an empty file
	Interest Interest
	Apply    func(ctx context.Context, tx Tx, r Recorded) error
	// Check, when it is there, is tried on an empty scratch database before the model is opened. It finds what a
	// compiler would in a projector made of text, and leaves nothing behind that matters.
	Check func(ctx context.Context, tx Tx) error
}

// Key names the projector at its version and schema ("orders-v3-1f2e3d4c"): another key is another file.
func (p Projector) Key() string {
	h := sha256.Sum256([]byte(p.Schema))
	return fmt.Sprintf("%s-v%d-%s", p.Name, p.Version, hex.EncodeToString(h[:])[:8])
}
