package queries_test

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
	"github.com/millstream-es/millstream/queries"
)

// crowd is three customers with orders and payments; of the fourth, c-4, there is nothing.
func crowd(t *testing.T) house {
	t.Helper()
	var facts []any
	for i := range 9 {
		id, customer := fmt.Sprintf("o-%d", i), fmt.Sprintf("c-%d", 1+i%3)
		facts = append(facts, "order/"+id, order(id, customer, "USD", start.AddDate(0, 0, i/2)))
		for n := range 1 + i%2 {
			facts = append(facts, fmt.Sprintf("payment/%s-%d", id, n+1),
				events.PaymentRequested{OrderID: id, CustomerID: customer, Amount: money.FromInt(1), Currency: "USD", Method: "paypal", Token: "tok"})
		}
		if i%4 == 0 {
			facts = append(facts, "order/"+id, events.OrderPaid{})
		}
	}
	return build(t, append(facts, ledger...)...)
}

var crowdIDs = []string{"c-4", "c-1", "c-3", "c-2"}

// A batch answers for each what the query answers for one, on every page.
func TestBatchesAnswerAsTheQueryDoes(t *testing.T) {
	t.Parallel()
	h := crowd(t)
	accounts := []string{"none", "a-3", "a-1", "a-2"}
	for limit := 1; limit <= 4; limit++ {
		for _, status := range []string{"", "PAID", "CREATED"} {
			alike(t, fmt.Sprintf("%s orders, limit %d", status, limit), crowdIDs, func(cursor string) (map[string]queries.Page[queries.Order], error) {
				return ask(t, h, queries.OrdersOfCustomers, queries.OrdersOfCustomersParams{CustomerIDs: crowdIDs,
					OrderListParams: queries.OrderListParams{Status: status, From: start, Cursor: cursor, Limit: limit}})
			}, func(id, cursor string) ([]queries.Order, string, error) {
				one, err := ask(t, h, queries.CustomerOrders, queries.CustomerOrdersParams{CustomerID: id, Status: status, From: start, Cursor: cursor, Limit: limit})
				return one.Items, one.NextCursor, err
			})
		}
		alike(t, fmt.Sprintf("payments, limit %d", limit), crowdIDs, func(cursor string) (map[string]queries.Page[queries.Payment], error) {
			return ask(t, h, queries.PaymentsOfCustomers, queries.OfCustomersParams{CustomerIDs: crowdIDs, Cursor: cursor, Limit: limit})
		}, func(id, cursor string) ([]queries.Payment, string, error) {
			one, err := ask(t, h, queries.CustomerPayments, queries.CustomerPaymentsParams{CustomerID: id, Cursor: cursor, Limit: limit})
			return one.Items, one.NextCursor, err
		})
		alike(t, fmt.Sprintf("transactions, limit %d", limit), accounts[1:], func(cursor string) (map[string]queries.Page[queries.Transaction], error) {
			return ask(t, h, queries.TransactionsOfAccounts, queries.OfAccountsParams{AccountIDs: accounts, Cursor: cursor, Limit: limit})
		}, func(id, cursor string) ([]queries.Transaction, string, error) {
			one, err := ask(t, h, queries.AccountTransactions, queries.AccountTransactionsParams{AccountID: id, Cursor: cursor, Limit: limit})
			return one.Items, one.NextCursor, err
		})
		alike(t, fmt.Sprintf("histories, limit %d", limit), accounts[1:], func(cursor string) (map[string]queries.Page[queries.Entry], error) {
			return ask(t, h, queries.Histories, queries.HistoriesParams{Category: "account", IDs: accounts, Cursor: cursor, Limit: limit})
		}, func(id, cursor string) ([]queries.Entry, string, error) {
			one, err := ask(t, h, queries.AccountHistory, queries.HistoryParams{ID: id, Cursor: cursor, Limit: limit})
			return one.Items, one.NextCursor, err
		})
	}
}

