package ops

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// Kinds of nodes in a story.
const (
	KindCommand    = "command"    // Events, or a rejection, are its children and Outcome
	KindEvent      = "event"      // children: what reacted to it
	KindTransition = "transition" // of a saga; children: the commands it sent and what followed from them
)

// Node is one thing that happened in a story, with what it led to.
type Node struct {
	Kind      string          `json:"kind"`
	Name      string          `json:"name,omitempty"` // type of the event; of a command as far as it is known (the log holds facts, not wishes); name of the saga
	Stream    string          `json:"stream"`         // category/id, or saga/key
	ID        string          `json:"id"`             // of the command or event; a transition's number
	Time      time.Time       `json:"time"`
	User      string          `json:"user,omitempty"`
	Version   uint64          `json:"version,omitempty"`
	Revision  es.Revision     `json:"revision,omitempty"`
	Causation string          `json:"causationId,omitempty"` // of a command that stands at the top: what is known of its cause
	Trigger   string          `json:"trigger,omitempty"`     // of a transition: event, outcomes, timer NAME, cancelled or ended
	Waits     []string        `json:"waits,omitempty"`       // timers that a transition armed
	Done      bool            `json:"done,omitempty"`        // the saga owes nothing more
	Outcome   es.OutcomeKind  `json:"outcome,omitempty"`
	Error     *es.Problem     `json:"error,omitempty"` // why a saga's command was not accepted
	Data      json.RawMessage `json:"data,omitempty"`  // of an event
	Children  []*Node         `json:"children,omitempty"`

	order es.Revision // of a command's commit
}

// TraceConfig is what Trace needs.
type TraceConfig struct {
	Log         *natsstore.Log
	Sagas       *natsstore.SagaLog
	Domain      es.Domain
	Correlation string
	Since       time.Time                    // events stored before are not looked at; zero: all are
	Progress    func(done, last es.Revision) // nil: nobody looks
}

// Trace tells the story of one correlation id as trees: commands, their events, and the saga transitions that these
// led to, with what they sent in turn. The log has no index of correlations, so it is read from Since on. Events that
// a saga's command caused belong to the story even when they carry another correlation id, as those of a saga that
// began in an earlier story do. A client's rejected command left no trace and is in none. NotFound rejection
// "correlation_not_found": there is no such event.
func Trace(ctx context.Context, c TraceConfig) ([]*Node, error) {
	t := &tracer{
		TraceConfig: c,
		commands:    map[commandKey]*Node{}, caused: map[commandKey]string{}, events: map[string]*Node{},
		processes: map[commandKey][]transition{}, sent: map[*Node]bool{}, told: map[*Node]bool{},
	}
	if t.Progress == nil {
		t.Progress = func(_, _ es.Revision) {}
	}
	err := c.Log.Each(ctx, natsstore.Span{Since: c.Since}, func(s natsstore.Stored, last es.Revision) error {
		t.Progress(s.Revision, last)
		if !s.MayCorrelate(c.Correlation) {
			return nil
		}
		commit, err := c.Log.Read(s)
		if err != nil {
			return err
		}
		if commit[0].Correlation != c.Correlation {
			return nil
		}
		return t.add(commit)
	})
	if err != nil {
		return nil, err
	}
	if len(t.heard) == 0 {
		return nil, es.NotFound("correlation_not_found", fmt.Sprintf("no event carries the correlation id %q", c.Correlation))
	}
	for i := 0; i < len(t.heard); i++ { //nolint:intrange // react adds to heard
		if err := t.react(ctx, t.heard[i]); err != nil {
			return nil, err
		}
	}
	return t.trees(), nil
}

// commandKey tells commands apart: an id is unique within its stream only. For a saga's process it is saga and key.
type commandKey struct{ stream, id string }

type tracer struct {
	TraceConfig
	heard     []es.Recorded // events of the story, in the order of their finding
	commands  map[commandKey]*Node
	caused    map[commandKey]string // causation ids
	events    map[string]*Node      // by stream, then id
	processes map[commandKey][]transition
	sent      map[*Node]bool // commands that stand below a transition
	told      map[*Node]bool // transitions in the story
}

// transition is what is read of a saga's stored one.
type transition struct {
	Number  uint64 `json:"number"`
	Trigger struct {
		Kind string    `json:"kind"`
		ID   string    `json:"id"`
		Type string    `json:"type"`
		Time time.Time `json:"time"`
	} `json:"trigger"`
	Effects []struct {
		Kind   string `json:"kind"`
		Stream string `json:"stream"`
		Type   string `json:"type"`
		ID     string `json:"id"`
		Name   string `json:"name"`
	} `json:"effects"`
	Outcomes []struct {
		Reply es.Reply `json:"reply"`
	} `json:"outcomes"`
	Position struct {
		Revision es.Revision `json:"revision"`
		EventID  string      `json:"eventId"`
	} `json:"position"`
	Done bool `json:"done"`

	node *Node
}

func (t *tracer) command(key commandKey) *Node {
	n := t.commands[key]
	if n == nil {
		n = &Node{Kind: KindCommand, Stream: key.stream, ID: key.id}
		t.commands[key] = n
	}
	return n
}

