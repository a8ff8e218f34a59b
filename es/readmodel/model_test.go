package readmodel_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/readmodel"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		beVictim(dir)
	}
	goleak.VerifyTestMain(m)
}

type added struct{ N int64 }
type noise struct{}

func (added) EventType() string { return "Added" }
func (noise) EventType() string { return "Noise" }

const sumsSchema = `
CREATE TABLE sums (name TEXT PRIMARY KEY, total INTEGER NOT NULL, parts INTEGER NOT NULL) STRICT;
CREATE TABLE parts (event_id TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT;`

// sums keeps every number and, in another table, their sum: both must move together.
func sums() es.Projector {
	return es.Projector{
		Name: "sums", Version: 1, Schema: sumsSchema,
		Interest: es.Interest{Handles: []es.Event{added{}}, Ignores: []es.Event{noise{}}},
		Apply: func(ctx context.Context, tx es.Tx, r es.Recorded) error {
			n := r.Event.(added).N
			if _, err := tx.ExecContext(ctx, `INSERT INTO parts VALUES (?, ?)`, r.ID, n); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, `INSERT INTO sums VALUES (?, ?, 1)
				ON CONFLICT DO UPDATE SET total = total + excluded.total, parts = parts + 1`, r.Stream.ID, n)
			return err
		},
	}
}

func number(revision es.Revision, n int64) es.Recorded {
	id := fmt.Sprintf("c-%d", revision)
	return es.Recorded{
		Event:    added{n},
		Meta:     es.Meta{Stream: es.Stream{Category: "sum", ID: fmt.Sprintf("s-%d", revision%3)}, CommandID: id, Time: time.Unix(int64(revision), 0)},
		ID:       id + "/1",
		Version:  uint64(revision),
		Revision: revision,
	}
}

func batch(from, to es.Revision) readmodel.Batch {
	var events []es.Recorded
	for r := from; r <= to; r++ {
		events = append(events, number(r, int64(r)))
	}
	return batchOf(events...)
}

func batchOf(events ...es.Recorded) readmodel.Batch {
	last := events[len(events)-1]
	return readmodel.Batch{Events: events, Last: last.Revision, LastID: last.ID}
}

