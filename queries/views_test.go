package queries_test

import (
	"strings"
	"testing"

	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
	"github.com/millstream-es/millstream/queries"
)

func TestInventory(t *testing.T) {
	t.Parallel()
	h := build(t,
		"stock/p-1", events.StockReceived{Quantity: 100},
		"stock/p-1", events.StockReserved{OrderID: "o-1", Quantity: 30},
		"stock/p-2", events.StockReceived{Quantity: 5},
		"stock/p-2", events.StockReserved{OrderID: "o-1", Quantity: 3},
		"stock/p-2", events.StockShipped{OrderID: "o-1", Quantity: 3},
		"stock/p-2", events.StockReservationRejected{OrderID: "o-2", Quantity: 6, Available: 2},
		"stock/p-4", events.StockReceived{Quantity: 9},
		"stock/p-3", events.StockReceived{Quantity: 9},
	)
	wantJSON(t, h, queries.InventoryStatus, queries.InventoryParams{Below: 9}, `{"items":[{"productId":"p-2", "onHand":2, "reserved":0,
		"available":2, "received":5, "shipped":3, "missed":4, "reorder":7, "updatedAt":"2026-03-01T12:00:06Z", "version":4, "revision":6}]}`)
	for below, want := range map[int64]string{0: "p-2 p-3 p-4 p-1", 1: "", 2: "", 10: "p-2 p-3 p-4", 1000: "p-2 p-3 p-4 p-1"} {
		for limit := range 5 {
			p := queries.InventoryParams{Below: below, Limit: limit}
			var got []string
			for pages := 0; ; pages++ {
				page, err := ask(t, h, queries.InventoryStatus, p)
				if err != nil || page.Items == nil || pages > 4 {
					t.Fatalf("below %d, limit %d: page %d is %+v (%v)", below, limit, pages, page, err)
				}
				for _, i := range page.Items {
					got = append(got, i.ProductID)
					if want := max(0, below-i.Available); i.Reorder != want {
						t.Errorf("below %d: of %s %d are to be ordered, want %d", below, i.ProductID, i.Reorder, want)
					}
				}
				if p.Cursor = page.NextCursor; p.Cursor == "" {
					break
				}
			}
			if strings.Join(got, " ") != want {
				t.Errorf("below %d, limit %d: got %v, want %s", below, limit, got, want)
			}
		}
	}
}

func TestCustomerOverview(t *testing.T) {
	t.Parallel()
	h := build(t,
		"customer/c-1", events.CustomerRegistered{Name: "Ada"},
		"order/o-1", order("o-1", "c-1", "USD", start.AddDate(0, 0, -3)),
		"order/o-2", order("o-2", "c-1", "USD", start.AddDate(0, 0, -1)),
		"order/o-3", order("o-3", "c-1", "USD", start.AddDate(0, 0, -2)),
		"order/o-4", order("o-4", "c-2", "USD", start),
		"order/o-1", events.OrderPaid{},
		"order/o-3", events.OrderCancelled{},
	)
	wantJSON(t, h, queries.CustomerOverviewByID, queries.CustomerByIDParams{CustomerID: "c-1"}, `{
		"customer":{"customerId":"c-1", "name":"Ada", "email":"", "phone":"", "tier":"standard", "totalOrders":3, "currency":"USD",
			"lifetimeValue":0, "updatedAt":"2026-03-01T12:00:04Z", "version":1, "revision":4},
		"ordersByStatus":{"CREATED":1, "PAID":1, "SHIPPED":0, "DELIVERED":0, "CANCELLED":1},
		"firstOrderDate":"2026-02-26T12:00:00Z", "lastOrderDate":"2026-02-28T12:00:00Z",
		"openOrders":[
			{"orderId":"o-2", "orderNumber":"N-o-2", "status":"CREATED", "totalAmount":51.88, "currency":"USD",
				"orderDate":"2026-02-28T12:00:00Z", "updatedAt":"2026-03-01T12:00:03Z"},
			{"orderId":"o-1", "orderNumber":"N-o-1", "status":"PAID", "totalAmount":51.88, "currency":"USD",
				"orderDate":"2026-02-26T12:00:00Z", "updatedAt":"2026-03-01T12:00:06Z"}],
		"revision":7}`)

	h = build(t, "customer/c-1", events.CustomerRegistered{Name: "Ada"})
	wantJSON(t, h, queries.CustomerOverviewByID, queries.CustomerByIDParams{CustomerID: "c-1"}, `{
		"customer":{"customerId":"c-1", "name":"Ada", "email":"", "phone":"", "tier":"standard", "totalOrders":0, "currency":"",
			"lifetimeValue":0, "updatedAt":"2026-03-01T12:00:01Z", "version":1, "revision":1},
		"ordersByStatus":{"CREATED":0, "PAID":0, "SHIPPED":0, "DELIVERED":0, "CANCELLED":0}, "openOrders":[], "revision":1}`)
}

