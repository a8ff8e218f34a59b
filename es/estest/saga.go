package estest

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/millstream-es/millstream/es"
)

// Option changes an input of a saga: At, By, Correlated.
type Option func(*es.Recorded)

// At sets an input's time.
func At(time time.Time) Option { return func(r *es.Recorded) { r.Time = time } }

// By sets an input's user.
func By(user string) Option { return func(r *es.Recorded) { r.User = user } }

// Correlated sets an input's correlation.
func Correlated(id string) Option { return func(r *es.Recorded) { r.Correlation = id } }

// On is an event as it stands in a stream: estest.On(commands.Orders.Stream("o-1"), events.OrderPaid{…}).
func On(stream es.Stream, event es.Event, options ...Option) es.Recorded {
	r := es.Recorded{Event: event, Meta: es.Meta{Stream: stream, CommandID: "command-1", Correlation: "correlation-1", Time: Noon}, ID: "command-1/1", Version: 1, Revision: 1}
	for _, o := range options {
		o(&r)
	}
	return r
}

// AcceptedOutcome tells a saga that a command it sent led to events.
func AcceptedOutcome(stream es.Stream, command es.Command, options ...Option) es.Recorded {
	return outcome(stream, command, es.Reply{Outcome: es.Accepted}, options)
}

// UnchangedOutcome tells a saga that what it wanted was already so.
func UnchangedOutcome(stream es.Stream, command es.Command, options ...Option) es.Recorded {
	return outcome(stream, command, es.Reply{Outcome: es.Unchanged}, options)
}

// RejectedOutcome tells a saga that the business said no.
func RejectedOutcome(stream es.Stream, command es.Command, err *es.Rejection, options ...Option) es.Recorded {
	return outcome(stream, command, es.Reply{Outcome: es.RejectedReply, Error: problem(err)}, options)
}

// InvalidOutcome tells a saga that a command it sent could never have been taken.
func InvalidOutcome(stream es.Stream, command es.Command, err *es.InvalidError, options ...Option) es.Recorded {
	return outcome(stream, command, es.Reply{Outcome: es.Invalid, Error: problem(err)}, options)
}

// Woken is a timer that went off.
func Woken(name string, options ...Option) es.Recorded {
	return On(es.Stream{}, es.Woken{Name: name}, options...)
}

// Cancelled is an operator who wants the process given up.
func Cancelled(reason string, options ...Option) es.Recorded {
	return On(es.Stream{}, es.Cancelled{By: "operator", Reason: reason}, options...)
}

func outcome(stream es.Stream, command es.Command, reply es.Reply, options []Option) es.Recorded {
	reply.CommandID, reply.Stream = "ms-1", stream.String()
	return On(stream, es.Outcome{Target: stream, CommandType: command.CommandType(), Reply: reply, Command: command}, options...)
}

// Process is a test of one saga: Given what it has been through, When an input comes, Then these effects. Its state
// goes through JSON between inputs, as it does when stored.
type Process[S es.Reactor[S]] struct {
	t       testing.TB
	saga    *es.SagaOf[S]
	stored  json.RawMessage
	key     string
	effects []es.Effect
}

// ForSaga begins a process that has not begun.
func ForSaga[S es.Reactor[S]](t testing.TB, saga *es.SagaOf[S]) *Process[S] {
	return &Process[S]{t: t, saga: saga}
}

// Given lets the process go through inputs, made with On, AcceptedOutcome, RejectedOutcome, Woken and the like. All
// events must be handled by the saga and belong to one process.
func (p *Process[S]) Given(inputs ...es.Recorded) *Process[S] {
	p.t.Helper()
	for _, in := range inputs {
		p.react(in)
	}
	return p
}

// When gives one more input, whose effects Then looks at.
func (p *Process[S]) When(input es.Recorded) *Process[S] {
	p.t.Helper()
	p.effects = p.react(input)
	return p
}

// Then expects exactly these effects, in this order.
func (p *Process[S]) Then(effects ...es.Effect) *Process[S] {
	p.t.Helper()
	if diff := difference(effects, p.effects); diff != "" {
		p.t.Fatalf("saga %s: effects differ (-want +got):\n%s", p.saga.Name(), diff)
	}
	return p
}

// ThenNothing expects no effects.
func (p *Process[S]) ThenNothing() *Process[S] {
	p.t.Helper()
	return p.Then()
}

// ThenState expects the state after all inputs.
func (p *Process[S]) ThenState(want S) *Process[S] {
	p.t.Helper()
	var got S
	if err := json.Unmarshal(p.stored, &got); err != nil {
		p.t.Fatalf("saga %s: state %s: %v", p.saga.Name(), p.stored, err)
	}
	if diff := difference(want, got); diff != "" {
		p.t.Fatalf("saga %s: state differs (-want +got):\n%s", p.saga.Name(), diff)
	}
	return p
}

func (p *Process[S]) react(in es.Recorded) []es.Effect {
	p.t.Helper()
	if !fromEngine(in.Event) {
		p.route(in)
		stored, err := throughJSON(in.Event)
		if err != nil {
			p.t.Fatalf("%v", err)
		}
		in.Event = stored
	}
	next, effects, err := p.saga.React(p.stored, in)
	if err != nil {
		p.t.Fatalf("%v", err)
	}
	p.stored = next
	return effects
}

// route checks what the engine relies on: the saga handles the event, and claims it for the same process.
func (p *Process[S]) route(in es.Recorded) {
	p.t.Helper()
	if !p.saga.Interest().Has(in.EventType()) {
		p.t.Fatalf("saga %s does not handle %s, so it never sees it: add it to Handles, or leave it out of the test", p.saga.Name(), in.EventType())
	}
	key, mine := p.saga.Route(in)
	if !mine || !es.ValidID(key) {
		p.t.Fatalf("saga %s: %s of %s is routed to no process (key %q)", p.saga.Name(), in.EventType(), in.Stream, key)
	}
	if p.key != "" && key != p.key {
		p.t.Fatalf("saga %s: %s of %s belongs to process %q, the inputs before it to %q", p.saga.Name(), in.EventType(), in.Stream, key, p.key)
	}
	p.key = key
}

// fromEngine reports whether an input is the engine's own, which is not routed.
func fromEngine(event es.Event) bool {
	switch event.(type) {
	case es.Outcome, es.Woken, es.Cancelled:
		return true
	}
	return false
}
