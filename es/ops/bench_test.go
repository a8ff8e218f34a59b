package ops

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es"
)

// Each work runs once, as short as it can be: that it measures what it says, not how fast anything is.
func TestBenchRunsEveryWork(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		BenchConfig
		results, ratios int
	}{
		{BenchConfig{Work: BenchAppend, Events: 5}, 4, 4},
		{BenchConfig{Work: BenchAppend, Mode: es.Durable}, 4, 4},
		{BenchConfig{Work: BenchCall}, 6, 2},
		{BenchConfig{Work: BenchLoad}, 12, 9},
		{BenchConfig{Work: BenchProject, History: 300, Rate: 100}, 4, 2},
		{BenchConfig{Work: BenchGrowth}, 5, 1},
	} {
		t.Run(string(c.Work)+" "+string(c.Mode), func(t *testing.T) {
			t.Parallel()
			c.Conf, c.Dir, c.Aggregates, c.Workers = millstream.NATSConf, t.TempDir(), 64, 2
			c.Duration, c.Slices, c.Logger = 40*time.Millisecond, 2, slog.New(slog.DiscardHandler)
			r, err := Bench(t.Context(), c.BenchConfig)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Results) != c.results || len(r.Ratios) != c.ratios {
				t.Fatalf("got %d results and %d ratios, want %d and %d: %+v", len(r.Results), len(r.Ratios), c.results, c.ratios, r)
			}
			for _, b := range r.Results {
				if b.Operations == 0 || b.PerSecond <= 0 || b.P50 > b.P99 && b.P99 > 0 || b.P99 > b.P999 && b.P999 > 0 {
					t.Errorf("%+v", b)
				}
			}
			for _, b := range r.Ratios {
				if b.Least <= 0 || b.Least > b.Value || b.Value > b.Most {
					t.Errorf("%+v", b)
				}
			}
		})
	}
}

func TestBenchRefusesWhatItCannotMeasure(t *testing.T) {
	t.Parallel()
	for _, c := range []BenchConfig{{Work: "fly"}, {Mode: "slow"}, {Workers: -1}, {Workers: 8, Aggregates: 4}, {Events: 1001}, {Duration: -time.Second}} {
		if _, err := Bench(t.Context(), c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}

func TestContendersAlternate(t *testing.T) {
	t.Parallel()
	c, err := BenchConfig{Duration: 3 * time.Millisecond, Slices: 3}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	var turns []string
	turn := func(name string, operations int) contender {
		return contender{name, 2, func(context.Context, time.Duration) (slice, error) {
			turns = append(turns, name)
			return slice{operations: operations, took: time.Second, samples: []time.Duration{time.Millisecond}}, nil
		}}
	}
	results, err := c.alternate(t.Context(), turn("a", 6), turn("b", 3))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "b", "a", "b", "a", "b", "a", "b"}; !slices.Equal(turns, want) {
		t.Errorf("took turns as %v, want %v: the first of each warms up", turns, want)
	}
	if a := results[0]; a.Operations != 18 || a.PerSecond != 6 || a.EventsPerSecond != 12 || a.P50 != 1 {
		t.Errorf("%+v", a)
	}
	if r := throughput(results[0], results[1]); r.Value != 2 || r.Name != "a / b" {
		t.Errorf("%+v", r)
	}
	if r := timeRatio(results[0], results[1]); r.Value != 0.5 {
		t.Errorf("%+v", r)
	}
	if r := medianRatio(results[0], results[1]); r.Value != 1 || r.Factor != "p50" {
		t.Errorf("%+v", r)
	}
	broken := errors.New("broken")
	_, err = c.alternate(t.Context(), contender{"c", 1, closed(2, func(context.Context, int) error { return broken })})
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want what the operation said", err)
	}
}

func TestWorkersMeetAtNoAggregate(t *testing.T) {
	t.Parallel()
	own, seen := newShares(3, 10), map[int]int{}
	for w := range 3 {
		for range 20 {
			i := own.next(w)
			if before, taken := seen[i]; taken && before != w {
				t.Fatalf("aggregate %d is of workers %d and %d", i, before, w)
			}
			seen[i] = w
		}
	}
	if len(seen) != 10 {
		t.Errorf("%d of 10 aggregates are used", len(seen))
	}
}

func TestPacedWorkOffersEveryOperation(t *testing.T) {
	t.Parallel()
	var done atomic.Int64
	run := paced(4, func() float64 { return 1000 }, func(context.Context, int) error { done.Add(1); return nil })
	s, err := run(t.Context(), 20*time.Millisecond)
	if err != nil || s.operations != 20 || done.Load() != 20 {
		t.Errorf("offered %d and did %d, want 20 (%v)", s.operations, done.Load(), err)
	}
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	var samples []time.Duration
	for n := range 1000 {
		samples = append(samples, time.Duration(n+1)*time.Millisecond)
	}
	for p, want := range map[float64]float64{0.5: 501, 0.99: 991, 0.999: 1000, 1: 1000} {
		if got := percentile(samples, p); got != want {
			t.Errorf("p%v is %v, want %v", p, got, want)
		}
	}
	if got := percentile(nil, 0.5); got != 0 {
		t.Errorf("got %v of nothing", got)
	}
}
