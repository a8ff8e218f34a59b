package es

import (
	"encoding/json"
	"fmt"
	"reflect"
)

// EventDef describes one event type: its wire name, the version its Go type stands for, and the way there from
// every older version.
type EventDef struct {
	Type    string
	Version int
	Go      reflect.Type // the newest version's type

	decode func([]byte) (Event, error)
	up     map[int]Upcaster
}

// Upcaster turns one stored version of an event into the next.
type Upcaster struct {
	From     int
	Old, New reflect.Type // of version From and of what it becomes
	up       func([]byte) ([]byte, error)
}

// EventOf defines an event type at its newest version, with an upcaster from every older one.
func EventOf[E Event](version int, upcasters ...Upcaster) EventDef {
	var zero E
	d := EventDef{
		Type:    zero.EventType(),
		Version: version,
		Go:      reflect.TypeFor[E](),
		decode: func(data []byte) (Event, error) {
			var e E
			err := json.Unmarshal(data, &e)
			return e, err
		},
		up: map[int]Upcaster{},
	}
	for _, u := range upcasters {
		d.up[u.From] = u
	}
	for v := 1; v < version; v++ {
		if d.up[v].up == nil {
			panic(fmt.Sprintf("event %s: version %d has no upcaster to version %d", d.Type, v, v+1))
		}
	}
	return d
}

// Upcast makes the step from a stored version to the next one, from Go type to Go type.
func Upcast[Old, New any](from int, f func(Old) (New, error)) Upcaster {
	return Upcaster{From: from, Old: reflect.TypeFor[Old](), New: reflect.TypeFor[New](), up: func(data []byte) ([]byte, error) {
		var old Old
		if err := json.Unmarshal(data, &old); err != nil {
			return nil, err
		}
		next, err := f(old)
		if err != nil {
			return nil, err
		}
		return json.Marshal(next)
	}}
}

// Upcaster is the step from an older version to the next; versions 1 to Version-1 have one.
func (d EventDef) Upcaster(from int) Upcaster { return d.up[from] }

// Knows refuses a version from the future, with a permanent error.
func (d EventDef) Knows(version int) error {
	if version < 1 || version > d.Version {
		return Permanent(fmt.Errorf("event %s has version %d, this program knows 1 to %d: run a newer one", d.Type, version, d.Version))
	}
	return nil
}

// Decode reads an event stored at version and brings it to the newest. Permanent errors: a version from the
// future, data that does not fit.
func (d EventDef) Decode(version int, data []byte) (Event, error) {
	if err := d.Knows(version); err != nil {
		return nil, err
	}
	for v := version; v < d.Version; v++ {
		var err error
		if data, err = d.up[v].up(data); err != nil {
			return nil, Permanent(fmt.Errorf("event %s: upcast from version %d: %w", d.Type, v, err))
		}
	}
	e, err := d.decode(data)
	if err != nil {
		return nil, Permanent(fmt.Errorf("event %s version %d: %w", d.Type, version, err))
	}
	return e, nil
}

// Interest says what a saga, projector or gateway does with every event type of the domain: nothing is forgotten
// by accident, since an event in neither list is a fault.
type Interest struct {
	Handles []Event
	Ignores []Event
}

// Has reports whether an event type is handled.
func (i Interest) Has(eventType string) bool {
	for _, e := range i.Handles {
		if e.EventType() == eventType {
			return true
		}
	}
	return false
}

func (i Interest) check(who string, known map[string]bool) error {
	said := map[string]bool{}
	for _, e := range append(append([]Event{}, i.Handles...), i.Ignores...) {
		name := e.EventType()
		if !known[name] {
			return fmt.Errorf("%s names event %s, which is not listed", who, name)
		}
		if said[name] {
			return fmt.Errorf("%s names event %s twice", who, name)
		}
		said[name] = true
	}
	for name := range known {
		if !said[name] {
			return fmt.Errorf("%s says nothing about event %s: handle it or ignore it", who, name)
		}
	}
	return nil
}
