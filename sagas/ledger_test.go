package sagas_test

import (
	"fmt"
	"testing"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
	"github.com/millstream-es/millstream/sagas"
	"pgregory.net/rapid"
)

// TestMoneyIsConserved lets people open, fill, empty and close accounts while transfers run between them, with crashes,
// repeated and late commands and failing machinery, in any order, and then counts the money.
func TestMoneyIsConserved(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		b := newBank(rt)
		for range rapid.IntRange(20, 250).Draw(rt, "steps") {
			if b.pick("turn", 4) == 0 {
				b.act()
			} else {
				b.world.Step(func(n int) int { return b.pick("step", n) })
			}
		}
		b.calm()
		b.late() // commands of transfers that have ended come once more
		b.calm()
		b.check()
	})
}

type bank struct {
	rt     *rapid.T
	world  *estest.World
	saga   *unreliable
	repeat []func() // commands sent, with their ids
}

var (
	bankAccounts   = []string{"a-1", "a-2", "a-3"}
	bankTransfers  = []string{"t-1", "t-2", "t-3", "t-4", "t-5"}
	bankCurrencies = []string{"EUR", "EUR", "EUR", "JPY"}
)

func newBank(rt *rapid.T) *bank {
	b := &bank{rt: rt}
	b.saga = &unreliable{Saga: sagas.Transfers, pick: b.pick, failing: b.pick("failing", 2) == 0, ended: map[string]bool{}, lost: map[string]es.Send{}}
	b.world = estest.NewWorld(rt, es.Domain{Name: "test", Events: events.All, Aggregates: commands.All, Sagas: []es.Saga{b.saga}})
	b.world.Redeliver = b.pick("redeliver", 2) == 0
	b.world.FireAnyTime = b.pick("impatient", 3) == 0
	return b
}

func (b *bank) pick(label string, n int) int { return rapid.IntRange(0, n-1).Draw(b.rt, label) }

func (b *bank) one(label string, of []string) string { return rapid.SampledFrom(of).Draw(b.rt, label) }

func (b *bank) send(stream es.Stream, command es.Command) {
	id := fmt.Sprintf("user-%d", len(b.repeat))
	again := func() { b.world.SendAs(id, stream, command) }
	b.repeat = append(b.repeat, again)
	again()
}

func (b *bank) amount() money.Decimal { return money.FromMinor(int64(1+b.pick("amount", 20)), 0) }

// act is something that a person does.
func (b *bank) act() {
	stream := commands.Accounts.Stream(b.one("account", bankAccounts))
	account := b.world.State(stream).(commands.Account)
	currency := account.Currency
	if currency == "" || b.pick("mistaken", 8) == 0 {
		currency = b.one("currency", bankCurrencies)
	}
	switch b.pick("act", 12) {
	case 0, 1:
		b.send(stream, commands.OpenAccount{Owner: "Ada", Currency: currency})
	case 2, 3:
		b.send(stream, commands.DepositMoney{Amount: b.amount(), Currency: currency})
	case 4:
		b.send(stream, commands.WithdrawMoney{Amount: b.amount(), Currency: currency})
	case 5:
		if account.Balance.Sign() > 0 {
			b.send(stream, commands.WithdrawMoney{Amount: account.Balance, Currency: account.Currency})
		}
		b.send(stream, commands.CloseAccount{Reason: "moved"})
	case 6, 7, 8, 9:
		b.send(commands.Transfers.Stream(b.one("transfer", bankTransfers)), commands.RequestTransfer{
			From: stream.ID, To: b.one("to", bankAccounts), Amount: b.amount(), Currency: currency,
		})
	case 10:
		b.late()
	case 11:
		if len(b.repeat) > 0 {
			b.repeat[b.pick("repeat", len(b.repeat))]()
		}
	}
}

// late has a command that the saga once sent executed again, under an id that nobody remembers: a process that stood
// still for so long that more than the remembered commits happened meanwhile.
func (b *bank) late() {
	if n := len(b.saga.sent); n > 0 {
		old := b.saga.sent[b.pick("late", n)]
		b.world.Send(old.Stream, old.Command)
	}
}

// calm lets everything that was begun come to its end, all timers included.
func (b *bank) calm() {
	b.world.Redeliver, b.world.FireAnyTime, b.saga.failing = false, false, false
	for range 100 {
		b.world.RunUntilQuiet()
		if b.world.FireTimers() == 0 {
			return
		}
	}
	b.rt.Fatalf("timers are set for ever; open are %+v", b.world.Sagas())
}

