// Package estest is the test kit: given/when/then for aggregates (For) and sagas (ForSaga), a world in memory in
// which whole processes run in any order (NewWorld), an event log in memory (NewLog) with the conformance suite that
// every log passes (RunLogConformance), and embedded servers.
//
//	estest.For(t, commands.Orders).
//		Given(events.OrderCreated{…}).
//		When(commands.ShipOrder{…}).
//		ThenRejected(commands.ErrNotPaid)
package estest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/millstream-es/millstream/es"
)

// Noon is the time of everything that a test gives no time of its own.
var Noon = time.Date(2026, time.January, 31, 12, 0, 0, 0, time.UTC)

// T is what the kit needs of a test: *testing.T, *testing.B and *rapid.T have it.
type T interface {
	Helper()
	Fatalf(format string, args ...any)
}

// difference is what cmp finds between two values, "" when there is nothing. Unexported fields count; nil and empty
// do not differ, as JSON does not tell them apart.
func difference(want, got any) string {
	return cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.Exporter(func(reflect.Type) bool { return true }))
}

// throughJSON is an event as it comes back from the log. A difference is a fault of the event's type.
func throughJSON[E es.Event](event E) (E, error) {
	data, err := json.Marshal(event)
	if err != nil {
		return event, fmt.Errorf("event %s has no JSON: %w", event.EventType(), err)
	}
	back := reflect.New(reflect.TypeOf(event))
	if err := json.Unmarshal(data, back.Interface()); err != nil {
		return event, fmt.Errorf("event %s cannot be read back from its JSON %s: %w", event.EventType(), data, err)
	}
	stored := back.Elem().Interface().(E)
	if diff := difference(event, stored); diff != "" {
		return event, fmt.Errorf("event %s does not survive its JSON %s (-raised +read back):\n%s", event.EventType(), data, diff)
	}
	return stored, nil
}
