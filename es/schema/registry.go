package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/millstream-es/millstream/es"
)

// Registry is a domain's commands and events by name. It is safe for concurrent use.
type Registry struct {
	domain     es.Domain
	events     map[string]es.EventDef
	categories map[string]category
	names      []string // of the categories, in order of definition
	queries    []*Query
	described  map[string]map[int]json.RawMessage
	document   Document
}

type category struct {
	aggregate es.Aggregate
	commands  []*Command
	byName    map[string]*Command
}

// New checks a domain and makes the schemas of its events, in every version, and the schema and example of each of
// its commands. The error joins every fault.
func New(d es.Domain) (*Registry, error) {
	r := &Registry{domain: d, events: map[string]es.EventDef{}, categories: map[string]category{}, described: map[string]map[int]json.RawMessage{}}
	faults := []error{d.Validate()}
	for _, e := range d.Events {
		r.events[e.Type] = e
		schemas, err := describe(e)
		if err != nil {
			faults = append(faults, fmt.Errorf("event %s: %w", e.Type, err))
			continue
		}
		r.described[e.Type] = schemas
	}
	for _, a := range d.Aggregates {
		c := category{aggregate: a, byName: map[string]*Command{}}
		for _, def := range a.Commands() {
			command, err := newCommand(a.Category(), def)
			if err != nil {
				faults = append(faults, fmt.Errorf("command %s of %s: %w", def.Type, a.Category(), err))
				continue
			}
			c.commands = append(c.commands, command)
			c.byName[def.Type] = command
		}
		r.categories[a.Category()] = c
		r.names = append(r.names, a.Category())
	}
	faults = append(faults, r.addQueries(d.Queries)...)
	if err := errors.Join(faults...); err != nil {
		return nil, es.Permanent(err)
	}
	var err error
	r.document, err = newDocument(r.described, r.categories)
	return r, err
}

// Domain is what the registry was made from.
func (r *Registry) Domain() es.Domain { return r.domain }

// EncodeEvent returns an event's JSON and the version it is stored at. Permanent errors: the type is not listed,
// the value is of another Go type than the listed one, or it has no JSON.
func (r *Registry) EncodeEvent(e es.Event) (data []byte, version int, err error) {
	def, ok := r.events[e.EventType()]
	if !ok {
		return nil, 0, r.unknownEvent(e.EventType())
	}
	if t := reflect.TypeOf(e); t != def.Go {
		return nil, 0, permanent("event %s is listed as %s but was raised as %s: raise the listed type", def.Type, def.Go, t)
	}
	data, err = json.Marshal(e)
	if err != nil {
		return nil, 0, permanent("event %s: %v", def.Type, err)
	}
	return data, def.Version, nil
}

// DecodeEvent reads a stored event and brings it to its newest version. Permanent errors: a type that is not
// listed, a version from the future, data that does not fit.
func (r *Registry) DecodeEvent(typ string, version int, data []byte) (es.Event, error) {
	def, ok := r.events[typ]
	if !ok {
		return nil, r.unknownEvent(typ)
	}
	return def.Decode(version, data)
}

// KnowsEvent returns the error that DecodeEvent would, whatever the data.
func (r *Registry) KnowsEvent(typ string, version int) error {
	def, ok := r.events[typ]
	if !ok {
		return r.unknownEvent(typ)
	}
	return def.Knows(version)
}

func (r *Registry) unknownEvent(typ string) error {
	return permanent("event type %q is not listed: add it to the domain's Events, or run a program that knows it; events are never taken off the list", clip(typ))
}

// Aggregates are the domain's aggregates, in order of definition.
func (r *Registry) Aggregates() []es.Aggregate { return r.domain.Aggregates }

// Aggregate finds an aggregate by its category. *es.InvalidError unknown_category: there is none.
func (r *Registry) Aggregate(category string) (es.Aggregate, error) {
	c, err := r.category(category)
	return c.aggregate, err
}

// Commands are a category's commands, in order of definition; none for an unknown one.
func (r *Registry) Commands(category string) []*Command { return r.categories[category].commands }

// Command finds a command by its wire name. *es.InvalidError unknown_category or unknown_command: there is none.
func (r *Registry) Command(category, typ string) (*Command, error) {
	c, err := r.category(category)
	if err != nil {
		return nil, err
	}
	command, ok := c.byName[typ]
	if ok {
		return command, nil
	}
	for _, other := range r.names {
		if r.categories[other].byName[typ] != nil {
			return nil, &es.InvalidError{Code: "unknown_command", Message: fmt.Sprintf("unknown command %q: it is one of %s, not of %s", typ, other, category)}
		}
	}
	known := make([]string, len(c.commands))
	for i, command := range c.commands {
		known[i] = command.Type
	}
	return nil, &es.InvalidError{Code: "unknown_command", Message: unknown("command", typ, known)}
}

func (r *Registry) category(name string) (category, error) {
	c, ok := r.categories[name]
	if !ok {
		return c, &es.InvalidError{Code: "unknown_category", Message: unknown("aggregate", name, r.names)}
	}
	return c, nil
}

// unknown says what was meant, or what there is.
func unknown(kind, name string, known []string) string {
	if near, ok := Closest(name, known); ok {
		return fmt.Sprintf("unknown %s %q: did you mean %s?", kind, clip(name), near)
	}
	if len(known) == 0 {
		return fmt.Sprintf("unknown %s %q: there is none", kind, clip(name))
	}
	return fmt.Sprintf("unknown %s %q: known are %s", kind, clip(name), strings.Join(known, ", "))
}
