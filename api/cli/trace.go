package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/ops"
)

type traceCmd struct {
	Correlation string        `arg:"" help:"A correlation id. It is that of the first command unless the client gave one; history shows it."`
	Since       time.Duration `placeholder:"TIME" help:"Look only at events stored in the last TIME, like 24h; default: at all."`
	JSON        bool          `name:"json" help:"Print the tree as JSON, with the events' data."`
	Progress    bool          `default:"true" negatable:"" help:"Show a progress bar on a terminal."`
	clientFlags
}

// Help is kong's text below the usage.
func (traceCmd) Help() string {
	return `The story of one correlation id as a tree: commands, their events, saga transitions and what they sent. The log is not indexed by
correlation, so it is read through, on a connection to the engine's account; --since says how far back.`
}

// story is what --json prints.
type story struct {
	Correlation string      `json:"correlationId"`
	Roots       []*ops.Node `json:"roots"`
}

// Run is called by kong.
func (c *traceCmd) Run(ctx context.Context, a *app) error {
	to, err := c.account(a, "trace")
	if err != nil {
		return err
	}
	defer to.close()
	config := ops.TraceConfig{Log: to.log, Sagas: natsstore.NewSagaLog(to.js), Domain: a.domain, Correlation: c.Correlation}
	if c.Since > 0 {
		config.Since = time.Now().Add(-c.Since)
	}
	bar := a.bar(c.Progress, -1, "trace")
	config.Progress = func(at, last es.Revision) { bar.of(int64(at), int64(last)) }
	roots, err := ops.Trace(ctx, config)
	bar.clear()
	if err != nil {
		return err
	}
	if c.JSON {
		return a.printJSON(story{c.Correlation, roots})
	}
	for _, n := range roots {
		if err := a.printTree(n, "", ""); err != nil {
			return err
		}
	}
	return nil
}

// printTree prints a node after first, and what is below it after rest.
func (a *app) printTree(n *ops.Node, first, rest string) error {
	if _, err := fmt.Fprintf(a.stdout, "%s%s\n", first, describe(n)); err != nil {
		return err
	}
	for i, child := range n.Children {
		branch, below := "├─ ", "│  "
		if i == len(n.Children)-1 {
			branch, below = "└─ ", "   "
		}
		if err := a.printTree(child, rest+branch, rest+below); err != nil {
			return err
		}
	}
	return nil
}

func describe(n *ops.Node) string {
	at := n.Time.Format("2006-01-02T15:04:05.000Z07:00")
	switch n.Kind {
	case ops.KindEvent:
		return fmt.Sprintf("%s  %s version %d, revision %d, %s", n.Name, n.Stream, n.Version, n.Revision, at)
	case ops.KindTransition:
		text := fmt.Sprintf("saga %s step %s, on %s", n.Stream, n.ID, n.Trigger)
		if len(n.Waits) > 0 {
			text += ", waits for " + strings.Join(n.Waits, " and ")
		}
		if n.Done {
			text += ", done"
		}
		return text
	}
	text := "command "
	if n.Name != "" {
		text += n.Name + " "
	}
	text += "to " + n.Stream + ", id " + n.ID
	if n.User != "" {
		text += ", by " + n.User
	}
	if n.Causation != "" {
		text += ", because of " + n.Causation
	}
	if n.Outcome != es.Accepted && n.Outcome != "" {
		text += ": " + string(n.Outcome)
		if n.Error != nil {
			text += " " + n.Error.Code
		}
	}
	return text
}
