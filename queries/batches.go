package queries

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/millstream-es/millstream/es"
)

// Batches answer for many things at once what a query answers for one: a door that shows lists within lists asks one
// question a list, however long it is. They have no route of their own, and are not in All.
var Batches = []es.QueryDef{
	OrdersByID, CustomersByID, PaymentsOfOrders, OrdersOfCustomers, PaymentsOfCustomers, TransactionsOfAccounts, Histories,
}

// Page is one thing's part of what was asked for many.
type Page[T any] struct {
	Items      []T
	NextCursor string // empty: this was the last page
}

// ByIDParams names many things.
type ByIDParams struct{ IDs []string }

// OfCustomersParams narrows the lists of many customers' payments: a page of each, behind the same cursor.
type OfCustomersParams struct {
	CustomerIDs []string
	Cursor      string
	Limit       int
}

// OrdersOfCustomersParams narrows the lists of many customers' orders: a page of each. OrderListParams.CustomerID
// stays empty.
type OrdersOfCustomersParams struct {
	CustomerIDs []string
	OrderListParams
}

// OfAccountsParams is a place in the movements of many accounts.
type OfAccountsParams struct {
	AccountIDs []string
	Cursor     string
	Limit      int
}

// HistoriesParams names aggregates of one category and a place in the history of each.
type HistoriesParams struct {
	Category string
	IDs      []string
	Cursor   string
	Limit    int
}

// OrdersByID is OrderByID for many. Those that do not exist are missing.
var OrdersByID = es.Query[ByIDParams, []Order]{
	Name:      "ordersById",
	Summary:   "Orders with their lines",
	Projector: "orders",
	Ask: func(ctx context.Context, db es.Reader, p ByIDParams) ([]Order, error) {
		return readAll(ctx, db, scanOrder, selectOrders+` WHERE o.order_id IN (SELECT value FROM json_each(?))`, list(p.IDs))
	},
}

// CustomersByID is CustomerByID for many. Those that do not exist are missing.
var CustomersByID = es.Query[ByIDParams, []Customer]{
	Name:      "customersById",
	Summary:   "Customers with order statistics",
	Projector: "customers",
	Ask: func(ctx context.Context, db es.Reader, p ByIDParams) ([]Customer, error) {
		return readAll(ctx, db, scanCustomer, selectCustomers+` WHERE c.customer_id IN (SELECT value FROM json_each(?))`, list(p.IDs))
	},
}

// PaymentsOfOrders is all payments of each order, oldest first.
var PaymentsOfOrders = es.Query[ByIDParams, map[string][]Payment]{
	Name:      "paymentsOfOrders",
	Summary:   "The payments of each order",
	Projector: "payments",
	Ask: func(ctx context.Context, db es.Reader, p ByIDParams) (map[string][]Payment, error) {
		found, err := readAll(ctx, db, scanPayment, selectPayments+` WHERE order_id IN (SELECT value FROM json_each(?))
			ORDER BY created_at, payment_id`, list(p.IDs))
		return apart(found, func(p Payment) string { return p.OrderID }), err
	},
}

// OrdersOfCustomers is CustomerOrders for many customers.
var OrdersOfCustomers = es.Query[OrdersOfCustomersParams, map[string]Page[Order]]{
	Name:      "ordersOfCustomers",
	Summary:   "A page of each customer's orders, newest first",
	Projector: "orders",
	Ask: func(ctx context.Context, db es.Reader, p OrdersOfCustomersParams) (map[string]Page[Order], error) {
		limit, err := pageSize(p.Limit)
		if err != nil {
			return nil, err
		}
		where, args, err := orderFilter(p.OrderListParams)
		if err != nil {
			return nil, err
		}
		if where == "" {
			where = ` WHERE true`
		}
		found, err := readAll(ctx, db, scanOrder, selectOrders+` WHERE o.order_id IN (
				SELECT mine.order_id FROM json_each(?) k CROSS JOIN orders mine ON mine.order_id IN (
					SELECT o.order_id FROM orders o`+where+` AND o.customer_id = k.value
					ORDER BY o.order_date DESC, o.order_id DESC LIMIT ?))
			ORDER BY o.order_date DESC, o.order_id DESC`, append(append([]any{list(p.CustomerIDs)}, args...), limit+1)...)
		return pages(apart(found, func(o Order) string { return o.CustomerID }), limit, Order.Cursor), err
	},
}

