package commands_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
)

// Facts of the account a-1 that holds euros.
var (
	opened      = events.AccountOpened{AccountID: "a-1", Owner: "Ada", Currency: "EUR"}
	hundred     = events.MoneyDeposited{Amount: dec("100"), Currency: "EUR", Reference: "salary", Balance: dec("100")}
	sent        = events.MoneyWithdrawn{Amount: dec("60.05"), Currency: "EUR", Reference: "rent", TransferID: "t-1", Counterparty: "a-2", Balance: dec("39.95")}
	returned    = events.MoneyReturned{TransferID: "t-1", Amount: dec("60.05"), Currency: "EUR", Reason: "account a-2 is closed", Balance: dec("100")}
	received    = events.MoneyDeposited{Amount: dec("7"), Currency: "EUR", TransferID: "t-2", Counterparty: "a-2", Balance: dec("7")}
	emptied     = events.MoneyWithdrawn{Amount: dec("39.95"), Currency: "EUR", Balance: money.Decimal{}}
	closed      = events.AccountClosed{Reason: "moved"}
	lateReturn  = events.MoneyReturned{TransferID: "t-1", Amount: dec("60.05"), Currency: "EUR", Reason: "account a-2 is closed", Balance: dec("60.05")}
	send        = commands.SendTransfer{TransferID: "t-1", To: "a-2", Amount: dec("60.05"), Currency: "EUR", Reference: "rent"}
	receive     = commands.ReceiveTransfer{TransferID: "t-2", From: "a-2", Amount: dec("7"), Currency: "EUR"}
	giveBack    = commands.ReturnTransfer{TransferID: "t-1", Reason: "account a-2 is closed"}
	openAccount = commands.OpenAccount{Owner: "Ada", Currency: "EUR"}
)

func refusal(transfer, code, reason string) events.TransferRefused {
	return events.TransferRefused{TransferID: transfer, Code: code, Reason: reason}
}

func TestAccount(t *testing.T) {
	t.Parallel()
	in := func(facts ...events.Account) []events.Account { return facts }
	deposit := func(amount, currency string) commands.DepositMoney {
		return commands.DepositMoney{Amount: dec(amount), Currency: currency, Reference: "salary"}
	}
	withdraw := func(amount, currency string) commands.WithdrawMoney {
		return commands.WithdrawMoney{Amount: dec(amount), Currency: currency}
	}
	otherSend, otherReceive := send, receive
	otherSend.Amount, otherReceive.Currency = dec("60.06"), "USD"
	dollars := receive
	dollars.TransferID, dollars.Currency = "t-9", "USD"
	halfCent := send
	halfCent.Amount = dec("0.005")
	closeIt := commands.CloseAccount{Reason: "moved"}
	for _, c := range []struct {
		name    string
		given   []events.Account
		when    commands.AccountCommand
		then    events.Account // nil: unchanged, unless rejected
		refused error
	}{
		{"opening", nil, openAccount, opened, nil},
		{"opening the same again", in(opened, hundred), openAccount, nil, nil},
		{"opening for another owner", in(opened), commands.OpenAccount{Owner: "Eve", Currency: "EUR"}, nil, commands.ErrAccountExists},
		{"opening in another currency", in(opened), commands.OpenAccount{Owner: "Ada", Currency: "USD"}, nil, commands.ErrAccountExists},
		{"opening in no currency", nil, commands.OpenAccount{Owner: "Ada", Currency: "ABC"}, nil, commands.ErrUnknownCurrency.At("/currency")},
		{"opening a closed one", in(opened, closed), openAccount, nil, commands.ErrAccountClosed},
		{"opening one that has refused a transfer", in(refusal("t-1", "account_not_found", "no")), openAccount, opened, nil},

		{"depositing", in(opened), deposit("100", "EUR"), hundred, nil},
		{"depositing another currency", in(opened), deposit("100", "USD"), nil, commands.ErrCurrencyMismatch.At("/currency")},
		{"depositing half a cent", in(opened), deposit("0.005", "EUR"), nil, commands.ErrTooManyDecimals.At("/amount")},
		{"depositing more than can be counted", in(opened, hundred), deposit("92233720368547758.07", "EUR"), nil, commands.ErrAmountOutOfRange.At("/amount")},
		{"depositing on no account", nil, deposit("100", "EUR"), nil, commands.ErrAccountNotFound},
		{"depositing on a closed account", in(opened, closed), deposit("100", "EUR"), nil, commands.ErrAccountClosed},

		{"withdrawing", in(opened, hundred), withdraw("0.01", "EUR"), events.MoneyWithdrawn{Amount: dec("0.01"), Currency: "EUR", Balance: dec("99.99")}, nil},
		{"withdrawing all", in(opened, hundred), withdraw("100", "EUR"), events.MoneyWithdrawn{Amount: dec("100"), Currency: "EUR"}, nil},
		{"withdrawing a cent too much", in(opened, hundred), withdraw("100.01", "EUR"), nil, commands.ErrInsufficientFunds.At("/amount")},
		{"withdrawing another currency", in(opened, hundred), withdraw("1", "USD"), nil, commands.ErrCurrencyMismatch.At("/currency")},
		{"withdrawing half a cent", in(opened, hundred), withdraw("0.005", "EUR"), nil, commands.ErrTooManyDecimals.At("/amount")},
		{"withdrawing from no account", nil, withdraw("1", "EUR"), nil, commands.ErrAccountNotFound},
		{"withdrawing from a closed account", in(opened, closed), withdraw("1", "EUR"), nil, commands.ErrAccountClosed},

		{"closing", in(opened), closeIt, closed, nil},
		{"closing again", in(opened, closed), closeIt, nil, nil},
		{"closing with a balance", in(opened, hundred), closeIt, nil, commands.ErrBalanceNotZero},
		{"closing no account", nil, closeIt, nil, commands.ErrAccountNotFound},

		{"sending", in(opened, hundred), send, sent, nil},
		{"sending again", in(opened, hundred, sent), send, nil, nil},
		{"sending again when the rest is gone and the account closed", in(opened, hundred, sent, emptied, closed), send, nil, nil},
		{"sending another amount", in(opened, hundred, sent), otherSend, nil, commands.ErrTransferAnswered},
		{"sending what was given back", in(opened, hundred, sent, returned), send, nil, commands.ErrTransferAnswered},
		{"sending more than there is", in(opened), send, refusal("t-1", "insufficient_funds", "account a-1 has less than 60.05 EUR"), nil},
		{"sending half a cent", in(opened, hundred), halfCent, refusal("t-1", "too_many_decimals", "0.005 has 3 decimals, EUR has 2"), nil},
		{"sending from no account", nil, send, refusal("t-1", "account_not_found", "account a-1 does not exist"), nil},
		{"sending from a closed account", in(opened, closed), send, refusal("t-1", "account_closed", "account a-1 is closed"), nil},
		{"sending what was refused, with enough on it now", in(opened, refusal("t-1", "insufficient_funds", "no"), hundred), send, nil, commands.ErrTransferRefused},

		{"receiving", in(opened), receive, received, nil},
		{"receiving again", in(opened, received), receive, nil, nil},
		{"receiving another currency than before", in(opened, received), otherReceive, nil, commands.ErrTransferAnswered},
		{"receiving another currency", in(opened), dollars, refusal("t-9", "currency_mismatch", "account a-1 holds EUR, not USD"), nil},
		{"receiving on no account", nil, receive, refusal("t-2", "account_not_found", "account a-1 does not exist"), nil},
		{"receiving on a closed account", in(opened, closed), receive, refusal("t-2", "account_closed", "account a-1 is closed"), nil},
		{"receiving what was refused before the account was opened", in(refusal("t-2", "account_not_found", "no"), opened), receive, nil, commands.ErrTransferRefused},

		{"giving back", in(opened, hundred, sent), giveBack, returned, nil},
		{"giving back again", in(opened, hundred, sent, returned), giveBack, nil, nil},
		{"giving back to an account that was closed meanwhile", in(opened, hundred, sent, emptied, closed), giveBack, lateReturn, nil},
		{"giving back what was never sent", in(opened, hundred), giveBack, nil, commands.ErrNothingToReturn},
		{"giving back what was received", in(opened, received), commands.ReturnTransfer{TransferID: "t-2", Reason: "x"}, nil, commands.ErrNothingToReturn},
		{"paying out what was given back to a closed account", in(opened, hundred, sent, emptied, closed, lateReturn), withdraw("60.05", "EUR"),
			events.MoneyWithdrawn{Amount: dec("60.05"), Currency: "EUR"}, nil},
		{"depositing on a closed account that still has something", in(opened, hundred, sent, emptied, closed, lateReturn), deposit("1", "EUR"), nil, commands.ErrAccountClosed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			decision := estest.For(t, commands.Accounts).ID("a-1").Given(c.given...).When(c.when)
			switch {
			case c.refused != nil:
				decision.ThenRejected(c.refused)
			case c.then == nil:
				decision.ThenUnchanged()
			default:
				decision.Then(c.then)
			}
		})
	}
}

