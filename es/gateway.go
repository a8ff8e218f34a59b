package es

import "context"

// Gateway carries what must leave the house: an event in, idempotent I/O, commands out.
type Gateway struct {
	Name     string
	Interest Interest
	// Answers are events in the stream of the event that asked, each of which says what became of one delivery. What
	// the log holds an answer to is not delivered again, as after a crash between the answer and the event's
	// acknowledgement. nil: every attempt does the I/O, and its idempotency key alone makes a repeat harmless.
	Answers []Event
	// Settings points to a struct of flags (kong tags) that the command line fills before Deliver is called; nil: none.
	// When it has a method Validate() error, a process whose settings are wrong does not start.
	Settings any
	// Deliver does the I/O for one event. key is the same at every attempt, for the other side to know a repeat.
	// The effects must be Send. Errors: transient ones are tried again with growing pauses, a bounded number of
	// times; then, or when permanent, the event goes to the dead letters.
	Deliver func(ctx context.Context, r Recorded, key string) ([]Effect, error)
}
