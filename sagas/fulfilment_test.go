package sagas_test

import (
	"strings"
	"testing"
	"time"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
	"github.com/millstream-es/millstream/sagas"
)

const order = "o-1-a" // with a dash, as in payments' ids

func amount(text string) money.Decimal { return money.MustParse(text) }

func line(product string, quantity int64, total string) events.OrderItem {
	return events.OrderItem{ProductID: product, Quantity: quantity, Price: amount(total), TotalPrice: amount(total)}
}

func onOrder(e events.Order) es.Recorded { return estest.On(commands.Orders.Stream(order), e) }

func onStock(product string, e events.Stock) es.Recorded {
	return estest.On(commands.Stocks.Stream(product), e)
}

func onPayment(n string, e events.Payment) es.Recorded {
	return estest.On(commands.Payments.Stream(order+"-"+n), e)
}

// created orders two lines of p-1 and one of p-2 for 30.
func created() es.Recorded {
	return onOrder(events.OrderCreated{
		OrderID: order, CustomerID: "c-1", Currency: "USD", TotalAmount: amount("30"),
		Items:   []events.OrderItem{line("p-1", 2, "10"), line("p-2", 1, "15"), line("p-1", 1, "5")},
		Payment: events.OrderPayment{Method: "credit_card", Token: "tok_ok"},
	})
}

func reserved(product string, quantity int64) es.Recorded {
	return onStock(product, events.StockReserved{OrderID: order, Quantity: quantity})
}

func shortage(product string, quantity, available int64) es.Recorded {
	return onStock(product, events.StockReservationRejected{OrderID: order, Quantity: quantity, Available: available})
}

func processed(n, sum string) es.Recorded {
	return onPayment(n, events.PaymentProcessed{
		PaymentID: order + "-" + n, TransactionID: "t-" + n, OrderID: order, CustomerID: "c-1", Amount: amount(sum), Currency: "USD",
	})
}

func refunded(n, sum string) es.Recorded {
	return onPayment(n, events.PaymentRefunded{
		PaymentID: order + "-" + n, OrderID: order, CustomerID: "c-1", Amount: amount(sum), Currency: "USD", RefundID: "r-" + n,
	})
}

func added(product string, quantity int64, price, total string) es.Recorded {
	return onOrder(events.OrderItemAdded{Item: line(product, quantity, price), TotalAmount: amount(total)})
}

func cancelled(reason string) es.Recorded { return onOrder(events.OrderCancelled{Reason: reason}) }

// What the saga sends.

func reserve(product string, quantity int64) es.Effect {
	return commands.Stocks.To(product, commands.ReserveStock{OrderID: order, Quantity: quantity})
}

func release(product string) es.Effect {
	return commands.Stocks.To(product, commands.ReleaseStock{OrderID: order})
}

func ship(product string) es.Effect {
	return commands.Stocks.To(product, commands.ShipStock{OrderID: order})
}

func request(n, sum string) es.Effect {
	return commands.Payments.To(order+"-"+n, commands.RequestPayment{
		OrderID: order, CustomerID: "c-1", Amount: amount(sum), Currency: "USD", Method: "credit_card", Token: "tok_ok",
	})
}

func refund(n, reason string) es.Effect {
	return commands.Payments.To(order+"-"+n, commands.RequestRefund{Reason: reason})
}

func markPaid(n, sum string) es.Effect {
	return commands.Orders.To(order, commands.MarkOrderPaid{PaymentID: order + "-" + n, Amount: amount(sum)})
}

func cancel(reason string) es.Effect {
	return commands.Orders.To(order, commands.CancelOrder{Reason: reason})
}

var (
	inTime     = es.After{Name: "payment", Delay: 15 * time.Minute}
	tooLate    = es.Cancel{Name: "payment"}
	tryAgain   = es.After{Name: "retry", Delay: time.Minute}
	noMoreTry  = es.Cancel{Name: "retry"}
	done       = es.Done{}
	timeIsOver = estest.Woken("payment")
	retryNow   = estest.Woken("retry")
)

