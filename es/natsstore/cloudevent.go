package natsstore

import (
	"encoding/json"
	"fmt"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/schema"
)

// Opaque is an event that this program has no type for, as a newer program beside it may store: its data as it stands
// in the log.
type Opaque struct {
	Type    string
	Version int
	Data    json.RawMessage
}

// EventType is the name that the event was stored under.
func (o Opaque) EventType() string { return o.Type }

// MarshalJSON is the event's data.
func (o Opaque) MarshalJSON() ([]byte, error) { return o.Data, nil }

// ReadAny is Read for those who only pass events on: one that this program does not know is Opaque. Permanent error: the
// commit is not one that the engine wrote.
func (l *Log) ReadAny(c Stored) ([]es.Recorded, error) {
	return l.decode(lenient{l.codec}, c.Subject, parsed(c.Header), c.Data, uint64(c.Revision))
}

// lenient decodes every event.
type lenient struct{ *schema.Registry }

func (l lenient) DecodeEvent(eventType string, version int, data []byte) (es.Event, error) {
	e, err := l.Registry.DecodeEvent(eventType, version, data)
	if err != nil && json.Valid(data) {
		return Opaque{eventType, version, data}, nil
	}
	return e, err
}

// CloudEvent writes an event as CloudEvents JSON, in its type's newest version.
func (l *Log) CloudEvent(r es.Recorded) (json.RawMessage, error) {
	var e envelope
	if o, ok := r.Event.(Opaque); ok {
		fill(&e, &r, o.Data, o.Version)
	} else {
		data, version, err := l.codec.EncodeEvent(r.Event)
		if err != nil {
			return nil, es.Permanent(fmt.Errorf("event %s of %s: %w", r.ID, r.Stream, err))
		}
		fill(&e, &r, data, version)
	}
	return appendEnvelope(make([]byte, 0, len(e.Data)+512), &e)
}