// alike compares a batch with the query, from the beginning and behind every cursor that any of the pages ends with.
func alike[T any](t *testing.T, what string, ids []string, batch func(cursor string) (map[string]queries.Page[T], error), one func(id, cursor string) ([]T, string, error)) {
	t.Helper()
	cursors, seen := []string{""}, map[string]bool{}
	for done := 0; done < len(cursors); done++ {
		got, err := batch(cursors[done])
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for _, id := range ids {
			items, next, err := one(id, cursors[done])
			if err != nil {
				t.Fatalf("%s of %s: %v", what, id, err)
			}
			if next != "" && !seen[next] {
				seen[next] = true
				cursors = append(cursors, next)
			}
			page, found := got[id]
			if !found && len(items) == 0 {
				continue
			}
			if diff := cmp.Diff(queries.Page[T]{Items: items, NextCursor: next}, page); diff != "" {
				t.Errorf("%s of %s behind %q (-one +batch):\n%s", what, id, cursors[done], diff)
			}
		}
		if len(got) > len(ids) {
			t.Errorf("%s: %d answers for %d ids", what, len(got), len(ids))
		}
	}
}

func TestThingsByID(t *testing.T) {
	t.Parallel()
	h := crowd(t)
	orders, err := ask(t, h, queries.OrdersByID, queries.ByIDParams{IDs: []string{"o-3", "none", "o-1"}})
	if err != nil || len(orders) != 2 {
		t.Fatalf("%+v, %v", orders, err)
	}
	for _, o := range orders {
		one, err := ask(t, h, queries.OrderByID, queries.OrderByIDParams{OrderID: o.OrderID})
		if diff := cmp.Diff(one, o); err != nil || diff != "" {
			t.Error(err, diff)
		}
	}
	customers, err := ask(t, h, queries.CustomersByID, queries.ByIDParams{IDs: append([]string{`x' OR 1=1 --`, `"`}, crowdIDs...)})
	if err != nil || len(customers) != 3 {
		t.Fatalf("%+v, %v", customers, err)
	}
	payments, err := ask(t, h, queries.PaymentsOfOrders, queries.ByIDParams{IDs: []string{"o-0", "o-1", "none"}})
	if err != nil || len(payments) != 2 || len(payments["o-0"]) != 1 || len(payments["o-1"]) != 2 || payments["o-1"][0].PaymentID != "o-1-1" {
		t.Errorf("%+v, %v", payments, err)
	}
	for _, q := range queries.Batches {
		if _, known := h[q.ProjectorName()]; !known || q.QueryPath() != "" {
			t.Errorf("batch %s must ask a listed projector and have no path", q.QueryName())
		}
	}
}

// Batches run along the indexes: none scans a table.
func TestBatchesScanNoTable(t *testing.T) {
	t.Parallel()
	h := crowd(t)
	for _, c := range []struct {
		query  es.QueryDef
		params any
	}{
		{queries.OrdersByID, queries.ByIDParams{}},
		{queries.CustomersByID, queries.ByIDParams{}},
		{queries.PaymentsOfOrders, queries.ByIDParams{}},
		{queries.OrdersOfCustomers, queries.OrdersOfCustomersParams{}},
		{queries.PaymentsOfCustomers, queries.OfCustomersParams{}},
		{queries.TransactionsOfAccounts, queries.OfAccountsParams{}},
		{queries.Histories, queries.HistoriesParams{Category: "order"}},
	} {
		db := explained{h[c.query.ProjectorName()].DB(), t, c.query.QueryName()}
		if _, err := c.query.AskAny(t.Context(), db, c.params); err != nil {
			t.Fatal(err)
		}
	}
}

// explained fails the test at a statement that SQLite would scan a table for. The lists of ids are scanned.
type explained struct {
	es.Reader
	t    *testing.T
	name string
}

var scan = regexp.MustCompile(`^SCAN (\w+)`)

func (e explained) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	rows, err := e.Reader.QueryContext(ctx, `EXPLAIN QUERY PLAN `+query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	steps := 0
	for ; rows.Next(); steps++ {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			return nil, err
		}
		if m := scan.FindStringSubmatch(detail); m != nil && m[1] != "k" && m[1] != "json_each" {
			e.t.Errorf("%s: %s", e.name, detail)
		}
	}
	if steps == 0 {
		e.t.Errorf("%s has no plan", e.name)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return e.Reader.QueryContext(ctx, query, args...)
}
