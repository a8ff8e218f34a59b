package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/schema"
)

type schemaCmd struct {
	List   schemaListCmd   `cmd:"" help:"List every event with its versions, and every command."`
	Show   schemaShowCmd   `cmd:"" help:"Print the JSON Schema of an event or a command."`
	Check  schemaCheckCmd  `cmd:"" help:"Fail when this program cannot work with what the log is written with."`
	Diff   schemaDiffCmd   `cmd:"" help:"Print every difference between this program and the running system."`
	Accept schemaAcceptCmd `cmd:"" help:"Put this program's events and commands in the place of the running system's."`
}

// lookTime bounds a look at the running system's registry.
const lookTime = 10 * time.Second

type schemaListCmd struct {
	JSON bool `name:"json" help:"Print everything with its schemas, as check and diff read it from a file."`
}

// Run is called by kong.
func (c *schemaListCmd) Run(a *app) error {
	r, err := schema.New(a.domain)
	if err != nil {
		return err
	}
	d := r.Document()
	if c.JSON {
		return a.printJSON(d)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, typ := range slices.Sorted(maps.Keys(d.Events)) {
		fmt.Fprintf(w, "event\t%s", typ)
		for i, v := range slices.Sorted(maps.Keys(d.Events[typ])) {
			separator := " "
			if i == 0 {
				separator = "\t"
			}
			fmt.Fprintf(w, "%sv%d", separator, v)
		}
		fmt.Fprintln(w)
	}
	for _, g := range r.Aggregates() {
		for _, command := range r.Commands(g.Category()) {
			fmt.Fprintf(w, "command\t%s\t%s\n", command.Type, command.Category)
		}
	}
	return w.Flush()
}

type schemaShowCmd struct {
	Type    string `arg:"" predictor:"type" help:"An event or a command, like OrderCreated or CreateOrder."`
	Version int    `placeholder:"N" help:"This version of an event; default: the newest."`
	JSON    bool   `name:"json" help:"Print each on one line."`
}

// Run is called by kong.
func (c *schemaShowCmd) Run(a *app) error {
	r, err := schema.New(a.domain)
	if err != nil {
		return err
	}
	found, err := c.find(r)
	if err != nil {
		return codedError{exitNotFound, err}
	}
	for _, s := range found {
		if err := a.printDocument(s, c.JSON); err != nil {
			return err
		}
	}
	return nil
}

// find returns an event's schema, or those of a command in every category that has it.
func (c *schemaShowCmd) find(r *schema.Registry) ([]json.RawMessage, error) {
	if _, known := r.Document().Events[c.Type]; known {
		s, err := r.EventSchema(c.Type, c.Version)
		return []json.RawMessage{s}, err
	}
	var found []json.RawMessage
	names := slices.Sorted(maps.Keys(r.Document().Events))
	for _, g := range r.Aggregates() {
		for _, command := range r.Commands(g.Category()) {
			names = append(names, command.Type)
			if command.Type == c.Type {
				found = append(found, command.Schema)
			}
		}
	}
	if found != nil {
		return found, nil
	}
	if near, ok := schema.Closest(c.Type, names); ok {
		return nil, fmt.Errorf("no event or command is called %q: did you mean %s?", c.Type, near)
	}
	return nil, fmt.Errorf("no event or command is called %q: `schema list` shows them", c.Type)
}

// other is what the program is compared with.
type other struct {
	File string `arg:"" optional:"" help:"A registry as schema list --json prints it; - reads standard input. Default: the running system's."`
	JSON bool   `name:"json" help:"Print the differences as JSON, one a line."`
	clientFlags
}

// compare returns the differences between what is stored and this program.
func (o *other) compare(ctx context.Context, a *app) ([]schema.Difference, error) {
	if o.File == "" {
		to, err := o.account(a, "schema")
		if err != nil {
			return nil, err
		}
		defer to.close()
		ctx, cancel := context.WithTimeout(ctx, lookTime)
		defer cancel()
		stored, _, err := natsstore.Registered(ctx, to.js)
		return schema.Compare(stored, to.schemas.Document()), err
	}
	r, err := schema.New(a.domain)
	if err != nil {
		return nil, err
	}
	var stored schema.Document
	if o.File == "-" {
		stored, err = readDocument(a.stdin)
	} else {
		f, openErr := os.Open(o.File)
		if openErr != nil {
			return nil, usageError{openErr}
		}
		defer f.Close()
		stored, err = readDocument(f)
	}
	if err != nil {
		return nil, err
	}
	return schema.Compare(stored, r.Document()), nil
}

func readDocument(r io.Reader) (schema.Document, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return schema.Document{}, err
	}
	return schema.ParseDocument(data)
}

