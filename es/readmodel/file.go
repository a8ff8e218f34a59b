package readmodel

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"

	"github.com/millstream-es/millstream/es"
)

// One row, always there: how much of the log the other tables show.
const checkpointSchema = `CREATE TABLE millstream_checkpoint (
	id       INTEGER PRIMARY KEY CHECK (id = 1),
	revision INTEGER NOT NULL,
	event_id TEXT NOT NULL
) STRICT;
INSERT INTO millstream_checkpoint VALUES (1, 0, '');`

// The commits that somebody decided to leave out, so that the projector could go on.
const skippedSchema = `CREATE TABLE IF NOT EXISTS millstream_skipped (
	revision   INTEGER PRIMARY KEY,
	reason     TEXT NOT NULL,
	skipped_by TEXT NOT NULL,
	skipped_at TEXT NOT NULL,
	error      TEXT NOT NULL
) STRICT;`

// side files that belong to a database file
var sideFiles = []string{"-wal", "-shm"}

// connect opens both pools, checks or creates the tables and reads the checkpoint. After an error nothing is open.
func (m *Model) connect(synchronous string) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, m.disconnect())
		}
	}()
	if m.writer, err = sql.Open(driverName, writerDSN(m.path, synchronous)); err != nil {
		return fmt.Errorf("read model %s: %w", m.projector.Name, err)
	}
	m.writer.SetMaxOpenConns(1)
	if err := m.prepare(); err != nil {
		return err
	}
	// Readers come after the writer: a read-only connection cannot create the side files.
	if m.readers, err = sql.Open(driverName, readerDSN(m.path)); err != nil {
		return fmt.Errorf("read model %s: %w", m.projector.Name, err)
	}
	n := max(4, 2*runtime.GOMAXPROCS(0))
	m.readers.SetMaxOpenConns(n)
	m.readers.SetMaxIdleConns(n)
	return nil
}

func (m *Model) prepare() error {
	ctx, name := context.Background(), m.projector.Name
	var tables int
	var whole bool
	err := m.writer.QueryRowContext(ctx,
		`SELECT count(*), coalesce(max(name = 'millstream_checkpoint'), 0) FROM sqlite_schema WHERE type = 'table'`).Scan(&tables, &whole)
	if err != nil {
		return fmt.Errorf("read model %s: open %s: %w", name, m.path, err)
	}
	switch {
	case tables == 0:
		if err := m.create(ctx); err != nil {
			return err
		}
	case !whole:
		return damaged("it has tables but no millstream_checkpoint")
	default:
		if err := quickCheck(ctx, m.writer); err != nil {
			return err
		}
	}
	if _, err := m.writer.ExecContext(ctx, skippedSchema); err != nil {
		return fmt.Errorf("read model %s: %w", name, err)
	}
	if err := m.recall(ctx, m.writer); err != nil {
		return fmt.Errorf("read model %s: %w", name, err)
	}
	return nil
}

// recall reads from the file what the model keeps in memory of it.
func (m *Model) recall(ctx context.Context, db es.Reader) error {
	revision, id, err := readCheckpoint(ctx, db)
	if err != nil {
		return err
	}
	complete, err := readComplete(ctx, db)
	if err != nil {
		return err
	}
	skipped, err := readSkipped(ctx, db)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.complete, m.skipped = complete, skipped
	m.mu.Unlock()
	m.advance(revision, id, true)
	return nil
}

// create runs the schema on an empty file, all of it or nothing.
func (m *Model) create(ctx context.Context) (err error) {
	held, err := m.writer.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("read model %s: create tables: %w", m.projector.Name, err)
	}
	defer func() {
		if undo := held.Rollback(); undo != nil && !errors.Is(undo, sql.ErrTxDone) {
			err = errors.Join(err, undo)
		}
	}()
	if _, err := held.ExecContext(ctx, checkpointSchema); err != nil {
		return fmt.Errorf("read model %s: create tables: %w", m.projector.Name, err)
	}
	if _, err := held.ExecContext(ctx, m.projector.Schema); err != nil {
		err = classify(fmt.Errorf("projector %s: its Schema does not run on an empty database: %w", m.projector.Name, err))
		if errors.Is(err, es.ErrPermanent) {
			// Nothing is worth keeping; the corrected schema will have another file name.
			return errors.Join(err, held.Rollback(), m.writer.Close(), remove(m.path))
		}
		return err
	}
	return held.Commit()
}

func (m *Model) disconnect() error {
	var errs []error
	// Readers first: the last connection to close writes the log back into the file, and readers may not.
	for _, pool := range []*sql.DB{m.readers, m.writer} {
		if pool != nil {
			errs = append(errs, pool.Close())
		}
	}
	return errors.Join(errs...)
}

func readCheckpoint(ctx context.Context, db es.Reader) (es.Revision, string, error) {
	var revision int64
	var id string
	err := db.QueryRowContext(ctx, `SELECT revision, event_id FROM millstream_checkpoint`).Scan(&revision, &id)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, "", damaged("millstream_checkpoint has no row")
	}
	if err != nil {
		return 0, "", fmt.Errorf("read the checkpoint: %w", err)
	}
	return es.Revision(revision), id, nil
}

func quickCheck(ctx context.Context, db *sql.DB) error {
	var found string
	if err := db.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&found); err != nil {
		return fmt.Errorf("quick_check: %w", err)
	}
	if found != "ok" {
		return damaged(found)
	}
	return nil
}

// damaged is a file that cannot be used and is replaced.
type damaged string

func (d damaged) Error() string { return string(d) }

// Unwrap makes it permanent: only opening the model anew replaces the file.
func (d damaged) Unwrap() error { return es.ErrPermanent }

// damage returns what is wrong with the file when err says that its content is, else "".
func damage(err error) string {
	if found, ok := errors.AsType[damaged](err); ok {
		return string(found)
	}
	if found, ok := errors.AsType[sqlite3.Error](err); ok && (found.Code == sqlite3.ErrCorrupt || found.Code == sqlite3.ErrNotADB) {
		return found.Error()
	}
	return ""
}

// setAside renames a file and its write-ahead log, for someone to look at, and returns the new name.
func setAside(path string) (string, error) {
	aside := path + ".corrupt-" + time.Now().UTC().Format("20060102T150405.000000000Z")
	if err := os.Rename(path, aside); err != nil {
		return "", err
	}
	if err := os.Rename(path+"-wal", aside+"-wal"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return aside, remove(path)
}

// remove deletes a file with its side files; those that are not there are fine.
func remove(path string) error {
	var errs []error
	for _, suffix := range append([]string{""}, sideFiles...) {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func writerDSN(path, synchronous string) string {
	return dsn(path, "_journal_mode=WAL", "_synchronous="+synchronous, "_txlock=immediate")
}

func readerDSN(path string) string { return dsn(path, "mode=ro", "_query_only=on") }

func dsn(path string, options ...string) string {
	options = append(options, "_busy_timeout=5000", "_foreign_keys=on", "_stmt_cache_size=128")
	escaped := &url.URL{Path: path}
	return "file:" + escaped.EscapedPath() + "?" + strings.Join(options, "&")
}