func (b *bank) check() {
	for key, ended := range b.saga.ended {
		if !ended {
			b.rt.Errorf("saga of transfer %q has not ended", key)
		}
	}
	moved, outside, balances := map[string]string{}, map[string]money.Decimal{}, map[string]money.Decimal{}
	move := func(r es.Recorded, transfer, what, currency string, change, balance money.Decimal) {
		if transfer == "" {
			outside[currency] = outside[currency].Add(change)
		}
		moved[transfer] += what
		balances[r.Stream.ID] = balances[r.Stream.ID].Add(change)
		if balance != balances[r.Stream.ID] || balance.Sign() < 0 {
			b.rt.Errorf("%s of %s says balance %s, want %s and not below 0", r.EventType(), r.Stream, balance, balances[r.Stream.ID])
		}
	}
	for _, r := range b.world.Events() {
		switch e := r.Event.(type) {
		case events.MoneyDeposited:
			move(r, e.TransferID, "+", e.Currency, e.Amount, e.Balance)
		case events.MoneyWithdrawn:
			move(r, e.TransferID, "-", e.Currency, e.Amount.Neg(), e.Balance)
		case events.MoneyReturned:
			move(r, e.TransferID, "<", e.Currency, e.Amount, e.Balance)
		}
	}
	sums := map[string]money.Decimal{}
	for _, id := range bankAccounts {
		a := b.world.State(commands.Accounts.Stream(id)).(commands.Account)
		sums[a.Currency] = sums[a.Currency].Add(a.Balance)
	}
	for currency, sum := range sums {
		if sum != outside[currency] {
			b.rt.Errorf("there are %s %s on the accounts, but %s came from outside", sum, currency, outside[currency])
		}
	}
	for _, id := range bankTransfers {
		transfer := b.world.State(commands.Transfers.Stream(id)).(commands.Transfer)
		switch got := moved[id]; {
		case transfer.Status == "" && got == "", transfer.Status == "COMPLETED" && got == "-+",
			transfer.Status == "FAILED" && (got == "" || got == "-<"):
		default:
			b.rt.Errorf("transfer %s is %q, and moved money like this: %q", id, transfer.Status, got)
		}
	}
}

func TestMoneyComesBackToAnAccountThatWasClosedMeanwhile(t *testing.T) {
	t.Parallel()
	w := estest.NewWorld(t, es.Domain{Name: "test", Events: events.All, Aggregates: commands.All, Sagas: sagas.All})
	from, to := commands.Accounts.Stream("a-1"), commands.Accounts.Stream("a-2")
	w.Send(from, commands.OpenAccount{Owner: "Ada", Currency: "EUR"})
	w.Send(from, commands.DepositMoney{Amount: amount("10"), Currency: "EUR"})
	w.Send(to, commands.OpenAccount{Owner: "Eve", Currency: "EUR"})
	w.Send(to, commands.CloseAccount{Reason: "moved"})
	w.Send(commands.Transfers.Stream("t-1"), commands.RequestTransfer{From: "a-1", To: "a-2", Amount: amount("10"), Currency: "EUR"})
	for len(w.History(from)) < 3 { // until the money is on its way
		w.Step(func(int) int { return 0 })
	}
	if reply := w.Send(from, commands.CloseAccount{Reason: "moved"}); reply.Outcome != es.Accepted {
		t.Fatalf("closing the empty account: %+v", reply)
	}
	w.RunUntilQuiet()
	if got := w.State(commands.Transfers.Stream("t-1")).(commands.Transfer); got.Status != "FAILED" || got.Reason != "account a-2 is closed" {
		t.Errorf("the transfer is %+v", got)
	}
	if a := w.State(from).(commands.Account); a.Status != "CLOSED" || a.Balance != amount("10") {
		t.Errorf("the account is %s with %s, want CLOSED with 10", a.Status, a.Balance)
	}
	if reply := w.Send(from, commands.WithdrawMoney{Amount: amount("10"), Currency: "EUR"}); reply.Outcome != es.Accepted {
		t.Errorf("paying out what came back: %+v", reply)
	}
	if open := w.Sagas(); len(open) > 0 {
		t.Errorf("open sagas: %+v", open)
	}
}
