// Package readmodel keeps one projector's read model in one SQLite file: its rows and the checkpoint that says how
// much of the log they show commit together, so that the model always equals the fold of the log up to there.
//
// The log is the truth and a model can always be rebuilt from it. Files therefore run with synchronous=NORMAL: a
// power cut may take back the last transactions, rows and checkpoint alike, and they are simply applied again.
package readmodel

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/millstream-es/millstream/es"
)

// Batch is a run of whole commits, ascending. Events may be fewer than the commits hold (those nobody handles may
// be left out), but never part of a later commit than Last.
type Batch struct {
	Events []es.Recorded
	Last   es.Revision // of the last commit
	LastID string      // id of the last commit's last event
}

// Model is an open read model: one writer, many readers.
type Model struct {
	projector es.Projector
	path      string
	recovered string
	handled   map[string]bool

	writer  *sql.DB // exactly one connection
	readers *sql.DB

	write sync.Mutex // held by Apply, Swap, Reset and Close

	mu         sync.Mutex
	revision   es.Revision
	eventID    string
	generation uint64
	complete   bool
	skipped    map[es.Revision]Skipped // replaced, never changed
	closed     bool
	changed    chan struct{} // closed, and replaced, when the checkpoint moves
}

// Open opens dir/<p.Key()>.db, creating directory and file when they are not there. A damaged file is set aside
// and an empty model takes its place; Recovered then says so. Errors: permanent when Schema does not run, transient
// when the file system is to blame.
func Open(dir string, p es.Projector) (*Model, error) {
	return open(filepath.Join(dir, p.Key()+".db"), p, "NORMAL")
}

func open(path string, p es.Projector, synchronous string) (*Model, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, es.Transient(fmt.Errorf("read model %s: %w", p.Name, err))
	}
	// Read models hold personal data: only their owner may list them.
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, es.Transient(fmt.Errorf("read model %s: create its directory: %w", p.Name, err))
	}
	m := &Model{projector: p, path: path, handled: map[string]bool{}, changed: make(chan struct{})}
	for _, e := range p.Interest.Handles {
		m.handled[e.EventType()] = true
	}
	if err := check(p); err != nil {
		return nil, classify(err)
	}
	err = m.connect(synchronous)
	if why := damage(err); why != "" {
		aside, asideErr := setAside(path)
		if asideErr != nil {
			return nil, es.Transient(fmt.Errorf("read model %s is damaged (%s) and could not be set aside: %w", p.Name, why, asideErr))
		}
		m.recovered = fmt.Sprintf("read model %s was damaged (%s): set aside as %s, rebuilding from the log", p.Name, why, filepath.Base(aside))
		err = m.connect(synchronous)
	}
	if err != nil {
		return nil, classify(err)
	}
	return m, nil
}

// Projector is what the model was opened for.
func (m *Model) Projector() es.Projector { return m.projector }

// Path is the model's file.
func (m *Model) Path() string { return m.path }

// Recovered says that a damaged file was found and set aside when the model was opened; "" when all was well.
func (m *Model) Recovered() string { return m.recovered }

// DB is the read side: a pool of connections that cannot write. Each statement sees one commit of the model.
func (m *Model) DB() es.Reader { return m.readers }

// Checkpoint returns the last revision that the model shows and the id of that commit's last event; 0 and "" when
// it shows nothing yet.
func (m *Model) Checkpoint() (es.Revision, string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.revision, m.eventID
}

// Generation changes whenever an answer from the model may: with each commit that handled an event. Read before
// asking, it names what is asked.
func (m *Model) Generation() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.generation
}

// Apply folds a batch in one transaction with the checkpoint; what the model already shows is skipped. After an
// error nothing has changed. Errors: transient for a full disk, a locked file or an ended ctx; permanent for a
// batch out of order or a projector whose statements fail; what the projector itself marked stays as marked. An
// EventError names the commit at fault.
func (m *Model) Apply(ctx context.Context, b Batch) error {
	if err := b.check(); err != nil {
		return es.Permanent(fmt.Errorf("read model %s: %w", m.projector.Name, err))
	}
	m.write.Lock()
	defer m.write.Unlock()
	if err := m.apply(ctx, b); err != nil {
		return classify(fmt.Errorf("read model %s: %w", m.projector.Name, err))
	}
	return nil
}

