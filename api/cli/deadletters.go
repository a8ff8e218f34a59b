package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/ops"
	"github.com/millstream-es/millstream/es/runtime"
)

type deadLettersCmd struct {
	List   lettersListCmd   `cmd:"" help:"What was put aside and is still open, what failed last first."`
	Show   lettersShowCmd   `cmd:"" help:"One message with headers and body, and what was done about it."`
	Retry  lettersRetryCmd  `cmd:"" help:"Hand messages to their consumer again, as they were."`
	Resend lettersResendCmd `cmd:"" help:"Send a corrected copy of a command as a new one."`
	Drop   lettersDropCmd   `cmd:"" help:"Give messages up, for good and on record."`
}

// letterFilter narrows dead letters down.
type letterFilter struct {
	Consumer string `placeholder:"NAME" predictor:"consumer" help:"Only of this consumer, such as commands, saga-fulfilment or gateway-payment."`
	Category string `placeholder:"NAME" predictor:"category" help:"Only for aggregates of this category, such as order."`
	Error    string `placeholder:"TEXT" help:"Only those whose error has this text in it."`
}

func (f letterFilter) filter() ops.LetterFilter {
	return ops.LetterFilter{Consumer: f.Consumer, Category: f.Category, Error: f.Error}
}

// letters connects.
func (c clientFlags) letters(a *app) (*nats.Conn, *ops.DeadLetters, error) {
	nc, err := c.dial(a, "deadletters")
	if err != nil {
		return nil, nil, err
	}
	letters, err := ops.NewDeadLetters(nc)
	if err != nil {
		nc.Close()
	}
	return nc, letters, err
}

type lettersListCmd struct {
	letterFilter
	limited
	JSON bool `name:"json" help:"Print JSON."`
	clientFlags
}

// lettersList is what list prints as JSON.
type lettersList struct {
	Letters []ops.Letter `json:"letters"`
	Total   int          `json:"total"` // that match
}

// Run is called by kong.
func (c *lettersListCmd) Run(ctx context.Context, a *app) error {
	if err := c.limited.check(); err != nil {
		return err
	}
	nc, letters, err := c.letters(a)
	if err != nil {
		return err
	}
	defer nc.Close()
	found, total, err := letters.List(ctx, c.filter(), c.Limit)
	if err != nil {
		return err
	}
	return a.printLetters(found, total, c.JSON)
}

func (a *app) printLetters(letters []ops.Letter, total int, asJSON bool) error {
	more := ""
	if len(letters) < total {
		more = fmt.Sprintf("%d of %d: --limit shows more", len(letters), total)
	}
	return a.printList(list{json: lettersList{append([]ops.Letter{}, letters...), total}, head: "ID,CONSUMER,SUBJECT,STATE,ATTEMPTS,FAILED AT,ERROR",
		rows: each(letters, func(l ops.Letter) []any {
			return []any{l.ID, l.Consumer, l.Subject, l.State, l.Attempts, l.FailedAt, firstLine(l.Error)}
		}), more: more}, asJSON)
}

// firstLine is enough of an error for a table: a panic's goes on with its stack.
func firstLine(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	return text
}

type lettersShowCmd struct {
	ID   string `arg:"" predictor:"letter" help:"The dead letter's id."`
	JSON bool   `name:"json" help:"Print JSON."`
	clientFlags
}

