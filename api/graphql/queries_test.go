package graphql

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/money"
)

// stocked is a shop with customers, orders, payments, stock and accounts.
func stocked(t *testing.T) *shop {
	t.Helper()
	s := newShop(t)
	s.send(commands.Customers.Stream("c-1"), commands.RegisterCustomer{Name: "Ada", Email: "ada@example.com"})
	s.send(commands.Customers.Stream("c-2"), commands.RegisterCustomer{Name: "Bob"})
	for i := range 7 {
		s.order(fmt.Sprintf("o-%d", i), []string{"c-1", "c-2", "c-3"}[i%3])
	}
	s.send(commands.Payments.Stream("o-0-1"), commands.RecordPayment{TransactionID: "tx-1"})
	s.send(commands.Payments.Stream("o-0-2"), commands.RequestPayment{OrderID: "o-0", CustomerID: "c-1", Amount: money.FromInt(1), Currency: "USD", Method: "paypal", Token: "tok_ok"})
	for _, id := range []string{"p-1", "p-2", "p-3"} {
		s.send(commands.Stocks.Stream(id), commands.ReceiveStock{Quantity: 10})
	}
	s.send(commands.Stocks.Stream("p-2"), commands.ReserveStock{OrderID: "o-1", Quantity: 4})
	for _, id := range []string{"a-1", "a-2"} {
		s.send(commands.Accounts.Stream(id), commands.OpenAccount{Owner: "Ada", Currency: "EUR"})
		s.send(commands.Accounts.Stream(id), commands.DepositMoney{Amount: money.MustParse("100.10"), Currency: "EUR", Reference: "salary"})
		s.send(commands.Accounts.Stream(id), commands.WithdrawMoney{Amount: money.MustParse("0.05"), Currency: "EUR"})
	}
	s.send(commands.Transfers.Stream("t-1"), commands.RequestTransfer{From: "a-1", To: "a-2", Amount: money.FromInt(5), Currency: "EUR"})
	s.send(commands.Mails.Stream("o-1"), commands.RequestMail{Kind: "shipped", To: "ada@example.com", CustomerID: "c-1", OrderNumber: "o-1", TrackingNumber: "1Z"})
	return s
}

