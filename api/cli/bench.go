package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"text/tabwriter"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/ops"
)

type benchCmd struct {
	Work       ops.BenchWork `enum:"append,call,load,project,growth" default:"append" help:"What to measure: ${enum}."`
	Mode       es.Durability `enum:"durable,fast" default:"fast" help:"What an acknowledgement means: ${enum}."`
	Workers    int           `placeholder:"64" help:"How many write, call or load at once; default 64, for load 1."`
	Aggregates int           `default:"10000" help:"How many aggregates there are."`
	Events     int           `default:"1" help:"How many events a commit holds."`
	History    int           `default:"200000" help:"For project: how many events the projector catches up with."`
	Rate       float64       `default:"2000" help:"For project: how many events a second the projector then follows."`
	Duration   time.Duration `default:"5s" help:"How long each contender works in all, in slices between which they take turns."`
	Slices     int           `default:"10" help:"How many slices that is; for project, each is one catch-up with the log."`
	Postgres   string        `placeholder:"DSN" help:"For append: also insert into a PostgreSQL, in a table that is made for it and dropped again."`
	Data       string        `type:"path" placeholder:"DIR" help:"Keep the data in DIR, to measure its disk or look at it afterwards; default: a temporary directory."`
	JSON       bool          `name:"json" help:"Print the report as JSON."`
	Progress   bool          `default:"true" negatable:"" help:"Show a progress bar on a terminal."`
}

// Help is kong's text below the usage.
func (benchCmd) Help() string {
	return `Starts servers of its own and measures the engine beside the same work done raw: JetStream without an engine, SQLite without a
projector, PostgreSQL instead of all that. They alternate within the run, so that the ratios hold on a busy machine; the rest
is of this machine at this time.`
}

// Run is called by kong.
func (c *benchCmd) Run(ctx context.Context, a *app, log *slog.Logger) (err error) {
	dir := c.Data
	if dir == "" {
		if dir, err = os.MkdirTemp("", a.domain.Name+"-bench-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	spendMemory(log)
	bar := a.bar(c.Progress, -1, "bench")
	report, err := ops.Bench(ctx, ops.BenchConfig{
		Conf: a.natsConf, Dir: dir, Work: c.Work, Mode: c.Mode, Workers: c.Workers, Aggregates: c.Aggregates, Events: c.Events,
		History: c.History, Rate: c.Rate, Duration: c.Duration, Slices: c.Slices, Postgres: c.Postgres, Logger: log,
		Progress: func(done, total int) { bar.of(int64(done), int64(total)) },
	})
	bar.clear()
	if err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(report)
	}
	return a.printBench(report)
}

func (a *app) printBench(r ops.BenchReport) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(a.stdout, "%s, %s: %d workers, %d aggregates, %d events a commit, %d CPUs\n\n", r.Work, r.Mode, r.Workers, r.Aggregates, r.Events, r.CPUs)
	fmt.Fprintln(w, "\toperations\t/s\tevents/s\tp50 ms\tp99 ms\tp99.9 ms\t")
	for _, b := range r.Results {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t\n", b.Name, b.Operations, figure(b.PerSecond), figure(b.EventsPerSecond), figure(b.P50), figure(b.P99), figure(b.P999))
	}
	fmt.Fprintln(w, "\t\t\t\t\t\t\t\nratio\tof\tmedian\tleast\tmost\t\t\t")
	for _, b := range r.Ratios {
		fmt.Fprintf(w, "%s\t%s\t%.2f\t%.2f\t%.2f\t\t\t\n", b.Name, b.Factor, b.Value, b.Least, b.Most)
	}
	return w.Flush()
}

// figure shows three digits of what matters, and nothing for what was not measured.
func figure(v float64) string {
	switch {
	case v == 0:
		return ""
	case v < 1:
		return fmt.Sprintf("%.3f", v)
	case v < 100:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
