package rest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
)

func TestCommandReachesTheEngineWhole(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	var got es.Request
	answer := e.execute
	e.execute = func(r es.Request) es.Reply { got = r; return answer(r) }
	h := newDoor(t, e, rest.Options{})
	trace := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	r := call(t, h, "POST", "/parcels/p-1/open-parcel", `{"to": "Ada"}`, "Idempotency-Key: k-1", `If-Match: "2"`,
		"Correlation-Id: c", "Causation-Id: d", "User-Id: ada", "traceparent: "+trace)
	version := uint64(2)
	want := es.Request{Type: "OpenParcel", Data: []byte(`{"to": "Ada"}`), Expected: &version, Meta: es.Meta{
		Stream: es.Stream{Category: "parcel", ID: "p-1"}, CommandID: "k-1", User: "ada", Correlation: "c", Causation: "d", Traceparent: trace}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if r.StatusCode != 200 || r.Header.Get("ETag") != `"3"` || r.Header.Get("Millstream-Revision") != "17" {
		t.Errorf("got %d %v", r.StatusCode, r.Header)
	}
	const body = `{"commandId":"k-1","outcome":"accepted","stream":"parcel/p-1","revision":17,"version":3,"events":["ParcelOpened"],"durability":"fast"}`
	if got := strings.TrimSpace(text(t, r)); got != body {
		t.Errorf("got  %s\nwant %s", got, body)
	}
}

func TestABodyOfUnknownLengthIsCutOff(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	size := 0
	answer := e.execute
	e.execute = func(r es.Request) es.Reply { size = len(r.Data); return answer(r) }
	server := httptest.NewServer(newDoor(t, e, rest.Options{}))
	defer server.Close()
	for length, status := range map[int]int{1 << 20: 200, 1<<20 + 1: 413, 4 << 20: 413} {
		size = 0
		unknown := struct{ io.Reader }{strings.NewReader(strings.Repeat(" ", length))}
		r, err := server.Client().Post(server.URL+"/boxes/b-1/fill-box", "application/json", unknown)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != status || status == 200 && size != length || status != 200 && size != 0 {
			t.Errorf("%d bytes: got %d, the engine saw %d bytes", length, r.StatusCode, size)
		}
	}
}

func TestHeadHasHeadersAlone(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(newDoor(t, newEngine(t), rest.Options{}))
	defer server.Close()
	r, err := server.Client().Head(server.URL + "/parcels/p-1")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != 200 || !strings.HasPrefix(r.Header.Get("ETag"), `"3.`) || text(t, r) != "" {
		t.Errorf("got %d %v", r.StatusCode, r.Header)
	}
}

func TestBadRequestsAreRefusedBeforeTheEngine(t *testing.T) {
	t.Parallel()
	large := strings.Repeat(" ", 1<<20+1)
	for name, c := range map[string]struct {
		method, target, body string
		headers              []string
		status               int
		code, pointer, says  string
	}{
		"a command with a bad id":            {method: "POST", target: "/parcels/a.b/open-parcel", body: `{}`, status: 400, code: "bad_id", says: "a.b"},
		"a command with a wildcard id":       {method: "POST", target: "/parcels/%3E/open-parcel", body: `{}`, status: 400, code: "bad_id"},
		"a slash within an id":               {method: "POST", target: "/parcels/a%2Fb/open-parcel", body: `{}`, status: 400, code: "bad_id"},
		"a bad command id":                   {method: "POST", target: "/parcels/p-1/open-parcel", headers: []string{"Idempotency-Key: a b"}, status: 400, code: "bad_id", says: "Idempotency-Key"},
		"an empty command id":                {method: "POST", target: "/parcels/p-1/open-parcel", headers: []string{"Idempotency-Key: "}, status: 400, code: "bad_id"},
		"a command id of the engine's":       {method: "POST", target: "/parcels/p-1/open-parcel", headers: []string{"Idempotency-Key: ms-1"}, status: 400, code: "bad_id", says: "ms-"},
		"two command ids":                    {method: "POST", target: "/parcels/p-1/open-parcel", headers: []string{"Idempotency-Key: a", "Idempotency-Key: b"}, status: 400, code: "bad_header", says: "once"},
		"a body that is XML":                 {method: "POST", target: "/parcels/p-1/open-parcel", body: `<to/>`, headers: []string{"Content-Type: application/xml"}, status: 415, code: "unsupported_media_type", says: "application/json"},
		"a body in another charset":          {method: "POST", target: "/parcels/p-1/open-parcel", body: `{}`, headers: []string{"Content-Type: application/json; charset=latin1"}, status: 415, code: "unsupported_media_type"},
		"a body that is compressed":          {method: "POST", target: "/parcels/p-1/open-parcel", body: `{}`, headers: []string{"Content-Encoding: gzip"}, status: 415, code: "unsupported_media_type"},
		"a form":                             {method: "POST", target: "/parcels/p-1/open-parcel", body: `to=Ada`, headers: []string{"Content-Type: application/x-www-form-urlencoded"}, status: 415, code: "unsupported_media_type"},
		"a wait that is no number":           {method: "POST", target: "/parcels/p-1/open-parcel", body: `{}`, headers: []string{"Prefer: wait=long"}, status: 400, code: "bad_header", says: "wait=5"},
		"any version":                        {method: "POST", target: "/parcels/p-1/open-parcel", headers: []string{"If-Match: *"}, status: 400, code: "bad_header"},
		"the tag of a list":                  {method: "POST", target: "/parcels/p-1/open-parcel", headers: []string{`If-Match: ".aGFzaA"`}, status: 400, code: "bad_header"},
		"an answer that is known":            {method: "POST", target: "/parcels/p-1/open-parcel", headers: []string{`If-None-Match: "3"`}, status: 400, code: "bad_header", says: "* alone"},
		"two conditions":                     {method: "POST", target: "/parcels/p-1/open-parcel", headers: []string{`If-Match: "3"`, `If-None-Match: *`}, status: 400, code: "bad_header", says: "exclude"},
		"an outcome with a bad id":           {method: "GET", target: "/commands/parcel/a.b/k", status: 400, code: "bad_id"},
		"an outcome with a bad command id":   {method: "GET", target: "/commands/parcel/p-1/a.b", status: 400, code: "bad_id", pointer: "/commandId"},
		"an unquoted version":                {method: "POST", target: "/parcels/p-1/open-parcel", headers: []string{"If-Match: 3"}, status: 400, code: "bad_header", says: `"3"`},
		"a weak version":                     {method: "POST", target: "/parcels/p-1/open-parcel", headers: []string{`If-Match: W/"3"`}, status: 400, code: "bad_header"},
		"a version below zero":               {method: "POST", target: "/parcels/p-1/open-parcel", headers: []string{`If-Match: "-3"`}, status: 400, code: "bad_header"},
		"a body that is too large":           {method: "POST", target: "/parcels/p-1/open-parcel", body: large, status: 413, code: "too_large"},
		"a page of another origin":           {method: "POST", target: "/parcels/p-1/open-parcel", body: `{}`, headers: []string{"Sec-Fetch-Site: cross-site"}, status: 403, code: "cross_origin"},
		"an unknown command":                 {method: "POST", target: "/parcels/p-1/opn-parcel", status: 404, code: "unknown_command", says: "did you mean open-parcel?"},
		"a command by its wire name":         {method: "POST", target: "/parcels/p-1/SealParcel", status: 404, code: "unknown_command", says: "did you mean seal-parcel?"},
		"a command far from any":             {method: "POST", target: "/parcels/p-1/zzz", status: 404, code: "unknown_command", says: "known are open-parcel, seal-parcel, weigh-parcel"},
		"an unknown collection":              {method: "POST", target: "/parcel/p-1/open-parcel", status: 404, code: "unknown_category", says: "did you mean /parcels/p-1/open-parcel?"},
		"an unknown path":                    {method: "GET", target: "/parsels/p-1", status: 404, code: "unknown_path", says: "did you mean /parcels/p-1?"},
		"a path far from any":                {method: "GET", target: "/zzzzzz", status: 404, code: "unknown_path", says: "/ lists"},
		"a path too long":                    {method: "GET", target: "/parcels/a/b/c/d", status: 404, code: "unknown_path"},
		"a command that is fetched":          {method: "GET", target: "/parcels/p-1/open-parcel", status: 405, code: "method_not_allowed", says: "use POST"},
		"a query that is deleted":            {method: "DELETE", target: "/parcels/p-1", status: 405, code: "method_not_allowed", says: "use GET, HEAD"},
		"an unknown parameter":               {method: "GET", target: "/parcels?limmit=3", status: 400, code: "malformed", says: "did you mean limit?"},
		"an unknown parameter far from any":  {method: "GET", target: "/parcels?q=3", status: 400, code: "malformed", says: "known are cursor, from, limit, minRevision, sealed, status, weight"},
		"a mistyped door parameter":          {method: "GET", target: "/parcels/p-1?asof=3", status: 400, code: "malformed", says: "did you mean asOf?"},
		"a word for an integer":              {method: "GET", target: "/parcels?limit=ten", status: 400, code: "malformed", pointer: "/limit", says: `found "ten"`},
		"nothing for an integer":             {method: "GET", target: "/parcels?limit=", status: 400, code: "malformed", pointer: "/limit"},
		"null for an integer":                {method: "GET", target: "/parcels?limit=null", status: 400, code: "malformed", pointer: "/limit"},
		"a fraction for an integer":          {method: "GET", target: "/parcels?limit=1.5", status: 400, code: "malformed", pointer: "/limit"},
		"an integer out of range":            {method: "GET", target: "/parcels?limit=99999999999999999999", status: 400, code: "malformed", pointer: "/limit"},
		"yes for a bool":                     {method: "GET", target: "/parcels?sealed=yes", status: 400, code: "malformed", pointer: "/sealed", says: "true or false"},
		"a bad time":                         {method: "GET", target: "/parcels?from=yesterday", status: 400, code: "malformed", pointer: "/from", says: "RFC 3339"},
		"one parameter twice":                {method: "GET", target: "/parcels?limit=1&limit=2", status: 400, code: "malformed", pointer: "/limit", says: "once"},
		"a path parameter in the query":      {method: "GET", target: "/parcels/p-1?parcelId=p-2", status: 400, code: "malformed", pointer: "/parcelId"},
		"a query string that does not parse": {method: "GET", target: "/parcels?limit=%zz", status: 400, code: "malformed"},
		"a bad revision":                     {method: "GET", target: "/parcels?minRevision=x", status: 400, code: "malformed", pointer: "/minRevision"},
		"a bad revision header":              {method: "GET", target: "/parcels", headers: []string{"Millstream-Revision: x"}, status: 400, code: "malformed", says: "Millstream-Revision"},
		"as of nothing":                      {method: "GET", target: "/parcels/p-1?asOf=", status: 400, code: "malformed", pointer: "/asOf"},
		"as of revision zero":                {method: "GET", target: "/parcels/p-1?asOf=0", status: 400, code: "malformed", pointer: "/asOf"},
		"as of a word":                       {method: "GET", target: "/boxes/b-1?asOf=now", status: 400, code: "malformed", pointer: "/asOf", says: "RFC 3339"},
		"as of twice":                        {method: "GET", target: "/boxes/b-1?asOf=1&asOf=2", status: 400, code: "malformed", pointer: "/asOf"},
		"as of beside another parameter":     {method: "GET", target: "/parcels/p-1?asOf=1&minRevision=2", status: 400, code: "malformed", says: "minRevision"},
		"a state with a bad id":              {method: "GET", target: "/boxes/a.b", status: 400, code: "bad_id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEngine(t)
			e.execute = func(es.Request) es.Reply { t.Error("the engine was asked to execute"); return es.Reply{} }
			e.ask = func(context.Context, any, es.Revision) (any, es.Revision, error) {
				t.Error("the engine was asked")
				return nil, 0, nil
			}
			e.stateAt = func(es.Stream, es.Range) (runtime.StateAt, error) {
				t.Error("the engine was asked for a state")
				return runtime.StateAt{}, nil
			}
			r := call(t, newDoor(t, e, rest.Options{}), c.method, c.target, c.body, c.headers...)
			o := object(t, r)
			problem, _ := o["error"].(map[string]any)
			message, _ := problem["message"].(string)
			if r.StatusCode != c.status || problem["code"] != c.code || problem["pointer"] != c.pointer || !strings.Contains(message, c.says) {
				t.Errorf("got %d %v", r.StatusCode, o)
			}
			if o["type"] != "/problems/"+c.code || o["status"] != float64(c.status) || o["detail"] != message || o["title"] == "" || len(fmt.Sprint(o["traceId"])) != 32 {
				t.Errorf("the members of RFC 9457 are wrong: %v", o)
			}
			if got := r.Header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("content type %q", got)
			}
			if c.status == 405 && r.Header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
			if r.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Error("nosniff is missing")
			}
		})
	}
}

