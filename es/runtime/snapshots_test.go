package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/money"
)

// memorySnapshots is a snapshotStore whose contents a test may change.
type memorySnapshots struct {
	mu   sync.Mutex
	data map[es.Stream][]byte
	err  error
}

func newMemorySnapshots() *memorySnapshots { return &memorySnapshots{data: map[es.Stream][]byte{}} }

func (m *memorySnapshots) Save(_ context.Context, s es.Stream, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.data[s] = data
	}
	return m.err
}

func (m *memorySnapshots) Load(_ context.Context, s es.Stream) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.data[s], m.err
}

// snapshotting makes an executor that takes snapshots, whose worker is the test (writeSnapshots).
func snapshotting(t testing.TB, log es.Log, store snapshotStore, every uint64) *executor {
	t.Helper()
	x := newTestExecutor(t, log)
	x.snapshots = newSnapshots(store, x.schemas, every, x.metrics)
	return x
}

func (x *executor) writeSnapshots() {
	for len(x.snapshots.queue) > 0 {
		x.snapshots.write(context.Background(), <-x.snapshots.queue)
	}
}

// counted reads a counter.
func counted(c prometheus.Counter) float64 {
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		panic(err)
	}
	return m.GetCounter().GetValue()
}

func (x *executor) snapshotsRead(result string) float64 {
	return counted(x.metrics.snapshotsRead.WithLabelValues(result))
}

func put(t testing.TB, x *executor, id string, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		wantOutcome(t, x.execute(context.Background(), request(id, putCoins{1}, fmt.Sprintf("c-%d", i))), es.Accepted)
	}
}

func TestASnapshotSparesTheHistoryItStandsFor(t *testing.T) {
	t.Parallel()
	log, store := memoryLog(t), newMemorySnapshots()
	x := snapshotting(t, log, store, 10)
	first := x.execute(t.Context(), request("a", putCoins{5}, "c-0"))
	put(t, x, "a", 1, 24)
	if n := len(x.snapshots.queue); n != 2 {
		t.Errorf("%d snapshots are due after 25 events, want 2", n)
	}
	x.writeSnapshots()
	for _, again := range []*executor{snapshotting(t, log, store, 10), x} {
		if diff := cmp.Diff(first, again.execute(t.Context(), request("a", putCoins{5}, "c-0"))); diff != "" {
			t.Errorf("a command that only the snapshot remembers is answered otherwise:\n%s", diff)
		}
		inst, err := again.load(t.Context(), pots.Stream("a"))
		if err != nil {
			t.Fatal(err)
		}
		if inst.state.State() != (pot{Coins: 29}) || inst.version != 25 || inst.snapshotted != 20 || len(inst.order) != 25 {
			t.Errorf("%+v", inst)
		}
		wantOutcome(t, again.execute(t.Context(), request("a", putCoins{6}, "c-0")), es.Invalid)
	}
	if used := x.snapshotsRead(snapshotUsed); used != 1 {
		t.Errorf("the snapshot was used %v times, want 1", used)
	}
}

func TestASnapshotRemembersThe256LastCommands(t *testing.T) {
	t.Parallel()
	log, store := memoryLog(t), newMemorySnapshots()
	x := snapshotting(t, log, store, 300)
	put(t, x, "a", 1, 300)
	x.writeSnapshots()
	again := snapshotting(t, log, store, 300)
	if reply := again.execute(t.Context(), request("a", putCoins{1}, "c-45")); reply.Version != 45 {
		t.Errorf("the oldest remembered command is answered with version %d, want 45", reply.Version)
	}
	if reply := again.execute(t.Context(), request("a", putCoins{1}, "c-44")); reply.Version != 301 {
		t.Errorf("a forgotten command is answered with version %d, want 301", reply.Version)
	}
}

