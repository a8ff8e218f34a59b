package runtime

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/millstream-es/millstream/es"
)

func (s *testServer) ask(t *testing.T, query, body string, headers ...string) (*nats.Msg, string) {
	t.Helper()
	m := nats.NewMsg("queries." + query)
	m.Data = []byte(body)
	for i := 0; i < len(headers); i += 2 {
		m.Header.Set(headers[i], headers[i+1])
	}
	reply, err := s.conn.RequestMsg(m, 10*time.Second)
	if err != nil {
		t.Fatalf("queries.%s: %v", query, err)
	}
	return reply, reply.Header.Get(micro.ErrorCodeHeader)
}

func TestQueriesAreAnsweredOverNATS(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t)
	reply := e.Execute(t.Context(), request("a", putCoins{3}, ""))
	wantOutcome(t, reply, es.Accepted)

	m, code := s.ask(t, "pot", `{"id":"a"}`, HeaderRevision, strconv.FormatUint(uint64(reply.Revision), 10))
	var answer potAnswer
	if err := json.Unmarshal(m.Data, &answer); err != nil || code != "" || answer != (potAnswer{"a", 3}) {
		t.Errorf("answer %s, code %q, %v", m.Data, code, err)
	}
	if got := m.Header.Get(HeaderRevision); got != strconv.FormatUint(uint64(reply.Revision), 10) {
		t.Errorf("%s: %q, want %d", HeaderRevision, got, reply.Revision)
	}
	for _, bad := range []struct{ query, body, revision, code, problem, says string }{
		{"pott", `{}`, "", "404", "unknown_query", "did you mean pot?"},
		{"pot.a", `{}`, "", "404", "unknown_query", "known are pot"},
		{"pot", `{"idd":"a"}`, "", "422", "schema", "did you mean id?"},
		{"pot", `{"id":7}`, "", "422", "schema", "must be a string"},
		{"pot", `{"id":"a"`, "", "400", "malformed", ""},
		{"pot", `[]`, "", "422", "schema", "must be an object"},
		{"pot", `{"id":"a"}`, "x", "400", "bad_header", "17"},
		{"pot", `{"id":"a"}`, "999999", "503", "unavailable", ""},
	} {
		header := []string{}
		if bad.revision != "" {
			header = []string{HeaderRevision, bad.revision}
		}
		m, code := s.ask(t, bad.query, bad.body, header...)
		var p es.Problem
		if err := json.Unmarshal(m.Data, &p); err != nil {
			t.Fatalf("%s %s: %s: %v", bad.query, bad.body, m.Data, err)
		}
		if code != bad.code || p.Code != bad.problem || !strings.Contains(p.Message, bad.says) {
			t.Errorf("%s %s: code %q, %+v; want %s %s %q", bad.query, bad.body, code, p, bad.code, bad.problem, bad.says)
		}
	}
}

func TestServicesShowTheirSchemas(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	s.start(t)
	for service, endpoint := range map[string]string{"pots": "pot-PutCoins", "pots-queries": "pot"} {
		m, err := s.conn.Request("$SRV.INFO."+service, nil, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var info micro.Info
		if err := json.Unmarshal(m.Data, &info); err != nil {
			t.Fatal(err)
		}
		found := false
		for _, e := range info.Endpoints {
			found = found || e.Name == endpoint && json.Valid([]byte(e.Metadata["schema"])) && e.QueueGroup == CallQueue
		}
		if !found {
			t.Errorf("%s: no endpoint %s with a schema in %s", service, endpoint, m.Data)
		}
	}
}
