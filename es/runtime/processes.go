package runtime

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// ProcessState is how a process stands.
type ProcessState string

// The states. A stuck process is an open one, or one that is done and missed an input: it will not go on by itself.
const (
	ProcessOpen  ProcessState = "open"
	ProcessDone  ProcessState = "done"
	ProcessStuck ProcessState = "stuck"
)

// What an open process may take before it counts as stuck.
const (
	owedTooLong   = 30 * time.Second // for the outcome of a command it sent
	overdueTime   = time.Minute      // for a timer to go off after its time
	silentTooLong = 15 * time.Minute // without any timer: who waits longer arms one
)

// Process is one process of a saga: one order's fulfilment.
type Process struct {
	Saga        string       `json:"saga"`
	Key         string       `json:"key"`
	State       ProcessState `json:"state"`
	Stuck       []string     `json:"stuck,omitempty"` // why, in words
	Number      uint64       `json:"number"`          // of its newest transition
	Since       time.Time    `json:"since"`           // when that was stored
	Waiting     []WaitingFor `json:"waiting"`
	Timers      []Timer      `json:"timers"` // armed, the next first
	Owes        []Owed       `json:"owes,omitempty"`
	DeadLetters []string     `json:"deadLetters,omitempty"` // ids of what it could not hear
	Correlation string       `json:"correlationId,omitempty"`

	transition transition
}

// WaitingFor is one thing that a process waits for.
type WaitingFor struct {
	For   string     `json:"for"`             // in words
	On    string     `json:"on,omitempty"`    // category/id of whose turn it is
	Since time.Time  `json:"since"`           // of a process in a list: its newest transition's time
	Then  string     `json:"then,omitempty"`  // what happens at Until, in words
	Until *time.Time `json:"until,omitempty"` // when the waiting ends
	Timer string     `json:"timer,omitempty"`
}

// Timer is one armed wake-up.
type Timer struct {
	Saga string    `json:"saga"`
	Key  string    `json:"key"`
	Name string    `json:"name"`
	At   time.Time `json:"at"`
	Then string    `json:"then,omitempty"` // what the process does then, in words, when it says so
}

// Owed is a command that was sent and whose outcome the process has not heard.
type Owed struct {
	Stream    string `json:"stream"`
	Command   string `json:"command"`
	CommandID string `json:"commandId"`
}

// Processes reads the sagas' processes from SAGAS, where a message is a transition. It needs no running engine.
type Processes struct {
	js      jetstream.JetStream
	log     *natsstore.SagaLog
	letters *Letters
	domain  es.Domain
}

// NewProcesses needs the streams to be set up, and a connection to the engine's account.
func NewProcesses(js jetstream.JetStream, d es.Domain) *Processes {
	return &Processes{js, natsstore.NewSagaLog(js), NewLetters(js), d}
}

// ProcessFilter narrows processes down; fields left empty narrow nothing.
type ProcessFilter struct {
	Saga  string
	State ProcessState // open includes the stuck ones
	Query string       // a part of the key
}

func (f ProcessFilter) check(d es.Domain) error {
	if f.Saga != "" {
		if err := CheckSaga(d, f.Saga); err != nil {
			return err
		}
	}
	if !slices.Contains([]ProcessState{"", ProcessOpen, ProcessDone, ProcessStuck}, f.State) {
		return &es.InvalidError{Code: "bad_request", Message: fmt.Sprintf("state %.64q: expected open, done or stuck", f.State)}
	}
	return nil
}

func (f ProcessFilter) matches(p *Process) bool {
	return (f.State == "" || p.State == f.State || f.State == ProcessOpen && !p.transition.Done) && strings.Contains(p.Key, f.Query)
}

// CheckSaga says that there is no saga of a name, if so: a NotFound rejection unknown_saga.
func CheckSaga(d es.Domain, name string) error {
	_, err := sagaNamed(d, name)
	return err
}

// sagaNamed finds a saga. NotFound rejection unknown_saga: there is none of that name.
func sagaNamed(d es.Domain, name string) (es.Saga, error) {
	var names []string
	for _, s := range d.Sagas {
		if s.Name() == name {
			return s, nil
		}
		names = append(names, s.Name())
	}
	if near, ok := es.Closest(name, names); ok {
		return nil, es.NotFound("unknown_saga", fmt.Sprintf("there is no saga %.64q: did you mean %s?", name, near))
	}
	return nil, es.NotFound("unknown_saga", fmt.Sprintf("there is no saga %.64q: known are %s", name, strings.Join(names, ", ")))
}

