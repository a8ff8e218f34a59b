package readmodel_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/readmodel"
)

func build(t *testing.T, dir string, p es.Projector) *readmodel.Model {
	t.Helper()
	m, err := readmodel.Build(dir, p)
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

// doubled computes something else from the same events, so that old content and new can be told apart.
func doubled() es.Projector {
	p := sums()
	plain := p.Apply
	p.Apply = func(ctx context.Context, tx es.Tx, r es.Recorded) error {
		r.Event = added{2 * r.Event.(added).N}
		return plain(ctx, tx, r)
	}
	return p
}

func TestSwapShowsTheOldModelOrTheNewOneNeverAHalf(t *testing.T) {
	t.Parallel()
	const n = 5000
	dir := t.TempDir()
	m := open(t, dir, sums())
	apply(t, m, batch(1, n))
	rebuilt := build(t, dir, doubled())

	seen := map[int64]bool{}
	ctx, stop := context.WithCancel(t.Context())
	var reader sync.WaitGroup
	started := make(chan struct{})
	reader.Go(func() {
		for first := true; ctx.Err() == nil; first = false {
			var total, parts int64
			err := m.DB().QueryRowContext(t.Context(), `SELECT sum(total), (SELECT count(*) FROM parts) FROM sums`).Scan(&total, &parts)
			if err != nil || parts != n {
				t.Errorf("a reader saw %d parts (%v), want %d", parts, err, n)
			}
			seen[total] = true
			if first {
				close(started)
			}
		}
	})
	<-started
	apply(t, rebuilt, batch(1, n))
	if err := m.Swap(rebuilt); err != nil {
		t.Error(err)
	}
	var total int64
	if err := m.DB().QueryRowContext(t.Context(), `SELECT sum(total) FROM sums`).Scan(&total); err != nil || total != n*(n+1) {
		t.Errorf("after the swap the sum is %d (%v), want the rebuilt model's %d", total, err, n*(n+1))
	}
	stop()
	reader.Wait()
	delete(seen, n*(n+1)/2)
	delete(seen, n*(n+1))
	if len(seen) != 0 {
		t.Errorf("readers saw sums of neither model: %v", seen)
	}
	if _, err := os.Stat(rebuilt.Path()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the rebuilt file is still there: %v", err)
	}
	apply(t, m, batch(n+1, n+1))
	if at, _ := m.Checkpoint(); at != n+1 {
		t.Errorf("the checkpoint is %d after one more, want %d", at, n+1)
	}
}

func TestSwapWakesThoseWhoWait(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := open(t, dir, sums())
	rebuilt := build(t, dir, sums())
	apply(t, rebuilt, batch(1, 7))
	var waiter sync.WaitGroup
	waiter.Go(func() {
		if err := m.WaitFor(t.Context(), 7); err != nil {
			t.Error(err)
		}
	})
	if err := m.Swap(rebuilt); err != nil {
		t.Error(err)
	}
	waiter.Wait()
	wantWhole(t, m, 7)
}

func TestSwapRefusesAModelThatIsBehindOrAnothers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := open(t, dir, sums())
	apply(t, m, batch(1, 7))
	behind := build(t, dir, sums())
	apply(t, behind, batch(1, 6))
	if err := m.Swap(behind); !errors.Is(err, es.ErrPermanent) {
		t.Errorf("got %v, want a permanent error", err)
	}
	next := sums()
	next.Version = 2
	if err := m.Swap(build(t, dir, next)); !errors.Is(err, es.ErrPermanent) {
		t.Errorf("got %v, want a permanent error", err)
	}
	wantWhole(t, m, 7)
}

func TestAnInterruptedRebuildLeavesTheOldModelAndStartsOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := open(t, dir, sums())
	apply(t, m, batch(1, 3))
	half := build(t, dir, doubled())
	apply(t, half, batch(1, 2))
	if err := errors.Join(half.Close(), m.Close()); err != nil {
		t.Fatal(err)
	}
	wantWhole(t, open(t, dir, sums()), 3)
	again := build(t, dir, sums())
	wantWhole(t, again, 0)
	if err := again.Discard(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(again.Path()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a discarded rebuild is still there: %v", err)
	}
}

func TestResetEmptiesTheModel(t *testing.T) {
	t.Parallel()
	m := open(t, t.TempDir(), sums())
	apply(t, m, batch(1, 3))
	if err := m.Reset(); err != nil {
		t.Fatal(err)
	}
	wantWhole(t, m, 0)
	apply(t, m, batch(1, 2))
	wantWhole(t, m, 2)
}

func TestEqualNamesWhatDiffers(t *testing.T) {
	t.Parallel()
	same := open(t, t.TempDir(), sums())
	apply(t, same, batch(1, 9))
	schema := sums()
	schema.Schema += `CREATE INDEX more ON parts (n);`
	for name, c := range map[string]struct {
		other es.Projector
		batch readmodel.Batch
		want  string
	}{
		"nothing":    {sums(), batch(1, 9), ""},
		"checkpoint": {sums(), batch(1, 8), "millstream_checkpoint"},
		"a row":      {sums(), batchOf(append(batch(1, 8).Events, number(9, 8))...), "table parts, "},
		"schema":     {schema, batch(1, 9), "schema"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			other := open(t, t.TempDir(), c.other)
			apply(t, other, c.batch)
			for _, pair := range [][2]*readmodel.Model{{same, other}, {other, same}} {
				diff, err := readmodel.Equal(t.Context(), pair[0], pair[1])
				if err != nil || (diff == "") != (c.want == "") || !strings.Contains(diff, c.want) {
					t.Errorf("got %q (%v), want one that names %q", diff, err, c.want)
				}
			}
		})
	}
}
