package natsstore_test

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	millstream "github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var back, side = es.Stream{Category: "door", ID: "back"}, es.Stream{Category: "door", ID: "side"}

// doors are the first commits of three streams, of one command.
func doors() []es.Commit {
	return []es.Commit{
		natsstore.CommitOf(natsstore.Front, 1, 0, natsstore.Opened{By: "ada"}, natsstore.Closed{}),
		natsstore.CommitOf(back, 1, 0, natsstore.Opened{By: "bob"}),
		natsstore.CommitOf(side, 1, 0, natsstore.Closed{}),
	}
}

func TestFastModeOnOneNodeRefusesToStoreTogether(t *testing.T) {
	t.Parallel()
	nc := inProcess(t, estest.StartServer(t, millstream.NATSConf))
	estest.SetUp(t, nc, 1)
	log, err := natsstore.NewLog(nc, natsstore.Codec(t), natsstore.Unsynced)
	if err != nil {
		t.Fatal(err)
	}
	var invalid *es.InvalidError
	if _, err := log.AppendAll(t.Context(), doors()...); !errors.As(err, &invalid) || invalid.Code != "not_atomic" || !strings.Contains(invalid.Message, "durable") {
		t.Errorf("three streams: %v", err)
	}
	if last, err := log.LastRevision(t.Context()); err != nil || last != 0 {
		t.Errorf("the log is at %d, %v", last, err)
	}
	if _, err := log.AppendAll(t.Context(), doors()[0]); err != nil {
		t.Errorf("one stream needs no batch: %v", err)
	}
}

func TestTogetherOnAClusterAlsoWhenItAcknowledgesBeforeSyncing(t *testing.T) {
	t.Parallel()
	cluster := estest.StartCluster(t, millstream.NATSConf, 3)
	nc := cluster.Connect(t)
	estest.SetUp(t, nc, 3)
	log, err := natsstore.NewLog(nc, natsstore.Codec(t), natsstore.Unsynced)
	if err != nil {
		t.Fatal(err)
	}
	last, err := log.AppendAll(t.Context(), doors()...)
	if err != nil || last != 3 {
		t.Fatalf("revision %d, %v", last, err)
	}
	if _, err := log.AppendAll(t.Context(), doors()...); !errors.Is(err, es.ErrConflict) {
		t.Errorf("again: %v", err)
	}
}

func TestTooLargeTogetherIsRefusedAndLeavesNothing(t *testing.T) {
	t.Parallel()
	log := open(t, inProcess(t, estest.StartServer(t, millstream.NATSConf)), natsstore.Codec(t), 1)
	for name, by := range map[string]int{"more than the server takes": 4 << 20, "more than the first can carry": 100 << 10} {
		commits := []es.Commit{doors()[0], natsstore.CommitOf(back, 1, 0, natsstore.Opened{By: strings.Repeat("x", by)})}
		var invalid *es.InvalidError
		if _, err := log.AppendAll(t.Context(), commits...); !errors.As(err, &invalid) || invalid.Code != "too_large" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if last, err := log.AppendAll(t.Context(), doors()...); err != nil || last != 3 {
		t.Errorf("then: revision %d, %v", last, err)
	}
}

// storedMessages reads a log's messages as they stand.
func storedMessages(t *testing.T, nc *nats.Conn) []*nats.Msg {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), natsstore.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	var all []*nats.Msg
	for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
		m, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data})
	}
	return all
}

// TestHalfOfWhatBelongsTogetherIsMended plays a power cut: a server that has only the first ones, as the log's last.
func TestHalfOfWhatBelongsTogetherIsMended(t *testing.T) {
	t.Parallel()
	whole := inProcess(t, estest.StartServer(t, millstream.NATSConf))
	want := open(t, whole, natsstore.Codec(t), 1)
	if _, err := want.AppendAll(t.Context(), doors()...); err != nil {
		t.Fatal(err)
	}
	messages := storedMessages(t, whole)
	if messages[0].Header.Get("Nats-Batch-Id") == "" {
		t.Fatal("not stored as a batch")
	}
	for i, m := range messages {
		for _, name := range []string{"Nats-Batch-Id", "Nats-Batch-Sequence", "Nats-Batch-Commit"} {
			m.Header.Del(name) // the server would begin a batch
		}
		if more := natsstore.MoreFollow(m.Header); more != (i < 2) {
			t.Errorf("message %d: more follow is %v", i+1, more)
		}
	}
	tear := func(t *testing.T, kept int, change func(*nats.Msg)) *natsstore.Log {
		nc := inProcess(t, estest.StartServer(t, millstream.NATSConf))
		log := open(t, nc, natsstore.Codec(t), 1)
		for _, m := range messages[:kept] {
			m := &nats.Msg{Subject: m.Subject, Header: maps.Clone(m.Header), Data: m.Data}
			change(m)
			if _, err := nc.RequestMsg(m, 5*time.Second); err != nil {
				t.Fatal(err)
			}
		}
		return log
	}
	for kept := range 4 {
		log := tear(t, kept, func(*nats.Msg) {})
		for range 2 { // also when it is called again, or there is nothing to do
			if err := log.Mend(t.Context()); err != nil {
				t.Fatalf("%d of 3: %v", kept, err)
			}
		}
		for _, s := range []es.Stream{natsstore.Front, back, side} {
			for _, r := range []es.Range{{}, {UpTo: 1}, {UpTo: 2}} {
				got, err := log.Load(t.Context(), s, r)
				expected := es.History{}
				var err2 error
				if kept > 0 {
					expected, err2 = want.Load(t.Context(), s, r)
				}
				if diff := cmp.Diff(expected, got); diff != "" || err != nil || err2 != nil {
					t.Errorf("%d of 3: load %s %+v: %v, %v (-want +got)\n%s", kept, s, r, err, err2, diff)
				}
			}
		}
	}
	t.Run("what cannot be mended is corruption", func(t *testing.T) {
		log := tear(t, 2, func(m *nats.Msg) { m.Header.Del("Millstream-Rest") })
		if err := log.Mend(t.Context()); !errors.Is(err, es.ErrCorrupt) || !strings.Contains(err.Error(), "commit 2 of 3") {
			t.Errorf("got %v", err)
		}
	})
}

func TestSnapshotsKeepTheLastOfEachStream(t *testing.T) {
	t.Parallel()
	nc := inProcess(t, estest.StartServer(t, millstream.NATSConf))
	snapshots := natsstore.NewSnapshots(nc)
	if _, err := snapshots.Load(t.Context(), natsstore.Front); !errors.Is(err, es.ErrTransient) {
		t.Errorf("without the streams: %v", err)
	}
	estest.SetUp(t, nc, 1)
	if data, err := snapshots.Load(t.Context(), natsstore.Front); err != nil || data != nil {
		t.Errorf("none yet: %q, %v", data, err)
	}
	for _, text := range []string{"one", "two"} {
		if err := snapshots.Save(t.Context(), natsstore.Front, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if data, err := snapshots.Load(t.Context(), natsstore.Front); err != nil || string(data) != "two" {
		t.Errorf("got %q, %v", data, err)
	}
	if data, err := snapshots.Load(t.Context(), back); err != nil || data != nil {
		t.Errorf("another stream: %q, %v", data, err)
	}
	if err := snapshots.Save(t.Context(), es.Stream{Category: "door", ID: "*"}, nil); !errors.Is(err, es.ErrPermanent) {
		t.Errorf("a forbidden id: %v", err)
	}
}
