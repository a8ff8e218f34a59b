package ops

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
	"github.com/millstream-es/millstream/es/schema"
)

// Why says why an aggregate is as it is and what comes next.
type Why struct {
	Stream    string                   `json:"stream"`
	Version   uint64                   `json:"version"`
	Revision  es.Revision              `json:"revision"`
	Time      time.Time                `json:"time"`             // of its last event
	Last      string                   `json:"last"`             // its last event's type
	Status    string                   `json:"status,omitempty"` // the state's field "status", when it has one
	State     any                      `json:"state"`
	Processes []runtime.ProcessHistory `json:"processes"` // of sagas that are under way about it
	Allowed   []string                 `json:"allowed"`   // commands that it would take now and that people send
	Commands  []CommandVerdict         `json:"commands"`
	Words     string                   `json:"words"`
}

// CommandVerdict says whether a command would be taken now.
type CommandVerdict struct {
	Command  string          `json:"command"`
	Verdict  Verdict         `json:"verdict"`
	Internal bool            `json:"internal,omitempty"` // sagas and gateways send it
	Because  *es.Problem     `json:"because,omitempty"`  // what its example would be answered, when that is a no
	Example  json.RawMessage `json:"example"`
}

// Verdict is what is known about a command without knowing its body.
type Verdict string

// The verdicts.
const (
	Takes      Verdict = "takes"      // with the right body
	Changeless Verdict = "changeless" // what the example asks for is already so
	Refuses    Verdict = "refuses"    // whatever the body, as far as the state tells
)

// WhyConfig is what AskWhy needs.
type WhyConfig struct {
	Log       es.Log
	Schemas   *schema.Registry
	Processes *runtime.Processes
	Stream    es.Stream
	Now       time.Time
	Zone      *time.Location // of times in words; nil: UTC
}

// The most processes that are told of, and events that they are looked for by.
const (
	whyProcesses = 20
	whyEvents    = 200
)

// AskWhy folds the aggregate, asks its state which commands it would take, and looks for the processes that are under
// way about it: those that one of its last events was for, and those whose last step, or what they wait for, names it.
// NotFound rejection "<category>_not_found": nothing ever happened to it.
func AskWhy(ctx context.Context, c WhyConfig) (Why, error) {
	w := Why{Stream: c.Stream.String(), Processes: []runtime.ProcessHistory{}, Allowed: []string{}, Commands: []CommandVerdict{}}
	aggregate, err := c.Schemas.Aggregate(c.Stream.Category)
	if err != nil {
		return w, err
	}
	h, err := c.Log.Load(ctx, c.Stream, es.Range{})
	if err != nil {
		return w, err
	}
	if len(h.Events) == 0 {
		return w, es.NotFound(c.Stream.Category+"_not_found", fmt.Sprintf("%s %q does not exist", c.Stream.Category, c.Stream.ID))
	}
	state, err := fold(aggregate, h.Events)
	if err != nil {
		return w, err
	}
	last := h.Events[len(h.Events)-1]
	w.Version, w.Revision, w.Time, w.Last, w.State = last.Version, last.Revision, last.Time, last.EventType(), state.State()
	if w.Status, err = statusOf(w.State); err != nil {
		return w, err
	}
	w.judge(c, state)
	if err := w.find(ctx, c, h.Events[max(0, len(h.Events)-whyEvents):]); err != nil {
		return w, err
	}
	w.Words = w.words(c)
	return w, nil
}

func fold(a es.Aggregate, events []es.Recorded) (state es.Folded, err error) {
	defer recovered(&err)
	state = a.New()
	for _, r := range events {
		if state, err = state.Evolve(r.Event); err != nil {
			return nil, fmt.Errorf("%s at revision %d: %w", r.Stream, r.Revision, err)
		}
	}
	return state, nil
}

func recovered(err *error) {
	if p := recover(); p != nil {
		*err = es.Permanent(fmt.Errorf("panic in the domain: %v", p))
	}
}

// statusOf is the state's word for itself.
func statusOf(state any) (string, error) {
	data, err := json.Marshal(state)
	if err != nil {
		return "", es.Permanent(err)
	}
	var has struct {
		Status any `json:"status"`
	}
	if err := json.Unmarshal(data, &has); err != nil {
		return "", nil //nolint:nilerr // a state that is no JSON object has no status
	}
	text, _ := has.Status.(string)
	return text, nil
}

