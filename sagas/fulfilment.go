package sagas

import (
	"slices"
	"time"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
)

// Names in subjects, timers and command ids of every order under way, and in operators' settings
// (--wake fulfilment.payment=5m). They are durable: renaming one orphans what is under way.
const (
	fulfilmentName = "fulfilment"
	wakePayment    = "payment"
)

// paymentTime is how long a payment may take to settle.
const paymentTime = 15 * time.Minute

// Fulfilments brings an order from its creation to the customer, or undoes all that was done for it:
//
//	OrderCreated, OrderItemAdded → reserve stock → request payment → mark the order paid
//	OrderShipped → ship the stock
//	any refusal, no payment in time, or an operator who gives it up → cancel the order
//	OrderCancelled, whoever asked for it → release the stock, refund what was paid
//
// Whether an order is shipped or cancelled is the order's own decision, so nothing is undone before OrderCancelled.
var Fulfilments = es.DefineSaga[Fulfilment](fulfilmentName, es.Interest{
	Handles: []es.Event{
		events.OrderCreated{}, events.OrderItemAdded{}, events.OrderPaid{}, events.OrderShipped{}, events.OrderCancelled{},
		events.StockReserved{}, events.StockReservationRejected{},
		events.PaymentProcessed{}, events.PaymentFailed{}, events.PaymentRefunded{},
	},
	Ignores: []es.Event{
		events.OrderDelivered{},
		events.StockReceived{}, events.StockReleased{}, events.StockShipped{},
		events.PaymentRequested{}, events.RefundRequested{},
		events.CustomerRegistered{}, events.CustomerRenamed{}, events.CustomerTierChanged{},
		events.AccountOpened{}, events.MoneyDeposited{}, events.MoneyWithdrawn{}, events.MoneyReturned{}, events.TransferRefused{},
		events.AccountClosed{}, events.TransferRequested{}, events.TransferCompleted{}, events.TransferFailed{},
		events.MailRequested{}, events.MailSent{}, events.MailFailed{},
	},
}, orderOf).Cancellable()

// orderOf routes by order id.
func orderOf(r es.Recorded) (string, bool) {
	id := ""
	switch e := r.Event.(type) {
	case events.OrderCreated, events.OrderItemAdded, events.OrderPaid, events.OrderShipped, events.OrderCancelled:
		id = r.Stream.ID
	case events.StockReserved:
		id = e.OrderID
	case events.StockReservationRejected:
		id = e.OrderID
	case events.PaymentProcessed:
		id = e.OrderID
	case events.PaymentFailed:
		id = e.OrderID
	case events.PaymentRefunded:
		id = e.OrderID
	}
	return id, es.ValidID(id)
}

// Fulfilment is what the saga remembers of one order. It has ended (es.Done) whenever it owes nothing: when the order
// is paid, when its stock is shipped, when everything is given back. An event that comes later goes on from there: a
// payment that was still pending at the cancellation keeps no saga open, and is refunded should it ever succeed.
type Fulfilment struct {
	Order    string              `json:"order,omitempty"`
	Customer string              `json:"customer,omitempty"`
	Currency string              `json:"currency,omitempty"`
	Payment  events.OrderPayment `json:"payment,omitzero"` // how further payments are made
	Stage    stage               `json:"stage,omitempty"`
	Total    money.Decimal       `json:"total,omitzero"`
	Marked   bool                `json:"marked,omitempty"`   // the order was told that Total is paid
	Products []product           `json:"products,omitempty"` // in the order of their first line
	Payments []payment           `json:"payments,omitempty"` // in the order of asking
	Reason   string              `json:"reason,omitempty"`   // why the order is cancelled, or is to be
	Retrying bool                `json:"retrying,omitempty"` // wakeRetry is set
}

// stage is how far the order came, as the saga knows it.
type stage string

const (
	open      stage = "open" // stock and money are being gathered
	paid      stage = "paid"
	shipped   stage = "shipped"
	cancelled stage = "cancelled"
)

type product struct {
	ID     string  `json:"id"`
	Wanted int64   `json:"wanted"`            // the sum over the order's lines
	Asked  int64   `json:"asked,omitempty"`   // of what the last ReserveStock asked for
	Held   int64   `json:"held,omitempty"`    // of what the stock said it holds
	Close  closing `json:"closing,omitempty"` // ReleaseStock or ShipStock, as the stage says
}

type closing string

const (
	closeAsked closing = "asked"
	closed     closing = "closed"
)

type payment struct {
	ID     string        `json:"id"`
	Amount money.Decimal `json:"amount"`
	State  paymentState  `json:"state"`
}

type paymentState string

const (
	pending   paymentState = "pending"
	processed paymentState = "processed"
	failed    paymentState = "failed"
	surplus   paymentState = "surplus" // processed, and to be given back
	refunding paymentState = "refunding"
	refunded  paymentState = "refunded"
)

// React takes an input in, then sends whatever is due by now.
func (f Fulfilment) React(r es.Recorded) (Fulfilment, []es.Effect) {
	f.Products, f.Payments = slices.Clone(f.Products), slices.Clone(f.Payments)
	effects := f.hear(r)
	effects = append(effects, f.due()...)
	if f.settled() {
		if f.Retrying {
			f.Retrying = false
			effects = append(effects, es.Cancel{Name: wakeRetry})
		}
		effects = append(effects, es.Done{})
	}
	return f, effects
}

