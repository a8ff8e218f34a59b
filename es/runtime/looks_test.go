package runtime

import (
	"testing"

	"github.com/millstream-es/millstream/es"
)

// TestWhatIsLookedForAtAScrape looks at figures that nobody has asked for before.
func TestWhatIsLookedForAtAScrape(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t)
	wantOutcome(t, e.Execute(t.Context(), request("slow", putCoins{5}, "c-1")), es.Accepted)
	wantOutcome(t, e.Execute(t.Context(), request("slow", takeCoins{2, "b"}, "c-2")), es.Accepted)
	value := func(name string, labels map[string]string) (float64, bool) {
		families, err := e.Metrics().Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				matches := f.GetName() == name
				for l, v := range labels {
					matches = matches && label(m, l) == v
				}
				if matches {
					return m.GetGauge().GetValue(), true
				}
			}
		}
		return 0, false
	}
	for _, want := range []struct {
		name   string
		labels map[string]string
		value  float64
	}{
		{"millstream_log_reachable", nil, 1},
		{"millstream_log_revision", nil, 2},
		{"millstream_projector_lag_revisions", map[string]string{"projector": "pots"}, 0},
		{"millstream_projector_state", map[string]string{"projector": "pots", "state": Running}, 1},
		{"millstream_projector_state", map[string]string{"projector": "pots", "state": Halted}, 0},
		{"millstream_dead_letters_open", nil, 0},
		{"millstream_commands_queued", nil, 0},
		{"millstream_faults", nil, 0},
		{"millstream_saga_processes", map[string]string{"saga": "mover", "state": "stuck"}, 0},
	} {
		eventually(t, want.name, func() bool {
			v, found := value(want.name, want.labels)
			return found && v == want.value
		})
	}
	// The first count may have come before the saga heard of it: another is not waited for here.
	eventually(t, "one open process, counted again", func() bool {
		e.looks.mu.Lock()
		if !e.looks.counting {
			e.looks.recount = e.looks.at
		}
		e.looks.mu.Unlock()
		open, found := value("millstream_saga_processes", map[string]string{"saga": "mover", "state": "open"})
		oldest, _ := value("millstream_saga_oldest_seconds", map[string]string{"saga": "mover"})
		return found && open == 1 && oldest > 0
	})
	closeEngine(t, e)
	if _, found := value("millstream_log_reachable", nil); found {
		t.Error("a closed engine says how the log is")
	}
}
