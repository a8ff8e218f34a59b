package rest_test

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es"
)

// badge is an Authenticator: "Authorization: ada operator" is an operator called ada.
type badge struct{}

func (badge) Authenticate(r *http.Request) (access.Principal, error) {
	switch name, role, ok := strings.Cut(r.Header.Get("Authorization"), " "); {
	case !ok:
		return access.Principal{}, access.ErrNoCredentials
	case role == "broken":
		return access.Principal{}, es.Transient(errors.New("the keys cannot be fetched"))
	case role == "bad":
		return access.Principal{}, &access.UnauthenticatedError{Reason: "the badge is torn", Invalid: true}
	default:
		return access.Principal{Name: name, Role: access.Role(role)}, nil
	}
}

func TestEveryRouteAsksWhoIsCalling(t *testing.T) {
	t.Parallel()
	seen := func(w http.ResponseWriter, r *http.Request) {
		p, _ := access.From(r.Context())
		fmt.Fprint(w, "hello ", p.Name)
	}
	e := newEngine(t)
	e.outcome = nil // nobody gets so far
	h := newDoor(t, e, rest.Options{Authenticator: badge{}, Mounts: []rest.Mount{
		{Method: "POST", Pattern: "/ops/{what}/drop", Operation: access.DeadLettersForce, Handler: http.HandlerFunc(seen), Summary: "Drop it"},
		{Pattern: "/any", Operation: access.QueryAsk, Handler: http.HandlerFunc(seen)},
	}})
	roles := map[access.Operation]access.Role{}
	for _, route := range h.Routes() {
		roles[route.Operation] = access.Rules[route.Operation]
		method := route.Method
		if method == "" {
			method = "GET"
		}
		target := strings.NewReplacer("{$}", "", "{file}", "x", "{", "", "}", "").Replace(route.Path)
		r := call(t, h, method, target, "")
		if route.Operation == access.Public {
			if r.StatusCode == 401 || r.StatusCode == 403 {
				t.Errorf("%s %s is public: got %d", method, target, r.StatusCode)
			}
			continue
		}
		if r.StatusCode != 401 || r.Header.Get("WWW-Authenticate") == "" || object(t, r)["type"] != "/problems/unauthenticated" {
			t.Errorf("%s %s by nobody: got %d", method, target, r.StatusCode)
		}
		if r := call(t, h, method, target, "", "Authorization: eve none"); r.StatusCode != 403 || object(t, r)["type"] != "/problems/denied" {
			t.Errorf("%s %s without a role: got %d", method, target, r.StatusCode)
		}
	}
	for _, op := range []access.Operation{access.Public, access.QueryAsk, access.AggregateRead, access.CommandSend, access.CommandInternal, access.OutcomeRead, access.MetricsRead, access.DeadLettersForce} {
		if _, ok := roles[op]; !ok {
			t.Errorf("no route asks for %s", op)
		}
	}
	if r := call(t, h, "POST", "/ops/x/drop", "", "Authorization: root admin"); r.StatusCode != 200 || text(t, r) != "hello root" {
		t.Errorf("the mounted door: got %d", r.StatusCode)
	}
	if r := call(t, h, "PUT", "/any", "", "Authorization: vi viewer"); r.StatusCode != 200 {
		t.Errorf("any method: got %d", r.StatusCode)
	}
	if r := call(t, h, "GET", "/", ""); !strings.Contains(text(t, r), "Drop it") {
		t.Error("the list of routes has not the mounted ones")
	}
}

func TestTheCallerIsTheUser(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	var got es.Request
	e.execute = func(r es.Request) es.Reply { got = r; return es.Reply{Outcome: es.Unchanged} }
	h := newDoor(t, e, rest.Options{Authenticator: badge{}})
	for _, c := range []struct {
		path, caller string
		status       int
		internal     bool
	}{
		{"/boxes/b-1/fill-box", "ada operator", 200, false},
		{"/boxes/b-1/fill-box", "vi viewer", 403, false},
		{"/parcels/p-1/weigh-parcel", "ada operator", 403, false},
		{"/parcels/p-1/weigh-parcel", "root admin", 200, true},
	} {
		got = es.Request{}
		r := call(t, h, "POST", c.path, `{}`, "Authorization: "+c.caller, "User-Id: mallory")
		name, _, _ := strings.Cut(c.caller, " ")
		if r.StatusCode != c.status || c.status == 200 && (got.Meta.User != name || got.Internal != c.internal) || c.status != 200 && got.Type != "" {
			t.Errorf("%s by %s: got %d, executed %+v", c.path, c.caller, r.StatusCode, got)
		}
	}
}

