package ops

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/millstream-es/millstream/es"
)

// BenchWork is what Bench measures.
type BenchWork string

// The works.
const (
	BenchAppend  BenchWork = "append"  // commits to the log, and commands through the engine
	BenchCall    BenchWork = "call"    // commands over NATS, one caller, many, and many at half their top rate
	BenchLoad    BenchWork = "load"    // histories of 10, 100 and 1,000 events
	BenchProject BenchWork = "project" // a projector catching up with the log, then following it
	BenchGrowth  BenchWork = "growth"  // append, load and start with ever more aggregates
)

// BenchWorks are all of them.
var BenchWorks = []BenchWork{BenchAppend, BenchCall, BenchLoad, BenchProject, BenchGrowth}

// BenchConfig is what Bench needs. Conf and Dir must be set; what is left zero gets a default.
type BenchConfig struct {
	Conf       string        // text of nats.conf, for the servers that Bench starts
	Dir        string        // for their data; the disk under it is what is measured
	Work       BenchWork     // default append
	Mode       es.Durability // default fast
	Workers    int           // that write, call or load at once; default 64, for load 1
	Aggregates int           // default 10,000
	Events     int           // of one commit; default 1
	History    int           // events in the log that the projector catches up with; default 200,000
	Rate       float64       // events a second while the projector follows the log; default 2,000
	Duration   time.Duration // of each contender in all; default 5 s
	Slices     int           // that the duration is cut into, so that contenders alternate; default 10
	Postgres   string        // DSN of a PostgreSQL to append to as well, in a table that is dropped again; "": none

	Logger   *slog.Logger // default slog.Default()
	Progress func(done, total int)
}

func (c BenchConfig) withDefaults() (BenchConfig, error) {
	orElse := func(n *int, other int) {
		if *n == 0 {
			*n = other
		}
	}
	if c.Work == "" {
		c.Work = BenchAppend
	}
	if c.Mode == "" {
		c.Mode = es.Fast
	}
	if c.Work == BenchLoad {
		orElse(&c.Workers, 1)
	}
	orElse(&c.Workers, 64)
	orElse(&c.Aggregates, 10_000)
	orElse(&c.Events, 1)
	orElse(&c.History, 200_000)
	orElse(&c.Slices, 10)
	if c.Rate == 0 {
		c.Rate = 2_000
	}
	if c.Duration == 0 {
		c.Duration = 5 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Progress == nil {
		c.Progress = func(int, int) {}
	}
	var errs []error
	if !slices.Contains(BenchWorks, c.Work) {
		errs = append(errs, fmt.Errorf("work %q: known are %v", c.Work, BenchWorks))
	}
	if c.Mode != es.Fast && c.Mode != es.Durable {
		errs = append(errs, fmt.Errorf("mode %q: it is %s or %s", c.Mode, es.Fast, es.Durable))
	}
	for name, n := range map[string]int{"workers": c.Workers, "aggregates": c.Aggregates, "events": c.Events, "history": c.History, "slices": c.Slices, "duration": int(c.Duration), "rate": int(c.Rate)} {
		if n < 1 {
			errs = append(errs, fmt.Errorf("%s must be at least 1, not %d", name, n))
		}
	}
	if c.Events > 1000 {
		errs = append(errs, fmt.Errorf("events must be at most 1000 a commit, not %d", c.Events))
	}
	if c.Aggregates < c.Workers {
		errs = append(errs, fmt.Errorf("%d workers need as many aggregates at least, not %d: each has its own", c.Workers, c.Aggregates))
	}
	return c, errors.Join(errs...)
}

// BenchReport is what came of it. Ratios are what to trust: contenders alternate, so that what else the machine does
// falls on all of them.
type BenchReport struct {
	Work       BenchWork     `json:"work"`
	Mode       es.Durability `json:"mode"`
	Workers    int           `json:"workers"`
	Aggregates int           `json:"aggregates"`
	Events     int           `json:"events"` // of one commit
	CPUs       int           `json:"cpus"`
	Results    []BenchResult `json:"results"`
	Ratios     []BenchRatio  `json:"ratios"`
}

// BenchResult is one contender's. Latencies are in milliseconds; 0 where single operations were not timed.
type BenchResult struct {
	Name            string  `json:"name"`
	Operations      int     `json:"operations"`
	PerSecond       float64 `json:"perSecond"` // operations
	EventsPerSecond float64 `json:"eventsPerSecond,omitempty"`
	P50             float64 `json:"p50Ms,omitempty"`
	P99             float64 `json:"p99Ms,omitempty"`
	P999            float64 `json:"p999Ms,omitempty"`

	rates, medians []float64 // of each slice
}

// BenchRatio compares two contenders slice by slice: the median, the least and the greatest of what came out.
type BenchRatio struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
	Factor string  `json:"factor"` // of "throughput" (more is better), "time" or "p50" (less is better)
}

// Bench starts servers of its own in Dir and measures the engine beside the same work done raw. Errors: the config,
// servers that do not start, operations that fail; ctx ended.
func Bench(ctx context.Context, c BenchConfig) (BenchReport, error) {
	c, err := c.withDefaults()
	if err != nil {
		return BenchReport{}, err
	}
	r := BenchReport{Work: c.Work, Mode: c.Mode, Workers: c.Workers, Aggregates: c.Aggregates, Events: c.Events, CPUs: runtime.GOMAXPROCS(0)}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return r, err
	}
	site, err := openSite(ctx, c)
	if err != nil {
		return r, err
	}
	work := map[BenchWork]func(context.Context, *benchSite, *BenchReport) error{
		BenchAppend: benchAppend, BenchCall: benchCall, BenchLoad: benchLoad, BenchProject: benchProject, BenchGrowth: benchGrowth,
	}
	return r, errors.Join(work[c.Work](ctx, site, &r), site.close())
}

