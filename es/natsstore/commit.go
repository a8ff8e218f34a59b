package natsstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	wmnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/schema"
)

// The wire format of a commit is CloudEvents 1.0 (https://github.com/cloudevents/spec): one event in binary mode, its
// attributes in headers and its JSON as the body; several as a JSON batch. All names here are durable.
const (
	specVersion  = "1.0"
	jsonType     = "application/json"
	batchType    = "application/cloudevents-batch+json"
	contentType  = "content-type" // present only when the body itself holds the envelopes
	eventsPrefix = "events."
	headerPrefix = "ce-"
	headerID     = headerPrefix + "id"
	headerType   = headerPrefix + "type"
	headerTrace  = "traceparent" // W3C's own name, which tracing tools look for
)

// Subject returns the literal subject that holds an aggregate's whole history.
func Subject(s es.Stream) string { return eventsPrefix + s.Category + "." + s.ID }

// StreamOf reads the aggregate from a subject of the log. Permanent error: it is not one.
func StreamOf(subject string) (es.Stream, error) {
	rest, ok := strings.CutPrefix(subject, eventsPrefix)
	category, id, dot := strings.Cut(rest, ".")
	s := es.Stream{Category: category, ID: id}
	if !ok || !dot {
		return s, es.Permanent(fmt.Errorf("subject %q must be events.<category>.<id>", subject))
	}
	return s, s.Validate()
}

// envelope is one event with its CloudEvents attributes.
type envelope struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject"`
	Time            string          `json:"time"`
	DataContentType string          `json:"datacontenttype"`
	EventVersion    int             `json:"eventversion"`
	Version         uint64          `json:"version"`
	CorrelationID   string          `json:"correlationid,omitempty"`
	CausationID     string          `json:"causationid,omitempty"`
	UserID          string          `json:"userid,omitempty"`
	Traceparent     string          `json:"traceparent,omitempty"`
	RequestHash     string          `json:"requesthash,omitempty"`
	Data            json.RawMessage `json:"data"`
}

// textHeaders are those of the textual attributes.
var textHeaders = [...]struct {
	name     string
	required bool
}{
	{headerPrefix + "specversion", true},
	{headerID, true},
	{headerPrefix + "source", true},
	{headerType, true},
	{headerPrefix + "subject", true},
	{headerPrefix + "time", true},
	{headerPrefix + "datacontenttype", true},
	{headerPrefix + "correlationid", false},
	{headerPrefix + "causationid", false},
	{headerPrefix + "userid", false},
	{headerTrace, false},
	{headerPrefix + "requesthash", false},
}

// text is where the value of one of textHeaders stands, nil for any other header.
func (e *envelope) text(header string) *string {
	switch header {
	case headerPrefix + "specversion":
		return &e.SpecVersion
	case headerID:
		return &e.ID
	case headerPrefix + "source":
		return &e.Source
	case headerType:
		return &e.Type
	case headerPrefix + "subject":
		return &e.Subject
	case headerPrefix + "time":
		return &e.Time
	case headerPrefix + "datacontenttype":
		return &e.DataContentType
	case headerPrefix + "correlationid":
		return &e.CorrelationID
	case headerPrefix + "causationid":
		return &e.CausationID
	case headerPrefix + "userid":
		return &e.UserID
	case headerTrace:
		return &e.Traceparent
	case headerPrefix + "requesthash":
		return &e.RequestHash
	}
	return nil
}

const (
	headerEventVersion = headerPrefix + "eventversion"
	headerVersion      = headerPrefix + "version"
)

// encode makes the one message of a commit. Permanent errors: a commit that could not be read back as it is.
func encode(codec *schema.Registry, c es.Commit) (*nats.Msg, error) {
	if err := c.Stream.Validate(); err != nil {
		return nil, err
	}
	if len(c.Events) == 0 {
		return nil, es.Permanent(fmt.Errorf("a commit to %s holds no events", c.Stream))
	}
	envelopes := make([]envelope, len(c.Events))
	for i := range c.Events {
		if err := seal(codec, c, i, envelopes); err != nil {
			return nil, es.Permanent(fmt.Errorf("event %d of a commit to %s: %w", i+1, c.Stream, err))
		}
	}
	return pack(c.Stream, envelopes)
}

// pack makes one message of the envelopes of a commit to a stream, one or more. It is what a Watermill publisher makes
// of a message with the first event's id, the attributes as metadata and the body as payload.
func pack(s es.Stream, envelopes []envelope) (*nats.Msg, error) {
	e := &envelopes[0]
	h := headers{make(nats.Header, maxHeaders), make([]string, 0, maxHeaders)}
	h.set(wmnats.WatermillUUIDHdr, escape(e.ID))
	m := &nats.Msg{Subject: Subject(s), Header: h.all, Data: e.Data}
	if len(envelopes) > 1 {
		var err error
		if m.Data, err = appendBatch(envelopes); err != nil {
			return nil, es.Permanent(fmt.Errorf("a commit to %s: %w", s, err))
		}
		h.set(contentType, batchType)
		return m, nil
	}
	for _, t := range textHeaders {
		if value := *e.text(t.name); value != "" {
			h.set(t.name, escape(value))
		}
	}
	h.set(headerEventVersion, strconv.Itoa(e.EventVersion))
	h.set(headerVersion, strconv.FormatUint(e.Version, 10))
	return m, nil
}

