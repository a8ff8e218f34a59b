package sagas_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
	"github.com/millstream-es/millstream/sagas"
	"pgregory.net/rapid"
)

// TestEveryPathEnds lets customers, people with their hands in the system, a payment provider, timers, repeated
// deliveries and failing machinery act in any order on the real aggregates, and then looks whether the books agree.
func TestEveryPathEnds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := newShop(rt)
		for range rapid.IntRange(20, 250).Draw(rt, "steps") {
			if s.pick("turn", 4) == 0 {
				s.act()
			} else {
				s.world.Step(func(n int) int { return s.pick("step", n) })
			}
		}
		s.calm()
		s.check()
		for _, id := range s.unanswered { // what nobody waits for any more comes after all
			if s.pick("late", 2) == 0 {
				s.world.Send(commands.Payments.Stream(id), commands.RecordPayment{TransactionID: "late-" + id})
			}
		}
		s.calm()
		s.check()
	})
}

type shop struct {
	rt         *rapid.T
	world      *estest.World
	sagas      []*unreliable
	repeat     []func() // commands sent, with their ids
	received   map[string]int64
	unanswered []string // payments that the provider was asked for and said nothing about
}

var (
	shopProducts  = []string{"p-1", "p-2", "p-3"}
	shopOrders    = []string{"o-1", "o-1-1", "o-2"} // one looks like a payment of another
	shopCustomers = []string{"c-1", "c-2"}
)

func newShop(rt *rapid.T) *shop {
	s := &shop{rt: rt, received: map[string]int64{}}
	domain := es.Domain{Name: "test", Events: events.All, Aggregates: commands.All}
	for _, saga := range sagas.All {
		u := &unreliable{Saga: saga, pick: s.pick, failing: s.pick("failing", 2) == 0, ended: map[string]bool{}, lost: map[string]es.Send{}}
		s.sagas = append(s.sagas, u)
		domain.Sagas = append(domain.Sagas, u)
	}
	s.world = estest.NewWorld(rt, domain)
	s.world.Redeliver = s.pick("redeliver", 2) == 0
	s.world.FireAnyTime = s.pick("impatient", 3) == 0
	s.world.Gateway("payment", s.provider)
	for _, p := range shopProducts {
		s.receive(p)
	}
	return s
}

func (s *shop) pick(label string, n int) int { return rapid.IntRange(0, n-1).Draw(s.rt, label) }

func (s *shop) one(label string, of []string) string { return rapid.SampledFrom(of).Draw(s.rt, label) }

// provider takes, declines or says nothing. It always refunds.
func (s *shop) provider(r es.Recorded) []es.Effect {
	id := r.Stream.ID
	switch r.Event.(type) {
	case events.PaymentRequested:
		switch s.pick("provider", 8) {
		case 0:
			return []es.Effect{commands.Payments.To(id, commands.RecordPaymentFailure{Reason: "card declined"})}
		case 1:
			s.unanswered = append(s.unanswered, id)
			return nil
		}
		return []es.Effect{commands.Payments.To(id, commands.RecordPayment{TransactionID: "t-" + id})}
	case events.RefundRequested:
		return []es.Effect{commands.Payments.To(id, commands.RecordRefund{RefundID: "r-" + id})}
	}
	return nil
}

func (s *shop) send(stream es.Stream, command es.Command) es.Reply {
	id := fmt.Sprintf("user-%d", len(s.repeat))
	s.repeat = append(s.repeat, func() { s.world.SendAs(id, stream, command) })
	return s.world.SendAs(id, stream, command)
}

func (s *shop) receive(product string) {
	if n := int64(s.pick("received", 12)); n > 0 {
		s.send(commands.Stocks.Stream(product), commands.ReceiveStock{Quantity: n})
		s.received[product] += n
	}
}

// act is something that a person does.
func (s *shop) act() {
	id := s.one("order", shopOrders)
	order := commands.Orders.Stream(id)
	exists := len(s.world.History(order)) > 0
	switch s.pick("act", 12) {
	case 0, 1, 2:
		s.send(order, s.newOrder())
	case 3:
		s.send(order, commands.AddOrderItem(s.item()))
	case 4:
		s.send(order, commands.CancelOrder{Reason: "changed my mind"})
	case 5:
		s.send(order, commands.ShipOrder{TrackingNumber: "1Z"})
	case 6:
		s.send(order, commands.DeliverOrder{})
	case 7:
		s.send(commands.Customers.Stream(s.one("customer", shopCustomers)), commands.RegisterCustomer{Name: "Ada", Email: s.one("address", []string{"", "ada@example.com"})})
	case 8:
		s.receive(s.one("product", shopProducts))
	case 9:
		if !exists { // a reservation that is refused outright
			s.send(commands.Stocks.Stream(s.one("product", shopProducts)), commands.ReleaseStock{OrderID: id})
			return
		}
		s.send(commands.Payments.Stream(fmt.Sprintf("%s-%d", id, 1+s.pick("by hand", 3))), commands.RequestPayment{
			OrderID: id, CustomerID: "c-1", Amount: money.FromInt(int64(1 + s.pick("amount", 3000))), Currency: "USD", Method: "paypal", Token: "tok_ok",
		})
	case 10:
		if len(s.repeat) > 0 {
			s.repeat[s.pick("repeat", len(s.repeat))]()
		}
	case 11:
		s.world.Cancel("fulfilment", id, "given up")
	}
}

