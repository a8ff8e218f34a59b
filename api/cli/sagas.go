package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
)

type sagasCmd struct {
	List   sagasListCmd   `cmd:"" help:"Processes of sagas, those that moved last first."`
	Show   sagasShowCmd   `cmd:"" help:"One process: what it waits for, its timers, and all it went through."`
	Retry  sagasRetryCmd  `cmd:"" help:"Do again what a process owes, and arm its timers again."`
	Cancel sagasCancelCmd `cmd:"" help:"Give a process up, so that it undoes what it did."`
}

// processes connects to where the sagas' processes are.
func (c clientFlags) processes(a *app) (*nats.Conn, *runtime.Processes, error) {
	nc, err := c.dial(a, "sagas")
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	return nc, runtime.NewProcesses(js, a.domain), nil
}

type sagasListCmd struct {
	Saga  string `arg:"" optional:"" predictor:"saga" help:"Only of this saga."`
	State string `enum:",open,done,stuck" default:"" placeholder:"STATE" help:"Only those that are open (the stuck ones included), done or stuck."`
	Key   string `placeholder:"TEXT" help:"Only those whose key has this text in it."`
	limited
	Cursor string `placeholder:"CURSOR" help:"Go on after the page that named this."`
	JSON   bool   `name:"json" help:"Print JSON."`
	clientFlags
}

// Help is kong's text below the usage.
func (sagasListCmd) Help() string {
	return `A process is stuck when it will not go on by itself: an input of it is a dead letter, a command it sent has had no answer for 30
seconds, a timer is overdue by a minute, or it is open with no timer armed and nothing has happened for 15 minutes.

Example: millstream sagas list fulfilment --state stuck`
}

// processList is what list prints as JSON.
type processList struct {
	Items []runtime.Process `json:"items"`
	Total int               `json:"total"` // that match
	Next  string            `json:"next,omitempty"`
}

// Run is called by kong.
func (c *sagasListCmd) Run(ctx context.Context, a *app) error {
	if err := c.limited.check(); err != nil {
		return err
	}
	nc, processes, err := c.processes(a)
	if err != nil {
		return err
	}
	defer nc.Close()
	f := runtime.ProcessFilter{Saga: c.Saga, State: runtime.ProcessState(c.State), Query: c.Key}
	found, total, next, err := processes.List(ctx, f, c.Cursor, c.Limit)
	if err != nil {
		return err
	}
	more := ""
	if next != "" {
		more = fmt.Sprintf("%d of %d: --limit shows more, --cursor %s goes on", len(found), total, next)
	}
	return a.printList(list{json: processList{found, total, next}, head: "SAGA,KEY,STATE,SINCE,WAITS FOR,NEXT TIMER,NOTE",
		rows: each(found, func(p runtime.Process) []any {
			timer := ""
			if len(p.Timers) > 0 {
				timer = p.Timers[0].Name + " at " + p.Timers[0].At.Local().Format(time.RFC3339)
			}
			waits := each(p.Waiting, func(w runtime.WaitingFor) string { return w.For })
			return []any{p.Saga, p.Key, p.State, p.Since, strings.Join(waits, ", "), timer, firstLine(strings.Join(p.Stuck, "; "))}
		}), more: more}, c.JSON)
}

type sagasShowCmd struct {
	Saga string `arg:"" predictor:"saga" help:"The saga's name."`
	Key  string `arg:"" predictor:"process" help:"The process's key, such as an order's id."`
	Data bool   `help:"Print states and commands' bodies too."`
	JSON bool   `name:"json" help:"Print JSON."`
	clientFlags
}

// Run is called by kong.
func (c *sagasShowCmd) Run(ctx context.Context, a *app) error {
	nc, processes, err := c.processes(a)
	if err != nil {
		return err
	}
	defer nc.Close()
	h, err := processes.Show(ctx, c.Saga, c.Key)
	if err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(h)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "process\t%s %s\nstate\t%s since %s\n", h.Saga, h.Key, h.State, h.Since.Local().Format(time.RFC3339))
	for _, why := range h.Stuck {
		fmt.Fprintf(w, "stuck\tit %s\n", why)
	}
	for _, wait := range h.Waiting {
		fmt.Fprintf(w, "waits for\t%s, since %s", wait.For, wait.Since.Local().Format(time.RFC3339))
		if wait.Until != nil {
			fmt.Fprintf(w, "; %s at %s", wait.Then, wait.Until.Local().Format(time.RFC3339))
		}
		fmt.Fprintln(w)
	}
	for _, t := range h.Timers {
		fmt.Fprintf(w, "timer\t%s at %s\n", t.Name, t.At.Local().Format(time.RFC3339))
	}
	for _, o := range h.Owes {
		fmt.Fprintf(w, "owes\tan answer from %s to %s, command %s\n", o.Stream, o.Command, o.CommandID)
	}
	for _, s := range h.Timeline {
		fmt.Fprintf(w, "step %d\t%s\n", s.Number, stepWords(s, c.Data))
	}
	for _, op := range h.Actions {
		fmt.Fprintf(w, "%s\t%s\n", op.Kind, actionWords(op))
	}
	return w.Flush()
}

