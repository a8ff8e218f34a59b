package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/millstream-es/millstream/es"
)

// MaxDepth is how deep arrays and objects may be nested in a command.
const MaxDepth = 64

// Numbers longer than this, or with an exponent of more digits, are refused before anything computes with them.
const (
	maxNumber   = 128
	maxExponent = 3
)

// parser reads JSON more strictly than encoding/json does: no duplicate keys, no invalid UTF-8 or lone surrogates,
// no bottomless nesting. Numbers keep their text.
type parser struct {
	data  []byte
	at    int
	depth int

	// visit, when set, is called on entering and leaving every value with its JSON pointer, in document order.
	visit func(pointer []byte, leaving bool)
	path  []byte
}

// parse returns the value of data (map[string]any, []any, string, json.Number, bool, nil).
// *es.InvalidError malformed: with the position.
func parse(data []byte) (any, error) {
	p := parser{data: data}
	return p.document()
}

// Strict says what makes data no JSON, as strictly as the body of a command is read: an *es.InvalidError malformed with
// the position.
func Strict(data []byte) error {
	_, err := parse(data)
	return err
}

func (p *parser) document() (any, error) {
	if !utf8.Valid(p.data) {
		for p.at < len(p.data) {
			r, n := utf8.DecodeRune(p.data[p.at:])
			if r == utf8.RuneError && n == 1 {
				break
			}
			p.at += n
		}
		return nil, p.fault("invalid UTF-8")
	}
	p.space()
	v, err := p.value()
	if err != nil {
		return nil, err
	}
	if p.space(); p.at < len(p.data) {
		return nil, p.fault("expected the end after the value, found %s", p.found())
	}
	return v, nil
}

func (p *parser) value() (v any, err error) {
	if p.visit != nil {
		p.visit(p.path, false)
		defer func() { p.visit(p.path, true) }()
	}
	switch c := p.peek(); {
	case c == '{':
		return p.object()
	case c == '[':
		return p.array()
	case c == '"':
		return p.string()
	case c == '-' || '0' <= c && c <= '9':
		return p.number()
	}
	rest := p.data[p.at:]
	switch {
	case bytes.HasPrefix(rest, []byte("true")):
		p.at += 4
		return true, nil
	case bytes.HasPrefix(rest, []byte("false")):
		p.at += 5
		return false, nil
	case bytes.HasPrefix(rest, []byte("null")):
		p.at += 4
		return nil, nil
	}
	return nil, p.fault("expected a value, found %s", p.found())
}

func (p *parser) object() (any, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	object := map[string]any{}
	if p.space(); p.peek() == '}' {
		p.leave()
		return object, nil
	}
	for {
		p.space()
		if p.peek() != '"' {
			return nil, p.fault("expected a field name in double quotes, found %s", p.found())
		}
		start := p.at
		key, err := p.string()
		if err != nil {
			return nil, err
		}
		if _, twice := object[key]; twice {
			p.at = start
			return nil, p.fault("field %q stands twice in one object", clip(key))
		}
		if p.space(); p.peek() != ':' {
			return nil, p.fault("expected a colon after the field name, found %s", p.found())
		}
		p.at++
		p.space()
		depth := len(p.path)
		if p.visit != nil {
			p.path = append(p.path, '/')
			p.path = append(p.path, escape.Replace(key)...)
		}
		if object[key], err = p.value(); err != nil {
			return nil, err
		}
		p.path = p.path[:depth]
		p.space()
		switch p.peek() {
		case ',':
			p.at++
		case '}':
			p.leave()
			return object, nil
		default:
			return nil, p.fault("expected a comma or } after the field, found %s", p.found())
		}
	}
}

func (p *parser) array() (any, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	array := []any{}
	if p.space(); p.peek() == ']' {
		p.leave()
		return array, nil
	}
	for {
		p.space()
		depth := len(p.path)
		if p.visit != nil {
			p.path = fmt.Appendf(p.path, "/%d", len(array))
		}
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		array = append(array, v)
		p.path = p.path[:depth]
		p.space()
		switch p.peek() {
		case ',':
			p.at++
		case ']':
			p.leave()
			return array, nil
		default:
			return nil, p.fault("expected a comma or ] after the item, found %s", p.found())
		}
	}
}

func (p *parser) enter() error {
	if p.depth++; p.depth > MaxDepth {
		return p.fault("nested deeper than %d", MaxDepth)
	}
	p.at++
	return nil
}

