package runtime

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/readmodel"
)

// The states of a projector.
const (
	Running  = "running"
	Building = "building" // the model of its code is not complete yet
	Paused   = "paused"
	Halted   = "halted"
)

// ProjectionInfo says how a projector stands on one node.
type ProjectionInfo struct {
	Node       string              `json:"node"`
	Name       string              `json:"name"`
	State      string              `json:"state"`
	Key        string              `json:"key"`               // of the program's own code
	Serving    string              `json:"serving,omitempty"` // key of the model that answers; "": none yet
	Previous   string              `json:"previous,omitempty"`
	Rejected   string              `json:"rejected,omitempty"` // gone back from: it does not serve by itself
	Revision   es.Revision         `json:"revision"`           // what answers show
	Built      es.Revision         `json:"built"`              // how far the program's own model is
	Last       es.Revision         `json:"last"`               // of the log
	Lag        es.Revision         `json:"lag"`                // commits that the program's own model does not show yet
	LagSeconds float64             `json:"lagSeconds"`         // age of the first of them
	Error      string              `json:"error,omitempty"`    // why it halted
	HaltedAt   es.Revision         `json:"haltedAt,omitempty"` // commit at fault
	Paused     *readmodel.Pause    `json:"paused,omitempty"`
	Skipped    []readmodel.Skipped `json:"skipped,omitempty"`
	File       string              `json:"file"`
	Work       []ProjectionWork    `json:"work,omitempty"`    // rebuilds and verifications under way
	Verdict    *Verdict            `json:"verdict,omitempty"` // of the last verification since the start
}

func (p *projection) info(ctx context.Context, last es.Revision) ProjectionInfo {
	p.mu.Lock()
	i := ProjectionInfo{
		Node: p.engine.node, Name: p.def.Name, Key: p.def.Key(), Serving: p.serving.Key, Previous: p.serving.Previous,
		Rejected: p.serving.Rejected, Paused: p.serving.Paused, File: p.model.Path(), State: Running,
	}
	answering, halted := p.answering(), p.halted
	for _, w := range p.works {
		i.Work = append(i.Work, w.now())
	}
	i.Verdict = p.verdict
	p.mu.Unlock()
	i.Built, _ = p.model.Checkpoint()
	if answering != nil {
		i.Revision, _ = answering.Checkpoint()
	}
	for _, s := range p.model.Skipped() {
		i.Skipped = append(i.Skipped, s)
	}
	slices.SortFunc(i.Skipped, func(a, b readmodel.Skipped) int { return cmp.Compare(a.Revision, b.Revision) })
	i.Last = max(last, i.Built)
	i.Lag = i.Last - i.Built
	if i.Lag > 0 {
		i.LagSeconds = p.engine.age(ctx, i.Built+1).Seconds()
	}
	switch {
	case halted != nil:
		i.State, i.Error, i.HaltedAt = Halted, halted.err.Error(), halted.revision
	case i.Paused != nil:
		i.State = Paused
	case !p.model.Complete():
		i.State = Building
	}
	return i
}

// age is how long ago a commit happened; 0 when that cannot be read.
func (e *Engine) age(ctx context.Context, at es.Revision) time.Duration {
	events, err := e.log.At(ctx, at)
	if err != nil || len(events) == 0 {
		return 0
	}
	return max(0, time.Since(events[0].Time))
}

// fault is why the projector makes its node not ready: it halted, or nothing can answer.
func (i ProjectionInfo) fault() error {
	switch {
	case i.State == Halted:
		return fmt.Errorf("halted after revision %d: %s", i.Built, i.Error)
	case i.Serving == "":
		return fmt.Errorf("being built: revision %d of %d", i.Built, i.Last)
	}
	return nil
}

func (i ProjectionInfo) detail() string {
	text := fmt.Sprintf("revision %d, %d behind", i.Built, i.Lag)
	if i.State != Running {
		text = i.State + ": " + text
	}
	if i.Serving != i.Key {
		text += fmt.Sprintf("; %s answers, at revision %d", i.Serving, i.Revision)
	}
	return text
}

var errStopping = fmt.Errorf("%w: the reader is stopping", es.ErrTransient)

// pass waits while the projector is paused or halted. Error: the reader stops.
func (p *projection) pass(closing <-chan struct{}) error {
	for {
		p.mu.Lock()
		gate := p.gate
		p.mu.Unlock()
		if gate == nil {
			return nil
		}
		select {
		case <-gate:
		case <-closing:
			return errStopping
		}
	}
}

// pause stops the projector, also over restarts, until it is resumed. Queries are answered as it stands.
func (p *projection) pause(by, reason string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.serving.Paused != nil {
		return nil
	}
	next := p.serving
	next.Paused = &readmodel.Pause{By: by, At: time.Now().UTC(), Reason: reason}
	if err := next.Write(p.engine.modelDir(), p.def.Name); err != nil {
		return err
	}
	p.serving = next
	if p.gate == nil {
		p.gate = make(chan struct{})
	}
	p.engine.cfg.Logger.Info("projector paused", "projector", p.def.Name, "by", by, "reason", reason)
	return nil
}

// resume lets a paused or halted projector go on. A skip must name the commit that it halted at: the model then holds
// who left it out, when and why.
func (p *projection) resume(ctx context.Context, skip es.Revision, by, reason string) error {
	if skip > 0 {
		if !p.rebuilding.TryLock() {
			return es.Transient(fmt.Errorf("projector %s is being rebuilt: skip afterwards", p.def.Name))
		}
		defer p.rebuilding.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if skip > 0 {
		switch {
		case p.halted == nil:
			return es.Rejected("not_halted", fmt.Sprintf("projector %s is not halted: only the commit that it halted at can be skipped", p.def.Name))
		case p.halted.revision != skip:
			return es.Rejected("other_revision", fmt.Sprintf("projector %s halted at revision %d, not %d", p.def.Name, p.halted.revision, skip))
		}
		s := readmodel.Skipped{Revision: skip, Reason: reason, By: by, At: time.Now().UTC(), Error: p.halted.err.Error()}
		if err := p.model.Skip(ctx, s); err != nil {
			return err
		}
		p.engine.cfg.Logger.Warn("a commit is skipped", "projector", p.def.Name, "revision", skip, "by", by, "reason", reason, "error", s.Error)
	}
	if p.serving.Paused != nil {
		next := p.serving
		next.Paused = nil
		if err := next.Write(p.engine.modelDir(), p.def.Name); err != nil {
			return err
		}
		p.serving = next
	}
	p.halted, p.attempts = nil, 0
	if p.gate != nil {
		close(p.gate)
		p.gate = nil
	}
	p.engine.cfg.Logger.Info("projector resumed", "projector", p.def.Name, "by", by)
	return nil
}
