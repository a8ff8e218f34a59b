package estest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/schema"
)

// World runs a whole domain in memory, one small step at a time, in whatever order the test chooses: commands are
// executed on a Log, sagas hear of events, outcomes and timers as they do in the engine, and gateways are played by
// the test. What holds in every order here needs no luck in production.
//
//	w := estest.NewWorld(rt, domain)
//	w.Redeliver, w.FireAnyTime = true, true
//	w.Send(commands.Orders.Stream("o-1"), commands.CreateOrder{…})
//	for w.Step(func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "step") }) {
//	}
//	w.FireTimers()
//	w.RunUntilQuiet()
type World struct {
	// Redeliver lets Step also begin the effects at hand over, as after a crash before they were settled.
	Redeliver bool
	// FireAnyTime lets Step also have timers go off, whatever the time is.
	FireAnyTime bool
	// MaxSteps is how many steps RunUntilQuiet takes before it gives up; 0: 10,000.
	MaxSteps int

	t         T
	codec     *schema.Registry
	log       *Log
	now       time.Time
	sent      int
	published es.Revision
	sagas     []es.Saga
	processes []*process
	gateways  []*gateway
}

// NewWorld makes an empty world at Noon. Its gateways do nothing until Gateway says what they do.
func NewWorld(t T, d es.Domain) *World {
	t.Helper()
	codec, err := schema.New(d)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return &World{t: t, codec: codec, log: NewLog(codec), now: Noon, sagas: d.Sagas}
}

// Gateway plays a gateway: deliver is asked once for every event and returns the commands that come back, or nil.
func (w *World) Gateway(name string, deliver func(es.Recorded) []es.Effect) {
	w.gateways = append(w.gateways, &gateway{name: name, deliver: deliver})
}

// Now is the world's time, which only Advance and FireTimers move.
func (w *World) Now() time.Time { return w.now }

// Send executes a command from outside, at once. What follows from it waits for Step.
func (w *World) Send(stream es.Stream, command es.Command) es.Reply {
	w.t.Helper()
	w.sent++
	return w.SendAs(fmt.Sprintf("client-%d", w.sent), stream, command)
}

// SendAs is Send with a command id of the test's choice, for instance one that was sent before.
func (w *World) SendAs(id string, stream es.Stream, command es.Command) es.Reply {
	w.t.Helper()
	return w.execute(command, es.Meta{Stream: stream, CommandID: id, Correlation: id, User: "tester"})
}

// State folds a stream: w.State(commands.Orders.Stream("o-1")).(commands.Order).
func (w *World) State(stream es.Stream) any {
	w.t.Helper()
	state, _ := w.load(stream)
	return state.State()
}

// History reads a stream.
func (w *World) History(stream es.Stream) []es.Recorded {
	w.t.Helper()
	_, history := w.load(stream)
	return history.Events
}

// Events reads the whole log.
func (w *World) Events() []es.Recorded {
	w.t.Helper()
	events, err := w.log.All(0)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	return events
}

// execute is the engine's executor in small: check, load, fold, look for the command's id, decide, append.
func (w *World) execute(command es.Command, meta es.Meta) es.Reply {
	w.t.Helper()
	data, err := json.Marshal(command)
	if err != nil {
		w.t.Fatalf("command %T has no JSON: %v", command, err)
	}
	meta.Time, meta.RequestHash = w.now, schema.RequestHash(command.CommandType(), data)
	reply := es.Reply{CommandID: meta.CommandID, Stream: meta.Stream.String()}
	refuse := func(kind es.OutcomeKind, err error) es.Reply {
		reply.Outcome, reply.Error = kind, problem(err)
		return reply
	}
	if err := meta.Stream.Validate(); err != nil {
		return refuse(es.Invalid, err)
	}
	known, err := w.codec.Command(meta.Stream.Category, command.CommandType())
	if err != nil {
		return refuse(es.Invalid, err)
	}
	if command, err = known.Decode(data); err != nil {
		return refuse(es.Invalid, err)
	}
	state, history := w.load(meta.Stream)
	if before := withID(history.Events, meta.CommandID); len(before) > 0 {
		if before[0].RequestHash != meta.RequestHash {
			return refuse(es.Invalid, &es.InvalidError{Code: "id_reused", Message: "command id " + meta.CommandID + " was used for another command"})
		}
		return accepted(reply, before)
	}
	if n := len(history.Events); n > 0 {
		reply.Version, reply.Revision = history.Events[n-1].Version, history.Revision
	}
	decided, err := state.Decide(command, meta)
	var invalid *es.InvalidError
	switch {
	case errors.Is(err, es.ErrRejected):
		refused := refuse(es.RejectedReply, err)
		refused.Error.Allowed = state.Allowed()
		return refused
	case errors.As(err, &invalid):
		return refuse(es.Invalid, err)
	case err != nil:
		w.t.Fatalf("%s on %s: Decide may reject or find the input invalid, and nothing else: %v", command.CommandType(), meta.Stream, err)
	case len(decided) == 0:
		reply.Outcome = es.Unchanged
		return reply
	}
	commit := es.Commit{Stream: meta.Stream, Expected: history.Revision}
	for i, e := range decided {
		commit.Events = append(commit.Events, es.Recorded{
			Event: e, Meta: meta, ID: fmt.Sprintf("%s/%d", meta.CommandID, i+1), Version: reply.Version + uint64(i) + 1,
		})
	}
	revision, err := w.log.Append(context.Background(), commit)
	if err != nil {
		w.t.Fatalf("%s on %s: %v", command.CommandType(), meta.Stream, err)
	}
	for i := range commit.Events {
		commit.Events[i].Revision = revision
	}
	w.publish()
	return accepted(reply, commit.Events)
}

func (w *World) load(stream es.Stream) (es.Folded, es.History) {
	w.t.Helper()
	aggregate, err := w.codec.Aggregate(stream.Category)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	history, err := w.log.Load(context.Background(), stream, es.Range{})
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	state := aggregate.New()
	for _, r := range history.Events {
		if state, err = state.Evolve(r.Event); err != nil {
			w.t.Fatalf("%v", err)
		}
	}
	return state, history
}

// publish hands new commits to the sagas and gateways, in the order of the log.
func (w *World) publish() {
	w.t.Helper()
	events, err := w.log.All(w.published)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	for _, r := range events {
		w.published = r.Revision
		for _, s := range w.sagas {
			if !s.Interest().Has(r.EventType()) {
				continue
			}
			if key, mine := s.Route(r); mine {
				p := w.process(s, key)
				p.inbox = append(p.inbox, trigger{Recorded: r})
			}
		}
		for _, g := range w.gateways {
			g.receive(r)
		}
	}
}

func withID(events []es.Recorded, commandID string) []es.Recorded {
	var found []es.Recorded
	for _, r := range events {
		if r.CommandID == commandID {
			found = append(found, r)
		}
	}
	return found
}

func accepted(reply es.Reply, events []es.Recorded) es.Reply {
	last := events[len(events)-1]
	reply.Outcome, reply.Version, reply.Revision = es.Accepted, last.Version, last.Revision
	reply.Events = types(events)
	return reply
}
