package runtime

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/readmodel"
)

// projectorAttempts is how often a batch that fails for an unknown reason is tried before the projector halts.
const projectorAttempts = 5

// projection keeps one read model of this node. It never skips by itself: what cannot be applied is tried again, then
// the projector halts and says so, and the others go on. The model that its code keeps is not always the one that
// answers: see serving.go.
type projection struct {
	engine *Engine
	def    es.Projector
	model  *readmodel.Model // what this program's code keeps
	until  es.Revision      // the log's end at start: a model that has come so far is complete
	sub    *BatchSubscriber

	applying chan struct{} // holds one token, of whoever may move the model's checkpoint

	mu       sync.Mutex
	attempts int
	halted   *halt
	gate     chan struct{} // what a paused or halted projector waits at; nil: open
	serving  readmodel.Serving
	kept     *readmodel.Model // what other code kept: it serves while ours is built, and can be gone back to
	keptKey  string
	changed  chan struct{} // closed, and replaced, when another model serves

	works   []*ProjectionWork
	verdict *Verdict

	rebuilding, verifying sync.Mutex
}

// halt is why a projector cannot go on.
type halt struct {
	err      error
	revision es.Revision // of the commit at fault; 0: none is to blame alone
}

func (e *Engine) modelDir() string { return ModelsDir(e.cfg.DataDir) }

// ModelsDir is where a data directory's read models are.
func ModelsDir(dataDir string) string { return filepath.Join(dataDir, "readmodels") }

func (e *Engine) startProjections(ctx context.Context) (err error) {
	if e.lock, err = natsstore.LockDir(e.modelDir()); err != nil {
		return err
	}
	// A catch-up does not stand in the way of those who wait for an answer on the other connection.
	if e.tail, err = e.connect(natsstore.RawHeaders); err != nil {
		return err
	}
	e.answers = newAnswers(e.cfg.Metrics)
	for _, def := range e.cfg.Domain.Projectors {
		p := &projection{engine: e, def: def, applying: make(chan struct{}, 1), changed: make(chan struct{})}
		e.projections[def.Name] = p
		if err := p.open(ctx); err != nil {
			return err
		}
		p.sub = NewBatchSubscriber(BatchConfig{
			JetStream: e.js, Conn: e.tail, Stream: natsstore.EventsStream,
			Durable: fmt.Sprintf("projector-%s-%s", def.Key(), e.node), Forget: e.cfg.Forget,
			Next:    func() uint64 { revision, _ := p.model.Checkpoint(); return uint64(revision) + 1 },
			Decode:  commitsFor(e.log, def.Interest),
			Missing: func(sequence uint64) (any, error) { return e.missing(sequence) },
			Fault:   func(err error) { e.fault("projector "+def.Name, err) },
		})
		e.router.AddConsumerHandler(def.Name+" projector", "events.>", p.sub, p.handle)
	}
	return e.startOps()
}

// missing reads what the reader's consumer skipped. Nothing is ever deleted from the log, so a gap is a replica
// that lags or a log that is damaged; the leader tells.
func (e *Engine) missing(sequence uint64) ([]es.Recorded, error) {
	ctx, cancel := context.WithTimeout(e.stopped, 30*time.Second)
	defer cancel()
	return e.log.At(ctx, es.Revision(sequence))
}

// handle applies one batch of the stream in one transaction.
func (p *projection) handle(m *message.Message) error {
	b := BatchFrom(m.Context())
	if err := p.pass(b.Closing); err != nil {
		return err
	}
	select {
	case p.applying <- struct{}{}:
		defer func() { <-p.applying }()
	case <-b.Closing:
		return errStopping
	}
	err := p.apply(m.Context(), b)
	if at, ok := errors.AsType[*readmodel.EventError](err); ok && !errors.Is(err, es.ErrTransient) {
		// What comes before the commit at fault is shown, so that the model stands right before it.
		if earlier := p.apply(m.Context(), b.before(at.Revision)); earlier != nil {
			err = earlier
		}
	}
	if err != nil {
		return p.judge(err)
	}
	p.mu.Lock()
	p.attempts = 0
	p.mu.Unlock()
	err = p.promote(m.Context())
	p.engine.fault("serving of "+p.def.Name, err)
	return err
}

// before is what of a batch comes before a commit, or before those that were stored together with it.
func (b *Batch) before(revision es.Revision) *Batch {
	n := int(min(uint64(revision)-b.First, uint64(len(b.Items))))
	for n > 0 && !b.Whole[n-1] {
		n--
	}
	return &Batch{Items: b.Items[:n], First: b.First}
}

