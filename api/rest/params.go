package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/schema"
)

// params reads a query's parameters from path and query string into its struct, by JSON name.
type params struct {
	goType reflect.Type
	list   []param
	door   []string // names of the door's own parameters
	next   []int    // index of the answer's nextCursor; nil: it is no page of a list
}

type param struct {
	name   string
	index  []int // of the struct field
	schema map[string]any
	kind   string // string, integer, number or boolean
	many   bool   // a slice of those: the parameter may be repeated
	inPath bool
}

// cursorParam and nextCursor make an answer a page of a list: the one is the parameter with which the other, of the page
// before, is handed in.
const (
	cursorParam = "cursor"
	nextCursor  = "nextCursor"
)

func newParams(t, answer reflect.Type, path string) (*params, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("parameters must be a struct, not %s", t)
	}
	raw, err := schema.Of(t)
	if err != nil {
		return nil, err
	}
	var described struct {
		Properties map[string]map[string]any `json:"properties"`
	}
	if err := unmarshal(raw, &described); err != nil {
		return nil, err
	}
	inPath, err := wildcards(path)
	if err != nil {
		return nil, err
	}
	p := &params{goType: t, door: []string{"minRevision"}}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" || f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct {
			continue
		}
		if name == "" {
			name = f.Name
		}
		one := param{name: name, index: f.Index, schema: described.Properties[name]}
		kinds := one.schema
		if items, ok := kinds["items"].(map[string]any); ok {
			one.many, kinds = f.Type.Kind() == reflect.Slice, items
		}
		one.kind, _ = kinds["type"].(string)
		if !slices.Contains([]string{"string", "integer", "number", "boolean"}, one.kind) || f.Anonymous {
			return nil, fmt.Errorf("parameter %s of Go type %s cannot be written in a URL: use a string, number, bool, time or a list of these", name, f.Type)
		}
		if name == "minRevision" || name == "asOf" {
			return nil, fmt.Errorf("parameter %s is the door's own: choose another name", name)
		}
		if i := slices.Index(inPath, name); i >= 0 {
			inPath = slices.Delete(inPath, i, i+1)
			one.inPath = true
		}
		p.list = append(p.list, one)
	}
	if len(inPath) > 0 {
		return nil, fmt.Errorf("path %s names {%s}, which is no parameter of %s", path, inPath[0], t)
	}
	if slices.ContainsFunc(p.list, func(one param) bool { return one.name == cursorParam }) {
		p.next = cursorIn(answer)
	}
	return p, nil
}

// cursorIn finds the field that is nextCursor in JSON.
func cursorIn(answer reflect.Type) []int {
	if answer.Kind() != reflect.Struct {
		return nil
	}
	for _, f := range reflect.VisibleFields(answer) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == nextCursor && f.Type.Kind() == reflect.String && f.IsExported() {
			return f.Index
		}
	}
	return nil
}

// nextPage is the Link header (RFC 8288) that leads on from a page of a list; "": it was the last, or is none.
func (p *params) nextPage(asked *url.URL, answer any) string {
	if p.next == nil {
		return ""
	}
	cursor := reflect.ValueOf(answer).FieldByIndex(p.next).String()
	if cursor == "" {
		return ""
	}
	query := asked.Query()
	query.Set(cursorParam, cursor)
	target := url.URL{Path: asked.Path, RawPath: asked.RawPath, RawQuery: query.Encode()}
	return "<" + target.String() + `>; rel="next"`
}

// wildcards are the names in a path, which must be made of plain segments and {name}.
func wildcards(path string) ([]string, error) {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return nil, fmt.Errorf("path %q must begin with /", path)
	}
	var names []string
	for segment := range strings.SplitSeq(rest, "/") {
		if name := wildcard.FindString(segment); name != "" && name == segment {
			names = append(names, strings.Trim(name, "{}"))
		} else if segment == "" || strings.ContainsAny(segment, "{} ") {
			return nil, fmt.Errorf("path %q: each segment must be a word or a {name}, found %q", path, segment)
		}
	}
	return names, nil
}

// decode returns a value of the parameters' Go type. The error is an *es.InvalidError and names every parameter that
// is to blame.
func (p *params) decode(pathValue func(string) string, query url.Values) (any, error) {
	v := reflect.New(p.goType).Elem()
	var found []*es.InvalidError
	for _, one := range p.list {
		texts, given := query[one.name]
		if one.inPath {
			if given {
				found = append(found, malformed("/"+one.name, "%s stands in the path: leave it out of the query string", one.name))
			}
			texts = []string{pathValue(one.name)}
		}
		delete(query, one.name)
		if invalid := one.set(v.FieldByIndex(one.index), texts); invalid != nil {
			found = append(found, invalid)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		found = append(found, p.unknown(name))
	}
	if len(found) == 0 {
		return v.Interface(), nil
	}
	return nil, together(found)
}

// together makes one error of several.
func together(found []*es.InvalidError) error {
	if len(found) == 1 {
		return found[0]
	}
	first := *found[0]
	for _, f := range found[:min(len(found), 20)] {
		first.Faults = append(first.Faults, es.Fault{Pointer: f.Pointer, Message: f.Message})
	}
	return &first
}

func (p *params) unknown(name string) *es.InvalidError {
	known := slices.Clone(p.door)
	for _, one := range p.list {
		if !one.inPath {
			known = append(known, one.name)
		}
	}
	if near, ok := schema.Closest(name, known); ok {
		return malformed("", "unknown query parameter %q: did you mean %s?", clip(name), near)
	}
	slices.Sort(known)
	return malformed("", "unknown query parameter %q: known are %s", clip(name), strings.Join(known, ", "))
}

func (p param) set(to reflect.Value, texts []string) *es.InvalidError {
	if len(texts) == 0 {
		return nil
	}
	if !p.many {
		if len(texts) > 1 {
			return malformed("/"+p.name, "%s is given %d times: give it once", p.name, len(texts))
		}
		return p.setOne(to, "/"+p.name, texts[0])
	}
	to.Set(reflect.MakeSlice(to.Type(), len(texts), len(texts)))
	for i, text := range texts {
		if err := p.setOne(to.Index(i), fmt.Sprintf("/%s/%d", p.name, i), text); err != nil {
			return err
		}
	}
	return nil
}

// setOne reads the text as the JSON that the field's schema expects, so that every type reads itself.
func (p param) setOne(to reflect.Value, pointer, text string) *es.InvalidError {
	raw := []byte(text)
	if p.kind == "string" {
		if p.format() == "date-time" {
			text = plus(text)
		}
		quoted, err := json.Marshal(text)
		if err != nil {
			return malformed(pointer, "%v", err)
		}
		raw = quoted
	}
	if text != "null" || p.kind == "string" {
		if err := json.Unmarshal(raw, to.Addr().Interface()); err == nil {
			return nil
		}
	}
	return malformed(pointer, "%s must be %s, found %q", p.name, p.expected(), clip(text))
}

func (p param) format() string {
	s := p.schema
	if items, ok := s["items"].(map[string]any); ok {
		s = items
	}
	format, _ := s["format"].(string)
	return format
}

func (p param) expected() string {
	switch {
	case p.format() == "date-time":
		return "an RFC 3339 time like 2026-01-31T12:00:00Z"
	case p.kind == "integer":
		return "an integer in range"
	case p.kind == "boolean":
		return "true or false"
	}
	return "a " + p.kind
}

// unmarshal keeps the text of numbers.
func unmarshal(raw json.RawMessage, to any) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	return decoder.Decode(to)
}
