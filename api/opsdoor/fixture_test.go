package opsdoor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/api/opsdoor"
	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/runtime"
)

// Jars that are filled; a sitter watches each until its timer goes off, or takes out what is in it when it is sent
// away.

type (
	jarEvent interface {
		es.Event
		jar()
	}
	jarCommand interface {
		es.Command
		jar()
	}
	filled  struct{ By int }
	emptied struct{}
	fill    struct {
		By int `json:"by" jsonschema:"minimum=1,example=1"`
	}
	pour struct{}
	jar  struct {
		Status string `json:"status"`
		Level  int    `json:"level"`
	}
)

func (filled) EventType() string  { return "Filled" }
func (emptied) EventType() string { return "Emptied" }
func (fill) CommandType() string  { return "Fill" }
func (pour) CommandType() string  { return "Pour" }
func (filled) jar()               {}
func (emptied) jar()              {}
func (fill) jar()                 {}
func (pour) jar()                 {}

func (j jar) Decide(c jarCommand, _ es.Meta) ([]jarEvent, error) {
	if c, ok := c.(fill); ok {
		return []jarEvent{filled(c)}, nil
	}
	if j.Level == 0 {
		return nil, es.Rejected("jar_empty", "the jar is empty")
	}
	return []jarEvent{emptied{}}, nil
}

func (j jar) Evolve(e jarEvent) jar {
	if e, ok := e.(filled); ok {
		return jar{"FULL", j.Level + e.By}
	}
	return jar{Status: "EMPTY"}
}

var jars = es.Define[jar]("jar", fill{}, pour{})

type sitter struct{ Jar string }

func (s sitter) React(r es.Recorded) (sitter, []es.Effect) {
	switch r.Event.(type) {
	case filled:
		return sitter{r.Stream.ID}, []es.Effect{es.After{Name: "watch", Delay: time.Hour}}
	case es.Cancelled:
		return s, []es.Effect{jars.To(s.Jar, pour{})}
	case es.Outcome:
		return s, []es.Effect{es.Done{}}
	}
	return s, nil
}

func (s sitter) Waits() []es.Wait {
	return []es.Wait{{For: "the end of the watch", Timer: "watch", Then: "goes home"}}
}

func domain() es.Domain {
	return es.Domain{
		Name: "jars", Events: []es.EventDef{es.EventOf[filled](1), es.EventOf[emptied](1)}, Aggregates: []es.Aggregate{jars},
		Sagas: []es.Saga{es.DefineSaga[sitter]("sitter", es.Interest{Handles: []es.Event{filled{}}, Ignores: []es.Event{emptied{}}},
			func(r es.Recorded) (string, bool) { return r.Stream.ID, true }).Cancellable()},
		Projectors: []es.Projector{{
			Name: "jars", Version: 1, Schema: `CREATE TABLE jars (id TEXT PRIMARY KEY, level INTEGER NOT NULL)`,
			Interest: es.Interest{Handles: []es.Event{filled{}}, Ignores: []es.Event{emptied{}}},
			Apply: func(ctx context.Context, tx es.Tx, r es.Recorded) error {
				by := r.Event.(filled).By
				if by == 13 {
					return es.Permanent(errors.New("13 is unlucky"))
				}
				_, err := tx.ExecContext(ctx, `INSERT INTO jars VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET level = level + excluded.level`, r.Stream.ID, by)
				return err
			},
		}},
	}
}

// byHeader believes who a request says it comes from: a role, and scopes behind it.
type byHeader struct{}

func (byHeader) Authenticate(r *http.Request) (access.Principal, error) {
	words := strings.Fields(r.Header.Get("Role"))
	if len(words) == 0 {
		return access.Principal{}, access.ErrNoCredentials
	}
	return access.Principal{Name: "ada", Role: access.Role(words[0]), Scopes: words[1:]}, nil
}

// site is an engine with its HTTP door.
type site struct {
	t      *testing.T
	engine *runtime.Engine
	door   *opsdoor.Door
	http   *rest.Door
	js     jetstream.JetStream
}