func (a *app) printDifferences(differences []schema.Difference, asJSON bool) error {
	for _, d := range differences {
		if asJSON {
			if err := a.printJSON(d); err != nil {
				return err
			}
			continue
		}
		mark := "  "
		if d.Breaking {
			mark = "! "
		}
		if _, err := fmt.Fprintln(a.stdout, mark+d.String()); err != nil {
			return err
		}
	}
	return nil
}

type schemaCheckCmd struct{ other }

// Help is kong's text below the usage.
func (schemaCheckCmd) Help() string {
	return `It fails, with exit code 1, when a stored type or version is unknown here, when an event changed without a new version, when a
version has no path to the newest, and when a command takes less than it did. The same is checked at every start.`
}

// Run is called by kong.
func (c *schemaCheckCmd) Run(ctx context.Context, a *app) error {
	differences, err := c.compare(ctx, a)
	if err != nil {
		return err
	}
	breaking := slices.DeleteFunc(slices.Clone(differences), func(d schema.Difference) bool { return !d.Breaking })
	if err := a.printDifferences(breaking, c.JSON); err != nil {
		return err
	}
	if len(breaking) > 0 {
		return silentError(exitFailure)
	}
	if !c.JSON {
		_, err = fmt.Fprintf(a.stdout, "ok: nothing breaks, %d additions\n", len(differences))
	}
	return err
}

type schemaDiffCmd struct{ other }

// Help is kong's text below the usage.
func (schemaDiffCmd) Help() string {
	return `Breaking differences are marked with an exclamation mark and say what to do. Nothing is printed when there is no difference.`
}

// Run is called by kong.
func (c *schemaDiffCmd) Run(ctx context.Context, a *app) error {
	differences, err := c.compare(ctx, a)
	if err != nil {
		return err
	}
	return a.printDifferences(differences, c.JSON)
}

type schemaAcceptCmd struct {
	danger
	JSON bool   `name:"json" help:"Print JSON."`
	Data string `type:"path" placeholder:"DIR" help:"Of the system that runs on this data directory, and is stopped now."`
	clientFlags
}

// Help is kong's text below the usage.
func (schemaAcceptCmd) Help() string {
	return `For when a newer program is given up before it stored such an event, or a command is taken away on purpose. An event in the
log that no program knows stops whoever reads it: ` + "`history`" + ` and ` + "`trace`" + ` tell what is there. The bucket keeps what was before:
nats kv history registry schemas.`
}

// Run is called by kong.
func (c *schemaAcceptCmd) Run(ctx context.Context, a *app, log *slog.Logger) error {
	to, saved, err := c.accountIn(c.Data, a, "schema", log)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	return errors.Join(c.accept(ctx, a, to), saved())
}

func (c *schemaAcceptCmd) accept(ctx context.Context, a *app, to account) error {
	stored, revision, err := natsstore.Registered(ctx, to.js)
	if err != nil {
		return err
	}
	differences := schema.Compare(stored, to.schemas.Document())
	if err := a.printDifferences(differences, c.JSON); err != nil {
		return err
	}
	if revision > 0 && len(differences) == 0 {
		return nil
	}
	switch what := fmt.Sprintf("The registry will say what this program says: %d differences.", len(differences)); {
	case c.DryRun:
		return nil // they are printed
	case schema.Breaking(differences) != nil:
		if err := a.confirm(c.Yes, what+" Those marked with ! are breaking.", "accept"); err != nil {
			return err
		}
	}
	if err := natsstore.AcceptSchemas(ctx, to.js, to.schemas.Document(), revision); err != nil {
		return fmt.Errorf("the registry was not changed: %w", err)
	}
	if c.JSON {
		return nil
	}
	_, err = fmt.Fprintf(a.stdout, "accepted %d differences\n", len(differences))
	return err
}
