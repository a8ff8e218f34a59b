package rest_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es"
)

func TestACommandIsQueuedForThoseWhoDoNotWait(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.execute = func(es.Request) es.Reply { t.Error("it was executed"); return es.Reply{} }
	var got es.Request
	e.enqueue = func(r es.Request) (string, error) { got = r; return "k-1", nil }
	r := call(t, newDoor(t, e, rest.Options{}), "POST", "/parcels/p-1/open-parcel", `{"to":"Ada"}`, "Prefer: Respond-Async; why=none, other", "User-Id: ada")
	if r.StatusCode != 202 || r.Header.Get("Location") != "/commands/parcel/p-1/k-1" || r.Header.Get("Preference-Applied") != "respond-async" || r.Header.Get("Retry-After") != "1" {
		t.Errorf("got %d %v", r.StatusCode, r.Header)
	}
	if o := object(t, r); !cmp.Equal(o, map[string]any{"commandId": "k-1", "stream": "parcel/p-1", "status": "pending"}) {
		t.Errorf("got %v", o)
	}
	if got.Type != "OpenParcel" || string(got.Data) != `{"to":"Ada"}` || got.Meta.User != "ada" || got.Meta.Stream.ID != "p-1" {
		t.Errorf("queued %+v", got)
	}
}

func TestWhatIsWrongWithAQueuedCommandIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.enqueue = func(es.Request) (string, error) { t.Error("it was queued"); return "", nil }
	h := newDoor(t, e, rest.Options{})
	r := call(t, h, "POST", "/parcels/p-1/open-parcel", `{"weight":"heavy"}`, "Prefer: respond-async")
	o := object(t, r)
	if r.StatusCode != 422 || o["outcome"] != "invalid" || len(o["errors"].([]any)) != 2 {
		t.Errorf("got %d %v", r.StatusCode, o)
	}
	for status, err := range map[int]error{
		422: &es.InvalidError{Code: "id_reused", Message: "another command"},
		503: es.ErrUnknownOutcome,
	} {
		e.enqueue = func(es.Request) (string, error) { return "k-1", err }
		r := call(t, h, "POST", "/parcels/p-1/open-parcel", `{"to":"Ada"}`, "Prefer: respond-async", "Idempotency-Key: k-1")
		if o := object(t, r); r.StatusCode != status || o["commandId"] != "k-1" || r.Header.Get("Location") != "" {
			t.Errorf("%v: got %d %v", err, r.StatusCode, o)
		}
	}
}

func TestACallerMayWaitForAWhile(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.enqueue = func(es.Request) (string, error) { return "k-1", nil }
	e.await = func(ctx context.Context, _ es.Stream, _ string) (es.Reply, bool, error) {
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > 5*time.Second {
			t.Errorf("the wait has no end: %v", deadline)
		}
		return es.Reply{CommandID: "k-1", Outcome: es.RejectedReply, Revision: 8, Error: &es.Problem{Code: "no", Status: 409}}, false, nil
	}
	h := newDoor(t, e, rest.Options{})
	r := call(t, h, "POST", "/boxes/b-1/fill-box", `{}`, "Prefer: wait=100, wait=1, respond-async")
	if r.StatusCode != 409 || r.Header.Get("Preference-Applied") != "wait=5" || r.Header.Get("Millstream-Revision") != "8" {
		t.Errorf("got %d %v", r.StatusCode, r.Header)
	}
	for name, await := range map[string]func() (es.Reply, bool, error){
		"pending": func() (es.Reply, bool, error) { return es.Reply{}, true, nil },
		"unknown": func() (es.Reply, bool, error) { return es.Reply{}, false, es.Transient(errors.New("no server")) },
	} {
		e.await = func(context.Context, es.Stream, string) (es.Reply, bool, error) { return await() }
		r := call(t, h, "POST", "/boxes/b-1/fill-box", `{}`, "Prefer: wait=1")
		if r.StatusCode != 202 || r.Header.Get("Location") != "/commands/box/b-1/k-1" || r.Header.Get("Preference-Applied") != "wait=1" {
			t.Errorf("%s: got %d %v", name, r.StatusCode, r.Header)
		}
	}
}

