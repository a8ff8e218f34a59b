package graphql

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
	"github.com/millstream-es/millstream/es/schema"
	"github.com/millstream-es/millstream/money"
	"github.com/millstream-es/millstream/queries"
)

func sdl() *ast.Schema { return NewExecutableSchema(Config{}).Schema() }

// described is what a command's JSON Schema says of its body.
type described struct {
	Properties map[string]described
	Required   []string
	Items      *described
	Enum       []string
}

func TestEveryCommandHasAMutationThatTakesItWhole(t *testing.T) {
	t.Parallel()
	registry, err := schema.New(domain)
	if err != nil {
		t.Fatal(err)
	}
	s, left := sdl(), map[string]bool{}
	for _, f := range s.Mutation.Fields {
		left[f.Name] = true
	}
	for _, a := range registry.Aggregates() {
		for _, c := range registry.Commands(a.Category()) {
			name := strings.ToLower(c.Type[:1]) + c.Type[1:]
			field := s.Mutation.Fields.ForName(name)
			switch {
			case c.Internal && field != nil:
				t.Errorf("%s is for sagas and gateways: it must have no mutation", c.Type)
				continue
			case c.Internal:
				continue
			case field == nil:
				t.Errorf("%s of %s has no mutation %s", c.Type, a.Category(), name)
				continue
			}
			delete(left, name)
			var given []string
			for _, argument := range field.Arguments {
				given = append(given, argument.Type.String())
			}
			input := field.Arguments[1].Type.Name()
			if want := []string{"ID!", input + "!", "ID", "Int64"}; !slices.Equal(given, want) || field.Type.String() != "CommandReply!" {
				t.Errorf("%s takes %v and answers %s, want %v and CommandReply!", name, given, field.Type, want)
			}
			var body described
			if err := json.Unmarshal(c.Schema, &body); err != nil {
				t.Fatal(err)
			}
			sameInput(t, s, c.Type, body, s.Types[input])
		}
	}
	for name := range left {
		if name != "__typename" {
			t.Errorf("mutation %s is no command", name)
		}
	}
}

func sameInput(t *testing.T, s *ast.Schema, where string, body described, input *ast.Definition) {
	t.Helper()
	for _, f := range input.Fields {
		if _, ok := body.Properties[f.Name]; !ok {
			t.Errorf("%s: input %s has a field %s that the command has not", where, input.Name, f.Name)
		}
	}
	for name, property := range body.Properties {
		f := input.Fields.ForName(name)
		if f == nil {
			t.Errorf("%s: input %s lacks the command's field %s", where, input.Name, name)
			continue
		}
		if f.Type.NonNull != slices.Contains(body.Required, name) {
			t.Errorf("%s: %s.%s is %s, but required is %v", where, input.Name, name, f.Type, !f.Type.NonNull)
		}
		if property.Items != nil {
			property = *property.Items
		}
		sameEnum(t, where+"."+name, property.Enum, s.Types[f.Type.Name()])
		if len(property.Properties) > 0 {
			sameInput(t, s, where+"."+name, property, s.Types[f.Type.Name()])
		}
	}
}

func sameEnum(t *testing.T, where string, values []string, def *ast.Definition) {
	t.Helper()
	if len(values) == 0 && def.Kind != ast.Enum {
		return
	}
	var known []string
	for _, v := range def.EnumValues {
		known = append(known, v.Name)
	}
	if !slices.Equal(values, known) {
		t.Errorf("%s is one of %v, but %s has %v", where, values, def.Name, known)
	}
}

// fieldOf is where each query is answered: a field, and the type of what it finds.
var fieldOf = map[string]struct{ field, node string }{
	"order": {"Query.order", "Order"}, "orders": {"Query.orders", "Order"}, "customerOrders": {"Customer.orders", "Order"},
	"orderSearch": {"Query.searchOrders", "FoundOrder"},
	"customer":    {"Query.customer", "Customer"}, "customers": {"Query.customers", "Customer"},
	"customerOverview": {"Query.customerOverview", "CustomerOverview"}, "customerPayments": {"Customer.payments", "Payment"},
	"stock": {"Query.stock", "StockLevel"}, "stockLevels": {"Query.stockLevels", "StockLevel"}, "inventory": {"Query.inventory", "InventoryItem"},
	"payment": {"Query.payment", "Payment"},
	"account": {"Query.account", "Account"}, "accounts": {"Query.accounts", "Account"},
	"accountTransactions": {"Account.transactions", "Transaction"}, "transfer": {"Query.transfer", "Transfer"},
	"dailySales": {"Query.dailySales", "DaySales"}, "financialReport": {"Query.financialReport", "MonthReport"},
	"mails":        {"Query.mails", "Mail"},
	"orderHistory": {"Order.history", "Event"}, "customerHistory": {"Customer.history", "Event"}, "stockHistory": {"StockLevel.history", "Event"},
	"paymentHistory": {"Payment.history", "Event"}, "accountHistory": {"Account.history", "Event"}, "transferHistory": {"Transfer.history", "Event"},
	"mailHistory": {"Mail.history", "Event"},
}