// maxHeaders is how many headers a commit of one event has at most, with the guard.
const maxHeaders = 16

// headers are written with one allocation for all values.
type headers struct {
	all    nats.Header
	values []string
}

func (h *headers) set(name, value string) {
	h.values = append(h.values, value)
	n := len(h.values)
	h.all[name] = h.values[n-1 : n : n]
}

// seal fills the envelope of a commit's event i, those before it being filled.
func seal(codec *schema.Registry, c es.Commit, i int, envelopes []envelope) error {
	r, e := &c.Events[i], &envelopes[i]
	first := &c.Events[0]
	switch {
	case r.Event == nil:
		return errors.New("it is nil")
	case r.Stream != c.Stream:
		return fmt.Errorf("it is of stream %s", r.Stream)
	case r.CommandID == "" || r.CommandID != first.CommandID:
		return fmt.Errorf("its command id must be that of the whole commit, %q, found %q", first.CommandID, r.CommandID)
	case !isEventID(r.ID, r.CommandID, i):
		return fmt.Errorf("its id must be %q, found %q", eventID(r.CommandID, i), r.ID)
	case r.Version == 0 || r.Version != first.Version+uint64(i):
		return fmt.Errorf("its version must be %d, found %d", max(1, first.Version+uint64(i)), r.Version)
	case c.Expected == 0 && first.Version != 1:
		return fmt.Errorf("the first event of a stream must have version 1, found %d", first.Version)
	}
	data, version, err := codec.EncodeEvent(r.Event)
	if err != nil {
		return err
	}
	if i > 0 && r.Meta == first.Meta {
		// Most commits are of one command at one time: what its events share is written and checked once.
		*e = envelopes[0]
		e.ID, e.Type, e.Version, e.EventVersion, e.Data = r.ID, r.EventType(), r.Version, version, data
		if e.Type == envelopes[0].Type {
			return nil
		}
	} else {
		fill(e, r, data, version)
	}
	for _, h := range textHeaders {
		if value := *e.text(h.name); !utf8.ValidString(value) {
			return fmt.Errorf("attribute %s is not UTF-8: %q", strings.TrimPrefix(h.name, headerPrefix), value)
		}
	}
	return nil
}

// fill writes an event's envelope.
func fill(e *envelope, r *es.Recorded, data []byte, version int) {
	source := source(r.Stream)
	*e = envelope{
		SpecVersion:     specVersion,
		ID:              r.ID,
		Source:          source,
		Type:            r.EventType(),
		Subject:         source[1:],
		Time:            r.Time.UTC().Format(time.RFC3339Nano),
		DataContentType: jsonType,
		EventVersion:    version,
		Version:         r.Version,
		CorrelationID:   r.Correlation,
		CausationID:     r.Causation,
		UserID:          r.User,
		Traceparent:     r.Traceparent,
		RequestHash:     r.RequestHash,
		Data:            data,
	}
}

func mismatch(attribute, want, found string) error {
	return fmt.Errorf("attribute %s must be %s, found %q", attribute, want, found)
}

func eventID(commandID string, i int) string { return commandID + "/" + strconv.Itoa(i+1) }

func isEventID(id, commandID string, i int) bool {
	n, ok := strings.CutPrefix(id, commandID)
	n, slash := strings.CutPrefix(n, "/")
	return ok && slash && n == strconv.Itoa(i+1)
}

// source is the stream's name behind a slash. It makes source and id together unique, as CloudEvents asks: one command
// id may reach two aggregates.
func source(s es.Stream) string { return "/" + s.Category + "/" + s.ID }

// names reports whether a text is a stream's name behind a prefix.
func names(text, prefix string, s es.Stream) bool {
	rest, ok := strings.CutPrefix(text, prefix)
	category, id, slash := strings.Cut(rest, "/")
	return ok && slash && category == s.Category && id == s.ID
}

// escape percent-encodes what CloudEvents does not let stand in a header: anything but printable ASCII, the space,
// the double quote and the percent sign.
func escape(s string) string {
	plain := func(c byte) bool { return c > ' ' && c < 0x7f && c != '"' && c != '%' }
	i := 0
	for i < len(s) && plain(s[i]) {
		i++
	}
	if i == len(s) {
		return s
	}
	out := []byte(s[:i])
	for ; i < len(s); i++ {
		if plain(s[i]) {
			out = append(out, s[i])
		} else {
			out = fmt.Appendf(out, "%%%02X", s[i])
		}
	}
	return string(out)
}
