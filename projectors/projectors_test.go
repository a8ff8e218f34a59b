package projectors_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/readmodel"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
	"github.com/millstream-es/millstream/projectors"
)

func TestEveryProjectorSaysWhatItDoesWithEveryEvent(t *testing.T) {
	t.Parallel()
	if err := (es.Domain{Events: events.All, Projectors: projectors.All}).Validate(); err != nil {
		t.Error(err)
	}
}

// in says which stream an event happened in.
type in struct {
	stream string // category/id
	event  es.Event
}

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// record gives each event a commit of its own, a second after the one before, with versions per stream.
func record(facts ...in) []es.Recorded {
	versions := map[string]uint64{}
	var recorded []es.Recorded
	for i, f := range facts {
		versions[f.stream]++
		category, id, _ := strings.Cut(f.stream, "/")
		recorded = append(recorded, es.Recorded{
			Event: f.event,
			Meta: es.Meta{Stream: es.Stream{Category: category, ID: id}, CommandID: fmt.Sprintf("c-%d", i+1), User: "ada",
				Correlation: "cor", Causation: "cau", Time: start.Add(time.Duration(i) * time.Second)},
			ID: fmt.Sprintf("c-%d/1", i+1), Version: versions[f.stream], Revision: es.Revision(i + 1),
		})
	}
	return recorded
}

