package natsstore

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
)

const front = "events.door.front"

// paged is a message as a direct get answers it: sequence seq, said to follow previous.
func paged(seq, previous uint64) *nats.Msg {
	return &nats.Msg{Header: nats.Header{
		headerSubject: {front}, headerSeq: {strconv.FormatUint(seq, 10)}, headerLastSeq: {strconv.FormatUint(previous, 10)},
	}}
}

func end(last, pending uint64) *nats.Msg {
	return &nats.Msg{Header: nats.Header{
		"Status": {"204"}, "Description": {"EOB"}, headerLastSeq: {strconv.FormatUint(last, 10)}, headerPending: {strconv.FormatUint(pending, 10)},
	}}
}

func status(code string) *nats.Msg { return &nats.Msg{Header: nats.Header{"Status": {code}}} }

func TestVerifyBelievesOnlyWholePages(t *testing.T) {
	t.Parallel()
	foreign := paged(4, 0)
	foreign.Header.Set(headerSubject, "events.door.back")
	for _, test := range []struct {
		name  string
		after uint64
		page  []*nats.Msg
		found []uint64
		more  bool
		err   error
	}{
		{name: "a whole page", page: []*nats.Msg{paged(4, 0), paged(9, 4), end(9, 0)}, found: []uint64{4, 9}},
		{name: "a page with more to come", page: []*nats.Msg{paged(4, 0), paged(9, 4), end(9, 3)}, found: []uint64{4, 9}, more: true},
		{name: "nothing there", page: []*nats.Msg{status("404")}},
		{name: "no end", page: []*nats.Msg{paged(4, 0), paged(9, 4)}, found: []uint64{4, 9}, err: es.ErrTransient},
		{name: "no answer at all", err: es.ErrTransient},
		{name: "one lost in the middle", page: []*nats.Msg{paged(4, 0), paged(9, 7), end(9, 0)}, found: []uint64{4}, err: es.ErrTransient},
		{name: "the first lost", page: []*nats.Msg{paged(9, 4), end(9, 0)}, err: es.ErrTransient},
		{name: "the last lost", page: []*nats.Msg{paged(4, 0), end(9, 0)}, found: []uint64{4}, err: es.ErrTransient},
		{name: "all lost but the end", page: []*nats.Msg{end(9, 0)}, err: es.ErrTransient},
		{name: "the same twice", page: []*nats.Msg{paged(4, 0), paged(4, 4), end(4, 0)}, found: []uint64{4}, err: es.ErrTransient},
		{name: "older than asked for", after: 5, page: []*nats.Msg{paged(4, 0), end(4, 0)}, err: es.ErrTransient},
		{name: "of another subject", page: []*nats.Msg{foreign, end(4, 0)}, err: es.ErrTransient},
		{name: "without sequence", page: []*nats.Msg{{Header: nats.Header{headerSubject: {front}}}, end(4, 0)}, err: es.ErrTransient},
		{name: "an end without last sequence", page: []*nats.Msg{status("204")}, err: es.ErrTransient},
		{name: "an end in the middle", page: []*nats.Msg{paged(4, 0), end(4, 1), paged(9, 4)}, found: []uint64{4}, err: es.ErrTransient},
		{name: "nobody answers", page: []*nats.Msg{status("503")}, err: es.ErrTransient},
		{name: "not found in the middle", page: []*nats.Msg{paged(4, 0), status("404")}, found: []uint64{4}, err: es.ErrTransient},
		{name: "a refused request", page: []*nats.Msg{status("408")}, err: es.ErrPermanent},
	} {
		t.Run(test.name, func(t *testing.T) {
			found, more, err := verify(front, test.after, test.page)
			var seqs []uint64
			for _, s := range found {
				seqs = append(seqs, s.seq)
			}
			if !slices.Equal(seqs, test.found) || more != test.more || !errors.Is(err, test.err) || (err == nil) != (test.err == nil) {
				t.Errorf("got %v, more %v, %v; want %v, more %v, %v", seqs, more, err, test.found, test.more, test.err)
			}
		})
	}
}

