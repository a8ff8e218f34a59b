package ops_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/ops"
)

// engine answers every command and keeps what it got.
type engine struct {
	mu     sync.Mutex
	got    []es.Request
	answer func(attempt int, r es.Request) es.Reply
	tries  map[string]int
}

func (e *engine) send(_ context.Context, r es.Request) es.Reply {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.tries == nil {
		e.tries = map[string]int{}
	}
	e.tries[r.Meta.CommandID]++
	e.got = append(e.got, r)
	if e.answer == nil {
		return es.Reply{Outcome: es.Accepted}
	}
	return e.answer(e.tries[r.Meta.CommandID], r)
}

func TestLinesOfOneStreamKeepTheirOrder(t *testing.T) {
	t.Parallel()
	var file strings.Builder
	for n := range 2000 {
		fmt.Fprintf(&file, `{"stream":"stock/p-%d","type":"ReceiveStock","id":"%d","data":{"quantity":%d}}`+"\n", rand.IntN(20), n, n+1)
	}
	e := &engine{}
	s, err := ops.Import(t.Context(), strings.NewReader(file.String()), ops.ImportConfig{Send: e.send, Concurrency: 8})
	if err != nil {
		t.Fatal(err)
	}
	if s.Lines != 2000 || s.Accepted != 2000 {
		t.Errorf("got %+v, want 2000 accepted", s)
	}
	last := map[string]int{}
	for _, r := range e.got {
		var n int
		fmt.Sscan(r.Meta.CommandID, &n)
		stream := r.Meta.Stream.String()
		if before, ok := last[stream]; ok && before > n {
			t.Fatalf("%s: line %d came after line %d", stream, before, n)
		}
		last[stream] = n
	}
}

func TestWaitSeparatesWhatStandsAboveFromWhatStandsBelow(t *testing.T) {
	t.Parallel()
	var file strings.Builder
	for n := range 300 {
		if n%100 == 0 {
			fmt.Fprintln(&file, `{"wait":true}`)
		}
		fmt.Fprintf(&file, `{"stream":"s/%d","type":"T","id":"%d"}`+"\n", n, n/100)
	}
	e := &engine{}
	if _, err := ops.Import(t.Context(), strings.NewReader(file.String()), ops.ImportConfig{Send: e.send}); err != nil {
		t.Fatal(err)
	}
	for i, r := range e.got {
		if want := fmt.Sprint(i / 100); r.Meta.CommandID != want {
			t.Fatalf("command %d is of part %s, want %s", i, r.Meta.CommandID, want)
		}
	}
}

