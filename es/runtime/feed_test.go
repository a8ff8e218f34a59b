package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

func onlyAPI(c *Config) { c.Roles = []Role{RoleAPI} }

func follow(t *testing.T, e *Engine, f Filter, from FollowFrom) *Subscription {
	t.Helper()
	s, err := e.Follow(t.Context(), f, from)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func receive(t testing.TB, s *Subscription) Notice {
	t.Helper()
	select {
	case n, open := <-s.C():
		if !open {
			t.Fatalf("the subscription ended: %v", s.Err())
		}
		return n
	case <-time.After(20 * time.Second):
		t.Fatal("waited 20 s for a notice")
	}
	return Notice{}
}

// ended waits for the end of a subscription and returns why.
func ended(t *testing.T, s *Subscription) error {
	t.Helper()
	for deadline := time.After(20 * time.Second); ; {
		select {
		case _, open := <-s.C():
			if !open {
				return s.Err()
			}
		case <-deadline:
			t.Fatal("waited 20 s for the end of a subscription")
		}
	}
}

// tell spells a notice: "3 pot/a CoinsPut CoinsTaken", or "live 3".
func tell(n Notice) string {
	if n.Live {
		return fmt.Sprintf("live %d", n.Revision)
	}
	text := fmt.Sprintf("%d %s", n.Revision, n.Events[0].Stream)
	for _, r := range n.Events {
		text += " " + r.EventType()
	}
	return text
}

// happen stores events without asking the domain.
func happen(t *testing.T, e *Engine, id, correlation string, version uint64, expected es.Revision, events ...es.Event) es.Revision {
	t.Helper()
	c := es.Commit{Stream: pots.Stream(id), Expected: expected}
	command := fmt.Sprintf("c-%d", version)
	for i, event := range events {
		c.Events = append(c.Events, es.Recorded{
			Event: event, ID: fmt.Sprintf("%s/%d", command, i+1), Version: version + uint64(i),
			Meta: es.Meta{Stream: c.Stream, CommandID: command, Correlation: correlation, Time: time.Unix(1, 0)},
		})
	}
	at, err := e.log.Append(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestAFollowerGetsThePastThenWhatHappens(t *testing.T) {
	t.Parallel()
	e := newTestServer(t).start(t, onlyAPI)
	a := happen(t, e, "a", "one", 1, 0, coinsPut{5}, coinsTaken{Coins: 2}) // revision 1
	b := happen(t, e, "b", "two", 1, 0, coinsPut{1})
	happen(t, e, "a", "two", 3, a, coinsTaken{Coins: 1})
	subscriptions, rest := map[string]*Subscription{}, map[string][]string{}
	for name, c := range map[string]struct {
		filter Filter
		from   FollowFrom
		want   []string
	}{
		"everything":          {Filter{}, FollowFrom{}, []string{"1 pot/a CoinsPut CoinsTaken", "2 pot/b CoinsPut", "3 pot/a CoinsTaken", "live 3", "4 pot/b CoinsPut CoinsTaken"}},
		"after a revision":    {Filter{}, FollowFrom{After: 1}, []string{"2 pot/b CoinsPut", "3 pot/a CoinsTaken", "live 3", "4 pot/b CoinsPut CoinsTaken"}},
		"after the last":      {Filter{}, FollowFrom{After: 3}, []string{"live 3", "4 pot/b CoinsPut CoinsTaken"}},
		"only what is new":    {Filter{}, FollowFrom{New: true}, []string{"live 3", "4 pot/b CoinsPut CoinsTaken"}},
		"one aggregate":       {Filter{Stream: pots.Stream("b")}, FollowFrom{}, []string{"2 pot/b CoinsPut", "live 3", "4 pot/b CoinsPut CoinsTaken"}},
		"one nobody knows":    {Filter{Stream: pots.Stream("z")}, FollowFrom{}, []string{"live 3"}},
		"a category":          {Filter{Category: "pot"}, FollowFrom{After: 2}, []string{"3 pot/a CoinsTaken", "live 3", "4 pot/b CoinsPut CoinsTaken"}},
		"a type":              {Filter{Types: []string{"CoinsTaken"}}, FollowFrom{}, []string{"1 pot/a CoinsTaken", "3 pot/a CoinsTaken", "live 3", "4 pot/b CoinsTaken"}},
		"a correlation":       {Filter{Correlation: "two"}, FollowFrom{}, []string{"2 pot/b CoinsPut", "3 pot/a CoinsTaken", "live 3", "4 pot/b CoinsPut CoinsTaken"}},
		"all of these":        {Filter{Stream: pots.Stream("b"), Category: "pot", Types: []string{"CoinsTaken", "CoinsPut"}, Correlation: "two"}, FollowFrom{}, []string{"2 pot/b CoinsPut", "live 3", "4 pot/b CoinsPut CoinsTaken"}},
		"a type of the other": {Filter{Stream: pots.Stream("a"), Types: []string{"CoinsPut"}}, FollowFrom{}, []string{"1 pot/a CoinsPut", "live 3"}},
	} {
		s := follow(t, e, c.filter, c.from)
		var got []string
		for live := false; !live; {
			n := receive(t, s)
			got, live = append(got, tell(n)), n.Live
			same(t, n)
		}
		if past := len(got); past < len(c.want) {
			subscriptions[name], rest[name] = s, c.want[past:]
		}
		if diff := cmp.Diff(c.want[:len(got)], got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	happen(t, e, "b", "two", 2, b, coinsPut{9}, coinsTaken{Coins: 1})
	for name, s := range subscriptions {
		n := receive(t, s)
		same(t, n)
		if got := tell(n); got != rest[name][0] {
			t.Errorf("%s: got %q, want %q", name, got, rest[name][0])
		}
	}
}

// same compares a notice's events with their CloudEvents.
func same(t *testing.T, n Notice) {
	t.Helper()
	wire, err := n.CloudEvents()
	if err != nil || len(wire) != len(n.Events) {
		t.Fatalf("%d CloudEvents for %d events, %v", len(wire), len(n.Events), err)
	}
	for i, r := range n.Events {
		var got struct{ ID, Type, Subject string }
		if err := json.Unmarshal(wire[i], &got); err != nil || got.ID != r.ID || got.Type != r.EventType() || got.Subject != r.Stream.String() {
			t.Errorf("%s as a CloudEvent: %s, %v", r.ID, wire[i], err)
		}
	}
}

// TestNoGapNoDuplicate lets followers come, go, dawdle and come back while others write: what each has seen in the end
// is exactly what happened. The queue is so short that many lose their place, while catching up and while live.
func TestNoGapNoDuplicate(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	e := newTestServer(t).start(t, onlyAPI)
	e.feed.most = 4
	e.feed.linger = time.Millisecond
	const writers, each, followers, farewell = 6, 150, 24, 7
	written := map[es.Revision]string{} // "pot/a CoinsPut"
	var mu sync.Mutex
	write := func(id string, c es.Command) {
		reply := e.Execute(t.Context(), request(id, c, ""))
		if reply.Outcome != es.Accepted {
			t.Errorf("%+v %+v", reply, reply.Error)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		written[reply.Revision] = reply.Stream + " " + reply.Events[0]
	}
	seen, slow := make([][]string, followers), new(atomic.Int64)
	var writing, following sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				write(fmt.Sprintf("p-%d", w%4), putCoins{Coins: 2})
				if i%3 == 2 {
					write(fmt.Sprintf("p-%d", w%4), takeCoins{Coins: 1})
				}
			}
		})
	}
	patience, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	filters := []Filter{{}, {Category: "pot"}, {Stream: pots.Stream("p-1")}, {Types: []string{"CoinsTaken"}}}
	for i := range followers {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		following.Go(func() {
			at, last := es.Revision(0), false
			for !last {
				ctx, leave := context.WithCancel(patience)
				s, err := e.Follow(ctx, filters[i%len(filters)], FollowFrom{After: at})
				if err != nil {
					t.Error(err)
					leave()
					return
				}
				for stay := random.IntN(300); stay > 0 && !last; stay-- {
					n, open := <-s.C()
					if !open {
						break
					}
					if n.Revision < at || n.Revision == at && !n.Live {
						t.Errorf("revision %d came after %d", n.Revision, at)
					}
					at = n.Revision
					for _, r := range n.Events {
						seen[i] = append(seen[i], fmt.Sprintf("%d %s %s", n.Revision, r.Stream, r.EventType()))
						taken, ok := r.Event.(coinsTaken)
						last = ok && taken.Coins == farewell
					}
					for range random.IntN(50) * random.IntN(50) {
						runtime.Gosched() // dawdles
					}
				}
				leave()
				for range s.C() {
				}
				if errors.Is(s.Err(), ErrSlow) {
					slow.Add(1)
				}
			}
		})
	}
	writing.Wait()
	write("p-1", takeCoins{Coins: farewell})
	following.Wait()
	t.Logf("%d subscriptions were too slow", slow.Load())
	for i, filter := range filters {
		var want []string
		for r := range es.Revision(len(written)) {
			stream, event, _ := strings.Cut(written[r+1], " ")
			if (filter.Stream == es.Stream{} || filter.Stream.String() == stream) && (len(filter.Types) == 0 || filter.Types[0] == event) {
				want = append(want, fmt.Sprintf("%d %s %s", r+1, stream, event))
			}
		}
		for ; i < followers; i += len(filters) {
			if diff := cmp.Diff(want, seen[i]); diff != "" {
				t.Errorf("follower %d of %+v: %s", i, filter, diff)
			}
		}
	}
	eventually(t, "the reader to end with its last follower", func() bool {
		e.feed.mu.Lock()
		defer e.feed.mu.Unlock()
		return e.feed.reader == nil && len(e.feed.followers) == 0 && len(e.feed.live) == 0
	})
}

func TestASlowFollowerEndsAloneAndLosesNothing(t *testing.T) {
	t.Parallel()
	e := newTestServer(t).start(t, onlyAPI)
	e.feed.most = 10
	slow, quick := follow(t, e, Filter{}, FollowFrom{New: true}), follow(t, e, Filter{}, FollowFrom{New: true})
	if first := receive(t, slow); !first.Live {
		t.Fatalf("%+v", first)
	}
	receive(t, quick)
	const commits = 100
	for i := range es.Revision(commits) {
		happen(t, e, "a", "", uint64(i+1), i, coinsPut{1})
		if n := receive(t, quick); n.Revision != i+1 {
			t.Fatalf("the quick one got %s, want revision %d", tell(n), i+1)
		}
	}
	var at es.Revision
	for n := range slow.C() {
		at = n.Revision
	}
	if err := slow.Err(); !errors.Is(err, ErrSlow) || at >= commits {
		t.Fatalf("got up to %d, %v", at, err)
	}
	again := follow(t, e, Filter{}, FollowFrom{After: at})
	for at++; at <= commits; at++ {
		if n := receive(t, again); n.Revision != at {
			t.Fatalf("got %s, want revision %d", tell(n), at)
		}
	}
}

func TestCatchingUpTakesItsTime(t *testing.T) {
	t.Parallel()
	e := newTestServer(t).start(t, onlyAPI)
	e.feed.most = 3
	quick := follow(t, e, Filter{}, FollowFrom{New: true}) // keeps the reader going
	receive(t, quick)
	write := func(from, to es.Revision) {
		for ; from < to; from++ {
			happen(t, e, "a", "", uint64(from+1), from, coinsPut{1})
			receive(t, quick)
		}
	}
	write(0, 20)
	s := follow(t, e, Filter{}, FollowFrom{})
	for at := es.Revision(1); at <= 60; at++ {
		if n := receive(t, s); n.Revision != at || n.Live {
			t.Fatalf("got %s, want revision %d", tell(n), at)
		}
		if at == 10 || at == 30 { // far more than its queue holds
			write(10+at, 30+at)
		}
	}
	if n := receive(t, s); !n.Live || n.Revision != 60 {
		t.Errorf("got %s, want live 60", tell(n))
	}
}

func TestNothingIsDeliveredBeforeItIsSynced(t *testing.T) {
	t.Parallel()
	server := syncedServer(t)
	e := server.start(t, func(c *Config) { onlyAPI(c); c.Syncer = server.Syncer() })
	s := follow(t, e, Filter{}, FollowFrom{})
	receive(t, s)
	at := happen(t, e, "a", "", 1, 0, coinsPut{1}) // not by a command, so nobody else waits for a sync
	if n := receive(t, s); n.Revision != at || e.durability.synced.Load() < uint64(at) {
		t.Errorf("%s, synced up to %d", tell(n), e.durability.synced.Load())
	}
	if err := server.Syncer().Close(); err != nil { // from here on no wait succeeds, as after a failed sync
		t.Fatal(err)
	}
	happen(t, e, "a", "", 2, at, coinsPut{1})
	for n := range s.C() {
		t.Errorf("%s was delivered, and is not synced", tell(n))
	}
	if err := s.Err(); !errors.Is(err, es.ErrUnknownOutcome) {
		t.Error(err)
	}
}

func TestWhatCannotBeFollowedIsSaid(t *testing.T) {
	t.Parallel()
	e := newTestServer(t).start(t, onlyAPI)
	happen(t, e, "a", "", 1, 0, coinsPut{1})
	for name, c := range map[string]struct {
		filter Filter
		from   FollowFrom
		code   string
		says   string
	}{
		"a category mistyped": {Filter{Category: "pots"}, FollowFrom{}, "unknown_category", "did you mean pot?"},
		"a stream of none":    {Filter{Stream: es.Stream{Category: "cup", ID: "a"}}, FollowFrom{}, "unknown_category", "known are"},
		"a bad id":            {Filter{Stream: es.Stream{Category: "pot", ID: "*"}}, FollowFrom{}, "bad_id", "must match"},
		"a category of dots":  {Filter{Category: "pot.>"}, FollowFrom{}, "unknown_category", "pot"},
		"two categories":      {Filter{Stream: pots.Stream("a"), Category: "pat"}, FollowFrom{}, "malformed", "give one"},
		"a type mistyped":     {Filter{Types: []string{"CoinsPut", "CoinTaken"}}, FollowFrom{}, "unknown_event", "did you mean CoinsTaken?"},
		"a type of none":      {Filter{Types: []string{""}}, FollowFrom{}, "unknown_event", "known are CoinsPut, CoinsTaken"},
		"too many types":      {Filter{Types: make([]string, 101)}, FollowFrom{}, "malformed", "the most is 100"},
		"a long correlation":  {Filter{Correlation: strings.Repeat("x", 200)}, FollowFrom{}, "malformed", "128"},
		"the future":          {Filter{}, FollowFrom{After: 2}, "in_future", "last revision is 1"},
		"both":                {Filter{}, FollowFrom{After: 1, New: true}, "malformed", "either"},
	} {
		s, err := e.Follow(t.Context(), c.filter, c.from)
		invalid, ok := errors.AsType[*es.InvalidError](err)
		if !ok || invalid.Code != c.code || !strings.Contains(invalid.Message, c.says) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}

func TestFollowersLearnOfTheEnd(t *testing.T) {
	t.Parallel()
	server := newTestServer(t)
	e := server.start(t, onlyAPI)
	happen(t, e, "a", "", 1, 0, coinsPut{1})
	ctx, leave := context.WithCancel(t.Context())
	left, err := e.Follow(ctx, Filter{}, FollowFrom{})
	if err != nil {
		t.Fatal(err)
	}
	stays, blocked := follow(t, e, Filter{}, FollowFrom{}), follow(t, e, Filter{}, FollowFrom{}) // blocked is never read
	receive(t, stays)
	leave()
	if err := ended(t, left); !errors.Is(err, context.Canceled) {
		t.Errorf("who left: %v", err)
	}
	// What nobody can read ends everybody, with the reason.
	receive(t, stays)
	if _, err := server.js.PublishMsg(t.Context(), &nats.Msg{Subject: "events.pot.a", Data: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	if err := ended(t, stays); !errors.Is(err, es.ErrPermanent) || !strings.Contains(err.Error(), "revision 2") {
		t.Errorf("at what is no commit: %v", err)
	}
	late := follow(t, e, Filter{}, FollowFrom{New: true})
	receive(t, late)
	closeEngine(t, e)
	if err := ended(t, late); !errors.Is(err, es.ErrTransient) || !strings.Contains(err.Error(), "stopping") {
		t.Errorf("when the engine stopped: %v", err)
	}
	ended(t, blocked)
	if _, err := e.Follow(t.Context(), Filter{}, FollowFrom{}); err == nil {
		t.Error("a stopped engine can be followed")
	}
}

func TestTailGoesOnAndLastEventsLookBack(t *testing.T) {
	t.Parallel()
	e := newTestServer(t).start(t, onlyAPI)
	first := happen(t, e, "a", "", 1, 0, coinsTaken{Coins: 1})
	var b es.Revision
	for i := range uint64(1200) { // more than is looked through at first
		b = happen(t, e, "b", "", 2*i+1, b, coinsPut{1}, coinsPut{2})
	}
	for name, c := range map[string]struct {
		filter Filter
		n      int
		want   []string
	}{
		"the last three":    {Filter{}, 3, []string{"b 2398", "b 2399", "b 2400"}},
		"none":              {Filter{}, 0, nil},
		"those of a type":   {Filter{Types: []string{"CoinsTaken"}}, 2, []string{"a 1"}},
		"all of an unknown": {Filter{Stream: pots.Stream("z")}, 2, nil},
	} {
		last, err := LastEvents(t.Context(), e.log, c.filter, c.n, b)
		var got []string
		for _, r := range last {
			got = append(got, fmt.Sprintf("%s %d", r.Stream.ID, r.Version))
		}
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
	enough := errors.New("enough")
	var seen []es.Revision
	err := Tail(t.Context(), e.log, Filter{Types: []string{"CoinsTaken"}}, 0, func(error) {}, func(n Notice) error {
		if seen = append(seen, n.Revision); len(seen) == 2 {
			return enough
		}
		happen(t, e, "a", "", 2, first, coinsPut{1}, coinsTaken{Coins: 1})
		return nil
	})
	if diff := cmp.Diff([]es.Revision{first, b + 1}, seen); !errors.Is(err, enough) || diff != "" {
		t.Error(err, diff)
	}
}

func TestWhatANewerProgramStoresIsFollowed(t *testing.T) {
	t.Parallel()
	server := newTestServer(t)
	e := server.start(t, onlyAPI)
	happen(t, e, "a", "", 1, 0, coinsPut{1})
	m, err := server.js.Stream(t.Context(), natsstore.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := m.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	newer := &nats.Msg{Subject: stored.Subject, Header: stored.Header, Data: []byte(`{"metal":"gold"}`)}
	newer.Header.Del(natsstore.ExpectedRevision)
	newer.Header.Set("ce-type", "CoinsGilded")
	newer.Header.Set("ce-version", "2")
	s := follow(t, e, Filter{}, FollowFrom{})
	receive(t, s)
	receive(t, s)
	if _, err := server.js.PublishMsg(t.Context(), newer); err != nil {
		t.Fatal(err)
	}
	n := receive(t, s)
	if got := tell(n); got != "2 pot/a CoinsGilded" {
		t.Error(got)
	}
	if data, err := json.Marshal(n.Events[0].Event); err != nil || string(data) != `{"metal":"gold"}` {
		t.Errorf("%s %v", data, err)
	}
}
