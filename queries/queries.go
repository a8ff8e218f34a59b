// Package queries holds the questions that may be asked of the read models, with the types of their answers: the
// only shapes, beside commands and events, that the outside sees. A question is one SQL statement, so that its
// answer shows one moment of the model.
package queries

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/money"
)

// All lists every query of the domain.
var All = []es.QueryDef{
	OrderByID, OrderList, CustomerOrders, OrderSearch,
	CustomerByID, CustomerList, CustomerOverviewByID, CustomerPayments,
	StockByProduct, StockList, InventoryStatus,
	PaymentByID,
	AccountByID, AccountList, AccountTransactions, TransferByID,
	MailList,
	SalesByDay, FinancialReport,
	OrderHistory, CustomerHistory, StockHistory, PaymentHistory, AccountHistory, TransferHistory, MailHistory,
}

// ListParams is a place in a list.
type ListParams struct {
	Cursor string `json:"cursor,omitempty"`
	Limit  int    `json:"limit,omitempty" jsonschema:"minimum=1,maximum=200,default=50"`
}

const (
	defaultLimit = 50
	maxLimit     = 200
)

// pageSize returns how many items are wanted; 0 is the default.
func pageSize(limit int) (int, error) {
	switch {
	case limit == 0:
		return defaultLimit, nil
	case limit < 0 || limit > maxLimit:
		return 0, &es.InvalidError{Code: "schema", Message: fmt.Sprintf("limit must be 1 to %d, found %d", maxLimit, limit), Pointer: "/limit"}
	}
	return limit, nil
}

// page cuts the one item too many that was asked for to learn whether there is more, and makes the cursor that
// goes on after the last one kept.
func page[T any](found []T, limit int, cursor func(T) string) ([]T, string) {
	if len(found) <= limit {
		return found, ""
	}
	found = found[:limit]
	return found, cursor(found[limit-1])
}

// makeCursor names a position in a list. kind keeps one list's cursor from being used in another.
func makeCursor(kind string, key ...string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(kind + "|" + strings.Join(key, "|")))
}

// readCursor returns the n keys of a cursor; nil for "", the beginning.
func readCursor(text, kind string, n int) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	plain, err := base64.RawURLEncoding.DecodeString(text)
	parts := strings.Split(string(plain), "|")
	if err != nil || len(parts) != n+1 || parts[0] != kind {
		return nil, badCursor()
	}
	return parts[1:], nil
}

// newestFirst returns where a list that runs back in time goes on: before the time and the ids of a cursor, or before
// anything there can be.
func newestFirst(text, kind string, ids int) ([]string, error) {
	after, err := readCursor(text, kind, 1+ids)
	if err != nil {
		return nil, err
	}
	if after == nil {
		after = make([]string, 1+ids)
		after[0] = "A" // sorts after every digit, so after every time
		return after, nil
	}
	if _, err := time.Parse(timeLayout, after[0]); err != nil {
		return nil, badCursor()
	}
	for _, id := range after[1:] {
		if !es.ValidID(id) {
			return nil, badCursor()
		}
	}
	return after, nil
}

func badCursor() error {
	return &es.InvalidError{Code: "malformed", Message: "not a cursor of this list: use the nextCursor of its last page, as it is", Pointer: "/cursor"}
}

// checkID refuses what cannot be an id, blaming a parameter.
func checkID(id, parameter string) error {
	if es.ValidID(id) {
		return nil
	}
	return &es.InvalidError{Code: "bad_id", Message: "an id must match [A-Za-z0-9_-]{1,64}", Pointer: "/" + parameter}
}

// The read models write times like this: UTC, of fixed width, so that text sorts as time does.
const timeLayout = "2006-01-02T15:04:05.000000000Z"

func readTime(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, text)
	return t, es.Permanent(err)
}

// amount returns minor units as the currency's decimal.
func amount(units int64, currency string) (money.Decimal, error) {
	digits, ok := money.Digits(currency)
	if !ok {
		return money.Decimal{}, es.Permanent(fmt.Errorf("the read model holds the unknown currency %q", currency))
	}
	return money.FromMinor(units, digits), nil
}

// scanner is a row of *sql.Rows or *sql.Row.
type scanner interface{ Scan(targets ...any) error }

// readAll runs a statement and reads every row of it.
func readAll[T any](ctx context.Context, db es.Reader, scan func(scanner) (T, error), statement string, args ...any) ([]T, error) {
	rows, err := db.QueryContext(ctx, statement, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := []T{}
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, err
		}
		found = append(found, item)
	}
	return found, rows.Err()
}

// listByID asks for a page of a list in the order of its ids. The statement's parameters are the id to go on
// after ("" for the beginning) and how many.
func listByID[T any](ctx context.Context, db es.Reader, p ListParams, kind, statement string, scan func(scanner) (T, error), cursor func(T) string) ([]T, string, error) {
	limit, err := pageSize(p.Limit)
	if err != nil {
		return nil, "", err
	}
	after, err := readCursor(p.Cursor, kind, 1)
	if err != nil {
		return nil, "", err
	}
	last := ""
	if after != nil {
		if last = after[0]; !es.ValidID(last) {
			return nil, "", badCursor()
		}
	}
	found, err := readAll(ctx, db, scan, statement, last, limit+1)
	if err != nil {
		return nil, "", err
	}
	items, next := page(found, limit, cursor)
	return items, next, nil
}
