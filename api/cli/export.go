package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/ops"
	"github.com/millstream-es/millstream/es/runtime"
)

type exportCmd struct {
	File     string `arg:"" help:"Where to write it, like log.jsonl.zst; it must not exist yet."`
	Category string `placeholder:"NAME" predictor:"category" help:"Only the aggregates of this category, like order."`
	UpTo     uint64 `placeholder:"REVISION" help:"Only what was stored up to this revision."`
	JSON     bool   `name:"json" help:"Print the proof as JSON."`
	Progress bool   `default:"true" negatable:"" help:"Show a progress bar on a terminal."`
	clientFlags
}

// Help is kong's text below the usage.
func (exportCmd) Help() string {
	return `CloudEvents 1.0, one JSON object a line, compressed with zstd; the last line is the proof: how many, from which revision to which,
and a SHA-256 of all lines above. Nothing is deleted, and the system may be running. A whole log brings the saga transitions along;
commands still in the queue, their outcomes and dead letters are left out. Restore it with import --events.`
}

// Run is called by kong.
func (c *exportCmd) Run(ctx context.Context, a *app) error {
	to, err := c.account(a, "export")
	if err != nil {
		return err
	}
	defer to.close()
	if c.Category != "" {
		if _, err := to.schemas.Aggregate(c.Category); err != nil {
			return codedError{exitNotFound, err}
		}
	}
	if last, err := to.log.LastRevision(ctx); err != nil {
		return err
	} else if es.Revision(c.UpTo) > last {
		return usageError{fmt.Errorf("--up-to %d is in the future: the log goes up to revision %d", c.UpTo, last)}
	}
	bar := a.bar(c.Progress, -1, "export")
	var proof ops.Proof
	err = create(c.File, func(f *os.File) error {
		var err error
		proof, err = ops.Export(ctx, f, ops.ExportConfig{
			Log: to.log, JetStream: to.js, Domain: a.domain, Category: c.Category, UpTo: es.Revision(c.UpTo),
			Progress: func(done, last es.Revision) { bar.of(int64(done), int64(last)) },
		})
		return err
	})
	bar.clear()
	if err != nil {
		return err
	}
	return a.printProof("exported", proof, c.JSON)
}

// create writes a new file whole or not at all.
func create(name string, write func(*os.File) error) error {
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return usageError{fmt.Errorf("%s exists already: choose another name", name)}
	}
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*.part")
	if err != nil {
		return usageError{err}
	}
	defer os.Remove(f.Name()) // gone by then when all went well
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

func (a *app) printProof(done string, p ops.Proof, asJSON bool) error {
	if asJSON {
		return a.printJSON(p)
	}
	_, err := fmt.Fprintf(a.stdout, "%s %d events in %d commits of %d streams, revisions %d to %d, and %d saga transitions; sha256 %s\n",
		done, p.Events, p.Commits, p.Streams, p.First, p.Last, p.Transitions, p.SHA256)
	return err
}

type restoreFlags struct {
	Data     string `type:"path" placeholder:"DIR" help:"With --events: restore into this new data directory, for dev or serve to run on, instead of servers."`
	Replicas int    `default:"1" help:"With --events: copies of each stream, where they are created."`
}

// restore puts an archive into an empty log.
func (c *importCmd) restore(ctx context.Context, a *app, log *slog.Logger) error {
	f, err := os.Open(c.File)
	if err != nil {
		return usageError{err}
	}
	defer f.Close()
	if c.DryRun {
		return c.dryRestore(ctx, a, f, log)
	}
	to, saved, err := c.accountIn(c.Data, a, "restore", log)
	if err != nil {
		return err
	}
	if c.Data == "" { // a directory can be thrown away, what is in the log of servers stays
		if err := c.allow(a, c.JSON, fmt.Sprintf("The events of %s will be in the log of %s, for good.", c.File, natsstore.ConnectedTo(to.nc)), "restore"); err != nil {
			return errors.Join(err, saved())
		}
	}
	if err := natsstore.SetUp(ctx, to.js, c.Replicas); err != nil {
		return errors.Join(err, saved())
	}
	bar := a.bar(c.Progress, -1, "restore")
	proof, err := ops.Restore(ctx, f, ops.RestoreConfig{
		Log: to.log, JetStream: to.js, Domain: a.domain,
		Begin: func(ctx context.Context, queue string, after es.Revision) error {
			return runtime.BeginAfter(ctx, to.js, queue, after)
		},
		Progress: func(done, total uint64) { bar.of(int64(done), int64(total)) },
	})
	bar.clear()
	if err := errors.Join(err, saved()); err != nil {
		return err
	}
	return a.printProof("restored", proof, c.JSON)
}

// dryRestore reads an archive and checks it, and the log that it would go to.
func (c *importCmd) dryRestore(ctx context.Context, a *app, f *os.File, log *slog.Logger) error {
	dir := c.Data
	if dir != "" {
		if found, err := os.ReadDir(dir); err == nil && len(found) > 0 {
			return usageError{fmt.Errorf("--data %s is not empty: name a new directory", dir)}
		}
		aside, err := os.MkdirTemp("", a.domain.Name)
		if err != nil {
			return err
		}
		defer os.RemoveAll(aside)
		dir = aside
	}
	to, end, err := c.accountIn(dir, a, "restore", log)
	if err != nil {
		return err
	}
	if dir != "" {
		err = natsstore.SetUp(ctx, to.js, 1)
	}
	var proof ops.Proof
	if err == nil {
		proof, err = ops.Restore(ctx, f, ops.RestoreConfig{Log: to.log, JetStream: to.js, Domain: a.domain, DryRun: true})
	}
	if err := errors.Join(err, end()); err != nil {
		return err
	}
	return a.printProof("dry run: would restore", proof, c.JSON)
}