// contender does one kind of work for a slice of time.
type contender struct {
	name   string
	events int // of one operation; 0: it has none
	slice  func(ctx context.Context, d time.Duration) (slice, error)
}

// slice is what a contender did in one.
type slice struct {
	operations int
	took       time.Duration
	samples    []time.Duration // of single operations; nil: not timed
}

// alternate lets contenders work in turn until each had its slices, after one short slice to warm up.
func (c BenchConfig) alternate(ctx context.Context, contenders ...contender) ([]BenchResult, error) {
	results := make([]BenchResult, len(contenders))
	samples := make([][]time.Duration, len(contenders))
	took := make([]time.Duration, len(contenders))
	each := max(c.Duration/time.Duration(c.Slices), time.Millisecond)
	for round := range c.Slices + 1 {
		for i, w := range contenders {
			d := each
			if round == 0 {
				d = min(each, 300*time.Millisecond)
			}
			runtime.GC() // the garbage of one is not the other's
			s, err := w.slice(ctx, d)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", w.name, err)
			}
			c.Progress(round*len(contenders)+i+1, (c.Slices+1)*len(contenders))
			if round == 0 {
				continue
			}
			took[i] += s.took
			samples[i] = append(samples[i], s.samples...)
			results[i].Operations += s.operations
			results[i].rates = append(results[i].rates, float64(s.operations)/s.took.Seconds())
			slices.Sort(s.samples)
			results[i].medians = append(results[i].medians, percentile(s.samples, 0.5))
		}
	}
	for i, w := range contenders {
		r := &results[i]
		r.Name, r.PerSecond = w.name, float64(r.Operations)/took[i].Seconds()
		r.EventsPerSecond = r.PerSecond * float64(w.events)
		slices.Sort(samples[i])
		r.P50, r.P99, r.P999 = percentile(samples[i], 0.5), percentile(samples[i], 0.99), percentile(samples[i], 0.999)
	}
	return results, nil
}

// percentile of sorted samples, in milliseconds; 0 when there are none.
func percentile(sorted []time.Duration, p float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(p*float64(len(sorted))), len(sorted)-1)].Seconds() * 1000
}

// throughput says how many times as much a does as b; timeRatio how many times as long it takes, on the average;
// medianRatio the same at the median.
func throughput(a, b BenchResult) BenchRatio {
	r := compare(a.rates, b.rates)
	r.Name, r.Factor = a.Name+" / "+b.Name, "throughput"
	return r
}

func timeRatio(a, b BenchResult) BenchRatio {
	r := compare(b.rates, a.rates)
	r.Name, r.Factor = a.Name+" / "+b.Name, "time"
	return r
}

func medianRatio(a, b BenchResult) BenchRatio {
	r := compare(a.medians, b.medians)
	r.Name, r.Factor = a.Name+" / "+b.Name, "p50"
	return r
}

func compare(a, b []float64) BenchRatio {
	ratios := make([]float64, len(a))
	for i := range a {
		ratios[i] = a[i] / b[i]
	}
	slices.Sort(ratios)
	return BenchRatio{Value: ratios[len(ratios)/2], Least: ratios[0], Most: ratios[len(ratios)-1]}
}

// closed lets each worker do one operation after the other, as fast as they are answered.
func closed(workers int, op func(ctx context.Context, worker int) error) func(context.Context, time.Duration) (slice, error) {
	return func(ctx context.Context, d time.Duration) (slice, error) {
		begun := time.Now()
		return crew(begun, workers, func(worker int, done func(time.Duration)) error {
			for at := time.Now(); at.Sub(begun) < d; {
				if err := op(ctx, worker); err != nil {
					return err
				}
				now := time.Now()
				done(now.Sub(at))
				at = now
			}
			return ctx.Err()
		})
	}
}

// paced offers operations at a rate, whatever the answers take: an operation's time counts from when it was due.
func paced(workers int, perSecond func() float64, op func(ctx context.Context, worker int) error) func(context.Context, time.Duration) (slice, error) {
	return func(ctx context.Context, d time.Duration) (slice, error) {
		begun := time.Now()
		gap := time.Duration(float64(workers) / perSecond() * float64(time.Second))
		return crew(begun, workers, func(worker int, done func(time.Duration)) error {
			first := begun.Add(gap * time.Duration(worker) / time.Duration(workers))
			for due := first; due.Sub(begun) < d; due = due.Add(gap) {
				time.Sleep(time.Until(due))
				if err := op(ctx, worker); err != nil {
					return err
				}
				done(time.Since(due))
			}
			return ctx.Err()
		})
	}
}

func crew(begun time.Time, workers int, work func(worker int, done func(time.Duration)) error) (slice, error) {
	samples := make([][]time.Duration, workers)
	errs := make([]error, workers)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() { errs[w] = work(w, func(d time.Duration) { samples[w] = append(samples[w], d) }) })
	}
	all.Wait()
	s := slice{took: time.Since(begun), samples: slices.Concat(samples...)}
	s.operations = len(s.samples)
	for _, err := range errs {
		if err != nil {
			return s, err // one tells as much as sixty-four
		}
	}
	return s, nil
}
