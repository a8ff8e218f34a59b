package queries_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/readmodel"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
	"github.com/millstream-es/millstream/projectors"
	"github.com/millstream-es/millstream/queries"
)

func TestEveryQueryAsksAListedProjector(t *testing.T) {
	t.Parallel()
	if err := (es.Domain{Events: events.All, Projectors: projectors.All, Queries: queries.All}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestEveryPathParameterIsAParameter(t *testing.T) {
	t.Parallel()
	paths := map[string]bool{}
	for _, q := range queries.All {
		if paths[q.QueryPath()] {
			t.Errorf("path %s is taken twice", q.QueryPath())
		}
		paths[q.QueryPath()] = true
		var names []string
		for f := range q.Params().Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			names = append(names, name)
		}
		for part := range strings.SplitSeq(q.QueryPath(), "/") {
			if name, ok := strings.CutPrefix(part, "{"); ok && !slices.Contains(names, strings.TrimSuffix(name, "}")) {
				t.Errorf("query %s has no parameter for %s of its path", q.QueryName(), part)
			}
		}
		if q.QuerySummary() == "" {
			t.Errorf("query %s has no summary", q.QueryName())
		}
	}
}

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// house is all read models of one small log.
type house map[string]*readmodel.Model

// build folds events, "category/id" and event in turn, into every read model: one commit each, a second apart.
func build(t testing.TB, facts ...any) house {
	t.Helper()
	versions := map[string]uint64{}
	b := readmodel.Batch{}
	for i := 0; i < len(facts); i += 2 {
		stream := facts[i].(string)
		versions[stream]++
		category, id, _ := strings.Cut(stream, "/")
		b.Last++
		b.LastID = fmt.Sprintf("c-%d/1", b.Last)
		b.Events = append(b.Events, es.Recorded{
			Event: facts[i+1].(es.Event),
			Meta: es.Meta{Stream: es.Stream{Category: category, ID: id}, CommandID: fmt.Sprintf("c-%d", b.Last), User: "ada",
				Correlation: "cor", Causation: "cau", Time: start.Add(time.Duration(b.Last) * time.Second)},
			ID: b.LastID, Version: versions[stream], Revision: b.Last,
		})
	}
	dir, all := t.TempDir(), house{}
	for _, p := range projectors.All {
		m, err := readmodel.Open(dir, p)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		})
		if err := m.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		all[p.Name] = m
	}
	return all
}

func ask[P, R any](t testing.TB, h house, q es.Query[P, R], params P) (R, error) {
	t.Helper()
	return q.Ask(t.Context(), h[q.Projector].DB(), params)
}

// wantJSON asks and compares the answer's JSON; key order and whitespace do not matter, numbers compare as text.
func wantJSON[P, R any](t *testing.T, h house, q es.Query[P, R], params P, want string) {
	t.Helper()
	answer, err := ask(t, h, q, params)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(parse(t, want), parse(t, string(data))); diff != "" {
		t.Errorf("%s %+v (-want +got):\n%s", q.Name, params, diff)
	}
}

