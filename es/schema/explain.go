package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/invopop/jsonschema"
	"github.com/millstream-es/millstream/es"
	ordered "github.com/pb33f/ordered-map/v2"
	validation "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// maxFaults bounds how many parts of one body are blamed.
const maxFaults = 20

// explain turns the validator's tree of errors, whose order is that of a map, into faults in the order of the body. A
// missing field counts as standing at the end of its object.
func (b *Body) explain(err *validation.ValidationError, data []byte, value any) error {
	present, missing := map[string][]es.Fault{}, map[string][]es.Fault{}
	b.collect(err, value, present, missing)
	var found []es.Fault
	again := parser{data: data, visit: func(pointer []byte, leaving bool) {
		if leaving {
			found = append(found, missing[string(pointer)]...)
		} else {
			found = append(found, present[string(pointer)]...)
		}
	}}
	if _, err := again.document(); err != nil {
		return err
	}
	if len(found) == 0 {
		return &es.InvalidError{Code: "schema", Message: "does not fit the schema: " + err.Error()}
	}
	invalid := &es.InvalidError{Code: "schema", Message: found[0].Message, Pointer: found[0].Pointer}
	if len(found) > 1 {
		invalid.Faults = found[:min(len(found), maxFaults)]
	}
	return invalid
}

// collect gathers the deepest causes: present by the pointer of the field itself, missing by that of its object. One
// field is blamed once.
func (b *Body) collect(e *validation.ValidationError, value any, present, missing map[string][]es.Fault) {
	if len(e.Causes) > 0 {
		for _, cause := range e.Causes {
			b.collect(cause, value, present, missing)
		}
		return
	}
	at := pointer(e.InstanceLocation)
	add := func(faults map[string][]es.Fault, key, blamed, message string) {
		if !slices.ContainsFunc(faults[key], func(f es.Fault) bool { return f.Pointer == blamed }) {
			faults[key] = append(faults[key], es.Fault{Pointer: blamed, Message: message})
		}
	}
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		known := propertyNames(descend(b.described, e.InstanceLocation))
		for _, name := range k.Properties {
			p := at + "/" + escape.Replace(name)
			add(present, p, p, unknown("field", name, known))
		}
	case *kind.Required:
		for _, name := range k.Missing {
			add(missing, at, at+"/"+escape.Replace(name), "is required")
		}
	default:
		add(present, at, at, say(e.ErrorKind, lookUp(value, e.InstanceLocation)))
	}
}

