package graphql

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/money"
)

const place = `mutation($id: ID!, $input: CreateOrderInput!, $key: ID, $expected: Int64) {
	createOrder(orderId: $id, input: $input, idempotencyKey: $key, expectedVersion: $expected) {
		commandId outcome stream revision version events durability error { code message pointer errors { pointer message } allowed } } }`

// wish is the input of place; price is JSON.
func wish(price string) map[string]any {
	return map[string]any{
		"customerId": "c-1", "currency": "USD",
		"items":           []any{map[string]any{"productId": "p-1", "quantity": 1, "price": json.Number(price)}},
		"shippingAddress": map[string]any{"street": "1 Main St", "city": "Springfield", "country": "USA"},
		"payment":         map[string]any{"method": "paypal", "token": "tok_ok"},
	}
}

func TestCommandsAreAnsweredWithData(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for _, c := range []struct {
		name             string
		variables        []any
		outcome, version string
		code, pointer    string
	}{
		{"accepted", []any{"id", "o-1", "input", wish("19.99"), "key", "k-1"}, "accepted", "1", "", ""},
		{"the same again", []any{"id", "o-1", "input", wish("19.99"), "key", "k-1"}, "accepted", "1", "", ""},
		{"the same key, other input", []any{"id", "o-1", "input", wish("20"), "key", "k-1"}, "invalid", "1", "id_reused", ""},
		{"rejected", []any{"id", "o-1", "input", wish("19.99"), "key", "k-2"}, "rejected", "1", "order_already_exists", ""},
		{"conflict", []any{"id", "o-2", "input", wish("19.99"), "expected", 3}, "conflict", "0", "conflict", ""},
		{"rejected at a field", []any{"id", "o-2", "input", wish("0.001")}, "rejected", "0", "too_many_decimals", "/items/0/price"},
		{"against the schema", []any{"id", "o-2", "input", wish("-1")}, "invalid", "0", "schema", "/items/0/price"},
		{"a bad id", []any{"id", "a.b", "input", wish("1")}, "invalid", "0", "bad_id", ""},
		{"a bad key", []any{"id", "o-2", "input", wish("1"), "key", ""}, "invalid", "0", "bad_id", ""},
		{"the engine's key", []any{"id", "o-2", "input", wish("1"), "key", "ms-1"}, "invalid", "0", "bad_id", ""},
		{"an impossible version", []any{"id", "o-2", "input", wish("1"), "expected", -1}, "invalid", "0", "schema", ""},
		{"a version that is there", []any{"id", "o-2", "input", wish("1"), "expected", 0}, "accepted", "1", "", ""},
	} {
		a := s.ask(place, c.variables...)
		if len(a.Errors) > 0 || a.status != http.StatusOK {
			t.Errorf("%s: %d %+v", c.name, a.status, a.Errors)
			continue
		}
		reply := dig(t, a.Data, "createOrder").(map[string]any)
		code, pointer := "", ""
		if e, ok := reply["error"].(map[string]any); ok {
			code, pointer = e["code"].(string), e["pointer"].(string)
		}
		if reply["outcome"] != c.outcome || fmt.Sprint(reply["version"]) != c.version || code != c.code || pointer != c.pointer || reply["commandId"] == "" && c.code != "bad_id" {
			t.Errorf("%s: got %v %v", c.name, reply, reply["error"])
		}
	}
	history := s.ask(`query { history(category: order, id: "o-1", minRevision: 2) { edges { node { user commandId data } } } }`)
	if entry := dig(t, history.Data, "history.edges.0.node").(map[string]any); entry["user"] != "ada" || entry["commandId"] != "k-1" {
		t.Errorf("the log says of the order: %v", entry)
	}
	s.want(`{"cancelOrder":{"outcome":"rejected","error":{"code":"order_not_found","allowed":["CreateOrder"]}}}`,
		`mutation { cancelOrder(orderId: "none", input: {reason: "r"}) { outcome error { code allowed } } }`)
	s.want(`{"deliverOrder":{"outcome":"rejected","error":{"code":"order_not_shipped"}}}`, `mutation { deliverOrder(orderId: "o-1") { outcome error { code } } }`)
	s.want(`{"a":{"outcome":"accepted"},"b":{"outcome":"unchanged"},"c":{"events":["StockReceived"]}}`, `mutation {
		a: registerCustomer(customerId: "c-1", input: {name: "Ada"}) { outcome } b: registerCustomer(customerId: "c-1", input: {name: "Ada"}) { outcome }
		c: receiveStock(productId: "p-1", input: {quantity: 3}) { events } }`)
}