func TestQueriesAnswer(t *testing.T) {
	t.Parallel()
	s := stocked(t)
	r := s.last
	s.want(`{"order":{"orderId":"o-0","status":"CREATED","customerName":"Ada","customerTier":"standard","totalAmount":39.98,"version":1,
			"items":[{"productId":"p-1","quantity":2,"price":19.99,"taxRate":0,"totalPrice":39.98}],
			"customer":{"name":"Ada","tier":"standard"},
			"payments":[{"paymentId":"o-0-1","status":"PROCESSED","transactionId":"tx-1"},{"paymentId":"o-0-2","status":"REQUESTED","transactionId":""}],
			"history":{"edges":[{"node":{"type":"OrderCreated","category":"order","aggregateId":"o-0","version":1,"user":"ada"}}]},
			"asOf":{"stream":"order/o-0","version":1}}}`,
		`query($r: Revision) { order(orderId: "o-0", minRevision: $r) { orderId status customerName customerTier totalAmount version
			items { productId quantity price taxRate totalPrice } customer { name tier } payments { paymentId status transactionId }
			history { edges { node { type category aggregateId version user } } } asOf { stream version } } }`, "r", r)
	s.want(`{"a":null,"b":null,"c":null,"d":null,"e":null,"f":null,"g":null,"h":null}`, `{
		a: order(orderId: "none") { status } b: customer(customerId: "none") { name } c: customerOverview(customerId: "none") { revision }
		d: stock(productId: "none") { onHand } e: account(accountId: "none") { owner } f: transfer(transferId: "none") { status }
		g: history(category: order, id: "none") { pageInfo { hasNextPage } } h: state(category: order, id: "none") { version } }`)
	s.want(`{"order":{"customerName":"","customerTier":null,"customer":{"name":"","tier":null,"version":0,"totalOrders":2}}}`,
		`query($r: Revision) { order(orderId: "o-2", minRevision: $r) { customerName customerTier customer { name tier version totalOrders } } }`, "r", r)
	s.want(`{"customer":{"lifetimeValue":39.98,"lifetimeValues":[],
			"orders":{"edges":[{"node":{"orderId":"o-6"}},{"node":{"orderId":"o-3"}},{"node":{"orderId":"o-0"}}]},
			"payments":{"edges":[{"node":{"paymentId":"o-0-2"}}],"pageInfo":{"hasNextPage":true}},
			"history":{"edges":[{"node":{"type":"CustomerRegistered"}}]}}}`,
		`query($r: Revision) { customer(customerId: "c-1", minRevision: $r) { lifetimeValue lifetimeValues { amount currency }
			orders { edges { node { orderId } } } payments(first: 1) { edges { node { paymentId } } pageInfo { hasNextPage } }
			history { edges { node { type } } } } }`, "r", r)
	s.want(`{"customerOverview":{"customer":{"name":"Ada","payments":{"pageInfo":{"hasNextPage":false}}},"ordersByStatus":{"created":3,"paid":0},"openOrders":[{"orderId":"o-6"},{"orderId":"o-3"},{"orderId":"o-0"}]}}`,
		`query($r: Revision) { customerOverview(customerId: "c-1", minRevision: $r) { customer { name payments { pageInfo { hasNextPage } } } ordersByStatus { created paid } openOrders { orderId } } }`, "r", r)
	s.want(`{"stock":{"onHand":10,"reserved":4,"available":6,"asOf":{"version":1,"state":{"onHand":10,"reserved":0,"orders":{}}}},
		"inventory":{"edges":[{"node":{"productId":"p-2","available":6,"reorder":2}}]}}`,
		`query($r: Revision, $then: Revision) { stock(productId: "p-2", minRevision: $r) { onHand reserved available asOf(revision: $then) { version state } }
			inventory(below: 8) { edges { node { productId available reorder } } } }`, "r", r, "then", s.revisionOf("stock", "p-2", 0))
	s.want(`{"payment":{"status":"PROCESSED","amount":39.98,"order":{"orderId":"o-0"},"customer":{"name":"Ada"},"history":{"edges":[{"node":{"type":"PaymentRequested"}},{"node":{"type":"PaymentProcessed"}}]}}}`,
		`query($r: Revision) { payment(paymentId: "o-0-1", minRevision: $r) { status amount order { orderId } customer { name } history { edges { node { type } } } } }`, "r", r)
	s.want(`{"accounts":{"edges":[{"node":{"accountId":"a-1","balance":100.05,"transactions":{"edges":[{"node":{"type":"WITHDRAWAL","amount":-0.05,"balance":100.05}},{"node":{"type":"DEPOSIT","amount":100.1,"balance":100.1}}]}}},
			{"node":{"accountId":"a-2","balance":100.05,"transactions":{"edges":[{"node":{"type":"WITHDRAWAL","amount":-0.05,"balance":100.05}},{"node":{"type":"DEPOSIT","amount":100.1,"balance":100.1}}]}}}]},
		"transfer":{"from":"a-1","to":"a-2","amount":5,"status":"REQUESTED","history":{"edges":[{"node":{"type":"TransferRequested"}}]}}}`,
		`query($r: Revision) { accounts(minRevision: $r) { edges { node { accountId balance transactions { edges { node { type amount balance } } } } } }
			transfer(transferId: "t-1", minRevision: $r) { from to amount status history { edges { node { type } } } } }`, "r", r)
	s.want(`{"mails":{"edges":[{"node":{"kind":"shipped","status":"REQUESTED","order":{"orderId":"o-1"},"history":{"edges":[{"node":{"type":"MailRequested"}}]}}}]},"none":{"edges":[]}}`,
		`query($r: Revision) { mails(filter: {status: REQUESTED}, minRevision: $r) { edges { node { kind status order { orderId } history { edges { node { type } } } } } }
			none: mails(filter: {orderId: "o-2"}) { edges { cursor } } }`, "r", r)
	s.want(`{"searchOrders":{"edges":[{"node":{"orderId":"o-3","products":["p-1"],"order":{"status":"CREATED"}}}]}}`,
		`query($r: Revision) { searchOrders(text: "o-3 springf", minRevision: $r) { edges { node { orderId products order { status } } } } }`, "r", r)
	s.want(`{"dailySales":{"edges":[{"node":{"currency":"USD","orders":7,"gross":279.86,"paid":39.98}}]},"financialReport":{"edges":[{"node":{"currency":"USD","days":1,"orders":7,"received":39.98}}],"pageInfo":{"hasNextPage":false}}}`,
		`query($r: Revision) { dailySales(filter: {currency: "USD"}, minRevision: $r) { edges { node { currency orders gross paid } } }
			financialReport(filter: {from: "2026-01"}, minRevision: $r) { edges { node { currency days orders received } } pageInfo { hasNextPage } } }`, "r", r)
	s.want(`{"orders":{"edges":[]},"some":{"edges":[{"node":{"orderId":"o-4"}},{"node":{"orderId":"o-1"}}]}}`,
		`{ orders(filter: {status: PAID}) { edges { cursor } } some: orders(filter: {customerId: "c-2", status: CREATED, from: "2000-01-01T00:00:00Z"}) { edges { node { orderId } } } }`)
}

