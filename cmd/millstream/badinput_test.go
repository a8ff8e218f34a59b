package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/millstream-es/millstream/es/natsstore"
)

// bad is a request with something wrong in it, as far as possible apart from any door.
type bad struct {
	name string

	category, on, command, body string // a command to category/on
	id, version                 string // of it; "": not given

	query, params string   // a question as queries.<name> takes it
	path          string   // as REST does
	graphql       string   // as GraphQL does
	cli           []string // as the command line does

	follow string // a message to the WebSocket
	events string // the query string of server-sent events

	header     http.Header       // HTTP alone
	natsHeader map[string]string // NATS alone

	status int    // of HTTP and of NATS services; the command line's exit code follows from it
	code   string // stable, the same at every door
	says   string // what every door's text must name

	// but is the code of a door that says it in its own words, "-" for one where it cannot be said or is no fault.
	but map[string]string
}

const deep = 100 // levels of nesting, beyond schema.MaxDepth

// orderWith is a CreateOrder with one part replaced.
func orderWith(replace ...string) string {
	const good = `{"customerId":"c-1","currency":"USD","items":[{"productId":"p-1","quantity":2,"price":19.99}],"shippingAddress":{"street":"1 Main St","city":"Springfield","country":"USA"},"payment":{"method":"credit_card","token":"tok_ok"}}`
	return strings.NewReplacer(replace...).Replace(good)
}

func receive(quantity string) bad {
	return bad{category: "stock", on: "p-1", command: "ReceiveStock", body: `{"quantity":` + quantity + `}`, status: 422, code: "schema", says: "quantity"}
}

func (b bad) named(name string) bad { b.name = name; return b }

func (b bad) becomes(status int, code, says string) bad {
	b.status, b.code, b.says = status, code, says
	return b
}

func (b bad) save(door, code string) bad {
	b.but = maps.Clone(b.but)
	if b.but == nil {
		b.but = map[string]string{}
	}
	b.but[door] = code
	return b
}

func command(category, on, name, body string) bad {
	return bad{category: category, on: on, command: name, body: body}
}

