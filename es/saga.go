package es

import (
	"encoding/json"
	"fmt"
	"time"
)

// Reactor is a saga's state, the mirror image of an aggregate: events, outcomes of the commands it sent and
// wake-ups come in, effects go out. React is pure; the zero value is a saga that has not begun.
type Reactor[S any] interface {
	React(Recorded) (S, []Effect)
}

// Effect is what a saga wants done: Send, Wake, After, Cancel or Done.
type Effect interface{ effect() }

// Send has a command executed through the same door as everyone's; its id is made from the saga's transition, so
// that a repeated Send takes effect once. Its Outcome comes back to React. Write commands.Orders.To(id, command).
type Send struct {
	Stream  Stream
	Command Command
}

// Wake brings a Woken event to the saga at a time, also after a restart. The same name again replaces it.
type Wake struct {
	Name string
	At   time.Time
}

// After is a Wake counted from the time of what the saga reacts to. Operators may set another Delay for
// "<saga>.<name>" (--wake fulfilment.payment=5m).
type After struct {
	Name  string
	Delay time.Duration
}

// Cancel takes back a Wake or After.
type Cancel struct{ Name string }

// Done says that the saga owes nothing more. It is no longer swept or counted as open; an event that still comes
// for its key finds its last state.
type Done struct{}

func (Send) effect()   {}
func (Wake) effect()   {}
func (After) effect()  {}
func (Cancel) effect() {}
func (Done) effect()   {}

// Outcome is the event that tells a saga what became of a command it sent.
type Outcome struct {
	Target      Stream  // the aggregate the command went to
	CommandType string  // its wire name
	Reply       Reply   // outcome, error code and message, revision
	Command     Command `json:"-"` // what was sent; nil when the type is no longer known
}

// EventType is the name in a saga's audit trail.
func (Outcome) EventType() string { return "millstream.Outcome" }

// Rejected reports whether the business said no (or the input was refused), as against done or already so.
func (o Outcome) Rejected() bool {
	return o.Reply.Outcome != Accepted && o.Reply.Outcome != Unchanged
}

// Woken is the event that a timer brings; its Stream is the saga's name and the process's key.
type Woken struct{ Name string }

// EventType is the name in a saga's audit trail.
func (Woken) EventType() string { return "millstream.Woken" }

// Cancelled is the event that tells a process of a Cancellable saga that an operator wants it given up; its Stream is
// the saga's name and the process's key. React undoes what can be undone, or changes nothing when it is too late.
type Cancelled struct{ By, Reason string }

// EventType is the name in a saga's audit trail.
func (Cancelled) EventType() string { return "millstream.Cancelled" }

// Wait is one thing that a process waits for, as its state tells those who look at it.
type Wait struct {
	For   string // in words that follow "waits for", like "payment o-1-1"
	On    Stream // the aggregate whose turn it is; zero: none in particular
	Timer string // the wake-up that ends the waiting; "": nothing does
	Then  string // in words what the process does at that wake-up, like "cancels"
}

// Saga is one kind of process, as the engine sees it. DefineSaga makes one.
type Saga interface {
	// Name is the saga's name on the wire.
	Name() string
	// Interest says which events it handles.
	Interest() Interest
	// Route returns the key of the process an event belongs to, if it is one of this saga's.
	Route(Recorded) (key string, mine bool)
	// React decodes a stored state (nil: not begun), lets it react to each input in turn and returns the state
	// after and all effects. Permanent error: the stored state does not fit the Go type.
	React(state json.RawMessage, inputs ...Recorded) (json.RawMessage, []Effect, error)
	// Waits decodes a stored state and returns what it waits for, when it says so itself with a method
	// Waits() []Wait; else nil. Permanent error as React's.
	Waits(state json.RawMessage) ([]Wait, error)
	// HearsCancelled reports whether React knows what to do with Cancelled.
	HearsCancelled() bool
}

// SagaOf is a saga with its state's type.
type SagaOf[S Reactor[S]] struct {
	name        string
	route       func(Recorded) (string, bool)
	interest    Interest
	cancellable bool
}

// DefineSaga makes a saga from its state's type. route says to which process, by key, an event belongs.
func DefineSaga[S Reactor[S]](name string, interest Interest, route func(Recorded) (key string, mine bool)) *SagaOf[S] {
	return &SagaOf[S]{name: name, route: route, interest: interest}
}

// Cancellable says that the state's React handles Cancelled. Without it an operator can only end a process where it
// stands, with nothing undone.
func (s *SagaOf[S]) Cancellable() *SagaOf[S] {
	s.cancellable = true
	return s
}

// HearsCancelled reports whether the saga is Cancellable.
func (s *SagaOf[S]) HearsCancelled() bool { return s.cancellable }

// Name is the saga's name on the wire.
func (s *SagaOf[S]) Name() string { return s.name }

// Interest says which events the saga handles.
func (s *SagaOf[S]) Interest() Interest { return s.interest }

// Route returns the key of the process that an event belongs to.
func (s *SagaOf[S]) Route(r Recorded) (string, bool) { return s.route(r) }

// React lets a stored state react to each input in turn.
func (s *SagaOf[S]) React(stored json.RawMessage, inputs ...Recorded) (json.RawMessage, []Effect, error) {
	state, err := s.decode(stored)
	if err != nil {
		return nil, nil, err
	}
	var effects []Effect
	for _, in := range inputs {
		var more []Effect
		state, more = state.React(in)
		effects = append(effects, more...)
	}
	next, err := json.Marshal(state)
	if err != nil {
		return nil, nil, Permanent(fmt.Errorf("saga %s: %w", s.name, err))
	}
	return next, effects, nil
}

// Waits asks a stored state what it waits for.
func (s *SagaOf[S]) Waits(stored json.RawMessage) ([]Wait, error) {
	state, err := s.decode(stored)
	if w, tells := any(state).(interface{ Waits() []Wait }); tells && err == nil {
		return w.Waits(), nil
	}
	return nil, err
}

func (s *SagaOf[S]) decode(stored json.RawMessage) (state S, err error) {
	if len(stored) > 0 {
		if err := json.Unmarshal(stored, &state); err != nil {
			return state, Permanent(fmt.Errorf("saga %s: stored state does not fit: %w", s.name, err))
		}
	}
	return state, nil
}
