package schema

import (
	"encoding/json"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	validation "github.com/santhosh-tekuri/jsonschema/v6"
)

// prover proves of ordinary values, in a twentieth of the validation library's time, that they fit a schema. What it
// cannot prove, be it wrong or only unusual, the library judges: so it may never prove what the library would refuse.
type prover struct {
	anything   bool // the schema is true, or {}
	typ        string
	enum       []string
	min, max   int // of characters or items
	matches    []func(string) bool
	required   []string
	properties map[string]*prover
	others     *prover // for fields beside properties
	items      *prover
	bounds     []bound
}

// bound is one that a number keeps, a whole number itself.
type bound struct {
	at     int64
	upper  bool // at most, else at least
	strict bool // less or more
}

// understood are the fields of a compiled schema that prove heeds, and those that forbid nothing.
var understood = []string{
	"Types", "Enum", "Format", "Required", "Properties", "AdditionalProperties", "MinItems", "MaxItems", "Items2020",
	"MinLength", "MaxLength", "Pattern", "Minimum", "Maximum", "ExclusiveMinimum", "ExclusiveMaximum",
	"DraftVersion", "Location", "Title", "Description", "Default", "Comment", "ReadOnly", "WriteOnly", "Examples", "Deprecated",
}

// newProver returns nil for a schema that says more than it understands: a nil prover proves nothing.
func newProver(s *validation.Schema) *prover {
	if s.Bool != nil {
		if *s.Bool {
			return &prover{anything: true}
		}
		return nil
	}
	fields := reflect.ValueOf(s).Elem()
	for i := range fields.NumField() {
		f := fields.Type().Field(i)
		if f.IsExported() && !slices.Contains(understood, f.Name) && !fields.Field(i).IsZero() {
			return nil
		}
	}
	if s.Types == nil || s.DraftVersion != 2020 {
		return nil
	}
	types := s.Types.ToStrings()
	if len(types) != 1 {
		return nil
	}
	p := &prover{typ: types[0], max: math.MaxInt, required: s.Required}
	if s.Enum != nil {
		for _, v := range s.Enum.Values {
			if text, ok := v.(string); ok {
				p.enum = append(p.enum, text)
			}
		}
		if len(p.enum) == 0 || p.typ != "string" {
			return nil
		}
	}
	if p.typ == "array" {
		p.limit(s.MinItems, s.MaxItems)
		p.items = &prover{anything: true}
		if s.Items2020 != nil {
			p.items = newProver(s.Items2020)
		}
	} else {
		p.limit(s.MinLength, s.MaxLength)
	}
	if s.Pattern != nil {
		p.matches = append(p.matches, s.Pattern.MatchString)
	}
	if s.Format != nil {
		if p.typ != "string" {
			return nil
		}
		p.matches = append(p.matches, func(text string) bool { return s.Format.Validate(text) == nil })
	}
	return p.withBounds(s).withFields(s)
}

func (p *prover) limit(least, most *int) {
	if least != nil {
		p.min = *least
	}
	if most != nil {
		p.max = *most
	}
}

func (p *prover) withBounds(s *validation.Schema) *prover {
	for _, b := range []struct {
		at *big.Rat
		bound
	}{
		{s.Minimum, bound{}}, {s.Maximum, bound{upper: true}},
		{s.ExclusiveMinimum, bound{strict: true}}, {s.ExclusiveMaximum, bound{upper: true, strict: true}},
	} {
		if b.at == nil {
			continue
		}
		if !b.at.IsInt() || !b.at.Num().IsInt64() {
			return nil
		}
		b.bound.at = b.at.Num().Int64()
		p.bounds = append(p.bounds, b.bound)
	}
	return p
}

func (p *prover) withFields(s *validation.Schema) *prover {
	if p == nil {
		return nil
	}
	p.properties = make(map[string]*prover, len(s.Properties))
	for name, field := range s.Properties {
		p.properties[name] = newProver(field)
	}
	switch others := s.AdditionalProperties.(type) {
	case nil:
		p.others = &prover{anything: true}
	case bool:
		if others {
			p.others = &prover{anything: true}
		}
	case *validation.Schema:
		p.others = newProver(others)
	}
	return p
}

// proves reports whether a value that was parsed fits. No means: ask the library.
func (p *prover) proves(value any) bool {
	if p == nil {
		return false
	}
	if p.anything {
		return true
	}
	switch v := value.(type) {
	case string:
		return p.typ == "string" && p.provesText(v)
	case json.Number:
		return p.provesNumber(string(v))
	case bool:
		return p.typ == "boolean"
	case nil:
		return p.typ == "null"
	case []any:
		if p.typ != "array" || len(v) < p.min || len(v) > p.max {
			return false
		}
		for _, item := range v {
			if !p.items.proves(item) {
				return false
			}
		}
		return true
	case map[string]any:
		return p.typ == "object" && p.provesFields(v)
	}
	return false
}

func (p *prover) provesText(v string) bool {
	if p.enum != nil && !slices.Contains(p.enum, v) {
		return false
	}
	if p.min > 0 || len(v) > p.max {
		if n := utf8.RuneCountInString(v); n < p.min || n > p.max {
			return false
		}
	}
	for _, match := range p.matches {
		if !match(v) {
			return false
		}
	}
	return true
}

func (p *prover) provesFields(v map[string]any) bool {
	for _, name := range p.required {
		if _, ok := v[name]; !ok {
			return false
		}
	}
	for name, field := range v {
		described, ok := p.properties[name]
		if !ok {
			described = p.others
		}
		if !described.proves(field) {
			return false
		}
	}
	return true
}

// provesNumber understands 7, -7 and 7.25, up to eighteen digits before the point. A negative fraction is unusual.
func (p *prover) provesNumber(text string) bool {
	digits, fraction, point := strings.Cut(text, ".")
	if p.typ != "number" && (p.typ != "integer" || point) || len(digits) > 18 || strings.ContainsAny(text, "eE") {
		return false
	}
	whole, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || point && text[0] == '-' {
		return false
	}
	more := strings.Trim(fraction, "0") != "" // than whole
	for _, b := range p.bounds {
		var kept bool
		switch {
		case b.upper && b.strict:
			kept = whole < b.at
		case b.upper:
			kept = whole < b.at || whole == b.at && !more
		case b.strict:
			kept = whole > b.at || whole == b.at && more
		default:
			kept = whole >= b.at
		}
		if !kept {
			return false
		}
	}
	return true
}
