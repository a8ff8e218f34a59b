package ops

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/millstream-es/millstream/es"
)

// benchGrowth measures append, load and start at 10,000, 100,000 … aggregates of one event, up to the configured
// number. The ratios compare each size with the first.
func benchGrowth(ctx context.Context, s *benchSite, r *BenchReport) error {
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
		all := newShares(s.Workers, size)
		results, err := s.alternate(ctx,
			contender{fmt.Sprintf("append, %d aggregates", size), 1, closed(s.Workers, func(ctx context.Context, w int) error { return s.append(ctx, all.next(w), 1) })},
			contender{fmt.Sprintf("load, %d aggregates", size), 0, closed(1, func(ctx context.Context, _ int) error {
				_, err := s.log.Load(ctx, s.names[rand.IntN(size)], es.Range{})
				return err
			})})
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
