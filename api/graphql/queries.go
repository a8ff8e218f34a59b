package graphql

import (
	"context"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
	"github.com/millstream-es/millstream/queries"
)

type query struct{ *Door }

func (q query) Order(ctx context.Context, orderID string, minRevision *es.Revision) (*Order, error) {
	return one(ctx, q.Door, queries.OrderByID, queries.OrderByIDParams{OrderID: orderID}, minRevision, newOrder)
}

func (q query) Orders(ctx context.Context, filter *queries.OrderListParams, first int, after *string, minRevision *es.Revision) (OrderConnection, error) {
	params := value(filter)
	params.Cursor, params.Limit = value(after), first
	found, err := askPage(ctx, q.Door, queries.OrderList, queries.OrderList, params, first, value(minRevision))
	return connect(together(value(minRevision), found.Items, newOrder), after, found.NextCursor, func(_ int, o *Order) string { return o.Cursor() }), err
}

func (q query) SearchOrders(ctx context.Context, text string, first int, after *string, minRevision *es.Revision) (FoundOrderConnection, error) {
	params := queries.SearchParams{Q: text, Cursor: value(after), Limit: first}
	found, err := askPage(ctx, q.Door, queries.OrderSearch, queries.OrderSearch, params, first, value(minRevision))
	nodes := together(value(minRevision), found.Items, newFoundOrder)
	return connect(nodes, after, found.NextCursor, func(i int, _ *FoundOrder) string { return params.CursorAt(i) }), err
}

func (q query) Customer(ctx context.Context, customerID string, minRevision *es.Revision) (*Customer, error) {
	return one(ctx, q.Door, queries.CustomerByID, queries.CustomerByIDParams{CustomerID: customerID}, minRevision, newCustomer)
}

func (q query) Customers(ctx context.Context, first int, after *string, minRevision *es.Revision) (CustomerConnection, error) {
	params := queries.ListParams{Cursor: value(after), Limit: first}
	found, err := askPage(ctx, q.Door, queries.CustomerList, queries.CustomerList, params, first, value(minRevision))
	return connect(together(value(minRevision), found.Items, newCustomer), after, found.NextCursor, func(_ int, c *Customer) string { return c.Cursor() }), err
}

func (q query) CustomerOverview(ctx context.Context, customerID string, minRevision *es.Revision) (*CustomerOverview, error) {
	least := value(minRevision)
	found, err := ask(ctx, q.Door, queries.CustomerOverviewByID, queries.CustomerOverviewByID, queries.CustomerByIDParams{CustomerID: customerID}, least)
	if err != nil {
		return nil, unlessAbsent(err)
	}
	return &CustomerOverview{found, together(least, []queries.Customer{found.Customer}, newCustomer)[0]}, nil
}

func (q query) Stock(ctx context.Context, productID string, minRevision *es.Revision) (*StockLevel, error) {
	return one(ctx, q.Door, queries.StockByProduct, queries.StockByProductParams{ProductID: productID}, minRevision, newStockLevel)
}

func (q query) StockLevels(ctx context.Context, first int, after *string, minRevision *es.Revision) (StockLevelConnection, error) {
	params := queries.ListParams{Cursor: value(after), Limit: first}
	found, err := askPage(ctx, q.Door, queries.StockList, queries.StockList, params, first, value(minRevision))
	return connect(together(value(minRevision), found.Items, newStockLevel), after, found.NextCursor, func(_ int, s *StockLevel) string { return s.Cursor() }), err
}

func (q query) Inventory(ctx context.Context, below *int64, first int, after *string, minRevision *es.Revision) (InventoryItemConnection, error) {
	params := queries.InventoryParams{Below: value(below), Cursor: value(after), Limit: first}
	found, err := askPage(ctx, q.Door, queries.InventoryStatus, queries.InventoryStatus, params, first, value(minRevision))
	return connect(found.Items, after, found.NextCursor, func(_ int, i queries.InventoryItem) string { return i.Cursor() }), err
}

func (q query) Payment(ctx context.Context, paymentID string, minRevision *es.Revision) (*Payment, error) {
	return one(ctx, q.Door, queries.PaymentByID, queries.PaymentByIDParams{PaymentID: paymentID}, minRevision, newPayment)
}