// say puts a violated constraint into words.
func say(k validation.ErrorKind, found any) string {
	switch k := k.(type) {
	case *kind.Type:
		want := strings.Join(k.Want, " or ")
		if n, ok := found.(json.Number); ok && want == "integer" {
			return fmt.Sprintf("must be a whole number but is %s", n)
		}
		return fmt.Sprintf("must be %s but is %s", withArticle(want), withArticle(k.Got))
	case *kind.Enum:
		want := make([]string, len(k.Want))
		for i, w := range k.Want {
			want[i] = show(w)
		}
		text := fmt.Sprintf("must be one of %s but is %s", strings.Join(want, ", "), show(found))
		if name, ok := found.(string); ok {
			known := []string{}
			for _, w := range k.Want {
				known = append(known, fmt.Sprint(w))
			}
			if near, ok := Closest(name, known); ok {
				text += fmt.Sprintf(": did you mean %s?", near)
			}
		}
		return text
	case *kind.Const:
		return fmt.Sprintf("must be %s but is %s", show(k.Want), show(found))
	case *kind.Minimum:
		return fmt.Sprintf("must be at least %s but is %s", decimal(k.Want), show(found))
	case *kind.Maximum:
		return fmt.Sprintf("must be at most %s but is %s", decimal(k.Want), show(found))
	case *kind.ExclusiveMinimum:
		return fmt.Sprintf("must be more than %s but is %s", decimal(k.Want), show(found))
	case *kind.ExclusiveMaximum:
		return fmt.Sprintf("must be less than %s but is %s", decimal(k.Want), show(found))
	case *kind.MultipleOf:
		return fmt.Sprintf("must be a multiple of %s but is %s", decimal(k.Want), show(found))
	case *kind.MinLength:
		if k.Want == 1 {
			return "must not be empty"
		}
		return fmt.Sprintf("must have at least %s but has %d", count(k.Want, "character"), k.Got)
	case *kind.MaxLength:
		return fmt.Sprintf("must have at most %s but has %d", count(k.Want, "character"), k.Got)
	case *kind.Pattern:
		return fmt.Sprintf("must match %s but is %s", k.Want, show(found))
	case *kind.Format:
		return fmt.Sprintf("must be a valid %s but is %s", k.Want, show(found))
	case *kind.MinItems:
		return fmt.Sprintf("must have at least %s but has %d", count(k.Want, "item"), k.Got)
	case *kind.MaxItems:
		return fmt.Sprintf("must have at most %s but has %d", count(k.Want, "item"), k.Got)
	case *kind.UniqueItems:
		return fmt.Sprintf("items %d and %d are the same, each may stand once", k.Duplicates[0], k.Duplicates[1])
	case *kind.MinProperties:
		return fmt.Sprintf("must have at least %s but has %d", count(k.Want, "field"), k.Got)
	case *kind.MaxProperties:
		return fmt.Sprintf("must have at most %s but has %d", count(k.Want, "field"), k.Got)
	}
	return "does not fit " + strings.Join(k.KeywordPath(), "/") + " of the schema"
}

func withArticle(typ string) string {
	switch {
	case typ == "null":
		return typ
	case strings.HasPrefix(typ, "integer"):
		return "a whole number" + strings.TrimPrefix(typ, "integer")
	case strings.HasPrefix(typ, "array"), strings.HasPrefix(typ, "object"):
		return "an " + typ
	}
	return "a " + typ
}

func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// show writes a found value as it stood, shortened.
func show(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Sprintf("a %T", v)
	}
	return clip(strings.TrimSpace(b.String()))
}

// decimal writes a bound without the zeros of a fixed precision.
func decimal(r *big.Rat) string {
	if r.IsInt() {
		return r.Num().String()
	}
	return strings.TrimRight(r.FloatString(18), "0")
}

func pointer(location []string) string {
	var b strings.Builder
	for _, token := range location {
		b.WriteByte('/')
		b.WriteString(escape.Replace(token))
	}
	return b.String()
}

// descend finds the part of a schema that describes a location; nil: none does.
func descend(s *jsonschema.Schema, location []string) *jsonschema.Schema {
	for _, token := range location {
		if s != nil && len(s.OneOf) > 0 {
			s = s.OneOf[0]
		}
		switch {
		case s == nil:
			return nil
		case s.Items != nil:
			s = s.Items
		default:
			next := s.AdditionalProperties
			for p := firstProperty(s); p != nil; p = p.Next() {
				if p.Key == token {
					next = p.Value
				}
			}
			s = next
		}
	}
	if s != nil && len(s.OneOf) > 0 {
		return s.OneOf[0]
	}
	return s
}

func firstProperty(s *jsonschema.Schema) *ordered.Pair[string, *jsonschema.Schema] {
	if s == nil || s.Properties == nil {
		return nil
	}
	return s.Properties.Oldest()
}

func propertyNames(s *jsonschema.Schema) []string {
	names := []string{}
	for p := firstProperty(s); p != nil; p = p.Next() {
		names = append(names, p.Key)
	}
	return names
}

// lookUp finds the value at a location that the validator reported.
func lookUp(value any, location []string) any {
	for _, token := range location {
		switch v := value.(type) {
		case map[string]any:
			value = v[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i >= len(v) {
				return nil
			}
			value = v[i]
		}
	}
	return value
}