func TestBadCredentialsAreNotNone(t *testing.T) {
	t.Parallel()
	h := newDoor(t, newEngine(t), rest.Options{Authenticator: badge{}})
	r := call(t, h, "GET", "/parcels", "", "Authorization: eve bad")
	if r.StatusCode != 401 || !strings.Contains(r.Header.Get("WWW-Authenticate"), "invalid_token") || !strings.Contains(text(t, r), "torn") {
		t.Errorf("got %d %v", r.StatusCode, r.Header)
	}
	if r := call(t, h, "GET", "/parcels", "", "Authorization: eve broken"); r.StatusCode != 503 {
		t.Errorf("an authenticator that fails: got %d", r.StatusCode)
	}
	if r := call(t, h, "GET", "/nowhere", ""); r.StatusCode != 401 {
		t.Errorf("an unknown path, by nobody: got %d", r.StatusCode)
	}
	if r := call(t, h, "GET", "/parcels/p-1?asOf=1", "", "Authorization: vi viewer"); r.StatusCode != 200 {
		t.Errorf("the past: got %d", r.StatusCode)
	}
	if _, err := rest.New(newEngine(t), rest.Options{}); err == nil {
		t.Error("a door without an authenticator was built")
	}
	unruled := rest.Options{Authenticator: badge{}, Mounts: []rest.Mount{{Pattern: "/x", Operation: "x.y", Handler: http.NotFoundHandler()}}}
	if _, err := rest.New(newEngine(t), unruled); err == nil || !strings.Contains(err.Error(), "x.y") {
		t.Errorf("a mount without a rule: %v", err)
	}
}

func TestACallerWhoAsksTooOftenMustWait(t *testing.T) {
	t.Parallel()
	h := newDoor(t, newEngine(t), rest.Options{Authenticator: badge{}, Rate: 0.001}) // one, and the next after a quarter of an hour
	get := func(target, caller string) *http.Response {
		return call(t, h, "GET", target, "", "Authorization: "+caller)
	}
	if r := get("/parcels", "ada viewer"); r.StatusCode != 200 || r.Header.Get("RateLimit") != `"caller";r=0;t=1000` || r.Header.Get("RateLimit-Policy") != `"caller";q=1;w=1000` {
		t.Errorf("the first: got %d %v", r.StatusCode, r.Header)
	}
	r := get("/parcels", "ada viewer")
	if wait := r.Header.Get("Retry-After"); r.StatusCode != 429 || wait != "1000" && wait != "999" || object(t, r)["type"] != "/problems/rate_limited" {
		t.Errorf("the second: got %d %v", r.StatusCode, r.Header)
	}
	if r := get("/parcels", "bob viewer"); r.StatusCode != 200 {
		t.Errorf("somebody else: got %d", r.StatusCode)
	}
	if r := get("/parcels", "eve bad"); r.StatusCode != 401 {
		t.Errorf("bad credentials: got %d", r.StatusCode)
	}
	if r := get("/parcels", "eve bad"); r.StatusCode != 429 {
		t.Errorf("bad credentials again: got %d", r.StatusCode)
	}
	for range 3 {
		if r := get("/livez", ""); r.StatusCode != 200 {
			t.Errorf("health: got %d", r.StatusCode)
		}
	}
}

func TestPagesOfElsewhere(t *testing.T) {
	t.Parallel()
	h := newDoor(t, newEngine(t), rest.Options{Authenticator: badge{}, TrustedOrigins: []string{"https://shop.example"}})
	preflight := func(origin, target string) *http.Response {
		return call(t, h, "OPTIONS", target, "", "Origin: "+origin, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization")
	}
	r := preflight("https://shop.example", "/boxes/b-1/fill-box")
	if r.StatusCode != 204 || r.Header.Get("Access-Control-Allow-Origin") != "https://shop.example" || r.Header.Get("Access-Control-Allow-Credentials") != "" ||
		!strings.Contains(r.Header.Get("Access-Control-Allow-Methods"), "POST") || !strings.Contains(r.Header.Get("Access-Control-Allow-Headers"), "Idempotency-Key") {
		t.Errorf("a trusted origin: got %d %v", r.StatusCode, r.Header)
	}
	for name := range preflight("https://evil.example", "/boxes/b-1/fill-box").Header {
		if strings.HasPrefix(name, "Access-Control") {
			t.Errorf("another origin got %s", name)
		}
	}
	r = call(t, h, "GET", "/parcels", "", "Origin: https://shop.example", "Authorization: vi viewer")
	if r.StatusCode != 200 || r.Header.Get("Access-Control-Allow-Origin") == "" || !strings.Contains(r.Header.Get("Access-Control-Expose-Headers"), "ETag") || !strings.Contains(fmt.Sprint(r.Header["Vary"]), "Origin") {
		t.Errorf("its answer: got %d %v", r.StatusCode, r.Header)
	}
	plain := newDoor(t, newEngine(t), rest.Options{})
	if r := call(t, plain, "GET", "/parcels", "", "Origin: https://shop.example"); r.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("by default: got %v", r.Header)
	}
}

