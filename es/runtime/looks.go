package runtime

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millstream-es/millstream/es/natsstore"
)

const (
	lookTime   = 2 * time.Second  // for what is asked while the metrics are gathered
	lookEvery  = time.Second      // what was found is good for so long
	sagasEvery = 15 * time.Second // counting them reads the newest transition of each process
	sagasShare = 20               // and is not begun again before this many times what it took
)

// looks are the metrics that nobody counts but somebody has to look for: they are found when metrics are gathered. What
// cannot be found is left out, and millstream_log_reachable says so.
type looks struct {
	engine *Engine

	mu    sync.Mutex
	found []prometheus.Metric
	at    time.Time

	sagas    []SagaCount // nil: not counted yet
	counting bool
	recount  time.Time // not before
}

func described(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	logReachable   = described("millstream_log_reachable", "1 when the log's servers answered when last asked, which is at most a second ago; else 0, and what they would have to say is missing.")
	logRevision    = described("millstream_log_revision", "The log's newest revision.")
	lagRevisions   = described("millstream_projector_lag_revisions", "Revisions between the log and a read model of this node.", "projector")
	lagSeconds     = described("millstream_projector_lag_seconds", "Age of the first commit that a read model of this node does not show.", "projector")
	projectorState = described("millstream_projector_state", "1 for the state that a projector of this node is in: running, building, paused or halted.", "projector", "state")
	commandsQueued = described("millstream_commands_queued", "Commands that were queued and nobody has worked off.")
	lettersOpen    = described("millstream_dead_letters_open", "Messages put aside and not settled yet, of all nodes.")
	faultsOpen     = described("millstream_faults", "Parts of this node that fail and are tried again; /readyz names them.")
	sagaProcesses  = described("millstream_saga_processes", "Processes that are open, the stuck ones included, or stuck; counted every 15 s or more, of all nodes.", "saga", "state")
	sagaOldest     = described("millstream_saga_oldest_seconds", "How long ago the open process that has waited longest made its last step; 0 when none is open.", "saga")
)

// Describe is part of prometheus.Collector.
func (l *looks) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{logReachable, logRevision, lagRevisions, lagSeconds, projectorState, commandsQueued, lettersOpen, faultsOpen, sagaProcesses, sagaOldest} {
		out <- d
	}
}

// Collect is part of prometheus.Collector.
func (l *looks) Collect(out chan<- prometheus.Metric) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.engine.stopped.Err() != nil {
		return
	}
	if time.Since(l.at) >= lookEvery {
		l.look()
		l.at = time.Now()
	}
	for _, m := range l.found {
		out <- m
	}
	if !l.engine.cfg.has(RoleSagas) {
		return
	}
	if !l.counting && time.Now().After(l.recount) {
		l.counting = true
		l.engine.background.Go(l.count)
	}
	for _, c := range l.sagas {
		oldest := 0.0
		if c.Oldest != nil {
			oldest = time.Since(*c.Oldest).Seconds()
		}
		out <- gauge(sagaProcesses, float64(c.Open), c.Saga, string(ProcessOpen))
		out <- gauge(sagaProcesses, float64(c.Stuck), c.Saga, string(ProcessStuck))
		out <- gauge(sagaOldest, oldest, c.Saga)
	}
}

// end returns when no gathering begins anything in the background any more; the engine has been told to stop.
func (l *looks) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
}

func gauge(d *prometheus.Desc, value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

// look asks for everything that is quickly answered. l.mu is held.
func (l *looks) look() {
	e := l.engine
	ctx, cancel := context.WithTimeout(e.stopped, lookTime)
	defer cancel()
	l.found = nil
	add := func(d *prometheus.Desc, value float64, labels ...string) {
		l.found = append(l.found, gauge(d, value, labels...))
	}
	e.mu.Lock()
	add(faultsOpen, float64(len(e.faults)))
	e.mu.Unlock()

	last, err := e.log.LastRevision(ctx)
	if err == nil {
		add(logRevision, float64(last))
	}
	for _, p := range e.projections {
		i := p.info(ctx, last)
		for _, state := range []string{Running, Building, Paused, Halted} {
			add(projectorState, truth(i.State == state), i.Name, state)
		}
		if err == nil {
			add(lagRevisions, float64(i.Lag), i.Name)
			add(lagSeconds, i.LagSeconds, i.Name)
		}
	}
	for stream, d := range map[string]*prometheus.Desc{natsstore.CommandsStream: commandsQueued, natsstore.DeadLettersStream: lettersOpen} {
		if err != nil {
			break
		}
		s, failed := e.js.Stream(ctx, stream)
		if err = failed; err == nil {
			add(d, float64(s.CachedInfo().State.Msgs))
		}
	}
	add(logReachable, truth(err == nil))
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// count counts the sagas' processes in the background: with many of them it takes longer than a scrape may.
func (l *looks) count() {
	e := l.engine
	ctx, cancel := context.WithTimeout(e.stopped, time.Minute)
	defer cancel()
	began := time.Now()
	counts, err := NewProcesses(e.js, e.cfg.Domain).Count(ctx)
	took := time.Since(began)
	if err != nil && e.stopped.Err() == nil {
		e.metrics.failure(fmt.Errorf("count the sagas' processes for the metrics, which leave them out meanwhile: %w", err))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sagas, l.counting = counts, false // after a fault nil: old figures would pass for new ones
	l.recount = time.Now().Add(max(sagasEvery, sagasShare*took))
}
