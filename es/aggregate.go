package es

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
)

// State is what an aggregate remembers, as a value; the zero value is an empty stream. Both methods are pure: no
// clock, no I/O, and Evolve changes nothing that the old value still shows (copy a map or slice before writing).
//
// Decide returning no events and no error means: already so (outcome "unchanged").
//
// Snapshots are taken of states that come back from JSON as they were: all fields exported, of types that JSON knows.
// A state whose Evolve makes something else of the same events than before says so with a method StateVersion() int,
// raised by one, or snapshots of before would still be believed.
type State[S any, C Command, E Event] interface {
	Decide(C, Meta) ([]E, error)
	Evolve(E) S
}

// Aggregate is one kind of consistency boundary, as the engine sees it. Define makes one.
type Aggregate interface {
	// Category is the aggregate's name on the wire.
	Category() string
	// Collection is its name in URLs.
	Collection() string
	// ExampleID is an id to show in examples.
	ExampleID() string
	// Commands are its commands, in the order of definition.
	Commands() []CommandDef
	// StateType is the Go type of the state.
	StateType() reflect.Type
	// EventType is the Go interface that the aggregate's events have in common.
	EventType() reflect.Type
	// New returns an empty stream's state.
	New() Folded
	// Restore returns a state from its JSON, as State() had it. Permanent error: it does not fit.
	Restore(state []byte) (Folded, error)
}

// CommandDef describes one command.
type CommandDef struct {
	Type     string
	Go       reflect.Type
	Internal bool // sagas and gateways send it; of callers, only those who may override them
}

// Decode reads a command's JSON into its Go type. It checks no schema.
func (d CommandDef) Decode(data []byte) (Command, error) {
	v := reflect.New(d.Go)
	if err := json.Unmarshal(data, v.Interface()); err != nil {
		return nil, err
	}
	return v.Elem().Interface().(Command), nil
}

// Folded is one aggregate's state at some version.
type Folded interface {
	// Decide asks the state. Permanent error: the command is of another aggregate.
	Decide(Command, Meta) ([]Event, error)
	// Evolve returns the state after an event. Permanent error: the event is of another aggregate.
	Evolve(Event) (Folded, error)
	// Allowed names the commands that the state would take now, when the state says so itself with a method
	// Allowed() []C; else nil.
	Allowed() []string
	// State is the value itself, to show or store as JSON.
	State() any
}

// AggregateOf is an aggregate with its types: commands can be sent to it with To, checked by the compiler.
type AggregateOf[S State[S, C, E], C Command, E Event] struct {
	category   string
	collection string
	exampleID  string
	commands   []CommandDef
}

// Define makes an aggregate from its state's type; the union types of commands and events follow from it.
// It panics, at start, when a listed command is not one of the aggregate's.
func Define[S State[S, C, E], C Command, E Event](category string, commands ...Command) *AggregateOf[S, C, E] {
	a := &AggregateOf[S, C, E]{category: category, collection: category + "s", exampleID: category[:1] + "-1"}
	for _, c := range commands {
		if _, ok := c.(C); !ok {
			panic(fmt.Sprintf("aggregate %s: %T is not one of its commands (%s)", category, c, reflect.TypeFor[C]()))
		}
		a.commands = append(a.commands, CommandDef{Type: c.CommandType(), Go: reflect.TypeOf(c)})
	}
	return a
}

// In sets the name in URLs, when it is not the category with an s.
func (a *AggregateOf[S, C, E]) In(collection string) *AggregateOf[S, C, E] {
	a.collection = collection
	return a
}

// Like sets the id to show in examples, so that those of several aggregates fit together.
func (a *AggregateOf[S, C, E]) Like(exampleID string) *AggregateOf[S, C, E] {
	a.exampleID = exampleID
	return a
}

// Internal names those of the commands that are for sagas and gateways to send: doors refuse them from callers who may
// not override those. It panics, at start, when one was not listed.
func (a *AggregateOf[S, C, E]) Internal(commands ...C) *AggregateOf[S, C, E] {
	for _, c := range commands {
		i := slices.IndexFunc(a.commands, func(d CommandDef) bool { return d.Type == c.CommandType() })
		if i < 0 {
			panic(fmt.Sprintf("aggregate %s: %T is internal but not among its commands", a.category, c))
		}
		a.commands[i].Internal = true
	}
	return a
}

// To is the effect that sends a command to one aggregate.
func (a *AggregateOf[S, C, E]) To(id string, command C) Effect {
	return Send{Stream: Stream{a.category, id}, Command: command}
}

// Stream names one aggregate.
func (a *AggregateOf[S, C, E]) Stream(id string) Stream { return Stream{a.category, id} }

// Category is the aggregate's name on the wire.
func (a *AggregateOf[S, C, E]) Category() string { return a.category }

// Collection is the aggregate's name in URLs.
func (a *AggregateOf[S, C, E]) Collection() string { return a.collection }

// ExampleID is an id to show in examples.
func (a *AggregateOf[S, C, E]) ExampleID() string { return a.exampleID }

// Commands are the aggregate's commands.
func (a *AggregateOf[S, C, E]) Commands() []CommandDef { return a.commands }

// StateType is the Go type of the state.
func (a *AggregateOf[S, C, E]) StateType() reflect.Type { return reflect.TypeFor[S]() }

// EventType is the Go interface that the aggregate's events have in common.
func (a *AggregateOf[S, C, E]) EventType() reflect.Type { return reflect.TypeFor[E]() }

// New returns an empty stream's state.
func (a *AggregateOf[S, C, E]) New() Folded { return folded[S, C, E]{category: a.category} }

// Restore returns a state from its JSON.
func (a *AggregateOf[S, C, E]) Restore(state []byte) (Folded, error) {
	f := folded[S, C, E]{category: a.category}
	if err := json.Unmarshal(state, &f.state); err != nil {
		return nil, Permanent(fmt.Errorf("state of %s: %w", a.category, err))
	}
	return f, nil
}

type folded[S State[S, C, E], C Command, E Event] struct {
	category string
	state    S
}

func (f folded[S, C, E]) Decide(command Command, meta Meta) ([]Event, error) {
	c, ok := command.(C)
	if !ok {
		return nil, Permanent(fmt.Errorf("command %T was sent to a stream of %s", command, f.category))
	}
	decided, err := f.state.Decide(c, meta)
	if err != nil {
		return nil, err
	}
	events := make([]Event, len(decided))
	for i, e := range decided {
		events[i] = e
	}
	return events, nil
}

func (f folded[S, C, E]) Evolve(event Event) (Folded, error) {
	e, ok := event.(E)
	if !ok {
		return nil, Permanent(fmt.Errorf("event %s stands in a stream of %s, which does not know it", event.EventType(), f.category))
	}
	f.state = f.state.Evolve(e)
	return f, nil
}

func (f folded[S, C, E]) Allowed() []string {
	s, ok := any(f.state).(interface{ Allowed() []C })
	if !ok {
		return nil
	}
	names := []string{}
	for _, c := range s.Allowed() {
		names = append(names, c.CommandType())
	}
	return names
}

func (f folded[S, C, E]) State() any { return f.state }