// Decimals follow the currency, not the cent.
func TestAccountsOfOtherCurrencies(t *testing.T) {
	t.Parallel()
	for currency, amounts := range map[string]struct{ smallest, tooSmall string }{"JPY": {"1", "0.5"}, "USD": {"0.01", "0.005"}, "KWD": {"0.001", "0.0005"}} {
		account := estest.For(t, commands.Accounts).ID("a-1").Given(events.AccountOpened{AccountID: "a-1", Owner: "Ada", Currency: currency})
		account.When(commands.DepositMoney{Amount: dec(amounts.smallest), Currency: currency}).
			Then(events.MoneyDeposited{Amount: dec(amounts.smallest), Currency: currency, Balance: dec(amounts.smallest)})
		account.When(commands.DepositMoney{Amount: dec(amounts.tooSmall), Currency: currency}).ThenRejected(commands.ErrTooManyDecimals)
	}
}

// Whatever is asked of an account, its balance is what came in minus what went out, never below zero, and no transfer
// moves money here twice.
func TestTheBalanceIsTheSumOfWhatMoved(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		state := commands.Accounts.New()
		var sum money.Decimal
		moved := map[string]int{}
		for range rapid.IntRange(1, 60).Draw(t, "commands") {
			decided, err := state.Decide(anyCommand("account").Draw(t, "command"), es.Meta{Stream: commands.Accounts.Stream("a-1")})
			if err != nil {
				continue
			}
			for _, e := range decided {
				transfer := ""
				switch e := e.(type) {
				case events.MoneyDeposited:
					sum, transfer = sum.Add(e.Amount), e.TransferID
				case events.MoneyWithdrawn:
					sum, transfer = sum.Sub(e.Amount), e.TransferID
				case events.MoneyReturned:
					sum = sum.Add(e.Amount)
					moved[e.TransferID+" back"]++
				}
				if transfer != "" {
					moved[transfer]++
				}
				if state, err = state.Evolve(e); err != nil {
					t.Fatal(err)
				}
			}
			if a := state.State().(commands.Account); a.Balance != sum || a.Balance.Sign() < 0 {
				t.Fatalf("the balance is %s, but %s moved", a.Balance, sum)
			}
		}
		for transfer, times := range moved {
			if times > 1 {
				t.Fatalf("transfer %s moved money %d times", transfer, times)
			}
		}
	})
}