// Whatever REST answers to a command, GraphQL answers with the same code, pointer and outcome.
func TestCodesAreThoseOfREST(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.order("o-1", "c-1")
	s.send(commands.Accounts.Stream("a-1"), commands.OpenAccount{Owner: "Ada", Currency: "EUR"})
	for _, c := range []struct{ path, body, mutation string }{
		{"/orders/o-1/ship-order", `{"trackingNumber": "1Z"}`, `shipOrder(orderId: "o-1", input: {trackingNumber: "1Z"})`},
		{"/orders/o-1/ship-order", `{"trackingNumber": " "}`, `shipOrder(orderId: "o-1", input: {trackingNumber: " "})`},
		{"/orders/none/cancel-order", `{"reason": "r"}`, `cancelOrder(orderId: "none", input: {reason: "r"})`},
		{"/orders/o-1/add-order-item", `{"productId": "p.1", "quantity": 0, "price": 1}`, `addOrderItem(orderId: "o-1", input: {productId: "p.1", quantity: 0, price: 1})`},
		{"/orders/o-1/add-order-item", `{"productId": "p-1", "quantity": 1, "price": 0.001}`, `addOrderItem(orderId: "o-1", input: {productId: "p-1", quantity: 1, price: 0.001})`},
		{"/accounts/a-1/withdraw-money", `{"amount": 5, "currency": "EUR"}`, `withdrawMoney(accountId: "a-1", input: {amount: 5, currency: "EUR"})`},
		{"/accounts/a-1/deposit-money", `{"amount": 5, "currency": "USD"}`, `depositMoney(accountId: "a-1", input: {amount: 5, currency: "USD"})`},
		{"/accounts/a-1/deposit-money", `{"amount": 0, "currency": "EUR"}`, `depositMoney(accountId: "a-1", input: {amount: 0, currency: "EUR"})`},
		{"/transfers/t-1/request-transfer", `{"from": "a-1", "to": "a-1", "amount": 1, "currency": "EUR"}`, `requestTransfer(transferId: "t-1", input: {from: "a-1", to: "a-1", amount: 1, currency: "EUR"})`},
		{"/orders/" + strings.Repeat("x", 65) + "/cancel-order", `{"reason": "r"}`, `cancelOrder(orderId: "` + strings.Repeat("x", 65) + `", input: {reason: "r"})`},
	} {
		r := httptest.NewRequest(http.MethodPost, c.path, strings.NewReader(c.body))
		r.Header.Set("Caller", "ada operator")
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		s.http.ServeHTTP(w, r)
		var rest es.Reply
		if err := json.Unmarshal(w.Body.Bytes(), &rest); err != nil || rest.Error == nil {
			t.Fatalf("%s: %s", c.path, w.Body)
		}
		a := s.ask(`mutation { m: ` + c.mutation + ` { outcome error { code message pointer } } }`)
		if len(a.Errors) > 0 {
			t.Fatalf("%s: %+v", c.mutation, a.Errors)
		}
		want := map[string]any{"outcome": string(rest.Outcome), "error": map[string]any{"code": rest.Error.Code, "message": rest.Error.Message, "pointer": rest.Error.Pointer}}
		if got := dig(t, a.Data, "m"); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s:\ngot  %v\nREST %v", c.mutation, got, want)
		}
	}
}

// Amounts keep every digit, in variables, in the document and in defaults, as numbers and as strings, and on the way back.
func TestDecimalsAreExact(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	const exact = "12345678901234567.89" // a float has 16 digits
	s.send(commands.Accounts.Stream("a-1"), commands.OpenAccount{Owner: "Ada", Currency: "EUR"})
	balance := money.Decimal{}
	for _, c := range []struct {
		query     string
		variables []any
	}{
		{`mutation($a: Decimal!) { m: depositMoney(accountId: "a-1", input: {amount: $a, currency: "EUR"}) { revision error { message } } }`, []any{"a", json.Number(exact)}},
		{`mutation($a: Decimal!) { m: depositMoney(accountId: "a-1", input: {amount: $a, currency: "EUR"}) { revision error { message } } }`, []any{"a", exact}},
		{`mutation($i: DepositMoneyInput!) { m: depositMoney(accountId: "a-1", input: $i) { revision error { message } } }`, []any{"i", map[string]any{"amount": json.Number(exact), "currency": "EUR"}}},
		{`mutation { m: depositMoney(accountId: "a-1", input: {amount: ` + exact + `, currency: "EUR"}) { revision error { message } } }`, nil},
		{`mutation { m: depositMoney(accountId: "a-1", input: {amount: "` + exact + `", currency: "EUR"}) { revision error { message } } }`, nil},
		{`mutation($a: Decimal! = ` + exact + `) { m: depositMoney(accountId: "a-1", input: {amount: $a, currency: "EUR"}) { revision error { message } } }`, nil},
	} {
		balance = balance.Add(money.MustParse(exact))
		a := s.ask(c.query, c.variables...)
		if len(a.Errors) > 0 || dig(t, a.Data, "m.error") != nil {
			t.Fatalf("%s: %+v %s", c.query, a.Errors, a.Data)
		}
		s.want(`{"account":{"balance":`+balance.String()+`}}`, `query($r: Revision) { account(accountId: "a-1", minRevision: $r) { balance } }`, "r", dig(t, a.Data, "m.revision"))
	}
}