func TestSnapshotsThatDoNotFitAreIgnoredCountedAndReplaced(t *testing.T) {
	t.Parallel()
	reseal := func(t *testing.T, data []byte, change func(*snapshot)) []byte {
		snap, why := open(data)
		if why != "" {
			t.Fatal(why)
		}
		change(&snap)
		body, err := json.Marshal(snap)
		if err != nil {
			t.Fatal(err)
		}
		if data, err = json.Marshal(sealed{checksum(body), body}); err != nil {
			t.Fatal(err)
		}
		return data
	}
	changed := func(change func(*snapshot)) func(*testing.T, []byte) []byte {
		return func(t *testing.T, data []byte) []byte { return reseal(t, data, change) }
	}
	for _, test := range []struct {
		name   string
		lie    func(*testing.T, []byte) []byte
		result string
	}{
		{"a flipped bit in the state", func(_ *testing.T, data []byte) []byte {
			return []byte(strings.Replace(string(data), `{"Coins":10}`, `{"Coins":11}`, 1))
		}, snapshotDamaged},
		{"cut off", func(_ *testing.T, data []byte) []byte { return data[:len(data)-9] }, snapshotUnreadable},
		{"empty", func(*testing.T, []byte) []byte { return []byte{} }, snapshotUnreadable},
		{"no snapshot at all", func(*testing.T, []byte) []byte {
			return []byte(`{"checksum":"` + checksum([]byte("{}")) + `","snapshot":{}}`)
		}, snapshotUnreadable},
		{"another event id", changed(func(s *snapshot) { s.EventID = "c-99/1" }), snapshotOtherLog},
		{"another version", changed(func(s *snapshot) { s.Version = 9 }), snapshotOtherLog},
		{"another time, of the same command sent again", changed(func(s *snapshot) { s.Time = s.Time.Add(time.Microsecond) }), snapshotOtherLog},
		{"an older revision", changed(func(s *snapshot) { s.Revision-- }), snapshotOtherLog},
		{"a revision of another stream", changed(func(s *snapshot) { s.Revision = 1 }), snapshotOtherLog},
		{"a future revision", changed(func(s *snapshot) { s.Revision += 100 }), snapshotOtherLog},
		{"another schema", changed(func(s *snapshot) { s.Schema = "0123" }), snapshotOtherSchema},
		{"another state", changed(func(s *snapshot) { s.State = json.RawMessage(`{"Coins":"many"}`) }), snapshotOtherState},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			log, store := memoryLog(t), newMemorySnapshots()
			x := snapshotting(t, log, store, 10)
			put(t, x, "other", 1, 1)
			put(t, x, "a", 1, 10)
			x.writeSnapshots()
			put(t, x, "a", 11, 12)
			stream := pots.Stream("a")
			lie := test.lie(t, store.data[stream])
			if string(lie) == string(store.data[stream]) {
				t.Fatal("the lie is the truth")
			}
			store.data[stream] = lie
			again := snapshotting(t, log, store, 10)
			if reply := again.execute(t.Context(), request("a", takeCoins{Coins: 12}, "t")); reply.Outcome != es.Accepted || reply.Version != 13 {
				t.Errorf("%+v %+v", reply, reply.Error)
			}
			if n := again.snapshotsRead(test.result); n != 1 {
				t.Errorf("counted as %s %v times, want once", test.result, n)
			}
			again.writeSnapshots()
			after := snapshotting(t, log, store, 10)
			if inst, err := after.load(t.Context(), stream); err != nil || inst.version != 13 || inst.state.State() != (pot{}) || after.snapshotsRead(snapshotUsed) != 1 {
				t.Errorf("the next load does not find a good one: %+v, %v", inst, err)
			}
		})
	}
}

// TestASnapshotAheadOfALogThatLostItsTailIsIgnored plays fast mode after a power cut: revisions are used again.
func TestASnapshotAheadOfALogThatLostItsTailIsIgnored(t *testing.T) {
	t.Parallel()
	log, store := memoryLog(t), newMemorySnapshots()
	x := snapshotting(t, log, store, 10)
	put(t, x, "a", 1, 20)
	x.writeSnapshots()
	for name, continued := range map[string]int{"shorter": 12, "as long": 20, "longer": 25} {
		lost := memoryLog(t)
		put(t, newTestExecutor(t, lost), "a", 1, 7)
		for i := 8; i <= continued; i++ { // other commands than before; the last is one of those that were lost
			id := fmt.Sprintf("d-%d", i)
			if i == 20 {
				id = "c-20"
			}
			wantOutcome(t, newTestExecutor(t, lost).execute(t.Context(), request("a", putCoins{3}, id)), es.Accepted)
		}
		again := snapshotting(t, lost, store, 10)
		inst, err := again.load(t.Context(), pots.Stream("a"))
		if err != nil || inst.state.State() != (pot{7 + 3*(continued-7)}) || again.snapshotsRead(snapshotOtherLog) != 1 {
			t.Errorf("%s: %+v, %v", name, inst, err)
		}
	}
}

