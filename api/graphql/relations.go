package graphql

import (
	"context"
	"time"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
	"github.com/millstream-es/millstream/queries"
)

// The fields that lead from one thing to others. Each asks for all siblings at once.
type (
	orderFields      struct{ *Door }
	foundOrderFields struct{ *Door }
	customerFields   struct{ *Door }
	paymentFields    struct{ *Door }
	mailFields       struct{ *Door }
	stockLevelFields struct{ *Door }
	accountFields    struct{ *Door }
	transferFields   struct{ *Door }
)

func (f orderFields) Customer(ctx context.Context, o *Order) (*Customer, error) {
	return customerOf(ctx, f.Door, o, o.among, func(o *Order) string { return o.CustomerID })
}

func (f orderFields) Payments(ctx context.Context, o *Order) ([]*Payment, error) {
	found, err := once(o.among, "payments", func() (map[string][]*Payment, error) {
		found, err := ask(ctx, f.Door, queries.PaymentByID, queries.PaymentsOfOrders, queries.ByIDParams{IDs: o.among.ids(orderID)}, o.among.least)
		return gather(o.among.least, found, newPayment), err
	})
	return found[o.OrderID], err
}

func (f orderFields) History(ctx context.Context, o *Order, first int, after *string) (EventConnection, error) {
	return historyFor(ctx, f.Door, "order", o, o.among, orderID, first, after)
}

func (f orderFields) AsOf(ctx context.Context, o *Order, revision *es.Revision, at *time.Time) (*runtime.StateAt, error) {
	return f.state(ctx, commands.Orders.Stream(o.OrderID), revision, at)
}

func (f foundOrderFields) Order(ctx context.Context, o *FoundOrder) (*Order, error) {
	return orderOf(ctx, f.Door, o, o.among, func(o *FoundOrder) string { return o.OrderID })
}

func (f customerFields) Orders(ctx context.Context, c *Customer, status *string, from, to *time.Time, first int, after *string) (OrderConnection, error) {
	narrowed := queries.OrderListParams{Status: value(status), From: value(from), To: value(to), Cursor: value(after), Limit: first}
	return connectionOf(ctx, f.Door, c, c.among, customerID, placed{"orders", narrowed}, queries.CustomerOrders, queries.OrdersOfCustomers,
		queries.OrdersOfCustomersParams{CustomerIDs: c.among.ids(customerID), OrderListParams: narrowed}, first, after, newOrder, (*Order).Cursor)
}

func (f customerFields) Payments(ctx context.Context, c *Customer, first int, after *string) (PaymentConnection, error) {
	return connectionOf(ctx, f.Door, c, c.among, customerID, pageOf("payments", first, after), queries.CustomerPayments, queries.PaymentsOfCustomers,
		queries.OfCustomersParams{CustomerIDs: c.among.ids(customerID), Cursor: value(after), Limit: first}, first, after, newPayment, (*Payment).Cursor)
}

func (f customerFields) History(ctx context.Context, c *Customer, first int, after *string) (EventConnection, error) {
	return historyFor(ctx, f.Door, "customer", c, c.among, customerID, first, after)
}

func (f customerFields) AsOf(ctx context.Context, c *Customer, revision *es.Revision, at *time.Time) (*runtime.StateAt, error) {
	return f.state(ctx, commands.Customers.Stream(c.CustomerID), revision, at)
}

func (f paymentFields) Order(ctx context.Context, p *Payment) (*Order, error) {
	return orderOf(ctx, f.Door, p, p.among, func(p *Payment) string { return p.OrderID })
}

func (f paymentFields) Customer(ctx context.Context, p *Payment) (*Customer, error) {
	return customerOf(ctx, f.Door, p, p.among, func(p *Payment) string { return p.CustomerID })
}

func (f paymentFields) History(ctx context.Context, p *Payment, first int, after *string) (EventConnection, error) {
	return historyFor(ctx, f.Door, "payment", p, p.among, func(p *Payment) string { return p.PaymentID }, first, after)
}

func (f paymentFields) AsOf(ctx context.Context, p *Payment, revision *es.Revision, at *time.Time) (*runtime.StateAt, error) {
	return f.state(ctx, commands.Payments.Stream(p.PaymentID), revision, at)
}

func (f mailFields) Order(ctx context.Context, m *Mail) (*Order, error) {
	return orderOf(ctx, f.Door, m, m.among, func(m *Mail) string { return m.OrderID })
}

func (f mailFields) History(ctx context.Context, m *Mail, first int, after *string) (EventConnection, error) {
	return historyFor(ctx, f.Door, "mail", m, m.among, func(m *Mail) string { return m.OrderID }, first, after)
}

func (f stockLevelFields) History(ctx context.Context, s *StockLevel, first int, after *string) (EventConnection, error) {
	return historyFor(ctx, f.Door, "stock", s, s.among, func(s *StockLevel) string { return s.ProductID }, first, after)
}

