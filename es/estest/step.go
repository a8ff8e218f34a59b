package estest

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/millstream-es/millstream/es"
)

// OpenSaga is a process that has not said Done, or still has something before it.
type OpenSaga struct {
	Saga   string
	Key    string
	State  json.RawMessage
	Timers []string // armed, sorted
}

// Sagas are the open processes, in the order they began.
func (w *World) Sagas() []OpenSaga {
	var open []OpenSaga
	for _, p := range w.processes {
		if !p.done || p.busy() {
			open = append(open, OpenSaga{p.saga.Name(), p.key, p.state, p.armed()})
		}
	}
	return open
}

// Step does one thing that is waiting to be done: a saga takes its next trigger, executes one command or hears the
// outcomes of those it sent; a gateway is asked or sends one command. choose picks one of n, counting from 0. It
// returns false when nothing is waiting; timers do not count as waiting.
func (w *World) Step(choose func(n int) int) bool {
	w.t.Helper()
	var steps, extras []func()
	for _, p := range w.processes {
		if p.busy() {
			steps = append(steps, func() { w.advance(p) })
		}
		if w.Redeliver && p.next > 0 {
			extras = append(extras, p.startOver)
		}
		if w.FireAnyTime {
			for _, name := range p.armed() {
				extras = append(extras, func() { p.fire(name, w.now) })
			}
		}
	}
	for _, g := range w.gateways {
		for _, lane := range g.lanes {
			if lane.busy() {
				steps = append(steps, func() { w.deliver(g, lane) })
			}
			if w.Redeliver && lane.next > 0 {
				extras = append(extras, func() { lane.next = 0 })
			}
		}
	}
	if len(steps) == 0 {
		return false
	}
	steps = append(steps, extras...)
	steps[choose(len(steps))]()
	return true
}

// RunUntilQuiet steps in a fixed order, without extras, until nothing is waiting. It fails the test when that does
// not come within MaxSteps.
func (w *World) RunUntilQuiet() {
	w.t.Helper()
	most := w.MaxSteps
	if most == 0 {
		most = 10_000
	}
	redeliver, fire := w.Redeliver, w.FireAnyTime
	w.Redeliver, w.FireAnyTime = false, false
	defer func() { w.Redeliver, w.FireAnyTime = redeliver, fire }()
	for range most {
		if !w.Step(func(int) int { return 0 }) {
			return
		}
	}
	w.t.Fatalf("no rest after %d steps: sagas send each other commands for ever; open are %+v", most, w.Sagas())
}

// Advance moves the time and has the timers that are then due go off. Their sagas react in the steps that follow.
func (w *World) Advance(by time.Duration) {
	w.now = w.now.Add(by)
	w.fireDue()
}

// FireTimers moves the time until every armed timer is due, has them all go off and returns how many did.
func (w *World) FireTimers() int {
	for _, p := range w.processes {
		for _, name := range p.armed() {
			if due := p.timers[name].due; due.After(w.now) {
				w.now = due
			}
		}
	}
	return w.fireDue()
}

func (w *World) fireDue() int {
	fired := 0
	for _, p := range w.processes {
		for _, name := range p.armed() {
			if !p.timers[name].due.After(w.now) {
				p.fire(name, w.now)
				fired++
			}
		}
	}
	return fired
}

// advance takes a process one step on. All commands of a transition are executed before their outcomes are heard,
// and those before the next trigger.
func (w *World) advance(p *process) {
	w.t.Helper()
	switch {
	case p.next < len(p.sends):
		send := p.sends[p.next]
		reply := w.send(&p.outbox, "saga:"+p.saga.Name())
		p.outcomes = append(p.outcomes, es.Recorded{
			ID:    reply.CommandID + "/outcome",
			Event: es.Outcome{Target: send.Stream, CommandType: send.Command.CommandType(), Reply: reply, Command: send.Command},
			Meta:  es.Meta{Stream: send.Stream, CommandID: reply.CommandID, Correlation: p.cause.Correlation, Causation: p.cause.ID, Time: p.cause.Time},
		})
	case len(p.outcomes) > 0:
		w.react(p, p.outcomes)
	default:
		t := p.inbox[0]
		p.inbox = p.inbox[1:]
		if woken, ok := t.Event.(es.Woken); ok {
			if now, armed := p.timers[woken.Name]; !armed || now.number != t.timer {
				return // cancelled or replaced since it went off
			}
			delete(p.timers, woken.Name)
		}
		if _, ok := t.Event.(es.Cancelled); ok && p.done {
			return // it ended before it could hear
		}
		p.cause = t.Recorded
		w.react(p, []es.Recorded{t.Recorded})
	}
}

func (w *World) react(p *process, inputs []es.Recorded) {
	w.t.Helper()
	next, effects, err := p.saga.React(p.state, inputs...)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	p.transitions++
	p.state, p.outcomes = next, nil
	p.outbox = outbox{from: []any{p.saga.Name(), p.key, p.transitions}, cause: p.cause}
	p.done = p.done && len(effects) == 0 // a process that wants something again is open again
	for _, effect := range effects {
		switch e := effect.(type) {
		case es.Send:
			p.sends = append(p.sends, e)
		case es.Wake:
			p.arm(e.Name, e.At)
		case es.After:
			p.arm(e.Name, p.cause.Time.Add(e.Delay))
		case es.Cancel:
			delete(p.timers, e.Name)
		case es.Done:
			p.done = true
			clear(p.timers)
		}
	}
}

// deliver takes a gateway's lane one step on.
func (w *World) deliver(g *gateway, lane *lane) {
	w.t.Helper()
	if lane.next < len(lane.sends) {
		w.send(&lane.outbox, "gateway:"+g.name)
		return
	}
	r := lane.inbox[0]
	lane.inbox = lane.inbox[1:]
	lane.outbox = outbox{from: []any{g.name, r.Stream, r.ID}, cause: r}
	for _, effect := range g.deliver(r) {
		send, ok := effect.(es.Send)
		if !ok {
			w.t.Fatalf("gateway %s: its effects must be Send, not %T", g.name, effect)
		}
		lane.sends = append(lane.sends, send)
	}
}

// send executes the next command of an outbox.
func (w *World) send(o *outbox, user string) es.Reply {
	w.t.Helper()
	send, id := o.sends[o.next], o.id(o.next)
	o.next++
	return w.execute(send.Command, es.Meta{Stream: send.Stream, CommandID: id, Correlation: o.cause.Correlation, Causation: o.cause.ID, User: user})
}

func (w *World) process(s es.Saga, key string) *process {
	i := slices.IndexFunc(w.processes, func(p *process) bool { return p.saga.Name() == s.Name() && p.key == key })
	if i >= 0 {
		return w.processes[i]
	}
	p := &process{saga: s, key: key, timers: map[string]timer{}}
	w.processes = append(w.processes, p)
	return p
}
