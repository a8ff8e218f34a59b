package projectors_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/projectors"
)

func TestSearch(t *testing.T) {
	t.Parallel()
	order := func(id, customer string, products ...string) in {
		e := events.OrderCreated{OrderNumber: "N-" + id, CustomerID: customer, Currency: "USD", OrderDate: start,
			ShippingAddress: events.Address{Street: "1 Main St", City: "Luleå", Country: "Sweden"}}
		for _, p := range products {
			e.Items = append(e.Items, events.OrderItem{ProductID: p})
		}
		return in{"order/" + id, e}
	}
	m := fold(t, projectors.Search, record(
		order("o-1", "c-1", "p-1", "p-2", "p-1"),
		in{"customer/c-1", events.CustomerRegistered{Name: "Ada"}},
		order("o-2", "c-1", "p-3"), order("o-3", "c-2"),
		in{"order/o-1", events.OrderItemAdded{Item: events.OrderItem{ProductID: "p-2"}, TotalAmount: amount("7.5")}},
		in{"order/o-1", events.OrderItemAdded{Item: events.OrderItem{ProductID: "p-22"}, TotalAmount: amount("8")}},
		in{"customer/c-1", events.CustomerRenamed{Name: "Ada King"}},
		in{"order/o-1", events.OrderPaid{}},
		in{"order/o-1", events.OrderShipped{TrackingNumber: "1Z-999"}},
		in{"order/o-1", events.OrderDelivered{}},
		in{"order/o-3", events.OrderCancelled{}},
	))
	wantRows(t, m, `SELECT docid, order_id, order_number, customer_id, customer_name, products, address, tracking_number, status, total_amount, version, revision FROM orders ORDER BY 1`,
		"1 | o-1 | N-o-1 | c-1 | Ada King |  p-1 p-2 p-22  | 1 Main St, Luleå, Sweden | 1Z-999 | DELIVERED | 800 | 6 | 10",
		"2 | o-2 | N-o-2 | c-1 | Ada King |  p-3  | 1 Main St, Luleå, Sweden |  | CREATED | 0 | 1 | 3",
		"3 | o-3 | N-o-3 | c-2 |  |   | 1 Main St, Luleå, Sweden |  | CANCELLED | 0 | 2 | 11")
	for match, want := range map[string]string{
		`ada`: "1 2", `"ada king"`: "1 2", `lulea`: "1 2 3", `"p 2"`: "1", `"p 22"`: "1", `"p 3"`: "2", `"1z 999"`: "1", `delivered`: "", `"c 2"`: "3",
	} {
		got := strings.Join(readRows(t, m, `SELECT docid FROM order_text WHERE order_text MATCH '`+match+`' ORDER BY docid`), " ")
		if got != want {
			t.Errorf("%s was found in %q, want %q", match, got, want)
		}
	}
}

// The index takes out a text by reading the old one: that must have been there.
func TestTheSearchIndexFitsItsOrders(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		words := rapid.SampledFrom([]string{"Åsa", "Öberg", "Ada", "King", "p-1", "1Z 999"})
		facts := []in{created("o-1", "c-1", "USD"), created("o-2", "c-2", "USD")}
		for range rapid.IntRange(0, 20).Draw(r, "steps") {
			order := rapid.SampledFrom([]string{"order/o-1", "order/o-2"}).Draw(r, "order")
			customer := rapid.SampledFrom([]string{"customer/c-1", "customer/c-2"}).Draw(r, "customer")
			word := words.Draw(r, "word")
			facts = append(facts, rapid.SampledFrom([]in{
				{order, events.OrderShipped{TrackingNumber: word}}, {customer, events.CustomerRegistered{Name: word}},
				{customer, events.CustomerRenamed{Name: word}}, {order, events.OrderItemAdded{Item: events.OrderItem{ProductID: word}}}, {order, events.OrderPaid{}},
			}).Draw(r, "fact"))
		}
		recorded := record(facts...)
		m := fold(t, projectors.Search, recorded)
		// The full scan reads the orders' text, MATCH reads the index.
		for _, term := range []string{"asa", "oberg", "ada", "king", `"p 1"`, `"1z 999"`} {
			text := strings.NewReplacer(`"`, "", "asa", "åsa", "oberg", "öberg").Replace(term)
			indexed := readRows(t, m, `SELECT docid FROM order_text WHERE order_text MATCH '`+term+`' ORDER BY docid`)
			scanned := readRows(t, m, `SELECT docid FROM orders WHERE replace(lower(replace(replace(customer_name || '|' || products || '|' || tracking_number, 'Å', 'å'), 'Ö', 'ö')), '-', ' ') LIKE '%`+text+`%' ORDER BY docid`)
			if !slices.Equal(indexed, scanned) {
				r.Errorf("%s: the index says %v, the orders say %v", term, indexed, scanned)
			}
		}
	})
}

