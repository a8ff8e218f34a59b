package es

import "context"

// Gateway carries what must leave the house: an event in, idempotent I/O, commands out.
type Gateway struct {
	Name     string
	Interest Interest
	// Settings points to a struct of flags (kong tags) that the command line fills before Deliver is called; nil: none.
	Settings any
	// Deliver does the I/O for one event. key is the same at every attempt, for the other side to know a repeat.
	// The effects must be Send. Errors: transient ones are tried again with growing pauses, a bounded number of
	// times; then, or when permanent, the event goes to the dead letters.
	Deliver func(ctx context.Context, r Recorded, key string) ([]Effect, error)
}