func (p *parser) leave() {
	p.depth--
	p.at++
}

func (p *parser) string() (string, error) {
	start := p.at
	p.at++
	escaped := false
	for {
		switch c := p.peek(); {
		case p.at >= len(p.data):
			return "", p.fault("the text that begins at %s has no end", position(p.data, start))
		case c == '"':
			p.at++
			if !escaped {
				return string(p.data[start+1 : p.at-1]), nil
			}
			var s string
			if err := json.Unmarshal(p.data[start:p.at], &s); err != nil {
				p.at = start
				return "", p.fault("%v", err)
			}
			return s, nil
		case c < 0x20:
			return "", p.fault("a control character in a text must be escaped, as \\u%04x", c)
		case c == '\\':
			escaped = true
			if err := p.escape(); err != nil {
				return "", err
			}
		default:
			p.at++
		}
	}
}

// escape steps over one escape sequence, or over the two that make a surrogate pair.
func (p *parser) escape() error {
	rest := p.data[p.at:]
	if len(rest) >= 2 && strings.IndexByte(`"\/bfnrt`, rest[1]) >= 0 {
		p.at += 2
		return nil
	}
	first, ok := unicodeEscape(rest)
	if !ok {
		return p.fault(`expected an escape sequence: \" \\ \/ \b \f \n \r \t or \u and four hex digits`)
	}
	if first < 0xd800 || first > 0xdfff {
		p.at += 6
		return nil
	}
	if second, ok := unicodeEscape(rest[6:]); !ok || first > 0xdbff || second < 0xdc00 || second > 0xdfff {
		return p.fault("half of a surrogate pair without its other half")
	}
	p.at += 12
	return nil
}

func unicodeEscape(s []byte) (rune, bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range s[2:6] {
		digit := strings.IndexByte("0123456789abcdef", c|0x20)
		if digit < 0 || c < '0' {
			return 0, false
		}
		r = r<<4 | rune(digit)
	}
	return r, true
}

func (p *parser) number() (any, error) {
	start := p.at
	digits := func() int {
		from := p.at
		for '0' <= p.peek() && p.peek() <= '9' {
			p.at++
		}
		return p.at - from
	}
	if p.peek() == '-' {
		p.at++
	}
	zero := p.peek() == '0'
	if n := digits(); n == 0 {
		return nil, p.fault("expected a digit, found %s", p.found())
	} else if zero && n > 1 {
		p.at = start
		return nil, p.fault("a number does not begin with 0")
	}
	if p.peek() == '.' {
		p.at++
		if digits() == 0 {
			return nil, p.fault("expected a digit after the decimal point, found %s", p.found())
		}
	}
	if p.peek()|0x20 == 'e' {
		p.at++
		if c := p.peek(); c == '+' || c == '-' {
			p.at++
		}
		switch n := digits(); {
		case n == 0:
			return nil, p.fault("expected a digit in the exponent, found %s", p.found())
		case n > maxExponent:
			p.at = start
			return nil, p.fault("the exponent of a number has at most %d digits", maxExponent)
		}
	}
	if p.at-start > maxNumber {
		p.at = start
		return nil, p.fault("a number has at most %d characters", maxNumber)
	}
	return json.Number(p.data[start:p.at]), nil
}

// peek returns the byte at the position, 0 at the end: no JSON begins with it.
func (p *parser) peek() byte {
	if p.at < len(p.data) {
		return p.data[p.at]
	}
	return 0
}

func (p *parser) space() {
	for p.at < len(p.data) {
		switch p.data[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

func (p *parser) found() string {
	if p.at >= len(p.data) {
		return "the end"
	}
	r, _ := utf8.DecodeRune(p.data[p.at:])
	return fmt.Sprintf("%q", r)
}

func (p *parser) fault(format string, args ...any) error {
	return &es.InvalidError{Code: "malformed", Message: position(p.data, p.at) + ": " + fmt.Sprintf(format, args...)}
}

// position counts lines and, in characters, columns from 1.
func position(data []byte, at int) string {
	before := data[:at]
	line := bytes.Count(before, []byte{'\n'})
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	return fmt.Sprintf("line %d, column %d", line+1, column+1)
}

// escape writes a key as a token of a JSON pointer (RFC 6901).
var escape = strings.NewReplacer("~", "~0", "/", "~1")
