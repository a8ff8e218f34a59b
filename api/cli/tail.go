package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/ops"
	"github.com/millstream-es/millstream/es/runtime"
)

type tailCmd struct {
	Stream      string   `placeholder:"CATEGORY/ID" predictor:"stream" help:"Only events of this aggregate, like order/o-1."`
	Category    string   `placeholder:"NAME" predictor:"category" help:"Only events of this category, like order."`
	Type        []string `placeholder:"TYPE,…" predictor:"event" help:"Only events of these types, like OrderPaid; may be repeated."`
	Correlation string   `placeholder:"ID" help:"Only events of this story."`
	After       *uint64  `xor:"from" placeholder:"REVISION" help:"Begin after this revision; 0 is the beginning of the log."`
	Last        *int     `xor:"from" placeholder:"N" help:"Begin with the last N events; 10 unless said otherwise."`
	New         bool     `xor:"from" help:"Only what happens from now on."`
	JSON        bool     `name:"json" help:"Print JSON, one event a line, with the events' data."`
	clientFlags
}

// Help is kong's text below the usage.
func (tailCmd) Help() string {
	return `Events as they happen, until ^C. Read from the log itself, as a user of the engine's account; through an outage of the servers it waits, then
goes on where it stood, with no gap and nothing twice. What is shown may not be on disk yet. To go on later, give --after the last revision shown.

Example: millstream tail --category order --type OrderPaid,OrderCancelled --last 5`
}

// defaultLast is how many events are shown at first.
const defaultLast = 10

// Run is called by kong.
func (c *tailCmd) Run(ctx context.Context, a *app) error {
	filter, err := c.filter()
	if err != nil {
		return err
	}
	to, err := c.account(a, "tail")
	if err != nil {
		return err
	}
	defer to.close()
	if err := filter.Check(to.schemas); err != nil {
		return notFound(err)
	}
	after, err := c.begin(ctx, a, to, filter)
	if err == nil {
		told := false
		err = runtime.Tail(ctx, to.log, filter, after, func(trouble error) {
			switch {
			case trouble == nil:
				fmt.Fprintln(a.stderr, "reading on")
			case !told:
				fmt.Fprintf(a.stderr, "interrupted, trying again: %v\n", trouble)
			}
			told = trouble != nil
		}, func(n runtime.Notice) error { return a.printEvents(n.Events, c.JSON) })
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // ^C
	}
	return err
}

// begin prints what of the past is wanted and returns the revision to go on after.
func (c *tailCmd) begin(ctx context.Context, a *app, to account, filter runtime.Filter) (es.Revision, error) {
	if c.After != nil && *c.After == 0 {
		return 0, nil
	}
	end, err := to.log.LastRevision(ctx)
	switch {
	case err != nil:
		return 0, err
	case c.New:
		return end, nil
	case c.After != nil && es.Revision(*c.After) > end:
		return 0, usageError{fmt.Errorf("--after %d is in the future: the log goes up to revision %d", *c.After, end)}
	case c.After != nil:
		return es.Revision(*c.After), nil
	}
	last := defaultLast
	if c.Last != nil {
		last = *c.Last
	}
	if last == 0 {
		return end, nil
	}
	events, err := runtime.LastEvents(ctx, to.log, filter, last, end)
	if err != nil {
		return 0, err
	}
	return end, a.printEvents(events, c.JSON)
}

func (c *tailCmd) filter() (f runtime.Filter, err error) {
	if c.Last != nil && *c.Last < 0 {
		return f, usageError{fmt.Errorf("--last %d: expected 0 or more", *c.Last)}
	}
	f = runtime.Filter{Category: c.Category, Types: c.Type, Correlation: c.Correlation}
	if c.Stream != "" {
		f.Stream, err = es.ParseStream(c.Stream)
	}
	return f, err
}

// notFound gives what names something that is not there its exit code.
func notFound(err error) error {
	var invalid *es.InvalidError
	if errors.As(err, &invalid) && (invalid.Code == "unknown_category" || invalid.Code == "unknown_event") {
		return codedError{exitNotFound, err}
	}
	return err
}

// printEvents prints one event a line.
func (a *app) printEvents(events []es.Recorded, asJSON bool) error {
	for _, r := range events {
		if asJSON {
			entry, err := ops.EntryOf(r)
			if err != nil {
				return err
			}
			if err := a.printJSON(entry); err != nil {
				return err
			}
			continue
		}
		body, err := json.Marshal(r.Event)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(a.stdout, "%s  %6d  %-24s %3d  %-24s %.160s\n", r.Time.Local().Format("15:04:05"), r.Revision, r.Stream, r.Version, r.EventType(), body); err != nil {
			return err
		}
	}
	return nil
}
