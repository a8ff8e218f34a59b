package runtime

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

func TestAProcessIsStuckWhenItWillNotGoOnByItself(t *testing.T) {
	t.Parallel()
	stored := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) map[string]timer { return map[string]timer{"carry": {"ms-1", stored.Add(d)}} }
	owes := []effect{{Kind: "send", Stream: "pot/b", Type: "PutCoins", ID: "ms-2"}}
	for _, c := range []struct {
		name    string
		is      transition
		letters []string
		after   time.Duration
		want    ProcessState
		why     string
	}{
		{"waits for its timer", transition{Timers: at(time.Hour)}, nil, 59 * time.Minute, ProcessOpen, ""},
		{"its timer is late", transition{Timers: at(time.Hour)}, nil, 60*time.Minute + 50*time.Second, ProcessOpen, ""},
		{"its timer is overdue", transition{Timers: at(time.Hour)}, nil, 62 * time.Minute, ProcessStuck, "its timer carry was due at 2026-01-31T13:00:00Z"},
		{"waits without a timer", transition{}, nil, 14 * time.Minute, ProcessOpen, ""},
		{"is silent", transition{}, nil, 16 * time.Minute, ProcessStuck, "silent since 2026-01-31T12:00:00Z"},
		{"has sent a command just now", transition{Effects: owes}, nil, 5 * time.Second, ProcessOpen, ""},
		{"hears no answer", transition{Effects: owes}, nil, time.Minute, ProcessStuck, "no answer from pot/b to PutCoins"},
		{"is done", transition{Done: true}, nil, time.Hour, ProcessDone, ""},
		{"is done, but for a command", transition{Done: true, Effects: owes}, nil, time.Minute, ProcessStuck, "no answer"},
		{"could not hear an event", transition{Timers: at(time.Hour)}, []string{"ms-letter"}, 0, ProcessStuck, "dead letter ms-letter"},
		{"is done and missed an event", transition{Done: true}, []string{"ms-letter"}, 0, ProcessStuck, "dead letter"},
		{"has a state of another program", transition{State: json.RawMessage(`[]`), Timers: at(time.Hour)}, nil, 0, ProcessStuck, "does not fit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.is.State == nil {
				c.is.State = json.RawMessage(`{}`)
			}
			data, err := json.Marshal(c.is)
			if err != nil {
				t.Fatal(err)
			}
			letters := map[string][]string{"carter/a": c.letters, "carter/b": {"ms-other"}}
			p, err := newProcess(carters, natsstore.SagaEntry{Key: "a", Data: data, Sequence: 1, Time: stored}, letters, stored.Add(c.after))
			if err != nil {
				t.Fatal(err)
			}
			if why := strings.Join(p.Stuck, "; "); p.State != c.want || !strings.Contains(why, c.why) || c.why == "" && why != "" {
				t.Errorf("%s because %q, want %s because %q", p.State, why, c.want, c.why)
			}
		})
	}
}