// argumentOf is what a query's parameter is called here; "": the thing that has the field is it.
var argumentOf = map[string]string{"cursor": "after", "limit": "first", "q": "text"}

func TestEveryQueryHasAFieldThatAnswersItWhole(t *testing.T) {
	t.Parallel()
	s := sdl()
	for _, q := range queries.All {
		at, known := fieldOf[q.QueryName()]
		if !known {
			t.Errorf("query %s has no field: add one to the schema and to fieldOf", q.QueryName())
			continue
		}
		owner, name, _ := strings.Cut(at.field, ".")
		field := s.Types[owner].Fields.ForName(name)
		if field == nil {
			t.Errorf("query %s: there is no field %s", q.QueryName(), at.field)
			continue
		}
		arguments := map[string]bool{}
		for _, a := range field.Arguments {
			arguments[a.Name] = true
			if def := s.Types[a.Type.Name()]; def.Kind == ast.InputObject {
				for _, f := range def.Fields {
					arguments[f.Name] = true
				}
			}
		}
		for f := range q.Params().Fields() {
			parameter, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if renamed, ok := argumentOf[parameter]; ok {
				parameter = renamed
			}
			ofParent := owner != "Query" && strings.HasSuffix(strings.ToLower(parameter), "id")
			if !arguments[parameter] && !ofParent {
				t.Errorf("query %s: field %s takes no %s", q.QueryName(), at.field, parameter)
			}
		}
		result := q.Result()
		if _, isPage := result.FieldByName("NextCursor"); isPage {
			items, _ := result.FieldByName("Items")
			result = items.Type.Elem()
		}
		wholeAnswer(t, s, q.QueryName(), result, s.Types[at.node])
	}
	wholeAnswer(t, s, "a command", reflect.TypeFor[es.Reply](), s.Types["CommandReply"])
	wholeAnswer(t, s, "a state", reflect.TypeFor[runtime.StateAt](), s.Types["AggregateState"])
}

// wholeAnswer wants every field of a Go type in a type of the schema, so that what a query learns to say is not lost.
func wholeAnswer(t *testing.T, s *ast.Schema, where string, goType reflect.Type, def *ast.Definition) {
	t.Helper()
	for f := range goType.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		if f.Anonymous {
			wholeAnswer(t, s, where, f.Type, def)
			continue
		}
		i := slices.IndexFunc(def.Fields, func(d *ast.FieldDefinition) bool { return strings.EqualFold(d.Name, name) })
		if i < 0 {
			t.Errorf("%s: %s lacks the field %s", where, def.Name, name)
			continue
		}
		inner := s.Types[def.Fields[i].Type.Name()]
		var values []string
		for part := range strings.SplitSeq(f.Tag.Get("jsonschema"), ",") {
			if value, ok := strings.CutPrefix(part, "enum="); ok {
				values = append(values, value)
			}
		}
		if len(values) > 0 && def.Name != "OpenOrder" { // whose status is one of an order's first three
			sameEnum(t, where+"."+name, values, inner)
		}
		of := f.Type
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		if of.Kind() == reflect.Struct && of != reflect.TypeFor[time.Time]() && of != reflect.TypeFor[money.Decimal]() {
			wholeAnswer(t, s, where+"."+name, of, inner)
		}
	}
}

func TestCategoriesAreTheDomains(t *testing.T) {
	t.Parallel()
	var known []string
	for _, a := range domain.Aggregates {
		known = append(known, a.Category())
		if _, ok := historyOf[a.Category()]; !ok {
			t.Errorf("%s has no history", a.Category())
		}
	}
	def := sdl().Types["Category"]
	for _, v := range def.EnumValues {
		known = slices.DeleteFunc(known, func(name string) bool { return name == v.Name })
	}
	if len(known) > 0 || len(def.EnumValues) != len(domain.Aggregates) {
		t.Errorf("Category lacks %v, or has what is no category", known)
	}
}

func TestEverythingInTheSchemaThatNeedsWordsHasThem(t *testing.T) {
	t.Parallel()
	for _, f := range sdl().Query.Fields {
		if f.Description == "" && !strings.HasPrefix(f.Name, "__") {
			t.Errorf("query field %s has no description", f.Name)
		}
	}
}

// The sums were written by `task generate`, behind the generator.
func TestGeneratedCodeIsOfThisSchema(t *testing.T) {
	t.Parallel()
	sums, err := os.ReadFile("generated.sum")
	if err != nil {
		t.Fatal(err)
	}
	schemas, err := filepath.Glob("*.graphqls")
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	for lines := bufio.NewScanner(bytes.NewReader(sums)); lines.Scan(); files++ {
		want, name, _ := strings.Cut(lines.Text(), "  ")
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := sha256.Sum256(data); hex.EncodeToString(got[:]) != want {
			t.Errorf("%s is not what generated.go was made of or as: run `task generate`", name)
		}
	}
	if want := len(schemas) + len([]string{"gqlgen.yml", "generated.go"}); files != want {
		t.Errorf("generated.sum names %d files, want %d: run `task generate`", files, want)
	}
}
