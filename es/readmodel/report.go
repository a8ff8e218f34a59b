package readmodel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/millstream-es/millstream/es"
)

// Report is a model on its way to a plain SQLite file of its own, for a question that has no model yet.
type Report struct {
	*Model
	out string
}

// NewReport begins a report. It is built beside out, which appears, or is replaced, only by Finish.
func NewReport(out string, p es.Projector) (*Report, error) {
	out, err := filepath.Abs(out)
	if err != nil {
		return nil, es.Transient(fmt.Errorf("report: %w", err))
	}
	m, err := buildFile(out+".building", p)
	if err != nil {
		return nil, err
	}
	return &Report{m, out}, nil
}

// Finish closes the report and gives it its name: one file, without side files, that any SQLite reads.
func (r *Report) Finish(ctx context.Context) error {
	if err := r.finish(ctx); err != nil {
		return es.Transient(errors.Join(fmt.Errorf("report %s: %w", r.out, err), r.Discard()))
	}
	return nil
}

func (r *Report) finish(ctx context.Context) error {
	if err := r.readers.Close(); err != nil {
		return err
	}
	if _, err := r.writer.ExecContext(ctx, `PRAGMA journal_mode = DELETE`); err != nil {
		return err
	}
	if err := r.Close(); err != nil {
		return err
	}
	f, err := os.Open(r.path)
	if err != nil {
		return err
	}
	// Side files of what stood there before would be taken for the new file's.
	for _, suffix := range sideFiles {
		if err := os.Remove(r.out + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return errors.Join(err, f.Close())
		}
	}
	if err := errors.Join(f.Sync(), f.Close(), os.Rename(r.path, r.out)); err != nil {
		return err
	}
	return syncDir(filepath.Dir(r.out))
}