// ok, no and lost are the outcomes of an effect.
func ok(e es.Effect) es.Recorded {
	send := e.(es.Send)
	return estest.AcceptedOutcome(send.Stream, send.Command)
}

func unchanged(e es.Effect) es.Recorded {
	send := e.(es.Send)
	return estest.UnchangedOutcome(send.Stream, send.Command)
}

func no(e es.Effect, why *es.Rejection) es.Recorded {
	send := e.(es.Send)
	return estest.RejectedOutcome(send.Stream, send.Command, why)
}

func lost(e es.Effect) es.Recorded {
	send := e.(es.Send)
	r := estest.AcceptedOutcome(send.Stream, send.Command)
	o := r.Event.(es.Outcome)
	o.Reply.Outcome, o.Reply.Error = es.Failed, &es.Problem{Code: "failed", Message: "no server"}
	r.Event = o
	return r
}

// Stories that others begin with.

func gathered() []es.Recorded {
	return []es.Recorded{
		created(), ok(reserve("p-1", 3)), ok(reserve("p-2", 1)), reserved("p-1", 3), reserved("p-2", 1), ok(request("1", "30")),
	}
}

func settled() []es.Recorded {
	return append(gathered(), processed("1", "30"), ok(markPaid("1", "30")), onOrder(events.OrderPaid{PaymentID: order + "-1", Amount: amount("30")}))
}

