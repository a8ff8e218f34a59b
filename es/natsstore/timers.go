package natsstore

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
)

// Timers keeps wake-ups as JetStream message schedules: one on `timers.<saga>.<key>.<name>`, which the server turns
// into a message on `due.<saga>.<key>.<name>` at its time. Delivery is at least once; the body is the timer's id, by
// which a reader knows one that was cancelled or replaced.
type Timers struct {
	js jetstream.JetStream
}

// dueTTL bounds how long a due message waits for its saga's worker. Sagas arm their timers again when they are
// swept, so one that ran out comes back.
const dueTTL = "168h"

// NewTimers needs the streams to be set up.
func NewTimers(js jetstream.JetStream) *Timers { return &Timers{js} }

// DueFilter is the subject of a saga's due timers.
func DueFilter(saga string) string { return "due." + saga + ".>" }

// ParseDue takes a due message's subject apart.
func ParseDue(subject string) (saga, key, name string, err error) {
	t := strings.Split(subject, ".")
	if len(t) != 4 || t[0] != "due" {
		return "", "", "", es.Permanent(fmt.Errorf("subject %q is not due.<saga>.<key>.<name>", subject))
	}
	return t[1], t[2], t[3], nil
}

// Set arms a timer, replacing one of the same name. A time in the past is due at once.
func (t *Timers) Set(ctx context.Context, saga, key, name, id string, at time.Time) error {
	tail := saga + "." + key + "." + name
	m := nats.NewMsg("timers." + tail)
	m.Data = []byte(id)
	// Not WithScheduleAt, which cuts the time to a whole second and fires early.
	m.Header.Set("Nats-Schedule", "@at "+at.UTC().Format(time.RFC3339Nano))
	m.Header.Set("Nats-Schedule-Target", "due."+tail)
	m.Header.Set("Nats-Schedule-TTL", dueTTL)
	if _, err := t.js.PublishMsg(ctx, m); err != nil {
		return es.Transient(fmt.Errorf("timer %s: %w", tail, err))
	}
	return nil
}

// Cancel takes a timer back; one that is already due may still be delivered.
func (t *Timers) Cancel(ctx context.Context, saga, key, name string) error {
	tail := saga + "." + key + "." + name
	stream, err := t.js.Stream(ctx, TimersStream)
	if err == nil {
		err = stream.Purge(ctx, jetstream.WithPurgeSubject("timers."+tail))
	}
	if err != nil {
		return es.Transient(fmt.Errorf("cancel timer %s: %w", tail, err))
	}
	return nil
}