func (s *shop) newOrder() commands.CreateOrder {
	c := commands.CreateOrder{
		CustomerID:      s.one("customer", shopCustomers),
		Currency:        s.one("currency", []string{"USD", "EUR"}),
		ShippingAddress: commands.Address{Street: "1 Main St", City: "Springfield", Country: "USA"},
		Payment:         commands.OrderPayment{Method: "credit_card", Token: "tok_ok"},
	}
	for range 1 + s.pick("lines", 3) {
		c.Items = append(c.Items, s.item())
	}
	return c
}

func (s *shop) item() commands.Item {
	return commands.Item{
		ProductID: s.one("product", shopProducts),
		Quantity:  int64(1 + s.pick("quantity", 4)),
		Price:     money.FromMinor(int64(1+s.pick("price", 400_000)), 2),
	}
}

// calm lets everything that was begun come to its end, all timers included.
func (s *shop) calm() {
	s.world.Redeliver, s.world.FireAnyTime = false, false
	for _, u := range s.sagas {
		u.failing = false
	}
	for range 100 {
		s.world.RunUntilQuiet()
		if s.world.FireTimers() == 0 {
			return
		}
	}
	s.rt.Fatalf("timers are set for ever; open are %+v", s.world.Sagas())
}

func (s *shop) check() {
	for _, u := range s.sagas {
		for key, ended := range u.ended {
			if !ended {
				s.rt.Errorf("saga %s of %s has not ended", u.Name(), key)
			}
		}
	}
	reserved, shipped := map[string]int64{}, map[string]int64{}
	released, lifetime := map[string]bool{}, map[string]map[string]money.Decimal{}
	s.sumUp(released, lifetime)
	for _, id := range shopOrders {
		o := s.world.State(commands.Orders.Stream(id)).(commands.Order)
		var of map[string]int64
		switch o.Status {
		case "":
			continue
		case "CREATED":
			s.rt.Errorf("order %s is neither paid nor cancelled", id)
		case "PAID":
			of = reserved
		case "SHIPPED", "DELIVERED":
			of = shipped
		}
		if of != nil {
			for _, i := range o.Items {
				of[i.ProductID] += i.Quantity
				if released[id+"/"+i.ProductID] {
					s.rt.Errorf("order %s is %s and its %s was released", id, o.Status, i.ProductID)
				}
			}
		}
		s.checkPayments(id, o)
		s.checkMails(id, o)
	}
	for _, p := range shopProducts {
		stock := s.world.State(commands.Stocks.Stream(p)).(commands.Stock)
		if stock.OnHand != s.received[p]-shipped[p] {
			s.rt.Errorf("%s: %d on hand, but %d came and %d were shipped", p, stock.OnHand, s.received[p], shipped[p])
		}
		if stock.Reserved != reserved[p] {
			s.rt.Errorf("%s: %d reserved, but paid orders wait for %d", p, stock.Reserved, reserved[p])
		}
	}
	for _, id := range shopCustomers {
		if c := s.world.State(commands.Customers.Stream(id)).(commands.Customer); c.Tier != "" && c.Tier != tierOf(lifetime[id]) {
			s.rt.Errorf("%s is %s, but paid %v", id, c.Tier, lifetime[id])
		}
	}
}

// sumUp reads from the log which orders' products were released and what each customer paid.
func (s *shop) sumUp(released map[string]bool, lifetime map[string]map[string]money.Decimal) {
	pays := func(customer, currency string, sum money.Decimal) {
		if lifetime[customer] == nil {
			lifetime[customer] = map[string]money.Decimal{}
		}
		lifetime[customer][currency] = lifetime[customer][currency].Add(sum)
	}
	for _, r := range s.world.Events() {
		switch e := r.Event.(type) {
		case events.StockReleased:
			released[e.OrderID+"/"+r.Stream.ID] = true
		case events.PaymentProcessed:
			pays(e.CustomerID, e.Currency, e.Amount)
		case events.PaymentRefunded:
			pays(e.CustomerID, e.Currency, e.Amount.Neg())
		}
	}
}