func TestAnOutcomeIsPendingThenTheReply(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	pending := true
	var failure error
	e.outcome = func(_ context.Context, s es.Stream, id string) (es.Reply, bool, error) {
		return es.Reply{CommandID: id, Stream: s.String(), Outcome: es.RejectedReply, Revision: 8, Error: &es.Problem{Code: "no", Message: "no"}}, pending, failure
	}
	e.await = e.outcome
	h := newDoor(t, e, rest.Options{})
	get := func(headers ...string) *http.Response {
		return call(t, h, "GET", "/commands/parcel/p-1/k-1", "", headers...)
	}
	for _, headers := range [][]string{nil, {"Prefer: wait=1"}} {
		if r := get(headers...); r.StatusCode != 202 || r.Header.Get("Retry-After") != "1" || object(t, r)["status"] != "pending" {
			t.Errorf("pending: got %d %v", r.StatusCode, r.Header)
		}
	}
	pending = false
	r := get()
	if o := object(t, r); r.StatusCode != 200 || o["outcome"] != "rejected" || o["commandId"] != "k-1" || r.Header.Get("Millstream-Revision") != "8" {
		t.Errorf("got %d %v", r.StatusCode, o)
	}
	if r := get("If-None-Match: " + r.Header.Get("ETag")); r.StatusCode != 304 {
		t.Errorf("the same again: got %d", r.StatusCode)
	}
	failure = es.NotFound("outcome_not_found", "no")
	if r := get(); r.StatusCode != 404 || !strings.Contains(text(t, r), "outcome_not_found") {
		t.Errorf("unknown: got %d", r.StatusCode)
	}
}

func TestOneKeyIsInWorkOnce(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	begun, end := make(chan struct{}), make(chan struct{})
	e.execute = func(r es.Request) es.Reply {
		if r.Meta.Stream.ID == "p-1" {
			close(begun)
			<-end
		}
		return es.Reply{CommandID: r.Meta.CommandID, Outcome: es.Unchanged}
	}
	h := newDoor(t, e, rest.Options{})
	send := func(id, key string) *http.Response {
		return call(t, h, "POST", "/parcels/"+id+"/seal-parcel", `{}`, "Idempotency-Key: "+key)
	}
	first := make(chan int)
	go func() { first <- send("p-1", "k").StatusCode }()
	<-begun
	if r := send("p-1", "k"); r.StatusCode != 409 || !strings.Contains(text(t, r), "in_flight") {
		t.Errorf("the same key meanwhile: got %d", r.StatusCode)
	}
	if r := send("p-2", "k"); r.StatusCode != 200 {
		t.Errorf("another parcel: got %d", r.StatusCode)
	}
	close(end)
	if status := <-first; status != 200 {
		t.Errorf("the first: got %d", status)
	}
	begun, end = make(chan struct{}), make(chan struct{})
	close(end)
	if r := send("p-1", "k"); r.StatusCode != 200 {
		t.Errorf("afterwards: got %d", r.StatusCode)
	}
}

func TestAConflictWithTheVersionNamedIsAFailedPrecondition(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	var expected *uint64
	e.execute = func(r es.Request) es.Reply {
		expected = r.Expected
		return es.Reply{CommandID: "k", Outcome: es.Conflict, Version: 4, Error: &es.Problem{Code: "conflict", Status: 409}}
	}
	h := newDoor(t, e, rest.Options{})
	for _, c := range []struct {
		header  string
		status  int
		version uint64
	}{
		{`If-Match: "3"`, 412, 3},
		{`If-Match: "3.aGFzaA"`, 412, 3},
		{`If-Match: "3.aGFzaA-gzip"`, 412, 3},
		{`If-None-Match: *`, 412, 0},
		{`Accept: */*`, 409, 99},
	} {
		r := call(t, h, "POST", "/boxes/b-1/fill-box", `{}`, c.header)
		if o := object(t, r); r.StatusCode != c.status || o["status"] != float64(c.status) || o["outcome"] != "conflict" || r.Header.Get("ETag") != `"4"` {
			t.Errorf("%s: got %d %v", c.header, r.StatusCode, o)
		}
		if c.version != 99 && (expected == nil || *expected != c.version) || c.version == 99 && expected != nil {
			t.Errorf("%s: expected version %v, want %d", c.header, expected, c.version)
		}
	}
}

func TestWhatCurlCallsAFormIsTakenWhenItIsJSON(t *testing.T) {
	t.Parallel()
	h := newDoor(t, newEngine(t), rest.Options{})
	for _, contentType := range []string{"application/x-www-form-urlencoded", "application/json; charset=UTF-8", "application/merge-patch+json"} {
		if r := call(t, h, "POST", "/boxes/b-1/fill-box", ` {}`, "Content-Type: "+contentType); r.StatusCode != 200 {
			t.Errorf("%s: got %d", contentType, r.StatusCode)
		}
	}
}
