// Package schema knows a domain's wire formats: the JSON Schema and an example of every command, made from its Go
// type; commands decoded and refused with the field that is to blame; events encoded and brought to their newest
// version.
package schema

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/invopop/jsonschema"
	"github.com/millstream-es/millstream/es"
)

// Of returns the JSON Schema (2020-12) of a Go type: fields by their json tags, required unless omitempty or
// omitzero, nothing beside them allowed; constraints and examples from jsonschema tags
// (`jsonschema:"minimum=1,example=2"`). A type that marshals itself says its schema with a method
// JSONSchema() string. Permanent errors: a type that does not, one that contains itself, one JSON does not know.
func Of(t reflect.Type) (json.RawMessage, error) {
	s, err := reflectSchema(t)
	if err != nil {
		return nil, err
	}
	return json.Marshal(s)
}

// selfDescribed is a type with JSON of its own, such as money.Decimal.
type selfDescribed interface{ JSONSchema() string }

var (
	timeType       = reflect.TypeFor[time.Time]()
	rawType        = reflect.TypeFor[json.RawMessage]()
	numberType     = reflect.TypeFor[json.Number]()
	marshaler      = reflect.TypeFor[json.Marshaler]()
	unmarshaler    = reflect.TypeFor[json.Unmarshaler]()
	textMarshaler  = reflect.TypeFor[encoding.TextMarshaler]()
	selfDescribing = reflect.TypeFor[selfDescribed]()
)

func reflectSchema(t reflect.Type) (s *jsonschema.Schema, err error) {
	if err := checkFinite(t, nil); err != nil {
		return nil, err
	}
	var faults []error
	r := jsonschema.Reflector{
		Anonymous:      true,
		DoNotReference: true,
		ExpandedStruct: true,
		Mapper: func(t reflect.Type) *jsonschema.Schema {
			s, err := special(t)
			if err != nil {
				faults = append(faults, err)
			}
			return s
		},
	}
	// The reflector panics on kinds that JSON does not know.
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, permanent("JSON Schema of %s: %v", t, p)
		}
	}()
	s = r.ReflectFromType(t)
	return s, errors.Join(faults...)
}

// special returns the schema of types whose fields say nothing about their JSON, nil for all others.
func special(t reflect.Type) (*jsonschema.Schema, error) {
	switch t {
	case timeType, rawType:
		return nil, nil
	case numberType:
		return &jsonschema.Schema{Type: "number"}, nil
	}
	switch pointer := reflect.PointerTo(t); {
	case pointer.Implements(selfDescribing):
		text := reflect.New(t).Interface().(selfDescribed).JSONSchema()
		s := &jsonschema.Schema{}
		if err := json.Unmarshal([]byte(text), s); err != nil {
			return s, permanent("%s.JSONSchema() returned %q, which is no JSON Schema: %v", t, text, err)
		}
		return s, nil
	case pointer.Implements(marshaler):
		return &jsonschema.Schema{}, permanent("%s marshals itself: give it a method JSONSchema() string that says how", t)
	case pointer.Implements(textMarshaler):
		return &jsonschema.Schema{Type: "string"}, nil
	}
	switch t.Kind() {
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &jsonschema.Schema{Type: "integer", Minimum: "0"}, nil
	}
	return nil, nil
}

// checkFinite refuses types that contain themselves, since schemas are written out in full, without references.
func checkFinite(t reflect.Type, above []reflect.Type) error {
	if s, _ := special(t); s != nil || t == timeType || t == rawType {
		return nil
	}
	for _, a := range above {
		if a == t {
			return permanent("JSON Schema of %s: the type contains itself; flatten it", t)
		}
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return checkFinite(t.Elem(), append(above, t))
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Tag.Get("json") == "-" || !f.IsExported() && !f.Anonymous {
				continue
			}
			if err := checkFinite(f.Type, append(above, t)); err != nil {
				return err
			}
		}
	}
	return nil
}

func permanent(format string, args ...any) error {
	return es.Permanent(fmt.Errorf(format, args...))
}