// checkPayments: an order that goes to the customer is paid exactly, one that does not is not paid at all.
func (s *shop) checkPayments(orderID string, o commands.Order) {
	var kept money.Decimal
	var seen []string
	for _, r := range s.world.Events() {
		e, ok := r.Event.(events.PaymentRequested)
		if !ok || e.OrderID != orderID || slices.Contains(seen, r.Stream.ID) {
			continue
		}
		seen = append(seen, r.Stream.ID)
		p := s.world.State(r.Stream).(commands.Payment)
		switch {
		case p.Status == "PROCESSED" && p.Currency == o.Currency:
			kept = kept.Add(p.Amount)
		case p.Status == "PROCESSED", p.Status == "REFUND_REQUESTED":
			s.rt.Errorf("payment %s of %s order %s is %s", r.Stream.ID, o.Status, orderID, p.Status)
		}
	}
	want := o.TotalAmount
	if o.Status == "CANCELLED" {
		want = money.Decimal{}
	}
	if kept != want {
		s.rt.Errorf("order %s is %s, costs %s and %s was kept", orderID, o.Status, o.TotalAmount, kept)
	}
}

// checkMails: a customer with an address was told whatever became of the order, and nobody else was.
func (s *shop) checkMails(orderID string, o commands.Order) {
	want, letters := map[string]bool{}, s.world.State(commands.Mails.Stream(orderID)).(commands.Mail).Letters
	if s.world.State(commands.Customers.Stream(o.CustomerID)).(commands.Customer).Email != "" {
		for _, r := range s.world.History(commands.Orders.Stream(orderID)) {
			switch r.Event.(type) {
			case events.OrderPaid:
				want[commands.MailConfirmation] = true
			case events.OrderShipped:
				want[commands.MailShipped] = true
			case events.OrderCancelled:
				want[commands.MailCancelled] = true
			}
		}
	}
	for _, kind := range []string{commands.MailConfirmation, commands.MailShipped, commands.MailCancelled} {
		if _, asked := letters[kind]; asked != want[kind] {
			s.rt.Errorf("order %s is %s: its %s mail was requested: %t", orderID, o.Status, kind, asked)
		}
	}
}

func tierOf(sums map[string]money.Decimal) string {
	best := money.Decimal{}
	for _, sum := range sums {
		if sum.Cmp(best) > 0 {
			best = sum
		}
	}
	switch {
	case best.Cmp(money.FromInt(20_000)) >= 0:
		return "platinum"
	case best.Cmp(money.FromInt(5_000)) >= 0:
		return "gold"
	case best.Cmp(money.FromInt(1_000)) >= 0:
		return "silver"
	}
	return "standard"
}

// unreliable is a saga some of whose commands are lost, and some of whose outcomes are. It also remembers whether
// the last transition of each process said Done.
type unreliable struct {
	es.Saga
	pick    func(label string, n int) int
	failing bool
	ended   map[string]bool
	lost    map[string]es.Send // by the id of the stream that the command was sent to instead
	sent    []es.Send
}

func (u *unreliable) React(state json.RawMessage, inputs ...es.Recorded) (json.RawMessage, []es.Effect, error) {
	inputs = slices.Clone(inputs)
	for i, in := range inputs {
		if o, ok := in.Event.(es.Outcome); ok {
			inputs[i].Event = u.garble(o)
		}
	}
	next, effects, err := u.Saga.React(state, inputs...)
	if err != nil {
		return nil, nil, err
	}
	effects = slices.Clone(effects)
	for i, e := range effects {
		send, ok := e.(es.Send)
		if ok {
			u.sent = append(u.sent, send)
		}
		if ok && u.failing && u.pick("lose", 12) == 0 {
			nowhere := fmt.Sprintf("lost-%d", len(u.lost))
			u.lost[nowhere] = send
			effects[i] = commands.Customers.To(nowhere, commands.RenameCustomer{Name: "nobody"})
		}
	}
	var key struct{ Order, Customer, Transfer string }
	if err := json.Unmarshal(next, &key); err != nil {
		return nil, nil, err
	}
	if key.Order != "" {
		key.Customer = ""
	}
	process := key.Order + key.Customer + key.Transfer
	u.ended[process] = slices.Contains(effects, es.Effect(es.Done{})) || u.ended[process] && len(effects) == 0
	return next, effects, nil
}

func (u *unreliable) garble(o es.Outcome) es.Outcome {
	send, lost := u.lost[o.Target.ID]
	if lost {
		o = es.Outcome{Target: send.Stream, CommandType: send.Command.CommandType(), Command: send.Command}
	}
	if lost || u.failing && u.pick("garble", 12) == 0 {
		kinds := []es.OutcomeKind{es.Failed, es.UnknownOutcome, es.Conflict}
		o.Reply = es.Reply{Outcome: kinds[u.pick("kind", len(kinds))]}
	}
	return o
}
