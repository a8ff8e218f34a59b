package sagas

import (
	"fmt"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
)

// What each saga waits for, in words for operators. It is read from the state alone.

// tryAgain is what wakeRetry does.
const tryAgain = "tries again"

// Waits is what the fulfilment waits for.
func (f Fulfilment) Waits() []es.Wait {
	var waits []es.Wait
	wait := func(on es.Stream, timer, then, format string, args ...any) {
		if timer == "" && f.Retrying {
			timer, then = wakeRetry, tryAgain
		}
		waits = append(waits, es.Wait{For: fmt.Sprintf(format, args...), On: on, Timer: timer, Then: then})
	}
	order := commands.Orders.Stream(f.Order)
	if (f.Stage == open || f.Stage == paid) && f.Reason != "" {
		wait(order, "", "", "the cancellation of order %s (%s)", f.Order, f.Reason)
	}
	for _, p := range f.Products {
		stock := commands.Stocks.Stream(p.ID)
		switch {
		case (f.Stage == open || f.Stage == paid) && f.Reason == "" && p.Asked > 0 && p.Held != p.Asked:
			wait(stock, "", "", "%d of product %s to be reserved", p.Asked, p.ID)
		case f.Stage == shipped && p.Close == closeAsked:
			wait(stock, "", "", "product %s to leave the stock", p.ID)
		case f.Stage == cancelled && p.Close == closeAsked:
			wait(stock, "", "", "product %s to be released", p.ID)
		}
	}
	for _, p := range f.Payments {
		switch {
		case p.State == pending && f.Stage == open && f.Reason == "":
			wait(commands.Payments.Stream(p.ID), wakePayment, "cancels", "payment %s", p.ID)
		case p.State == surplus || p.State == refunding:
			wait(commands.Payments.Stream(p.ID), "", "", "the refund of payment %s", p.ID)
		}
	}
	if f.Stage == open && f.Marked {
		wait(order, "", "", "order %s to be marked paid", f.Order)
	}
	return waits
}

// Waits is the one step that the transfer waits for.
func (t Transfer) Waits() []es.Wait {
	wait := func(on es.Stream, words string) []es.Wait {
		return []es.Wait{{For: words, On: on, Timer: wakeRetry, Then: tryAgain}}
	}
	from, to, transfer := commands.Accounts.Stream(t.From), commands.Accounts.Stream(t.To), commands.Transfers.Stream(t.Transfer)
	switch t.Step {
	case sending:
		return wait(from, fmt.Sprintf("%s %s to leave account %s", t.Amount, t.Currency, t.From))
	case receiving:
		return wait(to, fmt.Sprintf("%s %s to reach account %s", t.Amount, t.Currency, t.To))
	case completing:
		return wait(transfer, fmt.Sprintf("transfer %s to be completed", t.Transfer))
	case returning:
		return wait(from, fmt.Sprintf("%s %s to come back to account %s (%s)", t.Amount, t.Currency, t.From, t.Reason))
	case failing:
		return wait(transfer, fmt.Sprintf("transfer %s to be failed (%s)", t.Transfer, t.Reason))
	}
	return nil
}

// Waits is the tier that the customer is still to be told.
func (t Tier) Waits() []es.Wait {
	if t.Customer == "" || t.earned() == t.told() {
		return nil
	}
	return []es.Wait{{
		For: fmt.Sprintf("customer %s to become %s", t.Customer, t.earned()), On: commands.Customers.Stream(t.Customer),
		Timer: wakeRetry, Then: tryAgain,
	}}
}

// Waits is every mail that was asked for and not answered, or is to be asked for again.
func (m Mailing) Waits() []es.Wait {
	var waits []es.Wait
	for _, l := range m.Asked {
		waits = append(waits, es.Wait{For: fmt.Sprintf("the %s mail of order %s to be taken", l.Mail.Kind, l.Order), On: commands.Mails.Stream(l.Order)})
	}
	if m.Email == "" {
		return waits // those that wait for an address may do so for ever
	}
	for _, l := range m.Waiting {
		waits = append(waits, es.Wait{
			For: fmt.Sprintf("the %s mail of order %s to be asked for", l.Mail.Kind, l.Order), On: commands.Mails.Stream(l.Order),
			Timer: wakeRetry, Then: tryAgain,
		})
	}
	return waits
}
