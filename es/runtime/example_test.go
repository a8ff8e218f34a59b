package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"strings"

	"github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/runtime"
)

// A domain as small as it gets: accounts that money is put into and taken from, owned by members who register with
// an e-mail address that nobody else has.

type accountEvent interface {
	es.Event
	account()
}

type (
	Deposited struct {
		Amount int64 `json:"amount"`
	}
	Withdrawn struct {
		Amount int64 `json:"amount"`
	}
)

type accountCommand interface {
	es.Command
	account()
}

type (
	Deposit struct {
		Amount int64 `json:"amount" jsonschema:"minimum=1"`
	}
	Withdraw struct {
		Amount int64 `json:"amount" jsonschema:"minimum=1"`
	}
)

type Account struct{ Balance int64 }

func (a Account) Decide(c accountCommand, _ es.Meta) ([]accountEvent, error) {
	switch c := c.(type) {
	case Deposit:
		return []accountEvent{Deposited(c)}, nil
	case Withdraw:
		if c.Amount > a.Balance {
			return nil, es.Rejected("overdrawn", fmt.Sprintf("the balance is %d", a.Balance))
		}
		return []accountEvent{Withdrawn(c)}, nil
	}
	return nil, nil
}

func (a Account) Evolve(e accountEvent) Account {
	switch e := e.(type) {
	case Deposited:
		a.Balance += e.Amount
	case Withdrawn:
		a.Balance -= e.Amount
	}
	return a
}

type (
	Registered struct{}
	Register   struct{}
	Member     struct{ Registered bool }
)

func (m Member) Decide(Register, es.Meta) ([]Registered, error) {
	if m.Registered {
		return nil, nil
	}
	return []Registered{{}}, nil
}

func (m Member) Evolve(Registered) Member { return Member{true} }

func (Deposited) EventType() string  { return "Deposited" }
func (Withdrawn) EventType() string  { return "Withdrawn" }
func (Registered) EventType() string { return "Registered" }
func (Deposit) CommandType() string  { return "Deposit" }
func (Withdraw) CommandType() string { return "Withdraw" }
func (Register) CommandType() string { return "Register" }
func (Deposited) account()           {}
func (Withdrawn) account()           {}
func (Deposit) account()             {}
func (Withdraw) account()            {}

var (
	accounts = es.Define[Account]("account", Deposit{}, Withdraw{})
	members  = es.Define[Member]("member", Register{})
	emails   = es.DefineUnique("email", func(value string) string { return strings.ToLower(strings.TrimSpace(value)) })
)

// start runs the domain on an embedded server whose acknowledgements are made durable.
func start() (engine *runtime.Engine, stop func(), err error) {
	dir, err := os.MkdirTemp("", "millstream")
	if err != nil {
		return nil, nil, err
	}
	quiet := slog.New(slog.DiscardHandler)
	server, err := natsstore.StartServer(natsstore.ServerConfig{Conf: millstream.NATSConf, DataDir: dir, GroupSync: true, Logger: quiet})
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	stop = func() {
		if engine != nil {
			if err := engine.Close(context.Background()); err != nil {
				log.Print(err)
			}
		}
		server.Shutdown()
		if err := os.RemoveAll(dir); err != nil {
			log.Print(err)
		}
	}
	engine, err = runtime.Start(context.Background(), runtime.Config{
		Domain: es.Domain{
			Name:       "bank",
			Events:     append(es.UniqueEvents(), es.EventOf[Deposited](1), es.EventOf[Withdrawn](1), es.EventOf[Registered](1)),
			Aggregates: []es.Aggregate{accounts, members, emails},
		},
		Connect: server.Connect, DataDir: dir, Syncer: server.Syncer(), Logger: quiet,
	})
	if err != nil {
		stop()
		return nil, nil, err
	}
	return engine, stop, nil
}

// execute has commands executed together under one id, and says what became of them.
func execute(engine *runtime.Engine, id string, sends ...es.Effect) {
	requests, err := es.Requests(es.Meta{CommandID: id}, sends...)
	if err != nil {
		log.Fatal(err)
	}
	replies, err := engine.ExecuteAll(context.Background(), requests...)
	if err != nil {
		fmt.Printf("%s: nothing: %s\n", id, runtime.Problem(err).Code)
		return
	}
	fmt.Printf("%s:", id)
	for _, r := range replies {
		fmt.Printf(" %s", r.Outcome)
	}
	fmt.Println()
}

// A transfer between two accounts: both commits are stored or none is, and the same id takes effect once.
func ExampleEngine_ExecuteAll() {
	engine, stop, err := start()
	if err != nil {
		log.Fatal(err)
	}
	defer stop()
	execute(engine, "salary", accounts.To("ada", Deposit{100}))
	execute(engine, "rent", accounts.To("ada", Withdraw{70}), accounts.To("bob", Deposit{70}))
	execute(engine, "rent", accounts.To("ada", Withdraw{70}), accounts.To("bob", Deposit{70}))
	execute(engine, "more", accounts.To("ada", Withdraw{70}), accounts.To("bob", Deposit{70}))
	for _, id := range []string{"ada", "bob"} {
		at, err := engine.StateAt(context.Background(), accounts.Stream(id), es.Range{})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(id, at.State.(Account).Balance)
	}
	// Output:
	// salary: accepted
	// rent: accepted accepted
	// rent: accepted accepted
	// more: nothing: overdrawn
	// ada 30
	// bob 70
}

// One member per e-mail address: the member and the reservation of the address are stored together, or neither is.
func ExampleEngine_ExecuteAll_unique() {
	engine, stop, err := start()
	if err != nil {
		log.Fatal(err)
	}
	defer stop()
	execute(engine, "1", members.To("ada", Register{}), emails.Reserve("ada@example.com", "member/ada"))
	execute(engine, "2", members.To("eve", Register{}), emails.Reserve(" Ada@Example.com ", "member/eve"))
	// An address is exchanged in one step: the new one is Ada's before the old one is anybody's.
	execute(engine, "3", emails.Reserve("ada@lovelace.org", "member/ada"), emails.Release("ada@example.com", "member/ada"))
	execute(engine, "4", members.To("eve", Register{}), emails.Reserve("ada@example.com", "member/eve"))
	// Output:
	// 1: accepted accepted
	// 2: nothing: value_taken
	// 3: accepted accepted
	// 4: accepted accepted
}

// follow prints what happens to accounts until ctx ends, and returns where to go on.
func follow(ctx context.Context, engine *runtime.Engine, last es.Revision) (es.Revision, error) {
	s, err := engine.Follow(ctx, runtime.Filter{Category: "account"}, runtime.FollowFrom{After: last})
	if err != nil {
		return last, err
	}
	for n := range s.C() { // n.Live is said once, when what is new begins
		for _, r := range n.Events {
			fmt.Println(r.Revision, r.Stream, r.EventType())
		}
		last = n.Revision
	}
	return last, s.Err() // runtime.ErrSlow, the context's error, or what was wrong
}

func ExampleEngine_Follow() {
	engine, stop, err := start()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // at once, so that this example ends
	_, err = follow(ctx, engine, 0)
	fmt.Println(errors.Is(err, context.Canceled))
	// Output: true
}