func (m *Model) apply(ctx context.Context, b Batch) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.isClosed() {
		return es.Transient(errors.New("it is closed"))
	}
	// The transaction itself does not hear of ctx: it ends by our commit or our rollback, nothing between.
	held, err := m.writer.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() {
		if undo := held.Rollback(); undo != nil && !errors.Is(undo, sql.ErrTxDone) {
			err = errors.Join(err, fmt.Errorf("roll back: %w", undo))
		}
	}()
	t := tx{held}
	// Read from the file, not from memory: after a commit that failed halfway only the file knows.
	from, fromID, err := readCheckpoint(ctx, t)
	if err != nil {
		return err
	}
	if b.Last <= from {
		m.advance(from, fromID, true)
		return nil
	}
	m.mu.Lock()
	skipped := m.skipped
	m.mu.Unlock()
	handled := false
	calm := context.WithoutCancel(ctx)
	for _, r := range b.Events {
		if r.Revision <= from || !m.handled[r.EventType()] {
			continue
		}
		if _, skip := skipped[r.Revision]; skip {
			continue
		}
		handled = true
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := m.projector.Apply(calm, t, r); err != nil {
			return &EventError{Revision: r.Revision, Err: fmt.Errorf("apply %s of %s at revision %d: %w", r.EventType(), r.Stream, r.Revision, err)}
		}
	}
	if _, err := t.ExecContext(ctx, `UPDATE millstream_checkpoint SET revision = ?, event_id = ?`, int64(b.Last), b.LastID); err != nil {
		return fmt.Errorf("write the checkpoint: %w", err)
	}
	if err := held.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	m.advance(b.Last, b.LastID, handled)
	return nil
}

// EventError says which commit could not be applied.
type EventError struct {
	Revision es.Revision
	Err      error
}

func (e *EventError) Error() string { return e.Err.Error() }
func (e *EventError) Unwrap() error { return e.Err }

func (b Batch) check() error {
	if b.Last == 0 || b.LastID == "" {
		return fmt.Errorf("a batch needs the revision and the event id it ends on, found %d and %q", b.Last, b.LastID)
	}
	var before es.Revision
	for _, r := range b.Events {
		if r.Revision == 0 || r.Revision < before {
			return fmt.Errorf("the batch does not ascend: revision %d comes after %d", r.Revision, before)
		}
		before = r.Revision
	}
	if before > b.Last {
		return fmt.Errorf("the batch says it ends on revision %d and holds an event of %d", b.Last, before)
	}
	return nil
}

// WaitFor returns when the model shows revision. When ctx ends first, or the model is closed, the error is
// transient and says where the model stands.
func (m *Model) WaitFor(ctx context.Context, revision es.Revision) error {
	for {
		m.mu.Lock()
		at, closed, changed := m.revision, m.closed, m.changed
		m.mu.Unlock()
		if at >= revision {
			return nil
		}
		if closed {
			return es.Transient(fmt.Errorf("read model %s was closed at revision %d, %d was asked for", m.projector.Name, at, revision))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return es.Transient(fmt.Errorf("read model %s stands at revision %d, %d was asked for: %w", m.projector.Name, at, revision, context.Cause(ctx)))
		}
	}
}

// Close ends the model: waiters are released, the file is left whole and without side files.
func (m *Model) Close() error {
	m.write.Lock()
	defer m.write.Unlock()
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil
	}
	m.closed = true
	close(m.changed)
	m.mu.Unlock()
	return m.disconnect()
}

func (m *Model) isClosed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}

// advance tells those who wait. anew: the rows may be others than before.
func (m *Model) advance(revision es.Revision, eventID string, anew bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if anew {
		m.generation++
	}
	if m.closed || m.revision == revision && m.eventID == eventID {
		return
	}
	m.revision, m.eventID = revision, eventID
	close(m.changed)
	m.changed = make(chan struct{})
}

// tx is what projectors write through. A statement of theirs runs to its end or not at all: with a context that
// can be cancelled the driver would start a goroutine for each one. Statements are prepared once per connection,
// by the driver's own cache.
type tx struct{ held *sql.Tx }

// calmed is context.WithoutCancel, where it is needed.
func calmed(ctx context.Context) context.Context {
	if ctx.Done() == nil {
		return ctx
	}
	return context.WithoutCancel(ctx)
}

func (t tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return t.held.ExecContext(calmed(ctx), query, args...)
}

func (t tx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return t.held.QueryContext(calmed(ctx), query, args...)
}

func (t tx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return t.held.QueryRowContext(calmed(ctx), query, args...)
}
