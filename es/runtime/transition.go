package runtime

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/millstream-es/millstream/es"
)

// transition is one step of a process, as stored in SAGAS. Its effects that are commands are owed until a next
// transition holds their outcomes; its armed timers are owed until they are due or cancelled.
type transition struct {
	Number      uint64           `json:"number"` // 1, 2, 3 … within the process
	Trigger     trigger          `json:"trigger"`
	State       json.RawMessage  `json:"state"` // after
	Effects     []effect         `json:"effects,omitempty"`
	Outcomes    []outcomeRecord  `json:"outcomes,omitempty"` // of the commands of the transition before
	Timers      map[string]timer `json:"timers,omitempty"`   // armed, by name
	Position    position         `json:"position"`           // up to here the log has been heard
	Done        bool             `json:"done,omitempty"`     // nothing more is owed
	Correlation string           `json:"correlation,omitempty"`
	Traceparent string           `json:"traceparent,omitempty"`
}

// The kinds of triggers that are an operator's.
const (
	triggerCancelled = "cancelled"
	triggerEnded     = "ended" // by force
)

// trigger is what a transition reacted to.
type trigger struct {
	Kind   string    `json:"kind"` // event, outcomes or timer; triggerCancelled or triggerEnded; setBack
	ID     string    `json:"id"`   // event id, number of the transition that sent the commands, or timer id
	Type   string    `json:"type,omitempty"`
	Time   time.Time `json:"time"` // what After counts from
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

// position is the last event heard: revision, version within its stream, and the id that tells a log that lost its
// tail from the one that was heard.
type position struct {
	Revision es.Revision `json:"revision"`
	Version  uint64      `json:"version"`
	EventID  string      `json:"eventId,omitempty"`
}

func (p position) heard(r es.Recorded) bool {
	return r.Revision < p.Revision || r.Revision == p.Revision && r.Version <= p.Version
}

type timer struct {
	ID string    `json:"id"`
	At time.Time `json:"at"`
}

// effect is an es.Effect in its stored form.
type effect struct {
	Kind   string          `json:"kind"` // send, wake, cancel or done
	Stream string          `json:"stream,omitempty"`
	Type   string          `json:"type,omitempty"`
	Data   json.RawMessage `json:"data,omitempty"`
	ID     string          `json:"id,omitempty"` // the command's, or the timer's
	Name   string          `json:"name,omitempty"`
	At     *time.Time      `json:"at,omitempty"`
}

type outcomeRecord struct {
	Stream string   `json:"stream"`
	Type   string   `json:"type"`
	Reply  es.Reply `json:"reply"`
}

// owesCommands reports whether commands were sent whose outcomes have not been heard.
func (t transition) owesCommands() bool {
	for _, e := range t.Effects {
		if e.Kind == "send" {
			return true
		}
	}
	return false
}

// next builds the transition after t. delays holds the operator's own, by "<saga>.<name>".
func (t transition) next(saga, key string, on trigger, state json.RawMessage, effects []es.Effect, delays map[string]time.Duration) (transition, error) {
	n := transition{
		Number: t.Number + 1, Trigger: on, State: state, Position: t.Position,
		Timers: maps.Clone(t.Timers), Correlation: t.Correlation, Traceparent: t.Traceparent,
		Done: t.Done && len(effects) == 0,
	}
	if n.Timers == nil {
		n.Timers = map[string]timer{}
	}
	for i, e := range effects {
		id := derivedID("saga", saga, key, n.Number, i)
		wake := func(name string, at time.Time) error {
			if !es.ValidID(name) {
				return es.Permanent(fmt.Errorf("saga %s: timer name %q must match [A-Za-z0-9_-]{1,64}", saga, name))
			}
			n.Timers[name] = timer{id, at}
			n.Effects = append(n.Effects, effect{Kind: "wake", Name: name, ID: id, At: &at})
			return nil
		}
		switch e := e.(type) {
		case es.Send:
			data, err := json.Marshal(e.Command)
			if err != nil {
				return n, es.Permanent(fmt.Errorf("saga %s: command %s: %w", saga, e.Command.CommandType(), err))
			}
			n.Effects = append(n.Effects, effect{Kind: "send", Stream: e.Stream.String(), Type: e.Command.CommandType(), Data: data, ID: id})
		case es.Wake:
			if err := wake(e.Name, e.At); err != nil {
				return n, err
			}
		case es.After:
			delay, set := delays[saga+"."+e.Name]
			if !set {
				delay = e.Delay
			}
			if err := wake(e.Name, on.Time.Add(delay)); err != nil {
				return n, err
			}
		case es.Cancel:
			if _, armed := n.Timers[e.Name]; armed {
				delete(n.Timers, e.Name)
				n.Effects = append(n.Effects, effect{Kind: "cancel", Name: e.Name})
			}
		case es.Done:
			n.Done = true
			n.Effects = append(n.Effects, effect{Kind: "done"})
			for _, name := range slices.Sorted(maps.Keys(n.Timers)) {
				delete(n.Timers, name)
				n.Effects = append(n.Effects, effect{Kind: "cancel", Name: name})
			}
		default:
			return n, es.Permanent(fmt.Errorf("saga %s: unknown effect %T", saga, e))
		}
	}
	return n, nil
}