func TestOptionsNameTheMethods(t *testing.T) {
	t.Parallel()
	h := newDoor(t, newEngine(t), rest.Options{Authenticator: badge{}})
	for target, want := range map[string]struct {
		status int
		allow  string
	}{
		"/boxes/b-1/fill-box": {204, "POST, OPTIONS"},
		"/parcels/p-1":        {204, "GET, HEAD, OPTIONS"},
		"/nowhere":            {404, ""},
	} {
		if r := call(t, h, "OPTIONS", target, ""); r.StatusCode != want.status || r.Header.Get("Allow") != want.allow {
			t.Errorf("%s: got %d %q", target, r.StatusCode, r.Header.Get("Allow"))
		}
	}
}

func TestARequestHasAName(t *testing.T) {
	t.Parallel()
	h := newDoor(t, newEngine(t), rest.Options{})
	if got := call(t, h, "GET", "/parcels", "", "X-Request-Id: r-1").Header.Get("X-Request-Id"); got != "r-1" {
		t.Errorf("got %q back", got)
	}
	r := call(t, h, "GET", "/nowhere", "", "X-Request-Id: <script>")
	if id := r.Header.Get("X-Request-Id"); len(id) != 32 || object(t, r)["traceId"] != id {
		t.Errorf("made up: %q", id)
	}
	r = call(t, h, "GET", "/nowhere", "", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if o := object(t, r); o["traceId"] != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("got %v", o)
	}
}

func TestLongAnswersAreCompressed(t *testing.T) {
	t.Parallel()
	h := newDoor(t, newEngine(t), rest.Options{})
	plain := text(t, call(t, h, "GET", "/openapi.json", ""))
	r := call(t, h, "GET", "/openapi.json", "", "Accept-Encoding: gzip")
	tag := r.Header.Get("ETag")
	if r.Header.Get("Content-Encoding") != "gzip" || !strings.Contains(fmt.Sprint(r.Header["Vary"]), "Accept-Encoding") || !strings.HasSuffix(tag, `-gzip"`) {
		t.Fatalf("got %v", r.Header)
	}
	unzipped, err := gzip.NewReader(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(unzipped); err != nil || string(got) != plain {
		t.Errorf("%d bytes, want %d (%v)", len(got), len(plain), err)
	}
	if r := call(t, h, "GET", "/openapi.json", "", "Accept-Encoding: gzip", "If-None-Match: "+tag); r.StatusCode != 304 {
		t.Errorf("the same again: got %d", r.StatusCode)
	}
	if r := call(t, h, "GET", "/parcels", "", "Accept-Encoding: gzip"); r.Header.Get("Content-Encoding") != "" {
		t.Error("a short answer is compressed")
	}
}

func TestEventsAreNotHeldBack(t *testing.T) {
	t.Parallel()
	more := make(chan struct{})
	stream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		flusher := http.NewResponseController(w)
		if err := flusher.Flush(); err != nil {
			t.Error(err)
		}
		<-more
		fmt.Fprint(w, "data: 1\n\n")
		if err := flusher.Flush(); err != nil {
			t.Error(err)
		}
		<-r.Context().Done()
	})
	server := httptest.NewServer(newDoor(t, newEngine(t), rest.Options{Mounts: []rest.Mount{{Method: "GET", Pattern: "/events", Operation: access.EventsFollow, Handler: stream}}}))
	defer server.Close()
	r, err := server.Client().Get(server.URL + "/events") // which takes gzip
	if err != nil {
		t.Fatal(err)
	}
	close(more)
	line, err := bufio.NewReader(r.Body).ReadString('\n')
	if err != nil || line != "data: 1\n" {
		t.Errorf("got %q (%v)", line, err)
	}
	r.Body.Close()
}

func TestBodiesOfMountedDoorsAreBounded(t *testing.T) {
	t.Parallel()
	read := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			rest.WriteError(w, r, &es.InvalidError{Code: "too_large", Message: err.Error()})
		}
	})
	h := newDoor(t, newEngine(t), rest.Options{Mounts: []rest.Mount{{Method: "POST", Pattern: "/mounted", Operation: access.QueryAsk, Handler: read}}})
	if r := call(t, h, "POST", "/mounted", strings.Repeat(" ", 1<<20+1)); r.StatusCode != 413 || object(t, r)["traceId"] == "" {
		t.Errorf("got %d", r.StatusCode)
	}
}

func TestLocalAnswersToThisMachineAlone(t *testing.T) {
	t.Parallel()
	h := rest.Local(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for host, status := range map[string]int{
		"localhost": 200, "LocalHost:8080": 200, "localhost.:8080": 200, "shop.localhost:8080": 200, "127.0.0.1:8080": 200, "127.9.9.9": 200, "[::1]:8080": 200, "[::1]": 200,
		"": 421, "evil.example": 421, "evil.example:8080": 421, "localhost.evil.example": 421, "127.0.0.1.evil.example:80": 421, "evillocalhost": 421, "0.0.0.0:8080": 421, "10.0.0.1": 421,
	} {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != status {
			t.Errorf("%q: got %d %s, want %d", host, w.Code, w.Body, status)
		}
	}
}
