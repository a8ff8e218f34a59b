package queries_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
	"github.com/millstream-es/millstream/queries"
)

// ordered is an order of one product to an address.
func ordered(number, customer, product, street, city, country string) events.OrderCreated {
	return events.OrderCreated{
		OrderNumber: number, CustomerID: customer, Currency: "USD", OrderDate: start, TotalAmount: money.MustParse("51.88"),
		Items:           []events.OrderItem{{ProductID: product, Quantity: 1}},
		ShippingAddress: events.Address{Street: street, City: city, Country: country},
	}
}

// library is four orders to look for.
func library(t testing.TB) house {
	return build(t,
		"customer/berglunds", events.CustomerRegistered{Name: "Christina Berglund"},
		"customer/anatr", events.CustomerRegistered{Name: "Ana Trujillo"},
		"customer/lovelace", events.CustomerRegistered{Name: "Ada Lovelace"},
		"order/o-1", ordered("10248", "berglunds", "prod-77", "Berguvsvägen 8", "Luleå", "Sweden"),
		"order/o-2", ordered("10308", "anatr", "prod-7", "Avda. de la Constitución 2222", "México D.F.", "Mexico"),
		"order/o-3", ordered("20001", "lovelace", "prod-9", "12 Mexico Street", "Springfield", "USA"),
		"order/o-4", ordered("20002", "lovelace", "prod-9", "77 Or Near Not Road", "Lovelace Springs", "USA"),
		"order/o-1", events.OrderShipped{TrackingNumber: "1Z-999-AA1"},
	)
}

func find(t *testing.T, h house, q string) string {
	t.Helper()
	found, err := ask(t, h, queries.OrderSearch, queries.SearchParams{Q: q})
	if err != nil {
		t.Errorf("%q: %v", q, err)
	}
	var ids []string
	for i, f := range found.Items {
		ids = append(ids, f.OrderID)
		if f.Score <= 0 || i > 0 && f.Score > found.Items[i-1].Score {
			t.Errorf("%q: the score of %s is %v", q, f.OrderID, f.Score)
		}
	}
	return strings.Join(ids, " ")
}

func TestWhatASearchFinds(t *testing.T) {
	t.Parallel()
	h := library(t)
	for name, c := range map[string]struct{ q, want string }{
		"a name":                         {"trujillo", "o-2"},
		"in any case":                    {"TRUJILLO", "o-2"},
		"the beginning of the last word": {"ana truj", "o-2"},
		"not of one before":              {"tru ana", ""},
		"all words, in any order":        {"sweden christina", "o-1"},
		"not some of them":               {"sweden trujillo", ""},
		"an order number":                {"10248", "o-1"},
		"its beginning":                  {"102", "o-1"},
		"not its middle":                 {"0248", ""},
		"an order id":                    {"o-3", "o-3"},
		"a customer's id":                {"anatr", "o-2"},
		"a product, and what begins so":  {"prod-7", "o-2 o-1"},
		"a product alone":                {"prod-7 mexico", "o-2"},
		"a tracking number":              {"1Z-999-AA1", "o-1"},
		"as somebody may write it":       {"1z 999 aa1", "o-1"},
		"its beginning too":              {"1z-99", "o-1"},
		"what hangs together, together":  {"1z-aa1", ""},
		"without the diacritics":         {"lulea", "o-1"},
		"with them":                      {"Luleå", "o-1"},
		"with them as two characters":    {"Lulea\u030a", "o-1"},
		"with others":                    {"lulèä", "o-1"},
		"an accent in the text or not":   {"méxico trujillo", "o-2"},
		"one letter is no beginning":     {"m", ""},
		"nothing that is not there":      {"zebra", ""},
		"a name before a street":         {"lovelace", "o-4 o-3"},
		"punctuation at the ends":        {"  ...trujillo!? ", "o-2"},
		"a star of one's own":            {"tru*", "o-2"},
		"a star is not a word":           {"* ana", "o-2"},
		"operators are words: AND":       {"ana AND trujillo", ""},
		"operators are words: OR":        {"trujillo OR berglund", ""},
		"operators are words: NOT":       {"ana NOT sweden", ""},
		"operators are words: NEAR":      {"ana NEAR/5 trujillo", ""},
		"words that happen to be theirs": {"or near not", "o-4"},
		"minus takes nothing away":       {"trujillo -mexico", "o-2"},
		"columns are words":              {"customer_name:ana", ""},
		"quotation marks":                {`"ana trujillo"`, "o-2"},
		"one quotation mark":             {`ana" OR "1"="1`, ""},
		"apostrophes":                    {`ana' OR 1=1 --`, ""},
		"parentheses":                    {`(ana) (trujillo)`, "o-2"},
		"a circumflex, a brace":          {`^ana {trujillo}`, "o-2"},
		"zeros":                          {"ana\x00trujillo", "o-2"},
		"bytes that are no text":         {"ana \xff\xfe trujillo", "o-2"},
	} {
		if got := find(t, h, c.q); got != c.want {
			t.Errorf("%s: %q found %q, want %q", name, c.q, got, c.want)
		}
	}
}

