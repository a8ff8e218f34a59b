package natsstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"
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

// texts pairs the headers of the textual attributes with their values, for both directions.
func (e *envelope) texts() []attribute {
	return []attribute{
		{headerPrefix + "specversion", &e.SpecVersion, true},
		{headerID, &e.ID, true},
		{headerPrefix + "source", &e.Source, true},
		{headerPrefix + "type", &e.Type, true},
		{headerPrefix + "subject", &e.Subject, true},
		{headerPrefix + "time", &e.Time, true},
		{headerPrefix + "datacontenttype", &e.DataContentType, true},
		{headerPrefix + "correlationid", &e.CorrelationID, false},
		{headerPrefix + "causationid", &e.CausationID, false},
		{headerPrefix + "userid", &e.UserID, false},
		{headerTrace, &e.Traceparent, false},
		{headerPrefix + "requesthash", &e.RequestHash, false},
	}
}

type attribute struct {
	header   string
	value    *string
	required bool
}

const (
	headerEventVersion = headerPrefix + "eventversion"
	headerVersion      = headerPrefix + "version"
)

// encode makes the one message of a commit. Permanent errors: a commit that could not be read back as it is.
func encode(codec *schema.Registry, c es.Commit) (*message.Message, error) {
	if err := c.Stream.Validate(); err != nil {
		return nil, err
	}
	if len(c.Events) == 0 {
		return nil, es.Permanent(fmt.Errorf("a commit to %s holds no events", c.Stream))
	}
	envelopes := make([]envelope, len(c.Events))
	for i := range c.Events {
		if err := seal(codec, c, i, &envelopes[i]); err != nil {
			return nil, es.Permanent(fmt.Errorf("event %d of a commit to %s: %w", i+1, c.Stream, err))
		}
	}
	return pack(envelopes)
}

// pack makes one message of a commit's envelopes, one or more.
func pack(envelopes []envelope) (*message.Message, error) {
	if len(envelopes) > 1 {
		body, err := appendBatch(envelopes)
		if err != nil {
			return nil, es.Permanent(fmt.Errorf("a commit to %s: %w", envelopes[0].Subject, err))
		}
		msg := message.NewMessage(escape(envelopes[0].ID), body)
		msg.Metadata.Set(contentType, batchType)
		return msg, nil
	}
	e := &envelopes[0]
	msg := message.NewMessage(escape(e.ID), message.Payload(e.Data))
	texts := e.texts()
	msg.Metadata = make(message.Metadata, len(texts)+3) // with the guard: it need not grow
	for _, a := range texts {
		if *a.value != "" {
			msg.Metadata[a.header] = escape(*a.value)
		}
	}
	msg.Metadata[headerEventVersion] = strconv.Itoa(e.EventVersion)
	msg.Metadata[headerVersion] = strconv.FormatUint(e.Version, 10)
	return msg, nil
}

