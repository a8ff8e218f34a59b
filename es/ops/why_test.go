package ops_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/ops"
	"github.com/millstream-es/millstream/es/runtime"
)

// Letters that are posted, stamped and, by a saga, delivered. A mail's state says which commands it takes; a box's
// does not.

type (
	mailEvent interface {
		es.Event
		mail()
	}
	mailCommand interface {
		es.Command
		mail()
	}
	posted    struct{ Box string }
	delivered struct{}
	post      struct{ Box string }
	stamp     struct{}
	deliver   struct{}
	mail      struct {
		Status string `json:"status"`
	}
)

func (posted) EventType() string    { return "Posted" }
func (delivered) EventType() string { return "Delivered" }
func (post) CommandType() string    { return "Post" }
func (stamp) CommandType() string   { return "Stamp" }
func (deliver) CommandType() string { return "Deliver" }
func (posted) mail()                {}
func (delivered) mail()             {}
func (post) mail()                  {}
func (stamp) mail()                 {}
func (deliver) mail()               {}
func (m mail) Allowed() []mailCommand {
	if m.Status == "" {
		return []mailCommand{post{}}
	}
	return []mailCommand{stamp{}, deliver{}}
}

func (m mail) Decide(c mailCommand, _ es.Meta) ([]mailEvent, error) {
	switch c := c.(type) {
	case post:
		return []mailEvent{posted(c)}, nil
	case deliver:
		return []mailEvent{delivered{}}, nil
	}
	return nil, es.Rejected("no_stamp", "the example has the wrong stamp")
}

func (m mail) Evolve(e mailEvent) mail {
	m.Status = strings.ToUpper(e.EventType())
	return m
}

type (
	boxEvent interface {
		es.Event
		box()
	}
	boxCommand interface {
		es.Command
		box()
	}
	filled struct{ By int }
	fill   struct {
		By int `json:"by" jsonschema:"minimum=1,example=1"`
	}
	empty struct{}
	paint struct{}
	burn  struct{}
	lock  struct {
		Key string `json:"key" jsonschema:"example=k"`
	}
	box int
)

func (filled) EventType() string    { return "Filled" }
func (fill) CommandType() string    { return "Fill" }
func (empty) CommandType() string   { return "Empty" }
func (paint) CommandType() string   { return "Paint" }
func (burn) CommandType() string    { return "Burn" }
func (lock) CommandType() string    { return "Lock" }
func (filled) box()                 {}
func (fill) box()                   {}
func (empty) box()                  {}
func (paint) box()                  {}
func (burn) box()                   {}
func (lock) box()                   {}
func (b box) Evolve(e boxEvent) box { return b + box(e.(filled).By) }

func (b box) Decide(c boxCommand, _ es.Meta) ([]boxEvent, error) {
	switch c := c.(type) {
	case fill:
		return []boxEvent{filled(c)}, nil
	case empty:
		return nil, es.Rejected("box_full", "the box is full")
	case paint:
		return nil, nil
	case lock:
		return nil, es.Rejected("wrong_key", "no such key").At("/key")
	}
	panic("a fault in the domain")
}

var (
	mails = es.Define[mail]("mail", post{}, stamp{}, deliver{}).Internal(deliver{})
	boxes = es.Define[box]("box", fill{}, empty{}, paint{}, burn{}, lock{})
)

// postman fills the box that a mail is posted in, then waits an hour to deliver it.
type postman struct {
	Mail, Box string
	Filled    bool
}

func (p postman) React(r es.Recorded) (postman, []es.Effect) {
	switch e := r.Event.(type) {
	case posted:
		return postman{Mail: r.Stream.ID, Box: e.Box}, []es.Effect{boxes.To(e.Box, fill{1})}
	case es.Outcome:
		p.Filled = true
		return p, []es.Effect{es.After{Name: "round", Delay: time.Hour}}
	}
	return p, nil
}

func (p postman) Waits() []es.Wait {
	if !p.Filled {
		return nil
	}
	return []es.Wait{{For: "the next round to box " + p.Box, On: boxes.Stream(p.Box), Timer: "round", Then: "delivers"}}
}

func whyDomain() es.Domain {
	return es.Domain{
		Name: "post", Events: []es.EventDef{es.EventOf[posted](1), es.EventOf[delivered](1), es.EventOf[filled](1)},
		Aggregates: []es.Aggregate{mails, boxes.In("boxes")},
		Sagas: []es.Saga{es.DefineSaga[postman]("postman",
			es.Interest{Handles: []es.Event{posted{}}, Ignores: []es.Event{delivered{}, filled{}}},
			func(r es.Recorded) (string, bool) { return r.Stream.ID, true })},
	}
}