func TestWhatOperatorsDoIsOnRecord(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, withCarters)
	s.begun(t, e, "a")
	if _, err := s.actOn(t, RetryProcess, "carter", "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := PauseProjection(t.Context(), s.conn, ProjectionRequest{Name: "pots", By: "eve", Reason: "a look"}); err != nil {
		t.Fatal(err)
	}
	if _, err := ResumeProjection(t.Context(), s.conn, ProjectionRequest{Name: "pots", By: "eve", Skip: 7, Reason: "why not"}); err == nil {
		t.Fatal("a projector that is not halted skipped a commit")
	}
	if _, err := Verify(t.Context(), s.conn, ProjectionRequest{Name: "pots", By: "ada"}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := PauseProjection(t.Context(), s.conn, ProjectionRequest{Name: "pots"}); Status(err) != 400 {
		t.Errorf("nobody paused a projector: %v", err)
	}
	if _, err := s.js.Publish(t.Context(), "operations.something.else", []byte("no JSON")); err != nil {
		t.Fatal(err)
	}
	all, next, err := Audit(t.Context(), s.js, AuditFilter{}, 0, 10)
	if err != nil || next != 0 || len(all) != 5 {
		t.Fatalf("%+v, next %d, %v", all, next, err)
	}
	for i, want := range []AuditEntry{
		{What: "something", On: "else"},
		{What: OnProjections, On: "pots", Kind: "verify", By: "ada", State: "equal"},
		{What: OnProjections, On: "pots", Kind: "skip", By: "eve", Reason: "why not"},
		{What: OnProjections, On: "pots", Kind: "pause", By: "eve", Reason: "a look"},
		{What: OnSagas, On: "carter/a", Kind: "retry", By: "ada", Reason: "a test", State: "open"},
	} {
		got := all[i]
		failed := i == 0 || i == 2
		if (got.Error != "") != failed || got.Time.IsZero() || got.Sequence != uint64(5-i) || (got.Record == nil) != (i == 0) {
			t.Errorf("entry %d: %+v", i, got)
		}
		got.Error, got.Time, got.Sequence, got.Record = "", time.Time{}, 0, nil
		if got.What != want.What || got.On != want.On || got.Kind != want.Kind || got.By != want.By || got.Reason != want.Reason || got.State != want.State {
			t.Errorf("entry %d: %+v, want %+v", i, got, want)
		}
	}
	page, next, err := Audit(t.Context(), s.js, AuditFilter{By: "eve"}, 0, 1)
	if err != nil || len(page) != 1 || page[0].Kind != "skip" || next != 3 {
		t.Errorf("the first page of eve's: %+v, next %d, %v", page, next, err)
	}
	if page, next, err = Audit(t.Context(), s.js, AuditFilter{By: "eve"}, next, 5); err != nil || len(page) != 1 || page[0].Kind != "pause" || next != 0 {
		t.Errorf("the second page of eve's: %+v, next %d, %v", page, next, err)
	}
	on, err := ActionsOn(t.Context(), s.js, OnProjections, "pots")
	if err != nil || len(on) != 3 || on[0].Kind != "pause" {
		t.Errorf("on the projector: %+v, %v", on, err)
	}
}

func TestASnapshotIsOnlyACache(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, func(c *Config) { c.SnapshotEvery = 2 })
	store, err := NewSnapshotStore(s.conn, e.schemas, e.log)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b"} {
		for range 2 {
			wantOutcome(t, e.Execute(t.Context(), request(id, putCoins{1}, "")), es.Accepted)
		}
		eventually(t, "the snapshot of "+id, func() bool {
			m, err := natsstore.Newest(t.Context(), s.js, natsstore.SnapshotsStream, "snapshots.pot."+id)
			return err == nil && m != nil
		})
	}
	page, next, err := store.List(t.Context(), "pot", "", 1)
	if err != nil || len(page) != 1 || page[0].Stream != "pot/a" || page[0].Version != 2 || next == "" {
		t.Fatalf("%+v, next %q, %v", page, next, err)
	}
	if page, next, err = store.List(t.Context(), "", next, 1); err != nil || len(page) != 1 || page[0].Stream != "pot/b" || next != "" {
		t.Errorf("the second page: %+v, next %q, %v", page, next, err)
	}
	if _, _, err := store.List(t.Context(), "pit", "", 1); Status(err) != 404 {
		t.Errorf("a category that is none: %v", err)
	}
	d, err := store.Show(t.Context(), pots.Stream("a"))
	if err != nil || !d.Fits || string(d.State) != `{"Coins":2}` || d.Commands != 2 || d.Revision != 2 {
		t.Errorf("%+v %s, %v", d, d.State, err)
	}
	if _, err := s.js.Publish(t.Context(), "snapshots.pot.b", []byte(`{"checksum":"no","snapshot":{}}`)); err != nil {
		t.Fatal(err)
	}
	if d, err := store.Show(t.Context(), pots.Stream("b")); err != nil || d.Fits || d.Ignored != snapshotDamaged || d.Fault != snapshotDamaged {
		t.Errorf("a damaged one: %+v, %v", d, err)
	}
	if err := store.Drop(t.Context(), pots.Stream("a"), "", "it looks odd"); Status(err) != 400 {
		t.Errorf("nobody dropped it: %v", err)
	}
	if err := store.Drop(t.Context(), pots.Stream("a"), "ada", "it looks odd"); err != nil {
		t.Fatal(err)
	}
	_, err = store.Show(t.Context(), pots.Stream("a"))
	wantCode(t, err, "snapshot_not_found")
	wantCode(t, store.Drop(t.Context(), pots.Stream("a"), "ada", "again"), "snapshot_not_found")
	if on, err := ActionsOn(t.Context(), s.js, OnSnapshots, "pot/a"); err != nil || len(on) != 1 || on[0].By != "ada" || on[0].Reason != "it looks odd" {
		t.Errorf("on record: %+v, %v", on, err)
	}
	if n := potCoins(t, e, "a"); n != 2 {
		t.Errorf("%d coins after the drop, want 2", n)
	}
}

