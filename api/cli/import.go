package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/millstream-es/millstream/es/ops"
)

type importCmd struct {
	File        string        `arg:"" help:"File of JSON lines; - reads standard input."`
	Concurrency int           `default:"64" help:"Commands in flight. Those of one stream go one after the other, in the file's order."`
	Timeout     time.Duration `default:"15s" help:"How long to wait for one answer; the engine itself gives up after 10 s."`
	Patience    time.Duration `default:"1m" help:"How long a line is sent again during an outage."`
	JSON        bool          `name:"json" help:"Print faults and the summary as JSON."`
	Progress    bool          `default:"true" negatable:"" help:"Show a progress bar on a terminal."`
	Events      bool          `help:"The file is an archive that export wrote: restore its events into an empty log."`
	restoreFlags
	danger
	clientFlags
}

// Help is kong's text below the usage.
func (importCmd) Help() string {
	return `One command a line: {"stream":"order/o-1","type":"CreateOrder","id":"…","data":{…}}; "user" and "correlation" may follow.
Without an id one is made from the line, so an import that broke off is simply run again: what was taken before is not taken twice, within the last
256 commits of its stream.
Lines of one stream keep their order, others go side by side; {"wait":true} alone on a line waits for all above it.
A line that is not taken is reported by its number on standard error, and the rest goes on.
With --dry-run the lines are held against the commands' schemas, and nothing is sent.
With --events the file is an archive of ` + "`export`" + `, checked against its proof before anything is written; no engine may be running.`
}

// Run is called by kong.
func (c *importCmd) Run(ctx context.Context, a *app, log *slog.Logger) error {
	if c.Events {
		return c.restore(ctx, a, log)
	}
	in, size := a.stdin, int64(-1)
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return usageError{err}
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		in, size = f, info.Size()
	}
	ctx, handler, cancel := allowed(ctx)
	defer cancel()
	send, err := a.checked()
	if err != nil {
		return err
	}
	if !c.DryRun {
		nc, err := c.connect(a.domain.Name+" import", handler)
		if err != nil {
			return err
		}
		defer nc.Close()
		send = ops.Call(nc, c.Timeout)
	}
	bar := a.bar(c.Progress, size, "import")
	summary, err := ops.Import(ctx, in, ops.ImportConfig{
		Send:        send,
		Concurrency: c.Concurrency,
		Patience:    c.Patience,
		Progress:    func(bytes int64, _ ops.Summary) { bar.set(bytes) },
		Fault: func(f ops.Fault) {
			bar.clear()
			a.printFault(f, c.JSON)
		},
	})
	bar.clear()
	if printErr := a.printSummary(summary, c.DryRun, c.JSON); printErr != nil {
		return printErr
	}
	switch {
	case errors.Is(context.Cause(ctx), context.Canceled):
		return codedError{exitFailure, errors.New("stopped before the end of the file: run it again to go on, what was taken is not taken twice (within 256 commits of a stream)")}
	case err != nil && ctx.Err() != nil:
		return codedError{exitNotAllowed, fmt.Errorf("not allowed: %w", context.Cause(ctx))}
	case err != nil:
		return err
	case summary.Failed > 0:
		return silentError(exitFailure)
	case summary.Unknown > 0:
		return silentError(exitUnknown)
	case summary.Invalid > 0:
		return silentError(exitUsage)
	case summary.Rejected > 0:
		return silentError(exitRejected)
	}
	return nil
}

func (a *app) printFault(f ops.Fault, asJSON bool) {
	if asJSON {
		if text, err := json.Marshal(f); err == nil { // a Reply always can be
			fmt.Fprintf(a.stderr, "%s\n", text)
		}
		return
	}
	code, message, pointer := "", "", ""
	if p := f.Reply.Error; p != nil {
		code, message, pointer = p.Code, p.Message, p.Pointer
	}
	if pointer != "" {
		message = pointer + ": " + message
	}
	fmt.Fprintf(a.stderr, "line %d: %s %s: %s %s: %s\n", f.Line, f.Stream, f.Type, f.Reply.Outcome, code, message)
}

func (a *app) printSummary(s ops.Summary, dry, asJSON bool) error {
	if asJSON {
		return a.printJSON(s)
	}
	if dry {
		_, err := fmt.Fprintf(a.stdout, "dry run: %d lines, %d good, %d invalid\n", s.Lines, s.Accepted, s.Invalid)
		return err
	}
	_, err := fmt.Fprintf(a.stdout, "%d lines in %.1f s (%.0f/s): %d accepted, %d unchanged, %d rejected, %d invalid, %d unknown, %d failed\n",
		s.Lines, s.Seconds, s.Rate(), s.Accepted, s.Unchanged, s.Rejected, s.Invalid, s.Unknown, s.Failed)
	return err
}
