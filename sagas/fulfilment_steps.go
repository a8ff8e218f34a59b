package sagas

import (
	"fmt"
	"slices"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
)

// due sends what the stage asks for and was not sent yet, and writes down that it was.
func (f *Fulfilment) due() []es.Effect {
	var effects []es.Effect
	switch f.Stage {
	case open, paid:
		if f.Reason == "" {
			effects = append(effects, f.reserve()...)
			effects = append(effects, f.charge()...)
		}
	case shipped:
		effects = f.close(commands.ShipStock{OrderID: f.Order})
	case cancelled:
		effects = f.close(commands.ReleaseStock{OrderID: f.Order})
	}
	return append(effects, f.refund()...)
}

// reserve asks for the stock that is wanted and was not asked for. It goes on when the order is paid: an item that is
// free may be added between the payment and the saga's hearing of it.
func (f *Fulfilment) reserve() []es.Effect {
	var effects []es.Effect
	for i := range f.Products {
		if p := &f.Products[i]; p.Asked != p.Wanted {
			p.Asked = p.Wanted
			effects = append(effects, commands.Stocks.To(p.ID, commands.ReserveStock{OrderID: f.Order, Quantity: p.Wanted}))
		}
	}
	return effects
}

// charge asks for the money that is still missing once all stock is reserved, and tells the order when none is.
func (f *Fulfilment) charge() []es.Effect {
	if f.Stage != open || !f.reserved() {
		return nil
	}
	var have, expected money.Decimal
	last := f.Order + "-0" // an order that costs nothing is paid by no payment
	for _, p := range f.Payments {
		switch p.State {
		case processed:
			have, last = have.Add(p.Amount), p.ID
		case pending:
			expected = expected.Add(p.Amount)
		}
	}
	if missing := f.Total.Sub(have).Sub(expected); missing.Sign() > 0 {
		p := payment{ID: f.nextPayment(), Amount: missing, State: pending}
		f.Payments = append(f.Payments, p)
		return []es.Effect{
			commands.Payments.To(p.ID, commands.RequestPayment{
				OrderID: f.Order, CustomerID: f.Customer,
				Amount: missing, Currency: f.Currency, Method: f.Payment.Method, Token: f.Payment.Token,
			}),
			es.After{Name: wakePayment, Delay: paymentTime},
		}
	}
	if have != f.Total || f.Marked {
		return nil
	}
	f.Marked = true
	return []es.Effect{commands.Orders.To(f.Order, commands.MarkOrderPaid{PaymentID: last, Amount: have})}
}

// nextPayment is an id that no payment known has; people may have taken some.
func (f *Fulfilment) nextPayment() string {
	for n := len(f.Payments) + 1; ; n++ {
		if id := fmt.Sprintf("%s-%d", f.Order, n); f.payment(id) == nil {
			return id
		}
	}
}

// close ships or releases all stock that was ever asked for, the refused included: should a reservation still arrive
// anywhere, the stock knows that it comes too late.
func (f *Fulfilment) close(command commands.StockCommand) []es.Effect {
	var effects []es.Effect
	for i := range f.Products {
		if p := &f.Products[i]; p.Asked > 0 && p.Close == "" {
			p.Close = closeAsked
			effects = append(effects, commands.Stocks.To(p.ID, command))
		}
	}
	return effects
}

// refund asks for the surplus to be given back.
func (f *Fulfilment) refund() []es.Effect {
	reason := "more was paid than the order costs"
	if f.Stage == cancelled {
		reason = clip("order cancelled: " + f.Reason)
	}
	var effects []es.Effect
	for i := range f.Payments {
		if p := &f.Payments[i]; p.State == surplus {
			p.State = refunding
			effects = append(effects, commands.Payments.To(p.ID, commands.RequestRefund{Reason: reason}))
		}
	}
	return effects
}

// refuse gives the order up: it is to be cancelled for the first reason there was. All else follows from OrderCancelled.
func (f *Fulfilment) refuse(format string, args ...any) []es.Effect {
	if f.Reason != "" || f.Stage != open && f.Stage != paid {
		return nil
	}
	f.Reason = clip(fmt.Sprintf(format, args...))
	return f.cancel()
}

func (f *Fulfilment) cancel() []es.Effect {
	return []es.Effect{commands.Orders.To(f.Order, commands.CancelOrder{Reason: f.Reason})}
}

// retry sets a timer when a command that the saga cannot do without was lost.
func (f *Fulfilment) retry(o es.Outcome) []es.Effect {
	if f.Retrying || !lost(o) {
		return nil
	}
	f.Retrying = true
	return []es.Effect{es.After{Name: wakeRetry, Delay: retryDelay}}
}

// again makes due what was sent and has not come about. No outcome is outstanding when a timer comes, and each of
// these commands may be repeated without harm.
func (f *Fulfilment) again() []es.Effect {
	for i := range f.Products {
		if p := &f.Products[i]; p.Close == closeAsked {
			p.Close = ""
		}
	}
	for i := range f.Payments {
		if p := &f.Payments[i]; p.State == refunding {
			p.State = surplus
		}
	}
	if f.Reason != "" && (f.Stage == open || f.Stage == paid) {
		return f.cancel()
	}
	return nil
}

// enter moves on from open or paid.
func (f *Fulfilment) enter(next stage) []es.Effect {
	var effects []es.Effect
	if f.Stage == open && len(f.Payments) > 0 {
		effects = append(effects, es.Cancel{Name: wakePayment})
	}
	f.Stage = next
	if next == cancelled {
		for i := range f.Payments {
			if p := &f.Payments[i]; p.State == processed {
				p.State = surplus
			}
		}
	}
	return effects
}

// settled reports whether the saga owes nothing. A pending payment is not owed: it may never be answered.
func (f *Fulfilment) settled() bool {
	for _, p := range f.Payments {
		if p.State == surplus || p.State == refunding {
			return false
		}
	}
	switch f.Stage {
	case open:
		return false
	case paid:
		return f.Reason == "" && f.reserved()
	case shipped, cancelled:
		return !slices.ContainsFunc(f.Products, func(p product) bool { return p.Asked > 0 && p.Close != closed })
	}
	return true
}

func (f *Fulfilment) reserved() bool {
	return !slices.ContainsFunc(f.Products, func(p product) bool { return p.Held != p.Wanted })
}

func (f *Fulfilment) want(item events.OrderItem) {
	p := f.product(item.ProductID)
	if p == nil {
		f.Products = append(f.Products, product{ID: item.ProductID})
		p = &f.Products[len(f.Products)-1]
	}
	p.Wanted += item.Quantity
}

func (f *Fulfilment) product(id string) *product {
	if i := slices.IndexFunc(f.Products, func(p product) bool { return p.ID == id }); i >= 0 {
		return &f.Products[i]
	}
	return nil
}

func (f *Fulfilment) payment(id string) *payment {
	if i := slices.IndexFunc(f.Payments, func(p payment) bool { return p.ID == id }); i >= 0 {
		return &f.Payments[i]
	}
	return nil
}