func TestPaymentsOfACustomer(t *testing.T) {
	t.Parallel()
	requested := func(customer string) events.PaymentRequested {
		return events.PaymentRequested{OrderID: "o-1", CustomerID: customer, Amount: money.MustParse("51.88"), Currency: "USD", Method: "paypal", Token: "tok_secret"}
	}
	h := build(t,
		"payment/o-1-1", requested("c-1"), "payment/o-2-1", requested("c-2"), "payment/o-3-1", requested("c-1"), "payment/o-4-1", requested("c-1"),
		"payment/o-1-1", events.PaymentFailed{Reason: "declined"},
	)
	first, err := ask(t, h, queries.CustomerPayments, queries.CustomerPaymentsParams{CustomerID: "c-1", Limit: 2})
	if err != nil || len(first.Items) != 2 || first.Items[0].PaymentID != "o-4-1" || first.Items[1].PaymentID != "o-3-1" {
		t.Fatalf("the first page is %+v (%v)", first, err)
	}
	rest, err := ask(t, h, queries.CustomerPayments, queries.CustomerPaymentsParams{CustomerID: "c-1", Limit: 2, Cursor: first.NextCursor})
	if err != nil || len(rest.Items) != 1 || rest.Items[0].Reason != "declined" || rest.NextCursor != "" {
		t.Errorf("the second page is %+v (%v)", rest, err)
	}
	wantJSON(t, h, queries.CustomerPayments, queries.CustomerPaymentsParams{CustomerID: "c-9"}, `{"items":[]}`)
}

func TestOutbox(t *testing.T) {
	t.Parallel()
	requested := func(kind string) events.MailRequested {
		return events.MailRequested{Kind: kind, To: "ada@example.com", Name: "Ada", CustomerID: "c-1", OrderNumber: "N-1"}
	}
	h := build(t,
		"mail/o-1", requested("confirmation"),
		"mail/o-2", requested("confirmation"),
		"mail/o-1", events.MailSent{Kind: "confirmation", MessageID: "1@x"},
		"mail/o-1", requested("shipped"),
		"mail/o-1", events.MailFailed{Kind: "shipped", Reason: "550 no such user"},
		"mail/o-3", requested("cancelled"),
	)
	wantJSON(t, h, queries.MailList, queries.MailListParams{OrderID: "o-1"}, `{"items":[
		{"orderId":"o-1", "kind":"shipped", "status":"FAILED", "customerId":"c-1", "orderNumber":"N-1", "to":"ada@example.com", "name":"Ada",
			"messageId":"", "reason":"550 no such user", "requestedAt":"2026-03-01T12:00:04Z", "updatedAt":"2026-03-01T12:00:05Z", "revision":5},
		{"orderId":"o-1", "kind":"confirmation", "status":"SENT", "customerId":"c-1", "orderNumber":"N-1", "to":"ada@example.com", "name":"Ada",
			"messageId":"1@x", "reason":"", "requestedAt":"2026-03-01T12:00:01Z", "updatedAt":"2026-03-01T12:00:03Z", "revision":3}]}`)
	wantJSON(t, h, queries.MailList, queries.MailListParams{OrderID: "o-9"}, `{"items":[]}`)
	for status, want := range map[string]string{
		"": "o-3/cancelled o-1/shipped o-2/confirmation o-1/confirmation", "REQUESTED": "o-3/cancelled o-2/confirmation", "SENT": "o-1/confirmation",
	} {
		for limit := range 5 {
			var got []string
			for p := (queries.MailListParams{Status: status, Limit: limit}); ; {
				page, err := ask(t, h, queries.MailList, p)
				if err != nil || len(got) > 4 {
					t.Fatalf("status %q, limit %d: %+v (%v)", status, limit, page, err)
				}
				for _, m := range page.Items {
					got = append(got, m.OrderID+"/"+m.Kind)
				}
				if p.Cursor = page.NextCursor; p.Cursor == "" {
					break
				}
			}
			if strings.Join(got, " ") != want {
				t.Errorf("status %q, limit %d: got %v, want %s", status, limit, got, want)
			}
		}
	}
}
