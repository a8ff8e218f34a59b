package websocket

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestServerSentEventsGoOnWhereTheyWere(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	s.do("note/n-1", writeNote{"one\ntwo"}, "x")
	s.do("card/c-1", stampNote{2}, "y")
	all := s.open("", http.Header{"Accept-Encoding": {"gzip"}})
	if got := all.Header.Get("Content-Type") + all.Header.Get("Content-Encoding") + all.Header.Get("Cache-Control"); got != "text/event-streamno-store" {
		t.Errorf("headers %v", all.Header)
	}
	all.want("1 note/n-1 NoteWritten", "2 card/c-1 NoteStamped NoteStamped", "live 2")
	for query, want := range map[string]string{
		"?after=1":                           "2 card/c-1 NoteStamped NoteStamped",
		"?stream=note/n-1":                   "1 note/n-1 NoteWritten",
		"?category=card":                     "2 card/c-1 NoteStamped NoteStamped",
		"?type=NoteWritten&type=NoteStamped": "1 note/n-1 NoteWritten",
		"?type=NoteStamped&correlation=y":    "2 card/c-1 NoteStamped NoteStamped",
		"?correlation=nobody":                "live 2",
		"?new=true":                          "live 2",
	} {
		s.open(query, nil).want(want)
	}
	s.do("note/n-2", stampNote{1}, "")
	all.want("3 note/n-2 NoteStamped")
	all.Body.Close()
	s.do("note/n-2", stampNote{2}, "")
	s.open("?after=1", http.Header{"Last-Event-Id": {"3"}}).want("4 note/n-2 NoteStamped NoteStamped", "live 4")
	s.open("?new=true", http.Header{"Last-Event-Id": {"2"}}).want("3 note/n-2 NoteStamped", "4 note/n-2 NoteStamped NoteStamped", "live 4")
}

func TestServerSentEventsOutliveTheServersTimeLimits(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Beat: 30 * time.Millisecond}, func(server *http.Server) {
		server.ReadTimeout, server.WriteTimeout = 100*time.Millisecond, 100*time.Millisecond
	})
	c := s.dial(nil)
	c.send(`{"type":"subscribe","id":"a"}`)
	c.want("a: live 0")
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		if r, err := c.read(); err != nil || r.String() != "a: 1 note/n-1 NoteStamped" {
			t.Errorf("the WebSocket got %s, %v", r, err)
		}
	}()
	events := s.open("", nil)
	events.want("live 0")
	for beats := 0; beats < 10; {
		m, ok := events.next()
		if !ok {
			t.Fatalf("the stream ended after %d beats", beats)
		}
		if m[""] != "" {
			beats++
		}
	}
	s.do("note/n-1", stampNote{1}, "")
	events.want("1 note/n-1 NoteStamped")
	<-heard
}

func TestServerSentEventsAreRefusedAsProblems(t *testing.T) {
	t.Parallel()
	s := start(t, Options{})
	for query, want := range map[string]string{
		"?categry=note":           "400 unknown_parameter did you mean category?",
		"?category=notes":         "404 unknown_category did you mean note?",
		"?stream=note":            "400 bad_id category/id",
		"?type=Note":              "400 unknown_event known are",
		"?after=-1":               "400 malformed whole number",
		"?after=7":                "400 in_future last revision is 0",
		"?new=":                   "400 malformed true or false",
		"?new=perhaps":            "400 malformed true or false",
		"?after=1&after=2":        "400 malformed stands 2 times",
		"?category=%zz":           "400 malformed",
		"?category=note%00&x=y;z": "400 malformed",
	} {
		answer := s.open(query, nil)
		body, err := io.ReadAll(answer.Body)
		fields := strings.SplitN(want, " ", 3)
		if err != nil || fmt.Sprint(answer.StatusCode) != fields[0] || !strings.Contains(string(body), `"`+fields[1]+`"`) || len(fields) == 3 && !strings.Contains(string(body), fields[2]) ||
			answer.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %s %s %v", query, answer.Status, body, err)
		}
	}
	if answer := s.open("", http.Header{"Last-Event-Id": {"x"}}); answer.StatusCode != http.StatusBadRequest {
		t.Errorf("a Last-Event-ID that is none: %s", answer.Status)
	}
	answer, err := http.Head(s.server.URL + "/events")
	if err != nil || answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD: %v %v", answer, err)
	}
	answer, err = http.Post(s.server.URL+"/events", "application/json", nil)
	if err != nil || answer.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %v %v", answer, err)
	}
	answer.Body.Close()
}