func TestTheOverviewShowsRatesAndWhatIsStuck(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, withCarters)
	s.begun(t, e, "a")
	wantOutcome(t, e.Execute(t.Context(), request("a", takeCoins{Coins: 100}, "")), es.RejectedReply)
	eventually(t, "the projectors", func() bool {
		o, err := e.Overview(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return o.Events.Total == 2 && o.Projectors[0].Lag == 0
	})
	o, err := e.Overview(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if o.Commands.Total[es.Accepted] != 2 || o.Commands.Total[es.RejectedReply] != 1 || o.Revision != 2 || o.Node != e.node || o.Domain != "pots" ||
		o.Durability != es.Fast || len(o.Projectors) != 2 || o.DeadLetters != 0 || o.Window <= 0 || o.Uptime <= 0 || len(o.Checks) == 0 {
		t.Errorf("%+v", o)
	}
	if len(o.Sagas) != 2 || o.Sagas[1].Saga != "carter" {
		t.Errorf("sagas %+v", o.Sagas)
	}
}

func TestRatesAreOfTheLastMinute(t *testing.T) {
	t.Parallel()
	r := prometheus.NewRegistry()
	commands := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millstream_commands_total"}, []string{"outcome"})
	seconds := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "millstream_command_seconds", Buckets: []float64{0.1, 0.2, 0.4}})
	r.MustRegister(commands, seconds)
	start := time.Now()
	var f figures
	look := func(after time.Duration) Overview {
		t.Helper()
		now, err := takeSample(r)
		if err != nil {
			t.Fatal(err)
		}
		now.at = start.Add(after)
		var o Overview
		o.rates(now, f.since(now, start))
		return o
	}
	commands.WithLabelValues("accepted").Add(100)
	seconds.Observe(0.3)
	if o := look(10 * time.Second); o.Window != 10 || o.Commands.PerSecond[es.Accepted] != 10 || o.Commands.Latency.P50 <= 0.2 || o.Commands.Latency.P50 > 0.4 {
		t.Errorf("since the start: %+v", o.Commands)
	}
	commands.WithLabelValues("accepted").Add(60)
	for range 98 {
		seconds.Observe(0.05)
	}
	seconds.Observe(0.15)
	seconds.Observe(0.15)
	if o := look(40 * time.Second); o.Window != 30 || o.Commands.PerSecond[es.Accepted] != 2 || o.Commands.Latency.P50 > 0.1 || o.Commands.Latency.P99 < 0.1 || o.Commands.Latency.P99 > 0.2 {
		t.Errorf("since the first look: %+v", o.Commands)
	}
	if o := look(75 * time.Second); o.Window != 65 || o.Commands.PerSecond[es.Accepted] != 60.0/65 {
		t.Errorf("since the look a minute ago: %+v", o)
	}
	if o := look(101 * time.Second); o.Window != 61 || o.Commands.PerSecond[es.Accepted] != 0 || o.Commands.Latency != (Quantiles{}) {
		t.Errorf("nothing happened: %+v", o)
	}
}
