package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/ops"
	"github.com/millstream-es/millstream/es/readmodel"
	"github.com/millstream-es/millstream/es/runtime"
)

type fsckCmd struct {
	Data     string `type:"path" placeholder:"DIR" help:"Check this data directory, which no process may be using, instead of a running system."`
	JSON     bool   `name:"json" help:"Print JSON."`
	Progress bool   `default:"true" negatable:"" help:"Show a progress bar on a terminal."`
	clientFlags
}

// Help is kong's text below the usage.
func (fsckCmd) Help() string {
	return `Every commit of the log is read: revisions and versions must follow each other without a gap, a command id may take effect
once. Snapshots and sagas must stand on events that are there. Read models are built anew beside those of every running node, or
of --data, and compared row by row. Nothing is changed. Exit code 1: something is wrong.

  millstream fsck
  millstream fsck --data ./data      # a node that is stopped, or a copy of its directory`
}

// Run is called by kong.
func (c *fsckCmd) Run(ctx context.Context, a *app, log *slog.Logger) (err error) {
	if c.Data != "" {
		if _, err := os.Stat(filepath.Join(c.Data, "jetstream")); err != nil {
			return usageError{fmt.Errorf("--data %s holds no log: %w", c.Data, err)}
		}
	}
	to, done, err := c.accountIn(c.Data, a, "fsck", log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	snapshots, err := runtime.NewSnapshotStore(to.nc, to.schemas, to.log)
	if err != nil {
		return err
	}
	verify := c.verifyRunning(to)
	if c.Data != "" {
		verify = c.verifyFiles(a, to)
	}
	bar := a.bar(c.Progress, -1, "fsck")
	report, err := ops.Fsck(ctx, ops.FsckConfig{
		Log: to.log, JetStream: to.js, Snapshots: snapshots, Domain: a.domain, Verify: verify,
		Progress: func(done, last es.Revision) { bar.of(int64(done), int64(last)) },
	})
	bar.clear()
	if err != nil {
		return err
	}
	if c.JSON {
		err = a.printJSON(report)
	} else {
		err = a.printFsck(report)
	}
	if err == nil && !report.Sound() {
		return silentError(exitFailure)
	}
	return err
}

func (a *app) printFsck(r ops.FsckReport) error {
	for _, p := range r.Parts {
		verdict := "sound"
		switch {
		case p.Wrong > 0:
			verdict = fmt.Sprintf("%d FAULTS", p.Wrong)
		case p.Note != "":
			verdict = p.Note
		case p.Looked == 0:
			verdict = "nothing to check"
		}
		if _, err := fmt.Fprintf(a.stdout, "%-28s %8d looked at  %s\n", p.Name, p.Looked, verdict); err != nil {
			return err
		}
		for _, f := range p.Faults {
			if _, err := fmt.Fprintf(a.stdout, "  %s: %s\n", f.Where, f.What); err != nil {
				return err
			}
		}
		if more := p.Wrong - len(p.Faults); more > 0 {
			if _, err := fmt.Fprintf(a.stdout, "  and %d more\n", more); err != nil {
				return err
			}
		}
	}
	return nil
}

// verifyRunning asks every node to compare its own.
func (c *fsckCmd) verifyRunning(to account) func(context.Context, es.Projector) (map[string]string, int, error) {
	return func(ctx context.Context, p es.Projector) (map[string]string, int, error) {
		verdicts, err := runtime.Verify(ctx, to.nc, runtime.ProjectionRequest{Name: p.Name, By: whoami(), Reason: "fsck"}, nil)
		if err != nil {
			return nil, 0, err
		}
		differ := map[string]string{}
		for _, v := range verdicts {
			if v.Diff != "" {
				differ["node "+v.Node] = v.Diff
			}
		}
		return differ, len(verdicts), nil
	}
}

// verifyFiles compares the files of a data directory.
func (c *fsckCmd) verifyFiles(a *app, to account) func(context.Context, es.Projector) (map[string]string, int, error) {
	dir := runtime.ModelsDir(c.Data)
	return func(ctx context.Context, p es.Projector) (differ map[string]string, looked int, err error) {
		kept, err := readmodel.OpenKept(dir, p.Name, p.Key())
		if errors.Is(err, fs.ErrNotExist) {
			return nil, 0, nil
		}
		if err != nil {
			return nil, 0, err
		}
		defer func() { err = errors.Join(err, kept.Close()) }()
		diff, err := a.compareWithLog(ctx, to.nc, kept, p)
		if err != nil || diff == "" {
			return nil, 1, err
		}
		return map[string]string{kept.Path(): diff}, 1, nil
	}
}

// compareWithLog folds the log up to where a model stands, beside it, and says what differs.
func (a *app) compareWithLog(ctx context.Context, nc *nats.Conn, kept *readmodel.Model, p es.Projector) (diff string, err error) {
	dir, err := os.MkdirTemp("", a.domain.Name+"-fsck-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fresh, err := readmodel.Build(dir, p)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, fresh.Close()) }()
	upTo, _ := kept.Checkpoint()
	if upTo > 0 {
		if _, err := runtime.Replay(ctx, nc, a.domain, fresh, es.Range{UpTo: upTo}, func(es.Revision, es.Revision) {}); err != nil {
			return "", err
		}
	}
	return readmodel.Equal(ctx, kept, fresh)
}
