package estest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/millstream-es/millstream/es"
)

// process is one saga at one key.
type process struct {
	saga        es.Saga
	key         string
	state       json.RawMessage
	transitions int
	inbox       []trigger
	outbox                    // the commands of the last transition
	outcomes    []es.Recorded // of those executed, not yet heard
	timers      map[string]timer
	armings     int
	done        bool
}

// Cancel lets an operator give up a process, which hears of it before anything else that waits for it. It does nothing
// and returns false when the process has not begun or is done, or its saga is not Cancellable.
func (w *World) Cancel(saga, key, reason string) bool {
	for _, p := range w.processes {
		if p.saga.Name() != saga || p.key != key || !p.saga.HearsCancelled() || p.transitions == 0 || p.done {
			continue
		}
		p.inbox = append([]trigger{{Recorded: es.Recorded{
			Event: es.Cancelled{By: "operator", Reason: reason}, ID: "cancelled",
			Meta: es.Meta{Stream: es.Stream{Category: saga, ID: key}, User: "operator:operator", Correlation: p.cause.Correlation, Time: w.now},
		}}}, p.inbox...)
		return true
	}
	return false
}

// trigger is an event or wake-up that waits for its turn.
type trigger struct {
	es.Recorded
	timer int // number of the arming that a Woken comes from
}

type timer struct {
	number int // tells an arming from the one that replaced it
	due    time.Time
	cause  es.Recorded
	fired  bool // its Woken waits in the inbox
}

func (p *process) busy() bool {
	return len(p.inbox) > 0 || len(p.outcomes) > 0 || p.next < len(p.sends)
}

// startOver forgets what became of the commands at hand, so that they are executed again under the same ids.
func (p *process) startOver() { p.next, p.outcomes = 0, nil }

func (p *process) arm(name string, due time.Time) {
	p.armings++
	p.timers[name] = timer{number: p.armings, due: due, cause: p.cause}
}

// armed names the timers that have not gone off.
func (p *process) armed() []string {
	var names []string
	for name, t := range p.timers {
		if !t.fired {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (p *process) fire(name string, now time.Time) {
	t := p.timers[name]
	t.fired = true
	p.timers[name] = t
	p.inbox = append(p.inbox, trigger{timer: t.number, Recorded: es.Recorded{
		Event: es.Woken{Name: name},
		ID:    fmt.Sprintf("%s/%s/%s/%d", p.saga.Name(), p.key, name, t.number),
		Meta:  es.Meta{Stream: es.Stream{Category: p.saga.Name(), ID: p.key}, Correlation: t.cause.Correlation, Causation: t.cause.ID, Time: now},
	}})
}

// gateway is played by the test. Like the engine, it takes the events of one stream in order.
type gateway struct {
	name    string
	deliver func(es.Recorded) []es.Effect
	lanes   []*lane
}

type lane struct {
	stream es.Stream
	inbox  []es.Recorded
	outbox
}

func (l *lane) busy() bool { return len(l.inbox) > 0 || l.next < len(l.sends) }

func (g *gateway) receive(r es.Recorded) {
	for _, l := range g.lanes {
		if l.stream == r.Stream {
			l.inbox = append(l.inbox, r)
			return
		}
	}
	g.lanes = append(g.lanes, &lane{stream: r.Stream, inbox: []es.Recorded{r}})
}

// outbox is what a transition or delivery sends, in order.
type outbox struct {
	from  []any       // names the transition or delivery
	cause es.Recorded // the trigger behind it
	sends []es.Send
	next  int // the first one not yet executed
}

// id is a command's id: the same however often it is sent.
func (o *outbox) id(i int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%#v %d", o.from, i))
	return es.EnginePrefix + hex.EncodeToString(sum[:16])
}
