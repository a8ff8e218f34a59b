package runtime

import (
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millstream-es/millstream/es"
)

// metrics are the engine's figures; labels are bounded by the domain's lists.
type metrics struct {
	log         *slog.Logger
	commands    *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	decides     prometheus.Histogram
	appends     prometheus.Histogram
	conflicts   prometheus.Counter
	cacheHits   prometheus.Counter
	cacheMisses prometheus.Counter
	deadLetters *prometheus.CounterVec
	transitions *prometheus.CounterVec
	applied     *prometheus.CounterVec

	snapshotsRead    *prometheus.CounterVec
	snapshotsWritten *prometheus.CounterVec
}

func newMetrics(r *prometheus.Registry, log *slog.Logger, durability es.Durability) *metrics {
	latencies := prometheus.ExponentialBuckets(0.0001, 2.5, 14)
	m := &metrics{
		log:         log,
		commands:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millstream_commands_total", Help: "Commands executed, by type and outcome."}, []string{"category", "command", "outcome"}),
		seconds:     prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "millstream_command_seconds", Help: "From the engine's door to the reply.", Buckets: latencies}, []string{"category"}),
		decides:     prometheus.NewHistogram(prometheus.HistogramOpts{Name: "millstream_decide_seconds", Help: "One decision of an aggregate, its state at hand.", Buckets: prometheus.ExponentialBuckets(0.000001, 4, 12)}),
		appends:     prometheus.NewHistogram(prometheus.HistogramOpts{Name: "millstream_append_seconds", Help: "One append to the log.", Buckets: latencies}),
		conflicts:   prometheus.NewCounter(prometheus.CounterOpts{Name: "millstream_append_conflicts_total", Help: "Appends that found the stream moved on."}),
		cacheHits:   prometheus.NewCounter(prometheus.CounterOpts{Name: "millstream_aggregate_cache_hits_total", Help: "Decisions on a cached state."}),
		cacheMisses: prometheus.NewCounter(prometheus.CounterOpts{Name: "millstream_aggregate_cache_misses_total", Help: "Decisions that had to load."}),
		deadLetters: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millstream_dead_letters_total", Help: "Messages put aside."}, []string{"consumer"}),
		transitions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millstream_saga_transitions_total", Help: "Transitions stored."}, []string{"saga"}),
		applied:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millstream_projector_events_total", Help: "Events applied."}, []string{"projector"}),

		snapshotsRead:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millstream_snapshots_read_total", Help: "Snapshots looked for at a load: used, none, unavailable, or ignored because of their checksum, schema, state, because they are unreadable or the log is another."}, []string{"result"}),
		snapshotsWritten: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millstream_snapshots_written_total", Help: "Snapshots due: written, failed, or dropped since the writer was busy."}, []string{"result"}),
	}
	mode := prometheus.NewGauge(prometheus.GaugeOpts{Name: "millstream_durable", Help: "1 when an accepted command survives a power cut, 0 in fast mode."})
	if durability == es.Durable {
		mode.Set(1)
	}
	r.MustRegister(m.commands, m.seconds, m.decides, m.appends, m.conflicts, m.cacheHits, m.cacheMisses, m.deadLetters, m.transitions, m.applied, m.snapshotsRead, m.snapshotsWritten, mode)
	return m
}

func (m *metrics) command(category, command string, o es.OutcomeKind, d time.Duration) {
	if o == es.Invalid {
		category, command = "", "" // names made up by callers are no labels
	}
	m.commands.WithLabelValues(category, command, string(o)).Inc()
	m.seconds.WithLabelValues(category).Observe(d.Seconds())
}

// begin makes the counters of what may happen later start at zero, so that the first time shows as a rise.
func (m *metrics) begin(d es.Domain) {
	for _, name := range Consumers(d) {
		m.deadLetters.WithLabelValues(name)
	}
	for _, s := range d.Sagas {
		m.transitions.WithLabelValues(s.Name())
	}
	for _, p := range d.Projectors {
		m.applied.WithLabelValues(p.Name)
	}
	for _, result := range []string{"written", "failed", "dropped"} {
		m.snapshotsWritten.WithLabelValues(result)
	}
	for _, result := range []string{snapshotUsed, snapshotAbsent, snapshotUnavailable, snapshotUnreadable, snapshotDamaged, snapshotOtherSchema, snapshotOtherState, snapshotOtherLog} {
		m.snapshotsRead.WithLabelValues(result)
	}
}

func (m *metrics) append(d time.Duration, err error) {
	m.appends.Observe(d.Seconds())
	if errors.Is(err, es.ErrConflict) {
		m.conflicts.Inc()
	}
}

// failure logs what no caller is shown; with are the fields of the message it is about.
func (m *metrics) failure(err error, with ...any) {
	m.log.Error("the engine failed at something it does not show its callers", append(with, "error", err)...)
}