func parse(t *testing.T, text string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

func order(id, customer, currency string, date time.Time) events.OrderCreated {
	return events.OrderCreated{
		OrderID: id, OrderNumber: "N-" + id, CustomerID: customer, Currency: currency, OrderDate: date,
		Items: []events.OrderItem{
			{ProductID: "p-1", Quantity: 2, Price: money.MustParse("19.99"), TotalPrice: money.MustParse("39.98")},
			{ProductID: "p-1", Quantity: 1, Price: money.MustParse("10"), TaxRate: money.MustParse("0.19"), TotalPrice: money.MustParse("11.9")},
		},
		TotalAmount: money.MustParse("51.88"),
	}
}

func TestOrderByID(t *testing.T) {
	t.Parallel()
	h := build(t,
		"order/o-1", order("o-1", "c-1", "USD", start),
		"customer/c-1", events.CustomerRegistered{Name: "Ada Lovelace"},
		"order/o-1", events.OrderPaid{PaymentID: "o-1-1", Amount: money.MustParse("51.88")},
		"order/o-1", events.OrderShipped{TrackingNumber: "1Z999", ShippedAt: start},
		"order/o-2", order("o-2", "c-2", "USD", start),
	)
	wantJSON(t, h, queries.OrderByID, queries.OrderByIDParams{OrderID: "o-1"}, `{
		"orderId":"o-1", "orderNumber":"N-o-1", "status":"SHIPPED", "customerId":"c-1", "customerName":"Ada Lovelace",
		"customerTier":"standard", "currency":"USD", "totalAmount":51.88, "items":[
			{"productId":"p-1", "quantity":2, "price":19.99, "taxRate":0, "totalPrice":39.98},
			{"productId":"p-1", "quantity":1, "price":10, "taxRate":0.19, "totalPrice":11.9}],
		"itemsCount":2, "uniqueProducts":1, "trackingNumber":"1Z999", "cancelReason":"",
		"orderDate":"2026-03-01T12:00:00Z", "createdAt":"2026-03-01T12:00:01Z", "updatedAt":"2026-03-01T12:00:04Z",
		"version":3, "revision":4}`)
	unregistered, err := ask(t, h, queries.OrderByID, queries.OrderByIDParams{OrderID: "o-2"})
	if err != nil || unregistered.CustomerName != "" || unregistered.CustomerTier != "" {
		t.Errorf("an unregistered customer's order is %+v (%v)", unregistered, err)
	}
}

func TestCustomerByID(t *testing.T) {
	t.Parallel()
	paid := func(amount, currency string) events.PaymentProcessed {
		return events.PaymentProcessed{CustomerID: "c-1", Amount: money.MustParse(amount), Currency: currency}
	}
	requested := events.PaymentRequested{CustomerID: "c-1", Amount: money.MustParse("1"), Currency: "USD"}
	facts := []any{
		"customer/c-1", events.CustomerRegistered{Name: "Ada", Email: "ada@example.com"},
		"customer/c-3", events.CustomerRegistered{Name: "Charles"},
		"order/o-1", order("o-1", "c-1", "USD", start),
		"payment/o-1-1", requested,
		"payment/o-1-1", paid("51.88", "USD"),
		"order/o-2", order("o-2", "c-2", "EUR", start),
	}
	h := build(t, facts...)
	wantJSON(t, h, queries.CustomerByID, queries.CustomerByIDParams{CustomerID: "c-1"}, `{"customerId":"c-1", "name":"Ada",
		"email":"ada@example.com", "phone":"", "tier":"standard", "totalOrders":1, "currency":"USD", "lifetimeValue":51.88,
		"updatedAt":"2026-03-01T12:00:05Z", "version":1, "revision":5}`)
	wantJSON(t, h, queries.CustomerByID, queries.CustomerByIDParams{CustomerID: "c-2"}, `{"customerId":"c-2", "name":"",
		"email":"", "phone":"", "tier":"", "totalOrders":1, "currency":"EUR", "lifetimeValue":0,
		"updatedAt":"2026-03-01T12:00:06Z", "version":0, "revision":6}`)
	wantJSON(t, h, queries.CustomerByID, queries.CustomerByIDParams{CustomerID: "c-3"}, `{"customerId":"c-3", "name":"Charles",
		"email":"", "phone":"", "tier":"standard", "totalOrders":0, "currency":"", "lifetimeValue":0,
		"updatedAt":"2026-03-01T12:00:02Z", "version":1, "revision":2}`)

	h = build(t, append(facts, "payment/o-9-1", requested, "payment/o-9-1", paid("500", "JPY"),
		"payment/o-1-1", events.PaymentRefunded{CustomerID: "c-1", Amount: money.MustParse("1.88"), Currency: "USD"})...)
	wantJSON(t, h, queries.CustomerByID, queries.CustomerByIDParams{CustomerID: "c-1"}, `{"customerId":"c-1", "name":"Ada",
		"email":"ada@example.com", "phone":"", "tier":"standard", "totalOrders":1, "currency":"USD", "lifetimeValue":50,
		"lifetimeValues":[{"amount":50,"currency":"USD"},{"amount":500,"currency":"JPY"}],
		"updatedAt":"2026-03-01T12:00:09Z", "version":1, "revision":9}`)
}

func TestStockAndPayment(t *testing.T) {
	t.Parallel()
	h := build(t,
		"stock/p-1", events.StockReceived{Quantity: 100},
		"stock/p-1", events.StockReserved{OrderID: "o-1", Quantity: 30},
		"payment/o-1-1", events.PaymentRequested{OrderID: "o-1", CustomerID: "c-1", Amount: money.MustParse("51.88"), Currency: "USD", Method: "paypal", Token: "tok_secret"},
		"payment/o-1-1", events.PaymentFailed{Reason: "declined"},
	)
	wantJSON(t, h, queries.StockByProduct, queries.StockByProductParams{ProductID: "p-1"}, `{"productId":"p-1", "onHand":100,
		"reserved":30, "available":70, "updatedAt":"2026-03-01T12:00:02Z", "version":2, "revision":2}`)
	wantJSON(t, h, queries.PaymentByID, queries.PaymentByIDParams{PaymentID: "o-1-1"}, `{"paymentId":"o-1-1", "orderId":"o-1",
		"customerId":"c-1", "status":"FAILED", "amount":51.88, "currency":"USD", "method":"paypal", "transactionId":"",
		"refundId":"", "reason":"declined", "createdAt":"2026-03-01T12:00:03Z", "updatedAt":"2026-03-01T12:00:04Z",
		"version":2, "revision":4}`)
}

func TestHistory(t *testing.T) {
	t.Parallel()
	h := build(t,
		"stock/p-1", events.StockReceived{Quantity: 100},
		"customer/p-1", events.CustomerRegistered{Name: "of the same id"},
		"stock/p-1", events.StockReserved{OrderID: "o-1", Quantity: 30},
	)
	wantJSON(t, h, queries.StockHistory, queries.HistoryParams{ID: "p-1"}, `{"items":[
		{"version":1, "revision":1, "id":"c-1/1", "type":"StockReceived", "time":"2026-03-01T12:00:01Z", "user":"ada",
			"commandId":"c-1", "correlationId":"cor", "causationId":"cau", "data":{"quantity":100}},
		{"version":2, "revision":3, "id":"c-3/1", "type":"StockReserved", "time":"2026-03-01T12:00:03Z", "user":"ada",
			"commandId":"c-3", "correlationId":"cor", "causationId":"cau", "data":{"orderId":"o-1","quantity":30}}]}`)
	first, err := ask(t, h, queries.StockHistory, queries.HistoryParams{ID: "p-1", Limit: 1})
	if err != nil || len(first.Items) != 1 || first.NextCursor == "" {
		t.Fatalf("the first page is %+v (%v)", first, err)
	}
	second, err := ask(t, h, queries.StockHistory, queries.HistoryParams{ID: "p-1", Limit: 1, Cursor: first.NextCursor})
	if err != nil || len(second.Items) != 1 || second.Items[0].Version != 2 || second.NextCursor != "" {
		t.Errorf("the second page is %+v (%v)", second, err)
	}
}

func TestWhatIsNotThereIsNotFound(t *testing.T) {
	t.Parallel()
	h := build(t, "stock/p-1", events.StockReceived{Quantity: 1})
	for _, c := range []struct {
		query  es.QueryDef
		params any
		code   string
	}{
		{queries.OrderByID, queries.OrderByIDParams{OrderID: "x"}, "order_not_found"},
		{queries.CustomerByID, queries.CustomerByIDParams{CustomerID: "x"}, "customer_not_found"},
		{queries.StockByProduct, queries.StockByProductParams{ProductID: "x"}, "stock_not_found"},
		{queries.PaymentByID, queries.PaymentByIDParams{PaymentID: "x"}, "payment_not_found"},
		{queries.CustomerOverviewByID, queries.CustomerByIDParams{CustomerID: "x"}, "customer_not_found"},
		{queries.OrderHistory, queries.HistoryParams{ID: "x"}, "order_not_found"},
		{queries.OrderHistory, queries.HistoryParams{ID: "p-1"}, "order_not_found"},
		{queries.CustomerHistory, queries.HistoryParams{ID: "x"}, "customer_not_found"},
		{queries.StockHistory, queries.HistoryParams{ID: "x"}, "stock_not_found"},
		{queries.PaymentHistory, queries.HistoryParams{ID: "x"}, "payment_not_found"},
		{queries.MailHistory, queries.HistoryParams{ID: "x"}, "mail_not_found"},
	} {
		_, err := c.query.AskAny(t.Context(), h[c.query.ProjectorName()].DB(), c.params)
		var rejection *es.Rejection
		if !errors.As(err, &rejection) || rejection.Code != c.code || !rejection.NotFound {
			t.Errorf("%s: got %v, want %s", c.query.QueryName(), err, c.code)
		}
	}
}

func TestBadParametersAreBlamedByName(t *testing.T) {
	t.Parallel()
	h := build(t, "stock/p-1", events.StockReceived{Quantity: 1})
	foreign := base64.RawURLEncoding.EncodeToString([]byte("stock|p-1"))
	badDate := base64.RawURLEncoding.EncodeToString([]byte("order|yesterday|o-1"))
	for _, c := range []struct {
		query         es.QueryDef
		params        any
		code, pointer string
	}{
		{queries.OrderByID, queries.OrderByIDParams{OrderID: "a.b"}, "bad_id", "/orderId"},
		{queries.OrderByID, queries.OrderByIDParams{}, "bad_id", "/orderId"},
		{queries.OrderList, queries.OrderListParams{CustomerID: "' OR 1=1 --"}, "bad_id", "/customerId"},
		{queries.OrderList, queries.OrderListParams{Status: "paid"}, "schema", "/status"},
		{queries.OrderList, queries.OrderListParams{Limit: 201}, "schema", "/limit"},
		{queries.OrderList, queries.OrderListParams{Limit: -1}, "schema", "/limit"},
		{queries.OrderList, queries.OrderListParams{Cursor: "%%%"}, "malformed", "/cursor"},
		{queries.OrderList, queries.OrderListParams{Cursor: foreign}, "malformed", "/cursor"},
		{queries.OrderList, queries.OrderListParams{Cursor: badDate}, "malformed", "/cursor"},
		{queries.CustomerOrders, queries.CustomerOrdersParams{}, "bad_id", "/customerId"},
		{queries.CustomerByID, queries.CustomerByIDParams{CustomerID: ">"}, "bad_id", "/customerId"},
		{queries.CustomerList, queries.ListParams{Cursor: foreign}, "malformed", "/cursor"},
		{queries.CustomerList, queries.ListParams{Limit: 201}, "schema", "/limit"},
		{queries.StockByProduct, queries.StockByProductParams{ProductID: "*"}, "bad_id", "/productId"},
		{queries.StockList, queries.ListParams{Cursor: "c3RvY2t8"}, "malformed", "/cursor"}, // "stock|"
		{queries.PaymentByID, queries.PaymentByIDParams{PaymentID: strings.Repeat("x", 65)}, "bad_id", "/paymentId"},
		{queries.InventoryStatus, queries.InventoryParams{Below: -1}, "schema", "/below"},
		{queries.InventoryStatus, queries.InventoryParams{Cursor: foreign}, "malformed", "/cursor"},
		{queries.InventoryStatus, queries.InventoryParams{Limit: 201}, "schema", "/limit"},
		{queries.CustomerOverviewByID, queries.CustomerByIDParams{CustomerID: "'"}, "bad_id", "/customerId"},
		{queries.CustomerPayments, queries.CustomerPaymentsParams{CustomerID: "'"}, "bad_id", "/customerId"},
		{queries.CustomerPayments, queries.CustomerPaymentsParams{CustomerID: "c-1", Cursor: badDate}, "malformed", "/cursor"},
		{queries.MailList, queries.MailListParams{OrderID: "o.1"}, "bad_id", "/orderId"},
		{queries.MailList, queries.MailListParams{Status: "sent"}, "schema", "/status"},
		{queries.MailList, queries.MailListParams{Cursor: badDate}, "malformed", "/cursor"},
		{queries.OrderSearch, queries.SearchParams{Q: "x", Cursor: foreign}, "malformed", "/cursor"},
		{queries.OrderSearch, queries.SearchParams{Q: "x", Limit: 201}, "schema", "/limit"},
		{queries.StockHistory, queries.HistoryParams{ID: "../x"}, "bad_id", "/id"},
		{queries.StockHistory, queries.HistoryParams{ID: "p-1", Cursor: foreign}, "malformed", "/cursor"},
	} {
		_, err := c.query.AskAny(t.Context(), h[c.query.ProjectorName()].DB(), c.params)
		var invalid *es.InvalidError
		if !errors.As(err, &invalid) || invalid.Code != c.code || invalid.Pointer != c.pointer {
			t.Errorf("%s %+v: got %v, want %s at %s", c.query.QueryName(), c.params, err, c.code, c.pointer)
		}
	}
}

func TestAnEmptyListIsAListInJSON(t *testing.T) {
	t.Parallel()
	h := build(t, "order/o-1", order("o-1", "c-1", "USD", start))
	wantJSON(t, h, queries.StockList, queries.ListParams{}, `{"items":[]}`)
	wantJSON(t, h, queries.OrderList, queries.OrderListParams{CustomerID: "c-9"}, `{"items":[]}`)
}

func TestPagesOfOrders(t *testing.T) {
	t.Parallel()
	// Seven orders on four dates, so that pages break among orders of one date.
	var facts []any
	for i := range 7 {
		id := fmt.Sprintf("o-%d", i)
		facts = append(facts, "order/"+id, order(id, fmt.Sprintf("c-%d", i%2), "USD", start.AddDate(0, 0, i/2)))
	}
	facts = append(facts, "order/o-3", events.OrderCancelled{Reason: "x"})
	h := build(t, facts...)
	for name, c := range map[string]struct {
		params queries.OrderListParams
		want   string
	}{
		"all":                {queries.OrderListParams{}, "o-6 o-5 o-4 o-3 o-2 o-1 o-0"},
		"of a customer":      {queries.OrderListParams{CustomerID: "c-1"}, "o-5 o-3 o-1"},
		"of nobody":          {queries.OrderListParams{CustomerID: "c-9"}, ""},
		"by status":          {queries.OrderListParams{Status: "CANCELLED"}, "o-3"},
		"from is inclusive":  {queries.OrderListParams{From: start.AddDate(0, 0, 2)}, "o-6 o-5 o-4"},
		"to is exclusive":    {queries.OrderListParams{To: start.AddDate(0, 0, 2)}, "o-3 o-2 o-1 o-0"},
		"in another zone":    {queries.OrderListParams{From: start.AddDate(0, 0, 3).In(time.FixedZone("", 3600))}, "o-6"},
		"everything at once": {queries.OrderListParams{CustomerID: "c-1", Status: "CREATED", From: start, To: start.AddDate(0, 0, 2)}, "o-1"},
	} {
		for limit := range 9 {
			p := c.params
			p.Limit = limit
			var got []string
			for pages := 0; ; pages++ {
				page, err := ask(t, h, queries.OrderList, p)
				if err != nil || page.Items == nil || limit > 0 && len(page.Items) > limit || pages > 7 {
					t.Fatalf("%s, limit %d: page %d is %+v (%v)", name, limit, pages, page, err)
				}
				for _, o := range page.Items {
					got = append(got, o.OrderID)
				}
				if p.Cursor = page.NextCursor; p.Cursor == "" {
					break
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("%s, limit %d: got %v, want %s", name, limit, got, c.want)
			}
		}
	}
	own, err := ask(t, h, queries.CustomerOrders, queries.CustomerOrdersParams{CustomerID: "c-1", Limit: 2})
	if err != nil || len(own.Items) != 2 || own.Items[0].OrderID != "o-5" || own.NextCursor == "" {
		t.Errorf("the customer's orders are %+v (%v)", own, err)
	}
}

func TestPagesById(t *testing.T) {
	t.Parallel()
	h := build(t,
		"stock/p-2", events.StockReceived{Quantity: 2}, "stock/p-1", events.StockReceived{Quantity: 1}, "stock/p-3", events.StockReceived{Quantity: 3},
		"customer/c-2", events.CustomerRegistered{Name: "B"}, "customer/c-1", events.CustomerRegistered{Name: "A"},
	)
	first, err := ask(t, h, queries.StockList, queries.ListParams{Limit: 2})
	if err != nil || len(first.Items) != 2 || first.Items[0].ProductID != "p-1" || first.NextCursor == "" {
		t.Fatalf("the first page is %+v (%v)", first, err)
	}
	rest, err := ask(t, h, queries.StockList, queries.ListParams{Cursor: first.NextCursor})
	if err != nil || len(rest.Items) != 1 || rest.Items[0].ProductID != "p-3" || rest.NextCursor != "" {
		t.Errorf("the second page is %+v (%v)", rest, err)
	}
	people, err := ask(t, h, queries.CustomerList, queries.ListParams{})
	if err != nil || len(people.Items) != 2 || people.Items[0].Name != "A" || people.NextCursor != "" {
		t.Errorf("the customers are %+v (%v)", people, err)
	}
}

// Any cursor is answered with a page or blamed; none reaches the database as a fault.
func FuzzCursor(f *testing.F) {
	h := build(f, "order/o-1", order("o-1", "c-1", "USD", start), "customer/c-1", events.CustomerRegistered{Name: "A"})
	for _, seed := range []string{"", "x", "order|2026-03-01T12:00:00.000000000Z|o-1", "orderHistory|1", "customer|c-1", "order||", "orderHistory|-1", "\x00|\xff"} {
		f.Add(seed)
		f.Add(base64.RawURLEncoding.EncodeToString([]byte(seed)))
	}
	f.Fuzz(func(t *testing.T, cursor string) {
		for _, q := range []es.QueryDef{queries.OrderList, queries.CustomerList, queries.OrderHistory, queries.InventoryStatus, queries.MailList} {
			params := reflect.New(q.Params()).Elem()
			params.FieldByName("Cursor").SetString(cursor)
			if id := params.FieldByName("ID"); id.IsValid() {
				id.SetString("o-1")
			}
			_, err := q.AskAny(context.Background(), h[q.ProjectorName()].DB(), params.Interface())
			if invalid, ok := errors.AsType[*es.InvalidError](err); err != nil && (!ok || invalid.Pointer != "/cursor") {
				t.Errorf("%s with cursor %q: %v", q.QueryName(), cursor, err)
			}
		}
	})
}
