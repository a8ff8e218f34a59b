package cli

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/ops"
)

type historyCmd struct {
	Stream string `arg:"" predictor:"stream" help:"Whose history, as category/id, like order/o-1."`
	JSON   bool   `name:"json" help:"Print JSON, one event a line, with the events' data."`
	Data   bool   `help:"Print the events' data too."`
	clientFlags
}

// Help is kong's text below the usage.
func (historyCmd) Help() string {
	return `Read from the log itself, as a user of the engine's account. CAUSE is the id of the event that a command was sent because of; of a
saga's command it is what the saga reacted to, which ` + "`trace`" + ` with the correlation id shows in full.`
}

// Run is called by kong.
func (c *historyCmd) Run(ctx context.Context, a *app) error {
	stream, err := es.ParseStream(c.Stream)
	if err != nil {
		return err
	}
	to, err := c.account(a, "history")
	if err != nil {
		return err
	}
	defer to.close()
	entries, err := ops.History(ctx, to.log, stream)
	if errors.Is(err, es.ErrRejected) {
		if _, unknown := to.schemas.Aggregate(stream.Category); unknown != nil {
			err = codedError{exitNotFound, unknown}
		}
	}
	if err != nil {
		return err
	}
	if c.JSON {
		for _, e := range entries {
			if err := a.printJSON(e); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "VERSION\tREVISION\tTIME\tEVENT\tUSER\tCOMMAND\tCAUSE\tCORRELATION")
	for _, e := range entries {
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s", e.Version, e.Revision, e.Time.Format(time.RFC3339Nano), e.Type, e.User, e.CommandID, e.Causation, e.Correlation)
		if c.Data {
			fmt.Fprintf(w, "\t%s", e.Data)
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}