func TestVersionGapIsNotTakenIn(t *testing.T) {
	t.Parallel()
	codec := Codec(t)
	msg := func(version uint64, events ...es.Event) stored {
		if len(events) == 0 {
			events = []es.Event{Closed{}}
		}
		m, err := encode(codec, CommitOf(Front, version, 1<<40, events...))
		if err != nil {
			t.Fatal(err)
		}
		return stored{&nats.Msg{Subject: front, Header: m.Header, Data: m.Data}, 10 * version}
	}
	for _, test := range []struct {
		name   string
		anchor uint64
		in     []stored
		gap    bool
	}{
		{"from 1 without a gap", 0, []stored{msg(1), msg(2, Opened{}, Closed{}), msg(4)}, false},
		{"the first is missing", 0, []stored{msg(2)}, true},
		{"one is missing", 0, []stored{msg(1), msg(3)}, true},
		{"one of several is missing", 0, []stored{msg(1, Opened{}, Closed{}), msg(2)}, true},
		{"after a snapshot", 5, []stored{msg(6), msg(7)}, false},
		{"the first is missing after a snapshot", 5, []stored{msg(7)}, true},
		{"one is missing after a snapshot", 5, []stored{msg(6), msg(8)}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := &history{log: &Log{codec: codec}, subject: front, version: test.anchor}
			var err error
			for _, m := range test.in {
				if err = h.add(m); err != nil {
					break
				}
			}
			if errors.Is(err, errGap) != test.gap || err != nil && !test.gap {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestLoadGoesToTheLeaderForWhatAReplicaDoesNotShow plays the replica: whatever it answers or leaves out, the history is whole.
func TestLoadGoesToTheLeaderForWhatAReplicaDoesNotShow(t *testing.T) {
	t.Parallel()
	nc := serve(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	// Without AllowDirect no server answers a direct get, so this test can.
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: EventsStream, Subjects: []string{"events.*.*"}})
	if err != nil {
		t.Fatal(err)
	}
	log, err := NewLog(nc, Codec(t))
	if err != nil {
		t.Fatal(err)
	}
	var revisions []es.Revision
	for version := range uint64(5) {
		var expected es.Revision
		if version > 0 {
			expected = revisions[version-1]
		}
		revision, err := log.Append(t.Context(), CommitOf(Front, version+1, expected, Opened{By: "ada"}))
		if err != nil {
			t.Fatal(err)
		}
		revisions = append(revisions, revision)
	}
	whole := func(t *testing.T) {
		t.Helper()
		for _, r := range []es.Range{{}, {After: revisions[1]}, {UpTo: revisions[2]}} {
			first, last := 0, 5
			if r.After > 0 {
				first = 2
			}
			if r.UpTo > 0 {
				last = 3
			}
			h, err := log.Load(t.Context(), Front, r)
			if err != nil {
				t.Fatal(err)
			}
			if len(h.Events) != last-first || h.Events[0].Version != uint64(first+1) || h.Revision != revisions[last-1] {
				t.Errorf("%+v: %d events, revision %d", r, len(h.Events), h.Revision)
			}
		}
	}
	t.Run("nobody answers", func(t *testing.T) {
		if h, err := log.Load(t.Context(), Front, es.Range{}); err != nil || len(h.Events) != 5 {
			t.Errorf("%d events, %v", len(h.Events), err)
		}
	})

	var answer func(request *nats.Msg)
	if _, err := nc.Subscribe(directGet, func(m *nats.Msg) { answer(m) }); err != nil {
		t.Fatal(err)
	}
	send := func(request *nats.Msg, m *nats.Msg) {
		if err := request.RespondMsg(&nats.Msg{Header: m.Header, Data: m.Data}); err != nil {
			t.Error(err)
		}
	}
	shows := func(versions ...int) func(*nats.Msg) {
		return func(request *nats.Msg) {
			var asked struct{ Seq uint64 }
			if err := json.Unmarshal(request.Data, &asked); err != nil {
				t.Error(err)
			}
			var last uint64
			for _, v := range versions {
				if uint64(revisions[v-1]) < asked.Seq {
					continue
				}
				raw, err := stream.GetMsg(t.Context(), uint64(revisions[v-1]))
				if err != nil {
					t.Error(err)
					return
				}
				m := paged(raw.Sequence, last)
				for k, v := range raw.Header {
					m.Header[k] = v
				}
				m.Data = raw.Data
				send(request, m)
				last = raw.Sequence
			}
			send(request, end(last, 0))
		}
	}
	for name, replica := range map[string]func(*nats.Msg){
		"it knows nothing yet":  func(request *nats.Msg) { send(request, status("404")) },
		"it lags":               shows(1, 2, 3),
		"it has a hole":         shows(1, 2, 4, 5),
		"it has another hole":   shows(1, 3, 4, 5),
		"it lacks the first":    shows(2, 3, 4, 5),
		"it is as it should be": shows(1, 2, 3, 4, 5),
		"it is in trouble":      func(request *nats.Msg) { send(request, status("500")) },
	} {
		answer = replica
		t.Run(name, whole)
		t.Run(name+", and may", func(t *testing.T) {
			h, err := log.Load(t.Context(), Front, es.Range{MayLag: true})
			want := 5
			switch name {
			case "it knows nothing yet":
				want = 0
			case "it lags":
				want = 3
			}
			if err != nil || len(h.Events) != want {
				t.Errorf("%d events, want %d (%v)", len(h.Events), want, err)
			}
			// Who has a state asks for what follows it: the place is known to the leader in any case.
			if h, err = log.Load(t.Context(), Front, es.Range{After: revisions[3], MayLag: true}); err != nil || h.Before.Revision != revisions[3] {
				t.Errorf("found %+v before (%v)", h.Before, err)
			}
		})
	}
	log.in.mu.Lock()
	defer log.in.mu.Unlock()
	if n, pages := log.in.taken, len(log.pages); n > 0 || pages > 0 {
		t.Errorf("%d requests and %d pages were left behind", n, pages)
	}
}
