package cli

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es/runtime"
)

type auditCmd struct {
	What string `placeholder:"KIND" help:"Only what was done to sagas, projections, deadletters or snapshots."`
	On   string `placeholder:"NAME" help:"Only what was done to this: a projector's name, saga/key, category/id or a dead letter's id."`
	By   string `placeholder:"WHO" help:"Only what was done by this user."`
	limited
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
	if err := c.limited.check(); err != nil {
		return err
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
	more := ""
	if next > 0 {
		more = fmt.Sprintf("there are more: --cursor %d goes on", next)
	}
	return a.printList(list{json: auditList{append([]runtime.AuditEntry{}, found...), next}, head: "TIME,BY,DID,TO,STATE,REASON,ERROR",
		rows: each(found, func(e runtime.AuditEntry) []any {
			return []any{e.Time, e.By, e.Kind, e.What + " " + e.On, e.State, firstLine(e.Reason), firstLine(e.Error)}
		}), more: more}, c.JSON)
}
