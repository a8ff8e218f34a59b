package ops_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/ops"
	"github.com/millstream-es/millstream/es/runtime"
)

// A tally is all that the tests of dead letters need.
type (
	tallyEvent interface {
		es.Event
		tally()
	}
	tallied struct{ By int }
	tally   struct {
		By int `json:"by" jsonschema:"minimum=1,example=1"`
	}
	sum int
)

func (tallied) EventType() string { return "Tallied" }
func (tallied) tally()            {}
func (tally) CommandType() string { return "Tally" }

func (s sum) Decide(c tally, _ es.Meta) ([]tallyEvent, error) { return []tallyEvent{tallied(c)}, nil }
func (s sum) Evolve(e tallyEvent) sum                         { return s + sum(e.(tallied).By) }

type lettersFixture struct {
	js      jetstream.JetStream
	letters *ops.DeadLetters
	connect func(...nats.Option) (*nats.Conn, error)
}

func newLetters(t *testing.T) lettersFixture {
	t.Helper()
	server := estest.StartServer(t, millstream.NATSConf)
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	f := lettersFixture{js: estest.SetUp(t, nc, 1), connect: server.Connect}
	if f.letters, err = ops.NewDeadLetters(nc); err != nil {
		t.Fatal(err)
	}
	return f
}

