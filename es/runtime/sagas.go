package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// sagaRunner runs one kind of saga. Invariants:
//
//  1. A transition is stored before its effects are done, and its commands' outcomes before the next trigger is heard.
//  2. A command's id follows from (saga, key, transition, index), so doing effects again changes nothing.
//  3. Triggers of one key are heard in the log's order: they come in a lane, and position says how far.
//  4. The guard on the key's subject in SAGAS lets one worker at a time make a step; the other reads anew.
type sagaRunner struct {
	engine *Engine
	saga   es.Saga
	log    *natsstore.SagaLog
	timers *natsstore.Timers
	keys   keyedMutex // within the process: triggers and timers of one key take turns
}

// process is one key's newest transition.
type process struct {
	key      string
	sequence uint64
	transition
}

func (s *sagaRunner) load(ctx context.Context, key string) (*process, error) {
	entry, err := s.log.Last(ctx, s.saga.Name(), key)
	if err != nil {
		return nil, err
	}
	return s.decode(entry)
}

func (s *sagaRunner) decode(entry natsstore.SagaEntry) (*process, error) {
	p := &process{key: entry.Key, sequence: entry.Sequence}
	if entry.Sequence > 0 {
		if err := json.Unmarshal(entry.Data, &p.transition); err != nil {
			return nil, es.Permanent(fmt.Errorf("saga %s/%s: stored transition at %d: %w", s.saga.Name(), entry.Key, entry.Sequence, err))
		}
	}
	return p, nil
}

func (s *sagaRunner) lock(key string) func() {
	return s.keys.lock(es.Stream{Category: s.saga.Name(), ID: key})
}