func newSite(t *testing.T) *site {
	t.Helper()
	server := estest.StartServer(t, millstream.NATSConf)
	log := slog.New(slog.DiscardHandler)
	engine, err := runtime.Start(t.Context(), runtime.Config{
		Domain: domain(), DataDir: t.TempDir(), Connect: server.Connect, Dev: true, Logger: log, PinTTL: 600 * time.Millisecond, SnapshotEvery: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := engine.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	s := &site{t: t, engine: engine}
	if s.door, err = opsdoor.New(engine, opsdoor.Options{Logger: log}); err != nil {
		t.Fatal(err)
	}
	if s.http, err = rest.New(engine, rest.Options{Authenticator: byHeader{}, Mounts: s.door.Mounts(), Logger: log}); err != nil {
		t.Fatal(err)
	}
	if s.js, err = jetstream.New(engine.Conn()); err != nil {
		t.Fatal(err)
	}
	return s
}

// ask sends a request as somebody of a role and returns the answer's status and body.
func (s *site) ask(role access.Role, method, path, body string) (int, map[string]any) {
	s.t.Helper()
	r := httptest.NewRequestWithContext(s.t.Context(), method, path, strings.NewReader(body))
	r.Header.Set("Role", string(role))
	w := httptest.NewRecorder()
	s.http.ServeHTTP(w, r)
	data, err := io.ReadAll(w.Result().Body)
	if err != nil {
		s.t.Fatal(err)
	}
	var answer map[string]any
	if err := json.Unmarshal(data, &answer); err != nil {
		s.t.Fatalf("%s %s answers %d with no JSON object: %v\n%s", method, path, w.Code, err, data)
	}
	if w.Code >= 400 && w.Header().Get("Content-Type") != "application/problem+json" {
		s.t.Errorf("%s %s answers %d as %s", method, path, w.Code, w.Header().Get("Content-Type"))
	}
	return w.Code, answer
}

// get is what an admin reads.
func (s *site) get(path string) map[string]any {
	s.t.Helper()
	status, answer := s.ask(access.Admin, http.MethodGet, path, "")
	if status != http.StatusOK {
		s.t.Fatalf("GET %s: %d %v", path, status, answer)
	}
	return answer
}

// refused checks that an admin's request is refused with a status and code.
func (s *site) refused(method, path, body string, status int, code string) {
	s.t.Helper()
	got, answer := s.ask(access.Admin, method, path, body)
	if got != status || at(answer, "error", "code") != code {
		s.t.Errorf("%s %s %s: %d %v, want %d %s", method, path, body, got, answer, status, code)
	}
}

func (s *site) fill(id string, by int) {
	s.t.Helper()
	data, err := json.Marshal(fill{by})
	if err != nil {
		s.t.Fatal(err)
	}
	reply := s.engine.Execute(s.t.Context(), es.Request{Type: "Fill", Data: data, Meta: es.Meta{Stream: jars.Stream(id), CommandID: "fill-" + id, Correlation: "story-" + id}})
	if reply.Outcome != es.Accepted {
		s.t.Fatalf("%+v %+v", reply, reply.Error)
	}
}

// eventually asks until a condition is met.
func (s *site) eventually(what, path string, met func(map[string]any) bool) map[string]any {
	s.t.Helper()
	for giveUp := time.Now().Add(20 * time.Second); ; {
		answer := s.get(path)
		if met(answer) {
			return answer
		}
		if time.Now().After(giveUp) {
			text, _ := json.MarshalIndent(answer, "", " ") //nolint:errchkjson // it came as JSON
			s.t.Fatalf("waited 20 s for %s: %s", what, bytes.TrimSpace(text))
		}
	}
}

// at goes into nested objects by name and into lists by index.
func at(v any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[step]
		case int:
			l, _ := v.([]any)
			if step >= len(l) {
				return nil
			}
			v = l[step]
		}
	}
	return v
}

func length(v any) int {
	l, _ := v.([]any)
	return len(l)
}
