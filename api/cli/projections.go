package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
)

type projectionsCmd struct {
	List     projectionsListCmd `cmd:"" help:"How every projector stands, on every running node."`
	Show     projectionsShowCmd `cmd:"" help:"All about one projector."`
	Rebuild  rebuildCmd         `cmd:"" help:"Build a read model anew from the log, on every running node."`
	Verify   verifyCmd          `cmd:"" help:"Build a read model aside and compare it with the serving one, row by row."`
	Pause    pauseCmd           `cmd:"" help:"Stop a projector, also over restarts, until it is resumed; queries are answered as it stands."`
	Resume   resumeCmd          `cmd:"" help:"Let a paused or halted projector go on, with --skip past the commit it halted at."`
	Rollback rollbackCmd        `cmd:"" help:"Let the model serve that served before; once more, and it goes forward again."`
}

// dial checks the flags and connects.
func (c clientFlags) dial(a *app, verb string) (*nats.Conn, error) {
	if err := c.check(); err != nil {
		return nil, usageError{err}
	}
	return c.connect(a.domain.Name + " " + verb)
}

// projector finds one by its name.
func (a *app) projector(name string) (es.Projector, error) {
	var names []string
	for _, p := range a.domain.Projectors {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	hint := fmt.Sprintf("known are %s", strings.Join(names, ", "))
	if close, ok := es.Closest(name, names); ok {
		hint = fmt.Sprintf("did you mean %s?", close)
	}
	return es.Projector{}, codedError{exitNotFound, fmt.Errorf("no projector is called %q: %s", name, hint)}
}

type projectionsListCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
	clientFlags
}

// Run is called by kong.
func (c *projectionsListCmd) Run(ctx context.Context, a *app) error {
	nc, err := c.dial(a, "projections")
	if err != nil {
		return err
	}
	defer nc.Close()
	found, err := runtime.Projections(ctx, nc, "")
	if err != nil {
		return err
	}
	return a.printProjections(found, c.JSON)
}

func (a *app) printProjections(found []runtime.ProjectionInfo, asJSON bool) error {
	return a.printList(list{json: found, head: "PROJECTOR,NODE,STATE,REVISION,BEHIND,SERVING,NOTE", rows: each(found, func(i runtime.ProjectionInfo) []any {
		note := ""
		switch {
		case i.State == runtime.Halted:
			note = fmt.Sprintf("at revision %d: %s", i.HaltedAt, i.Error)
		case i.Rejected != "":
			note = "rolled back from " + i.Rejected
		case i.Paused != nil:
			note = "by " + i.Paused.By + " " + i.Paused.Reason
		case i.Serving != i.Key:
			note = fmt.Sprintf("building %s, %d of %d", i.Key, i.Built, i.Last)
		}
		return []any{i.Name, i.Node, i.State, i.Revision, behind(i), cmp.Or(i.Serving, "-"), strings.TrimSpace(note)}
	})}, asJSON)
}

// behind is the lag in commits and in time.
func behind(i runtime.ProjectionInfo) string {
	if i.Lag == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%.1f s)", i.Lag, i.LagSeconds)
}

type projectionsShowCmd struct {
	Name string `arg:"" predictor:"projection" help:"The projector's name."`
	JSON bool   `name:"json" help:"Print JSON."`
	clientFlags
}

