package ops

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/millstream-es/millstream/es"
)

// benchGrowth measures load, append and start at 10,000, 100,000 … aggregates of one event, up to the configured
// number, each on a server of its own. The ratios compare each size with the first, and at each size the append with a
// raw publish into as many subjects: what both lose is the server's. Loads come first, while every history has one
// event. Each work has its time in one piece: the server keeps blocks of the log in memory only from one garbage
// collection to the next, so one before every slice would have it read them all again. A cold load is one right after a
// collection.
func benchGrowth(ctx context.Context, s *benchSite, r *BenchReport) error {
	var first []BenchResult
	for size := min(10_000, s.Aggregates); ; size = min(10*size, s.Aggregates) {
		c := s.BenchConfig
		c.Aggregates, c.Dir, c.Slices = size, filepath.Join(s.Dir, strconv.Itoa(size)), 1
		results, err := growthAt(ctx, c)
		if err != nil {
			return err
		}
		if first == nil {
			first = results
		}
		r.Results = append(r.Results, results...)
		r.Ratios = append(r.Ratios, throughput(results[growthAppend], results[growthRaw]))
		if size > 10_000 {
			for i, now := range results {
				r.Ratios = append(r.Ratios, timeRatio(now, first[i]))
			}
		}
		if size == s.Aggregates {
			return nil
		}
	}
}

// Where two of growthAt's results stand.
const (
	growthAppend = 2
	growthRaw    = 3
)

// growthAt measures one size.
func growthAt(ctx context.Context, c BenchConfig) (results []BenchResult, err error) {
	s, err := openSite(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closed := s.close(); err == nil {
			err = closed
		}
	}()
	size := c.Aggregates
	s.Logger.Info("filling the log", "aggregates", size)
	if err := s.fill(ctx, size, size); err != nil {
		return nil, err
	}
	started, err := s.restart(ctx)
	if err != nil {
		return nil, err
	}
	load := func(ctx context.Context, _ int) error {
		_, err := s.log.Load(ctx, s.names[rand.IntN(size)], es.Range{MayLag: true})
		return err
	}
	loads, err := s.alternate(ctx,
		contender{fmt.Sprintf("load, %d aggregates", size), 0, closed(1, load)},
		contender{fmt.Sprintf("cold load, %d aggregates", size), 0, cold(load)})
	if err != nil {
		return nil, err
	}
	template, config, err := s.template(ctx)
	if err != nil {
		return nil, err
	}
	bare, err := openBare(ctx, s.js, config, template, 1, s.names)
	if err != nil {
		return nil, err
	}
	if err := bare.fill(ctx, s.Workers); err != nil {
		return nil, err
	}
	random := func(w int) int { return w + s.Workers*rand.IntN((size-w+s.Workers-1)/s.Workers) }
	writes, err := s.alternate(ctx,
		contender{fmt.Sprintf("append, %d aggregates", size), 1, closed(s.Workers, func(ctx context.Context, w int) error {
			return s.append(ctx, random(w), 1)
		})},
		contender{fmt.Sprintf("raw publish, %d subjects", size), 1, closed(s.Workers, func(ctx context.Context, w int) error {
			return bare.publish(ctx, random(w))
		})})
	if err != nil {
		return nil, err
	}
	return append(append(loads, writes...), started), nil
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