func TestARejectionIsReplyAndProblemInOne(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.execute = func(r es.Request) es.Reply {
		return es.Reply{CommandID: "k", Outcome: es.RejectedReply, Version: 4, Error: &es.Problem{
			Code: "parcel_not_sealed", Message: "seal it <first>", Pointer: "/to", Allowed: []string{"SealParcel"}, Status: 409}}
	}
	r := call(t, newDoor(t, e, rest.Options{}), "POST", "/parcels/p-1/open-parcel", `{}`, "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	const want = `{"commandId":"k","outcome":"rejected","version":4,` +
		`"error":{"code":"parcel_not_sealed","message":"seal it <first>","pointer":"/to","allowed":["SealParcel"]},` +
		`"type":"/problems/parcel_not_sealed","title":"Parcel not sealed","status":409,"detail":"seal it <first>","traceId":"0af7651916cd43dd8448eb211c80319c"}`
	if got := strings.TrimSpace(text(t, r)); got != want || r.StatusCode != 409 || r.Header.Get("ETag") != `"4"` {
		t.Errorf("got %d %s\nwant %s", r.StatusCode, got, want)
	}
}

func TestUnavailableSaysWhenToTryAgain(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.execute = func(es.Request) es.Reply {
		return es.Reply{CommandID: "k", Outcome: es.UnknownOutcome, Error: runtime.Problem(es.ErrUnknownOutcome)}
	}
	r := call(t, newDoor(t, e, rest.Options{}), "POST", "/parcels/p-1/open-parcel", `{}`)
	if r.StatusCode != 503 || r.Header.Get("Retry-After") != "1" {
		t.Errorf("got %d %v", r.StatusCode, r.Header)
	}
}

func TestErrorsOfTheEngineKeepTheirStatus(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err    error
		status int
	}{
		{es.NotFound("parcel_not_found", "no such parcel"), 404},
		{&es.InvalidError{Code: "malformed", Message: "limit", Pointer: "/limit"}, 400},
		{es.Transient(errors.New("busy")), 503},
		{errors.New("secret: disk sda1"), 500},
	} {
		e := newEngine(t)
		e.ask = func(context.Context, any, es.Revision) (any, es.Revision, error) { return nil, 0, c.err }
		var log bytes.Buffer
		r := call(t, newDoor(t, e, rest.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}), "GET", "/parcels", "")
		body := text(t, r)
		if r.StatusCode != c.status || strings.Contains(body, "secret") {
			t.Errorf("%v: got %d %s", c.err, r.StatusCode, body)
		}
		if logged := strings.Contains(log.String(), "secret"); logged != (c.status == 500) {
			t.Errorf("%v: the log has %q", c.err, log.String())
		}
	}
}

