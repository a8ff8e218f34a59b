package runtime

import (
	"slices"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
)

// decoded is what eventKeys found in a commit: its events, or why it could not be read.
type decoded struct {
	events []es.Recorded
	err    error
}

// events returns the commit's events, decoded when its lane was chosen.
func (d Delivery) events() ([]es.Recorded, error) {
	c, _ := d.Payload.(decoded)
	return c.events, c.err
}

// handled are the types of the events that are handled.
func handled(interest es.Interest) map[string]bool {
	types := map[string]bool{}
	for _, event := range interest.Handles {
		types[event.EventType()] = true
	}
	return types
}

// eventKeys chooses the lanes of a commit: those of its events that are somebody's. A commit that cannot be read
// goes to a lane of its own, where the handler meets the error.
func (e *Engine) eventKeys(interest es.Interest, keyOf func(es.Recorded) (string, error)) func(*nats.Msg, uint64) ([]string, any) {
	handled := handled(interest)
	return func(m *nats.Msg, sequence uint64) ([]string, any) {
		// A single event names its type in a header: most commits need no decoding to be passed over.
		if t := m.Header.Get("ce-type"); t != "" && !handled[t] {
			return nil, nil
		}
		events, err := e.log.Decode(m.Subject, m.Header, m.Data, sequence)
		if err != nil {
			return []string{m.Subject}, decoded{nil, err}
		}
		var keys []string
		for _, r := range events {
			key, err := keyOf(r)
			if err != nil {
				return []string{m.Subject}, decoded{nil, err}
			}
			if key != "" && !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
		return keys, decoded{events, nil}
	}
}
