package runtime

import (
	"math"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// figuresWindow is what rates and quantiles are of, as soon as somebody has looked for so long; figuresEvery is the
// least time between two samples kept.
const (
	figuresWindow = time.Minute
	figuresEvery  = time.Second
)

// figures keeps samples of the counters of the last minute, one for each time that somebody looked.
type figures struct {
	mu      sync.Mutex
	samples []sample // oldest first
}

// sample is the counters at one time.
type sample struct {
	at       time.Time
	commands map[string]float64 // by outcome
	events   float64
	call     histogram
	append   histogram
}

// histogram is a Prometheus histogram's cumulative counts.
type histogram struct {
	upper  []float64
	counts []float64 // up to each bound; the last is all
}

// since returns the sample to compare a new one with, and keeps the new one. It is about figuresWindow old, or as old
// as there is; the first sample is compared with the process's start.
func (f *figures) since(now sample, started time.Time) sample {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.samples) > 1 && now.at.Sub(f.samples[1].at) >= figuresWindow {
		f.samples = f.samples[1:]
	}
	from := sample{at: started}
	if len(f.samples) > 0 {
		from = f.samples[0]
	}
	if n := len(f.samples); n == 0 || now.at.Sub(f.samples[n-1].at) >= figuresEvery {
		f.samples = append(f.samples, now)
	}
	return from
}

// takeSample gathers the counters that the overview shows.
func takeSample(r prometheus.Gatherer) (sample, error) {
	now := sample{at: time.Now(), commands: map[string]float64{}}
	families, err := r.Gather()
	if err != nil {
		return now, err
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			switch f.GetName() {
			case "millstream_commands_total":
				now.commands[label(m, "outcome")] += m.GetCounter().GetValue()
			case "millstream_projector_events_total": // each projector sees every event: the one furthest on counts
				now.events = max(now.events, m.GetCounter().GetValue())
			case "millstream_command_seconds":
				now.call.add(m.GetHistogram())
			case "millstream_append_seconds":
				now.append.add(m.GetHistogram())
			}
		}
	}
	return now, nil
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

func (h *histogram) add(m *dto.Histogram) {
	buckets := m.GetBucket()
	if h.counts == nil {
		h.counts = make([]float64, len(buckets)+1)
		for _, b := range buckets {
			h.upper = append(h.upper, b.GetUpperBound())
		}
	}
	for i, b := range buckets {
		h.counts[i] += float64(b.GetCumulativeCount())
	}
	h.counts[len(buckets)] += float64(m.GetSampleCount())
}

// quantile estimates, in seconds, what a share q of the values since an earlier sample stayed below, as Prometheus
// does: within its bucket a value may lie anywhere. 0: there were none.
func (h histogram) quantile(q float64, earlier histogram) float64 {
	count := func(i int) float64 {
		if i < len(earlier.counts) {
			return h.counts[i] - earlier.counts[i]
		}
		return h.counts[i]
	}
	if len(h.counts) == 0 || count(len(h.upper)) <= 0 {
		return 0
	}
	rank := q * count(len(h.upper))
	lower, below := 0.0, 0.0
	for i, upper := range h.upper {
		n := count(i)
		if n >= rank {
			return lower + (upper-lower)*(rank-below)/math.Max(n-below, 1)
		}
		lower, below = upper, n
	}
	return lower // above the last bound: at least that
}