// add puts a commit below its command.
func (t *tracer) add(commit []es.Recorded) error {
	first := commit[0]
	key := commandKey{first.Stream.String(), first.CommandID}
	n := t.command(key)
	n.Time, n.User, n.Outcome, n.order = first.Time, first.User, es.Accepted, first.Revision
	t.caused[key] = first.Causation
	for _, r := range commit {
		id := r.Stream.String() + " " + r.ID
		if t.events[id] != nil {
			continue
		}
		e, err := EntryOf(r)
		if err != nil {
			return err
		}
		event := &Node{Kind: KindEvent, Name: e.Type, Stream: e.Stream, ID: e.ID, Time: e.Time, Version: e.Version, Revision: e.Revision, Data: e.Data}
		t.events[id] = event
		n.Children = append(n.Children, event)
		t.heard = append(t.heard, r)
	}
	return nil
}

// react finds the saga transitions that an event triggered.
func (t *tracer) react(ctx context.Context, r es.Recorded) error {
	for _, saga := range t.Domain.Sagas {
		if !saga.Interest().Has(r.EventType()) {
			continue
		}
		key, mine := saga.Route(r)
		if !mine || !es.ValidID(key) {
			continue
		}
		steps, err := t.process(ctx, saga.Name(), key)
		if err != nil {
			return err
		}
		for i, s := range steps {
			if s.Trigger.Kind == "event" && s.Trigger.ID == r.ID && s.Position.Revision == r.Revision {
				if err := t.tell(ctx, t.events[r.Stream.String()+" "+r.ID], steps, i); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (t *tracer) process(ctx context.Context, saga, key string) ([]transition, error) {
	id := commandKey{saga, key}
	if steps, read := t.processes[id]; read {
		return steps, nil
	}
	steps := []transition{}
	err := t.Sagas.History(ctx, saga, key, func(entry natsstore.SagaEntry) error {
		var s transition
		if err := json.Unmarshal(entry.Data, &s); err != nil {
			return es.Permanent(fmt.Errorf("saga %s/%s: stored transition at %d: %w", saga, key, entry.Sequence, err))
		}
		s.node = &Node{
			Kind: KindTransition, Name: saga, Stream: saga + "/" + key, ID: strconv.FormatUint(s.Number, 10), Time: s.Trigger.Time,
			Trigger: s.Trigger.Kind, Done: s.Done,
		}
		if s.Trigger.Kind == "timer" {
			s.node.Trigger += " " + s.Trigger.Type
		}
		steps = append(steps, s)
		return nil
	})
	t.processes[id] = steps
	return steps, err
}

// tell puts a transition below what it came from, and below it what followed: the commands it sent with their events,
// the transition that heard their outcomes, those that its timers woke, and an operator's that came right after it.
func (t *tracer) tell(ctx context.Context, above *Node, steps []transition, i int) error {
	s := steps[i]
	if t.told[s.node] {
		return nil
	}
	t.told[s.node] = true
	above.Children = append(above.Children, s.node)
	timers := map[string]bool{}
	for _, e := range s.Effects {
		switch e.Kind {
		case "send":
			n := t.command(commandKey{e.Stream, e.ID})
			n.Name = e.Type
			if !t.sent[n] {
				t.sent[n] = true
				s.node.Children = append(s.node.Children, n)
			}
		case "wake":
			timers[e.ID] = true
			s.node.Waits = append(s.node.Waits, e.Name)
		}
	}
	for j := i + 1; j < len(steps); j++ {
		next := steps[j]
		heard := next.Trigger.Kind == "outcomes" && next.Trigger.ID == s.node.ID
		if heard {
			for _, o := range next.Outcomes {
				if err := t.outcome(ctx, s.node, o.Reply); err != nil {
					return err
				}
			}
		}
		given := j == i+1 && (next.Trigger.Kind == "cancelled" || next.Trigger.Kind == "ended") // up, by an operator
		if heard || given || next.Trigger.Kind == "timer" && timers[next.Trigger.ID] {
			if err := t.tell(ctx, s.node, steps, j); err != nil {
				return err
			}
		}
	}
	return nil
}

// outcome notes what became of a saga's command, and finds its events where they carry another correlation id.
func (t *tracer) outcome(ctx context.Context, sender *Node, r es.Reply) error {
	n := t.command(commandKey{r.Stream, r.CommandID})
	n.Outcome, n.Error = r.Outcome, r.Error
	if n.Time.IsZero() {
		n.Time = sender.Time
	}
	if r.Outcome != es.Accepted || len(n.Children) > 0 {
		return nil
	}
	commit, err := t.Log.At(ctx, r.Revision)
	if err != nil {
		return fmt.Errorf("saga %s: command %s: %w", sender.Stream, r.CommandID, err)
	}
	if commit[0].CommandID != r.CommandID {
		return nil
	}
	return t.add(commit)
}

// trees hangs what gateways sent below the event they acted on and returns what stands at the top, oldest first.
func (t *tracer) trees() []*Node {
	byID := map[string]*Node{}
	for _, r := range t.heard {
		if byID[r.ID] == nil {
			byID[r.ID] = t.events[r.Stream.String()+" "+r.ID]
		}
	}
	var roots []*Node
	for key, n := range t.commands {
		if !t.sent[n] {
			n.Causation = t.caused[key]
			roots = append(roots, n)
		}
	}
	slices.SortFunc(roots, func(a, b *Node) int { return cmp.Compare(a.order, b.order) }) // one commit, one revision
	return slices.DeleteFunc(roots, func(n *Node) bool {
		cause := byID[n.Causation]
		if cause == nil || cause.Revision >= n.order { // a client may name any cause, also a later one
			return false
		}
		n.Causation = ""
		cause.Children = append(cause.Children, n)
		return true
	})
}
