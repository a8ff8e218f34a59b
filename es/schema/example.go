package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"

	"github.com/invopop/jsonschema"
)

// example builds a value that fits a schema: its example, default or first enum value, else something plain of its
// type. An object shows its required fields, and the optional ones that have an example.
func example(s *jsonschema.Schema) (json.RawMessage, error) {
	var b bytes.Buffer
	if err := writeExample(&b, s); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func writeExample(b *bytes.Buffer, s *jsonschema.Schema) error {
	if v, ok := shown(s); ok {
		return writeJSON(b, v)
	}
	for _, options := range [][]*jsonschema.Schema{s.OneOf, s.AnyOf} {
		if len(options) > 0 {
			return writeExample(b, options[0])
		}
	}
	switch s.Type {
	case "object":
		b.WriteByte('{')
		between := ""
		for p := firstProperty(s); p != nil; p = p.Next() {
			if !isRequired(s, p.Key) && !hasExample(p.Value) {
				continue
			}
			b.WriteString(between)
			between = ","
			if err := writeJSON(b, p.Key); err != nil {
				return err
			}
			b.WriteByte(':')
			if err := writeExample(b, p.Value); err != nil {
				return err
			}
		}
		b.WriteByte('}')
	case "array":
		b.WriteByte('[')
		n := uint64(1)
		if s.MinItems != nil {
			n = max(n, *s.MinItems)
		}
		if s.MaxItems != nil {
			n = min(n, *s.MaxItems)
		}
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeExample(b, s.Items); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	case "string":
		return writeJSON(b, plainText(s))
	case "number", "integer":
		return writeJSON(b, plainNumber(s))
	case "boolean":
		b.WriteString("true")
	default:
		b.WriteString("null")
	}
	return nil
}

// shown is the value that a schema itself offers.
func shown(s *jsonschema.Schema) (any, bool) {
	switch {
	case len(s.Examples) > 0:
		return s.Examples[0], true
	case s.Default != nil:
		return s.Default, true
	case s.Const != nil:
		return s.Const, true
	case len(s.Enum) > 0:
		return s.Enum[0], true
	}
	return nil, false
}

func hasExample(s *jsonschema.Schema) bool {
	if len(s.Examples) > 0 {
		return true
	}
	for p := firstProperty(s); p != nil; p = p.Next() {
		if hasExample(p.Value) {
			return true
		}
	}
	for _, option := range s.OneOf {
		if hasExample(option) {
			return true
		}
	}
	return s.Items != nil && hasExample(s.Items)
}

func isRequired(s *jsonschema.Schema, key string) bool {
	for _, r := range s.Required {
		if r == key {
			return true
		}
	}
	return false
}

func plainText(s *jsonschema.Schema) string {
	formats := map[string]string{
		"date-time": "2026-01-31T12:00:00Z", "date": "2026-01-31", "time": "12:00:00Z", "email": "ada@example.com",
		"uri": "https://example.com/", "uuid": "018d5f3e-0000-7000-8000-000000000001", "ipv4": "192.0.2.1", "hostname": "example.com",
	}
	text, ok := formats[s.Format]
	if !ok {
		text = "text"
	}
	if s.MinLength != nil && uint64(len(text)) < *s.MinLength {
		text += strings.Repeat("x", int(*s.MinLength)-len(text))
	}
	if s.MaxLength != nil && uint64(len(text)) > *s.MaxLength {
		text = text[:*s.MaxLength]
	}
	return text
}

// plainNumber is 1, or the nearest bound where that is out of bounds.
func plainNumber(s *jsonschema.Schema) json.Number {
	one := big.NewRat(1, 1)
	for _, bound := range []struct {
		text json.Number
		bad  int // how 1 compares to a bound that it breaks
	}{{s.Minimum, -1}, {s.Maximum, 1}} {
		if r, ok := new(big.Rat).SetString(string(bound.text)); ok && one.Cmp(r) == bound.bad {
			return bound.text
		}
	}
	return "1"
}

func writeJSON(b *bytes.Buffer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("example %v: %w", v, err)
	}
	b.Write(text)
	return nil
}
