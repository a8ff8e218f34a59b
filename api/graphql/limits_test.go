package graphql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
	"github.com/millstream-es/millstream/queries"
)

// fake is an engine that answers what it is told, and remembers that it was reached.
type fake struct {
	reached int
	reply   es.Reply
	err     error
	panics  bool
}

func (f *fake) Execute(context.Context, es.Request) es.Reply { f.reached++; return f.reply }

func (f *fake) Ask(ctx context.Context, _ es.QueryDef, _ any, min es.Revision) (any, es.Revision, error) {
	f.reached++
	switch {
	case f.panics:
		panic("secret panic")
	case min > 0:
		<-ctx.Done()
		return nil, 0, es.Transient(ctx.Err())
	case f.err != nil:
		return nil, 0, f.err
	}
	return queries.Orders{}, 0, nil
}

func (f *fake) StateAt(context.Context, es.Stream, es.Range) (runtime.StateAt, error) {
	f.reached++
	return runtime.StateAt{}, f.err
}

func (f *fake) Follow(context.Context, runtime.Filter, runtime.FollowFrom) (*runtime.Subscription, error) {
	f.reached++
	return nil, f.err
}

// as is a door on a fake engine, as somebody calls it.
func as(t *testing.T, f *fake, p access.Principal, logs io.Writer) http.Handler {
	t.Helper()
	d := New(f, Options{MaxWait: 50 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(logs, nil))})
	t.Cleanup(func() { d.Close(context.Background()) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.Name != "" {
			r = r.WithContext(access.With(r.Context(), p))
		}
		d.post(w, r)
	})
}

var viewer = access.Principal{Name: "eve", Role: access.Viewer}