// hear lets a key's process react to the events of a commit that are its own.
func (s *sagaRunner) hear(ctx context.Context, key string, events []es.Recorded) error {
	defer s.lock(key)()
	p, err := s.load(ctx, key)
	if err != nil {
		return err
	}
	if err := s.settle(ctx, p); err != nil {
		return err
	}
	for _, r := range events {
		if mine, err := s.mine(r); err != nil || mine != key {
			if err != nil {
				return err
			}
			continue
		}
		at := position{r.Revision, r.Version, r.ID}
		if p.Position.heard(r) {
			missed, err := s.missed(ctx, key, r)
			if err != nil {
				return err
			}
			if !missed {
				continue
			}
			at = p.Position
		}
		if p.Correlation == "" {
			p.Correlation, p.Traceparent = r.Correlation, r.Traceparent
		}
		if err := s.step(ctx, p, trigger{Kind: "event", ID: r.ID, Type: r.EventType(), Time: r.Time}, at, nil, r); err != nil {
			return err
		}
		if err := s.settle(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// mine returns the key that an event belongs to, "" when it is none of this saga's.
func (s *sagaRunner) mine(r es.Recorded) (string, error) {
	if !s.saga.Interest().Has(r.EventType()) {
		return "", nil
	}
	key, mine := s.saga.Route(r)
	if !mine {
		return "", nil
	}
	if !es.ValidID(key) {
		return "", es.Permanent(fmt.Errorf("saga %s: event %s is routed to key %q, which must match [A-Za-z0-9_-]{1,64}", s.saga.Name(), r.ID, key))
	}
	return key, nil
}

// step lets the process react and stores the transition. An event that changes nothing is not stored: hearing it
// again would change nothing either.
func (s *sagaRunner) step(ctx context.Context, p *process, on trigger, at position, outcomes []outcomeRecord, inputs ...es.Recorded) error {
	state, effects, err := s.saga.React(p.State, inputs...)
	if err != nil {
		return err
	}
	if (on.Kind == "event" || on.Kind == triggerCancelled) && len(effects) == 0 && (bytes.Equal(state, p.State) || p.sequence == 0 && s.untouched(state)) {
		return nil
	}
	next, err := p.next(s.saga.Name(), p.key, on, state, effects, s.engine.cfg.Delays)
	if err != nil {
		return err
	}
	next.Position, next.Outcomes = at, outcomes
	if on.Kind == "timer" {
		if t, armed := next.Timers[on.Type]; armed && t.ID == on.ID {
			delete(next.Timers, on.Type)
		}
	}
	return s.store(ctx, p, next)
}

// store appends a transition to the process's own.
func (s *sagaRunner) store(ctx context.Context, p *process, next transition) error {
	data, err := json.Marshal(next)
	if err != nil {
		return es.Permanent(fmt.Errorf("saga %s/%s: %w", s.saga.Name(), p.key, err))
	}
	sequence, err := s.log.Append(ctx, s.saga.Name(), p.key, data, p.sequence)
	if err != nil {
		return err
	}
	p.sequence, p.transition = sequence, next
	s.engine.metrics.transitions.WithLabelValues(s.saga.Name()).Inc()
	return nil
}

// untouched reports whether a state is that of a process that has not begun.
func (s *sagaRunner) untouched(state json.RawMessage) bool {
	zero, _, err := s.saga.React(nil)
	return err == nil && bytes.Equal(zero, state)
}

// settle does what the newest transition owes: arms and cancels timers, executes commands and lets the process
// hear their outcomes, until nothing is owed.
func (s *sagaRunner) settle(ctx context.Context, p *process) error {
	for p.sequence > 0 {
		for _, e := range p.Effects {
			var err error
			switch e.Kind {
			case "wake":
				// A timer that has since been replaced or gone off is no longer owed.
				if t, armed := p.Timers[e.Name]; armed && t.ID == e.ID {
					err = s.timers.Set(ctx, s.saga.Name(), p.key, e.Name, e.ID, *e.At)
				}
			case "cancel":
				if _, armed := p.Timers[e.Name]; !armed {
					err = s.timers.Cancel(ctx, s.saga.Name(), p.key, e.Name)
				}
			}
			if err != nil {
				return err
			}
		}
		if !p.owesCommands() {
			return nil
		}
		records, inputs, err := s.execute(ctx, p)
		if err != nil {
			return err
		}
		on := trigger{Kind: "outcomes", ID: strconv.FormatUint(p.Number, 10), Time: p.Trigger.Time}
		if err := s.step(ctx, p, on, p.Position, records, inputs...); err != nil {
			return err
		}
	}
	return nil
}

// execute sends the transition's commands, in order, through the door that everyone's go through.
func (s *sagaRunner) execute(ctx context.Context, p *process) (records []outcomeRecord, inputs []es.Recorded, err error) {
	for _, e := range p.Effects {
		if e.Kind != "send" {
			continue
		}
		stream, err := es.ParseStream(e.Stream)
		var reply es.Reply
		var command es.Command
		if err != nil {
			reply = es.Reply{CommandID: e.ID, Stream: e.Stream, Outcome: es.Invalid, Error: Problem(err)}
		} else {
			meta := es.Meta{Stream: stream, CommandID: e.ID, User: "saga:" + s.saga.Name(), Correlation: p.Correlation, Causation: p.Trigger.ID, Traceparent: s.engine.tracing.parent(ctx, p.Traceparent)}
			if reply, err = s.engine.executeOwn(ctx, es.Request{Type: e.Type, Data: e.Data, Meta: meta, Internal: true}); err != nil {
				return nil, nil, fmt.Errorf("saga %s/%s: %s to %s: %w", s.saga.Name(), p.key, e.Type, e.Stream, err)
			}
			if known, err := s.engine.schemas.Command(stream.Category, e.Type); err == nil {
				if c, err := known.Decode(e.Data); err == nil {
					command = c
				}
			}
		}
		records = append(records, outcomeRecord{Stream: e.Stream, Type: e.Type, Reply: reply})
		inputs = append(inputs, es.Recorded{
			Event: es.Outcome{Target: stream, CommandType: e.Type, Reply: reply, Command: command},
			Meta:  es.Meta{Stream: stream, CommandID: e.ID, Correlation: p.Correlation, Causation: p.Trigger.ID, Time: p.Trigger.Time},
			ID:    e.ID + "/outcome", Revision: reply.Revision, Version: reply.Version,
		})
	}
	return records, inputs, nil
}

// due wakes a process, unless the timer was cancelled or replaced meanwhile.
func (s *sagaRunner) due(ctx context.Context, key, name, id string) (err error) {
	defer s.lock(key)()
	p, err := s.load(ctx, key)
	if err != nil {
		return err
	}
	if err := s.settle(ctx, p); err != nil {
		return err
	}
	t, armed := p.Timers[name]
	if !armed {
		return nil
	}
	if t.ID != id { // a worker that was held up may have set it late, in the place of the armed one
		return s.timers.Set(ctx, s.saga.Name(), key, name, t.ID, t.At)
	}
	ctx, span := s.engine.tracing.woken(ctx, s.saga.Name(), p)
	defer func() { span.end(err) }()
	in := es.Recorded{Event: es.Woken{Name: name}, ID: id, Meta: es.Meta{Stream: es.Stream{Category: s.saga.Name(), ID: key}, Correlation: p.Correlation, Causation: id, Time: t.At}}
	if err := s.step(ctx, p, trigger{Kind: "timer", ID: id, Type: name, Time: t.At}, p.Position, nil, in); err != nil {
		return err
	}
	return s.settle(ctx, p)
}

// all reads the newest transition of every process.
func (s *sagaRunner) all(ctx context.Context) (all []*process, err error) {
	err = s.log.Each(ctx, s.saga.Name(), func(entry natsstore.SagaEntry) error {
		p, err := s.decode(entry)
		all = append(all, p)
		return err
	})
	return all, err
}

// sweep goes over every open process at take-over: what its last transition owes is done again, its timers are armed
// again. A process that cannot be swept now is left for its next trigger and reported.
func (s *sagaRunner) sweep(ctx context.Context) error {
	all, err := s.all(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range all {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !p.Done || p.owesCommands() || len(p.Timers) > 0 {
			errs = append(errs, s.sweepOne(ctx, p.key))
		}
	}
	return errors.Join(errs...)
}

func (s *sagaRunner) sweepOne(ctx context.Context, key string) error {
	defer s.lock(key)()
	p, err := s.load(ctx, key)
	if err != nil {
		return err
	}
	for name, t := range p.Timers {
		if err := s.timers.Set(ctx, s.saga.Name(), key, name, t.ID, t.At); err != nil {
			return err
		}
	}
	return s.settle(ctx, p)
}

// start adds the saga's two handlers, events and timers, to the engine's router.
func (s *sagaRunner) start() {
	e, name := s.engine, s.saga.Name()
	e.consume(name+" saga", "events.>", LaneConfig{
		Stream: natsstore.EventsStream, Durable: "saga-" + name,
		Keys:     e.eventKeys(s.saga.Interest(), s.mine),
		TakeOver: e.sweeping("saga "+name, s.sweep),
	}, func(m *message.Message) error {
		d := DeliveryFrom(m.Context())
		events, err := d.events()
		if err != nil {
			return err
		}
		ctx, span := e.tracing.reaction(m.Context(), "saga "+name, d.Key, events...)
		err = s.hear(ctx, d.Key, events)
		span.end(err)
		return err
	})
	e.consume(name+" timers", natsstore.DueFilter(name), LaneConfig{
		Stream: natsstore.TimersStream, Durable: "saga-" + name + "-due",
		Keys: func(m *nats.Msg, _ uint64) ([]string, any) {
			_, key, _, err := natsstore.ParseDue(m.Subject)
			if err != nil {
				return []string{m.Subject}, err
			}
			return []string{key}, nil
		},
	}, func(m *message.Message) error {
		d := DeliveryFrom(m.Context())
		_, key, timerName, err := natsstore.ParseDue(d.Subject)
		if err != nil {
			return err
		}
		return s.due(m.Context(), key, timerName, string(m.Payload))
	})
}