// seal fills the envelope of a commit's event i.
func seal(codec *schema.Registry, c es.Commit, i int, e *envelope) error {
	r := c.Events[i]
	first := c.Events[0]
	switch {
	case r.Event == nil:
		return errors.New("it is nil")
	case r.Stream != c.Stream:
		return fmt.Errorf("it is of stream %s", r.Stream)
	case r.CommandID == "" || r.CommandID != first.CommandID:
		return fmt.Errorf("its command id must be that of the whole commit, %q, found %q", first.CommandID, r.CommandID)
	case r.ID != eventID(r.CommandID, i):
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
	*e = envelope{
		SpecVersion:     specVersion,
		ID:              r.ID,
		Source:          source(c.Stream),
		Type:            r.EventType(),
		Subject:         c.Stream.String(),
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
	for _, a := range e.texts() {
		if !utf8.ValidString(*a.value) {
			return fmt.Errorf("attribute %s is not UTF-8: %q", strings.TrimPrefix(a.header, headerPrefix), *a.value)
		}
	}
	return nil
}

// decode reads a stored commit strictly: whatever encode did not write is an error.
func decode(codec *schema.Registry, subject string, header nats.Header, data []byte, seq uint64) ([]es.Recorded, error) {
	stream, err := StreamOf(subject)
	if err != nil {
		return nil, err
	}
	envelopes, err := open(header, data)
	if err != nil {
		return nil, err
	}
	recorded := make([]es.Recorded, len(envelopes))
	var first envelope
	for i := range envelopes {
		e := &envelopes[i]
		if i == 0 {
			first = *e
		}
		commandID, _ := strings.CutSuffix(e.ID, "/"+strconv.Itoa(i+1))
		switch {
		case e.SpecVersion != specVersion:
			err = mismatch("specversion", specVersion, e.SpecVersion)
		case e.Source != source(stream):
			err = mismatch("source", source(stream), e.Source)
		case e.Subject != stream.String():
			err = mismatch("subject", stream.String(), e.Subject)
		case e.DataContentType != jsonType:
			err = mismatch("datacontenttype", jsonType, e.DataContentType)
		case commandID == "" || e.ID != eventID(commandID, i) || first.ID != eventID(commandID, 0):
			err = mismatch("id", "<command id>/"+strconv.Itoa(i+1), e.ID)
		case e.Version == 0 || e.Version != first.Version+uint64(i):
			err = mismatch("version", strconv.FormatUint(max(1, first.Version+uint64(i)), 10), strconv.FormatUint(e.Version, 10))
		}
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", i+1, err)
		}
		at, err := time.Parse(time.RFC3339Nano, e.Time)
		if err != nil {
			return nil, fmt.Errorf("event %d: attribute time: %w", i+1, err)
		}
		event, err := codec.DecodeEvent(e.Type, e.EventVersion, e.Data)
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", i+1, err)
		}
		recorded[i] = es.Recorded{
			Event: event,
			Meta: es.Meta{
				Stream:      stream,
				CommandID:   commandID,
				User:        e.UserID,
				Correlation: e.CorrelationID,
				Causation:   e.CausationID,
				Traceparent: e.Traceparent,
				RequestHash: e.RequestHash,
				Time:        at.UTC(),
			},
			ID:       e.ID,
			Version:  e.Version,
			Revision: es.Revision(seq),
		}
	}
	return recorded, nil
}

// open reads the envelopes from either form.
func open(header nats.Header, data []byte) ([]envelope, error) {
	form, err := one(header, contentType)
	if err != nil {
		return nil, err
	}
	switch form {
	case batchType:
		var envelopes []envelope
		if err := json.Unmarshal(data, &envelopes); err != nil {
			return nil, fmt.Errorf("the body is not a CloudEvents batch: %w", err)
		}
		if len(envelopes) == 0 {
			return nil, errors.New("the CloudEvents batch is empty")
		}
		return envelopes, nil
	case "":
	default:
		return nil, mismatch(contentType, batchType+" or none", form)
	}
	e := envelope{Data: data}
	for _, a := range e.texts() {
		text, err := one(header, a.header)
		if err != nil {
			return nil, err
		}
		if text == "" && a.required {
			return nil, fmt.Errorf("header %s is missing", a.header)
		}
		if *a.value, err = unescape(text); err != nil {
			return nil, fmt.Errorf("header %s: %w", a.header, err)
		}
	}
	if e.EventVersion, err = number(header, headerEventVersion, strconv.Atoi); err != nil {
		return nil, err
	}
	e.Version, err = number(header, headerVersion, func(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) })
	if err != nil {
		return nil, err
	}
	return []envelope{e}, nil
}

func one(header nats.Header, name string) (string, error) {
	switch values := header[name]; len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	default:
		return "", fmt.Errorf("header %s stands %d times", name, len(values))
	}
}

func number[N int | uint64](header nats.Header, name string, parse func(string) (N, error)) (N, error) {
	text, err := one(header, name)
	if err != nil {
		return 0, err
	}
	n, err := parse(text)
	if err != nil {
		return 0, fmt.Errorf("header %s: %w", name, err)
	}
	return n, nil
}

func mismatch(attribute, want, found string) error {
	return fmt.Errorf("attribute %s must be %s, found %q", attribute, want, found)
}

func eventID(commandID string, i int) string { return commandID + "/" + strconv.Itoa(i+1) }

// source makes source and id together unique, as CloudEvents asks: one command id may reach two aggregates.
func source(s es.Stream) string { return "/" + s.String() }

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

func unescape(s string) (string, error) {
	if !strings.Contains(s, "%") {
		if !utf8.ValidString(s) {
			return "", fmt.Errorf("%q is not UTF-8", s)
		}
		return s, nil
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			out = append(out, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", fmt.Errorf("%q ends within a %%XX", s)
		}
		b, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", fmt.Errorf("%q holds a %%%s", s, s[i+1:i+3])
		}
		out = append(out, byte(b))
		i += 2
	}
	if !utf8.Valid(out) {
		return "", fmt.Errorf("%q is not UTF-8", s)
	}
	return string(out), nil
}