// revisionOf is the revision of the i-th event of a thing.
func (s *shop) revisionOf(category, id string, i int) es.Revision {
	s.Helper()
	a := s.ask(`query($c: Category!, $id: ID!, $r: Revision) { history(category: $c, id: $id, minRevision: $r) { edges { node { revision } } } }`, "c", category, "id", id, "r", s.last)
	return es.Revision(dig(s.T, a.Data, fmt.Sprintf("history.edges.%d.node.revision", i)).(float64))
}

func TestEveryConnectionPagesThroughAllThereIs(t *testing.T) {
	t.Parallel()
	s := stocked(t)
	for _, c := range []struct{ path, field, id, want string }{
		{"orders", `orders(first: $n, after: $after, minRevision: $r)`, "orderId", "o-6 o-5 o-4 o-3 o-2 o-1 o-0"},
		{"orders", `orders(filter: {customerId: "c-1"}, first: $n, after: $after, minRevision: $r)`, "orderId", "o-6 o-3 o-0"},
		{"searchOrders", `searchOrders(text: "springfield", first: $n, after: $after, minRevision: $r)`, "orderId", "o-6 o-5 o-4 o-3 o-2 o-1 o-0"},
		{"customers", `customers(first: $n, after: $after, minRevision: $r)`, "customerId", "c-1 c-2 c-3"},
		{"stockLevels", `stockLevels(first: $n, after: $after, minRevision: $r)`, "productId", "p-1 p-2 p-3"},
		{"inventory", `inventory(first: $n, after: $after, minRevision: $r)`, "productId", "p-2 p-1 p-3"},
		{"accounts", `accounts(first: $n, after: $after, minRevision: $r)`, "accountId", "a-1 a-2"},
		{"mails", `mails(first: $n, after: $after, minRevision: $r)`, "kind", "shipped"},
		{"history", `history(category: account, id: "a-1", first: $n, after: $after, minRevision: $r)`, "type", "AccountOpened MoneyDeposited MoneyWithdrawn"},
		{"customer.orders", `customer(customerId: "c-1", minRevision: $r) { orders(first: $n, after: $after)`, "orderId", "o-6 o-3 o-0"},
		{"customer.payments", `customer(customerId: "c-1", minRevision: $r) { payments(first: $n, after: $after)`, "paymentId", "o-0-2 o-6-1 o-3-1 o-0-1"},
		{"account.transactions", `account(accountId: "a-1", minRevision: $r) { transactions(first: $n, after: $after)`, "type", "WITHDRAWAL DEPOSIT"},
		{"account.history", `account(accountId: "a-1", minRevision: $r) { history(first: $n, after: $after)`, "type", "AccountOpened MoneyDeposited MoneyWithdrawn"},
	} {
		query := `query($n: Int!, $after: String, $r: Revision) { ` + c.field + ` { edges { cursor node { ` + c.id + ` } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } }` +
			strings.Repeat(" }", 1+strings.Count(c.path, "."))
		all := strings.Fields(c.want)
		for first := 1; first <= len(all)+1; first++ {
			var got []string
			var after any
			for pages := 1; ; pages++ {
				a := s.ask(query, "n", first, "after", after, "r", s.last)
				if len(a.Errors) > 0 {
					t.Fatalf("%s: %+v", query, a.Errors)
				}
				edges := dig(t, a.Data, c.path+".edges").([]any)
				info := dig(t, a.Data, c.path+".pageInfo").(map[string]any)
				for _, e := range edges {
					got = append(got, e.(map[string]any)["node"].(map[string]any)[c.id].(string))
				}
				first, last := edges[0].(map[string]any)["cursor"], edges[len(edges)-1].(map[string]any)["cursor"]
				if info["hasPreviousPage"] != (pages > 1) || info["startCursor"] != first || info["endCursor"] != last {
					t.Errorf("%s: page %d has pageInfo %v, its cursors are %v to %v", c.field, pages, info, first, last)
				}
				if after = last; info["hasNextPage"] == false {
					break
				}
				if pages > len(all) {
					t.Fatalf("%s does not end", c.field)
				}
			}
			if !slices.Equal(got, all) {
				t.Errorf("%s, first %d: got %v, want %v", c.field, first, got, all)
			}
		}
		// Behind any edge, not only a page's last one.
		a := s.ask(query, "n", len(all), "r", s.last)
		edges := dig(t, a.Data, c.path+".edges").([]any)
		for i, e := range edges[:len(edges)-1] {
			rest := s.ask(query, "n", 1, "after", e.(map[string]any)["cursor"], "r", s.last)
			if got := dig(t, rest.Data, c.path+".edges.0.node."+c.id); got != all[i+1] {
				t.Errorf("%s: behind edge %d comes %v, want %s", c.field, i, got, all[i+1])
			}
		}
	}
}

