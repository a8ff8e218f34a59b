package runtime

import (
	"errors"
	"strings"
	"testing"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

func TestAQueueBeginsAfterWhatWasRestored(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	e := s.start(t, func(c *Config) { c.Roles = []Role{RoleCommands} }) // no saga hears this one
	wantOutcome(t, e.Execute(t.Context(), request("a", putCoins{5}, "put")), es.Accepted)
	long := e.Execute(t.Context(), request("a", takeCoins{Coins: 1, For: "long-ago"}, "long-ago"))
	wantOutcome(t, long, es.Accepted)
	if err := BeginAfter(t.Context(), s.js, "saga-mover", long.Revision); err != nil {
		t.Fatal(err)
	}
	s.start(t, func(c *Config) { c.DataDir = t.TempDir() })
	wantOutcome(t, e.Execute(t.Context(), request("b", putCoins{5}, "put")), es.Accepted)
	wantOutcome(t, e.Execute(t.Context(), request("b", takeCoins{Coins: 2, For: "now"}, "now")), es.Accepted)
	eventually(t, "the saga moves what was taken now", func() bool { return potCoins(t, e, "now") == 2 })
	if potCoins(t, e, "long-ago") > 0 {
		t.Error("the saga acted on what happened before")
	}
}

type (
	newerPut   struct{ Coins float64 }
	newerCount struct{ Coins int }
)

func (newerPut) EventType() string   { return "CoinsPut" }
func (newerCount) EventType() string { return "CoinsCounted" }

func TestAProgramThatDoesNotFitTheLogRefusesToStart(t *testing.T) {
	t.Parallel()
	s := newTestServer(t)
	older := potsDomain()
	newer := potsDomain()
	newer.Events = append(newer.Events, es.EventOf[newerCount](1))
	newer.Sagas, newer.Projectors, newer.Queries = nil, nil, nil
	changed := newer
	changed.Events = append([]es.EventDef{es.EventOf[newerPut](1)}, newer.Events[1:]...)
	with := func(d es.Domain) func(*Config) { return func(c *Config) { c.Domain = d } }

	closeEngine(t, s.start(t, with(older)))
	closeEngine(t, s.start(t, with(newer)))
	for want, d := range map[string]es.Domain{
		`event CoinsCounted: is not known to this program; run the program that knows it`:             older,
		`event CoinsPut v1: /Coins type was "integer", is now "number"; raise its version and add an`: changed,
	} {
		_, err := Start(t.Context(), s.config(with(d)))
		if !errors.Is(err, es.ErrPermanent) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, entry, err := natsstore.Registered(t.Context(), s.js); err != nil || entry != 2 {
		t.Errorf("the registry stands at %d, %v; want 2", entry, err)
	}
}