func TestBadRequestsAreRefusedBeforeAnythingRuns(t *testing.T) {
	t.Parallel()
	const circle = `{ customer { orders(first: 1) { edges { node `
	deep := `{ order(orderId: "o") ` + circle + circle + circle + `{ orderId }` + strings.Repeat(` } } } }`, 3) + ` }`
	many := func(n int, field string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "a%d: %s ", i, field)
		}
		return b.String()
	}
	var laughs strings.Builder // fragments that double, 40 times
	for i := range 40 {
		fmt.Fprintf(&laughs, "fragment f%d on Query { ...f%d ...f%d } ", i, i+1, i+1)
	}
	laughs.WriteString("fragment f40 on Query { __typename }")
	for _, c := range []struct {
		name, body string
		status     int
		code       string
		headers    []string
	}{
		{"no body", ``, 400, "malformed", nil},
		{"no JSON", `query { x }`, 400, "malformed", nil},
		{"JSON that ends early", `{"query": "{ __type`, 400, "malformed", nil},
		{"a string", `"{ __typename }"`, 400, "malformed", nil},
		{"a number", `1`, 400, "malformed", nil},
		{"null", `null`, 400, "malformed", nil},
		{"a batch", `[{"query": "{ __typename }"}]`, 400, "batch_not_supported", nil},
		{"an empty batch", ` []`, 400, "batch_not_supported", nil},
		{"two operations behind each other", body(`{ __typename }`) + body(`{ __typename }`), 400, "malformed", nil},
		{"a query that is no string", `{"query": {}}`, 400, "malformed", nil},
		{"variables that are no object", `{"query": "{ __typename }", "variables": [1]}`, 400, "malformed", nil},
		{"variables as text", `{"query": "{ __typename }", "variables": "{}"}`, 400, "malformed", nil},
		{"no query", `{}`, 400, "malformed", nil},
		{"a persisted query", `{"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "x"}}}`, 400, "malformed", nil},
		{"plain text", body(`{ __typename }`), 415, "unsupported_media_type", []string{"Content-Type: text/plain"}},
		{"a form", `query={__typename}`, 415, "unsupported_media_type", []string{"Content-Type: application/x-www-form-urlencoded"}},
		{"a multipart form", body(`{ __typename }`), 415, "unsupported_media_type", []string{"Content-Type: multipart/form-data; boundary=x"}},
		{"the document alone", `{ __typename }`, 415, "unsupported_media_type", []string{"Content-Type: application/graphql"}},
		{"no content type", body(`{ __typename }`), 415, "unsupported_media_type", []string{"Content-Type: "}},
		{"another charset", body(`{ __typename }`), 415, "unsupported_media_type", []string{"Content-Type: application/json; charset=latin1"}},
		{"compressed", body(`{ __typename }`), 415, "unsupported_media_type", []string{"Content-Encoding: gzip"}},
		{"too large", body(`{ __typename }`) + strings.Repeat(" ", 1<<20), 413, "too_large", nil},
		{"a syntax error", body(`{ orders(`), 400, "malformed", nil},
		{"an empty document", body(` `), 400, "schema", nil},
		{"only a fragment", body(`fragment f on Order { orderId }`), 400, "schema", nil},
		{"a NUL", body("{ \x00 }"), 400, "malformed", nil},
		{"no such field", body(`{ nothing }`), 400, "schema", nil},
		{"no such type", body(`{ orders { edges { node { ... on Nothing { x } } } } }`), 400, "schema", nil},
		{"no such argument", body(`{ orders(last: 3) { edges { cursor } } }`), 400, "schema", nil},
		{"nothing selected", body(`{ orders }`), 400, "schema", nil},
		{"something selected of a number", body(`{ orders { edges { node { version { x } } } } }`), 400, "schema", nil},
		{"a required argument missing", body(`{ order { status } }`), 400, "schema", nil},
		{"a required variable missing", body(`query($id: ID!) { order(orderId: $id) { status } }`), 400, "schema", nil},
		{"a variable of another type", body(`query($n: Int!) { orders(first: $n) { edges { cursor } } }`, "n", "many"), 400, "schema", nil},
		{"a variable nobody declared", body(`{ order(orderId: $id) { status } }`), 400, "schema", nil},
		{"a required field missing in an input", body(`mutation { cancelOrder(orderId: "o", input: {}) { outcome } }`), 400, "schema", nil},
		{"an unknown field in an input", body(`mutation { cancelOrder(orderId: "o", input: {reason: "r", x: 1}) { outcome } }`), 400, "schema", nil},
		{"an unknown value of an enum", body(`{ orders(filter: {status: LOST}) { edges { cursor } } }`), 400, "schema", nil},
		{"an internal command", body(`mutation { markOrderPaid(orderId: "o", input: {paymentId: "p", amount: 1}) { outcome } }`), 400, "schema", nil},
		{"several operations, none named", `{"query": "query a { __typename } query b { __typename }"}`, 400, "schema", nil},
		{"another operation named", `{"query": "query a { __typename }", "operationName": "b"}`, 400, "schema", nil},
		{"a fragment within itself", body(`{ ...f } fragment f on Query { ...f }`), 400, "schema", nil},
		{"a subscription", body(`subscription { events { revision } }`), 400, "not_subscribable", nil},
		{"too deep", body(deep), 400, "too_deep", nil},
		{"too deep by fragments", body(`{ order(orderId: "o") { ...f } } fragment f on Order { customer { orders { edges { node { ...g } } } } } fragment g on Order { customer { orders { edges { node { ...h } } } } } fragment h on Order { customer { name } }`), 400, "too_deep", nil},
		{"introspection that multiplies", body(`{ __schema { types { fields { type { fields { type { fields { type { name } } } } } } } } }`), 400, "schema", nil},
		{"too many aliases", body(`{ ` + many(31, `__typename`) + `}`), 400, "too_many_aliases", nil},
		{"too many aliases by fragments", body(`{ ` + strings.Repeat(`...f `, 4) + `} fragment f on Query { ` + many(8, `__typename`) + `}`), 400, "too_many_aliases", nil},
		{"too many commands", body(`mutation { ` + many(31, `releaseStock(productId: "p", input: {orderId: "o"}) { outcome }`) + `}`), 400, "too_many_aliases", nil},
		{"too many fields", body(`{ ` + strings.Repeat(`__typename `, 301) + `}`), 400, "too_complex", nil},
		{"fields that validation would compare each with each", body(`query a { ` + strings.Repeat(`__typename `, 400) + `} query b { __typename } fragment f on Query { ` + strings.Repeat(`__typename `, 100) + `}`), 400, "too_complex", nil},
		{"too large pages", body(`{ orders(first: 200) { edges { node { orderId status currency totalAmount customerId orderNumber itemsCount version revision updatedAt createdAt orderDate cancelReason } } } }`), 400, "too_complex", nil},
		{"too large pages within pages", body(`query($n: Int!) { customers(first: $n) { edges { node { orders(first: $n) { edges { cursor } } } } } }`, "n", 100), 400, "too_complex", nil},
		{"too many states", body(`{ orders(first: 50) { edges { node { asOf { state } payments { asOf { state } } } } } accounts { edges { node { asOf { state } } } } }`), 400, "too_complex", nil},
		{"a billion laughs", body(`{ ...f0 } ` + laughs.String()), 400, "too_complex", nil},
		{"too many tokens", body(`{ __typename ` + strings.Repeat(`@skip(if: false) `, 1000) + `}`), 400, "malformed", nil},
		{"too many tokens, empty selections", body(strings.Repeat(`{`, 5000)), 400, "malformed", nil},
		{"first: 0", body(`{ orders(first: 0) { edges { cursor } } }`), 200, "schema", nil},
		{"first: -1", body(`{ orders(first: -1) { edges { cursor } } }`), 200, "schema", nil},
		{"first: 201", body(`{ orders(first: 201) { edges { cursor } } }`), 200, "schema", nil},
		{"first beyond an Int", body(`{ orders(first: 99999999999999999999) { edges { cursor } } }`), 0, "schema", nil},
		{"a number beyond every float", body(`mutation { depositMoney(accountId: "a", input: {amount: 1e999, currency: "EUR"}) { outcome } }`), 0, "schema", nil},
		{"a decimal that is none", body(`mutation { depositMoney(accountId: "a", input: {amount: "1,5", currency: "EUR"}) { outcome } }`), 0, "schema", nil},
		{"a decimal that is true", body(`mutation { depositMoney(accountId: "a", input: {amount: true, currency: "EUR"}) { outcome } }`), 0, "schema", nil},
		{"a quantity with a fraction", body(`mutation { receiveStock(productId: "p", input: {quantity: 1.5}) { outcome } }`), 0, "schema", nil},
		{"a quantity as text", body(`mutation($q: Int64!) { receiveStock(productId: "p", input: {quantity: $q}) { outcome } }`, "q", "5"), 0, "schema", nil},
		{"a negative revision", body(`{ orders(minRevision: -1) { edges { cursor } } }`), 0, "schema", nil},
		{"a time that is none", body(`{ orders(filter: {from: "yesterday"}) { edges { cursor } } }`), 0, "schema", nil},
		{"a state of two moments", body(`{ state(category: order, id: "o", revision: 1, time: "2026-01-01T00:00:00Z") { version } }`), 200, "schema", nil},
		{"a state of a bad id", body(`{ state(category: order, id: "o.>") { version } }`), 200, "bad_id", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := &fake{err: errors.New("reached")}
			h := as(t, f, access.Principal{Name: "root", Role: access.Admin}, io.Discard)
			a := post(t, h, c.body, c.headers...)
			if c.status != 0 && a.status != c.status || a.code() != c.code || a.Errors[0].Message == "" {
				t.Errorf("got %d %+v, want %d %s", a.status, a.Errors, c.status, c.code)
			}
			if a.status != http.StatusOK && a.Data != nil {
				t.Errorf("nothing ran, yet there are data: %s", a.Data)
			}
			if f.reached > 0 {
				t.Error("the engine was reached")
			}
		})
	}
}