// List returns the processes that match, those that moved last first: at most limit of those before the cursor, which
// is "" for the first page. next is the cursor of the page after, "" when nothing is left. It reads the newest
// transition of every process of the sagas it looks at.
func (v *Processes) List(ctx context.Context, f ProcessFilter, cursor string, limit int) (page []Process, total int, next string, err error) {
	before, err := parseCursor(cursor)
	if err != nil {
		return nil, 0, "", err
	}
	all, err := v.all(ctx, f)
	if err != nil {
		return nil, 0, "", err
	}
	total = len(all)
	slices.SortFunc(all, func(a, b storedProcess) int { return cmp.Compare(b.sequence, a.sequence) })
	page = []Process{}
	for _, p := range all {
		if before > 0 && p.sequence >= before {
			continue
		}
		if len(page) == limit {
			return page, total, fmt.Sprint(before), nil
		}
		page, before = append(page, p.Process), p.sequence
	}
	return page, total, "", nil
}

func parseCursor(text string) (n uint64, err error) {
	if text == "" {
		return 0, nil
	}
	if _, err := fmt.Sscanf(text, "%d", &n); err != nil || n == 0 || fmt.Sprint(n) != text {
		return 0, &es.InvalidError{Code: "bad_request", Message: fmt.Sprintf("cursor %.64q is none: take the one that the page before names as next", text)}
	}
	return n, nil
}

type storedProcess struct {
	Process
	sequence uint64
}

