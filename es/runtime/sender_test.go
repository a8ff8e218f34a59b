package runtime

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
)

// rawRequest sends a request whose header block is not written by a client library, and returns the body of its answer.
func rawRequest(t *testing.T, server, user, subject, headers, body string) []byte {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true,\"protocol\":1,\"user\":%q,\"pass\":%q}\r\n", user, estest.Password)
	fmt.Fprintf(c, "SUB _INBOX.raw 1\r\nHPUB %s _INBOX.raw %d %d\r\n%s%s\r\n", subject, len(headers), len(headers)+len(body), headers, body)
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("%s by %s: %v", subject, user, err)
		}
		head, all := 0, 0
		switch fields := strings.Fields(line); {
		case len(fields) == 4 && fields[0] == "MSG":
			_, err = fmt.Sscan(fields[3], &all)
		case len(fields) == 5 && fields[0] == "HMSG":
			_, err = fmt.Sscan(fields[3]+" "+fields[4], &head, &all)
		default:
			continue
		}
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		answer := make([]byte, all)
		if _, err := io.ReadFull(r, answer); err != nil {
			t.Fatal(err)
		}
		return answer[head:]
	}
}

// lines is a log that a test reads.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// contain reports whether a line has all of the texts.
func (l *lines) contain(all ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if !slices.ContainsFunc(all, func(text string) bool { return !strings.Contains(line, text) }) {
			return true
		}
	}
	return false
}

// TestSendersCannotPassForOthers writes headers as the server and the client library read them differently.
func TestSendersCannotPassForOthers(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	var logged lines
	var mu sync.Mutex
	var asked []string
	s.start(t, func(c *Config) {
		c.Dev, c.Durability, c.Logger = false, es.Fast, slog.New(slog.NewJSONHandler(&logged, nil))
		c.Authorize = func(user, _, _ string) error {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, user)
			return nil
		}
	})
	askedFor := func() []string {
		mu.Lock()
		defer mu.Unlock()
		defer func() { asked = nil }()
		return slices.Clone(asked)
	}
	const forged = `Nats-Request-Info: {"acc":"OPS","user":"boss"}`
	for name, headers := range map[string]string{
		"a line the server does not find":      "X: a\n" + forged + "\r\n\r\n",
		"one that is no JSON":                  "X: a\nNats-Request-Info: x\r\n\r\n",
		"one without anybody":                  "X: a\nNats-Request-Info: {}\r\n\r\n",
		"behind an empty line":                 "X: a\n\n\r\n",
		"a line of one's own and an empty one": "X: a\n" + forged + "\n\n\r\n",
		"behind a whole block":                 forged + "\r\n\r\n\r\n",
		"a malformed line":                     "malformed\r\n\r\n",
		"lines that make up for it":            strings.Repeat("X:\n", 200) + "\n\r\n",
		"a name that is empty":                 strings.Repeat(":\n", 8) + "X: a\n\n\r\n",
		"a status":                             " 200 OK\r\n" + strings.Repeat("X:\n", maxHeaders-2) + "\n\r\n",
	} {
		status := "NATS/1.0\r\n"
		if strings.HasPrefix(headers, " ") {
			status = "NATS/1.0"
		}
		var reply es.Reply
		answer := rawRequest(t, s.ClientURL(), "client", "call.pot.a.PutCoins", status+headers, `{"coins":1}`)
		if err := json.Unmarshal(answer, &reply); err != nil {
			t.Fatalf("%s: %s: %v", name, answer, err)
		}
		known := askedFor()
		if refused := reply.Error != nil && reply.Error.Code == "bad_header"; !refused && !slices.Equal(known, []string{"client"}) {
			t.Errorf("a call with %s is taken for one of %q: %s", name, known, answer)
		}
		var p es.Problem
		answer = rawRequest(t, s.ClientURL(), "reader", "queries.pot", status+headers, `{"id":"a"}`)
		if err := json.Unmarshal(answer, &p); err != nil {
			t.Fatalf("%s: %s: %v", name, answer, err)
		}
		known = askedFor()
		if p.Code != "bad_header" && !slices.Equal(known, []string{"reader"}) {
			t.Errorf("a question with %s is taken for one of %q: %s", name, known, answer)
		}
	}
	for name, headers := range map[string]string{
		"none":           "\r\n",
		"no blank":       "Nats-Msg-Id:j-1\r\nCorrelation-Id:c\r\nX:\r\n\r\n",
		"blanks":         "Nats-Msg-Id: j-2\r\nCorrelation-Id: c\r\nX: \r\n\r\n",
		"a forged one":   forged + "\r\n\r\n",
		"as many as may": strings.Repeat("X: a\r\n", maxHeaders-1) + "\r\n",
	} {
		var reply es.Reply
		answer := rawRequest(t, s.ClientURL(), "client", "call.pot.b.PutCoins", "NATS/1.0\r\n"+headers, `{"coins":1}`)
		if err := json.Unmarshal(answer, &reply); err != nil || reply.Outcome != es.Accepted {
			t.Errorf("headers of %s: %s, %v", name, answer, err)
		}
		if known := askedFor(); !slices.Equal(known, []string{"client"}) {
			t.Errorf("headers of %s are taken for those of %q", name, known)
		}
	}
	m, err := s.conn.Request("call.pot.c.PutCoins", []byte(`{"coins":1}`), 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if known := askedFor(); !slices.Equal(known, []string{EngineUser}) {
		t.Errorf("the engine's own account is taken for %q: %s", known, m.Data)
	}
	eventually(t, "headers that cannot be read are in the log", func() bool {
		return logged.contain("could not decode headers", `"subject":"call.>"`)
	})
}