func TestAPanicShowsNothingOfTheInside(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.execute = func(es.Request) es.Reply { panic("secret") }
	e.ask = func(context.Context, any, es.Revision) (any, es.Revision, error) { return func() {}, 1, nil }
	var log bytes.Buffer
	h := newDoor(t, e, rest.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	r := call(t, h, "POST", "/parcels/p-1/open-parcel", `{}`)
	if body := text(t, r); r.StatusCode != 500 || strings.Contains(body, "secret") || !strings.Contains(log.String(), "secret") {
		t.Errorf("got %d %s", r.StatusCode, body)
	}
	if r := call(t, h, "GET", "/parcels", ""); r.StatusCode != 500 || object(t, r)["type"] != "/problems/internal" {
		t.Errorf("an answer without JSON: got %d", r.StatusCode)
	}
}

func TestTrustedOriginsMaySendCommands(t *testing.T) {
	t.Parallel()
	h := newDoor(t, newEngine(t), rest.Options{TrustedOrigins: []string{"https://shop.example"}})
	r := call(t, h, "POST", "/boxes/b-1/fill-box", `{}`, "Origin: https://shop.example", "Sec-Fetch-Site: cross-site")
	if r.StatusCode != 200 {
		t.Errorf("got %d", r.StatusCode)
	}
	if _, err := rest.New(newEngine(t), rest.Options{Authenticator: access.Dev(), TrustedOrigins: []string{"nonsense"}}); err == nil {
		t.Error("an origin that is none was taken")
	}
}

func TestOperationsRoutes(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.checks = []runtime.Check{{Name: "nats", OK: true}}
	h := newDoor(t, e, rest.Options{})
	for target, says := range map[string]string{
		"/":               "POST /parcels/{id}/open-parcel",
		"/livez":          "alive",
		"/readyz":         `{"ready":true,"checks":[{"name":"nats","ok":true}]}`,
		"/readyz?verbose": `"nats"`,
		"/metrics":        "",
		"/docs":           "/openapi.json",
		"/docs/":          "/openapi.json",
	} {
		if r := call(t, h, "GET", target, ""); r.StatusCode != 200 || !strings.Contains(text(t, r), says) {
			t.Errorf("%s: got %d, want %q", target, r.StatusCode, says)
		}
	}
	e.checks = append(e.checks, runtime.Check{Name: "projector orders", Detail: "halted"})
	if r := call(t, h, "GET", "/readyz", ""); r.StatusCode != 503 || !strings.Contains(text(t, r), "halted") {
		t.Errorf("/readyz: got %d", r.StatusCode)
	}
}

func TestFaultyListsFailAtStart(t *testing.T) {
	t.Parallel()
	query := func(path string) es.QueryDef {
		return es.Query[parcelParams, parcelAnswer]{Name: "odd", Path: path, Projector: "parcels", Ask: never[parcelParams, parcelAnswer]}
	}
	for name, c := range map[string]struct {
		query es.QueryDef
		says  string
	}{
		"a path without a slash":    {query("parcels"), "must begin with /"},
		"an unknown wildcard":       {query("/parcels/{id}/x"), "{id}"},
		"a wildcard for all":        {query("/x/{parcelId...}"), "segment"},
		"a path that is taken":      {query("/parcels/{parcelId}"), "conflicts"},
		"parameters that are a map": {es.Query[map[string]string, parcelAnswer]{Name: "odd", Path: "/x"}, "must be a struct"},
		"a parameter that is a map": {es.Query[struct{ M map[string]int }, parcelAnswer]{Name: "odd", Path: "/x"}, "parameter M"},
		"a parameter of the door's": {es.Query[struct {
			AsOf string `json:"asOf"`
		}, parcelAnswer]{Name: "odd", Path: "/x"}, "asOf"},
		"an answer that has no JSON": {es.Query[parcelParams, struct{ C chan int }]{Name: "odd", Path: "/x/{parcelId}"}, "odd"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEngine(t)
			e.domain.Queries = append(e.domain.Queries, c.query)
			if _, err := rest.New(e, rest.Options{Authenticator: access.Dev()}); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}

func TestServerHasTimeLimits(t *testing.T) {
	t.Parallel()
	s := rest.Server(":0", http.NotFoundHandler())
	if s.ReadHeaderTimeout == 0 || s.ReadTimeout == 0 || s.WriteTimeout == 0 || s.IdleTimeout == 0 {
		t.Errorf("a limit is missing: %+v", s)
	}
}