func TestABusyOrBrokenSnapshotStoreHindersNobody(t *testing.T) {
	t.Parallel()
	log, store := memoryLog(t), newMemorySnapshots()
	x := snapshotting(t, log, store, 1)
	put(t, x, "a", 1, snapshotQueue+5) // nobody works the queue off
	if n := counted(x.metrics.snapshotsWritten.WithLabelValues("dropped")); n != 5 {
		t.Errorf("%v were dropped, want 5", n)
	}
	store.err = errors.New("test")
	x.writeSnapshots()
	put(t, x, "a", snapshotQueue+6, snapshotQueue+6)
	if n := len(x.snapshots.queue); n != 1 {
		t.Errorf("after a pause %d are offered, want 1", n)
	}
	if n := counted(x.metrics.snapshotsWritten.WithLabelValues("failed")); n != snapshotQueue {
		t.Errorf("%v failed, want %d", n, snapshotQueue)
	}
	again := snapshotting(t, log, store, 1)
	if inst, err := again.load(t.Context(), pots.Stream("a")); err != nil || inst.version != snapshotQueue+6 || again.snapshotsRead(snapshotUnavailable) != 1 {
		t.Errorf("%+v, %v", inst, err)
	}
}

func TestALoadThatCostTooMuchIsSnapshotted(t *testing.T) {
	t.Parallel()
	log, store := memoryLog(t), newMemorySnapshots()
	put(t, newTestExecutor(t, log), "a", 1, 3)
	x := snapshotting(t, log, store, 100)
	now := time.Now()
	x.now = func() time.Time { now = now.Add(costlyLoad + 1); return now }
	for range 2 {
		if _, err := x.load(t.Context(), pots.Stream("a")); err != nil {
			t.Fatal(err)
		}
		x.writeSnapshots()
	}
	if n := counted(x.metrics.snapshotsWritten.WithLabelValues("written")); n != 1 {
		t.Errorf("%v snapshots were written, want 1: the second load had nothing new", n)
	}
}

// recounted looks like a pot and counts otherwise.
type recounted pot

func (recounted) Decide(potCommand, es.Meta) ([]potEvent, error) { return nil, nil }
func (r recounted) Evolve(potEvent) recounted                    { return r }
func (recounted) StateVersion() int                              { return 1 }

func TestAStateVersionMakesOlderSnapshotsOthers(t *testing.T) {
	t.Parallel()
	before, err := stateHash(pots)
	if err != nil {
		t.Fatal(err)
	}
	if after, err := stateHash(es.Define[recounted]("pot", putCoins{})); err != nil || after == before {
		t.Errorf("%s and %s, %v", before, after, err)
	}
}

// written has JSON of its own making, which nobody reads back into it.
type written struct{ Shown, Kept int }

func (w written) MarshalJSON() ([]byte, error) { return json.Marshal(map[string]int{"Shown": w.Shown}) }

// read takes JSON in its own way, which is not how it is written.
type read struct{ Twice int }

func (r *read) UnmarshalJSON(data []byte) error {
	r.Twice *= 2
	return json.Unmarshal(data, &struct{}{})
}

func TestOnlyStatesThatSurviveJSONAreSnapshotted(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		state any
		lost  string
	}{
		{pot{}, ""},
		{struct {
			At    time.Time
			Sum   money.Decimal
			Items map[string][]*struct{ N int }
		}{}, ""},
		{struct{ hidden int }{}, "hidden"},
		{struct {
			Left int `json:"-"`
		}{}, "Left"},
		{struct{ Deep []struct{ hidden int } }{}, "Deep.hidden"},
		{struct{ Any any }{}, "Any"},
		{struct{ Half written }{}, "Half"},
		{struct{ By map[string]written }{}, "By"},
		{struct{ Half read }{}, "Half"},
	} {
		typ := reflect.TypeOf(test.state)
		err := survivesJSON(typ, typ.Name())
		if (err == nil) != (test.lost == "") || err != nil && !strings.Contains(err.Error(), test.lost) {
			t.Errorf("%s: %v, want %q to be named", typ, err, test.lost)
		}
	}
}

func TestAnEngineWritesAndUsesSnapshots(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	registry := prometheus.NewRegistry()
	e := s.start(t, func(c *Config) { c.SnapshotEvery, c.Metrics = 5, registry })
	for i := range 12 {
		wantOutcome(t, e.Execute(t.Context(), request("a", putCoins{1}, fmt.Sprintf("c-%d", i))), es.Accepted)
	}
	eventually(t, "two snapshots", func() bool {
		return counted(e.metrics.snapshotsWritten.WithLabelValues("written")) == 2
	})
	closeEngine(t, e)
	e = s.start(t)
	if n := potCoins(t, e, "a"); n != 12 || counted(e.metrics.snapshotsRead.WithLabelValues(snapshotUsed)) != 1 {
		t.Errorf("%d coins, want 12, from a snapshot and its tail", n)
	}
	wantOutcome(t, e.Execute(t.Context(), request("a", takeCoins{Coins: 13}, "t")), es.RejectedReply)
}