// apply folds a batch, as far as it can be read.
func (p *projection) apply(ctx context.Context, b *Batch) error {
	batch, bad := gather(b, p.model.Skipped())
	if bad != nil {
		return bad
	}
	if batch.Last == 0 {
		return nil
	}
	from, _ := p.model.Checkpoint()
	ctx, span := p.engine.tracing.batch(ctx, p.def.Name, batch)
	err := p.model.Apply(ctx, batch)
	span.end(err)
	if err != nil {
		return err
	}
	if from < batch.Last {
		p.engine.metrics.applied.WithLabelValues(p.def.Name).Add(float64(len(batch.Events)))
	}
	return nil
}

// judge decides whether a failed batch is tried again or the projector halts. The error makes the subscriber hand
// the batch out again; halted, it waits at the gate then.
func (p *projection) judge(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attempts++
	if errors.Is(err, es.ErrTransient) || p.attempts < projectorAttempts || p.halted != nil {
		return err
	}
	p.halted = &halt{err: err}
	if at, ok := errors.AsType[*readmodel.EventError](err); ok {
		p.halted.revision = at.Revision
	}
	if p.gate == nil {
		p.gate = make(chan struct{})
	}
	p.engine.cfg.Logger.Error("projector halted; its read model stands still until the cause is mended and the process restarted, or somebody resumes it",
		"projector", p.def.Name, "revision", p.halted.revision, "error", err)
	return err
}

// skippedID stands in a checkpoint for the event id of a commit that was skipped since it cannot be read.
func skippedID(revision es.Revision) string { return fmt.Sprintf("skipped/%d", revision) }

// commitsFor decodes commits for a projector: of events that it ignores no more than their envelopes.
func commitsFor(log *natsstore.Log, interest es.Interest) func(natsstore.Message, uint64) (any, error) {
	handled := handled(interest)
	handles := func(eventType string) bool { return handled[eventType] }
	return func(m natsstore.Message, sequence uint64) (any, error) {
		return log.DecodeMessage(m, handles, sequence)
	}
}

// gather makes a read model's batch of a stream's. bad is the error of the first commit that could not be read, unless
// it is skipped; what comes before it is in the batch.
func gather(b *Batch, skipped map[es.Revision]readmodel.Skipped) (batch readmodel.Batch, bad error) {
	batch.Events = make([]es.Recorded, 0, len(b.Items))
	for i, item := range b.Items {
		revision := es.Revision(b.First) + es.Revision(i)
		switch found := item.(type) {
		case []es.Recorded:
			if len(found) == 0 {
				continue
			}
			for i := range found {
				if found[i].Event != nil { // else it is ignored
					batch.Events = append(batch.Events, found[i])
				}
			}
			batch.Last, batch.LastID = revision, found[len(found)-1].ID
		case error:
			if _, skip := skipped[revision]; !skip {
				return batch, &readmodel.EventError{Revision: revision, Err: found}
			}
			batch.Last, batch.LastID = revision, skippedID(revision)
		}
	}
	return batch, nil
}

// StateAt folds an aggregate from the log, up to a revision or a time. Errors: NotFound when there is nothing,
// InvalidError for a point in the future.
func (e *Engine) StateAt(ctx context.Context, s es.Stream, r es.Range) (StateAt, error) {
	at := StateAt{Stream: s.String()}
	aggregate, err := e.schemas.Aggregate(s.Category)
	if err != nil {
		return at, err
	}
	last := r.UpTo
	if r.UpTo > 0 {
		if last, err = e.log.LastRevision(ctx); err != nil {
			return at, err
		}
	}
	if err := notInFuture(r, last); err != nil {
		return at, err
	}
	inst := &instance{state: aggregate.New(), seen: map[string]commit{}}
	if r == (es.Range{}) {
		inst, err = e.executor.load(ctx, s)
	} else {
		var history es.History
		if history, err = e.log.Load(ctx, s, r); err == nil {
			err = inst.add(history.Events)
		}
	}
	if err != nil {
		return at, err
	}
	if inst.version == 0 {
		return at, es.NotFound(s.Category+"_not_found", fmt.Sprintf("%s has no events up to there", s))
	}
	at.Version, at.Revision, at.Time, at.State = inst.version, inst.revision, inst.time, inst.state.State()
	return at, nil
}

// Checks reports on every part, for readiness.
func (e *Engine) Checks(ctx context.Context) []Check {
	var checks []Check
	add := func(name string, err error, detail string) {
		c := Check{Name: name, OK: err == nil, Detail: detail}
		if err != nil {
			c.Detail = err.Error()
		}
		checks = append(checks, c)
	}
	if e.cfg.Health != nil {
		add("server", e.cfg.Health(), "embedded")
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	last, err := e.log.LastRevision(ctx)
	add("log", err, fmt.Sprintf("revision %d, %s", last, e.cfg.Durability))
	for _, def := range e.cfg.Domain.Projectors {
		p := e.projections[def.Name]
		if p == nil {
			continue
		}
		is := p.info(ctx, last)
		add("projector "+def.Name, is.fault(), is.detail())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for who, err := range e.faults {
		add(who, err, "")
	}
	return checks
}
