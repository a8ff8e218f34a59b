package projectors

import (
	"context"
	_ "embed" // the schema
	"encoding/json"
	"reflect"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
)

//go:embed audit.sql
var auditSchema string

// Audit is the history of every aggregate: what happened, when, by whom and because of what.
var Audit = es.Projector{
	Name:     "audit",
	Version:  1,
	Schema:   auditSchema,
	Interest: es.Interest{Handles: everyEvent()},
	Apply:    applyAudit,
}

func everyEvent() []es.Event {
	var all []es.Event
	for _, def := range events.All {
		all = append(all, reflect.Zero(def.Go).Interface().(es.Event))
	}
	return all
}

func applyAudit(ctx context.Context, tx es.Tx, r es.Recorded) error {
	data, err := json.Marshal(r.Event)
	if err != nil {
		return es.Permanent(err)
	}
	return exec(ctx, tx, `INSERT INTO audit (category, id, version, revision, event_id, type, time, user, command_id,
			correlation, causation, data)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		r.Stream.Category, r.Stream.ID, r.Version, r.Revision, r.ID, r.EventType(), es.SQLTime(r.Time), r.User, r.CommandID,
		r.Correlation, r.Causation, string(data))
}