// However long the lists are, each connection or relation of the document is one question and one statement.
func TestListsWithinListsAreOneStatementEach(t *testing.T) {
	t.Parallel()
	s := stocked(t)
	for _, c := range []struct {
		name, query string
		asked       []string
		nodes       string // one that must be there, to show that nothing was left out
		want        any
	}{
		{
			"orders with customers and payments",
			`query($r: Revision) { orders(first: 20, minRevision: $r) { edges { node { orderId customer { name } payments { status order { orderId } } } } } }`,
			[]string{"orders", "customersById", "paymentsOfOrders", "ordersById"}, "orders.edges.6.node.payments.1.order.orderId", "o-0",
		},
		{
			"customers with their orders, the orders' payments and histories, and the customers again",
			`query($r: Revision) { customers(first: 20, minRevision: $r) { edges { node { name orders(first: 10) { edges { node { orderId
				payments { amount } history(first: 10) { edges { node { type } } } customer { customerId } } } } payments(first: 10) { edges { node { status } } } history(first: 10) { edges { node { type } } } } } } }`,
			[]string{"customers", "ordersOfCustomers", "paymentsOfOrders", "histories", "customersById", "paymentsOfCustomers", "histories"},
			"customers.edges.1.node.orders.edges.1.node.history.edges.0.node.type", "OrderCreated",
		},
		{
			"the same relation twice, with other arguments",
			`query($r: Revision) { customers(first: 21, minRevision: $r) { edges { node { a: orders(first: 1) { edges { cursor } } b: orders(first: 2) { edges { cursor } } c: orders(first: 1, status: PAID) { edges { cursor } } } } } }`,
			[]string{"customers", "ordersOfCustomers", "ordersOfCustomers", "ordersOfCustomers"}, "customers.edges.0.node.b.edges.1.cursor", nil,
		},
		{
			"accounts with transactions and histories",
			`query($r: Revision) { accounts(first: 20, minRevision: $r) { edges { node { transactions { edges { node { amount } } } history { edges { node { type } } } } } } }`,
			[]string{"accounts", "transactionsOfAccounts", "histories"}, "accounts.edges.1.node.transactions.edges.1.node.amount", 100.1,
		},
		{
			"found orders with the orders",
			`query($r: Revision) { searchOrders(text: "springfield", first: 20, minRevision: $r) { edges { node { order { customer { name } } } } } }`,
			[]string{"orderSearch", "ordersById", "customersById"}, "searchOrders.edges.6.node.order.customer.name", "Ada",
		},
	} {
		s.engine.reset()
		a := s.ask(c.query, "r", s.last)
		if len(a.Errors) > 0 {
			t.Fatalf("%s: %+v", c.name, a.Errors)
		}
		got := dig(t, a.Data, c.nodes)
		if got == nil || c.want != nil && got != c.want {
			t.Errorf("%s: %s is %v, want %v", c.name, c.nodes, got, c.want)
		}
		asked := slices.Sorted(slices.Values(s.engine.asked))
		if want := slices.Sorted(slices.Values(c.asked)); !slices.Equal(asked, want) {
			t.Errorf("%s: asked %v, want %v", c.name, asked, want)
		}
		if s.engine.statements != len(c.asked) {
			t.Errorf("%s: %d statements for %d questions", c.name, s.engine.statements, len(c.asked))
		}
	}
}