// start runs an engine until the test ends.
func (f lettersFixture) start(t *testing.T, park ...string) *runtime.Engine {
	t.Helper()
	e, err := runtime.Start(t.Context(), runtime.Config{
		Domain:  es.Domain{Name: "tallies", Events: []es.EventDef{es.EventOf[tallied](1)}, Aggregates: []es.Aggregate{es.Define[sum]("tally", tally{})}},
		DataDir: t.TempDir(), Connect: f.connect, Dev: true, Park: park, Logger: slog.New(slog.DiscardHandler), PinTTL: 600 * time.Millisecond,
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
	return e
}

// put stores letters as an engine does.
func (f lettersFixture) put(t *testing.T, letters ...runtime.DeadLetter) {
	t.Helper()
	for i, l := range letters {
		if l.Sequence == 0 {
			l.Sequence = uint64(i + 1)
		}
		body, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.js.Publish(t.Context(), "deadletters."+l.Consumer+"."+strings.ReplaceAll(l.Key, ".", "/")+"."+l.ID, body); err != nil {
			t.Fatal(err)
		}
	}
}

func command(id, aggregate, body, problem string) runtime.DeadLetter {
	return runtime.DeadLetter{
		ID: id, Consumer: "commands", Key: aggregate, Subject: "commands." + strings.ReplaceAll(aggregate, "/", ".") + ".Tally",
		Data: json.RawMessage(body), Error: problem, Attempts: 1,
	}
}

func ids(letters []ops.Letter) (ids []string) {
	for _, l := range letters {
		ids = append(ids, l.ID)
	}
	return ids
}

func TestDeadLettersAreListedNewestFirstAndNarrowedDown(t *testing.T) {
	t.Parallel()
	f := newLetters(t)
	f.put(t,
		command("ms-1", "tally/a", `{}`, "schema: /by is missing"),
		command("ms-2", "tally/b", `{}`, "no disk"),
		runtime.DeadLetter{ID: "ms-3", Consumer: "gateway-mail", Key: "order/o-1", Subject: "events.order.o-1", Error: "no DISK", Bytes: []byte("x")},
		runtime.DeadLetter{ID: "ms-4", Consumer: "saga-x-due", Key: "k", Subject: "due.x.k.name", Error: "waits behind ms-0", Behind: "ms-0"},
	)
	for name, c := range map[string]struct {
		filter ops.LetterFilter
		limit  int
		want   []string
		total  int
	}{
		"all":         {ops.LetterFilter{}, 9, []string{"ms-4", "ms-3", "ms-2", "ms-1"}, 4},
		"the newest":  {ops.LetterFilter{}, 1, []string{"ms-4"}, 4},
		"a consumer":  {ops.LetterFilter{Consumer: "commands"}, 9, []string{"ms-2", "ms-1"}, 2},
		"a category":  {ops.LetterFilter{Category: "order"}, 9, []string{"ms-3"}, 1},
		"an error":    {ops.LetterFilter{Error: "disk"}, 9, []string{"ms-3", "ms-2"}, 2},
		"all of them": {ops.LetterFilter{Consumer: "commands", Category: "tally", Error: "/by"}, 9, []string{"ms-1"}, 1},
		"none":        {ops.LetterFilter{Consumer: "gateway-nobody"}, 9, nil, 0},
	} {
		letters, total, err := f.letters.List(t.Context(), c.filter, c.limit)
		if diff := cmp.Diff(c.want, ids(letters)); err != nil || diff != "" || total != c.total {
			t.Errorf("%s: %d in all, %v\n%s", name, total, err, diff)
		}
		for _, l := range letters {
			if l.Data != nil || l.Bytes != nil || (l.State == runtime.Waiting) != (l.ID == "ms-4") {
				t.Errorf("%s: %+v", name, l)
			}
		}
	}
	var invalid *es.InvalidError
	if _, _, err := f.letters.List(t.Context(), ops.LetterFilter{Consumer: "a.>"}, 1); !errors.As(err, &invalid) {
		t.Errorf("a wildcard for a consumer: %v", err)
	}
	if _, err := f.letters.Show(t.Context(), ">"); !errors.As(err, &invalid) {
		t.Errorf("a wildcard for an id: %v", err)
	}
	if _, err := f.letters.Show(t.Context(), "ms-9"); !errors.Is(err, es.NotFound("dead_letter_not_found", "")) {
		t.Errorf("an unknown id: %v", err)
	}
	if l, err := f.letters.Show(t.Context(), "ms-3"); err != nil || string(l.Body()) != "x" || l.State != runtime.Parked {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestManyAreRetriedByTheirErrorInTheOrderOfTheOriginals(t *testing.T) {
	t.Parallel()
	f := newLetters(t)
	e := f.start(t)
	bad := command("ms-4", "tally/a", `{"by":0}`, "it was late")
	bad.Sequence = 4
	later, sooner := command("ms-2", "tally/a", `{"by":2}`, "it was late"), command("ms-1", "tally/a", `{"by":1}`, "it was late")
	later.Sequence, sooner.Sequence = 2, 1
	f.put(t, bad, later, sooner, command("ms-3", "tally/a", `{"by":100}`, "another error"))
	chosen, err := f.letters.Select(t.Context(), ops.LetterFilter{Error: "late"})
	if diff := cmp.Diff([]string{"ms-1", "ms-2", "ms-4"}, ids(chosen)); err != nil || diff != "" {
		t.Fatal(err, diff)
	}
	for round := range 2 {
		var got []string
		err := f.letters.Retry(t.Context(), chosen, ops.Act{By: "ada"}, func(r runtime.LetterResult) {
			got = append(got, fmt.Sprint(r.ID, " ", r.State, " ", r.Outcome, " ", r.Already))
		})
		again := fmt.Sprint(round > 0)
		want := []string{"ms-1 retried accepted " + again, "ms-2 retried accepted " + again, "ms-4 parked invalid false"}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("round %d: %v\n%s", round, err, diff)
		}
	}
	at, err := e.StateAt(t.Context(), es.Stream{Category: "tally", ID: "a"}, es.Range{})
	if err != nil || at.State != sum(3) {
		t.Errorf("%+v, %v", at, err)
	}
	if l, err := f.letters.Show(t.Context(), "ms-4"); err != nil || l.Attempts != 3 || len(l.Operations) != 2 || !strings.Contains(l.Error, "/by") {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestAllAreDroppedAlsoWhatWaitsAndWhatNobodyConsumesAnyMore(t *testing.T) {
	t.Parallel()
	f := newLetters(t)
	e := f.start(t)
	waiting := command("ms-2", "tally/a", `{"by":2}`, "waits behind ms-1")
	waiting.Behind = "ms-1"
	f.put(t, command("ms-1", "tally/a", `{}`, "bad"), waiting,
		runtime.DeadLetter{ID: "ms-3", Consumer: "gateway-gone", Key: "tally/a", Subject: "events.tally.a", Error: "bad"})
	chosen, err := f.letters.Select(t.Context(), ops.LetterFilter{})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.letters.Retry(t.Context(), chosen[2:], ops.Act{By: "ada"}, func(runtime.LetterResult) {}); !errors.Is(err, nats.ErrNoResponders) || !errors.Is(err, es.ErrTransient) {
		t.Errorf("retry where nobody consumes: %v", err)
	}
	for round := range 2 {
		n := 0
		err = f.letters.Drop(t.Context(), chosen, ops.Act{By: "ada", Reason: "a bad day"}, func(r runtime.LetterResult) {
			n++
			if r.State != runtime.Dropped || r.Already != (round > 0) || r.Error != "" {
				t.Errorf("round %d: %+v", round, r)
			}
		})
		if err != nil || n != 3 {
			t.Errorf("round %d: %d results, %v", round, n, err)
		}
	}
	if last, err := e.LastRevision(t.Context()); err != nil || last != 0 {
		t.Errorf("something dropped was executed: revision %d, %v", last, err)
	}
	found, err := f.letters.Find(t.Context(), "ms-3", "ms-1")
	if err != nil || len(found) != 2 || found[0].State != runtime.Dropped || found[0].Consumer != "gateway-gone" {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestASettledLetterThatACrashLeftBehindIsTakenAway(t *testing.T) {
	t.Parallel()
	f := newLetters(t)
	f.start(t)
	letter := command("ms-1", "tally/a", `{"by":1}`, "bad")
	f.put(t, letter)
	act := ops.Act{By: "ada", Reason: "why not"}
	chosen, err := f.letters.Select(t.Context(), ops.LetterFilter{})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.letters.Drop(t.Context(), chosen, act, func(runtime.LetterResult) {}); err != nil {
		t.Fatal(err)
	}
	f.put(t, letter) // as if it had been recorded, and not yet taken away
	if l, err := f.letters.Show(t.Context(), "ms-1"); err != nil || l.State != runtime.Dropped {
		t.Errorf("%+v, %v", l, err)
	}
	err = f.letters.Retry(t.Context(), chosen, act, func(r runtime.LetterResult) {
		if r.State != runtime.Dropped || !r.Already {
			t.Errorf("%+v", r)
		}
	})
	if _, total, listErr := f.letters.List(t.Context(), ops.LetterFilter{}, 9); err != nil || listErr != nil || total != 0 {
		t.Errorf("%d letters, %v, %v", total, err, listErr)
	}
}

func TestACorrectionMustBeJSON(t *testing.T) {
	t.Parallel()
	f := newLetters(t)
	var invalid *es.InvalidError
	err := f.letters.Resend(t.Context(), "ms-1", ops.Correction{Data: json.RawMessage(`{"by":`)}, ops.Act{By: "ada"}, nil)
	if !errors.As(err, &invalid) || invalid.Code != "malformed" {
		t.Error(err)
	}
}
