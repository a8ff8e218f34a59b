package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/millstream-es/millstream/es"
)

func TestWithParkLaterCommandsWaitAndAreRetriedInOrder(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	park := func(c *Config) { c.Park = []string{"commands"} }
	e := s.start(t, older, park)
	s.queue(t, "commands.pot.a.TakeCoins", `{"coins":1}`, "take-1") // unknown yet
	s.queue(t, "commands.pot.a.PutCoins", `{"coins":1}`, "put-1")
	s.queue(t, "commands.pot.b.PutCoins", `{"coins":7}`, "other")
	eventually(t, "another pot's command", func() bool { return potCoins(t, e, "b") == 7 })
	eventually(t, "the command behind", func() bool { return len(s.letters(t, "commands")) == 2 })
	closeEngine(t, e)

	// Also after a restart what comes waits.
	e = s.start(t, park)
	s.queue(t, "commands.pot.a.TakeCoins", `{"coins":9}`, "take-2")
	s.queue(t, "commands.pot.a.PutCoins", `{"coins":8}`, "put-2")
	var letters []DeadLetter
	eventually(t, "all four", func() bool { letters = s.letters(t, "commands"); return len(letters) == 4 })
	first := letters[0]
	for _, l := range letters[1:] {
		if l.State() != Waiting || l.Behind != first.ID || l.Error != "waits behind "+first.ID {
			t.Errorf("behind the first: %+v", l)
		}
	}
	if got := s.retry(t, letters[2]); got.Status != 409 || !errors.Is(got.Err(), es.ErrConflict) || !strings.Contains(got.Error, first.ID) {
		t.Errorf("a retry out of order: %+v", got)
	}
	results := s.act(t, "commands", LetterRequest{Kind: "retry", ID: first.ID})
	var outcomes []string
	for _, r := range results {
		outcomes = append(outcomes, r.CommandID+" "+string(r.State)+" "+string(r.Outcome))
	}
	want := "take-1 retried rejected, put-1 retried accepted, take-2 retried rejected, put-2 retried accepted"
	if got := strings.Join(outcomes, ", "); got != want {
		t.Errorf("the retry: %s\nwant: %s", got, want)
	}
	s.queue(t, "commands.pot.a.TakeCoins", `{"coins":9}`, "take-3")
	eventually(t, "what comes after", func() bool { return potCoins(t, e, "a") == 0 })
	if ops := s.operations(t, letters[1].ID); len(ops) != 1 || ops[0].Reason != "waited behind "+first.ID {
		t.Errorf("the operations on one that waited: %+v", ops)
	}
}

func TestWithParkTheNextFailureIsTheOneToWaitFor(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, func(c *Config) { c.Park = []string{"commands"} })
	for i, body := range []string{`{"coins":"x"}`, `{"coins":1}`, `{"coins":"y"}`, `{"coins":2}`} {
		s.queue(t, "commands.pot.a.PutCoins", body, fmt.Sprintf("put-%d", i))
	}
	var letters []DeadLetter
	eventually(t, "all four", func() bool { letters = s.letters(t, "commands"); return len(letters) == 4 })
	results := s.act(t, "commands", LetterRequest{Kind: "drop", ID: letters[0].ID, Reason: "nonsense"})
	if len(results) != 3 || results[1].Outcome != es.Accepted || results[2].State != Parked || results[2].Error == "" {
		t.Fatalf("the drop: %+v", results)
	}
	states := map[string]string{}
	for _, l := range s.letters(t, "commands") {
		states[l.ID] = string(l.State()) + " " + l.Behind
	}
	if len(states) != 2 || states[letters[2].ID] != "parked " || states[letters[3].ID] != "waiting "+letters[2].ID {
		t.Errorf("%v", states)
	}
	results = s.act(t, "commands", LetterRequest{Kind: "resend", ID: letters[2].ID, Data: json.RawMessage(`{"coins":4}`)})
	if len(results) != 2 || results[1].State != Retried {
		t.Errorf("the resend: %+v", results)
	}
	eventually(t, "all coins", func() bool { return potCoins(t, e, "a") == 7 })
}

// TestWithParkNothingIsLeftBehindUnderTraffic lets commands come in while what they wait for is being settled.
func TestWithParkNothingIsLeftBehindUnderTraffic(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	park := func(c *Config) { c.Park = []string{"commands"} }
	owner := s.start(t, park)
	s.start(t, park, func(c *Config) { c.DataDir = t.TempDir() }) // answers about half of the retries
	const n = 60
	put, want := 0, 0
	for round := range 5 {
		s.queue(t, "commands.pot.a.PutCoins", `{"coins":"x"}`, fmt.Sprintf("bad-%d", round))
		var traffic sync.WaitGroup
		traffic.Go(func() {
			for range n {
				put++
				s.queue(t, "commands.pot.a.PutCoins", `{"coins":1}`, fmt.Sprintf("put-%d", put))
			}
		})
		var first DeadLetter
		eventually(t, "the bad one", func() bool {
			for _, l := range s.letters(t, "commands") {
				if l.Behind == "" {
					first = l
				}
			}
			return first.ID != ""
		})
		for next := first.ID; next != ""; {
			reply, err := ActOnLetter(t.Context(), s.conn, "commands", LetterRequest{Kind: "drop", ID: next, By: "ada", Reason: "bad"})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range reply.Results {
				if r.Error != "" {
					t.Errorf("%+v", r)
				}
			}
			next = reply.Next
		}
		traffic.Wait()
		want += n
		eventually(t, "every coin", func() bool { return potCoins(t, owner, "a") == want })
		eventually(t, "no letter", func() bool { return len(s.letters(t, "commands")) == 0 })
	}
}

func TestAnUnknownConsumerCannotBeParked(t *testing.T) {
	t.Parallel()
	c := Config{Domain: potsDomain(), DataDir: t.TempDir(), Connect: (&testServer{}).config().Connect, Park: []string{"saga-moover"}}
	if _, err := c.withDefaults(); err == nil || !strings.Contains(err.Error(), "saga-mover-due") {
		t.Error(err)
	}
}
