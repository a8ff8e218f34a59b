package websocket

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
)

// What a client may send.
const (
	typeSubscribe   = "subscribe"
	typeUnsubscribe = "unsubscribe"
	typePing        = "ping"
)

// What the server sends.
const (
	typeEvents = "events" // of one commit, all that matched
	typeLive   = "live"   // the past is through
	typeEnded  = "ended"  // a subscription is over
	typeError  = "error"  // a message could not be followed; nothing else has changed
	typePong   = "pong"
)

// fields are those of each type of client message, beside type.
var fields = map[string][]string{
	typeSubscribe:   {"id", "stream", "category", "types", "correlation", "after", "new"},
	typeUnsubscribe: {"id"},
	typePing:        {},
}

var messageTypes = []string{typeSubscribe, typeUnsubscribe, typePing}

// message is what a client has sent.
type message struct {
	Type   string
	ID     string // as far as it could be read, even beside an error
	Filter runtime.Filter
	From   runtime.FollowFrom
}

// decode reads a client's message. Errors are *es.InvalidError.
func decode(data []byte) (m message, err error) {
	raw, err := object(data)
	if err != nil {
		return m, err
	}
	if err := read(raw, "id", &m.ID, "a text"); err != nil || !es.ValidID(m.ID) && m.ID != "" {
		m.ID = ""
		return m, &es.InvalidError{Code: "bad_id", Message: "id must match [A-Za-z0-9_-]{1,64}", Pointer: "/id"}
	}
	if err := read(raw, "type", &m.Type, "a text"); err != nil {
		return m, err
	}
	known, ok := fields[m.Type]
	if !ok {
		return m, &es.InvalidError{Code: "unknown_type", Message: unknown("message type", m.Type, messageTypes), Pointer: "/type"}
	}
	for name := range raw {
		if name != "type" && !slices.Contains(known, name) {
			return m, &es.InvalidError{Code: "unknown_field", Message: unknown("field", name, append([]string{"type"}, known...)), Pointer: "/" + pointerToken(name)}
		}
	}
	if m.Type == typePing {
		return m, nil
	}
	if m.ID == "" {
		return m, &es.InvalidError{Code: "bad_id", Message: "id is missing: choose one, answers to this subscription carry it", Pointer: "/id"}
	}
	return m, m.read(raw)
}

// read fills what a subscription is about.
func (m *message) read(raw map[string]json.RawMessage) error {
	var stream string
	if err := errors.Join(
		read(raw, "stream", &stream, "a text like order/o-1"), read(raw, "category", &m.Filter.Category, "a text like order"),
		read(raw, "types", &m.Filter.Types, "a list of event types"), read(raw, "correlation", &m.Filter.Correlation, "a text"),
		read(raw, "after", &m.From.After, "a revision: a whole number from 0"), read(raw, "new", &m.From.New, "true or false"),
	); err != nil {
		return err
	}
	if stream == "" {
		return nil
	}
	var err error
	m.Filter.Stream, err = es.ParseStream(stream)
	return err
}

// object takes a JSON object apart, strictly: nothing stands twice, nothing behind it.
func object(data []byte) (map[string]json.RawMessage, error) {
	malformed := func(format string, args ...any) error {
		return &es.InvalidError{Code: "malformed", Message: fmt.Sprintf(format, args...)}
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, malformed(`a message is one JSON object, like {"type":"subscribe","id":"1","category":"order"}`)
	}
	found := map[string]json.RawMessage{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, malformed("the message is not JSON: %v", err)
		}
		key, _ := name.(string)
		if _, twice := found[key]; twice {
			return nil, malformed("field %.64q stands twice", key)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, malformed("the message is not JSON: %v", err)
		}
		found[key] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, malformed("the message is not JSON: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, malformed("a message is one JSON object: something stands behind it")
	}
	return found, nil
}

func read(raw map[string]json.RawMessage, name string, to any, want string) error {
	value, ok := raw[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(value, to); err != nil || string(value) == "null" {
		return &es.InvalidError{Code: "malformed", Message: fmt.Sprintf("%s must be %s, found %.64s", name, want, value), Pointer: "/" + name}
	}
	return nil
}

// unknown says what was meant, or what there is.
func unknown(kind, name string, known []string) string {
	if near, ok := es.Closest(name, known); ok {
		return fmt.Sprintf("unknown %s %.64q: did you mean %s?", kind, name, near)
	}
	return fmt.Sprintf("unknown %s %.64q: known are %s", kind, name, strings.Join(known, ", "))
}

func pointerToken(name string) string {
	return fmt.Sprintf("%.64s", strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
}

// answer is what the server sends but for events, whose JSON all followers share.
type answer struct {
	Type     string      `json:"type,omitempty"`
	ID       string      `json:"id,omitempty"`
	Revision es.Revision `json:"revision,omitempty"`
	Code     string      `json:"code,omitempty"`
	Message  string      `json:"message,omitempty"`
	Pointer  string      `json:"pointer,omitempty"`
}

func (a answer) encode() []byte {
	data, err := json.Marshal(a)
	if err != nil {
		panic(err) // not reached: texts and numbers always have JSON
	}
	return data
}

// failed says what was wrong with a message or a subscription, without what only the log should tell.
func failed(kind, id string, err error) answer {
	p := runtime.Problem(err)
	if denied := new(access.DeniedError); errors.As(err, &denied) {
		p = denied.Problem()
	}
	return answer{Type: kind, ID: id, Code: p.Code, Message: p.Message, Pointer: p.Pointer}
}

// appendEvents writes `"revision":7,"events":[…]`.
func appendEvents(b []byte, n runtime.Notice) ([]byte, error) {
	events, err := n.CloudEvents()
	if err != nil {
		return nil, err
	}
	b = strconv.AppendUint(append(b, `"revision":`...), uint64(n.Revision), 10)
	b = append(b, `,"events":[`...)
	for i, e := range events {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, e...)
	}
	return append(b, ']'), nil
}

// encodeNotice writes what a subscription has to tell.
func encodeNotice(id string, n runtime.Notice) ([]byte, error) {
	if n.Live {
		return fmt.Appendf(nil, `{"type":%q,"id":%q,"revision":%d}`, typeLive, id, n.Revision), nil
	}
	b, err := appendEvents(fmt.Appendf(nil, `{"type":%q,"id":%q,`, typeEvents, id), n)
	return append(b, '}'), err
}
