package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/readmodel"
)

// Which model answers. A projector whose code or schema has changed has another key, so another file, and is built
// from the log's beginning, while the file of the key before it serves as it is. Once the new one has come as far as
// the log was at start, and as far as what serves, it takes over; the one before is kept to go back to, older ones are
// removed. A model that has never been complete answers nothing.

// open opens the models and decides which of them serves.
func (p *projection) open(ctx context.Context) (err error) {
	e, name, key := p.engine, p.def.Name, p.def.Key()
	if p.model, err = readmodel.Open(e.modelDir(), p.def); err != nil {
		return err
	}
	if why := p.model.Recovered(); why != "" {
		e.cfg.Logger.Warn(why)
	}
	found, err := readmodel.ReadServing(e.modelDir(), name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if p.until, err = e.log.LastRevision(ctx); err != nil {
		return fmt.Errorf("projector %s: %w", name, err)
	}
	ours, err := p.ofThisLog(ctx, p.model)
	if err != nil {
		return err
	}
	if !ours {
		if err := p.model.Reset(); err != nil {
			return err
		}
	}
	p.serving = found
	if err := p.openKept(ctx); err != nil {
		return err
	}
	switch {
	case p.serving.Key == key && !p.model.Complete(): // the file was damaged, or of another log
		p.serving.Key, p.serving.Previous = p.keptKey, ""
	case p.serving.Key == "" && p.model.Complete():
		p.serving.Key = key
	}
	if p.serving != found {
		if err := p.serving.Write(e.modelDir(), name); err != nil {
			return err
		}
	}
	if p.serving.Paused != nil {
		p.gate = make(chan struct{})
	}
	p.sweep()
	return p.promote(ctx)
}

// openKept opens the model that is not ours, if there is one that can be used; what cannot is forgotten.
func (p *projection) openKept(ctx context.Context) error {
	other := p.serving.Key
	if other == "" || other == p.def.Key() {
		other = p.serving.Previous
	}
	if other == "" || other == p.def.Key() {
		return nil
	}
	kept, err := readmodel.OpenKept(p.engine.modelDir(), p.def.Name, other)
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, es.ErrPermanent) {
		return err
	}
	if err == nil {
		usable, found := p.ofThisLog(ctx, kept)
		if found == nil && usable && kept.Complete() {
			p.kept, p.keptKey = kept, other
			return nil
		}
		if err := errors.Join(found, kept.Close()); err != nil {
			return err
		}
		err = errors.New("it is not a complete model of this log")
	}
	p.engine.cfg.Logger.Warn("an older read model cannot be used", "projector", p.def.Name, "model", other, "error", err)
	if p.serving.Key == other {
		p.serving.Key = ""
	}
	p.serving.Previous = ""
	return nil
}

// ofThisLog compares a checkpoint with the log: revisions that were used anew after a power cut in fast mode, or a log
// that has lost its tail, make a read model worthless.
func (p *projection) ofThisLog(ctx context.Context, m *readmodel.Model) (bool, error) {
	revision, id := m.Checkpoint()
	if revision == 0 {
		return true, nil
	}
	if revision <= p.until {
		events, err := p.engine.log.At(ctx, revision)
		switch {
		case err != nil && !errors.Is(err, es.ErrPermanent):
			return false, fmt.Errorf("projector %s: %w", p.def.Name, err)
		case err != nil && id == skippedID(revision), err == nil && len(events) > 0 && events[len(events)-1].ID == id:
			return true, nil
		}
	}
	p.engine.cfg.Logger.Warn("read model is not of this log and begins anew", "projector", p.def.Name, "file", m.Path(),
		"revision", revision, "eventId", id, "logLast", p.until)
	return false, nil
}

// promote lets our model serve, once it is complete.
func (p *projection) promote(ctx context.Context) error {
	at, _ := p.model.Checkpoint()
	p.mu.Lock()
	defer p.mu.Unlock()
	key := p.def.Key()
	if p.serving.Key == key && p.model.Complete() || at < p.until {
		return nil
	}
	if err := p.model.SetComplete(ctx); err != nil {
		return err
	}
	if p.serving.Rejected == key || p.serving.Key == key {
		return nil
	}
	if p.kept != nil {
		if behind, _ := p.kept.Checkpoint(); at < behind {
			return nil // what serves shows more: answers never go back in time
		}
	}
	previous := p.serving.Key
	if previous == "" {
		previous = p.keptKey
	}
	return p.serve(key, previous, "")
}

