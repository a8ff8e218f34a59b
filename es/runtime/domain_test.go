package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/millstream-es/millstream/es"
)

// A small domain for the engine's own tests: pots that coins are put into and taken from, and a saga that moves what
// is taken from a pot named from-… to the pot it names.

type potEvent interface {
	es.Event
	pot()
}

type (
	coinsPut   struct{ Coins int }
	coinsTaken struct {
		Coins int
		For   string
	}
)

func (coinsPut) EventType() string   { return "CoinsPut" }
func (coinsTaken) EventType() string { return "CoinsTaken" }
func (coinsPut) pot()                {}
func (coinsTaken) pot()              {}

type potCommand interface {
	es.Command
	pot()
}

type (
	putCoins struct {
		Coins int `json:"coins" jsonschema:"minimum=0,example=1"`
	}
	takeCoins struct {
		Coins int    `json:"coins" jsonschema:"minimum=1,example=1"`
		For   string `json:"for,omitempty"`
	}
	panicAtCoins struct{}
)

func (putCoins) CommandType() string     { return "PutCoins" }
func (takeCoins) CommandType() string    { return "TakeCoins" }
func (panicAtCoins) CommandType() string { return "PanicAtCoins" }
func (putCoins) pot()                    {}
func (takeCoins) pot()                   {}
func (panicAtCoins) pot()                {}

var errTooFew = es.Rejected("too_few_coins", "there are not so many coins")

type pot struct{ Coins int }

func (p pot) Decide(c potCommand, _ es.Meta) ([]potEvent, error) {
	switch c := c.(type) {
	case putCoins:
		if c.Coins == 0 {
			return nil, nil
		}
		return []potEvent{coinsPut(c)}, nil
	case takeCoins:
		if c.Coins > p.Coins {
			return nil, errTooFew.With("there are %d coins, not %d", p.Coins, c.Coins)
		}
		return []potEvent{coinsTaken(c)}, nil
	}
	panic("a fault in the domain")
}

func (p pot) Evolve(e potEvent) pot {
	switch e := e.(type) {
	case coinsPut:
		p.Coins += e.Coins
	case coinsTaken:
		p.Coins -= e.Coins
	}
	return p
}

func (p pot) Allowed() []potCommand { return []potCommand{putCoins{}} }

var pots = es.Define[pot]("pot", putCoins{}, takeCoins{}, panicAtCoins{})

// mover moves coins taken for another pot there; told to wait ("later-…") it does so when its timer wakes it.
type mover struct {
	Target string
	Coins  int
	Heard  []string // outcomes and wake-ups, in order
}

func (m mover) React(r es.Recorded) (mover, []es.Effect) {
	switch e := r.Event.(type) {
	case coinsTaken:
		m.Target, m.Coins = e.For, e.Coins
		if r.Stream.ID == "slow" {
			return m, []es.Effect{es.After{Name: "move", Delay: time.Hour}}
		}
		return m, []es.Effect{pots.To(e.For, putCoins{e.Coins})}
	case es.Woken:
		m.Heard = append(append([]string{}, m.Heard...), "woken "+e.Name)
		return m, []es.Effect{pots.To(m.Target, putCoins{m.Coins})}
	case es.Outcome:
		m.Heard = append(append([]string{}, m.Heard...), string(e.Reply.Outcome))
		return m, []es.Effect{es.Done{}}
	}
	return m, nil
}

var movers = es.DefineSaga[mover]("mover", es.Interest{Handles: []es.Event{coinsTaken{}}, Ignores: []es.Event{coinsPut{}}}, func(r es.Recorded) (string, bool) {
	taken := r.Event.(coinsTaken)
	return r.Stream.ID, taken.For != ""
})

func potsProjector() es.Projector {
	return es.Projector{
		Name: "pots", Version: 1,
		Schema:   `CREATE TABLE pots (id TEXT PRIMARY KEY, coins INTEGER NOT NULL)`,
		Interest: es.Interest{Handles: []es.Event{coinsPut{}, coinsTaken{}}},
		Apply: func(ctx context.Context, tx es.Tx, r es.Recorded) error {
			coins := 0
			switch e := r.Event.(type) {
			case coinsPut:
				coins = e.Coins
			case coinsTaken:
				coins = -e.Coins
			}
			_, err := tx.ExecContext(ctx, `INSERT INTO pots VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET coins = coins + excluded.coins`, r.Stream.ID, coins)
			return err
		},
	}
}

// strictProjector cannot bear 13 coins.
func strictProjector() es.Projector {
	p := potsProjector()
	p.Name = "strict"
	apply := p.Apply
	p.Apply = func(ctx context.Context, tx es.Tx, r es.Recorded) error {
		if e, ok := r.Event.(coinsPut); ok && e.Coins == 13 {
			return es.Permanent(fmt.Errorf("13 coins"))
		}
		return apply(ctx, tx, r)
	}
	return p
}

type potParams struct {
	ID string `json:"id"`
}

type potAnswer struct {
	ID    string `json:"id"`
	Coins int    `json:"coins"`
}

var potByID = es.Query[potParams, potAnswer]{
	Name: "pot", Path: "/pots/{id}", Summary: "One pot", Projector: "pots",
	Ask: func(ctx context.Context, db es.Reader, p potParams) (potAnswer, error) {
		a := potAnswer{ID: p.ID}
		return a, db.QueryRowContext(ctx, `SELECT coins FROM pots WHERE id = ?`, p.ID).Scan(&a.Coins)
	},
}

func potsDomain() es.Domain {
	return es.Domain{
		Name:       "pots",
		Events:     []es.EventDef{es.EventOf[coinsPut](1), es.EventOf[coinsTaken](1)},
		Aggregates: []es.Aggregate{pots},
		Sagas:      []es.Saga{movers},
		Projectors: []es.Projector{potsProjector(), strictProjector()},
		Queries:    []es.QueryDef{potByID},
	}
}

func request(id string, c es.Command, commandID string) es.Request {
	data, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return es.Request{Type: c.CommandType(), Data: data, Meta: es.Meta{Stream: pots.Stream(id), CommandID: commandID}}
}

func wantOutcome(t testing.TB, reply es.Reply, want es.OutcomeKind) {
	t.Helper()
	if reply.Outcome != want {
		t.Fatalf("outcome %q, want %q: %+v %+v", reply.Outcome, want, reply, reply.Error)
	}
}