func TestFulfilment(t *testing.T) {
	t.Parallel()
	paid := onOrder(events.OrderPaid{PaymentID: "cash", Amount: amount("30")})
	shippedOrder := onOrder(events.OrderShipped{TrackingNumber: "1Z"})
	declined := onPayment("1", events.PaymentFailed{PaymentID: order + "-1", OrderID: order, Reason: "card declined"})
	user := refund("1", "order cancelled: changed my mind")
	tests := []struct {
		name  string
		given []es.Recorded
		when  es.Recorded
		then  []es.Effect
	}{
		{"a created order reserves each product once, for the sum of its lines", nil, created(),
			[]es.Effect{reserve("p-1", 3), reserve("p-2", 1)}},
		{"nothing is paid before all stock is reserved",
			[]es.Recorded{created(), ok(reserve("p-1", 3)), ok(reserve("p-2", 1))}, reserved("p-2", 1), nil},
		{"the payment is requested when all stock is reserved",
			[]es.Recorded{created(), ok(reserve("p-1", 3)), ok(reserve("p-2", 1)), reserved("p-2", 1)}, reserved("p-1", 3),
			[]es.Effect{request("1", "30"), inTime}},
		{"stock that was already reserved sends no event, so its outcome counts",
			[]es.Recorded{created(), ok(reserve("p-1", 3)), reserved("p-1", 3)}, unchanged(reserve("p-2", 1)),
			[]es.Effect{request("1", "30"), inTime}},
		{"the processed payment marks the order paid", gathered(), processed("1", "30"), []es.Effect{markPaid("1", "30")}},
		{"an order that took the payment has no timer and owes nothing",
			append(gathered(), processed("1", "30")), ok(markPaid("1", "30")), []es.Effect{tooLate, done}},
		{"the shipped order ships each product", settled(), shippedOrder, []es.Effect{ship("p-1"), ship("p-2")}},
		{"it is done when all is shipped",
			append(settled(), shippedOrder, ok(ship("p-1"))), ok(ship("p-2")), []es.Effect{done}},
		{"stock that was never reserved cannot be shipped, and is not waited for",
			append(settled(), shippedOrder, ok(ship("p-1"))), no(ship("p-2"), commands.ErrNothingReserved), []es.Effect{done}},
		{"shipping that was lost is tried again",
			append(settled(), shippedOrder, ok(ship("p-1"))), lost(ship("p-2")), []es.Effect{tryAgain}},
		{"and only what was lost is sent again",
			append(settled(), shippedOrder, ok(ship("p-1")), lost(ship("p-2"))), retryNow, []es.Effect{ship("p-2")}},
		{"an order that costs nothing is paid by no payment",
			[]es.Recorded{onOrder(events.OrderCreated{OrderID: order, CustomerID: "c-1", Currency: "USD", Items: []events.OrderItem{line("p-1", 1, "0")}}), ok(reserve("p-1", 1))},
			reserved("p-1", 1), []es.Effect{markPaid("0", "0")}},

		// Items added.
		{"an added item reserves the new sum of its product", gathered(), added("p-1", 2, "5", "35"), []es.Effect{reserve("p-1", 5)}},
		{"the difference is paid when that is reserved",
			append(gathered(), added("p-1", 2, "5", "35"), ok(reserve("p-1", 5))), reserved("p-1", 5), []es.Effect{request("2", "5"), inTime}},
		{"an item added before the first payment is paid with it",
			[]es.Recorded{created(), ok(reserve("p-1", 3)), ok(reserve("p-2", 1)), added("p-3", 1, "4", "34"), ok(reserve("p-3", 1)), reserved("p-1", 3), reserved("p-2", 1)},
			reserved("p-3", 1), []es.Effect{request("1", "34"), inTime}},
		{"one of two payments is not enough",
			append(gathered(), added("p-1", 2, "5", "35"), ok(reserve("p-1", 5)), reserved("p-1", 5), ok(request("2", "5"))), processed("2", "5"), nil},
		{"both are, in any order",
			append(gathered(), added("p-1", 2, "5", "35"), ok(reserve("p-1", 5)), reserved("p-1", 5), ok(request("2", "5")), processed("2", "5")),
			processed("1", "30"), []es.Effect{markPaid("2", "35")}},
		{"underpaid because an item was added meanwhile: wait",
			append(gathered(), processed("1", "30")), no(markPaid("1", "30"), commands.ErrUnderpaid), nil},
		{"and go on with the item",
			append(gathered(), processed("1", "30"), no(markPaid("1", "30"), commands.ErrUnderpaid), added("p-3", 1, "4", "34"), ok(reserve("p-3", 1))),
			reserved("p-3", 1), []es.Effect{request("2", "4"), inTime}},
		{"a free item that was added before the payment arrived keeps the saga open",
			append(gathered(), processed("1", "30"), ok(markPaid("1", "30"))), added("p-3", 1, "0", "30"), []es.Effect{reserve("p-3", 1)}},
		{"and its shortage cancels the paid order",
			append(gathered(), processed("1", "30"), ok(markPaid("1", "30")), added("p-3", 1, "0", "30"), ok(reserve("p-3", 1))),
			shortage("p-3", 1, 0), []es.Effect{cancel("out of stock: p-3 (wanted 1, available 0)")}},
		{"an answer to the smaller wish is not the answer",
			append(gathered(), added("p-1", 2, "5", "35"), ok(reserve("p-1", 5)), added("p-1", 1, "1", "36"), ok(reserve("p-1", 6))),
			shortage("p-1", 5, 1), nil},

		// Refusals.
		{"a shortage cancels the order", []es.Recorded{created(), ok(reserve("p-1", 3)), ok(reserve("p-2", 1)), reserved("p-1", 3)},
			shortage("p-2", 1, 0), []es.Effect{cancel("out of stock: p-2 (wanted 1, available 0)")}},
		{"only the first reason counts",
			[]es.Recorded{created(), ok(reserve("p-1", 3)), ok(reserve("p-2", 1)), shortage("p-1", 3, 2), ok(cancel("out of stock"))},
			shortage("p-2", 1, 0), nil},
		{"a cancelled order releases all that was asked for, first things first",
			[]es.Recorded{created(), ok(reserve("p-1", 3)), ok(reserve("p-2", 1)), reserved("p-1", 3), shortage("p-2", 1, 0), ok(cancel("out of stock"))},
			cancelled("out of stock: p-2 (wanted 1, available 0)"), []es.Effect{release("p-1"), release("p-2")}},
		{"and is done when all is released",
			[]es.Recorded{created(), ok(reserve("p-1", 3)), ok(reserve("p-2", 1)), reserved("p-1", 3), shortage("p-2", 1, 0), ok(cancel("out of stock")), cancelled("out of stock"), ok(release("p-1"))},
			unchanged(release("p-2")), []es.Effect{done}},
		{"a reservation that is refused outright cancels",
			[]es.Recorded{created(), ok(reserve("p-1", 3))}, no(reserve("p-2", 1), commands.ErrReservationReleased),
			[]es.Effect{cancel("p-2 could not be reserved: the order's reservation was released")}},
		{"a lost reservation cancels", []es.Recorded{created()}, lost(reserve("p-1", 3)),
			[]es.Effect{cancel("p-1 could not be reserved: no server")}},
		{"a declined payment cancels", gathered(), declined, []es.Effect{cancel("payment declined: card declined")}},
		{"a long reason is cut to what commands take", gathered(),
			onPayment("1", events.PaymentFailed{PaymentID: order + "-1", OrderID: order, Reason: strings.Repeat("x", 600)}),
			[]es.Effect{cancel("payment declined: " + strings.Repeat("x", 479) + "…")}},
		{"a payment that cannot be requested cancels", gathered()[:5], no(request("1", "30"), commands.ErrPaymentExists),
			[]es.Effect{cancel("payment could not be requested: payment already exists, with other contents")}},
		{"an order that cannot be marked paid is cancelled", append(gathered(), processed("1", "30")), lost(markPaid("1", "30")),
			[]es.Effect{cancel("the order could not be marked paid: no server")}},
		{"no payment in time cancels", gathered(), timeIsOver, []es.Effect{cancel("payment not settled in time")}},
		{"a cancellation that was lost is tried again", append(gathered(), timeIsOver), lost(cancel("payment not settled in time")), []es.Effect{tryAgain}},
		{"with the same reason", append(gathered(), timeIsOver, lost(cancel(""))), retryNow, []es.Effect{cancel("payment not settled in time")}},
		{"shipped before the cancellation came: nothing is undone", append(gathered(), paid, added("p-3", 1, "0", "30"), ok(reserve("p-3", 1)), shortage("p-3", 1, 0)),
			no(cancel("out of stock"), commands.ErrOrderShipped), nil},
		{"and the stock is shipped",
			append(gathered(), paid, added("p-3", 1, "0", "30"), ok(reserve("p-3", 1)), shortage("p-3", 1, 0), no(cancel("out of stock"), commands.ErrOrderShipped)),
			shippedOrder, []es.Effect{ship("p-1"), ship("p-2"), ship("p-3")}},

		// Cancelled by people.
		{"a paid order that is cancelled is released and refunded", settled(), cancelled("changed my mind"),
			[]es.Effect{release("p-1"), release("p-2"), user}},
		{"it is not done before the refund",
			append(settled(), cancelled("changed my mind"), ok(release("p-1")), ok(release("p-2"))), ok(user), nil},
		{"it is done after the refund",
			append(settled(), cancelled("changed my mind"), ok(release("p-1")), ok(release("p-2")), ok(user)), refunded("1", "30"), []es.Effect{done}},
		{"it is not done before the release",
			append(settled(), cancelled("changed my mind"), ok(release("p-1")), lost(release("p-2")), ok(user)), refunded("1", "30"), nil},
		{"a release that was lost is tried again", append(settled(), cancelled("changed my mind")), lost(release("p-1")), []es.Effect{tryAgain}},
		{"two that were lost have one timer", append(settled(), cancelled("changed my mind"), lost(release("p-1"))), lost(release("p-2")), nil},
		{"and are both sent again", append(settled(), cancelled("changed my mind"), lost(release("p-1")), lost(release("p-2")), ok(user), refunded("1", "30")), retryNow,
			[]es.Effect{release("p-1"), release("p-2")}},
		{"a refund that was lost is tried again",
			append(settled(), cancelled("changed my mind"), ok(release("p-1")), ok(release("p-2")), lost(user)), retryNow, []es.Effect{user}},
		{"a timer that is not needed any more is taken back",
			append(settled(), cancelled("changed my mind"), ok(release("p-1")), ok(release("p-2")), lost(user)), refunded("1", "30"), []es.Effect{noMoreTry, done}},
		{"an unpaid order that is cancelled is released, and its timer stopped", gathered(), cancelled("changed my mind"),
			[]es.Effect{tooLate, release("p-1"), release("p-2")}},
		{"a payment still pending keeps it not open",
			append(gathered(), cancelled("changed my mind"), ok(release("p-1"))), ok(release("p-2")), []es.Effect{done}},
		{"a payment that succeeds afterwards is refunded",
			append(gathered(), cancelled("changed my mind"), ok(release("p-1")), ok(release("p-2"))), processed("1", "30"), []es.Effect{user}},
		{"and then it is done again",
			append(gathered(), cancelled("changed my mind"), ok(release("p-1")), ok(release("p-2")), processed("1", "30"), ok(user)), refunded("1", "30"), []es.Effect{done}},
		{"a payment that fails afterwards changes nothing",
			append(gathered(), cancelled("changed my mind"), ok(release("p-1")), ok(release("p-2"))), declined, []es.Effect{done}},
		{"cancelled before the saga could mark it paid: the money goes back with the cancellation",
			append(gathered(), processed("1", "30"), no(markPaid("1", "30"), commands.ErrOrderCancelled)), cancelled("changed my mind"),
			[]es.Effect{tooLate, release("p-1"), release("p-2"), user}},

		// What operators give up.
		{"given up while the payment is awaited: the order is cancelled, and all else follows from that", gathered(),
			estest.Cancelled("fraud"), []es.Effect{cancel("fraud")}},
		{"given up while the order is being cancelled: the first reason stays",
			append(gathered(), timeIsOver), estest.Cancelled("fraud"), nil},
		{"given up when the order is cancelled already: it goes on giving back",
			append(gathered(), cancelled("changed my mind")), estest.Cancelled("fraud"), nil},

		// What people do by hand.
		{"an order paid by hand has no timer", gathered(), paid, []es.Effect{tooLate, done}},
		{"the payment that comes on top is refunded", append(gathered(), paid), processed("1", "30"),
			[]es.Effect{refund("1", "more was paid than the order costs")}},
		{"a payment requested by hand counts", gathered(), processed("9", "30"), []es.Effect{markPaid("9", "30")}},
		{"a further payment does not take the id of one by hand",
			append(gathered(), processed("3", "10"), added("p-1", 2, "20", "50"), ok(reserve("p-1", 5))), reserved("p-1", 5),
			[]es.Effect{request("4", "10"), inTime}},
		{"a payment by hand of more than is due goes back", gathered(), processed("9", "31"),
			[]es.Effect{refund("9", "more was paid than the order costs")}},
		{"a refund by hand of an unpaid order cancels it",
			append(gathered(), added("p-1", 2, "5", "35"), ok(reserve("p-1", 5)), reserved("p-1", 5), ok(request("2", "5")), processed("2", "5")),
			refunded("2", "5"), []es.Effect{cancel("payment " + order + "-2 was refunded")}},
		{"events of an order that nobody created lead to nothing", nil, processed("1", "30"), []es.Effect{done}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			estest.ForSaga(t, sagas.Fulfilments).Given(tt.given...).When(tt.when).Then(tt.then...)
		})
	}
}

func TestDomainListsEveryEvent(t *testing.T) {
	t.Parallel()
	d := es.Domain{Name: "test", Events: events.All, Aggregates: commands.All, Sagas: sagas.All}
	if err := d.Validate(); err != nil {
		t.Error(err)
	}
}
