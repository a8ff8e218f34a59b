package readmodel

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/mattn/go-sqlite3"

	"github.com/millstream-es/millstream/es"
)

// What follows a model's own file name.
const (
	rebuildSuffix = ".rebuild"
	verifySuffix  = ".verify"
)

// Build opens an empty model beside the serving one, dir/<p.Key()>.db.rebuild, to be filled from the log and then
// swapped in. What an interrupted build left is thrown away; for the same reason nothing of it is synced to disk.
func Build(dir string, p es.Projector) (*Model, error) { return buildAside(dir, p, rebuildSuffix) }

// BuildToVerify is Build for a model that is compared and then discarded; both may be under way at once.
func BuildToVerify(dir string, p es.Projector) (*Model, error) {
	return buildAside(dir, p, verifySuffix)
}

func buildAside(dir string, p es.Projector, suffix string) (*Model, error) {
	return buildFile(filepath.Join(dir, p.Key()+".db"+suffix), p)
}

// buildFile opens an empty model at a path of its own.
func buildFile(path string, p es.Projector) (*Model, error) {
	if err := remove(path); err != nil {
		return nil, es.Transient(fmt.Errorf("read model %s: remove an unfinished rebuild: %w", p.Name, err))
	}
	return open(path, p, "OFF")
}

// Discard closes a model and removes its file: a build that was given up.
func (m *Model) Discard() error {
	return errors.Join(m.Close(), remove(m.path))
}

// Swap makes the content of another model, made by Build, that of this one, and removes the other. It is one
// SQLite transaction in this model's own file: queries see the old content up to it and the new one after it, and
// a crash in the middle leaves the old. Permanent error: the other is of another key, or not yet as far.
func (m *Model) Swap(other *Model) error {
	if m.projector.Key() != other.projector.Key() {
		return es.Permanent(fmt.Errorf("read model %s cannot take the content of %s", m.projector.Key(), other.projector.Key()))
	}
	m.write.Lock()
	defer m.write.Unlock()
	at, _ := m.Checkpoint()
	if built, _ := other.Checkpoint(); built < at {
		return es.Permanent(fmt.Errorf("the rebuilt read model %s stands at revision %d, the serving one at %d: apply what is missing first", m.projector.Name, built, at))
	}
	if err := m.take(other); err != nil {
		return err
	}
	if err := other.Discard(); err != nil {
		return es.Transient(fmt.Errorf("read model %s: the rebuilt content serves, but its own file could not be removed: %w", m.projector.Name, err))
	}
	return nil
}

// Reset empties the model: for a checkpoint that the log does not confirm (its revisions were used anew after a
// power cut), when old content is worse than none. Queries see the old content or nothing, never a half.
func (m *Model) Reset() error {
	m.write.Lock()
	defer m.write.Unlock()
	empty, err := Build(filepath.Dir(m.path), m.projector)
	if err != nil {
		return err
	}
	return errors.Join(m.take(empty), empty.Discard())
}

// take copies every page of another file into this one with SQLite's online backup. The caller holds m.write.
func (m *Model) take(other *Model) error {
	ctx := context.Background()
	fail := func(err error) error {
		return classify(fmt.Errorf("read model %s: swap in the rebuilt content: %w", m.projector.Name, err))
	}
	from, err := other.writer.Conn(ctx)
	if err != nil {
		return fail(err)
	}
	defer from.Close()
	to, err := m.writer.Conn(ctx)
	if err != nil {
		return fail(err)
	}
	defer to.Close()
	err = to.Raw(func(target any) error {
		return from.Raw(func(source any) error {
			backup, err := target.(*sqlite3.SQLiteConn).Backup("main", source.(*sqlite3.SQLiteConn), "main")
			if err != nil {
				return err
			}
			done, err := backup.Step(-1)
			if err == nil && !done {
				err = sqlite3.Error{Code: sqlite3.ErrBusy}
			}
			return errors.Join(err, backup.Finish())
		})
	})
	if err != nil {
		return fail(err)
	}
	if err := m.recall(ctx, to); err != nil {
		return fail(err)
	}
	return nil
}
