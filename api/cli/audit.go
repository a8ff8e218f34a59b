package cli

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es/runtime"
)

type auditCmd struct {
	What   string `placeholder:"KIND" help:"Only what was done to sagas, projections, deadletters or snapshots."`
	On     string `placeholder:"NAME" help:"Only what was done to this: a projector's name, saga/key, category/id or a dead letter's id."`
	By     string `placeholder:"WHO" help:"Only what was done by this user."`
	Limit  int    `default:"100" help:"At most so many."`
	Cursor uint64 `placeholder:"CURSOR" help:"Go on after the page that named this."`
	JSON   bool   `name:"json" help:"Print JSON."`
	clientFlags
}

// Help is kong's text below the usage.
func (auditCmd) Help() string {
	return `Everything operators did, the newest first, from the stream OPERATIONS, which nothing deletes from.

Example: millstream audit --what sagas --by ada`
}

// auditList is what is printed as JSON.
type auditList struct {
	Items []runtime.AuditEntry `json:"items"`
	Next  uint64               `json:"next,omitempty"`
}

// Run is called by kong.
func (c *auditCmd) Run(ctx context.Context, a *app) error {
	if c.Limit < 1 {
		return usageError{fmt.Errorf("--limit must be above zero, not %d", c.Limit)}
	}
	nc, err := c.dial(a, "audit")
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	found, next, err := runtime.Audit(ctx, js, runtime.AuditFilter{What: c.What, On: c.On, By: c.By}, c.Cursor, c.Limit)
	if err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(auditList{append([]runtime.AuditEntry{}, found...), next})
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TIME\tBY\tDID\tTO\tSTATE\tREASON\tERROR")
	for _, e := range found {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s %s\t%s\t%s\t%s\n", e.Time.Local().Format(time.RFC3339), e.By, e.Kind, e.What, e.On, e.State, firstLine(e.Reason), firstLine(e.Error))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if next > 0 {
		fmt.Fprintf(a.stderr, "there are more: --cursor %d goes on\n", next)
	}
	return nil
}