// badRequests is the table.
func badRequests() []bad {
	one := receive("1")
	with := func(name, on string) bad {
		b := one
		b.name, b.on = name, on
		return b.becomes(400, "bad_id", "must match")
	}
	body := func(name, text string) bad {
		b := one
		b.name, b.body = name, text
		return b.becomes(400, "malformed", "")
	}
	head := func(name string, status int, code, says string, header http.Header) bad {
		b := one
		b.name, b.header = name, header
		return b.becomes(status, code, says)
	}
	smuggled := func(name, header, value string) bad { // ignored where it means nothing: the body is bad as well
		b := receive("-1")
		b.name, b.natsHeader = name, map[string]string{header: value}
		return b
	}
	asked := func(name, query, params, path, graphql string, status int, code, says string) bad {
		return bad{name: name, query: query, params: params, path: path, graphql: graphql, status: status, code: code, says: says}
	}
	followed := func(name, message, events, code, says string) bad {
		return bad{name: name, follow: message, events: events, status: 400, code: code, says: says}
	}
	table := []bad{
		// Bodies that are no JSON, or no JSON of ours.
		body("a body that is cut", `{"quantity":`),
		body("a body with something behind it", `{"quantity":1} x`),
		body("a key that stands twice", `{"quantity":1,"quantity":2}`),
		body("a body that is no UTF-8", "{\"quantity\":\"\xff\"}"),
		body("a lone surrogate", `{"quantity":"\ud800"}`),
		body("a NUL in the body", "{\"quantity\":\x001}"),
		body("a body as deep as a well", strings.Repeat(`{"quantity":`, deep)+"1"+strings.Repeat("}", deep)),
		body("a number that is none", `{"quantity":NaN}`),
		body("an infinite number", `{"quantity":Infinity}`),
		body("an exponent without an end", `{"quantity":1e99999}`),
		body("a number with a leading zero", `{"quantity":01}`),
		body("a text in single quotes", `{'quantity':1}`),
		one.named("a body of 2 MiB").becomes(413, "too_large", "1048576").with(`{"quantity":"`+strings.Repeat("a", 2<<20)+`"}`).save("call", "-").save("queue", "-").save("cli", "-"),
		one.named("a body a little too large").becomes(413, "too_large", "1048576").with(`{"quantity":"`+strings.Repeat("a", 1<<20-13)+`"}`).save("cli", "-").save("call", "-").save("queue", "-"),
		one.named("a list instead of an object").becomes(422, "schema", "must be").with(`[1,2]`),
		one.named("null instead of an object").becomes(422, "schema", "").with(`null`),

		// Against the schema.
		receive(`"ten"`).named("a text instead of a number"),
		receive("-1").named("a negative amount"),
		receive("0").named("nothing at all"),
		receive("1.5").named("half a unit"),
		receive("1000001").named("more than can be"),
		receive("9223372036854775808").named("more than 64 bits"),
		receive("1e30").named("a number beyond any integer"),
		receive("null").named("null"),
		receive(`1,"quality":1`).named("an unknown field").becomes(422, "schema", "quality"),
		one.named("a missing field").becomes(422, "schema", "quantity").with(`{}`),
		command("order", "o-1", "CreateOrder", orderWith(`19.99`, `19.999`)).named("a price too precise").becomes(409, "too_many_decimals", "price"),
		command("order", "o-1", "CreateOrder", orderWith(`19.99`, `-0.01`)).named("a price below nothing").becomes(422, "schema", "price"),
		command("order", "o-1", "CreateOrder", orderWith(`19.99`, `"abc"`)).named("a price in letters").becomes(422, "schema", "price"),
		command("order", "o-1", "CreateOrder", orderWith(`19.99`, `1e18`)).named("a price beyond all").becomes(422, "schema", "price"),
		command("order", "o-1", "CreateOrder", orderWith(`USD`, `usd`)).named("a currency in small letters").becomes(422, "schema", "currency"),
		command("order", "o-1", "CreateOrder", orderWith(`USD`, `XQZ`)).named("a currency that is none").becomes(409, "unknown_currency", "currency"),
		command("order", "o-1", "CreateOrder", orderWith(`"c-1"`, `"c.1"`)).named("a reference with a dot").becomes(422, "schema", "customerId"),
		command("order", "o-1", "CreateOrder", orderWith(`credit_card`, `cash`)).named("a method that is none").becomes(422, "schema", "method"),
		command("order", "o-1", "CreateOrder", orderWith(`"items":[{"productId":"p-1","quantity":2,"price":19.99}]`, `"items":[]`)).named("an order of nothing").becomes(422, "schema", "items"),
		command("order", "o-1", "CreateOrder", orderWith(`"currency"`, `"orderDate":"yesterday","currency"`)).named("a date in words").becomes(422, "schema", "orderDate"),
		command("order", "o-1", "CreateOrder", orderWith(`"currency"`, `"orderDate":"0001-01-01T00:00:00Z","currency"`)).named("a date before the calendar").becomes(409, "date_out_of_range", "orderDate"),
		command("customer", "c-2", "RegisterCustomer", `{"name":" "}`).named("a name of blanks").becomes(422, "schema", "name"),
		command("customer", "c-2", "RegisterCustomer", `{"name":"Ada","email":"ada at example"}`).named("an address for mail that is none").becomes(422, "schema", "email"),
		command("customer", "c-2", "RegisterCustomer", `{"name":"`+strings.Repeat("é", 201)+`"}`).named("a name too long").becomes(422, "schema", "name"),

		// Ids.
		with("a wildcard for an id", "*"),
		with("the greatest wildcard for an id", "a>b"),
		with("an id too long", strings.Repeat("a", 65)),
		with("an escaped way up for an id", "%2e%2e"),
		with("an id with letters that look like others", "р-1"), // Cyrillic
		with("an id with a joiner between", "p\u200d1"),
		with("an id with a blank", "p 1"),
		with("an id with a dot", "a.b").becomes(400, "bad_id", "must").save("call", "bad_subject").save("queue", "-"),
		with("a way up for an id", "../x").save("call", "-").save("queue", "-"),
		with("an id with a line in it", "a\r\nb"),
		with("no id", "").save("rest", "-"),
		one.named("a command's id with a blank").becomes(400, "bad_id", "must match").as("a b"),
		one.named("a command's id too long").becomes(400, "bad_id", "must match").as(strings.Repeat("a", 65)),
		one.named("a command's id that is the engine's").becomes(400, "bad_id", "ms-").as("ms-0123"),
		receive("7").named("an id used for another body").becomes(422, "id_reused", "known").as("known"),

		// What is not there.
		command("stock", "p-1", "ReciveStock", `{"quantity":1}`).named("a slip of the pen in a command").becomes(404, "unknown_command", "id you mean").save("graphql", "schema"),
		command("stok", "p-1", "ReceiveStock", `{"quantity":1}`).named("a slip of the pen in a category").becomes(404, "unknown_category", "stok"),
		command("stock", "p-1", "ShipOrder", `{"trackingNumber":"1"}`).named("another's command").becomes(404, "unknown_command", "").save("graphql", "-"),
		command("order", "nobody", "CancelOrder", `{"reason":"x"}`).named("an order that is not there").becomes(404, "order_not_found", "nobody"),
		command("account", "nobody", "DepositMoney", `{"amount":1,"currency":"USD"}`).named("an account that is not there").becomes(404, "account_not_found", "account"),

		// The business says no.
		command("account", "a-1", "WithdrawMoney", `{"amount":1,"currency":"USD"}`).named("more than there is").becomes(409, "insufficient_funds", ""),
		command("account", "a-1", "DepositMoney", `{"amount":1,"currency":"EUR"}`).named("another currency").becomes(409, "currency_mismatch", "USD"),
		command("account", "a-1", "DepositMoney", `{"amount":0.001,"currency":"USD"}`).named("less than a cent").becomes(409, "too_many_decimals", "amount"),
		command("customer", "c-1", "RegisterCustomer", `{"name":"Grace"}`).named("a customer twice").becomes(409, "customer_already_exists", "exists"),
		command("stock", "p-1", "ShipStock", `{"orderId":"o-9"}`).named("what nobody reserved").becomes(409, "nothing_reserved", "reserved"),

		// Versions and headers.
		one.named("a version that has gone").becomes(409, "conflict", "7").at("7"),
		one.named("a version that is none").becomes(400, "bad_header", "").at("seven").save("graphql", "-").save("cli", "-"),
		one.named("a version below nothing").becomes(400, "bad_header", "").at("-1").save("graphql", "schema").save("cli", "-"),
		one.named("a version of 70 bits").becomes(400, "bad_header", "").at("1180591620717411303424").save("graphql", "schema").save("cli", "-"),
		smuggled("a smuggled expectation", "Nats-Expected-Last-Sequence", "999").save("queue", "-"),
		smuggled("a smuggled schedule", "Nats-Schedule", "@every 1s").save("queue", "-"),
		smuggled("a smuggled roll-up", "Nats-Rollup", "all").save("queue", "-"),
		smuggled("a smuggled lifetime", "Nats-TTL", "1s").save("queue", "-"),
		smuggled("a smuggled attribute of an event", "ce-id", "x/1"),
		one.named("a correlation that never ends").becomes(400, "bad_header", "Correlation-Id").withNATS("Correlation-Id", strings.Repeat("c", 4096)).save("rest", "-"),
		one.named("a correlation of no ASCII").becomes(400, "bad_header", "Correlation-Id").withNATS("Correlation-Id", "é").save("rest", "-"),
		head("the same key twice", 400, "bad_header", "once", http.Header{"Idempotency-Key": {"a", "b"}}),
		head("If-Match without quotes", 400, "bad_header", "If-Match", http.Header{"If-Match": {"3"}}),
		head("If-Match of anything", 400, "bad_header", "If-Match", http.Header{"If-Match": {"*"}}),
		head("both conditions", 400, "bad_header", "exclude", http.Header{"If-Match": {`"1"`}, "If-None-Match": {"*"}}),
		head("a wait in words", 400, "bad_header", "wait", http.Header{"Prefer": {"wait=long"}}),
		head("a correlation too long", 400, "bad_header", "Correlation-Id", http.Header{"Correlation-Id": {strings.Repeat("c", 129)}}),
		head("another content type", 415, "unsupported_media_type", "text/xml", http.Header{"Content-Type": {"text/xml"}}),
		head("another charset", 415, "unsupported_media_type", "utf-16", http.Header{"Content-Type": {"application/json; charset=utf-16"}}),
		head("a compressed body", 415, "unsupported_media_type", "gzip", http.Header{"Content-Encoding": {"gzip"}}),
		head("a page of elsewhere", 403, "cross_origin", "", http.Header{"Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}}),

		// Questions.
		asked("a slip of the pen in a question", "ordrs", `{}`, "/ordrs", `{ ordrs { edges { cursor } } }`, 404, "unknown_query", "id you mean").save("rest", "unknown_path").save("graphql", "schema"),
		asked("an unknown parameter", "orders", `{"statsu":"PAID"}`, "/orders?statsu=PAID", `{ orders(filter: {statsu: PAID}) { edges { cursor } } }`, 422, "schema", "statsu").save("rest", "malformed"),
		asked("a status that is none", "orders", `{"status":"LOST"}`, "/orders?status=LOST", `{ orders(filter: {status: LOST}) { edges { cursor } } }`, 422, "schema", ""),
		asked("a limit of nothing", "orders", `{"limit":0}`, "/orders?limit=-1", `{ orders(first: 0) { edges { cursor } } }`, 422, "schema", ""),
		asked("a limit too large", "orders", `{"limit":201}`, "/orders?limit=201", `{ orders(first: 201) { edges { cursor } } }`, 422, "schema", "200"),
		asked("a limit in words", "orders", `{"limit":"many"}`, "/orders?limit=many", `{ orders(first: "many") { edges { cursor } } }`, 422, "schema", "").save("rest", "malformed"),
		asked("a cursor that is none", "orders", `{"cursor":"!"}`, "/orders?cursor=!", `{ orders(after: "!") { edges { cursor } } }`, 400, "malformed", "cursor"),
		asked("a cursor full of SQL", "customers", `{"cursor":"'; DROP TABLE customers; --"}`, "/customers?cursor=%27%3B+DROP+TABLE+customers%3B+--", `{ customers(after: "'; DROP TABLE customers; --") { edges { cursor } } }`, 400, "malformed", "cursor"),
		asked("a date in words to a question", "orders", `{"from":"yesterday"}`, "/orders?from=yesterday", `{ orders(filter: {from: "yesterday"}) { edges { cursor } } }`, 422, "schema", "from").save("rest", "malformed").save("graphql", "schema"),
		asked("nothing to search for", "orderSearch", `{"q":"' OR ;--"}`, "/search/orders?q=%27%3B--", `{ searchOrders(text: "';--") { edges { cursor } } }`, 422, "schema", "").save("queries", "-"),
		asked("a search too long", "orderSearch", `{"q":"`+strings.Repeat("x", 201)+`"}`, "/search/orders?q="+strings.Repeat("x", 201), `{ searchOrders(text: "`+strings.Repeat("x", 201)+`") { edges { cursor } } }`, 422, "schema", "200"),
		asked("a thing that is not there", "stock", `{"productId":"nothing"}`, "/stock/nothing", "", 404, "stock_not_found", ""),
		asked("a state in the future", "", "", "/stock/p-1?asOf=999999999", `{ stock(productId: "p-1") { asOf(revision: 999999999) { version } } }`, 400, "in_future", ""),
		asked("a state at no time", "", "", "/stock/p-1?asOf=then", `{ stock(productId: "p-1") { asOf(time: "then") { version } } }`, 400, "malformed", "RFC 3339").save("graphql", "schema"),
		asked("a revision that is none", "", "", "/orders?minRevision=-1", `{ orders(minRevision: -1) { edges { cursor } } }`, 400, "malformed", "0 or more").save("graphql", "schema"),
		asked("a revision of letters", "", "", "/orders?minRevision=x", `{ orders(minRevision: "x") { edges { cursor } } }`, 400, "malformed", "0 or more").save("graphql", "schema"),
		asked("a query string that is none", "", "", "/orders?%zz", "", 400, "malformed", "query string"),
		asked("a GraphQL document that is none", "", "", "", `{ orders(`, 400, "malformed", ""),
		asked("an outcome of nobody", "", "", "/commands/stock/p-1/never", "", 404, "outcome_not_found", ""),

		// Followers.
		followed("a message that is none", `{`, "", "malformed", "JSON"),
		followed("a message of an unknown type", `{"type":"subscrib","id":"1"}`, "", "unknown_type", "did you mean"),
		followed("a stream that is none", `{"type":"subscribe","id":"1","stream":"order"}`, "stream=order", "bad_id", "category/id"),
		followed("a stream of wildcards", `{"type":"subscribe","id":"1","stream":"order/>"}`, "stream=order/%3E", "bad_id", "must match"),
		followed("a category that is not there", `{"type":"subscribe","id":"1","category":"ordr"}`, "category=ordr", "unknown_category", "did you mean").becomes(404, "unknown_category", "did you mean"),
		followed("a type that is not there", `{"type":"subscribe","id":"1","types":["OrderCreatd"]}`, "type=OrderCreatd", "unknown_event", "did you mean"),
		followed("a revision to follow from that is none", `{"type":"subscribe","id":"1","after":-1}`, "after=-1", "malformed", "revision"),
		followed("an unknown field of a message", `{"type":"subscribe","id":"1","strem":"order/o-1"}`, "strem=order/o-1", "unknown_field", "did you mean").save("sse", "unknown_parameter"),
		followed("a Last-Event-ID that is none", "", "category=order", "malformed", "Last-Event-ID").heading("Last-Event-Id", "x"),

		// SQL, from the command line.
		{name: "SQL that writes", cli: []string{"query", "DELETE FROM orders", "--projection=orders"}, status: 422, says: "SELECT"},
		{name: "SQL that is none", cli: []string{"query", "SELEKT 1", "--projection=orders"}, status: 422, says: ""},
		{name: "a read model that is not there", cli: []string{"query", "SELECT 1", "--projection=ordrs"}, status: 404, says: "did you mean"},
	}
	return table
}

func (b bad) with(body string) bad  { b.body = body; return b }
func (b bad) as(id string) bad      { b.id = id; return b }
func (b bad) at(version string) bad { b.version = version; return b }

func (b bad) withNATS(name, value string) bad {
	b.natsHeader = map[string]string{name: value}
	return b
}

func (b bad) heading(name, value string) bad {
	b.header = http.Header{name: {value}}
	return b
}

// expects is the code at a door; no: the row is not for it.
func (b bad) expects(door string) (code string, ok bool) {
	code, special := b.but[door]
	if !special {
		code = b.code
	}
	return code, code != "-"
}

// exit is the exit code that a status stands for.
func (b bad) exit() int {
	switch {
	case b.status == http.StatusNotFound:
		return 3
	case b.code == "conflict":
		return 4
	case b.status == http.StatusConflict:
		return 5
	}
	return 2
}

func (b bad) check(t *testing.T, door string, s said) {
	t.Helper()
	code, _ := b.expects(door)
	if s.status >= 500 || code != "" && s.code != code || !strings.Contains(s.text, b.says) {
		t.Errorf("%s, %s: got %d %s, want %s and a word about %q: %.400s", door, b.name, s.status, s.code, code, b.says, s.text)
		return
	}
	if _, special := b.but[door]; special {
		return
	}
	want := b.status
	switch door {
	case "cli":
		want = b.exit()
	case "graphql": // a reply is data, and what it refuses unread is 4xx
		if s.status < 200 || s.status >= 500 {
			t.Errorf("%s, %s: status %d: %.400s", door, b.name, s.status, s.text)
		}
		return
	case "websocket":
		return
	case "rest":
		if b.code == "conflict" {
			want = http.StatusPreconditionFailed
		}
	}
	if s.status != want {
		t.Errorf("%s, %s: got status %d, want %d: %.400s", door, b.name, s.status, want, s.text)
	}
}

// TestBadRequestsAtEveryDoor: each is answered clearly, the same everywhere, and nothing comes of it.
func TestBadRequestsAtEveryDoor(t *testing.T) {
	t.Parallel()
	p := dev(t, t.TempDir())
	d := openDoors(t, p)
	for _, c := range []bad{
		command("stock", "p-1", "ReceiveStock", `{"quantity":10}`).as("known"),
		command("customer", "c-1", "RegisterCustomer", `{"name":"Ada"}`),
		command("account", "a-1", "OpenAccount", `{"owner":"Ada","currency":"USD"}`),
	} {
		if s, _, err := d.rest(c); err != nil || s.status != http.StatusOK {
			t.Fatal(s, err)
		}
	}
	before := lastRevision(t, d)
	table := badRequests()
	if len(table) < 60 {
		t.Errorf("the table has %d rows, want 60 at least", len(table))
	}
	queued := map[uint64]bad{}
	used := map[string]int{}
	var lines sync.WaitGroup
	busy := make(chan struct{}, 4) // processes of the command line at once
	var asked []string
	for _, b := range table {
		answered := false
		for _, door := range []struct {
			name string
			ask  func(bad) (said, bool, error)
		}{{"rest", d.rest}, {"call", d.call}, {"queries", d.queries}, {"graphql", d.graphql}, {"websocket", d.websocket}, {"sse", d.sse}} {
			if _, ok := b.expects(door.name); !ok {
				continue
			}
			s, ok, err := door.ask(b)
			if !ok {
				continue
			}
			answered = true
			used[door.name]++
			if err != nil {
				t.Errorf("%s, %s: %v", door.name, b.name, err)
				continue
			}
			b.check(t, door.name, s)
		}
		if _, ok := b.expects("cli"); ok && (b.cli != nil || b.command != "" && b.header == nil && b.natsHeader == nil) {
			answered = true
			used["cli"]++
			busy <- struct{}{}
			lines.Go(func() {
				defer func() { <-busy }()
				if s, _, err := d.cli(b); err != nil {
					t.Errorf("cli, %s: %v", b.name, err)
				} else {
					b.check(t, "cli", s)
				}
			})
		}
		if _, ok := b.expects("queue"); ok && b.token() && b.code != "id_reused" {
			used["queue"]++
			at, err := d.queue(b)
			if err != nil {
				t.Errorf("queue, %s: %v", b.name, err)
				continue
			}
			queued[at] = b
		}
		if !answered {
			t.Errorf("%s: no door was asked", b.name)
		}
		asked = append(asked, b.name)
	}
	lines.Wait()
	d.checkQueued(t, queued)
	if now := lastRevision(t, d); now != before {
		t.Errorf("the log went from revision %d to %d: something was stored", before, now)
	}
	if text := p.log.String(); strings.Contains(text, "panic") || strings.Contains(text, "goroutine ") {
		t.Errorf("the process panicked:\n%s", text)
	}
	if slices.Sort(asked); len(slices.Compact(slices.Clone(asked))) != len(asked) {
		t.Error("two rows have the same name")
	}
	t.Logf("%d rows; at each door: %v", len(table), used)
}

// checkQueued waits until every queued command has ended as it must: what the business rejects is answered, all else is
// put aside with the reason.
func (d *doors) checkQueued(t *testing.T, queued map[uint64]bad) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	aside := map[uint64]bad{}
	for at, b := range queued {
		if b.status != http.StatusConflict && !strings.HasSuffix(b.code, "_not_found") {
			aside[at] = b
		}
	}
	var letters map[uint64]string
	err := eventually(patience, func() (err error) {
		info, err := d.js.Stream(ctx, natsstore.CommandsStream)
		if err != nil {
			return err
		}
		if n := info.CachedInfo().State.Msgs; n > 0 {
			return fmt.Errorf("%d commands are still queued", n)
		}
		letters, err = d.letters(ctx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for at, b := range aside {
		if code, _ := b.expects("queue"); !strings.Contains(letters[at], code) || !strings.Contains(letters[at], b.says) {
			t.Errorf("queue, %s: the dead letter says %q, want %s and a word about %q", b.name, letters[at], code, b.says)
		}
	}
	if len(letters) != len(aside) {
		t.Errorf("%d dead letters, want %d", len(letters), len(aside))
	}
}

func lastRevision(t *testing.T, d *doors) uint64 {
	t.Helper()
	stream, err := d.js.Stream(t.Context(), natsstore.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().State.LastSeq
}