// all reads the processes that match, in no order.
func (v *Processes) all(ctx context.Context, f ProcessFilter) ([]storedProcess, error) {
	if err := f.check(v.domain); err != nil {
		return nil, err
	}
	letters, err := v.deadLetters(ctx)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	var found []storedProcess
	for _, saga := range v.domain.Sagas {
		if f.Saga != "" && f.Saga != saga.Name() {
			continue
		}
		err := v.log.Each(ctx, saga.Name(), func(entry natsstore.SagaEntry) error {
			p, err := newProcess(saga, entry, letters, now)
			if err == nil && f.matches(p) {
				found = append(found, storedProcess{*p, entry.Sequence})
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// deadLetters returns the ids of the open dead letters of sagas and their timers, by saga/key.
func (v *Processes) deadLetters(ctx context.Context) (map[string][]string, error) {
	found := map[string][]string{}
	err := v.letters.Each(ctx, "", func(l DeadLetter) error {
		if saga, ok := strings.CutPrefix(strings.TrimSuffix(l.Consumer, "-due"), "saga-"); ok {
			found[saga+"/"+l.Key] = append(found[saga+"/"+l.Key], l.ID)
		}
		return nil
	})
	return found, err
}

func decodeTransition(saga string, entry natsstore.SagaEntry) (t transition, err error) {
	if err := json.Unmarshal(entry.Data, &t); err != nil {
		return t, es.Permanent(fmt.Errorf("saga %s/%s: stored transition at %d: %w", saga, entry.Key, entry.Sequence, err))
	}
	return t, nil
}

func newProcess(saga es.Saga, entry natsstore.SagaEntry, letters map[string][]string, now time.Time) (*Process, error) {
	t, err := decodeTransition(saga.Name(), entry)
	if err != nil {
		return nil, err
	}
	p := &Process{
		Saga: saga.Name(), Key: entry.Key, Number: t.Number, Since: entry.Time, Correlation: t.Correlation, State: ProcessOpen,
		DeadLetters: letters[saga.Name()+"/"+entry.Key], Waiting: []WaitingFor{}, Timers: []Timer{}, transition: t,
	}
	for _, e := range t.Effects {
		if e.Kind == "send" {
			p.Owes = append(p.Owes, Owed{e.Stream, e.Type, e.ID})
		}
	}
	then := map[string]string{}
	if !t.Done || len(p.Owes) > 0 {
		if then, err = p.wait(saga, t); err != nil {
			p.Stuck = append(p.Stuck, err.Error())
		}
	}
	for name, armed := range t.Timers {
		p.Timers = append(p.Timers, Timer{p.Saga, p.Key, name, armed.At, then[name]})
	}
	slices.SortFunc(p.Timers, func(a, b Timer) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Name, b.Name)) })
	p.judge(now)
	return p, nil
}

// wait fills what the process waits for, and returns what it does when its timers go off.
func (p *Process) wait(saga es.Saga, t transition) (then map[string]string, err error) {
	defer recovered(&err)
	then = map[string]string{}
	waits, err := saga.Waits(t.State)
	if err != nil {
		return then, err
	}
	for _, w := range waits {
		waiting := WaitingFor{For: w.For, Since: p.Since, Timer: w.Timer}
		if w.On != (es.Stream{}) {
			waiting.On = w.On.String()
		}
		if armed, ok := t.Timers[w.Timer]; ok {
			waiting.Until, waiting.Then = &armed.At, w.Then
			then[w.Timer] = w.Then
		}
		p.Waiting = append(p.Waiting, waiting)
	}
	return then, nil
}

// judge decides the state: stuck is what will not go on by itself.
func (p *Process) judge(now time.Time) {
	if n := len(p.DeadLetters); n > 0 {
		p.Stuck = append(p.Stuck, fmt.Sprintf("could not hear %d of its inputs: dead letter %s", n, strings.Join(p.DeadLetters, ", ")))
	}
	if o := p.Owes; len(o) > 0 && now.Sub(p.Since) > owedTooLong {
		p.Stuck = append(p.Stuck, fmt.Sprintf("has had no answer from %s to %s since %s", o[0].Stream, o[0].Command, p.Since.UTC().Format(time.RFC3339)))
	}
	open := !p.transition.Done
	if open && len(p.Timers) > 0 && now.Sub(p.Timers[0].At) > overdueTime && now.Sub(p.Since) > overdueTime {
		p.Stuck = append(p.Stuck, fmt.Sprintf("its timer %s was due at %s", p.Timers[0].Name, p.Timers[0].At.UTC().Format(time.RFC3339)))
	}
	if open && len(p.Timers) == 0 && len(p.Owes) == 0 && now.Sub(p.Since) > silentTooLong {
		p.Stuck = append(p.Stuck, fmt.Sprintf("has been silent since %s, and no timer will wake it", p.Since.UTC().Format(time.RFC3339)))
	}
	switch {
	case len(p.Stuck) > 0:
		p.State = ProcessStuck
	case !open:
		p.State = ProcessDone
	}
}

// Touches reports whether a process's newest transition, or what it waits for, concerns a stream.
func (p *Process) Touches(s es.Stream) bool {
	name := s.String()
	for _, w := range p.Waiting {
		if w.On == name {
			return true
		}
	}
	for _, e := range p.transition.Effects {
		if e.Stream == name {
			return true
		}
	}
	return slices.ContainsFunc(p.transition.Outcomes, func(o outcomeRecord) bool { return o.Stream == name })
}

// Timers returns every armed timer, the next first, at most limit; total is how many there are.
func (v *Processes) Timers(ctx context.Context, f ProcessFilter, limit int) (timers []Timer, total int, err error) {
	f.State = ""
	all, err := v.all(ctx, f)
	if err != nil {
		return nil, 0, err
	}
	timers = []Timer{}
	for _, p := range all {
		timers = append(timers, p.Timers...)
	}
	slices.SortFunc(timers, func(a, b Timer) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Saga, b.Saga), cmp.Compare(a.Key, b.Key))
	})
	return timers[:min(limit, len(timers))], len(timers), nil
}

// SagaCount is how many processes of a saga there are.
type SagaCount struct {
	Saga   string     `json:"saga"`
	Open   int        `json:"open"` // the stuck ones included
	Stuck  int        `json:"stuck"`
	Done   int        `json:"done"`
	Oldest *time.Time `json:"oldest,omitempty"` // newest transition of the open process that moved longest ago
}

// Count counts the processes of every saga. It costs as much as List.
func (v *Processes) Count(ctx context.Context) ([]SagaCount, error) {
	all, err := v.all(ctx, ProcessFilter{})
	if err != nil {
		return nil, err
	}
	counts := make([]SagaCount, len(v.domain.Sagas))
	for i, s := range v.domain.Sagas {
		counts[i].Saga = s.Name()
	}
	for _, p := range all {
		c := &counts[slices.IndexFunc(counts, func(c SagaCount) bool { return c.Saga == p.Saga })]
		if p.State == ProcessStuck {
			c.Stuck++
		}
		if p.transition.Done {
			c.Done++
			continue
		}
		c.Open++
		if c.Oldest == nil || p.Since.Before(*c.Oldest) {
			since := p.Since
			c.Oldest = &since
		}
	}
	return counts, nil
}

var errNoProcess = es.NotFound("saga_not_found", "there is no such process")