// judge asks the state about every command. A state that says itself which commands it takes (Allowed) is believed; of
// another the commands' examples are tried: a no that blames a field of the body says nothing about the state.
func (w *Why) judge(c WhyConfig, state es.Folded) {
	declared := state.Allowed()
	for _, command := range c.Schemas.Commands(c.Stream.Category) {
		v := CommandVerdict{Command: command.Type, Internal: command.Internal, Example: command.Example, Verdict: Takes}
		changes, err := try(c, state, command)
		var no *es.Rejection
		switch {
		case err != nil:
			v.Because = runtime.Problem(err)
			if !errors.As(err, &no) {
				v.Because.Message = err.Error() // for operators: a fault in the domain's code
			}
			if declared == nil && (no == nil || no.Pointer == "") {
				v.Verdict = Refuses
			}
		case !changes:
			v.Verdict = Changeless
		}
		if declared != nil {
			switch {
			case slices.Contains(declared, command.Type):
				v.Verdict = Takes
			case v.Verdict == Takes:
				v.Verdict = Refuses
			}
		}
		if v.Verdict == Takes && !v.Internal {
			w.Allowed = append(w.Allowed, v.Command)
		}
		w.Commands = append(w.Commands, v)
	}
}

// try lets the state decide on a command's example; nothing is stored.
func try(c WhyConfig, state es.Folded, command *schema.Command) (changes bool, err error) {
	defer recovered(&err)
	example, err := command.Decode(command.Example)
	if err != nil {
		return false, err
	}
	events, err := state.Decide(example, es.Meta{Stream: c.Stream, CommandID: "why", User: "why", Correlation: "why", Time: c.Now.UTC()})
	return len(events) > 0, err
}

// find looks for the processes that are under way about the stream.
func (w *Why) find(ctx context.Context, c WhyConfig, events []es.Recorded) error {
	heard := map[string]bool{}
	for _, saga := range c.Schemas.Domain().Sagas {
		for _, r := range events {
			if key, mine := route(saga, r); mine {
				heard[saga.Name()+"/"+key] = true
			}
		}
	}
	all, _, _, err := c.Processes.List(ctx, runtime.ProcessFilter{}, "", anyNumber)
	if err != nil {
		return err
	}
	for _, p := range all {
		if p.State == runtime.ProcessDone || !heard[p.Saga+"/"+p.Key] && !p.Touches(c.Stream) || len(w.Processes) == whyProcesses {
			continue
		}
		history, err := c.Processes.Show(ctx, p.Saga, p.Key)
		if err != nil {
			return err
		}
		w.Processes = append(w.Processes, history)
	}
	slices.SortFunc(w.Processes, func(a, b runtime.ProcessHistory) int {
		return cmp.Or(cmp.Compare(a.Saga, b.Saga), cmp.Compare(a.Key, b.Key))
	})
	return nil
}

const anyNumber = 1 << 30

func route(saga es.Saga, r es.Recorded) (key string, mine bool) {
	var err error
	defer recovered(&err)
	if !saga.Interest().Has(r.EventType()) {
		return "", false
	}
	return saga.Route(r)
}

// words puts it all in one line, like "CREATED; fulfilment waits for payment o-1-1 since 12:03:10; cancels at 12:18:10;
// allowed now: AddOrderItem, CancelOrder".
func (w *Why) words(c WhyConfig) string {
	parts := []string{w.Status}
	if w.Status == "" {
		parts[0] = "after " + w.Last
	}
	for _, p := range w.Processes {
		parts = append(parts, processWords(p, c)...)
	}
	if len(w.Allowed) == 0 {
		parts = append(parts, "no command is allowed now")
	} else {
		parts = append(parts, "allowed now: "+strings.Join(w.Allowed, ", "))
	}
	return strings.Join(parts, "; ")
}

func processWords(p runtime.ProcessHistory, c WhyConfig) []string {
	name := p.Saga
	if p.Key != c.Stream.ID {
		name += " " + p.Key
	}
	var parts []string
	told := map[string]bool{}
	for _, wait := range p.Waiting {
		parts = append(parts, fmt.Sprintf("%s waits for %s since %s", name, wait.For, c.clock(wait.Since)))
		if wait.Until != nil && !told[wait.Timer] {
			told[wait.Timer] = true
			parts = append(parts, fmt.Sprintf("%s at %s", cmp.Or(wait.Then, "wakes up"), c.clock(*wait.Until)))
		}
	}
	if len(p.Waiting) == 0 && p.State != runtime.ProcessDone {
		parts = append(parts, fmt.Sprintf("%s is under way since %s", name, c.clock(p.Since)))
	}
	for _, o := range p.Owes {
		parts = append(parts, fmt.Sprintf("%s waits for %s to answer %s", name, o.Stream, o.Command))
	}
	for _, t := range p.Timers {
		if !told[t.Name] {
			parts = append(parts, fmt.Sprintf("%s wakes up (%s) at %s", name, t.Name, c.clock(t.At)))
		}
	}
	for _, why := range p.Stuck {
		parts = append(parts, fmt.Sprintf("%s is STUCK: it %s", name, why))
	}
	return parts
}

// clock is the time of day, with the day when that is another one.
func (c WhyConfig) clock(t time.Time) string {
	zone := c.Zone
	if zone == nil {
		zone = time.UTC
	}
	t, now := t.In(zone), c.Now.In(zone)
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}
