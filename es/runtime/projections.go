package runtime

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/readmodel"
)

// projectorAttempts is how often a batch that fails for an unknown reason is tried before the projector halts.
const projectorAttempts = 5

// projection keeps one read model of this node. It never skips: what cannot be applied is tried again, then the
// projector halts and says so, and the others go on.
type projection struct {
	engine *Engine
	model  *readmodel.Model
	sub    *BatchSubscriber

	mu       sync.Mutex
	attempts int
	halted   error

	rebuilding sync.Mutex
}

func (e *Engine) modelDir() string { return filepath.Join(e.cfg.DataDir, "readmodels") }

func (e *Engine) startProjections() (err error) {
	if e.lock, err = natsstore.LockDir(e.modelDir()); err != nil {
		return err
	}
	for _, def := range e.cfg.Domain.Projectors {
		model, err := readmodel.Open(e.modelDir(), def)
		if err != nil {
			return err
		}
		if why := model.Recovered(); why != "" {
			e.cfg.Logger.Warn(why)
		}
		p := &projection{engine: e, model: model}
		e.projections[def.Name] = p
		if err := p.confirm(e.stopped); err != nil {
			return err
		}
		p.sub = NewBatchSubscriber(BatchConfig{
			JetStream: e.js, Stream: natsstore.EventsStream,
			Durable: fmt.Sprintf("projector-%s-%s", def.Key(), e.node),
			Next:    p.next,
			Decode:  func(m jetstream.Msg) (any, error) { return e.decode(m) },
			Missing: func(sequence uint64) (any, error) { return e.missing(sequence) },
			Fault:   func(err error) { e.fault("projector "+def.Name, err) },
		})
		e.router.AddConsumerHandler(def.Name+" projector", "events.>", p.sub, p.handle)
	}
	return e.startOps()
}

// confirm compares the checkpoint with the log: revisions that were used anew after a power cut in fast mode, or a
// log that has lost its tail, make the read model worthless, and it begins anew.
func (p *projection) confirm(ctx context.Context) error {
	revision, id := p.model.Checkpoint()
	if revision == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	last, err := p.engine.log.LastRevision(ctx)
	if err != nil {
		return fmt.Errorf("projector %s: %w", p.name(), err)
	}
	if revision <= last {
		events, err := p.engine.log.At(ctx, revision)
		if err != nil && !errors.Is(err, es.ErrPermanent) {
			return fmt.Errorf("projector %s: %w", p.name(), err)
		}
		if err == nil && len(events) > 0 && events[len(events)-1].ID == id {
			return nil
		}
	}
	p.engine.cfg.Logger.Warn("read model is not of this log and is rebuilt", "projector", p.name(), "revision", revision, "eventId", id, "logLast", last)
	return p.model.Reset()
}

func (p *projection) name() string { return p.model.Projector().Name }

func (p *projection) next() uint64 {
	revision, _ := p.model.Checkpoint()
	return uint64(revision) + 1
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
	batch, bad := gather(b)
	if batch.Last > 0 {
		if err := p.apply(m.Context(), batch); err != nil {
			return err
		}
	}
	if bad != nil {
		return p.judge(bad)
	}
	return nil
}

func (p *projection) apply(ctx context.Context, batch readmodel.Batch) error {
	before, _ := p.model.Checkpoint()
	if err := p.model.Apply(ctx, batch); err != nil {
		return p.judge(err)
	}
	p.mu.Lock()
	p.attempts = 0
	p.mu.Unlock()
	if before < batch.Last {
		p.engine.metrics.applied.WithLabelValues(p.name()).Add(float64(len(batch.Events)))
	}
	return nil
}

// judge decides whether a failed batch is tried again or the projector halts. The error makes the subscriber hand
// the batch out again; halted, it is closed.
func (p *projection) judge(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attempts++
	if errors.Is(err, es.ErrTransient) || p.attempts < projectorAttempts || p.halted != nil {
		return err
	}
	p.halted = err
	p.engine.cfg.Logger.Error("projector halted; its read model stands still until the cause is mended and the process restarted", "projector", p.name(), "error", err)
	go p.sub.Close()
	return err
}

// gather makes a read model's batch of a stream's. bad is the error of the first commit that could not be read; what
// comes before it is in the batch.
func gather(b *Batch) (batch readmodel.Batch, bad error) {
	for _, item := range b.Items {
		events, ok := item.([]es.Recorded)
		if !ok {
			return batch, item.(error)
		}
		if len(events) == 0 {
			continue
		}
		batch.Events = append(batch.Events, events...)
		last := events[len(events)-1]
		batch.Last, batch.LastID = last.Revision, last.ID
	}
	return batch, nil
}

// Ask puts a question to a read model, once it has reached revision min. at is a revision that the answer shows at
// least. Errors: what the query rejects; transient when the read model does not get there before ctx ends.
func (e *Engine) Ask(ctx context.Context, q es.QueryDef, params any, min es.Revision) (answer any, at es.Revision, err error) {
	p := e.projections[q.ProjectorName()]
	if p == nil {
		return nil, 0, es.Transient(fmt.Errorf("query %s needs the projectors' role, which this process does not have", q.QueryName()))
	}
	if err := p.model.WaitFor(ctx, min); err != nil {
		return nil, 0, err
	}
	at, _ = p.model.Checkpoint()
	answer, err = q.AskAny(ctx, p.model.DB(), params)
	return answer, at, err
}

// StateAt folds an aggregate from the log, up to a revision or a time. Errors: NotFound when there is nothing,
// InvalidError for a point in the future.
func (e *Engine) StateAt(ctx context.Context, s es.Stream, r es.Range) (StateAt, error) {
	at := StateAt{Stream: s.String()}
	aggregate, err := e.schemas.Aggregate(s.Category)
	if err != nil {
		return at, err
	}
	if r.AsOf.After(time.Now().Add(time.Second)) {
		return at, &es.InvalidError{Code: "in_future", Message: fmt.Sprintf("asOf %s is in the future", r.AsOf.Format(time.RFC3339))}
	}
	if r.UpTo > 0 {
		last, err := e.log.LastRevision(ctx)
		if err != nil {
			return at, err
		}
		if r.UpTo > last {
			return at, &es.InvalidError{Code: "in_future", Message: fmt.Sprintf("asOf %d is in the future: the log's last revision is %d", r.UpTo, last)}
		}
	}
	history, err := e.log.Load(ctx, s, r)
	if err != nil {
		return at, err
	}
	if len(history.Events) == 0 {
		return at, es.NotFound(s.Category+"_not_found", fmt.Sprintf("%s has no events up to there", s))
	}
	inst := &instance{state: aggregate.New(), seen: map[string]commit{}}
	if err := inst.add(history.Events); err != nil {
		return at, err
	}
	at.Version, at.Revision, at.State = inst.version, inst.revision, inst.state.State()
	at.Time = history.Events[len(history.Events)-1].Time
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
		at, _ := p.model.Checkpoint()
		lag := max(last, at) - at
		e.metrics.lag.WithLabelValues(def.Name).Set(float64(lag))
		p.mu.Lock()
		halted := p.halted
		p.mu.Unlock()
		if halted != nil {
			halted = fmt.Errorf("halted at revision %d: %w", at, halted)
		}
		add("projector "+def.Name, halted, fmt.Sprintf("revision %d, %d behind", at, lag))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for who, err := range e.faults {
		add(who, err, "")
	}
	return checks
}
