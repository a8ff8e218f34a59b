package queries

import (
	"context"
	"regexp"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/money"
)

// Figures are what was sold and what money came in, in one currency.
type Figures struct {
	Currency       string        `json:"currency"`
	Orders         int64         `json:"orders"`         // placed, cancelled ones included
	Units          int64         `json:"units"`          // ordered, in cancelled orders too
	Gross          money.Decimal `json:"gross"`          // of all orders, with tax
	Cancelled      int64         `json:"cancelled"`      // orders
	CancelledGross money.Decimal `json:"cancelledGross"` // part of gross
	Net            money.Decimal `json:"net"`            // gross without cancelled orders
	Paid           money.Decimal `json:"paid"`
	Refunded       money.Decimal `json:"refunded"`
	Received       money.Decimal `json:"received"` // paid minus refunded
}

// DaySales is one day (UTC) in one currency. An order counts on its own date, also when it is cancelled later; money on
// the day when it moved.
type DaySales struct {
	Day string `json:"day"` // 2026-01-31
	Figures
}

// DailySales is a page of days, newest first.
type DailySales struct {
	Items      []DaySales `json:"items"`
	NextCursor string     `json:"nextCursor,omitempty"` // absent: this was the last page
}

// DailySalesParams narrows the days.
type DailySalesParams struct {
	From     string `json:"from,omitempty" jsonschema:"format=date,description=First day"`
	To       string `json:"to,omitempty" jsonschema:"format=date,description=The day after the last"`
	Currency string `json:"currency,omitempty" jsonschema:"pattern=^[A-Z]{3}$"`
	Cursor   string `json:"cursor,omitempty"`
	Limit    int    `json:"limit,omitempty" jsonschema:"minimum=1,maximum=200,default=50"`
}

// MonthReport is one month (UTC) in one currency.
type MonthReport struct {
	Month string `json:"month"` // 2026-01
	Days  int64  `json:"days"`  // on which anything was sold, paid or refunded
	Figures
}

// MonthlyReport is a page of months, newest first.
type MonthlyReport struct {
	Items      []MonthReport `json:"items"`
	NextCursor string        `json:"nextCursor,omitempty"` // absent: this was the last page
}

// MonthlyReportParams narrows the months.
type MonthlyReportParams struct {
	From     string `json:"from,omitempty" jsonschema:"pattern=^[0-9]{4}-[0-9]{2}$,description=First month\\, as 2026-01"`
	To       string `json:"to,omitempty" jsonschema:"pattern=^[0-9]{4}-[0-9]{2}$,description=The month after the last"`
	Currency string `json:"currency,omitempty" jsonschema:"pattern=^[A-Z]{3}$"`
	Cursor   string `json:"cursor,omitempty"`
	Limit    int    `json:"limit,omitempty" jsonschema:"minimum=1,maximum=200,default=50"`
}

// SalesByDay is what was sold each day, newest first.
var SalesByDay = es.Query[DailySalesParams, DailySales]{
	Name:      "dailySales",
	Path:      "/sales/daily",
	Summary:   "What was sold, cancelled, paid and refunded each day, per currency, newest first",
	Projector: "sales",
	Ask: func(ctx context.Context, db es.Reader, p DailySalesParams) (DailySales, error) {
		items, next, err := listSales(ctx, db, period{time.DateOnly, "a day like 2026-01-31", "daySales"}, salesFilter(p), scanDay, DaySales.Cursor)
		return DailySales{Items: items, NextCursor: next}, err
	},
}

// FinancialReport is each month's figures, newest first.
var FinancialReport = es.Query[MonthlyReportParams, MonthlyReport]{
	Name:      "financialReport",
	Path:      "/reports/financial",
	Summary:   "Each month's sales and money received, per currency, newest first",
	Projector: "sales",
	Ask: func(ctx context.Context, db es.Reader, p MonthlyReportParams) (MonthlyReport, error) {
		items, next, err := listSales(ctx, db, period{"2006-01", "a month like 2026-01", "monthReport"}, salesFilter(p), scanMonth, MonthReport.Cursor)
		return MonthlyReport{Items: items, NextCursor: next}, err
	},
}

