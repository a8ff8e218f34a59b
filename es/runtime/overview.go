package runtime

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// Overview is how the system does, as one node sees it: figures of commands and projectors are the node's own, the
// rest is everybody's.
type Overview struct {
	Node       string        `json:"node"`
	Version    string        `json:"version"`
	Domain     string        `json:"domain"`
	Roles      []Role        `json:"roles"`
	Durability es.Durability `json:"durability"`
	StartedAt  time.Time     `json:"startedAt"`
	Uptime     float64       `json:"uptimeSeconds"`
	At         time.Time     `json:"at"`
	Window     float64       `json:"windowSeconds"` // what rates and quantiles are of
	Revision   es.Revision   `json:"revision"`      // the log's newest

	Commands struct {
		Total     map[es.OutcomeKind]float64 `json:"total"` // since the start
		PerSecond map[es.OutcomeKind]float64 `json:"perSecond"`
		Latency   Quantiles                  `json:"latency"`
	} `json:"commands"`
	Events struct {
		Total     float64 `json:"total"` // that this node's projectors have seen since the start
		PerSecond float64 `json:"perSecond"`
	} `json:"events"`
	Append Quantiles `json:"append"`

	Projectors  []ProjectionInfo `json:"projectors"`
	Queued      uint64           `json:"queued"` // commands that nobody has worked off
	DeadLetters uint64           `json:"deadLetters"`
	Sagas       []SagaCount      `json:"sagas"` // counted at most every sagasCounted
	Checks      []Check          `json:"checks"`
}

// Quantiles are in seconds; 0 when nothing was measured in the window.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

// sagasCounted is how long a count of the sagas' processes is good for: it reads all of them.
const sagasCounted = 10 * time.Second

// overviews is what the engine keeps between two looks.
type overviews struct {
	figures figures
	started time.Time

	mu      sync.Mutex
	sagas   []SagaCount
	counted time.Time
}

// Overview says how the system does. Rates and quantiles are of the last minute, or of the time since it was first
// asked; the first answer's are of the time since the start.
func (e *Engine) Overview(ctx context.Context) (Overview, error) {
	o := Overview{
		Node: e.node, Version: Version, Domain: e.cfg.Domain.Name, Roles: e.cfg.Roles, Durability: e.cfg.Durability,
		StartedAt: e.overviews.started.UTC(), Uptime: time.Since(e.overviews.started).Seconds(),
		Projectors: []ProjectionInfo{},
	}
	now, err := takeSample(e.cfg.Metrics)
	if err != nil {
		return o, err
	}
	o.rates(now, e.overviews.figures.since(now, e.overviews.started))
	if o.Revision, err = e.log.LastRevision(ctx); err != nil {
		return o, err
	}
	for _, name := range slices.Sorted(maps.Keys(e.projections)) {
		o.Projectors = append(o.Projectors, e.projections[name].info(ctx, o.Revision))
	}
	for stream, count := range map[string]*uint64{natsstore.CommandsStream: &o.Queued, natsstore.DeadLettersStream: &o.DeadLetters} {
		s, err := e.js.Stream(ctx, stream)
		if err != nil {
			return o, es.Transient(fmt.Errorf("stream %s: %w", stream, err))
		}
		*count = s.CachedInfo().State.Msgs
	}
	if o.Sagas, err = e.countSagas(ctx); err != nil {
		return o, err
	}
	o.Checks = e.Checks(ctx)
	return o, nil
}

func (o *Overview) rates(now, from sample) {
	o.At, o.Window = now.at.UTC(), now.at.Sub(from.at).Seconds()
	o.Commands.Total, o.Commands.PerSecond = map[es.OutcomeKind]float64{}, map[es.OutcomeKind]float64{}
	rate := func(now, before float64) float64 {
		if o.Window <= 0 {
			return 0
		}
		return (now - before) / o.Window
	}
	for _, k := range []es.OutcomeKind{es.Accepted, es.Unchanged, es.RejectedReply, es.Conflict, es.Invalid, es.UnknownOutcome, es.Failed} {
		o.Commands.Total[k] = now.commands[string(k)]
		o.Commands.PerSecond[k] = rate(now.commands[string(k)], from.commands[string(k)])
	}
	o.Events.Total, o.Events.PerSecond = now.events, rate(now.events, from.events)
	o.Commands.Latency = Quantiles{now.call.quantile(0.5, from.call), now.call.quantile(0.99, from.call)}
	o.Append = Quantiles{now.append.quantile(0.5, from.append), now.append.quantile(0.99, from.append)}
}

// countSagas counts at most once every sagasCounted, whoever asks.
func (e *Engine) countSagas(ctx context.Context) ([]SagaCount, error) {
	v := &e.overviews
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.sagas != nil && time.Since(v.counted) < sagasCounted {
		return v.sagas, nil
	}
	counts, err := NewProcesses(e.js, e.cfg.Domain).Count(ctx)
	if err != nil {
		return nil, err
	}
	v.sagas, v.counted = counts, time.Now()
	return counts, nil
}

// Conn is the engine's connection, of a user of its account. It is the engine's to close.
func (e *Engine) Conn() *nats.Conn { return e.conn }

// Node is the id of this process's data directory.
func (e *Engine) Node() string { return e.node }