func TestRanking(t *testing.T) {
	t.Parallel()
	h := build(t,
		"customer/c-1", events.CustomerRegistered{Name: "Springfield"},
		"customer/c-2", events.CustomerRegistered{Name: "Bob"},
		"order/o-1", ordered("1", "c-2", "prod-1", "Springfield Street 1, at the corner of the old harbour", "Springfield", "USA"),
		"order/o-2", ordered("2", "c-2", "springfield", "Street 1", "Town", "USA"),
		"order/o-3", ordered("3", "c-1", "prod-1", "Street 1", "Town", "USA"),
		"order/o-4", ordered("springfield", "c-2", "prod-1", "Street 1", "Town", "USA"),
		"order/o-5", ordered("5", "c-2", "prod-1", "Street 1", "Town", "USA"),
		"order/o-6", ordered("6", "c-2", "prod-1", "Street 1", "Town", "USA"),
	)
	if got := find(t, h, "springfield"); got != "o-4 o-3 o-2 o-1" {
		t.Errorf("found %s: a number says more than a name, a name more than a product, that more than an address", got)
	}
	if got := find(t, h, "bob"); !strings.HasPrefix(got, "o-6 o-5 ") {
		t.Errorf("found %s: of what matches alike the newest comes first", got)
	}
	if got := find(t, h, "o-5"); got != "o-5" {
		t.Errorf("found %s", got)
	}
}

func TestTheWholeWordComesBeforeItsBeginning(t *testing.T) {
	t.Parallel()
	var facts []any
	for i := range 30 {
		id := fmt.Sprintf("o-%d", i)
		facts = append(facts, "order/"+id, ordered("N"+id, "c-1", fmt.Sprintf("prod-%d", i), "Street 1", "Town", "USA"))
	}
	h := build(t, facts...)
	for q, want := range map[string]string{"o-2": "o-2", "prod-1": "o-1", "No-2": "o-2", "o-1": "o-1"} {
		if got := find(t, h, q); !strings.HasPrefix(got, want+" ") || strings.Count(got, "o-") != 11 {
			t.Errorf("%s: found %s, want %s first of 11", q, got, want)
		}
	}
}

func TestAFoundOrder(t *testing.T) {
	t.Parallel()
	h := library(t)
	found, err := ask(t, h, queries.OrderSearch, queries.SearchParams{Q: "lulea"})
	if err != nil || len(found.Items) != 1 {
		t.Fatalf("%+v, %v", found, err)
	}
	want := queries.FoundOrder{
		OrderID: "o-1", OrderNumber: "10248", Status: "SHIPPED", CustomerID: "berglunds", CustomerName: "Christina Berglund",
		Products: []string{"prod-77"}, Address: "Berguvsvägen 8, Luleå, Sweden", TrackingNumber: "1Z-999-AA1",
		TotalAmount: money.MustParse("51.88"), Currency: "USD", OrderDate: start, Version: 2, Revision: 8,
	}
	got := found.Items[0]
	got.Score = 0
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	wantJSON(t, h, queries.OrderSearch, queries.SearchParams{Q: "zebra"}, `{"items":[]}`)
}

func TestPagesOfASearch(t *testing.T) {
	t.Parallel()
	var facts []any
	for i := range 7 {
		facts = append(facts, fmt.Sprintf("order/o-%d", i), ordered("1", "c-1", "prod-1", strings.Repeat("Street ", i+1), "Town", "USA"))
	}
	h := build(t, facts...)
	all := find(t, h, "street")
	if strings.Count(all, "o-") != 7 {
		t.Fatalf("found %s", all)
	}
	for limit := 1; limit < 9; limit++ {
		var got []string
		for p := (queries.SearchParams{Q: "street", Limit: limit}); ; {
			page, err := ask(t, h, queries.OrderSearch, p)
			if err != nil || len(page.Items) > limit || len(got) > 7 {
				t.Fatalf("limit %d: %+v, %v", limit, page, err)
			}
			for _, f := range page.Items {
				got = append(got, f.OrderID)
			}
			if p.Cursor = page.NextCursor; p.Cursor == "" {
				break
			}
		}
		if strings.Join(got, " ") != all {
			t.Errorf("limit %d: got %v, want %s", limit, got, all)
		}
	}
}

func TestSearchesThatAreNone(t *testing.T) {
	t.Parallel()
	h := library(t)
	for q, want := range map[string]string{
		"": "/q", " ": "/q", `"*" ()`: "/q", "\u0301": "/q", strings.Repeat("x", 201): "/q", strings.Repeat("å", 200): "", strings.Repeat("x ", 17): "/q", strings.Repeat("x ", 16): "",
	} {
		_, err := ask(t, h, queries.OrderSearch, queries.SearchParams{Q: q})
		invalid, _ := errors.AsType[*es.InvalidError](err)
		if want == "" && err != nil || want != "" && (invalid == nil || invalid.Pointer != want) {
			t.Errorf("%q: got %v, want a fault at %q", q, err, want)
		}
	}
}

// Whatever is typed is answered or blamed; nothing of it reaches the database as a fault.
func FuzzSearch(f *testing.F) {
	h := library(f)
	for _, seed := range []string{"ana", `"`, "*", "a*b", "NEAR/2", "ana OR 1=1", "order_id:o", "(", "-", "\x00", "\xff", "å", "a\u030a", "\u0301a", "١٢", "😀 x", "ﬁ", "ǅ", "ᾳ", "〇", "Ⅷ", "²"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, q string) {
		_, err := queries.OrderSearch.Ask(context.Background(), h["search"].DB(), queries.SearchParams{Q: q})
		if invalid, ok := errors.AsType[*es.InvalidError](err); err != nil && (!ok || invalid.Pointer != "/q") {
			t.Errorf("%q (%t): %v", q, utf8.ValidString(q), err)
		}
	})
}
