package ops

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/millstream-es/millstream/es"
)

// Entry is one event of an audit: what happened, when, who did it and because of what.
type Entry struct {
	Stream      string          `json:"stream"`
	Version     uint64          `json:"version"`
	Revision    es.Revision     `json:"revision"`
	ID          string          `json:"id"`
	Type        string          `json:"type"`
	Time        time.Time       `json:"time"`
	User        string          `json:"user"`
	CommandID   string          `json:"commandId"`
	Correlation string          `json:"correlationId"`
	Causation   string          `json:"causationId"` // an event's id; of a saga's command: what its transition reacted to
	Data        json.RawMessage `json:"data"`        // in the type's newest version
}

// History reads what happened to one aggregate from the log itself, oldest first. NotFound rejection
// "<category>_not_found": nothing did.
func History(ctx context.Context, log es.Log, s es.Stream) ([]Entry, error) {
	h, err := log.Load(ctx, s, es.Range{})
	if err != nil {
		return nil, err
	}
	if len(h.Events) == 0 {
		return nil, es.NotFound(s.Category+"_not_found", fmt.Sprintf("%s %q does not exist", s.Category, s.ID))
	}
	entries := make([]Entry, len(h.Events))
	for i, r := range h.Events {
		if entries[i], err = EntryOf(r); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// EntryOf describes an event. Permanent error: it has no JSON.
func EntryOf(r es.Recorded) (Entry, error) {
	data, err := json.Marshal(r.Event)
	if err != nil {
		return Entry{}, es.Permanent(fmt.Errorf("event %s of %s: %w", r.ID, r.Stream, err))
	}
	return Entry{
		Stream: r.Stream.String(), Version: r.Version, Revision: r.Revision, ID: r.ID, Type: r.EventType(), Time: r.Time,
		User: r.User, CommandID: r.CommandID, Correlation: r.Correlation, Causation: r.Causation, Data: data,
	}, nil
}
