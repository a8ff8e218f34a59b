package runtime

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
)

// FuzzSnapshot: whatever stands in SNAPSHOTS, open neither panics nor takes what is not whole; what it takes is sealed
// under its checksum.
func FuzzSnapshot(f *testing.F) {
	body, err := json.Marshal(snapshot{Revision: 7, Version: 3, EventID: "c-1/1", State: json.RawMessage(`{}`)})
	if err != nil {
		f.Fatal(err)
	}
	whole, err := json.Marshal(sealed{checksum(body), body})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{whole, whole[:len(whole)-2], []byte(`{}`), []byte(`null`), nil} {
		f.Add(seed)
	}
	known := []string{"", snapshotUnreadable, snapshotDamaged}
	f.Fuzz(func(t *testing.T, data []byte) {
		snap, why := open(data)
		if !slices.Contains(known, why) {
			t.Fatalf("%q: unknown reason %q", data, why)
		}
		if why == "" && (snap.Revision == 0 || snap.EventID == "") {
			t.Fatalf("%q: taken as %+v", data, snap)
		}
		body := append([]byte(nil), data...)
		if sealedBody, err := json.Marshal(sealed{checksum(body), body}); err == nil { // any JSON, rightly sealed
			if _, why := open(sealedBody); !slices.Contains(known, why) {
				t.Fatalf("%q: unknown reason %q", sealedBody, why)
			}
		}
	})
}

// FuzzTransition: a transition that can be read is written so that it reads as the same.
func FuzzTransition(f *testing.F) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	seed, err := json.Marshal(transition{
		Number: 2, Trigger: trigger{Kind: "event", ID: "c-1/1", Time: at}, State: json.RawMessage(`{"a":1}`),
		Effects: []effect{{Kind: "send", Stream: "pot/a", Type: "Fill", Data: json.RawMessage(`{}`), ID: "ms-1"}, {Kind: "wake", Name: "late", At: &at}},
		Timers:  map[string]timer{"late": {"ms-2", at}}, Position: position{Revision: 4, Version: 1, EventID: "c-1/1"},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"number":-1}`))
	f.Add([]byte(`{"timers":{"":null}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var first, again transition
		if json.Unmarshal(data, &first) != nil {
			return
		}
		text, err := json.Marshal(first)
		if err != nil {
			return // a time that RFC 3339 cannot say
		}
		if err := json.Unmarshal(text, &again); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		twice, err := json.Marshal(again)
		if diff := cmp.Diff(string(text), string(twice)); err != nil || diff != "" {
			t.Fatal(err, diff)
		}
	})
}

// FuzzDeadLetter: what is no dead letter is a permanent error that says where it stands; what is one keeps its body.
func FuzzDeadLetter(f *testing.F) {
	for _, seed := range []string{`{"id":"ms-1","consumer":"commands","key":"pot/a","subject":"commands.pot.a.Fill","sequence":3,"data":{"a":1}}`, `{"bytes":"AP8="}`, `{}`, `[`, `null`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := decodeLetter(&jetstream.RawStreamMsg{Sequence: 42, Data: data})
		if err != nil {
			if !errors.Is(err, es.ErrPermanent) || s != nil {
				t.Fatalf("%q: %v, %v", data, s, err)
			}
			return
		}
		text, err := json.Marshal(s.DeadLetter)
		if err != nil {
			return // a time that RFC 3339 cannot say
		}
		again, err := decodeLetter(&jetstream.RawStreamMsg{Sequence: 42, Data: text})
		if err != nil || again.subject() != s.subject() || again.State() != s.State() || again.Category() != s.Category() {
			t.Fatalf("%q became %s (%v)", data, text, err)
		}
	})
}