func TestWhySaysItInWords(t *testing.T) {
	t.Parallel()
	server := estest.StartServer(t, millstream.NATSConf)
	e, err := runtime.Start(t.Context(), runtime.Config{
		Domain: whyDomain(), DataDir: t.TempDir(), Connect: server.Connect, Dev: true, Logger: slog.New(slog.DiscardHandler), PinTTL: 600 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := e.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	reply := e.Execute(t.Context(), es.Request{Type: "Post", Data: json.RawMessage(`{"Box":"b-1"}`), Meta: es.Meta{Stream: mails.Stream("m-1")}})
	if reply.Outcome != es.Accepted {
		t.Fatalf("%+v %+v", reply, reply.Error)
	}
	js, err := jetstream.New(e.Conn())
	if err != nil {
		t.Fatal(err)
	}
	log, err := natsstore.NewLog(e.Conn(), e.Schemas())
	if err != nil {
		t.Fatal(err)
	}
	processes := runtime.NewProcesses(js, e.Domain())
	why := func(s es.Stream) (ops.Why, error) {
		return ops.AskWhy(t.Context(), ops.WhyConfig{Log: log, Schemas: e.Schemas(), Processes: processes, Stream: s, Now: time.Now()})
	}
	var p runtime.ProcessHistory
	for giveUp := time.Now().Add(20 * time.Second); len(p.Timers) == 0; {
		if p, err = processes.Show(t.Context(), "postman", "m-1"); err != nil && !errors.Is(err, es.ErrRejected) || time.Now().After(giveUp) {
			t.Fatalf("the timer is not armed: %+v, %v", p, err)
		}
	}
	clock := func(at time.Time) string {
		if at.UTC().Format(time.DateOnly) != time.Now().UTC().Format(time.DateOnly) {
			return at.UTC().Format(time.DateTime)
		}
		return at.UTC().Format(time.TimeOnly)
	}
	waits := "waits for the next round to box b-1 since " + clock(p.Timeline[1].Trigger.Time) + "; delivers at " + clock(p.Timers[0].At)

	w, err := why(mails.Stream("m-1"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "POSTED; postman " + waits + "; allowed now: Stamp"; w.Words != want || w.Version != 1 || w.Last != "Posted" || len(w.Processes) != 1 {
		t.Errorf("%q, want %q (%+v)", w.Words, want, w)
	}
	// Deliver is the sagas'; Stamp is refused by its example only; Post is not among what the state takes.
	checkVerdicts(t, w, map[string]ops.Verdict{"Post": ops.Refuses, "Stamp": ops.Takes, "Deliver": ops.Takes})

	if w, err = why(boxes.Stream("b-1")); err != nil {
		t.Fatal(err)
	}
	if want := "after Filled; postman m-1 " + waits + "; allowed now: Fill, Lock"; w.Words != want {
		t.Errorf("%q, want %q", w.Words, want)
	}
	checkVerdicts(t, w, map[string]ops.Verdict{"Fill": ops.Takes, "Empty": ops.Refuses, "Paint": ops.Changeless, "Burn": ops.Refuses, "Lock": ops.Takes})
	i := slices.IndexFunc(w.Commands, func(c ops.CommandVerdict) bool { return c.Command == "Empty" })
	if because := w.Commands[i].Because; because == nil || because.Code != "box_full" {
		t.Errorf("because %+v", because)
	}
	if h, err := log.Load(t.Context(), boxes.Stream("b-1"), es.Range{}); err != nil || len(h.Events) != 1 {
		t.Errorf("asking stored something: %+v, %v", h, err)
	}

	if _, err = why(mails.Stream("m-2")); runtime.Problem(err).Code != "mail_not_found" {
		t.Errorf("a mail that is not there: %v", err)
	}
	if _, err = why(es.Stream{Category: "male", ID: "m-1"}); runtime.Problem(err).Code != "unknown_category" {
		t.Errorf("a category that is not there: %v", err)
	}
}

func checkVerdicts(t *testing.T, w ops.Why, want map[string]ops.Verdict) {
	t.Helper()
	for _, c := range w.Commands {
		if c.Verdict != want[c.Command] || len(c.Example) == 0 {
			t.Errorf("%s: %s of %s, want %s (%+v)", c.Command, c.Verdict, w.Stream, want[c.Command], c.Because)
		}
	}
	if len(w.Commands) != len(want) {
		t.Errorf("%d commands, want %d", len(w.Commands), len(want))
	}
}