// serve moves the pointer. The caller holds p.mu.
func (p *projection) serve(key, previous, rejected string) error {
	next := readmodel.Serving{Key: key, Previous: previous, Rejected: rejected, Paused: p.serving.Paused}
	if err := next.Write(p.engine.modelDir(), p.def.Name); err != nil {
		return err
	}
	p.engine.cfg.Logger.Info("read model serves", "projector", p.def.Name, "model", key, "before", p.serving.Key)
	p.serving = next
	close(p.changed)
	p.changed = make(chan struct{})
	p.sweep()
	return nil
}

// sweep removes the files that nobody can go back to. What cannot be removed now is tried again at the next start.
func (p *projection) sweep() {
	err := readmodel.Sweep(p.engine.modelDir(), p.def.Name, p.def.Key(), p.serving.Key, p.serving.Previous)
	p.engine.fault("old models of "+p.def.Name, err)
}

// rollback lets the other model serve, and ours again when it is asked for once more.
func (p *projection) rollback() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := p.def.Key()
	switch {
	case p.serving.Key == key && p.kept != nil:
		return p.serve(p.keptKey, key, key)
	case p.serving.Key == key:
		return es.Rejected("no_previous_model", fmt.Sprintf("read model %s has no other complete model to go back to", key))
	case p.serving.Rejected == key && p.model.Complete():
		return p.serve(key, p.keptKey, "")
	}
	return es.Rejected("being_built", fmt.Sprintf("read model %s is being built and takes over by itself: go back then", key))
}

// answering is the model that queries see; nil: none has ever been complete. The caller holds p.mu.
func (p *projection) answering() *readmodel.Model {
	switch p.serving.Key {
	case "":
		return nil
	case p.def.Key():
		return p.model
	}
	return p.kept
}

// at returns the model that answers, once it shows a revision. Errors: a BuildingError when none has ever been
// complete; transient when ctx ends first.
func (p *projection) at(ctx context.Context, least es.Revision) (*readmodel.Model, error) {
	for {
		p.mu.Lock()
		m, changed := p.answering(), p.changed
		p.mu.Unlock()
		if m == nil && least == 0 {
			return nil, p.building(nil)
		}
		if m == nil {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return nil, p.building(context.Cause(ctx))
			}
		}
		if at, _ := m.Checkpoint(); at >= least {
			return m, nil
		}
		err := waitFor(ctx, m, least, changed)
		if err == nil || ctx.Err() != nil {
			return m, err
		}
		select {
		case <-changed:
		default:
			return nil, err // closed
		}
	}
}

// waitFor is the model's, given up when another one serves.
func waitFor(ctx context.Context, m *readmodel.Model, least es.Revision, changed <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-changed:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := m.WaitFor(ctx, least)
	cancel()
	<-done
	return err
}

// BuildingError (transient): no model can answer yet, since the one that could is being built.
type BuildingError struct {
	Projector string
	At, Until es.Revision // how far it has come, and how far it must
	Cause     error
}

func (e *BuildingError) Error() string {
	text := e.forCallers()
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

func (e *BuildingError) forCallers() string {
	return fmt.Sprintf("read model %s is being built: revision %d of %d", e.Projector, e.At, e.Until)
}

// Unwrap makes errors.Is(err, es.ErrTransient) true.
func (e *BuildingError) Unwrap() []error { return []error{es.ErrTransient, e.Cause} }

func (p *projection) building(cause error) error {
	at, _ := p.model.Checkpoint()
	return &BuildingError{Projector: p.def.Name, At: at, Until: p.until, Cause: cause}
}

func (p *projection) close() error {
	var errs []error
	for _, m := range []*readmodel.Model{p.model, p.kept} {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	return errors.Join(errs...)
}
