package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	validation "github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"
)

func compiled(t rapid.TB, text string) *validation.Schema {
	t.Helper()
	doc, err := validation.UnmarshalJSON(bytes.NewReader([]byte(text)))
	if err != nil {
		t.Fatal(err)
	}
	compiler := validation.NewCompiler()
	compiler.DefaultDraft(validation.Draft2020)
	compiler.AssertFormat()
	if err := compiler.AddResource("test:///schema", doc); err != nil {
		t.Fatal(err)
	}
	s, err := compiler.Compile("test:///schema")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The edges of what schemas say, and what is not a value of theirs at all.
var (
	numbers = []string{"0", "-0", "1", "-1", "7", "10", "10.0", "10.5", "0.0", "0.25", "-0.25", "9.999", "1e1", "1E-2", "-3e2", "999999999999999999", "9999999999999999999", "12345678901234567890123"}
	texts   = []string{"", " ", "a", "ab", "abc", "äöü", "é", "USA", "usa", "ada@example.com", "2026-01-31T12:00:00Z", "2026-02-30T12:00:00Z", "0123456789", "0123456789x", `"\`}
	names   = []string{"a", "b", "c", "ä/~"}
)

func drawValue(t *rapid.T, depth int) any {
	kinds := 6
	if depth == 0 {
		kinds = 4
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "value") {
	case 0:
		return json.Number(rapid.SampledFrom(numbers).Draw(t, "number"))
	case 1:
		return rapid.SampledFrom(texts).Draw(t, "text")
	case 2:
		return rapid.Bool().Draw(t, "bool")
	case 3:
		return nil
	case 4:
		items := make([]any, rapid.IntRange(0, 3).Draw(t, "items"))
		for i := range items {
			items[i] = drawValue(t, depth-1)
		}
		return items
	}
	fields := map[string]any{}
	for _, name := range names {
		if rapid.Bool().Draw(t, "has "+name) {
			fields[name] = drawValue(t, depth-1)
		}
	}
	return fields
}

// drawSchema makes schemas of what reflection writes, and now and then of what it does not.
func drawSchema(t *rapid.T, depth int) any {
	s := map[string]any{}
	maybe := func(keyword string, value func() any) {
		if rapid.IntRange(0, 3).Draw(t, keyword) == 0 {
			s[keyword] = value()
		}
	}
	number := func() any { return json.Number(rapid.SampledFrom(numbers).Draw(t, "bound")) }
	size := func() any { return rapid.IntRange(0, 4).Draw(t, "size") }
	types := []string{"string", "number", "integer", "boolean", "null", "array", "object"}
	if depth == 0 {
		types = types[:5]
	}
	typ := rapid.SampledFrom(types).Draw(t, "type")
	s["type"] = typ
	switch typ {
	case "string":
		maybe("minLength", size)
		maybe("maxLength", size)
		maybe("pattern", func() any { return rapid.SampledFrom([]string{`\S`, `^[A-Z]{3}$`, `^[0-9a-z]+$`}).Draw(t, "pattern") })
		maybe("format", func() any { return rapid.SampledFrom([]string{"email", "date-time"}).Draw(t, "format") })
		maybe("enum", func() any { return []any{"a", "USA", json.Number("1"), nil} })
	case "number", "integer":
		maybe("minimum", number)
		maybe("maximum", number)
		maybe("exclusiveMinimum", number)
		maybe("exclusiveMaximum", number)
	case "array":
		maybe("minItems", size)
		maybe("maxItems", size)
		maybe("items", func() any { return drawSchema(t, depth-1) })
		maybe("uniqueItems", func() any { return true })
	case "object":
		maybe("required", func() any { return []any{rapid.SampledFrom(names).Draw(t, "required")} })
		maybe("additionalProperties", func() any {
			if rapid.Bool().Draw(t, "closed") {
				return rapid.Bool().Draw(t, "open")
			}
			return drawSchema(t, depth-1)
		})
		properties := map[string]any{}
		for _, name := range names {
			if rapid.Bool().Draw(t, "describes "+name) {
				properties[name] = drawSchema(t, depth-1)
			}
		}
		s["properties"] = properties
	}
	if rapid.IntRange(0, 9).Draw(t, "unusual") == 0 {
		s[rapid.SampledFrom([]string{"not", "if"}).Draw(t, "keyword")] = map[string]any{"type": "null"}
		maybe("const", func() any { return "a" })
		maybe("multipleOf", func() any { return 5 })
		if typ != "null" {
			s["type"] = []any{typ, "null"}
		}
	}
	return s
}

// What the prover proves, the library finds valid: whatever the schema, whatever the value.
func TestNothingIsProvenThatTheLibraryRefuses(t *testing.T) {
	t.Parallel()
	proven := 0
	rapid.Check(t, func(t *rapid.T) {
		text, err := json.Marshal(drawSchema(t, 2))
		if err != nil {
			t.Fatal(err)
		}
		s := compiled(t, string(text))
		p := newProver(s)
		for range 10 {
			value := drawValue(t, 2)
			if !p.proves(value) {
				continue
			}
			proven++
			if err := s.Validate(value); err != nil {
				t.Fatalf("%s: %v was proven to fit, but %v", text, value, err)
			}
		}
	})
	if proven == 0 {
		t.Error("nothing was proven at all")
	}
}

// FuzzProver holds it against the schema of a command, where values come closer to what fits.
func FuzzProver(f *testing.F) {
	const schema = `{"type":"object","additionalProperties":false,"required":["id","items"],"properties":{
		"id":{"type":"string","minLength":1,"maxLength":4,"pattern":"^[a-z-]+$"},"kind":{"type":"string","enum":["a","b"]},"mail":{"type":"string","format":"email"},
		"items":{"type":"array","minItems":1,"maxItems":2,"items":{"type":"object","properties":{"n":{"type":"integer","minimum":1,"maximum":9},"p":{"type":"number","exclusiveMinimum":0,"maximum":100}}}},
		"labels":{"type":"object","additionalProperties":{"type":"boolean"}}}}`
	s := compiled(f, schema)
	p := newProver(s)
	for _, seed := range []string{`{"id":"a-b","items":[{"n":1,"p":0.5}]}`, `{"id":"äbcd","items":[{}],"kind":"b","mail":"a@b.c","labels":{"x":true}}`,
		`{"id":"a","items":[{"n":10}]}`, `{"id":"a","items":[{"n":1.0,"p":100.00}]}`, `{"id":"","items":[]}`, `{"items":[{"p":-0}],"id":"a","x":1}`, `null`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		value, err := parse(body)
		if err != nil || !p.proves(value) {
			return
		}
		if err := s.Validate(value); err != nil {
			t.Fatalf("%s was proven to fit, but %v", body, err)
		}
	})
}

// The ordinary is proven: else every command would still cost the library's time.
func TestTheOrdinaryIsProven(t *testing.T) {
	t.Parallel()
	for schema, value := range map[string]string{
		`{"type":"string","minLength":1,"maxLength":3,"pattern":"\\S"}`:                                   `"äöü"`,
		`{"type":"string","enum":["a","b"]}`:                                                              `"b"`,
		`{"type":"string","format":"date-time","description":"when","examples":["x"]}`:                    `"2026-01-31T12:00:00Z"`,
		`{"type":"integer","minimum":1,"maximum":7}`:                                                      `7`,
		`{"type":"integer","minimum":-7}`:                                                                 `-7`,
		`{"type":"number","exclusiveMinimum":0}`:                                                          `0.01`,
		`{"type":"number","minimum":0,"maximum":1000000000}`:                                              `1000000000.00`,
		`{"type":"boolean"}`:                                                                              `true`,
		`{"type":"array","items":{"type":"integer"},"minItems":1}`:                                        `[1,2]`,
		`{"type":"array"}`:                                                                                `["anything"]`,
		`{"type":"object","additionalProperties":{"type":"integer"}}`:                                     `{"a":1}`,
		`{"type":"object","additionalProperties":false,"properties":{"a":true}}`:                          `{"a":[{}]}`,
		`{"type":"object","properties":{"a":{"type":"null"}},"required":["a"],"additionalProperties":{}}`: `{"a":null,"b":2}`,
	} {
		v, err := parse([]byte(value))
		if err != nil {
			t.Fatal(err)
		}
		if s := compiled(t, schema); !newProver(s).proves(v) || s.Validate(v) != nil {
			t.Errorf("%s was not proven to fit %s", value, schema)
		}
	}
	// What does not fit is not, nor what says more than the prover understands.
	for text, refused := range map[string]string{
		`{"type":"integer","minimum":1,"maximum":7}`:                           "8",
		`{"type":"number","exclusiveMaximum":7}`:                               "7.0",
		`{"type":"string","maxLength":2}`:                                      `"` + strings.Repeat("ä", 3) + `"`,
		`{"type":"object","required":["a"]}`:                                   `{"b":1}`,
		`{"type":"object","additionalProperties":false}`:                       `{"b":1}`,
		`{"type":"object","dependentRequired":{"a":["b"]}}`:                    `{"a":1}`,
		`{"type":"object","properties":{"a":{"type":"integer","not":{}}}}`:     `{"a":1}`,
		`{"type":"array","items":{"type":"integer","multipleOf":2}}`:           `[1]`,
		`{"type":"object","additionalProperties":{"type":["integer","null"]}}`: `{"a":"x"}`,
	} {
		v, err := parse([]byte(refused))
		if err != nil {
			t.Fatal(err)
		}
		if newProver(compiled(t, text)).proves(v) {
			t.Errorf("%s was proven to fit %s", refused, text)
		}
	}
}

func BenchmarkProver(b *testing.B) {
	s := compiled(b, `{"type":"object","additionalProperties":false,"required":["amount","note"],"properties":{"amount":{"type":"integer","minimum":1},"note":{"type":"string","maxLength":200}}}`)
	value, err := parse(fmt.Appendf(nil, `{"amount":7,"note":%q}`, strings.Repeat("text ", 15)))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("prover", func(b *testing.B) {
		p := newProver(s)
		for b.Loop() {
			if !p.proves(value) {
				b.Fatal("not proven")
			}
		}
	})
	b.Run("library", func(b *testing.B) {
		for b.Loop() {
			if err := s.Validate(value); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Hashes are stored: a quicker way to quote may not change one.
func TestTextsAreQuotedAsBefore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ -~]*`)).Draw(t, "text")
		if got, want := string(appendQuoted(nil, text)), strconv.Quote(text); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	})
}
