package readmodel

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/millstream-es/millstream/es"
)

// Complete reports whether the model has ever shown the whole log. It is written in the file itself, so that a file
// begun anew, or half built when its process died, is known for what it is.
func (m *Model) Complete() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.complete
}

// SetComplete writes that the model has shown the whole log.
func (m *Model) SetComplete(ctx context.Context) error {
	m.write.Lock()
	defer m.write.Unlock()
	if m.Complete() {
		return nil
	}
	// user_version is SQLite's own number for a file's owner to use. It is part of the content: a rebuilt model that is
	// swapped in brings its own.
	if _, err := m.writer.ExecContext(ctx, `PRAGMA user_version = 1`); err != nil {
		return classify(fmt.Errorf("read model %s: note that it is complete: %w", m.projector.Name, err))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.complete = true
	return nil
}

func readComplete(ctx context.Context, db es.Reader) (bool, error) {
	var version int
	if err := db.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version); err != nil {
		return false, fmt.Errorf("read whether it is complete: %w", err)
	}
	return version == 1, nil
}

// Skipped is a commit that somebody decided to leave out.
type Skipped struct {
	Revision es.Revision `json:"revision"`
	Reason   string      `json:"reason"`
	By       string      `json:"by"`
	At       time.Time   `json:"at"`
	Error    string      `json:"error"` // why it could not be applied
}

// Skipped are the commits left out, by revision.
func (m *Model) Skipped() map[es.Revision]Skipped {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.skipped
}

// Skip makes the model pass over commits from now on, and writes down who decided so and why. It undoes nothing: a
// commit that the model shows already is refused (permanent error).
func (m *Model) Skip(ctx context.Context, all ...Skipped) error {
	m.write.Lock()
	defer m.write.Unlock()
	at, _ := m.Checkpoint()
	for _, s := range all {
		if s.Revision <= at {
			return es.Permanent(fmt.Errorf("read model %s shows revision %d already, it stands at %d: only what is still to come can be skipped", m.projector.Name, s.Revision, at))
		}
		_, err := m.writer.ExecContext(ctx, `INSERT INTO millstream_skipped VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			int64(s.Revision), s.Reason, s.By, s.At.UTC().Format(time.RFC3339Nano), s.Error)
		if err != nil {
			return classify(fmt.Errorf("read model %s: note that revision %d is skipped: %w", m.projector.Name, s.Revision, err))
		}
	}
	skipped, err := readSkipped(ctx, m.writer)
	if err != nil {
		return classify(fmt.Errorf("read model %s: %w", m.projector.Name, err))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.skipped = skipped
	return nil
}

func readSkipped(ctx context.Context, db es.Reader) (found map[es.Revision]Skipped, err error) {
	rows, err := db.QueryContext(ctx, `SELECT revision, reason, skipped_by, skipped_at, error FROM millstream_skipped`)
	if err != nil {
		return nil, fmt.Errorf("read what is skipped: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	found = map[es.Revision]Skipped{}
	for rows.Next() {
		var s Skipped
		var revision int64
		var at string
		if err := rows.Scan(&revision, &s.Reason, &s.By, &at, &s.Error); err != nil {
			return nil, fmt.Errorf("read what is skipped: %w", err)
		}
		s.Revision = es.Revision(revision)
		if s.At, err = time.Parse(time.RFC3339Nano, at); err != nil {
			return nil, fmt.Errorf("read what is skipped: %w", err)
		}
		found[s.Revision] = s
	}
	return found, rows.Err()
}

// check tries a projector that can be tried on an empty database in memory, so that its file is never begun when it
// has faults.
func check(p es.Projector) (err error) {
	if p.Check == nil {
		return nil
	}
	ctx := context.Background()
	scratch, err := sql.Open(driverName, ":memory:")
	if err != nil {
		return fmt.Errorf("projector %s: %w", p.Name, err)
	}
	defer func() { err = errors.Join(err, scratch.Close()) }()
	scratch.SetMaxOpenConns(1) // each connection has a memory of its own
	held, err := scratch.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("projector %s: %w", p.Name, err)
	}
	if err := p.Check(ctx, tx{held}); err != nil {
		return errors.Join(fmt.Errorf("projector %s: %w", p.Name, err), held.Rollback())
	}
	return held.Rollback()
}