// Run is called by kong.
func (c *projectionsShowCmd) Run(ctx context.Context, a *app) error {
	if _, err := a.projector(c.Name); err != nil {
		return err
	}
	nc, err := c.dial(a, "projections")
	if err != nil {
		return err
	}
	defer nc.Close()
	found, err := runtime.Projections(ctx, nc, c.Name)
	if err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(found)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for n, i := range found {
		if n > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "projector\t%s\nnode\t%s\nstate\t%s\n", i.Name, i.Node, i.State)
		fmt.Fprintf(w, "this program's model\t%s, at revision %d\nfile\t%s\nbehind\t%s\n", i.Key, i.Built, i.File, behind(i))
		if i.Serving == "" {
			fmt.Fprintln(w, "serving\tnothing: no model has been complete yet")
		} else {
			fmt.Fprintf(w, "serving\t%s, at revision %d\n", i.Serving, i.Revision)
		}
		if i.Previous != "" {
			fmt.Fprintf(w, "kept to go back to\t%s\n", i.Previous)
		}
		if i.Rejected != "" {
			fmt.Fprintf(w, "rolled back from\t%s\n", i.Rejected)
		}
		if p := i.Paused; p != nil {
			fmt.Fprintf(w, "paused\t%s by %s %s\n", p.At.Format(time.RFC3339), p.By, p.Reason)
		}
		if i.Error != "" {
			fmt.Fprintf(w, "halted at revision\t%d\nerror\t%s\n", i.HaltedAt, i.Error)
		}
		for _, s := range i.Skipped {
			fmt.Fprintf(w, "skipped revision\t%d, %s by %s: %s (%s)\n", s.Revision, s.At.Format(time.RFC3339), s.By, s.Reason, s.Error)
		}
	}
	return w.Flush()
}

type rebuildCmd struct {
	Name     string        `arg:"" predictor:"projection" help:"The projector's name."`
	Progress bool          `default:"true" negatable:"" help:"Show a progress bar on a terminal."`
	Timeout  time.Duration `default:"1h" help:"Give up after this time; the nodes go on."`
	JSON     bool          `name:"json" help:"Print JSON."`
	danger
	clientFlags
}

// Help is kong's text below the usage.
func (rebuildCmd) Help() string {
	return `The model that serves goes on until the new one is complete, and then has its content: what was in it before is gone.

  millstream projections rebuild orders --yes`
}

// rebuilt is what rebuild prints as JSON, for each node.
type rebuilt struct {
	Name     string      `json:"name"`
	Node     string      `json:"node"`
	Revision es.Revision `json:"revision"`
}