// Run is called by kong.
func (c *lettersShowCmd) Run(ctx context.Context, a *app) error {
	nc, letters, err := c.letters(a)
	if err != nil {
		return err
	}
	defer nc.Close()
	l, err := letters.Show(ctx, c.ID)
	if err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(l)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "id\t%s\nstate\t%s\nconsumer\t%s\n", l.ID, l.State, l.Consumer)
	fmt.Fprintf(w, "message\t%s, number %d of %s\n", l.Subject, l.Sequence, l.Time.Format(time.RFC3339))
	fmt.Fprintf(w, "attempts\t%d, the last at %s\nerror\t%s\n", l.Attempts, l.FailedAt.Format(time.RFC3339), l.Error)
	names := make([]string, 0, len(l.Headers))
	for name := range l.Headers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(w, "header\t%s: %s\n", name, strings.Join(l.Headers[name], ", "))
	}
	switch {
	case l.Data != nil:
		fmt.Fprintf(w, "body\t%s\n", l.Data)
	case l.Bytes != nil:
		fmt.Fprintf(w, "body\t%q\n", l.Bytes)
	}
	for _, op := range l.Operations {
		fmt.Fprintf(w, "%s\t%s by %s: %s\n", op.Kind, op.At.Format(time.RFC3339), op.By, strings.TrimSpace(string(op.State)+" "+firstLine(op.Error)))
		if op.Reason != "" {
			fmt.Fprintf(w, "\treason: %s\n", op.Reason)
		}
		if op.Reply != nil {
			fmt.Fprintf(w, "\tcommand %s%s: %s\n", op.Reply.CommandID, op.Command, op.Reply.Outcome)
		}
	}
	return w.Flush()
}

// lettersAct is what changes letters have in common.
type lettersAct struct {
	recorded
	JSON bool `name:"json" help:"Print one line of JSON for each result."`
	clientFlags
}

func (c lettersAct) act() ops.Act {
	return ops.Act{By: c.by(), Reason: c.Reason}
}

// report prints results as they come; code returns what became of all, as an exit code.
func (c lettersAct) report(a *app) (report func(runtime.LetterResult), end func(error) error) {
	var failed []runtime.LetterResult
	count := 0
	report = func(r runtime.LetterResult) {
		count++
		if r.Error != "" {
			failed = append(failed, r)
		}
		if c.JSON {
			if err := a.printJSON(r); err != nil {
				fmt.Fprintf(a.stderr, "print %s: %v\n", r.ID, err)
			}
			return
		}
		what := string(r.State)
		if r.Already {
			what = "was " + what + " before"
		}
		if r.Outcome != "" {
			what += fmt.Sprintf(" (command %s: %s)", r.CommandID, r.Outcome)
		}
		if r.Error != "" {
			fmt.Fprintf(a.stderr, "%s %s %s: %s\n", r.ID, r.Subject, what, firstLine(r.Error))
			return
		}
		fmt.Fprintf(a.stdout, "%s %s %s\n", r.ID, r.Subject, what)
	}
	end = func(err error) error {
		switch {
		case err != nil || len(failed) == 0:
			return err
		case count == 1:
			return silentError(exitCode(failed[0].Err()))
		default:
			return silentError(exitFailure)
		}
	}
	return report, end
}

// lettersMany is the choice of many letters.
type lettersMany struct {
	IDs []string `arg:"" optional:"" name:"id" predictor:"letter" help:"Dead letters; or choose by --consumer, --category and --error, or --all."`
	letterFilter
	All bool `help:"All there are."`
	lettersAct
}

// choose returns what the flags name.
func (c lettersMany) choose(ctx context.Context, letters *ops.DeadLetters) ([]ops.Letter, error) {
	if len(c.IDs) > 0 {
		return letters.Find(ctx, c.IDs...)
	}
	return letters.Select(ctx, c.filter())
}

func (c lettersMany) check() error {
	narrowed := c.letterFilter != letterFilter{}
	switch {
	case len(c.IDs) == 0 && !narrowed && !c.All:
		return usageError{errors.New("which? Name ids, or choose by --consumer, --category and --error, or --all")}
	case len(c.IDs) > 0 && (narrowed || c.All), narrowed && c.All:
		return usageError{errors.New("ids, --all, and choosing by --consumer, --category and --error are different ways to say which: give one")}
	}
	return nil
}