// stepWords is one line on a transition.
func stepWords(s runtime.Step, data bool) string {
	words := []string{s.Time.Local().Format(time.RFC3339Nano) + " on " + strings.TrimSpace(s.Trigger.Kind+" "+s.Trigger.Type)}
	if s.Trigger.By != "" {
		words = append(words, "by "+s.Trigger.By+": "+s.Trigger.Reason)
	}
	for _, o := range s.Outcomes {
		text := o.Command + " to " + o.Stream + " " + string(o.Reply.Outcome)
		if o.Reply.Error != nil {
			text += " (" + o.Reply.Error.Code + ")"
		}
		words = append(words, text)
	}
	for _, e := range s.Effects {
		switch e.Kind {
		case "send":
			text := "sends " + e.Command + " to " + e.Stream
			if data {
				text += " " + string(e.Data)
			}
			words = append(words, text)
		case "wake":
			words = append(words, "timer "+e.Timer+" at "+e.At.Local().Format(time.RFC3339))
		case "cancel":
			words = append(words, "no timer "+e.Timer)
		case "done":
			words = append(words, "done")
		}
	}
	if data {
		words = append(words, "state "+string(s.State))
	}
	return strings.Join(words, "; ")
}

// actionWords is one line on what an operator did.
func actionWords(op runtime.AuditEntry) string {
	text := fmt.Sprintf("%s by %s", op.Time.Local().Format(time.RFC3339), op.By)
	if op.Reason != "" {
		text += ": " + op.Reason
	}
	if op.State != "" {
		text += ": " + op.State
	}
	if op.Error != "" {
		text += ": failed: " + firstLine(op.Error)
	}
	return text
}

// processAct is what the verbs that act on one process share.
type processAct struct {
	Saga string `arg:"" predictor:"saga" help:"The saga's name."`
	Key  string `arg:"" predictor:"process" help:"The process's key."`
	recorded
	JSON bool `name:"json" help:"Print JSON."`
	clientFlags
}

func (c processAct) run(ctx context.Context, a *app, kind string) error {
	if err := runtime.CheckSaga(a.domain, c.Saga); err != nil {
		return err
	}
	nc, err := c.dial(a, "sagas")
	if err != nil {
		return err
	}
	defer nc.Close()
	reply, err := runtime.ActOnProcess(ctx, nc, runtime.ProcessRequest{Kind: kind, Saga: c.Saga, Key: c.Key, By: c.by(), Reason: c.Reason})
	if err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(reply)
	}
	what := "nothing was owed"
	if reply.To > reply.From {
		what = fmt.Sprintf("went from step %d to %d", reply.From, reply.To)
	}
	_, err = fmt.Fprintf(a.stdout, "%s %s is %s: %s\n", c.Saga, c.Key, reply.State, what)
	return err
}

// look refuses what is not there, or is done.
func (c processAct) look(ctx context.Context, a *app) error {
	nc, processes, err := c.processes(a)
	if err != nil {
		return err
	}
	defer nc.Close()
	h, err := processes.Show(ctx, c.Saga, c.Key)
	if err == nil && h.State == runtime.ProcessDone {
		err = es.Rejected("saga_done", fmt.Sprintf("%s %s is done already", c.Saga, c.Key))
	}
	return err
}

type sagasRetryCmd struct{ processAct }

// Help is kong's text below the usage.
func (sagasRetryCmd) Help() string {
	return `A process that runs the saga sends the commands of the newest step again, with the ids they had, so that what was done is not done
twice. What the process could not hear at all is a dead letter: deadletters retry.

Example: millstream sagas retry fulfilment o-1 --reason 'the stock was locked'`
}

// Run is called by kong.
func (c *sagasRetryCmd) Run(ctx context.Context, a *app) error {
	return c.run(ctx, a, runtime.RetryProcess)
}

type sagasCancelCmd struct {
	processAct
	Force bool `help:"End it where it stands, with nothing undone; also what does not know how to undo."`
	danger
}

// Help is kong's text below the usage.
func (sagasCancelCmd) Help() string {
	return `The process hears that it is given up, and undoes what it did the way it knows. A saga that knows no way can only be ended by --force:
its timers are taken back, nothing is undone, and what it has done stays done.

Example: millstream sagas cancel fulfilment o-1 --reason fraud`
}

// Run is called by kong.
func (c *sagasCancelCmd) Run(ctx context.Context, a *app) error {
	if err := c.needReason(c.danger, "cancelling", "the record must say why the process was given up"); err != nil {
		return err
	}
	kind, what := runtime.CancelProcess, fmt.Sprintf("%s %s will be given up; it undoes what it can.", c.Saga, c.Key)
	if c.Force {
		kind, what = runtime.EndProcess, fmt.Sprintf("%s %s will end where it stands, with NOTHING undone.", c.Saga, c.Key)
	}
	if err := runtime.CheckSaga(a.domain, c.Saga); err != nil {
		return err
	}
	if c.DryRun { // else the process that runs the saga says so, and what was tried is on record
		if err := c.look(ctx, a); err != nil {
			return err
		}
	}
	if err := c.allow(a, c.JSON, what, c.Key); err != nil {
		return err
	}
	return c.run(ctx, a, kind)
}
