package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
	"github.com/millstream-es/millstream/es/schema"
)

type projectionsCmd struct {
	Rebuild rebuildCmd `cmd:"" help:"Build a read model anew from the log, on every running node."`
}

type rebuildCmd struct {
	Name     string        `arg:"" help:"The projector's name."`
	Progress bool          `default:"true" negatable:"" help:"Show a progress bar on a terminal."`
	Timeout  time.Duration `default:"1h" help:"Give up after this time; the nodes go on."`
	clientFlags
}

// Run is called by kong.
func (r *rebuildCmd) Run(ctx context.Context, a *app) error {
	if err := r.check(); err != nil {
		return usageError{err}
	}
	var names []string
	for _, p := range a.domain.Projectors {
		names = append(names, p.Name)
	}
	if !slices.Contains(names, r.Name) {
		hint := fmt.Sprintf("known are %v", names)
		if close, ok := schema.Closest(r.Name, names); ok {
			hint = fmt.Sprintf("did you mean %s?", close)
		}
		return codedError{exitNotFound, fmt.Errorf("no projector is called %q: %s", r.Name, hint)}
	}
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	nc, err := r.connect(a.domain.Name + " rebuild")
	if err != nil {
		return err
	}
	defer nc.Close()
	// One bar for all nodes: revisions applied of those to apply.
	type state struct{ done, total es.Revision }
	nodes := map[string]state{}
	bar := a.bar(r.Progress, -1, "rebuild "+r.Name)
	err = runtime.Rebuild(ctx, nc, r.Name, func(node string, done, total es.Revision) {
		nodes[node] = state{done, total}
		var sum state
		for _, s := range nodes {
			sum.done += s.done
			sum.total += s.total
		}
		bar.of(int64(sum.done), int64(sum.total))
	})
	bar.clear()
	if err != nil {
		return err
	}
	for node, s := range nodes {
		if _, err := fmt.Fprintf(a.stdout, "%s rebuilt on node %s up to revision %d\n", r.Name, node, s.total); err != nil {
			return err
		}
	}
	return nil
}