// Run is called by kong.
func (r *rebuildCmd) Run(ctx context.Context, a *app) error {
	if _, err := a.projector(r.Name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	nc, err := r.dial(a, "rebuild")
	if err != nil {
		return err
	}
	defer nc.Close()
	running, err := runtime.Projections(ctx, nc, r.Name)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("The read model %s will have the content that the log gives now, on %d nodes, in place of what it has.", r.Name, len(running))
	if err := r.allow(a, r.JSON, what, r.Name); err != nil {
		return err
	}
	watch, nodes, done := a.watchNodes(r.Progress, "rebuild "+r.Name)
	err = runtime.Rebuild(ctx, nc, runtime.ProjectionRequest{Name: r.Name, By: whoami()}, watch)
	done()
	if err != nil {
		return err
	}
	if r.JSON {
		return a.printJSON(each(*nodes, func(n nodeProgress) rebuilt { return rebuilt{r.Name, n.name, n.total} }))
	}
	for _, n := range *nodes {
		if _, err := fmt.Fprintf(a.stdout, "%s rebuilt on node %s up to revision %d\n", r.Name, n.name, n.total); err != nil {
			return err
		}
	}
	return nil
}

type nodeProgress struct {
	name        string
	done, total es.Revision
}

// watchNodes shows one bar for all nodes: revisions applied of those to apply.
func (a *app) watchNodes(wanted bool, what string) (watch func(string, es.Revision, es.Revision), nodes *[]nodeProgress, done func()) {
	nodes = &[]nodeProgress{}
	bar := a.bar(wanted, -1, what)
	return func(node string, done, total es.Revision) {
		n := slices.IndexFunc(*nodes, func(n nodeProgress) bool { return n.name == node })
		if n < 0 {
			n = len(*nodes)
			*nodes = append(*nodes, nodeProgress{name: node})
		}
		(*nodes)[n].done, (*nodes)[n].total = done, total
		var sum nodeProgress
		for _, n := range *nodes {
			sum.done += n.done
			sum.total += n.total
		}
		bar.of(int64(sum.done), int64(sum.total))
	}, nodes, bar.clear
}

type verifyCmd struct {
	Name     string        `arg:"" predictor:"projection" help:"The projector's name."`
	Progress bool          `default:"true" negatable:"" help:"Show a progress bar on a terminal."`
	Timeout  time.Duration `default:"1h" help:"Give up after this time; the nodes go on."`
	JSON     bool          `name:"json" help:"Print JSON."`
	clientFlags
}

// Run is called by kong.
func (v *verifyCmd) Run(ctx context.Context, a *app) error {
	if _, err := a.projector(v.Name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, v.Timeout)
	defer cancel()
	nc, err := v.dial(a, "verify")
	if err != nil {
		return err
	}
	defer nc.Close()
	watch, _, done := a.watchNodes(v.Progress, "verify "+v.Name)
	verdicts, err := runtime.Verify(ctx, nc, runtime.ProjectionRequest{Name: v.Name, By: whoami()}, watch)
	done()
	if err != nil {
		return err
	}
	differ := false
	for _, found := range verdicts {
		differ = differ || found.Diff != ""
		if v.JSON {
			continue
		}
		text := "equals the fold of the log"
		if found.Diff != "" {
			text = "DIFFERS, serving against rebuilt:\n  " + strings.ReplaceAll(found.Diff, "\n", "\n  ")
		}
		if _, err := fmt.Fprintf(a.stdout, "%s on node %s at revision %d %s\n", v.Name, found.Node, found.Revision, text); err != nil {
			return err
		}
	}
	if v.JSON {
		if err := a.printJSON(verdicts); err != nil {
			return err
		}
	}
	if differ {
		return silentError(exitFailure)
	}
	return nil
}

// change is what the verbs that change something share.
type change struct {
	Name string `arg:"" predictor:"projection" help:"The projector's name."`
	Node string `placeholder:"ID" help:"Only on this node, as list names it; default: on every one that runs."`
	recorded
	JSON bool `name:"json" help:"Print JSON."`
	clientFlags
}

func (c change) run(ctx context.Context, a *app, skip es.Revision, do func(context.Context, *nats.Conn, runtime.ProjectionRequest) ([]runtime.ProjectionInfo, error)) error {
	nc, err := c.dial(a, "projections")
	if err != nil {
		return err
	}
	defer nc.Close()
	found, err := do(ctx, nc, runtime.ProjectionRequest{Name: c.Name, Node: c.Node, By: c.by(), Reason: c.Reason, Skip: skip})
	if len(found) > 0 {
		err = errors.Join(err, a.printProjections(found, c.JSON))
	}
	return err
}

type pauseCmd struct{ change }

// Run is called by kong.
func (c *pauseCmd) Run(ctx context.Context, a *app) error {
	if _, err := a.projector(c.Name); err != nil {
		return err
	}
	return c.run(ctx, a, 0, runtime.PauseProjection)
}

type resumeCmd struct {
	change
	Skip es.Revision `placeholder:"REVISION" help:"Leave out the commit that the projector halted at; needs --reason. Who, when and why are kept in the read model."`
	danger
}

// Run is called by kong.
func (c *resumeCmd) Run(ctx context.Context, a *app) error {
	if _, err := a.projector(c.Name); err != nil {
		return err
	}
	if c.Skip > 0 {
		if err := c.needReason(c.danger, "--skip", "the read model will differ from the log, and must say why"); err != nil {
			return err
		}
		what := fmt.Sprintf("The read model %s will not show revision %d, for good.", c.Name, c.Skip)
		if err := c.allow(a, c.JSON, what, c.Name); err != nil {
			return err
		}
	} else if c.DryRun {
		return usageError{errors.New("--dry-run goes with --skip: to resume alone loses nothing")}
	}
	return c.run(ctx, a, c.Skip, runtime.ResumeProjection)
}

type rollbackCmd struct {
	change
	danger
}

// Run is called by kong.
func (c *rollbackCmd) Run(ctx context.Context, a *app) error {
	if _, err := a.projector(c.Name); err != nil {
		return err
	}
	what := fmt.Sprintf("Queries of %s will be answered by the other model, which stands still unless this program keeps it.", c.Name)
	if err := c.allow(a, c.JSON, what, c.Name); err != nil {
		return err
	}
	return c.run(ctx, a, 0, runtime.RollBackProjection)
}