func TestBadLinesAreReportedByNumberAndTheRestGoesOn(t *testing.T) {
	t.Parallel()
	lines := []string{
		`{"stream":"s/1","type":"T"}`,
		`{"stream":`,
		`{"stream":"s/1","type":"T","dta":{}}`,
		`{"stream":"s/1","type":"T"} {"stream":"s/2","type":"T"}`,
		``,
		`{"stream":"nothing","type":"T"}`,
		`{"stream":"s/a b","type":"T"}`,
		`{"wait":true,"stream":"s/1"}`,
		`[]`,
		`{"stream":"s/1","type":"T","data":"` + strings.Repeat("x", 3<<20) + `"}`,
		`{"stream":"s/2","type":"Rejected"}`,
		`  {"stream":"s/3","type":"T"}  ` + "\r",
		`{"stream":"s/4","type":"T"}`, // without a newline at the end
	}
	e := &engine{answer: func(_ int, r es.Request) es.Reply {
		if r.Type == "Rejected" {
			return es.Reply{Outcome: es.RejectedReply, Stream: r.Meta.Stream.String(), Error: &es.Problem{Code: "no"}}
		}
		return es.Reply{Outcome: es.Unchanged}
	}}
	faults := map[int]string{}
	var bytes int64
	s, err := ops.Import(t.Context(), strings.NewReader(strings.Join(lines, "\n")), ops.ImportConfig{
		Send:     e.send,
		Progress: func(done int64, _ ops.Summary) { bytes = done },
		Fault:    func(f ops.Fault) { faults[f.Line] = string(f.Reply.Outcome) + " " + f.Reply.Error.Code },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[int]string{
		2: "invalid malformed", 3: "invalid malformed", 4: "invalid malformed", 6: "invalid bad_id", 7: "invalid bad_id",
		8: "invalid malformed", 9: "invalid malformed", 10: "invalid too_large", 11: "rejected no",
	}
	if diff := cmp.Diff(want, faults); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	s.Seconds = 0
	if diff := cmp.Diff(ops.Summary{Lines: 12, Unchanged: 3, Rejected: 1, Invalid: 8}, s); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	if want := int64(len(strings.Join(lines, "\n")) - 1); bytes != want { // the empty line is no line
		t.Errorf("progress ends at %d bytes, want %d", bytes, want)
	}
}

func TestALineWithoutAnIDGetsTheSameOneAtEveryImport(t *testing.T) {
	t.Parallel()
	const file = `{"stream":"s/1","type":"T","data":{"a": 1}}
{"type":"T","stream":"s/1","data":{"a":1}}
{"stream":"s/2","type":"T","data":{"a":1}}
{"stream":"s/1","type":"U","data":{"a":1}}
`
	ids := func(file string) map[string]int {
		e := &engine{}
		if _, err := ops.Import(t.Context(), strings.NewReader(file), ops.ImportConfig{Send: e.send}); err != nil {
			t.Fatal(err)
		}
		for id := range e.tries {
			if !es.ValidID(id) || strings.HasPrefix(id, es.EnginePrefix) {
				t.Errorf("id %q would be refused", id)
			}
		}
		return e.tries
	}
	first := ids(file)
	if len(first) != 4 {
		t.Errorf("got ids %v, want four different ones: the second of two equal lines is another command", first)
	}
	// Lines put in front change nothing about those behind.
	second := ids(`{"stream":"s/9","type":"T"}` + "\n" + file)
	for id := range first {
		if second[id] != 1 {
			t.Errorf("id %s is missing from the second import", id)
		}
	}
}

func TestAnOutageIsWaitedOutAndTheSameIDSentAgain(t *testing.T) {
	t.Parallel()
	answers := map[int]es.Reply{
		1: {Outcome: es.Failed, Error: &es.Problem{Status: http.StatusServiceUnavailable}},
		2: {Outcome: es.UnknownOutcome},
		3: {Outcome: es.Conflict},
	}
	synctest.Test(t, func(t *testing.T) {
		e := &engine{answer: func(attempt int, _ es.Request) es.Reply {
			if reply, ok := answers[attempt]; ok {
				return reply
			}
			return es.Reply{Outcome: es.Accepted}
		}}
		s, err := ops.Import(t.Context(), strings.NewReader(`{"stream":"s/1","type":"T","id":"one"}`), ops.ImportConfig{Send: e.send})
		if err != nil {
			t.Fatal(err)
		}
		if s.Accepted != 1 || e.tries["one"] != 4 {
			t.Errorf("got %+v after %d tries, want accepted at the fourth", s, e.tries["one"])
		}
	})
}

func TestPatienceEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reply es.Reply
		tries func(int) bool
		want  ops.Summary
	}{
		"an outage is given up after the patience": {
			es.Reply{Outcome: es.Failed, Error: &es.Problem{Status: http.StatusServiceUnavailable}},
			func(n int) bool { return n > 5 },
			ops.Summary{Lines: 1, Failed: 1},
		},
		"an unknown outcome stays one": {
			es.Reply{Outcome: es.UnknownOutcome, Error: &es.Problem{}},
			func(n int) bool { return n > 5 },
			ops.Summary{Lines: 1, Unknown: 1},
		},
		"a fault of the engine is not tried again": {
			es.Reply{Outcome: es.Failed, Error: &es.Problem{Status: http.StatusInternalServerError}},
			func(n int) bool { return n == 1 },
			ops.Summary{Lines: 1, Failed: 1},
		},
		"a rejection is not tried again": {
			es.Reply{Outcome: es.RejectedReply, Error: &es.Problem{}},
			func(n int) bool { return n == 1 },
			ops.Summary{Lines: 1, Rejected: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e := &engine{answer: func(int, es.Request) es.Reply { return c.reply }}
				begun := time.Now()
				s, err := ops.Import(t.Context(), strings.NewReader(`{"stream":"s/1","type":"T","id":"one"}`), ops.ImportConfig{Send: e.send, Patience: 30 * time.Second})
				if err != nil {
					t.Fatal(err)
				}
				s.Seconds = 0
				if diff := cmp.Diff(c.want, s); diff != "" || !c.tries(e.tries["one"]) {
					t.Errorf("after %d tries (-want +got):\n%s", e.tries["one"], diff)
				}
				if took := time.Since(begun); took > 30*time.Second {
					t.Errorf("took %s, more than the patience", took)
				}
			})
		})
	}
}

func TestStoppingEndsBetweenCommandsAndSaysSo(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	e := &engine{answer: func(int, es.Request) es.Reply {
		cancel()
		return es.Reply{Outcome: es.Accepted}
	}}
	file := strings.Repeat(`{"stream":"s/1","type":"T"}`+"\n", 1000)
	s, err := ops.Import(ctx, strings.NewReader(file), ops.ImportConfig{Send: e.send, Concurrency: 1})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want context.Canceled", err)
	}
	if s.Lines != len(e.got) || s.Lines == 0 || s.Lines == 1000 {
		t.Errorf("counted %d lines of %d sent: want the same, some and not all", s.Lines, len(e.got))
	}
}

func TestAFileThatBreaksOffIsAnError(t *testing.T) {
	t.Parallel()
	e := &engine{}
	broken := errors.New("the disk is gone")
	in := iotest.ErrReader(broken)
	_, err := ops.Import(t.Context(), in, ops.ImportConfig{Send: e.send})
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}

func FuzzImport(f *testing.F) {
	f.Add([]byte(`{"stream":"s/1","type":"T","data":{"a":1}}`))
	f.Add([]byte("{\"wait\":true}\n\x00\n{}\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		e := &engine{}
		s, err := ops.Import(t.Context(), bytes.NewReader(file), ops.ImportConfig{Send: e.send, Concurrency: 2})
		if err != nil {
			t.Fatal(err)
		}
		if s.Lines > bytes.Count(file, []byte("\n"))+1 || s.Accepted+s.Invalid != s.Lines {
			t.Errorf("got %+v of %d bytes", s, len(file))
		}
		for _, r := range e.got {
			if err := r.Meta.Stream.Validate(); err != nil {
				t.Error(err)
			}
		}
	})
}
