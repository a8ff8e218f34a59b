package sagas

import (
	"slices"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
)

// transferName stands in subjects, timers and command ids of every transfer under way. It is durable: renaming it
// orphans them.
const transferName = "transfer"

// Transfers moves money between two accounts, which may be anywhere: there is no moment at which both change.
//
//	TransferRequested → withdraw from the one → deposit on the other → complete the transfer
//	the one refuses → fail the transfer
//	the other refuses → give back to the one → fail the transfer
//
// Money is never lost on the way: an account answers each transfer once and remembers the answer, so every step may be
// sent again until it is known, and giving back is taken by a closed account too.
var Transfers = es.DefineSaga[Transfer](transferName, es.Interest{
	Handles: []es.Event{events.TransferRequested{}, events.TransferRefused{}},
	Ignores: []es.Event{
		events.TransferCompleted{}, events.TransferFailed{},
		events.AccountOpened{}, events.MoneyDeposited{}, events.MoneyWithdrawn{}, events.MoneyReturned{}, events.AccountClosed{},
		events.OrderCreated{}, events.OrderItemAdded{}, events.OrderPaid{}, events.OrderShipped{},
		events.OrderDelivered{}, events.OrderCancelled{},
		events.StockReceived{}, events.StockReserved{}, events.StockReservationRejected{},
		events.StockReleased{}, events.StockShipped{},
		events.PaymentRequested{}, events.PaymentProcessed{}, events.PaymentFailed{}, events.RefundRequested{},
		events.PaymentRefunded{},
		events.CustomerRegistered{}, events.CustomerRenamed{}, events.CustomerTierChanged{},
		events.MailRequested{}, events.MailSent{}, events.MailFailed{},
	},
}, transferOf)

// transferOf routes by transfer id.
func transferOf(r es.Recorded) (string, bool) {
	id := r.Stream.ID
	if e, ok := r.Event.(events.TransferRefused); ok {
		id = e.TransferID
	}
	return id, es.ValidID(id)
}

// Transfer is what the saga remembers of one transfer.
type Transfer struct {
	Transfer  string        `json:"transfer,omitempty"`
	From      string        `json:"from,omitempty"`
	To        string        `json:"to,omitempty"`
	Amount    money.Decimal `json:"amount,omitzero"`
	Currency  string        `json:"currency,omitempty"`
	Reference string        `json:"reference,omitempty"`
	Step      transferStep  `json:"step,omitempty"`
	Reason    string        `json:"reason,omitempty"` // why the transfer fails
}

// transferStep is the one thing that a transfer waits for.
type transferStep string

const (
	sending    transferStep = "sending"    // the withdrawal
	receiving  transferStep = "receiving"  // the deposit
	completing transferStep = "completing" // the transfer's own note of its success
	returning  transferStep = "returning"  // the giving back
	failing    transferStep = "failing"    // the transfer's own note of its failure
	ended      transferStep = "ended"
)

// React takes an input in and sends the next step.
func (t Transfer) React(r es.Recorded) (Transfer, []es.Effect) {
	switch e := r.Event.(type) {
	case events.TransferRequested:
		if t.Step != "" {
			return t, nil
		}
		t = Transfer{Transfer: r.Stream.ID, From: e.From, To: e.To, Amount: e.Amount, Currency: e.Currency, Reference: e.Reference}
		return t.enter(sending)
	case events.TransferRefused:
		if t.Step == sending && r.Stream.ID == t.From || t.Step == receiving && r.Stream.ID == t.To {
			return t.refused(e.Reason)
		}
	case es.Outcome:
		if send, owed := t.due().(es.Send); owed && e.CommandType == send.Command.CommandType() {
			return t.outcome(e)
		}
	case es.Woken:
		return t.enter(t.Step)
	}
	return t, nil
}

// outcome moves on when the step is done, waits when it is lost or its refusal is on its way as an event.
func (t Transfer) outcome(o es.Outcome) (Transfer, []es.Effect) {
	switch {
	case lost(o):
		return t, retryLater()
	case o.Rejected():
		return t.refused(why(o))
	case slices.Contains(o.Reply.Events, events.TransferRefused{}.EventType()):
		return t, nil // the event says why
	}
	switch t.Step {
	case sending:
		return t.enter(receiving)
	case receiving:
		return t.enter(completing)
	case returning:
		return t.enter(failing)
	}
	return t.enter(ended)
}

func (t Transfer) refused(reason string) (Transfer, []es.Effect) {
	switch t.Step {
	case sending:
		t.Reason = clip(reason)
		return t.enter(failing)
	case receiving:
		t.Reason = clip(reason)
		return t.enter(returning)
	case returning:
		return t, retryLater() // the account has no room for it now; the money stays owed
	}
	return t.enter(ended) // somebody else has already written down how it ended
}

// enter begins a step, or begins it again.
func (t Transfer) enter(step transferStep) (Transfer, []es.Effect) {
	t.Step = step
	return t, []es.Effect{t.due()}
}

// due is what the step takes: a command, or nothing more.
func (t Transfer) due() es.Effect {
	switch t.Step {
	case sending:
		return commands.Accounts.To(t.From, commands.SendTransfer{
			TransferID: t.Transfer, To: t.To, Amount: t.Amount, Currency: t.Currency, Reference: t.Reference,
		})
	case receiving:
		return commands.Accounts.To(t.To, commands.ReceiveTransfer{
			TransferID: t.Transfer, From: t.From, Amount: t.Amount, Currency: t.Currency, Reference: t.Reference,
		})
	case completing:
		return commands.Transfers.To(t.Transfer, commands.CompleteTransfer{})
	case returning:
		return commands.Accounts.To(t.From, commands.ReturnTransfer{TransferID: t.Transfer, Reason: t.Reason})
	case failing:
		return commands.Transfers.To(t.Transfer, commands.FailTransfer{Reason: t.Reason})
	}
	return es.Done{}
}

func retryLater() []es.Effect {
	return []es.Effect{es.After{Name: wakeRetry, Delay: retryDelay}}
}
