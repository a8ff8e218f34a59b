package ops

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/millstream-es/millstream/es"
)

// benchGrowth measures append, load and start at 10,000, 100,000 … aggregates of one event, up to the configured
// number. The ratios compare each size with the first. Appends and loads go to aggregates at random, and each work has
// its time in one piece: the server keeps blocks of the log in memory only from one garbage collection to the next, so
// one before every slice would have it read them all again. A cold load is one right after a collection.
func benchGrowth(ctx context.Context, s *benchSite, r *BenchReport) error {
	whole := s.BenchConfig
	whole.Slices = 1
	var first []BenchResult
	for stored, size := 0, min(10_000, s.Aggregates); ; size = min(10*size, s.Aggregates) {
		s.Logger.Info("filling the log", "aggregates", size)
		if err := s.found(ctx, stored, size); err != nil {
			return err
		}
		stored = size
		started, err := s.restart(ctx)
		if err != nil {
			return err
		}
		load := func(ctx context.Context, _ int) error {
			_, err := s.log.Load(ctx, s.names[rand.IntN(size)], es.Range{MayLag: true})
			return err
		}
		results, err := whole.alternate(ctx,
			contender{fmt.Sprintf("append, %d aggregates", size), 1, closed(s.Workers, func(ctx context.Context, w int) error {
				return s.append(ctx, w+s.Workers*rand.IntN((size-w+s.Workers-1)/s.Workers), 1)
			})},
			contender{fmt.Sprintf("load, %d aggregates", size), 0, closed(1, load)},
			contender{fmt.Sprintf("cold load, %d aggregates", size), 0, cold(load)})
		if err != nil {
			return err
		}
		results = append(results, started)
		if first == nil {
			first = results
		}
		for i, now := range results {
			r.Results = append(r.Results, now)
			if size > 10_000 {
				r.Ratios = append(r.Ratios, timeRatio(now, first[i]))
			}
		}
		if size == s.Aggregates {
			return nil
		}
	}
}

// cold does one operation after the other, each after a garbage collection, whose time does not count.
func cold(op func(ctx context.Context, worker int) error) func(context.Context, time.Duration) (slice, error) {
	return func(ctx context.Context, d time.Duration) (s slice, err error) {
		for begun := time.Now(); time.Since(begun) < d; s.operations++ {
			runtime.GC()
			at := time.Now()
			if err := op(ctx, 0); err != nil {
				return s, err
			}
			took := time.Since(at)
			s.took += took
			s.samples = append(s.samples, took)
		}
		return s, ctx.Err()
	}
}

// found appends one event to each of the aggregates from one number up to another.
func (s *benchSite) found(ctx context.Context, from, to int) error {
	const workers = 256
	_, err := crew(time.Now(), workers, func(w int, _ func(time.Duration)) error {
		for i := from + w; i < to; i += workers {
			if err := s.append(ctx, i, 1); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	return err
}

// restart takes the time from nothing to an engine that answers, with the log as it is.
func (s *benchSite) restart(ctx context.Context) (BenchResult, error) {
	if err := s.close(); err != nil {
		return BenchResult{}, err
	}
	begun := time.Now()
	if err := s.start(ctx); err != nil {
		return BenchResult{}, err
	}
	took := time.Since(begun)
	last, err := s.log.LastRevision(ctx)
	rate := 1 / took.Seconds()
	return BenchResult{Name: fmt.Sprintf("start, %d messages", last), Operations: 1, PerSecond: rate, P50: 1000 * took.Seconds(), rates: []float64{rate}}, err
}