func (f *Fulfilment) hear(r es.Recorded) []es.Effect {
	switch e := r.Event.(type) {
	case events.OrderCreated:
		if f.Stage != "" {
			return nil
		}
		f.Stage, f.Order, f.Customer = open, r.Stream.ID, e.CustomerID
		f.Currency, f.Payment, f.Total = e.Currency, e.Payment, e.TotalAmount
		for _, item := range e.Items {
			f.want(item)
		}
	case events.OrderItemAdded:
		if f.Stage == "" {
			return nil
		}
		f.want(e.Item)
		f.Marked = f.Marked && f.Total == e.TotalAmount
		f.Total = e.TotalAmount
	case events.OrderPaid:
		if f.Stage == open {
			return f.enter(paid)
		}
	case events.OrderShipped:
		if f.Stage == open || f.Stage == paid {
			f.Reason = ""
			return f.enter(shipped)
		}
	case events.OrderCancelled:
		if f.Stage == open || f.Stage == paid {
			f.Reason = e.Reason
			return f.enter(cancelled)
		}
	case events.StockReserved:
		if p := f.product(r.Stream.ID); p != nil {
			p.Held = e.Quantity
		}
	case events.StockReservationRejected:
		// An answer to an older, smaller wish means nothing: the present one has an answer of its own.
		if p := f.product(r.Stream.ID); p != nil && p.Held != p.Asked && e.Quantity == p.Asked {
			return f.refuse("out of stock: %s (wanted %d, available %d)", p.ID, e.Quantity, e.Available)
		}
	case events.PaymentProcessed:
		f.received(r.Stream.ID, e)
	case events.PaymentFailed:
		if p := f.payment(r.Stream.ID); p != nil && p.State == pending {
			p.State = failed
			if f.Stage == open {
				return f.refuse("payment declined: %s", e.Reason)
			}
		}
	case events.PaymentRefunded:
		if p := f.payment(r.Stream.ID); p != nil {
			p.State = refunded
			if f.Stage == open { // by hand: to ask for the same money again would be wrong
				return f.refuse("payment %s was refunded", p.ID)
			}
		}
	case es.Cancelled:
		return f.refuse("%s", e.Reason)
	case es.Outcome:
		return f.outcome(e)
	case es.Woken:
		return f.woken(e)
	}
	return nil
}

// received takes in money, also from a payment that somebody else asked for. Money that the order does not need, not
// any more or not in this currency, goes back.
func (f *Fulfilment) received(id string, e events.PaymentProcessed) {
	if f.Stage == "" {
		return
	}
	p := f.payment(id)
	if p == nil {
		f.Payments = append(f.Payments, payment{ID: id})
		p = &f.Payments[len(f.Payments)-1]
	}
	switch p.State {
	case processed, surplus, refunding, refunded:
		return
	}
	p.Amount, p.State = e.Amount, surplus
	have := e.Amount
	for _, other := range f.Payments {
		if other.State == processed {
			have = have.Add(other.Amount)
		}
	}
	if f.Stage == open && e.Currency == f.Currency && have.Cmp(f.Total) <= 0 {
		p.State = processed
	}
}

func (f *Fulfilment) outcome(o es.Outcome) []es.Effect {
	switch o.CommandType {
	case commands.ReserveStock{}.CommandType():
		p := f.product(o.Target.ID)
		if p == nil || p.Held == p.Asked {
			return nil
		}
		if o.Reply.Outcome == es.Unchanged { // no event will come
			p.Held = p.Asked
		}
		if o.Rejected() {
			return f.refuse("%s could not be reserved: %s", p.ID, why(o))
		}
	case commands.RequestPayment{}.CommandType():
		if p := f.payment(o.Target.ID); p != nil && p.State == pending && o.Rejected() {
			p.State = failed
			return f.refuse("payment could not be requested: %s", why(o))
		}
	case commands.MarkOrderPaid{}.CommandType():
		switch {
		case !o.Rejected() && f.Stage == open:
			return f.enter(paid)
		case o.Rejected() && o.Reply.Outcome != es.RejectedReply:
			return f.refuse("the order could not be marked paid: %s", why(o))
		}
		// Rejected means that the order moved on, and the event that says how is on its way here: an item was added,
		// or somebody else paid or cancelled it.
	case commands.CancelOrder{}.CommandType():
		// Rejected: it is already cancelled or shipped, and that event is on its way.
		return f.retry(o)
	case commands.ReleaseStock{}.CommandType(), commands.ShipStock{}.CommandType():
		// Rejected or invalid is as good as done: the stock holds nothing for this order.
		if lost(o) {
			return f.retry(o)
		}
		if p := f.product(o.Target.ID); p != nil && p.Close == closeAsked {
			p.Close = closed
		}
	case commands.RequestRefund{}.CommandType():
		// Rejected: it is already refunded, and that event is on its way.
		return f.retry(o)
	}
	return nil
}

func (f *Fulfilment) woken(w es.Woken) []es.Effect {
	switch w.Name {
	case wakePayment:
		if f.Stage == open {
			return f.refuse("payment not settled in time")
		}
	case wakeRetry:
		f.Retrying = false
		return f.again()
	}
	return nil
}
