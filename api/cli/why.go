package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/ops"
	"github.com/millstream-es/millstream/es/runtime"
)

type whyCmd struct {
	Stream string `arg:"" predictor:"stream" help:"Which aggregate, as category/id, like order/o-1."`
	JSON   bool   `name:"json" help:"Print JSON: state, processes with their whole timelines, and every command with why it would be refused."`
	clientFlags
}

// Help is kong's text below the usage.
func (whyCmd) Help() string {
	return `In one line: how the aggregate stands, which sagas are under way about it, what they wait for since when and what their timers do, and
which commands it would take now (from people; those that only sagas send are left out).

Example: millstream why order/o-1`
}

// Run is called by kong.
func (c *whyCmd) Run(ctx context.Context, a *app) error {
	stream, err := es.ParseStream(c.Stream)
	if err != nil {
		return err
	}
	to, err := c.account(a, "why")
	if err != nil {
		return err
	}
	defer to.close()
	if _, unknown := to.schemas.Aggregate(stream.Category); unknown != nil {
		return codedError{exitNotFound, unknown}
	}
	w, err := ops.AskWhy(ctx, ops.WhyConfig{
		Log: to.log, Schemas: to.schemas, Processes: runtime.NewProcesses(to.js, a.domain), Stream: stream, Now: time.Now(), Zone: time.Local,
	})
	if err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(w)
	}
	_, err = fmt.Fprintln(a.stdout, w.Words)
	return err
}
