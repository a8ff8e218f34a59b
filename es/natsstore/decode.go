package natsstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
)

// decoder knows the types of events.
type decoder interface {
	DecodeEvent(eventType string, version int, data []byte) (es.Event, error)
}

// decode reads a stored commit strictly: whatever encode did not write is an error.
func decode(codec decoder, subject string, headers iter.Seq2[string, string], data []byte, seq uint64) ([]es.Recorded, error) {
	stream, err := StreamOf(subject)
	if err != nil {
		return nil, err
	}
	var single [1]envelope
	envelopes, err := openInto(&single, headers, data)
	if err != nil {
		return nil, err
	}
	recorded := make([]es.Recorded, len(envelopes))
	var firstID string
	var firstVersion uint64
	for i := range envelopes {
		e := &envelopes[i]
		commandID, numbered := strings.CutSuffix(e.ID, "/"+strconv.Itoa(i+1))
		if i == 0 {
			firstID, firstVersion = commandID, e.Version
		}
		switch {
		case e.SpecVersion != specVersion:
			err = mismatch("specversion", specVersion, e.SpecVersion)
		case !names(e.Source, "/", stream):
			err = mismatch("source", source(stream), e.Source)
		case !names(e.Subject, "", stream):
			err = mismatch("subject", stream.String(), e.Subject)
		case e.DataContentType != jsonType:
			err = mismatch("datacontenttype", jsonType, e.DataContentType)
		case commandID == "" || !numbered || commandID != firstID:
			err = mismatch("id", "<command id>/"+strconv.Itoa(i+1), e.ID)
		case e.Version == 0 || e.Version != firstVersion+uint64(i):
			err = mismatch("version", strconv.FormatUint(max(1, firstVersion+uint64(i)), 10), strconv.FormatUint(e.Version, 10))
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
	return openInto(&[1]envelope{}, parsed(header), data)
}

// openInto is open with room for a single envelope, which thus need not be allocated. It goes through the headers once,
// which costs a third of looking up each name.
func openInto(single *[1]envelope, headers iter.Seq2[string, string], data []byte) ([]envelope, error) {
	e := &single[0]
	var form, eventVersion, version string
	for name, value := range headers {
		to := e.text(name)
		switch {
		case to != nil:
			var err error
			if value, err = unescape(value); err != nil {
				return nil, fmt.Errorf("header %s: %w", name, err)
			}
		case name == contentType:
			to = &form
		case name == headerEventVersion:
			to = &eventVersion
		case name == headerVersion:
			to = &version
		default:
			continue
		}
		if *to != "" {
			return nil, fmt.Errorf("header %s stands twice", name)
		}
		*to = value
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
	for _, h := range textHeaders {
		if h.required && *e.text(h.name) == "" {
			return nil, fmt.Errorf("header %s is missing", h.name)
		}
	}
	var err error
	if e.EventVersion, err = strconv.Atoi(eventVersion); err != nil {
		return nil, fmt.Errorf("header %s: %w", headerEventVersion, err)
	}
	if e.Version, err = strconv.ParseUint(version, 10, 64); err != nil {
		return nil, fmt.Errorf("header %s: %w", headerVersion, err)
	}
	e.Data = data
	return single[:], nil
}

// parsed goes through headers that the client library has parsed.
func parsed(header nats.Header) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for name, values := range header {
			for _, value := range values {
				if !yield(name, value) {
					return
				}
			}
		}
	}
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
