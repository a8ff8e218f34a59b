package projectors_test

import (
	"testing"
	"time"

	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/projectors"
)

func TestSalesPerDayAndCurrency(t *testing.T) {
	t.Parallel()
	late := created("o-3", "c-1", "EUR")
	order := late.event.(events.OrderCreated)
	order.OrderDate = time.Date(2026, 2, 28, 23, 30, 0, 0, time.FixedZone("", -3600)) // 00:30 UTC on the next day
	late.event = order
	m := fold(t, projectors.Sales, record(
		created("o-1", "c-1", "EUR"), created("o-2", "c-2", "USD"), late,
		in{"order/o-1", events.OrderItemAdded{Item: events.OrderItem{ProductID: "p-2", Quantity: 4, Price: amount("1")}, TotalAmount: amount("55.88")}},
		in{"payment/o-1-1", events.PaymentProcessed{PaymentID: "o-1-1", OrderID: "o-1", Amount: amount("55.88"), Currency: "EUR"}},
		in{"order/o-1", events.OrderPaid{PaymentID: "o-1-1", Amount: amount("55.88")}},
		in{"order/o-2", events.OrderCancelled{Reason: "changed my mind"}},
		in{"payment/o-1-1", events.PaymentRefunded{PaymentID: "o-1-1", OrderID: "o-1", Amount: amount("5.8"), Currency: "EUR", RefundID: "r"}},
	))
	wantRows(t, m, `SELECT day, currency, orders, units, gross, cancelled, cancelled_gross, paid, refunded FROM daily_sales ORDER BY day, currency`,
		"2026-03-01 | EUR | 2 | 10 | 10776 | 0 | 0 | 5588 | 580",
		"2026-03-01 | USD | 1 | 3 | 5188 | 1 | 5188 | 0 | 0",
	)
}