func TestWhatIsWithinTheLimitsPasses(t *testing.T) {
	t.Parallel()
	h := as(t, &fake{}, viewer, io.Discard)
	for _, query := range []string{
		`{ orders(first: 200) { edges { node { orderId status totalAmount customerId orderNumber } } pageInfo { hasNextPage endCursor } } }`,
		`{ orders { edges { node { customer { orders { edges { node { customer { name } } } } } } } } }`, // ten deep
		`{ ` + strings.Repeat(`...f `, 3) + `} fragment f on Query { a0: __typename a1: __typename a2: __typename a3: __typename a4: __typename a5: __typename a6: __typename a7: __typename a8: __typename a9: __typename }`,
		introspect,
	} {
		if a := post(t, h, body(query)); len(a.Errors) > 0 || a.status != 200 {
			t.Errorf("%s: %d %+v", query, a.status, a.Errors)
		}
	}
}

// introspect is the query that tools begin with.
const introspect = `query IntrospectionQuery { __schema { description queryType { name kind } mutationType { name kind } subscriptionType { name kind }
	types { ...FullType } directives { name description isRepeatable locations args(includeDeprecated: true) { ...InputValue } } } }
	fragment FullType on __Type { kind name description specifiedByURL isOneOf fields(includeDeprecated: true) { name description args(includeDeprecated: true) { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason }
		inputFields(includeDeprecated: true) { ...InputValue } interfaces { ...TypeRef } enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason } possibleTypes { ...TypeRef } }
	fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue isDeprecated deprecationReason }
	fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } } }`

