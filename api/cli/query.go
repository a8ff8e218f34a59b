package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/readmodel"
	"github.com/millstream-es/millstream/es/runtime"
)

type queryCmd struct {
	Question   string        `arg:"" name:"sql" help:"A SELECT on the read model's tables."`
	Projection string        `predictor:"projection" required:"" placeholder:"NAME" help:"Whose read model is asked."`
	AsOf       string        `placeholder:"REVISION|TIME" help:"As it was then: the projector is replayed up to there into a scratch file on this machine."`
	Rows       int           `default:"1000" help:"Print at most so many rows; 0 is as many as there are, or as a node gives."`
	JSON       bool          `name:"json" help:"Print JSON instead of a table."`
	Progress   bool          `default:"true" negatable:"" help:"Show a progress bar on a terminal while replaying."`
	Timeout    time.Duration `default:"1h" help:"Give up after this time."`
	clientFlags
}

// Help is kong's text below the usage.
func (queryCmd) Help() string {
	return `Without --as-of a running node's read model is asked; with it the log is read from here. Either needs a user of the engine's
account, and neither can write. SELECT name, sql FROM sqlite_schema says what there is.`
}

// Run is called by kong.
func (q *queryCmd) Run(ctx context.Context, a *app) error {
	p, err := a.projector(q.Projection)
	if err != nil {
		return err
	}
	at, err := parseAsOf(q.AsOf)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, q.Timeout)
	defer cancel()
	nc, err := q.dial(a, "query")
	if err != nil {
		return err
	}
	defer nc.Close()
	var answer runtime.QuestionAnswer
	if q.AsOf == "" {
		answer, err = runtime.Question(ctx, nc, p.Name, q.Question, q.Rows)
	} else {
		answer, err = q.past(ctx, a, nc, p, at)
	}
	if err != nil {
		return err
	}
	if q.JSON {
		return a.printJSON(answer)
	}
	return a.printTable(answer)
}

// past replays the projector into a scratch file and asks that.
func (q *queryCmd) past(ctx context.Context, a *app, nc *nats.Conn, p es.Projector, at es.Range) (answer runtime.QuestionAnswer, err error) {
	dir, err := os.MkdirTemp("", a.domain.Name+"-query-")
	if err != nil {
		return answer, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	m, err := readmodel.Build(dir, p)
	if err != nil {
		return answer, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	bar := a.bar(q.Progress, -1, "replay "+p.Name)
	answer.Revision, err = runtime.Replay(ctx, nc, a.domain, m, at, func(done, total es.Revision) { bar.of(int64(done), int64(total)) })
	bar.clear()
	if err != nil {
		return answer, err
	}
	answer.Table, err = m.Ask(ctx, q.Question, readmodel.Limits{Rows: q.Rows})
	return answer, err
}

func (a *app) printTable(t runtime.QuestionAnswer) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(t.Columns, "\t"))
	for _, row := range t.Rows {
		cells := make([]string, len(row))
		for i, v := range row {
			if v != nil {
				cells[i] = strings.NewReplacer("\t", " ", "\n", " ").Replace(fmt.Sprint(v))
			}
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	more := ""
	if t.More {
		more = "; there are more: ask more narrowly, or raise --rows"
	}
	_, err := fmt.Fprintf(a.stderr, "%d rows at revision %d%s\n", len(t.Rows), t.Revision, more)
	return err
}

// parseAsOf reads a revision or a time; "" is now.
func parseAsOf(text string) (es.Range, error) {
	if text == "" {
		return es.Range{}, nil
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil && n > 0 {
		return es.Range{UpTo: es.Revision(n)}, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return es.Range{AsOf: t}, nil
	}
	return es.Range{}, usageError{fmt.Errorf("--as-of must be a revision of 1 or more or an RFC 3339 time like 2026-01-31T12:00:00Z, found %q", text)}
}

type projectCmd struct {
	File     string        `arg:"" type:"existingfile" help:"The projector, as SQL."`
	Out      string        `required:"" type:"path" placeholder:"FILE.db" help:"The SQLite file to make."`
	Force    bool          `help:"Replace --out when it is there."`
	AsOf     string        `placeholder:"REVISION|TIME" help:"Show what was then."`
	Progress bool          `default:"true" negatable:"" help:"Show a progress bar on a terminal."`
	Timeout  time.Duration `default:"1h" help:"Give up after this time."`
	JSON     bool          `name:"json" help:"Print JSON."`
	clientFlags
}

// Help is kong's text below the usage.
func (projectCmd) Help() string {
	return `The file holds CREATE TABLE statements, then for each event type a line "-- on OrderCreated" and the statements to run for it, with
$.data.totalAmount, $.stream.id, $.time and the like for the event's values; docs/read-models.md shows one. The log is read from here,
as a user of the engine's account. --out is a plain SQLite file; it appears when it is whole.`
}

// report is what project prints.
type report struct {
	File     string      `json:"file"`
	Revision es.Revision `json:"revision"`
}

// Run is called by kong.
func (p *projectCmd) Run(ctx context.Context, a *app) error {
	text, err := os.ReadFile(p.File)
	if err != nil {
		return usageError{err}
	}
	name := strings.TrimSuffix(filepath.Base(p.File), filepath.Ext(p.File))
	projector, err := es.ParseSQL(p.File, name, 1, string(text), a.domain.Events)
	if err != nil {
		return usageError{err}
	}
	at, err := parseAsOf(p.AsOf)
	if err != nil {
		return err
	}
	if _, err := os.Stat(p.Out); err == nil && !p.Force {
		return usageError{fmt.Errorf("%s is there already: choose another name, or add --force to replace it", p.Out)}
	}
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	out, err := readmodel.NewReport(p.Out, projector)
	if err != nil {
		return err
	}
	shown, err := p.fill(ctx, a, out, at)
	if err != nil {
		return errors.Join(err, out.Discard())
	}
	if err := out.Finish(ctx); err != nil {
		return err
	}
	if p.JSON {
		return a.printJSON(report{absolute(p.Out), shown})
	}
	_, err = fmt.Fprintf(a.stdout, "%s shows the log up to revision %d\n", p.Out, shown)
	return err
}

func (p *projectCmd) fill(ctx context.Context, a *app, out *readmodel.Report, at es.Range) (es.Revision, error) {
	nc, err := p.dial(a, "project")
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	bar := a.bar(p.Progress, -1, "project "+filepath.Base(p.File))
	defer bar.clear()
	return runtime.Replay(ctx, nc, a.domain, out.Model, at, func(done, total es.Revision) { bar.of(int64(done), int64(total)) })
}