func TestMails(t *testing.T) {
	t.Parallel()
	requested := func(kind, to string) events.MailRequested {
		return events.MailRequested{Kind: kind, To: to, Name: "Ada", CustomerID: "c-1", OrderNumber: "N-1"}
	}
	m := fold(t, projectors.Mails, record(
		in{"mail/o-1", requested("confirmation", "ada@example.com")},
		in{"mail/o-1", events.MailSent{Kind: "confirmation", MessageID: "1@x"}},
		in{"mail/o-1", requested("shipped", "ada@exampel.com")},
		in{"mail/o-1", events.MailFailed{Kind: "shipped", Reason: "550"}},
		in{"mail/o-2", requested("cancelled", "ada@exampel.com")},
		in{"mail/o-2", events.MailFailed{Kind: "cancelled", Reason: "550"}},
		in{"mail/o-2", requested("cancelled", "ada@example.com")},
	))
	wantRows(t, m, `SELECT order_id, kind, status, address, name, message_id, reason, requested_at, revision FROM mails ORDER BY 1, 2`,
		"o-1 | confirmation | SENT | ada@example.com | Ada | 1@x |  | 2026-03-01T12:00:00.000000000Z | 2",
		"o-1 | shipped | FAILED | ada@exampel.com | Ada |  | 550 | 2026-03-01T12:00:02.000000000Z | 4",
		"o-2 | cancelled | REQUESTED | ada@example.com | Ada |  |  | 2026-03-01T12:00:06.000000000Z | 7")
}

func TestTheOtherListsUseTheirIndexToo(t *testing.T) {
	t.Parallel()
	recorded := record(created("o-1", "c-1", "USD"))
	for query, want := range map[string]struct {
		projector es.Projector
		index     string
	}{
		`SELECT * FROM stock WHERE on_hand - reserved < 5 AND (on_hand - reserved, product_id) > (1, 'p') ORDER BY on_hand - reserved, product_id LIMIT 50`:          {projectors.Stock, "stock_by_available"},
		`SELECT * FROM payments WHERE customer_id = 'c' AND (created_at, payment_id) < ('a', 'b') ORDER BY created_at DESC, payment_id DESC LIMIT 50`:                {projectors.Payments, "payments_by_customer"},
		`SELECT * FROM customer_orders WHERE customer_id = 'c' AND status = 'PAID' ORDER BY order_date DESC, order_id DESC LIMIT 20`:                                 {projectors.Customers, "customer_orders_by_status"},
		`SELECT * FROM mails WHERE (requested_at, order_id, kind) < ('A', '', '') ORDER BY requested_at DESC, order_id DESC, kind DESC LIMIT 50`:                     {projectors.Mails, "mails_by_time"},
		`SELECT * FROM mails WHERE (requested_at, order_id, kind) < ('A', '', '') AND status = 'SENT' ORDER BY requested_at DESC, order_id DESC, kind DESC LIMIT 50`: {projectors.Mails, "mails_by_status"},
		`SELECT status, count(*) FROM customer_orders WHERE customer_id = 'c' GROUP BY status`:                                                                       {projectors.Customers, "customer_orders_by_status"},
	} {
		plan := strings.Join(readRows(t, fold(t, want.projector, recorded), "EXPLAIN QUERY PLAN "+query), "; ")
		if !strings.Contains(plan, want.index) || strings.Contains(plan, "TEMP B-TREE") {
			t.Errorf("%s: %s", query, plan)
		}
	}
}
