package cli

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
)

type snapshotsCmd struct {
	List snapshotsListCmd `cmd:"" help:"Stored snapshots, those written longest ago first."`
	Show snapshotsShowCmd `cmd:"" help:"One snapshot with its state, and whether a load would use it."`
	Drop snapshotsDropCmd `cmd:"" help:"Take a snapshot away: a snapshot is only a cache, the log holds the truth."`
}

// snapshots connects.
func (c clientFlags) snapshots(a *app) (account, *runtime.SnapshotStore, error) {
	to, err := c.account(a, "snapshots")
	if err != nil {
		return to, nil, err
	}
	store, err := runtime.NewSnapshotStore(to.nc, to.schemas, to.log)
	if err != nil {
		to.close()
	}
	return to, store, err
}

type snapshotsListCmd struct {
	Category string `arg:"" optional:"" predictor:"category" help:"Only of aggregates of this category."`
	limited
	Cursor string `placeholder:"CURSOR" help:"Go on after the page that named this."`
	JSON   bool   `name:"json" help:"Print JSON."`
	clientFlags
}

// snapshotList is what list prints as JSON.
type snapshotList struct {
	Items []runtime.SnapshotInfo `json:"items"`
	Next  string                 `json:"next,omitempty"`
}

// Run is called by kong.
func (c *snapshotsListCmd) Run(ctx context.Context, a *app) error {
	if err := c.limited.check(); err != nil {
		return err
	}
	to, store, err := c.snapshots(a)
	if err != nil {
		return err
	}
	defer to.close()
	found, next, err := store.List(ctx, c.Category, c.Cursor, c.Limit)
	if err != nil {
		return err
	}
	more := ""
	if next != "" {
		more = fmt.Sprintf("there are more: --cursor %s goes on", next)
	}
	return a.printList(list{json: snapshotList{found, next}, head: "STREAM,VERSION,REVISION,BYTES,COMMAND IDS,STORED AT,NOTE",
		rows: each(found, func(s runtime.SnapshotInfo) []any {
			return []any{s.Stream, s.Version, s.Revision, s.Bytes, s.Commands, s.StoredAt, s.Fault}
		}), more: more}, c.JSON)
}

type snapshotsShowCmd struct {
	Stream string `arg:"" predictor:"snapshot" help:"Whose snapshot, as category/id."`
	JSON   bool   `name:"json" help:"Print JSON."`
	clientFlags
}

// Run is called by kong.
func (c *snapshotsShowCmd) Run(ctx context.Context, a *app) error {
	stream, err := es.ParseStream(c.Stream)
	if err != nil {
		return err
	}
	to, store, err := c.snapshots(a)
	if err != nil {
		return err
	}
	defer to.close()
	s, err := store.Show(ctx, stream)
	if err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(s)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fits := "a load uses it"
	if !s.Fits {
		fits = "ignored: " + s.Ignored
	}
	fmt.Fprintf(w, "stream\t%s\nversion\t%d, at revision %d of %s\nevent\t%s\nstored\t%s, %d bytes, %d command ids\nuse\t%s\nstate\t%s\n",
		s.Stream, s.Version, s.Revision, s.Time.Local().Format(time.RFC3339), s.EventID, s.StoredAt.Local().Format(time.RFC3339), s.Bytes, s.Commands, fits, s.State)
	return w.Flush()
}

// droppedSnapshot is what drop prints as JSON.
type droppedSnapshot struct {
	Stream string `json:"stream"`
	State  string `json:"state"`
}

type snapshotsDropCmd struct {
	Stream string `arg:"" predictor:"snapshot" help:"Whose snapshot, as category/id."`
	recorded
	danger
	JSON bool `name:"json" help:"Print JSON."`
	clientFlags
}

// Help is kong's text below the usage.
func (snapshotsDropCmd) Help() string {
	return `The next load reads the whole history, and another snapshot is written when it is due.

Example: millstream snapshots drop stock/p-1 --reason 'state looked wrong'`
}

// Run is called by kong.
func (c *snapshotsDropCmd) Run(ctx context.Context, a *app) error {
	stream, err := es.ParseStream(c.Stream)
	if err != nil {
		return err
	}
	if err := c.needReason(c.danger, "dropping", "the record must say why it was not to be used"); err != nil {
		return err
	}
	to, store, err := c.snapshots(a)
	if err != nil {
		return err
	}
	defer to.close()
	if _, err := store.Show(ctx, stream); err != nil {
		return err
	}
	if err := c.allow(a, c.JSON, fmt.Sprintf("The snapshot of %s will be gone; its next load reads the whole history.", stream), stream.ID); err != nil {
		return err
	}
	if err := store.Drop(ctx, stream, c.by(), c.Reason); err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(droppedSnapshot{stream.String(), "dropped"})
	}
	_, err = fmt.Fprintf(a.stdout, "the snapshot of %s is dropped\n", stream)
	return err
}