func TestFaultsShowNothingOfTheInside(t *testing.T) {
	t.Parallel()
	for _, f := range []*fake{{err: errors.New("secret table")}, {panics: true}} {
		var logs strings.Builder
		a := post(t, as(t, f, viewer, &logs), body(`{ orders { edges { cursor } } }`))
		if a.code() != "internal" || strings.Contains(fmt.Sprint(a.Errors), "secret") || !strings.Contains(logs.String(), "secret") {
			t.Errorf("%+v; the log: %s", a.Errors, &logs)
		}
	}
	f := &fake{reply: es.Reply{CommandID: "k-1", Outcome: es.UnknownOutcome, Error: &es.Problem{Code: "outcome_unknown", Message: "again", Status: 503}}}
	a := post(t, as(t, f, access.Principal{Name: "ada", Role: access.Operator}, io.Discard), body(`mutation { releaseStock(productId: "p", input: {orderId: "o"}) { outcome } }`))
	if reply, ok := a.Errors[0].Extensions["reply"].(map[string]any); !ok || a.code() != "outcome_unknown" || reply["commandId"] != "k-1" {
		t.Errorf("an unknown outcome is %+v", a.Errors)
	}
}

func TestARevisionThatDoesNotComeIsUnavailable(t *testing.T) {
	t.Parallel()
	a := post(t, as(t, &fake{}, viewer, io.Discard), body(`{ orders(minRevision: 7) { edges { cursor } } }`))
	if a.code() != "revision_not_reached" || string(a.Data) != "null" {
		t.Errorf("got %+v", a)
	}
}

// Every field of the roots asks who is calling, and so does everything below them.
func TestEveryFieldAsksWhoIsCalling(t *testing.T) {
	t.Parallel()
	s := sdl()
	for _, root := range []*ast.Definition{s.Query, s.Mutation} {
		for _, field := range root.Fields {
			if strings.HasPrefix(field.Name, "__") {
				continue
			}
			operation := strings.ToLower(root.Name) + " { " + example(s, field) + " }"
			for who, want := range map[string]string{"": "unauthenticated", "nobody": "denied", "viewer": "denied"} {
				if who == "viewer" && root == s.Query {
					continue
				}
				f := &fake{}
				p := access.Principal{Name: who, Role: access.Role(who)}
				if a := post(t, as(t, f, p, io.Discard), body(operation)); a.code() != want || f.reached > 0 {
					t.Errorf("%s as %q: got %+v, want %s", operation, who, a.Errors, want)
				}
			}
		}
	}
	scoped := access.Principal{Name: "shop", Role: access.Operator, Scopes: []string{"query.ask:orders", "command.send:stock"}}
	for operation, allowed := range map[string]bool{
		`{ orders { edges { cursor } } }`: true, `{ accounts { edges { cursor } } }`: false, `{ state(category: order, id: "o") { version } }`: false,
		`mutation { releaseStock(productId: "p", input: {orderId: "o"}) { commandId } }`: true, `mutation { cancelOrder(orderId: "o", input: {reason: "r"}) { commandId } }`: false,
	} {
		f := &fake{reply: es.Reply{Outcome: es.Accepted}}
		if a := post(t, as(t, f, scoped, io.Discard), body(operation)); (a.code() == "") != allowed || !allowed && a.code() != "denied" {
			t.Errorf("%s: %+v", operation, a.Errors)
		}
	}
}

// example is a field with the least that is required of its arguments and selection.
func example(s *ast.Schema, field *ast.FieldDefinition) string {
	var arguments []string
	for _, a := range field.Arguments {
		if a.Type.NonNull && a.DefaultValue == nil {
			arguments = append(arguments, a.Name+": "+literal(s, a.Type))
		}
	}
	text := field.Name
	if len(arguments) > 0 {
		text += "(" + strings.Join(arguments, ", ") + ")"
	}
	def := s.Types[field.Type.Name()]
	if def.Kind != ast.Object {
		return text
	}
	for _, f := range def.Fields {
		if s.Types[f.Type.Name()].Kind != ast.Object || strings.HasSuffix(f.Name, "Info") || len(def.Fields) == 1 {
			return text + " { " + example(s, f) + " }"
		}
	}
	return text + " { __typename }"
}

func literal(s *ast.Schema, t *ast.Type) string {
	if t.Elem != nil {
		return "[" + literal(s, t.Elem) + "]"
	}
	switch def := s.Types[t.Name()]; def.Kind {
	case ast.Enum:
		return def.EnumValues[0].Name
	case ast.InputObject:
		var fields []string
		for _, f := range def.Fields {
			if f.Type.NonNull {
				fields = append(fields, f.Name+": "+literal(s, f.Type))
			}
		}
		return "{" + strings.Join(fields, ", ") + "}"
	}
	switch t.Name() {
	case "Decimal", "Int64", "Int", "Revision":
		return "1"
	}
	return `"x"`
}