func (q query) Account(ctx context.Context, accountID string, minRevision *es.Revision) (*Account, error) {
	return one(ctx, q.Door, queries.AccountByID, queries.AccountByIDParams{AccountID: accountID}, minRevision, newAccount)
}

func (q query) Accounts(ctx context.Context, first int, after *string, minRevision *es.Revision) (AccountConnection, error) {
	params := queries.ListParams{Cursor: value(after), Limit: first}
	found, err := askPage(ctx, q.Door, queries.AccountList, queries.AccountList, params, first, value(minRevision))
	return connect(together(value(minRevision), found.Items, newAccount), after, found.NextCursor, func(_ int, a *Account) string { return a.Cursor() }), err
}

func (q query) Transfer(ctx context.Context, transferID string, minRevision *es.Revision) (*Transfer, error) {
	return one(ctx, q.Door, queries.TransferByID, queries.TransferByIDParams{TransferID: transferID}, minRevision, newTransfer)
}

func (q query) Mails(ctx context.Context, filter *queries.MailListParams, first int, after *string, minRevision *es.Revision) (MailConnection, error) {
	params := value(filter)
	params.Cursor, params.Limit = value(after), first
	found, err := askPage(ctx, q.Door, queries.MailList, queries.MailList, params, first, value(minRevision))
	nodes := together(value(minRevision), found.Items, newMail)
	return connect(nodes, after, found.NextCursor, func(_ int, m *Mail) string { return m.Cursor() }), err
}

func (q query) DailySales(ctx context.Context, filter *queries.DailySalesParams, first int, after *string, minRevision *es.Revision) (DaySalesConnection, error) {
	params := value(filter)
	params.Cursor, params.Limit = value(after), first
	found, err := askPage(ctx, q.Door, queries.SalesByDay, queries.SalesByDay, params, first, value(minRevision))
	return connect(found.Items, after, found.NextCursor, func(_ int, d queries.DaySales) string { return d.Cursor() }), err
}

func (q query) FinancialReport(ctx context.Context, filter *queries.MonthlyReportParams, first int, after *string, minRevision *es.Revision) (MonthReportConnection, error) {
	params := value(filter)
	params.Cursor, params.Limit = value(after), first
	found, err := askPage(ctx, q.Door, queries.FinancialReport, queries.FinancialReport, params, first, value(minRevision))
	return connect(found.Items, after, found.NextCursor, func(_ int, m queries.MonthReport) string { return m.Cursor() }), err
}

// historyOf is the query that a caller must be allowed to see a category's histories.
var historyOf = map[string]es.Query[queries.HistoryParams, queries.History]{
	"order": queries.OrderHistory, "stock": queries.StockHistory, "payment": queries.PaymentHistory, "customer": queries.CustomerHistory,
	"mail": queries.MailHistory, "account": queries.AccountHistory, "transfer": queries.TransferHistory,
}

func (q query) History(ctx context.Context, category, id string, first int, after *string, minRevision *es.Revision) (*EventConnection, error) {
	ask := historyOf[category]
	found, err := askPage(ctx, q.Door, ask, ask, queries.HistoryParams{ID: id, Cursor: value(after), Limit: first}, first, value(minRevision))
	if err != nil {
		return nil, unlessAbsent(err)
	}
	c := history(es.Stream{Category: category, ID: id}, queries.Page[queries.Entry](found), after)
	return &c, nil
}

func (q query) State(ctx context.Context, category, id string, revision *es.Revision, at *time.Time) (*runtime.StateAt, error) {
	return q.state(ctx, es.Stream{Category: category, ID: id}, revision, at)
}

// history makes a connection of one thing's events.
func history(s es.Stream, found queries.Page[queries.Entry], after *string) EventConnection {
	events := make([]Event, len(found.Items))
	for i, e := range found.Items {
		events[i] = Event{e, s.Category, s.ID}
	}
	return connect(events, after, found.NextCursor, func(_ int, e Event) string { return e.Cursor(s.Category) })
}
