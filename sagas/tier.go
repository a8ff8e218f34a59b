package sagas

import (
	"maps"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
)

// tierName stands in subjects and command ids of every customer. It is durable: another name would begin every
// customer's lifetime value at zero.
const tierName = "tier"

// Tiers moves customers up and down by their lifetime value: what they paid minus what was refunded.
var Tiers = es.DefineSaga[Tier](tierName, es.Interest{
	Handles: []es.Event{
		events.PaymentProcessed{}, events.PaymentRefunded{}, events.CustomerRegistered{},
	},
	Ignores: []es.Event{
		events.OrderCreated{}, events.OrderItemAdded{}, events.OrderPaid{}, events.OrderShipped{},
		events.OrderDelivered{}, events.OrderCancelled{},
		events.StockReceived{}, events.StockReserved{}, events.StockReservationRejected{},
		events.StockReleased{}, events.StockShipped{},
		events.PaymentRequested{}, events.PaymentFailed{}, events.RefundRequested{},
		events.CustomerRenamed{}, events.CustomerTierChanged{},
		events.AccountOpened{}, events.MoneyDeposited{}, events.MoneyWithdrawn{}, events.MoneyReturned{}, events.TransferRefused{},
		events.AccountClosed{}, events.TransferRequested{}, events.TransferCompleted{}, events.TransferFailed{},
		events.MailRequested{}, events.MailSent{}, events.MailFailed{},
	},
}, customerOf)

func customerOf(r es.Recorded) (string, bool) {
	id := ""
	switch e := r.Event.(type) {
	case events.CustomerRegistered:
		id = r.Stream.ID
	case events.PaymentProcessed:
		id = e.CustomerID
	case events.PaymentRefunded:
		id = e.CustomerID
	}
	return id, es.ValidID(id)
}

const (
	standard = "standard" // the tier of a customer who has just been registered
	unknown  = "unknown"
)

// tiers, from the highest, with the lifetime value that each takes.
var tiers = []struct {
	name string
	from money.Decimal
}{
	{"platinum", money.FromInt(20_000)},
	{"gold", money.FromInt(5_000)},
	{"silver", money.FromInt(1_000)},
}

// Tier is what the saga remembers of one customer: sums, not payments, since the engine hands in each event once.
// It owes nothing as soon as the customer's tier was told, or refused for a customer who is not registered; the
// registration, when it comes, tells it again.
type Tier struct {
	Customer string                   `json:"customer,omitempty"`
	Lifetime map[string]money.Decimal `json:"lifetime,omitempty"` // by currency: amounts of two are not added up
	Told     string                   `json:"told,omitempty"`     // the tier last accepted; "" is standard, "unknown" after a lost outcome
}

// React takes an input in and tells the customer's tier when it is another one.
func (t Tier) React(r es.Recorded) (Tier, []es.Effect) {
	switch e := r.Event.(type) {
	case events.CustomerRegistered:
		t.Customer = r.Stream.ID
	case events.PaymentProcessed:
		t.Customer = e.CustomerID
		t.add(e.Currency, e.Amount)
	case events.PaymentRefunded:
		t.Customer = e.CustomerID
		t.add(e.Currency, e.Amount.Neg())
	case es.Outcome: // heard before any other input, so it is about the present tier
		switch {
		case lost(e): // perhaps it was done all the same, so whatever comes next tells it again
			t.Told = unknown
			return t, []es.Effect{es.After{Name: wakeRetry, Delay: retryDelay}}
		case e.Rejected(): // there is no such customer yet
			t.Told = ""
		default:
			t.Told = t.earned()
		}
		return t, []es.Effect{es.Done{}}
	}
	if tier := t.earned(); tier != t.told() {
		return t, []es.Effect{commands.Customers.To(t.Customer, commands.ChangeCustomerTier{Tier: tier})}
	}
	return t, []es.Effect{es.Done{}}
}

// add keeps the sum of one currency; sums of zero are dropped.
func (t *Tier) add(currency string, amount money.Decimal) {
	sums := maps.Clone(t.Lifetime)
	if sums == nil {
		sums = map[string]money.Decimal{}
	}
	sums[currency] = sums[currency].Add(amount)
	if sums[currency].Sign() == 0 {
		delete(sums, currency)
	}
	t.Lifetime = sums
}

// earned is the tier of the best single currency.
func (t Tier) earned() string {
	for _, tier := range tiers {
		for _, sum := range t.Lifetime {
			if sum.Cmp(tier.from) >= 0 {
				return tier.name
			}
		}
	}
	return standard
}

func (t Tier) told() string {
	if t.Told == "" {
		return standard
	}
	return t.Told
}
