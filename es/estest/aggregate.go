package estest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/millstream-es/millstream/es"
)

// Scenario is a test of one aggregate: Given what has happened, When a command comes, Then these events or this
// refusal. Its types follow from the aggregate, so a command or event of another one does not compile.
type Scenario[S es.State[S, C, E], C es.Command, E es.Event] struct {
	t     testing.TB
	state es.Folded
	meta  es.Meta
}

// For begins a scenario on an empty stream, with id "1", at Noon.
func For[S es.State[S, C, E], C es.Command, E es.Event](t testing.TB, a *es.AggregateOf[S, C, E]) *Scenario[S, C, E] {
	return &Scenario[S, C, E]{t: t, state: a.New(), meta: es.Meta{
		Stream: a.Stream("1"), CommandID: "command-1", Correlation: "command-1", User: "tester", Time: Noon,
	}}
}

// ID sets the stream's id.
func (s *Scenario[S, C, E]) ID(id string) *Scenario[S, C, E] {
	s.meta.Stream.ID = id
	return s
}

// At sets the time of the commands that follow.
func (s *Scenario[S, C, E]) At(time time.Time) *Scenario[S, C, E] {
	s.meta.Time = time
	return s
}

// User sets who sends the commands that follow.
func (s *Scenario[S, C, E]) User(user string) *Scenario[S, C, E] {
	s.meta.User = user
	return s
}

// Given says what has already happened. Every event goes through its JSON first, as in the log.
func (s *Scenario[S, C, E]) Given(events ...E) *Scenario[S, C, E] {
	s.t.Helper()
	s.state = s.fold(events)
	return s
}

// When has the state decide a command.
func (s *Scenario[S, C, E]) When(command C) *Decision[S, C, E] {
	s.t.Helper()
	before := fmt.Sprintf("%+v", s.state.State())
	decided, err := s.state.Decide(command, s.meta)
	d := &Decision[S, C, E]{scenario: s, command: command, err: err, after: s.state}
	for _, e := range decided {
		d.events = append(d.events, e.(E))
	}
	if err == nil {
		d.after = s.fold(d.events)
	}
	if now := fmt.Sprintf("%+v", s.state.State()); now != before {
		s.t.Fatalf("%s changed the state that it was given: copy a map or slice before writing to it\nbefore: %s\nafter:  %s", command.CommandType(), before, now)
	}
	return d
}

func (s *Scenario[S, C, E]) fold(events []E) es.Folded {
	s.t.Helper()
	state := s.state
	for _, e := range events {
		stored, err := throughJSON(e)
		if err != nil {
			s.t.Fatalf("%v", err)
		}
		if state, err = state.Evolve(stored); err != nil {
			s.t.Fatalf("%v", err)
		}
	}
	return state
}

// Decision is what a command led to.
type Decision[S es.State[S, C, E], C es.Command, E es.Event] struct {
	scenario *Scenario[S, C, E]
	command  C
	events   []E
	err      error
	after    es.Folded
}

// Then expects the command to be accepted with exactly these events.
func (d *Decision[S, C, E]) Then(events ...E) *Decision[S, C, E] {
	t := d.scenario.t
	t.Helper()
	if d.err != nil {
		t.Fatalf("%s: expected events %s, but it was refused: %v", d.command.CommandType(), types(events), d.err)
	}
	if diff := difference(events, d.events); diff != "" {
		t.Fatalf("%s: events differ (-want +got):\n%s", d.command.CommandType(), diff)
	}
	return d
}

// ThenUnchanged expects that everything was already so: no events, no error.
func (d *Decision[S, C, E]) ThenUnchanged() *Decision[S, C, E] {
	d.scenario.t.Helper()
	return d.Then()
}

// ThenRejected expects a refusal that errors.Is finds; a rejection with a pointer (ErrX.At("/items/0")) also has to
// blame that field.
func (d *Decision[S, C, E]) ThenRejected(want error) *Decision[S, C, E] {
	t := d.scenario.t
	t.Helper()
	if d.err == nil {
		t.Fatalf("%s: expected refusal %q, but it was accepted with events %s", d.command.CommandType(), want, show(d.events))
	}
	if !errors.Is(d.err, want) {
		t.Fatalf("%s: expected refusal %q, got %q", d.command.CommandType(), want, d.err)
	}
	var w, g *es.Rejection
	if errors.As(want, &w) && w.Pointer != "" && errors.As(d.err, &g) && g.Pointer != w.Pointer {
		t.Fatalf("%s: expected refusal %q at %s, got it at %q", d.command.CommandType(), want, w.Pointer, g.Pointer)
	}
	return d
}

// ThenInvalid expects the input to be refused as such: an *es.InvalidError with this code, at this JSON pointer.
func (d *Decision[S, C, E]) ThenInvalid(code, pointer string) *Decision[S, C, E] {
	t := d.scenario.t
	t.Helper()
	var invalid *es.InvalidError
	if !errors.As(d.err, &invalid) || invalid.Code != code || invalid.Pointer != pointer {
		t.Fatalf("%s: expected invalid input %s at %q, got error %v and events %s", d.command.CommandType(), code, pointer, d.err, show(d.events))
	}
	return d
}

// ThenState expects the state after the events.
func (d *Decision[S, C, E]) ThenState(want S) *Decision[S, C, E] {
	t := d.scenario.t
	t.Helper()
	if diff := difference(want, d.after.State().(S)); diff != "" {
		t.Fatalf("%s: state differs (-want +got):\n%s", d.command.CommandType(), diff)
	}
	return d
}

// And goes on from the state after the events, for a next When.
func (d *Decision[S, C, E]) And() *Scenario[S, C, E] {
	next := *d.scenario
	next.state = d.after
	return &next
}

func types[E es.Event](events []E) []string {
	names := []string{}
	for _, e := range events {
		names = append(names, e.EventType())
	}
	return names
}

func show[E es.Event](events []E) string {
	text := ""
	for _, e := range events {
		text += fmt.Sprintf("\n  %s%+v", e.EventType(), e)
	}
	if text == "" {
		return "(none)"
	}
	return text
}
