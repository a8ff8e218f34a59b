package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/millstream-es/millstream/es"
)

// Document is what a program knows of the wire: the JSON Schema of every version of every event and of every
// command, without what is only for people (examples, descriptions). The same types make the same JSON.
type Document struct {
	Events   map[string]map[int]json.RawMessage    `json:"events"`   // by type, then version
	Commands map[string]map[string]json.RawMessage `json:"commands"` // by category, then type
}

// ParseDocument reads a Document's JSON, however it is laid out. Permanent error: it is not one.
func ParseDocument(data []byte) (Document, error) {
	d := Document{}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		return d, permanent("this is no registry of schemas (`schema list --json` prints one): %v", err)
	}
	if d.Events == nil || d.Commands == nil {
		return d, permanent(`this is no registry of schemas: "events" or "commands" is missing`)
	}
	for typ, versions := range d.Events {
		for v, s := range versions {
			if err := contract(&s); err != nil {
				return d, permanent("event %s version %d: %v", typ, v, err)
			}
			versions[v] = s
		}
	}
	for category, commands := range d.Commands {
		for typ, s := range commands {
			if err := contract(&s); err != nil {
				return d, permanent("command %s/%s: %v", category, typ, err)
			}
			commands[typ] = s
		}
	}
	return d, nil
}

// Document is what this registry knows. It is shared: do not change it.
func (r *Registry) Document() Document { return r.document }

// EventSchema is the JSON Schema of one version of an event, 0 for the newest. Permanent error: there is none.
func (r *Registry) EventSchema(typ string, version int) (json.RawMessage, error) {
	def, ok := r.events[typ]
	if !ok {
		return nil, r.unknownEvent(typ)
	}
	if version == 0 {
		version = def.Version
	}
	s, ok := r.described[typ][version]
	if !ok {
		return nil, permanent("event %s has the versions 1 to %d, not %d", typ, def.Version, version)
	}
	return s, nil
}

// describe makes the schemas of an event's versions. Permanent errors: a version without a schema; an upcaster whose
// result is not what the next version is stored as, so that the path to the newest is broken.
func describe(e es.EventDef) (map[int]json.RawMessage, error) {
	schemas := map[int]json.RawMessage{}
	newest, err := Of(e.Go)
	if err != nil {
		return nil, err
	}
	schemas[e.Version] = newest
	for v := e.Version - 1; v >= 1; v-- {
		step := e.Upcaster(v)
		if schemas[v], err = Of(step.Old); err != nil {
			return nil, fmt.Errorf("version %d: %w", v, err)
		}
		made, err := Of(step.New)
		if err != nil {
			return nil, fmt.Errorf("upcaster from version %d: %w", v, err)
		}
		if c := changes(schemas[v+1], made); len(c) > 0 {
			return nil, permanent("version %d has no path to the newest: its upcaster makes %s, and version %d is another type (%s)", v, step.New, v+1, c[0])
		}
	}
	return schemas, nil
}

func newDocument(events map[string]map[int]json.RawMessage, categories map[string]category) (Document, error) {
	d := Document{Events: events, Commands: map[string]map[string]json.RawMessage{}}
	for name, c := range categories {
		d.Commands[name] = map[string]json.RawMessage{}
		for _, command := range c.commands {
			d.Commands[name][command.Type] = command.Schema
		}
	}
	text, err := json.Marshal(d)
	if err != nil {
		return d, permanent("schemas: %v", err)
	}
	return ParseDocument(text)
}

// contract brings a schema to what it promises, in one spelling: keys and required fields sorted, annotations left
// out.
func contract(s *json.RawMessage) error {
	v, err := parse(*s)
	if err != nil {
		return err
	}
	bare(v)
	*s, err = json.Marshal(v)
	return err
}

var annotations = []string{"$schema", "$id", "$comment", "title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly"}

// bare strips a schema and those inside it; names of fields are not keywords.
func bare(v any) {
	s, ok := v.(map[string]any)
	if !ok {
		return
	}
	for _, a := range annotations {
		delete(s, a)
	}
	if required, ok := s["required"].([]any); ok {
		slices.SortFunc(required, func(a, b any) int { return bytes.Compare(fmt.Append(nil, a), fmt.Append(nil, b)) })
	}
	for keyword, inner := range s {
		switch inner := inner.(type) {
		case []any:
			if keyword == "anyOf" || keyword == "oneOf" || keyword == "allOf" || keyword == "prefixItems" {
				for _, each := range inner {
					bare(each)
				}
			}
		case map[string]any:
			switch keyword {
			case "properties", "patternProperties", "$defs", "dependentSchemas":
				for _, each := range inner {
					bare(each)
				}
			case "enum", "const":
			default:
				bare(inner)
			}
		}
	}
}
