package es

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sqlPath is a value of an event as SQL text names it.
type sqlPath struct {
	text string
	of   func(*sqlEvent) (any, error)
}

// sqlEvent is an event whose JSON is made when it is first asked for.
type sqlEvent struct {
	Recorded
	data json.RawMessage
	top  map[string]json.RawMessage
}

// sqlRoots are the values beside $.data.
var sqlRoots = map[string]func(*sqlEvent) any{
	"stream.id":       func(e *sqlEvent) any { return e.Stream.ID },
	"stream.category": func(e *sqlEvent) any { return e.Stream.Category },
	"type":            func(e *sqlEvent) any { return e.EventType() },
	"time":            func(e *sqlEvent) any { return SQLTime(e.Time) },
	"version":         func(e *sqlEvent) any { return int64(e.Version) },
	"revision":        func(e *sqlEvent) any { return int64(e.Revision) },
	"id":              func(e *sqlEvent) any { return e.ID },
	"user":            func(e *sqlEvent) any { return e.User },
	"correlation":     func(e *sqlEvent) any { return e.Correlation },
	"causation":       func(e *sqlEvent) any { return e.Causation },
}

// SQLTime writes a time as read models keep it: UTC text of fixed width, which sorts as the times do. A year that four
// digits cannot hold (a zone's offset can push one over the edge) becomes the nearest that they can.
func SQLTime(t time.Time) string {
	t = t.UTC()
	switch {
	case t.Year() > 9999:
		t = time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)
	case t.Year() < 0:
		t = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return t.Format("2006-01-02T15:04:05.000000000Z")
}

// parseSQLPath reads $.root.path. A field that none of the events can have is an error.
func parseSQLPath(text string, events []EventDef) (sqlPath, error) {
	name := strings.TrimPrefix(text, "$.")
	if root, ok := sqlRoots[name]; ok {
		return sqlPath{text, func(e *sqlEvent) (any, error) { return root(e), nil }}, nil
	}
	if name != "data" && !strings.HasPrefix(name, "data.") {
		known := []string{"data"}
		for k := range sqlRoots {
			known = append(known, k)
		}
		slices.Sort(known)
		for i, k := range known {
			known[i] = "$." + k
		}
		return sqlPath{text: text}, errors.New(unknownName("value", text, known))
	}
	var steps []any // string: a field; int: an element
	for step := range strings.SplitSeq(strings.TrimPrefix(strings.TrimPrefix(name, "data"), "."), ".") {
		field, rest, _ := strings.Cut(step, "[")
		if field != "" {
			steps = append(steps, field)
		}
		for rest != "" {
			number, more, _ := strings.Cut(rest, "]")
			n, err := strconv.Atoi(number)
			if err != nil {
				return sqlPath{text: text}, fmt.Errorf("%s: %w", text, err)
			}
			steps = append(steps, n)
			rest = strings.TrimPrefix(more, "[")
		}
	}
	for _, e := range events {
		if err := hasPath(e.Go, steps); err != nil {
			return sqlPath{text: text}, fmt.Errorf("%s: %s has %w", text, e.Type, err)
		}
	}
	return sqlPath{text, func(e *sqlEvent) (any, error) { return e.value(steps) }}, nil
}

// value follows a path through the event's JSON; nil: it leads nowhere.
func (e *sqlEvent) value(steps []any) (any, error) {
	if e.data == nil {
		var body bytes.Buffer
		enc := json.NewEncoder(&body)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(e.Event); err != nil {
			return nil, err
		}
		e.data = bytes.TrimSpace(body.Bytes())
		if e.data[0] == '{' {
			if err := json.Unmarshal(e.data, &e.top); err != nil {
				return nil, err
			}
		}
	}
	at := e.data
	for i, step := range steps {
		switch step := step.(type) {
		case string:
			fields := e.top
			if i > 0 {
				fields = nil
				if at[0] != '{' {
					return nil, nil
				}
				if err := json.Unmarshal(at, &fields); err != nil {
					return nil, err
				}
			}
			at = fields[step]
		case int:
			var elements []json.RawMessage
			if at[0] != '[' {
				return nil, nil
			}
			if err := json.Unmarshal(at, &elements); err != nil {
				return nil, err
			}
			if step >= len(elements) {
				return nil, nil
			}
			at = elements[step]
		}
		if at == nil {
			return nil, nil
		}
	}
	return sqlBind(at)
}

// sqlBind is what SQLite gets of a JSON value. No number passes through a float64.
func sqlBind(raw json.RawMessage) (any, error) {
	switch raw[0] {
	case 'n':
		return nil, nil
	case 't':
		return int64(1), nil
	case 'f':
		return int64(0), nil
	case '"':
		var text string
		err := json.Unmarshal(raw, &text)
		return text, err
	case '{', '[':
		return string(raw), nil
	}
	if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		return n, nil
	}
	return string(raw), nil
}

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// hasPath says what is wrong with a path into the JSON of a Go type; nil when it may lead somewhere.
func hasPath(t reflect.Type, steps []any) error {
	for _, step := range steps {
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Kind() == reflect.Interface || t == reflect.TypeFor[json.RawMessage]() {
			return nil
		}
		name, isName := step.(string)
		made := t.Implements(jsonMarshaler) || t.Implements(textMarshaler)
		switch {
		case !made && isName && t.Kind() == reflect.Map:
			t = t.Elem()
		case !made && !isName && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array):
			t = t.Elem()
		case !made && isName && t.Kind() == reflect.Struct:
			fields := jsonFields(t)
			field, ok := fields[name]
			if !ok {
				var known []string
				for k := range fields {
					known = append(known, k)
				}
				slices.Sort(known)
				return errors.New(strings.Replace(unknownName("field", name, known), "unknown", "no", 1))
			}
			t = field
		case isName:
			return fmt.Errorf("no field %q there, but a single value or a list", name)
		default:
			return fmt.Errorf("no list at [%v]", step)
		}
	}
	return nil
}

func jsonFields(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" || f.Anonymous && name == "" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		fields[name] = f.Type
	}
	return fields
}
