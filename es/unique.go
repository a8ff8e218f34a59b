package es

import (
	"crypto/sha256"
	"encoding/hex"
)

// Unique keeps values, such as e-mail addresses, to one owner each. Every value is an aggregate of its own, a
// reservation, so that taking one is guarded like any other decision; stored together with the owner's own commit
// (the engine's ExecuteAll) there is never an owner without the value nor a value without its owner. It is an
// Aggregate: list it with the others, and UniqueEvents with the events.
type Unique struct {
	*AggregateOf[reservation, UniqueCommand, UniqueEvent]
	normal func(string) string
}

// DefineUnique makes one kind of unique value. Values that normal brings to the same text are the same; nil: only
// equal ones are. Like the category, normal never changes: it decides which stream holds a value.
func DefineUnique(category string, normal func(string) string) *Unique {
	if normal == nil {
		normal = func(value string) string { return value }
	}
	return &Unique{Define[reservation](category, ReserveValue{}, ReleaseValue{}), normal}
}

// Reserve takes a value for an owner. ErrTaken: it is another's. The owner's own value is unchanged.
func (u *Unique) Reserve(value, owner string) Effect {
	return u.To(u.id(value), ReserveValue{Owner: owner})
}

// Release gives a value back; one that is not the owner's is unchanged.
func (u *Unique) Release(value, owner string) Effect {
	return u.To(u.id(value), ReleaseValue{Owner: owner})
}

// Of names the stream that holds a value. The value itself is nowhere in it: ids stand in subjects, where not every
// text may, and where personal data would stay for ever.
func (u *Unique) Of(value string) Stream { return u.Stream(u.id(value)) }

func (u *Unique) id(value string) string {
	h := sha256.Sum256([]byte(u.Category() + "\x00" + u.normal(value)))
	return hex.EncodeToString(h[:])
}

// ErrTaken rejects the reservation of a value that is another's.
var ErrTaken = Rejected("value_taken", "the value is taken")

// UniqueEvents are the events of all unique values, for the domain's list.
func UniqueEvents() []EventDef {
	return []EventDef{EventOf[ValueReserved](1), EventOf[ValueReleased](1)}
}

// UniqueEvent is what happens to a unique value.
type UniqueEvent interface {
	Event
	uniqueEvent()
}

// ValueReserved says whose the value is now.
type ValueReserved struct {
	Owner string `json:"owner"`
}

// ValueReleased says that the value is nobody's again.
type ValueReleased struct {
	Owner string `json:"owner"` // until now
}

// UniqueCommand is what can be asked of a unique value.
type UniqueCommand interface {
	Command
	uniqueCommand()
}

// ReserveValue takes the value for an owner.
type ReserveValue struct {
	Owner string `json:"owner" jsonschema:"minLength=1,maxLength=200,example=customer/c-1"`
}

// ReleaseValue gives the value back.
type ReleaseValue struct {
	Owner string `json:"owner" jsonschema:"minLength=1,maxLength=200,example=customer/c-1"`
}

// The names on the wire. They never change.

func (ValueReserved) EventType() string  { return "ValueReserved" }
func (ValueReleased) EventType() string  { return "ValueReleased" }
func (ReserveValue) CommandType() string { return "ReserveValue" }
func (ReleaseValue) CommandType() string { return "ReleaseValue" }

func (ValueReserved) uniqueEvent()  {}
func (ValueReleased) uniqueEvent()  {}
func (ReserveValue) uniqueCommand() {}
func (ReleaseValue) uniqueCommand() {}

type reservation struct {
	Owner string `json:"owner"` // "": nobody's
}

func (r reservation) Decide(c UniqueCommand, m Meta) ([]UniqueEvent, error) {
	switch c := c.(type) {
	case ReserveValue:
		switch r.Owner {
		case "":
			return []UniqueEvent{ValueReserved(c)}, nil
		case c.Owner:
			return nil, nil
		}
		return nil, ErrTaken.With("this %s is taken", m.Stream.Category)
	case ReleaseValue:
		if r.Owner == c.Owner {
			return []UniqueEvent{ValueReleased(c)}, nil
		}
	}
	return nil, nil
}

func (r reservation) Evolve(e UniqueEvent) reservation {
	switch e := e.(type) {
	case ValueReserved:
		r.Owner = e.Owner
	case ValueReleased:
		r.Owner = ""
	}
	return r
}
