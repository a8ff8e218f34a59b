package sagas_test

import (
	"fmt"
	"testing"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/sagas"
)

func TestMailing(t *testing.T) {
	t.Parallel()
	customer := func(e events.Customer) es.Recorded { return estest.On(commands.Customers.Stream("c-1"), e) }
	on := func(id string, e events.Order) es.Recorded { return estest.On(commands.Orders.Stream(id), e) }
	paid := func(id string) es.Recorded {
		return on(id, events.OrderPaid{PaymentID: id + "-1", Amount: amount("30"), CustomerID: "c-1", OrderNumber: "N-" + id, Currency: "USD"})
	}
	shipped := on("o-1", events.OrderShipped{TrackingNumber: "1Z", CustomerID: "c-1", OrderNumber: "N-o-1"})
	cancelled := on("o-1", events.OrderCancelled{Reason: "changed my mind", CustomerID: "c-1", OrderNumber: "N-o-1"})
	registered := customer(events.CustomerRegistered{Name: "Ada", Email: "ada@example.com"})
	silent := customer(events.CustomerRegistered{Name: "Ada"})
	renamed := customer(events.CustomerRenamed{Name: "Ada King"})

	mail := func(id, name string, c commands.RequestMail) es.Effect {
		c.To, c.Name, c.CustomerID, c.OrderNumber = "ada@example.com", name, "c-1", "N-"+id
		return commands.Mails.To(id, c)
	}
	confirm := func(id string) es.Effect {
		return mail(id, "Ada", commands.RequestMail{Kind: "confirmation", Amount: amount("30"), Currency: "USD"})
	}
	in := func(inputs ...es.Recorded) []es.Recorded { return inputs }
	var orders []es.Recorded // one more than wait for an address
	var confirmed []es.Effect
	for i := range 21 {
		id := fmt.Sprint("o-", i)
		orders = append(orders, paid(id))
		if i > 0 {
			confirmed = append(confirmed, confirm(id))
		}
	}
	for _, tt := range []struct {
		name  string
		given []es.Recorded
		when  es.Recorded
		then  []es.Effect
	}{
		{"a customer without orders gets none", nil, registered, []es.Effect{done}},
		{"paid is confirmed", in(registered), paid("o-1"), []es.Effect{confirm("o-1")}},
		{"and that is all", in(registered, paid("o-1")), ok(confirm("o-1")), []es.Effect{done}},
		{"so it is when somebody else asked", in(registered, paid("o-1")), no(confirm("o-1"), commands.ErrMailRequested), []es.Effect{done}},
		{"shipped is told", in(registered), shipped, []es.Effect{mail("o-1", "Ada", commands.RequestMail{Kind: "shipped", TrackingNumber: "1Z"})}},
		{"cancelled is told", in(registered), cancelled, []es.Effect{mail("o-1", "Ada", commands.RequestMail{Kind: "cancelled", Reason: "changed my mind"})}},
		{"under the present name", in(registered, renamed), cancelled, []es.Effect{mail("o-1", "Ada King", commands.RequestMail{Kind: "cancelled", Reason: "changed my mind"})}},
		{"without an address nothing is owed", nil, paid("o-1"), []es.Effect{done}},
		{"until there is one", in(paid("o-1"), paid("o-2")), registered, []es.Effect{confirm("o-1"), confirm("o-2")}},
		{"which ends with the last answer", in(paid("o-1"), paid("o-2"), registered, ok(confirm("o-1"))), ok(confirm("o-2")), []es.Effect{done}},
		{"and not before", in(paid("o-1"), paid("o-2"), registered), ok(confirm("o-1")), nil},
		{"a few wait, not all there ever were", orders, registered, confirmed},
		{"a customer who gave no address wants no mail", in(paid("o-1"), silent), paid("o-2"), []es.Effect{done}},
		{"what was lost is tried again", in(registered, paid("o-1")), lost(confirm("o-1")), []es.Effect{tryAgain}},
		{"after a while", in(registered, paid("o-1"), lost(confirm("o-1"))), retryNow, []es.Effect{confirm("o-1")}},
		{"or with the next event", in(registered, paid("o-1"), lost(confirm("o-1"))), paid("o-2"), []es.Effect{confirm("o-1"), confirm("o-2")}},
		{"but not twice", in(registered, paid("o-1"), lost(confirm("o-1")), paid("o-2"), ok(confirm("o-1")), ok(confirm("o-2"))), retryNow, []es.Effect{done}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			estest.ForSaga(t, sagas.Mailings).Given(tt.given...).When(tt.when).Then(tt.then...)
		})
	}
	if key, mine := sagas.Mailings.Route(on("o-1", events.OrderPaid{PaymentID: "o-1-1"})); mine {
		t.Errorf("an order event without a customer was routed to %q", key)
	}
}