func fold(t testing.TB, p es.Projector, recorded []es.Recorded) *readmodel.Model {
	t.Helper()
	m, err := readmodel.Open(t.TempDir(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	last := recorded[len(recorded)-1]
	if err := m.Apply(t.Context(), readmodel.Batch{Events: recorded, Last: last.Revision, LastID: last.ID}); err != nil {
		t.Fatal(err)
	}
	return m
}

// wantRows compares a query's rows, columns joined by " | ".
func wantRows(t *testing.T, m *readmodel.Model, query string, want ...string) {
	t.Helper()
	if got := readRows(t, m, query); !slices.Equal(got, want) {
		t.Errorf("%s\n got %s\nwant %s", query, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

func readRows(t *testing.T, m *readmodel.Model, query string) []string {
	t.Helper()
	rows, err := m.DB().QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		texts, targets := make([]string, len(columns)), make([]any, len(columns))
		for i := range texts {
			targets[i] = &texts[i]
		}
		if err := rows.Scan(targets...); err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.Join(texts, " | "))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return got
}

var amount = money.MustParse

func created(order, customer, currency string) in {
	return in{"order/" + order, events.OrderCreated{
		OrderID: order, OrderNumber: "N-" + order, CustomerID: customer, Currency: currency,
		Items: []events.OrderItem{
			{ProductID: "p-1", Quantity: 2, Price: amount("19.99"), TotalPrice: amount("39.98")},
			{ProductID: "p-1", Quantity: 1, Price: amount("10"), TaxRate: amount("0.19"), TotalPrice: amount("11.9")},
		},
		TotalAmount: amount("51.88"), OrderDate: start,
	}}
}

func TestOrders(t *testing.T) {
	t.Parallel()
	m := fold(t, projectors.Orders, record(
		created("o-1", "c-1", "USD"),
		in{"customer/c-1", events.CustomerRegistered{Name: "Ada"}},
		in{"order/o-1", events.OrderItemAdded{Item: events.OrderItem{ProductID: "p-2", Quantity: 3, Price: amount("1"), TotalPrice: amount("3")}, TotalAmount: amount("54.88")}},
		in{"order/o-1", events.OrderPaid{PaymentID: "o-1-1", Amount: amount("54.88")}},
		in{"stock/p-1", events.StockReceived{Quantity: 1}},
		created("o-2", "c-2", "EUR"),
		in{"order/o-2", events.OrderCancelled{Reason: "declined"}},
		in{"order/o-1", events.OrderShipped{TrackingNumber: "1Z999", ShippedAt: start}},
		in{"order/o-1", events.OrderDelivered{DeliveredAt: start}},
		in{"customer/c-1", events.CustomerRenamed{Name: "Ada Lovelace"}},
		in{"customer/c-1", events.CustomerTierChanged{Tier: "gold"}},
	))
	wantRows(t, m, `SELECT order_id, order_number, status, customer_id, currency, total_amount, tracking_number, cancel_reason, version, revision FROM orders ORDER BY 1`,
		"o-1 | N-o-1 | DELIVERED | c-1 | USD | 5488 | 1Z999 |  | 5 | 9",
		"o-2 | N-o-2 | CANCELLED | c-2 | EUR | 5188 |  | declined | 2 | 7")
	wantRows(t, m, `SELECT order_date, created_at, updated_at FROM orders WHERE order_id = 'o-1'`,
		"2026-03-01T12:00:00.000000000Z | 2026-03-01T12:00:00.000000000Z | 2026-03-01T12:00:08.000000000Z")
	wantRows(t, m, `SELECT line, product_id, quantity, price, tax_rate, total_price FROM order_items WHERE order_id = 'o-1' ORDER BY line`,
		"1 | p-1 | 2 | 1999 | 0 | 3998",
		"2 | p-1 | 1 | 1000 | 0.19 | 1190",
		"3 | p-2 | 3 | 100 | 0 | 300")
	wantRows(t, m, `SELECT * FROM customers`, "c-1 | Ada Lovelace | gold")
}

func TestAnOrderDateAtTheEdgeOfTheCalendarIsKeptInIt(t *testing.T) {
	t.Parallel()
	late, early := created("o-1", "c-1", "USD"), created("o-2", "c-1", "USD")
	for f, date := range map[*in]string{&late: "9999-12-31T23:00:00-12:00", &early: "0000-01-01T00:00:00+12:00"} {
		at, err := time.Parse(time.RFC3339, date)
		if err != nil {
			t.Fatal(err)
		}
		e := f.event.(events.OrderCreated)
		e.OrderDate = at
		f.event = e
	}
	wantRows(t, fold(t, projectors.Orders, record(late, early)), `SELECT order_date FROM orders ORDER BY order_id`,
		"9999-12-31T23:59:59.999999999Z", "0000-01-01T00:00:00.000000000Z")
}

func TestAnEventOfAnUnknownOrderHaltsTheProjector(t *testing.T) {
	t.Parallel()
	m := fold(t, projectors.Orders, record(created("o-1", "c-1", "USD")))
	lost := record(in{"order/o-9", events.OrderPaid{}})[0]
	lost.Revision = 2
	err := m.Apply(t.Context(), readmodel.Batch{Events: []es.Recorded{lost}, Last: 2, LastID: lost.ID})
	if err == nil || !strings.Contains(err.Error(), "order/o-9") {
		t.Errorf("got %v, want an error that names the order", err)
	}
}

func TestCustomers(t *testing.T) {
	t.Parallel()
	m := fold(t, projectors.Customers, record(
		created("o-1", "c-2", "EUR"),
		in{"customer/c-1", events.CustomerRegistered{Name: "Ada", Email: "ada@example.com", Phone: "1"}},
		created("o-2", "c-1", "USD"),
		in{"payment/o-2-1", events.PaymentProcessed{CustomerID: "c-1", Amount: amount("51.88"), Currency: "USD"}},
		in{"payment/o-3-1", events.PaymentProcessed{CustomerID: "c-1", Amount: amount("500"), Currency: "JPY"}},
		in{"payment/o-2-1", events.PaymentRefunded{CustomerID: "c-1", Amount: amount("1.88"), Currency: "USD"}},
		in{"customer/c-1", events.CustomerRenamed{Name: "Ada Lovelace"}},
		in{"customer/c-1", events.CustomerTierChanged{Tier: "silver"}},
		created("o-4", "c-1", "USD"),
	))
	wantRows(t, m, `SELECT customer_id, name, email, phone, tier, total_orders, version, revision FROM customers ORDER BY 1`,
		"c-1 | Ada Lovelace | ada@example.com | 1 | silver | 2 | 3 | 9",
		"c-2 |  |  |  |  | 1 | 0 | 1")
	wantRows(t, m, `SELECT customer_id, currency, place, paid, refunded FROM customer_values ORDER BY 1, 3`,
		"c-1 | USD | 1 | 5188 | 188",
		"c-1 | JPY | 2 | 500 | 0",
		"c-2 | EUR | 1 | 0 | 0")
}

func TestOrdersOfCustomers(t *testing.T) {
	t.Parallel()
	m := fold(t, projectors.Customers, record(
		created("o-1", "c-1", "USD"), created("o-2", "c-1", "USD"), created("o-3", "c-1", "USD"), created("o-4", "c-2", "EUR"),
		in{"order/o-1", events.OrderItemAdded{TotalAmount: amount("60.5")}},
		in{"order/o-1", events.OrderPaid{}},
		in{"order/o-1", events.OrderShipped{}},
		in{"order/o-1", events.OrderDelivered{}},
		in{"order/o-2", events.OrderCancelled{}},
		in{"order/o-4", events.OrderPaid{}},
	))
	wantRows(t, m, `SELECT order_id, customer_id, order_number, status, currency, total_amount, order_date, revision FROM customer_orders ORDER BY 1`,
		"o-1 | c-1 | N-o-1 | DELIVERED | USD | 6050 | 2026-03-01T12:00:00.000000000Z | 8",
		"o-2 | c-1 | N-o-2 | CANCELLED | USD | 5188 | 2026-03-01T12:00:00.000000000Z | 9",
		"o-3 | c-1 | N-o-3 | CREATED | USD | 5188 | 2026-03-01T12:00:00.000000000Z | 3",
		"o-4 | c-2 | N-o-4 | PAID | EUR | 5188 | 2026-03-01T12:00:00.000000000Z | 10")
}

func TestStock(t *testing.T) {
	t.Parallel()
	m := fold(t, projectors.Stock, record(
		in{"stock/p-1", events.StockReceived{Quantity: 100}},
		in{"stock/p-1", events.StockReserved{OrderID: "o-1", Quantity: 10}},
		in{"stock/p-1", events.StockReserved{OrderID: "o-1", Quantity: 15}},
		in{"stock/p-1", events.StockReserved{OrderID: "o-2", Quantity: 20}},
		in{"stock/p-1", events.StockReserved{OrderID: "o-3", Quantity: 30}},
		in{"stock/p-1", events.StockReleased{OrderID: "o-2", Quantity: 20}},
		in{"stock/p-1", events.StockShipped{OrderID: "o-3", Quantity: 30}},
		in{"stock/p-1", events.StockReleased{OrderID: "o-9"}},
		in{"stock/p-2", events.StockReservationRejected{OrderID: "o-1", Quantity: 1}},
	))
	wantRows(t, m, `SELECT product_id, on_hand, reserved, received, shipped, missed, version, revision FROM stock ORDER BY 1`,
		"p-1 | 70 | 15 | 100 | 30 | 0 | 8 | 8", "p-2 | 0 | 0 | 0 | 0 | 1 | 1 | 9")
	wantRows(t, m, `SELECT * FROM reservations`, "p-1 | o-1 | 15")
}

func TestMissedIsWhatRefusedReservationsLackedSinceTheLastDelivery(t *testing.T) {
	t.Parallel()
	facts := []in{
		{"stock/p-1", events.StockReceived{Quantity: 10}},
		{"stock/p-1", events.StockReserved{OrderID: "o-1", Quantity: 8}},
		{"stock/p-1", events.StockReservationRejected{OrderID: "o-1", Quantity: 13, Available: 2}}, // holds 8, lacks 3
		{"stock/p-1", events.StockReservationRejected{OrderID: "o-2", Quantity: 7, Available: 2}},
	}
	wantRows(t, fold(t, projectors.Stock, record(facts...)), `SELECT missed FROM stock`, "8")
	facts = append(facts, in{"stock/p-1", events.StockReceived{Quantity: 1}})
	wantRows(t, fold(t, projectors.Stock, record(facts...)), `SELECT on_hand, received, missed FROM stock`, "11 | 11 | 0")
}

// Whatever happens to the reservations, reserved is their sum and on hand what came in minus what was shipped.
func TestReservedIsTheSumOfTheReservations(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		onHand, held := int64(1000), map[string]int64{}
		facts := []in{{"stock/p-1", events.StockReceived{Quantity: onHand}}}
		for range rapid.IntRange(1, 30).Draw(r, "steps") {
			order := rapid.SampledFrom([]string{"o-1", "o-2", "o-3"}).Draw(r, "order")
			var e es.Event
			switch rapid.IntRange(0, 2).Draw(r, "what") {
			case 0:
				held[order] = rapid.Int64Range(1, 50).Draw(r, "quantity")
				e = events.StockReserved{OrderID: order, Quantity: held[order]}
			case 1:
				e = events.StockReleased{OrderID: order, Quantity: held[order]}
				delete(held, order)
			default:
				e = events.StockShipped{OrderID: order, Quantity: held[order]}
				onHand -= held[order]
				delete(held, order)
			}
			facts = append(facts, in{"stock/p-1", e})
		}
		var reserved int64
		for q := range maps.Values(held) {
			reserved += q
		}
		want := []string{fmt.Sprintf("%d | %d", onHand, reserved)}
		if got := readRows(t, fold(t, projectors.Stock, record(facts...)), `SELECT on_hand, reserved FROM stock`); !slices.Equal(got, want) {
			r.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestPayments(t *testing.T) {
	t.Parallel()
	requested := func(id string) in {
		return in{"payment/" + id, events.PaymentRequested{OrderID: "o-1", CustomerID: "c-1", Amount: amount("51.88"), Currency: "USD", Method: "paypal", Token: "tok_secret"}}
	}
	m := fold(t, projectors.Payments, record(
		requested("o-1-1"), requested("o-1-2"), requested("o-1-3"), requested("o-1-4"), requested("o-1-5"),
		in{"payment/o-1-2", events.PaymentProcessed{TransactionID: "tx"}},
		in{"payment/o-1-3", events.PaymentFailed{Reason: "declined"}},
		in{"payment/o-1-4", events.PaymentProcessed{TransactionID: "tx"}},
		in{"payment/o-1-4", events.RefundRequested{Reason: "cancelled"}},
		in{"payment/o-1-5", events.PaymentProcessed{TransactionID: "tx"}},
		in{"payment/o-1-5", events.RefundRequested{Reason: "cancelled"}},
		in{"payment/o-1-5", events.PaymentRefunded{RefundID: "re"}},
	))
	wantRows(t, m, `SELECT payment_id, status, amount, transaction_id, refund_id, reason, version FROM payments ORDER BY 1`,
		"o-1-1 | REQUESTED | 5188 |  |  |  | 1",
		"o-1-2 | PROCESSED | 5188 | tx |  |  | 2",
		"o-1-3 | FAILED | 5188 |  |  | declined | 2",
		"o-1-4 | REFUND_REQUESTED | 5188 | tx |  | cancelled | 3",
		"o-1-5 | REFUNDED | 5188 | tx | re | cancelled | 4")
	wantRows(t, m, `SELECT DISTINCT order_id, customer_id, currency, method FROM payments`, "o-1 | c-1 | USD | paypal")
}

func TestAudit(t *testing.T) {
	t.Parallel()
	m := fold(t, projectors.Audit, record(
		in{"stock/p-1", events.StockReceived{Quantity: 100}},
		in{"customer/c-1", events.CustomerRenamed{Name: "Ada"}},
		in{"stock/p-1", events.StockReserved{OrderID: "o-1", Quantity: 10}},
	))
	wantRows(t, m, `SELECT category, id, version, revision, event_id, type, time, user, command_id, correlation, causation, data FROM audit ORDER BY revision`,
		`stock | p-1 | 1 | 1 | c-1/1 | StockReceived | 2026-03-01T12:00:00.000000000Z | ada | c-1 | cor | cau | {"quantity":100}`,
		`customer | c-1 | 1 | 2 | c-2/1 | CustomerRenamed | 2026-03-01T12:00:01.000000000Z | ada | c-2 | cor | cau | {"name":"Ada"}`,
		`stock | p-1 | 2 | 3 | c-3/1 | StockReserved | 2026-03-01T12:00:02.000000000Z | ada | c-3 | cor | cau | {"orderId":"o-1","quantity":10}`)
}

// Every query plan that a list relies on: a list must not sort or read the whole table.
func TestListsUseTheirIndex(t *testing.T) {
	t.Parallel()
	m := fold(t, projectors.Orders, record(created("o-1", "c-1", "USD")))
	for where, index := range map[string]string{
		``:                          "orders_by_date",
		`WHERE customer_id = 'c-1'`: "orders_by_customer",
		`WHERE status = 'PAID'`:     "orders_by_status",
		`WHERE (order_date, order_id) < ('a','b')`: "orders_by_date",
	} {
		plan := readRows(t, m, `EXPLAIN QUERY PLAN SELECT * FROM orders `+where+` ORDER BY order_date DESC, order_id DESC LIMIT 50`)
		if text := strings.Join(plan, "; "); !strings.Contains(text, index) || strings.Contains(text, "TEMP B-TREE") {
			t.Errorf("orders %s: %s", where, text)
		}
	}
}