// Cursor names the day's place in the list.
func (d DaySales) Cursor() string { return makeCursor("daySales", d.Day, d.Currency) }

// Cursor names the month's place in the list.
func (m MonthReport) Cursor() string { return makeCursor("monthReport", m.Month, m.Currency) }

// period is what the figures are added up by.
type period struct {
	layout string // of time.Parse; its length is that of the part of a day that names the period
	like   string // for people
	cursor string
}

type salesFilter struct {
	From, To, Currency string
	Cursor             string
	Limit              int
}

var currencyCode = regexp.MustCompile(`^[A-Z]{3}$`)

// listSales adds the days' figures up by period. Days sort as text, and a period's name sorts before its days.
func listSales[T any](ctx context.Context, db es.Reader, by period, f salesFilter, scan func(scanner) (T, error), cursor func(T) string) ([]T, string, error) {
	limit, err := pageSize(f.Limit)
	if err != nil {
		return nil, "", err
	}
	for _, bound := range []struct{ name, text string }{{"from", f.From}, {"to", f.To}} {
		if _, err := time.Parse(by.layout, bound.text); bound.text != "" && err != nil {
			return nil, "", &es.InvalidError{Code: "schema", Message: bound.name + " must be " + by.like, Pointer: "/" + bound.name}
		}
	}
	if f.Currency != "" && !currencyCode.MatchString(f.Currency) {
		return nil, "", &es.InvalidError{Code: "schema", Message: "currency must be three capital letters, like EUR", Pointer: "/currency"}
	}
	after, err := readCursor(f.Cursor, by.cursor, 2)
	if err != nil {
		return nil, "", err
	}
	last := []string{"A", ""} // sorts after every day
	if after != nil {
		if _, err := time.Parse(by.layout, after[0]); err != nil || !currencyCode.MatchString(after[1]) {
			return nil, "", badCursor()
		}
		last = after
	}
	to := f.To
	if to == "" {
		to = "A"
	}
	found, err := readAll(ctx, db, scan, `SELECT substr(day, 1, ?) AS period, currency, count(*), sum(orders), sum(units), sum(gross),
			sum(cancelled), sum(cancelled_gross), sum(paid), sum(refunded)
		FROM daily_sales
		WHERE day >= ? AND day < ? AND (? = '' OR currency = ?)
		GROUP BY period, currency
		HAVING period < ? OR period = ? AND currency > ?
		ORDER BY period DESC, currency LIMIT ?`,
		len(by.layout), f.From, to, f.Currency, f.Currency, last[0], last[0], last[1], limit+1)
	if err != nil {
		return nil, "", err
	}
	items, next := page(found, limit, cursor)
	return items, next, nil
}

func scanDay(row scanner) (DaySales, error) {
	name, _, figures, err := scanFigures(row)
	return DaySales{Day: name, Figures: figures}, err
}

func scanMonth(row scanner) (MonthReport, error) {
	name, days, figures, err := scanFigures(row)
	return MonthReport{Month: name, Days: days, Figures: figures}, err
}

func scanFigures(row scanner) (name string, days int64, f Figures, err error) {
	var gross, cancelled, paid, refunded int64
	if err := row.Scan(&name, &f.Currency, &days, &f.Orders, &f.Units, &gross, &f.Cancelled, &cancelled, &paid, &refunded); err != nil {
		return "", 0, Figures{}, err
	}
	for to, units := range map[*money.Decimal]int64{&f.Gross: gross, &f.CancelledGross: cancelled, &f.Net: gross - cancelled,
		&f.Paid: paid, &f.Refunded: refunded, &f.Received: paid - refunded} {
		if *to, err = amount(units, f.Currency); err != nil {
			return "", 0, Figures{}, err
		}
	}
	return name, days, f, nil
}