func (f stockLevelFields) AsOf(ctx context.Context, s *StockLevel, revision *es.Revision, at *time.Time) (*runtime.StateAt, error) {
	return f.state(ctx, commands.Stocks.Stream(s.ProductID), revision, at)
}

func (f accountFields) Transactions(ctx context.Context, a *Account, first int, after *string) (TransactionConnection, error) {
	return connectionOf(ctx, f.Door, a, a.among, accountID, pageOf("transactions", first, after), queries.AccountTransactions, queries.TransactionsOfAccounts,
		queries.OfAccountsParams{AccountIDs: a.among.ids(accountID), Cursor: value(after), Limit: first}, first, after, newTransaction, queries.Transaction.Cursor)
}

func (f accountFields) History(ctx context.Context, a *Account, first int, after *string) (EventConnection, error) {
	return historyFor(ctx, f.Door, "account", a, a.among, accountID, first, after)
}

func (f accountFields) AsOf(ctx context.Context, a *Account, revision *es.Revision, at *time.Time) (*runtime.StateAt, error) {
	return f.state(ctx, commands.Accounts.Stream(a.AccountID), revision, at)
}

func (f transferFields) History(ctx context.Context, t *Transfer, first int, after *string) (EventConnection, error) {
	return historyFor(ctx, f.Door, "transfer", t, t.among, func(t *Transfer) string { return t.TransferID }, first, after)
}

func (f transferFields) AsOf(ctx context.Context, t *Transfer, revision *es.Revision, at *time.Time) (*runtime.StateAt, error) {
	return f.state(ctx, commands.Transfers.Stream(t.TransferID), revision, at)
}

func orderID(o *Order) string       { return o.OrderID }
func customerID(c *Customer) string { return c.CustomerID }
func accountID(a *Account) string   { return a.AccountID }

// orderOf is the order that a thing names; nil: there is none, or not yet in its read model.
func orderOf[N any](ctx context.Context, d *Door, of N, among *siblings[N], id func(N) string) (*Order, error) {
	found, err := once(among, "order", func() (map[string]*Order, error) {
		found, err := ask(ctx, d, queries.OrderByID, queries.OrdersByID, queries.ByIDParams{IDs: among.ids(id)}, among.least)
		return by(orderID, together(among.least, found, newOrder)), err
	})
	return found[id(of)], err
}

// customerOf is the customer that a thing names; nil: there is none, or not yet in its read model.
func customerOf[N any](ctx context.Context, d *Door, of N, among *siblings[N], id func(N) string) (*Customer, error) {
	found, err := once(among, "customer", func() (map[string]*Customer, error) {
		found, err := ask(ctx, d, queries.CustomerByID, queries.CustomersByID, queries.ByIDParams{IDs: among.ids(id)}, among.least)
		return by(customerID, together(among.least, found, newCustomer)), err
	})
	return found[id(of)], err
}

func by[N any](id func(N) string, nodes []N) map[string]N {
	named := make(map[string]N, len(nodes))
	for _, n := range nodes {
		named[id(n)] = n
	}
	return named
}

// placed is a page of a relation: the same field may be asked for with other arguments.
type placed struct {
	what string
	page queries.OrderListParams
}

func pageOf(what string, first int, after *string) placed {
	return placed{what, queries.OrderListParams{Cursor: value(after), Limit: first}}
}

// connectionOf is one thing's page of a relation, found with its siblings'.
func connectionOf[N, P, T, M any](ctx context.Context, d *Door, of N, among *siblings[N], id func(N) string, key placed,
	public es.QueryDef, q es.Query[P, map[string]queries.Page[T]], params P, first int, after *string,
	node func(T, *siblings[M]) M, cursor func(M) string,
) (Connection[M], error) {
	all, err := once(among, key, func() (map[string]Connection[M], error) {
		found, err := askPage(ctx, d, public, q, params, first, among.least)
		items := make(map[string][]T, len(found))
		for owner, page := range found {
			items[owner] = page.Items
		}
		connections := make(map[string]Connection[M], len(found))
		for owner, nodes := range gather(among.least, items, node) {
			connections[owner] = connect(nodes, after, found[owner].NextCursor, func(_ int, n M) string { return cursor(n) })
		}
		return connections, err
	})
	if c, found := all[id(of)]; found || err != nil {
		return c, err
	}
	return connect[M](nil, after, "", nil), nil
}

// historyFor is one thing's history, found with its siblings'.
func historyFor[N any](ctx context.Context, d *Door, category string, of N, among *siblings[N], id func(N) string, first int, after *string) (EventConnection, error) {
	found, err := once(among, pageOf("history", first, after), func() (map[string]queries.Page[queries.Entry], error) {
		return askPage(ctx, d, historyOf[category], queries.Histories,
			queries.HistoriesParams{Category: category, IDs: among.ids(id), Cursor: value(after), Limit: first}, first, among.least)
	})
	return history(es.Stream{Category: category, ID: id(of)}, found[id(of)], after), err
}