// run lets do work on the letters chosen; in a dry run it prints which they are.
func (c lettersMany) run(ctx context.Context, a *app, dry bool, do func(*ops.DeadLetters, []ops.Letter) error) error {
	if err := c.check(); err != nil {
		return err
	}
	nc, letters, err := c.letters(a)
	if err != nil {
		return err
	}
	defer nc.Close()
	chosen, err := c.choose(ctx, letters)
	if err != nil {
		return err
	}
	if dry {
		return a.printLetters(chosen, len(chosen), c.JSON)
	}
	return do(letters, chosen)
}

type lettersRetryCmd struct {
	lettersMany
	DryRun bool `help:"Only print which they would be."`
}

// Help is kong's text below the usage.
func (lettersRetryCmd) Help() string {
	return `Each message goes to its consumer again, in a process that runs it, with its own id: what was done before is not done
twice. What is done leaves the list; what fails stays, with the new error. What waits behind a message (--park) is tried
after it, in order.`
}

// Run is called by kong.
func (c *lettersRetryCmd) Run(ctx context.Context, a *app) error {
	return c.run(ctx, a, c.DryRun, func(letters *ops.DeadLetters, chosen []ops.Letter) error {
		report, end := c.report(a)
		return end(letters.Retry(ctx, chosen, c.act(), report))
	})
}

type lettersDropCmd struct {
	lettersMany
	danger
}

// Run is called by kong.
func (c *lettersDropCmd) Run(ctx context.Context, a *app) error {
	if err := c.needReason(c.danger, "dropping", "the record must say why nobody will handle this any more"); err != nil {
		return err
	}
	return c.run(ctx, a, c.DryRun, func(letters *ops.DeadLetters, chosen []ops.Letter) error {
		what, word := fmt.Sprintf("%d messages will be given up, for good.", len(chosen)), fmt.Sprintf("drop %d", len(chosen))
		if len(chosen) == 1 {
			what, word = fmt.Sprintf("%s of %s will be given up, for good.", chosen[0].Subject, chosen[0].Consumer), chosen[0].ID
		}
		if len(chosen) > 0 {
			if err := c.allow(a, c.JSON, what, word); err != nil {
				return err
			}
		}
		report, end := c.report(a)
		return end(letters.Drop(ctx, chosen, c.act(), report))
	})
}

type lettersResendCmd struct {
	ID      string `arg:"" predictor:"letter" help:"The dead letter's id."`
	Data    string `arg:"" optional:"" help:"The corrected JSON body; - reads standard input. Default: the body as it was."`
	Stream  string `placeholder:"CATEGORY/ID" predictor:"stream" help:"Another aggregate than it was sent to."`
	Command string `placeholder:"NAME" predictor:"command" help:"Another command than it was."`
	lettersAct
}

// Help is kong's text below the usage.
func (lettersResendCmd) Help() string {
	return `The copy is a new command with an id of its own, caused by the dead letter; its user is operator:NAME. A letter is resent with
effect once; when the copy is refused, the letter stays.`
}

// Run is called by kong.
func (c *lettersResendCmd) Run(ctx context.Context, a *app) error {
	if c.Data == "" && c.Stream == "" && c.Command == "" {
		return usageError{errors.New("nothing is corrected: give a body, --stream or --command; to send it as it was, use retry")}
	}
	correction := ops.Correction{Stream: c.Stream, Type: c.Command}
	if c.Stream != "" {
		if _, err := es.ParseStream(c.Stream); err != nil {
			return err
		}
	}
	switch c.Data {
	case "":
	case "-":
		data, err := io.ReadAll(a.stdin)
		if err != nil {
			return err
		}
		correction.Data = json.RawMessage(data)
	default:
		correction.Data = json.RawMessage(c.Data)
	}
	nc, letters, err := c.letters(a)
	if err != nil {
		return err
	}
	defer nc.Close()
	report, end := c.report(a)
	return end(letters.Resend(ctx, c.ID, correction, c.act(), report))
}