func open(t testing.TB, dir string, p es.Projector) *readmodel.Model {
	t.Helper()
	m, err := readmodel.Open(dir, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func apply(t testing.TB, m *readmodel.Model, b readmodel.Batch) {
	t.Helper()
	if err := m.Apply(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

// wantWhole checks that the model shows the numbers 1..at, in both tables, and says so.
func wantWhole(t testing.TB, m *readmodel.Model, at int64) {
	t.Helper()
	var total, parts, listed int64
	err := m.DB().QueryRowContext(t.Context(), `SELECT coalesce(sum(total), 0), coalesce(sum(parts), 0), (SELECT count(*) FROM parts) FROM sums`).Scan(&total, &parts, &listed)
	if err != nil {
		t.Fatal(err)
	}
	if want := at * (at + 1) / 2; total != want || parts != at || listed != at {
		t.Errorf("the sum is %d of %d parts and %d are listed, want %d of %d", total, parts, listed, want, at)
	}
	revision, id := m.Checkpoint()
	wantID := ""
	if at > 0 {
		wantID = fmt.Sprintf("c-%d/1", at)
	}
	if revision != es.Revision(at) || id != wantID {
		t.Errorf("the checkpoint is %d %q, want %d %q", revision, id, at, wantID)
	}
}

func TestRowsAndCheckpointSurviveReopening(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() + "/with a space/100%?#"
	m := open(t, dir, sums())
	wantWhole(t, m, 0)
	apply(t, m, batch(1, 5))
	wantWhole(t, m, 5)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 || files[0].Name() != sums().Key()+".db" {
		t.Errorf("after Close the directory holds %v, want the one file (%v)", files, err)
	}
	again := open(t, dir, sums())
	wantWhole(t, again, 5)
	if why := again.Recovered(); why != "" {
		t.Errorf("a whole file was said to be damaged: %s", why)
	}
}

func TestWhatIsAlreadyShownIsSkipped(t *testing.T) {
	t.Parallel()
	m := open(t, t.TempDir(), sums())
	apply(t, m, batch(1, 5))
	apply(t, m, batch(1, 5))
	apply(t, m, batch(2, 4))
	wantWhole(t, m, 5)
	apply(t, m, batch(3, 8))
	wantWhole(t, m, 8)
}

func TestOnlyHandledEventsReachTheProjector(t *testing.T) {
	t.Parallel()
	m := open(t, t.TempDir(), sums())
	silent := number(2, 0)
	silent.Event = noise{}
	apply(t, m, batchOf(number(1, 1), silent))
	if at, id := m.Checkpoint(); at != 2 || id != "c-2/1" {
		t.Errorf("the checkpoint is %d %q, want 2 c-2/1", at, id)
	}
	apply(t, m, readmodel.Batch{Last: 9, LastID: "c-9/1"})
	if at, _ := m.Checkpoint(); at != 9 {
		t.Errorf("the checkpoint is %d after a batch without events, want 9", at)
	}
}

func TestABatchOutOfOrderIsRefused(t *testing.T) {
	t.Parallel()
	m := open(t, t.TempDir(), sums())
	for name, b := range map[string]readmodel.Batch{
		"descending":         {Events: []es.Recorded{number(2, 2), number(1, 1)}, Last: 2, LastID: "x"},
		"beyond its end":     {Events: []es.Recorded{number(2, 2), number(3, 3)}, Last: 2, LastID: "x"},
		"without a revision": {Events: []es.Recorded{number(0, 1)}, Last: 2, LastID: "x"},
		"without an id":      {Events: []es.Recorded{number(1, 1)}, Last: 1},
		"empty":              {},
	} {
		if err := m.Apply(t.Context(), b); !errors.Is(err, es.ErrPermanent) {
			t.Errorf("%s: got %v, want a permanent error", name, err)
		}
	}
	wantWhole(t, m, 0)
}

func TestAfterAnErrorNothingHasChanged(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	ctx, cancel := context.WithCancel(t.Context())
	for name, c := range map[string]struct {
		ctx  context.Context
		fail func(context.Context, es.Tx) error
		want error
	}{
		"the projector's own error is permanent":    {t.Context(), func(context.Context, es.Tx) error { return boom }, es.ErrPermanent},
		"what the projector marked stays transient": {t.Context(), func(context.Context, es.Tx) error { return es.Transient(boom) }, es.ErrTransient},
		"a statement that does not parse":           {t.Context(), func(ctx context.Context, tx es.Tx) error { _, err := tx.ExecContext(ctx, `INSERT OOPS`); return err }, es.ErrPermanent},
		"a constraint": {t.Context(), func(ctx context.Context, tx es.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO parts VALUES ('c-1/1', 1)`)
			return err
		}, es.ErrPermanent},
		"a context cancelled in the middle":          {ctx, func(context.Context, es.Tx) error { cancel(); return nil }, es.ErrTransient},
		"rows left open by a projector that gave up": {t.Context(), leaveRowsOpen, es.ErrPermanent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := sums()
			failing, plain := true, p.Apply
			p.Apply = func(ctx context.Context, tx es.Tx, r es.Recorded) error {
				if err := plain(ctx, tx, r); err != nil {
					return err
				}
				if r.Revision == 4 && failing {
					return c.fail(ctx, tx)
				}
				return nil
			}
			m := open(t, t.TempDir(), p)
			apply(t, m, batch(1, 2))
			if err := m.Apply(c.ctx, batch(3, 6)); !errors.Is(err, c.want) {
				t.Errorf("got %v, want one that is %v", err, c.want)
			}
			wantWhole(t, m, 2)
			failing = false
			apply(t, m, batch(3, 6))
			wantWhole(t, m, 6)
		})
	}
}

func leaveRowsOpen(ctx context.Context, tx es.Tx) error {
	rows, err := tx.QueryContext(ctx, `SELECT * FROM parts`)
	if err == nil {
		rows.Next()
		err = errors.Join(rows.Err(), errors.New("gave up"))
	}
	return err
}

func TestAPanicOfTheProjectorLeavesTheModelUsable(t *testing.T) {
	t.Parallel()
	p := sums()
	plain, failing := p.Apply, true
	p.Apply = func(ctx context.Context, tx es.Tx, r es.Recorded) error {
		if r.Revision == 2 && failing {
			panic("boom")
		}
		return plain(ctx, tx, r)
	}
	m := open(t, t.TempDir(), p)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		t.Errorf("Apply returned: %v", m.Apply(t.Context(), batch(1, 3)))
	}()
	wantWhole(t, m, 0)
	failing = false
	apply(t, m, batch(1, 3))
	wantWhole(t, m, 3)
}

func TestReadersCannotWrite(t *testing.T) {
	t.Parallel()
	m := open(t, t.TempDir(), sums())
	var n int
	err := m.DB().QueryRowContext(t.Context(), `INSERT INTO parts VALUES ('x', 1) RETURNING n`).Scan(&n)
	if err == nil {
		t.Error("a query wrote into the read model")
	}
	wantWhole(t, m, 0)
}

func TestWaitFor(t *testing.T) {
	t.Parallel()
	m := open(t, t.TempDir(), sums())
	apply(t, m, batch(1, 2))
	if err := m.WaitFor(t.Context(), 2); err != nil {
		t.Errorf("what is already shown had to be waited for: %v", err)
	}
	var waiters sync.WaitGroup
	for i := range 16 {
		waiters.Go(func() {
			if err := m.WaitFor(t.Context(), es.Revision(3+i%4)); err != nil {
				t.Error(err)
			}
		})
	}
	for r := es.Revision(3); r <= 6; r++ {
		apply(t, m, batch(r, r))
	}
	waiters.Wait()

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.WaitFor(ended, 7); !errors.Is(err, es.ErrTransient) || !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "stands at revision 6, 7") {
		t.Errorf("got %v, want a transient error that says where the model stands", err)
	}
	waiters.Go(func() {
		if err := m.WaitFor(t.Context(), 99); !errors.Is(err, es.ErrTransient) {
			t.Errorf("got %v from a closed model, want a transient error", err)
		}
	})
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	waiters.Wait()
	if err := m.Apply(t.Context(), batch(7, 7)); !errors.Is(err, es.ErrTransient) {
		t.Errorf("got %v from a closed model, want a transient error", err)
	}
}

// However the log is cut into batches, delivered twice, failed or interrupted by a restart, the model ends the same.
func TestAnyDeliveryGivesTheSameModel(t *testing.T) {
	t.Parallel()
	whole := open(t, t.TempDir(), sums())
	apply(t, whole, batch(1, 30))
	rapid.Check(t, func(r *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "") //nolint:usetesting // one per check of the property
		if err != nil {
			r.Fatal(err)
		}
		p := sums()
		plain, failAt := p.Apply, es.Revision(0)
		p.Apply = func(ctx context.Context, tx es.Tx, e es.Recorded) error {
			if e.Revision == failAt {
				return errors.New("boom")
			}
			return plain(ctx, tx, e)
		}
		m, err := readmodel.Open(dir, p)
		if err != nil {
			r.Fatal(err)
		}
		defer func() {
			if err := m.Close(); err != nil {
				r.Error(err)
			}
		}()
		for {
			at, _ := m.Checkpoint()
			if at == 30 {
				break
			}
			from := es.Revision(rapid.IntRange(1, int(at)+1).Draw(r, "from"))
			to := es.Revision(rapid.IntRange(int(from), 30).Draw(r, "to"))
			failAt = es.Revision(rapid.IntRange(0, 60).Draw(r, "failAt"))
			err := m.Apply(t.Context(), batch(from, to))
			if failed := at < failAt && from <= failAt && failAt <= to; failed != (err != nil) {
				r.Fatalf("batch %d to %d at checkpoint %d, failing at %d: %v", from, to, at, failAt, err)
			}
			if rapid.IntRange(0, 3).Draw(r, "reopen") == 0 {
				if err := m.Close(); err != nil {
					r.Fatal(err)
				}
				if m, err = readmodel.Open(dir, p); err != nil {
					r.Fatal(err)
				}
			}
		}
		if diff, err := readmodel.Equal(t.Context(), whole, m); diff != "" || err != nil {
			r.Fatalf("%s %v", diff, err)
		}
	})
}

func BenchmarkApply(b *testing.B) {
	m := open(b, b.TempDir(), sums())
	var last es.Revision
	for b.Loop() {
		apply(b, m, batch(last+1, last+500))
		last += 500
	}
	b.ReportMetric(float64(last)/b.Elapsed().Seconds(), "events/s")
}
