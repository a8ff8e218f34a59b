package runtime

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// ProcessHistory is a process with all it went through.
type ProcessHistory struct {
	Process
	Cancellable bool            `json:"cancellable"` // an operator may cancel it so that it undoes what it did
	Current     json.RawMessage `json:"current"`     // its state as JSON
	Timeline    []Step          `json:"timeline"`    // oldest first
	Actions     []AuditEntry    `json:"actions"`     // of operators, oldest first
}

// Step is one transition of a process.
type Step struct {
	Number   uint64          `json:"number"`
	Time     time.Time       `json:"time"` // when it was stored
	Trigger  StepTrigger     `json:"trigger"`
	State    json.RawMessage `json:"state"` // after
	Effects  []StepEffect    `json:"effects"`
	Outcomes []StepOutcome   `json:"outcomes"` // of the commands of the step before, when they are the trigger
	Waiting  []string        `json:"waiting"`  // for what, after this step, in words
	Done     bool            `json:"done,omitempty"`
}

// StepTrigger is what a step reacted to.
type StepTrigger struct {
	Kind     string      `json:"kind"` // event, outcomes, timer, cancelled, ended or setBack
	Type     string      `json:"type,omitempty"`
	ID       string      `json:"id,omitempty"`
	Time     time.Time   `json:"time"`
	Revision es.Revision `json:"revision,omitempty"` // of an event
	By       string      `json:"by,omitempty"`       // of an operator's
	Reason   string      `json:"reason,omitempty"`
}

// StepEffect is what a step wanted done.
type StepEffect struct {
	Kind      string          `json:"kind"` // send, wake, cancel or done
	Stream    string          `json:"stream,omitempty"`
	Command   string          `json:"command,omitempty"`
	CommandID string          `json:"commandId,omitempty"`
	Data      json.RawMessage `json:"data,omitempty"`
	Timer     string          `json:"timer,omitempty"`
	At        *time.Time      `json:"at,omitempty"`
}

// StepOutcome is what became of a command.
type StepOutcome struct {
	Stream  string   `json:"stream"`
	Command string   `json:"command"`
	Reply   es.Reply `json:"reply"`
}

// Show returns one process with its whole history. NotFound rejections: unknown_saga, and saga_not_found for a process
// that has not begun.
func (v *Processes) Show(ctx context.Context, saga, key string) (ProcessHistory, error) {
	h := ProcessHistory{Timeline: []Step{}}
	s, err := sagaNamed(v.domain, saga)
	if err != nil {
		return h, err
	}
	if err := (es.Stream{Category: saga, ID: key}).Validate(); err != nil {
		return h, err
	}
	letters, err := v.deadLetters(ctx)
	if err != nil {
		return h, err
	}
	var last natsstore.SagaEntry
	var waits [][]string // by step
	err = v.log.History(ctx, saga, key, func(entry natsstore.SagaEntry) error {
		t, err := decodeTransition(saga, entry)
		if err != nil {
			return err
		}
		step := stepOf(t, entry.Time)
		if !t.Done {
			step.Waiting = waitingWords(s, t.State)
		}
		last, waits, h.Timeline = entry, append(waits, step.Waiting), append(h.Timeline, step)
		return nil
	})
	if err != nil {
		return h, err
	}
	if len(h.Timeline) == 0 {
		return h, errNoProcess.With("saga %s has no process %q", saga, key)
	}
	p, err := newProcess(s, last, letters, time.Now())
	if err != nil {
		return h, err
	}
	for i := range p.Waiting {
		p.Waiting[i].Since = h.waitingSince(p.Waiting[i].For, waits)
	}
	h.Process, h.Cancellable, h.Current = *p, s.HearsCancelled(), p.transition.State
	h.Actions, err = ActionsOn(ctx, v.js, OnSagas, saga+"/"+key)
	return h, err
}

// waitingSince is the time of the step from which on the process has waited for the same without a break. It is the
// trigger's time, from which its timers count as well.
func (h ProcessHistory) waitingSince(what string, waits [][]string) time.Time {
	since := h.Timeline[len(h.Timeline)-1].Trigger.Time
	for i := len(waits) - 1; i >= 0 && slices.Contains(waits[i], what); i-- {
		since = h.Timeline[i].Trigger.Time
	}
	return since
}

// waitingWords is what a process in a state waits for; nothing where the state is not one of this program's.
func waitingWords(saga es.Saga, state json.RawMessage) (words []string) {
	var err error
	defer recovered(&err)
	words = []string{}
	waits, err := saga.Waits(state)
	if err != nil {
		return words
	}
	for _, w := range waits {
		words = append(words, w.For)
	}
	return words
}

func stepOf(t transition, stored time.Time) Step {
	s := Step{
		Number: t.Number, Time: stored, State: t.State, Done: t.Done, Effects: []StepEffect{}, Outcomes: []StepOutcome{}, Waiting: []string{},
		Trigger: StepTrigger{Kind: t.Trigger.Kind, Type: t.Trigger.Type, ID: t.Trigger.ID, Time: t.Trigger.Time, By: t.Trigger.By, Reason: t.Trigger.Reason},
	}
	if t.Trigger.Kind == "event" && t.Position.EventID == t.Trigger.ID {
		s.Trigger.Revision = t.Position.Revision
	}
	for _, e := range t.Effects {
		effect := StepEffect{Kind: e.Kind, Stream: e.Stream, Command: e.Type, Data: e.Data, Timer: e.Name, At: e.At}
		if e.Kind == "send" {
			effect.CommandID = e.ID
		}
		s.Effects = append(s.Effects, effect)
	}
	for _, o := range t.Outcomes {
		s.Outcomes = append(s.Outcomes, StepOutcome{o.Stream, o.Type, o.Reply})
	}
	return s
}
