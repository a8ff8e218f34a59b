package queries_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
	"github.com/millstream-es/millstream/queries"
)

// sold is four orders on three days of two months in two currencies, and what was paid on the first of March.
func sold(t *testing.T) house {
	t.Helper()
	return build(t,
		"order/o-1", order("o-1", "c-1", "EUR", start),
		"order/o-2", order("o-2", "c-2", "USD", start),
		"order/o-3", order("o-3", "c-1", "EUR", start.AddDate(0, 0, -1)),
		"order/o-4", order("o-4", "c-1", "EUR", start.AddDate(0, 0, -2)),
		"order/o-3", events.OrderCancelled{Reason: "changed my mind"},
		"payment/o-1-1", events.PaymentRequested{OrderID: "o-1", Amount: money.MustParse("51.88"), Currency: "EUR"},
		"payment/o-1-1", events.PaymentProcessed{PaymentID: "o-1-1", OrderID: "o-1", Amount: money.MustParse("51.88"), Currency: "EUR"},
		"payment/o-1-1", events.PaymentRefunded{PaymentID: "o-1-1", OrderID: "o-1", Amount: money.MustParse("1.88"), Currency: "EUR", RefundID: "r"},
	)
}

func TestSalesByDay(t *testing.T) {
	t.Parallel()
	h := sold(t)
	const first, last = `{"day":"2026-03-01", "currency":"EUR", "orders":1, "units":3, "gross":51.88, "cancelled":0, "cancelledGross":0, "net":51.88,
			"paid":51.88, "refunded":1.88, "received":50}`,
		`{"day":"2026-02-28", "currency":"EUR", "orders":1, "units":3, "gross":51.88, "cancelled":1, "cancelledGross":51.88, "net":0,
			"paid":0, "refunded":0, "received":0}`
	wantJSON(t, h, queries.SalesByDay, queries.DailySalesParams{From: "2026-02-28", Currency: "EUR"}, `{"items":[`+first+`,`+last+`]}`)
	wantJSON(t, h, queries.SalesByDay, queries.DailySalesParams{From: "2026-02-28", To: "2026-03-01"}, `{"items":[`+last+`]}`)
	wantJSON(t, h, queries.SalesByDay, queries.DailySalesParams{Currency: "JPY"}, `{"items":[]}`)
}

func TestFinancialReportAddsMonthsUp(t *testing.T) {
	t.Parallel()
	h := sold(t)
	const february = `{"month":"2026-02", "days":2, "currency":"EUR", "orders":2, "units":6, "gross":103.76, "cancelled":1, "cancelledGross":51.88,
		"net":51.88, "paid":0, "refunded":0, "received":0}`
	wantJSON(t, h, queries.FinancialReport, queries.MonthlyReportParams{To: "2026-03"}, `{"items":[`+february+`]}`)
	wantJSON(t, h, queries.FinancialReport, queries.MonthlyReportParams{From: "2026-02", To: "2026-03", Currency: "EUR"}, `{"items":[`+february+`]}`)
	report, err := ask(t, h, queries.FinancialReport, queries.MonthlyReportParams{From: "2026-03"})
	if err != nil || len(report.Items) != 2 || report.Items[0].Received.String() != "50" || report.Items[1].Currency != "USD" {
		t.Errorf("March is %+v (%v)", report.Items, err)
	}
}

func TestSalesGoOnFromPageToPage(t *testing.T) {
	t.Parallel()
	h := sold(t)
	for limit := 1; limit < 6; limit++ {
		var days, months []string
		for p := (queries.DailySalesParams{Limit: limit}); ; {
			page, err := ask(t, h, queries.SalesByDay, p)
			if err != nil || len(page.Items) > limit || len(days) > 4 {
				t.Fatalf("limit %d after %v: %+v (%v)", limit, days, page, err)
			}
			for _, d := range page.Items {
				days = append(days, d.Day+d.Currency)
			}
			if p.Cursor = page.NextCursor; p.Cursor == "" {
				break
			}
		}
		for p := (queries.MonthlyReportParams{Limit: limit}); ; {
			page, err := ask(t, h, queries.FinancialReport, p)
			if err != nil || len(page.Items) > limit || len(months) > 3 {
				t.Fatalf("limit %d after %v: %+v (%v)", limit, months, page, err)
			}
			for _, m := range page.Items {
				months = append(months, fmt.Sprint(m.Month, m.Currency, m.Days))
			}
			if p.Cursor = page.NextCursor; p.Cursor == "" {
				break
			}
		}
		if want := []string{"2026-03-01EUR", "2026-03-01USD", "2026-02-28EUR", "2026-02-27EUR"}; !slices.Equal(days, want) {
			t.Errorf("limit %d: days %v, want %v", limit, days, want)
		}
		if want := []string{"2026-03EUR1", "2026-03USD1", "2026-02EUR2"}; !slices.Equal(months, want) {
			t.Errorf("limit %d: months %v, want %v", limit, months, want)
		}
	}
}

func TestSalesRefuseWhatIsNoDay(t *testing.T) {
	t.Parallel()
	h := sold(t)
	day := queries.DaySales{Day: "2026-02-28", Figures: queries.Figures{Currency: "EUR"}}.Cursor()
	for pointer, p := range map[string]queries.DailySalesParams{
		"/from":     {From: "2026-02-30"},
		"/to":       {To: "2026-02"},
		"/currency": {Currency: "euro"},
		"/limit":    {Limit: 201},
		"/cursor":   {Cursor: "x"},
	} {
		_, err := ask(t, h, queries.SalesByDay, p)
		if invalid := (&es.InvalidError{}); !errors.As(err, &invalid) || invalid.Pointer != pointer {
			t.Errorf("%+v: got %v, want %s to be blamed", p, err, pointer)
		}
	}
	for pointer, p := range map[string]queries.MonthlyReportParams{"/from": {From: start.Format(time.DateOnly)}, "/cursor": {Cursor: day}} {
		_, err := ask(t, h, queries.FinancialReport, p)
		if invalid := (&es.InvalidError{}); !errors.As(err, &invalid) || invalid.Pointer != pointer {
			t.Errorf("%+v: got %v, want %s to be blamed", p, err, pointer)
		}
	}
}