// PaymentsOfCustomers is CustomerPayments for many customers.
var PaymentsOfCustomers = es.Query[OfCustomersParams, map[string]Page[Payment]]{
	Name:      "paymentsOfCustomers",
	Summary:   "A page of each customer's payments, newest first",
	Projector: "payments",
	Ask: func(ctx context.Context, db es.Reader, p OfCustomersParams) (map[string]Page[Payment], error) {
		limit, err := pageSize(p.Limit)
		if err != nil {
			return nil, err
		}
		before, err := newestFirst(p.Cursor, paymentCursor, 1)
		if err != nil {
			return nil, err
		}
		found, err := readAll(ctx, db, scanPayment, selectPayments+` WHERE payment_id IN (
				SELECT mine.payment_id FROM json_each(?) k CROSS JOIN payments mine ON mine.payment_id IN (
					SELECT payment_id FROM payments WHERE customer_id = k.value AND (created_at, payment_id) < (?, ?)
					ORDER BY created_at DESC, payment_id DESC LIMIT ?))
			ORDER BY created_at DESC, payment_id DESC`, list(p.CustomerIDs), before[0], before[1], limit+1)
		return pages(apart(found, func(p Payment) string { return p.CustomerID }), limit, Payment.Cursor), err
	},
}

// TransactionsOfAccounts is AccountTransactions for many accounts.
var TransactionsOfAccounts = es.Query[OfAccountsParams, map[string]Page[Transaction]]{
	Name:      "transactionsOfAccounts",
	Summary:   "A page of each account's movements, newest first",
	Projector: "accounts",
	Ask: func(ctx context.Context, db es.Reader, p OfAccountsParams) (map[string]Page[Transaction], error) {
		limit, err := pageSize(p.Limit)
		if err != nil {
			return nil, err
		}
		upTo, err := readTransactionCursor(p.Cursor)
		if err != nil {
			return nil, err
		}
		found, err := readAll(ctx, db, scanOwned(scanTransaction), `SELECT t.account_id, a.currency, t.type, t.amount, t.balance, t.reference,
				t.transfer_id, t.counterparty, t.time, t.version, t.revision
			FROM json_each(?) k CROSS JOIN transactions t ON t.account_id = k.value AND t.version IN (
				SELECT version FROM transactions WHERE account_id = k.value AND version < ? ORDER BY version DESC LIMIT ?)
			JOIN accounts a ON a.account_id = t.account_id
			ORDER BY t.version DESC`, list(p.AccountIDs), upTo, limit+1)
		return pages(things(found), limit, Transaction.Cursor), err
	},
}

// Histories is the history of many aggregates of one category.
var Histories = es.Query[HistoriesParams, map[string]Page[Entry]]{
	Name:      "histories",
	Summary:   "A page of each aggregate's history, oldest first",
	Projector: "audit",
	Ask: func(ctx context.Context, db es.Reader, p HistoriesParams) (map[string]Page[Entry], error) {
		limit, err := pageSize(p.Limit)
		if err != nil {
			return nil, err
		}
		after, err := readHistoryCursor(p.Cursor, p.Category)
		if err != nil {
			return nil, err
		}
		found, err := readAll(ctx, db, scanOwned(scanEntry), `SELECT e.id, e.version, e.revision, e.event_id, e.type, e.time, e.user, e.command_id,
				e.correlation, e.causation, e.data
			FROM json_each(?) k CROSS JOIN audit e ON e.category = ? AND e.id = k.value AND e.version IN (
				SELECT version FROM audit WHERE category = ? AND id = k.value AND version > ? ORDER BY version LIMIT ?)
			ORDER BY e.version`, list(p.IDs), p.Category, p.Category, after, limit+1)
		return pages(things(found), limit, func(e Entry) string { return e.Cursor(p.Category) }), err
	},
}

// list writes ids as the one parameter that json_each takes apart again.
func list(ids []string) string {
	text, err := json.Marshal(ids)
	if err != nil {
		panic(fmt.Errorf("a list of strings has no JSON: %w", err))
	}
	return string(text)
}

// apart sorts things by whom they belong to; each one's keep their order.
func apart[T any](found []T, owner func(T) string) map[string][]T {
	by := map[string][]T{}
	for _, item := range found {
		by[owner(item)] = append(by[owner(item)], item)
	}
	return by
}

// pages cuts each one's things to a page.
func pages[T any](by map[string][]T, limit int, cursor func(T) string) map[string]Page[T] {
	cut := make(map[string]Page[T], len(by))
	for owner, all := range by {
		items, next := page(all, limit, cursor)
		cut[owner] = Page[T]{items, next}
	}
	return cut
}

// owned is a thing that does not say itself whose it is.
type owned[T any] struct {
	owner string
	thing T
}

// scanOwned scans a thing behind the column that says whose it is.
func scanOwned[T any](scan func(scanner) (T, error)) func(scanner) (owned[T], error) {
	return func(row scanner) (o owned[T], err error) {
		o.thing, err = scan(before{row, []any{&o.owner}})
		return o, err
	}
}

func things[T any](found []owned[T]) map[string][]T {
	by := map[string][]T{}
	for _, o := range found {
		by[o.owner] = append(by[o.owner], o.thing)
	}
	return by
}
