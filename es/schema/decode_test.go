package schema_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/schema"
)

const good = `{"customerId":"c-1","items":[{"productId":"p-1","quantity":2,"price":19.99}],"method":"paypal","address":{"street":"1 Main St","country":"USA"}}`

func TestDecodeReadsWhatFits(t *testing.T) {
	t.Parallel()
	got, err := newCommand(t, "CreateBasket").Decode([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	want := createBasket{CustomerID: "c-1", Items: []item{{ProductID: "p-1", Quantity: 2, Price: price{"19.99"}}}, Method: "paypal", Address: address{Street: "1 Main St", Country: "USA"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(price{})); diff != "" {
		t.Fatalf("decoded command differs (-want +got):\n%s", diff)
	}
}

func TestDecodeTakesAnEmptyBodyAsAnEmptyObject(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", " \n", "{}"} {
		if _, err := newCommand(t, "EmptyBasket").Decode([]byte(body)); err != nil {
			t.Errorf("body %q: %v", body, err)
		}
	}
}

func TestDecodeBlamesTheField(t *testing.T) {
	t.Parallel()
	command := newCommand(t, "CreateBasket")
	replaced := func(old, new string) string {
		t.Helper()
		if !strings.Contains(good, old) {
			t.Fatalf("no %s to replace", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	with := func(field string) string { return good[:len(good)-1] + "," + field + "}" }
	tests := []struct{ name, body, pointer, message string }{
		{"misspelt field", replaced(`"quantity"`, `"quantty"`), "/items/0/quantty", `unknown field "quantty": did you mean quantity?`},
		{"other case", replaced(`"customerId"`, `"CustomerID"`), "/CustomerID", `unknown field "CustomerID": did you mean customerId?`},
		{"field from nowhere", replaced(`"street":"1 Main St"`, `"street":"x","planet":1`), "/address/planet", `unknown field "planet": known are street, state, country`},
		{"key with a slash", with(`"a/b~":1`), "/a~1b~0", `unknown field "a/b~": known are customerId, items, method, address, email, note, placedAt, labels, gift`},
		{"missing field", replaced(`"productId":"p-1",`, ``), "/items/0/productId", "is required"},
		{"all missing", `{}`, "/customerId", "is required"},
		{"number for text", replaced(`"c-1"`, `7`), "/customerId", "must be a string but is a number"},
		{"text for number", replaced(`:2`, `:"2"`), "/items/0/quantity", "must be a whole number but is a string"},
		{"null", replaced(`"c-1"`, `null`), "/customerId", "must be a string but is null"},
		{"fraction", replaced(`:2`, `:2.5`), "/items/0/quantity", "must be a whole number but is 2.5"},
		{"whole, but written with a point", replaced(`:2`, `:2.0`), "/items/0/quantity", "must be a whole number that fits int64, written without point or exponent, but is 2.0"},
		{"too small", replaced(`:2`, `:-3`), "/items/0/quantity", "must be at least 1 but is -3"},
		{"too large", replaced(`:2`, `:1e300`), "/items/0/quantity", "must be at most 1000000 but is 1e300"},
		{"a little too large for a float to tell", replaced(`19.99`, `1000000000.0000000000000001`), "/items/0/price", "must be at most 1000000000 but is 1000000000.0000000000000001"},
		{"refused by its own type", replaced(`19.99`, `19.99999`), "/items/0/price", "has more than 4 decimals"},
		{"enum", replaced(`"paypal"`, `"paypall"`), "/method", `must be one of "credit_card", "paypal" but is "paypall": did you mean paypal?`},
		{"pattern", replaced(`"USA"`, `"us"`), "/address/country", `must match ^[A-Z]{3}$ but is "us"`},
		{"empty text", replaced(`"p-1"`, `""`), "/items/0/productId", "must not be empty"},
		{"long text", replaced(`"p-1"`, `"`+strings.Repeat("x", 65)+`"`), "/items/0/productId", "must have at most 64 characters but has 65"},
		{"email", with(`"email":"ada"`), "/email", `must be a valid email but is "ada"`},
		{"time", with(`"placedAt":"yesterday"`), "/placedAt", `must be a valid date-time but is "yesterday"`},
		{"leap second, that Go does not read", with(`"placedAt":"2016-12-31T23:59:60Z"`), "/placedAt", ""},
		{"no items", replaced(`[{"productId":"p-1","quantity":2,"price":19.99}]`, `[]`), "/items", "must have at least 1 item but has 0"},
		{"in a map", with(`"labels":{"a":1,"b":-1}`), "/labels/b", "must be at least 0 but is -1"},
		{"in a map, too large for its type", with(`"labels":{"a":1,"b":70000}`), "/labels/b", "must be a whole number that fits uint16, written without point or exponent, but is 70000"},
		{"no object", `[]`, "", "must be an object but is an array"},
		{"the first of many", replaced(`"quantity":2,"price":19.99`, `"price":-1,"quantity":-2,"x":1`), "/items/0/price", "must be at least 0 but is -1"},
		{"a misspelt field before the missing one", `{"customerid":"c-1"}`, "/customerid", `unknown field "customerid": did you mean customerId?`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := command.Decode([]byte(tt.body))
			var invalid *es.InvalidError
			if !errors.As(err, &invalid) || invalid.Code != "schema" || invalid.Pointer != tt.pointer || tt.message != "" && invalid.Message != tt.message {
				t.Fatalf("got  %v\nwant schema: %s: %s", err, tt.pointer, tt.message)
			}
			if !errors.Is(err, es.ErrPermanent) {
				t.Fatal("invalid input is permanent")
			}
		})
	}
}

func TestDecodeSaysWhereMalformedJSONIs(t *testing.T) {
	t.Parallel()
	command := newCommand(t, "CreateBasket")
	deep := func(n int) string { return strings.Repeat(`[`, n) + strings.Repeat(`]`, n) }
	tests := []struct{ name, body, message string }{
		{"cut short", `{"customerId":`, "line 1, column 15: expected a value, found the end"},
		{"cut short in a text", "{\n  \"a", "line 2, column 5: the text that begins at line 2, column 3 has no end"},
		{"trailing garbage", good + " x", fmt.Sprintf("line 1, column %d: expected the end after the value, found 'x'", len(good)+2)},
		{"second value", "{}{}", "line 1, column 3: expected the end after the value, found '{'"},
		{"duplicate key", `{"a":1,"\u0061":2}`, `line 1, column 8: field "a" stands twice in one object`},
		{"invalid UTF-8", "{\"ä\":\"\xff\"}", "line 1, column 7: invalid UTF-8"},
		{"half a surrogate pair", `{"a":"\ud800x"}`, "line 1, column 7: half of a surrogate pair without its other half"},
		{"raw control character", "\"a\nb\"", `line 1, column 3: a control character in a text must be escaped, as \u000a`},
		{"NUL", "\"a\x00b\"", `line 1, column 3: a control character in a text must be escaped, as \u0000`},
		{"nested too deep", deep(65), "line 1, column 65: nested deeper than 64"},
		{"NaN", `{"a":NaN}`, "line 1, column 6: expected a value, found 'N'"},
		{"leading zero", `{"a":01}`, "line 1, column 6: a number does not begin with 0"},
		{"no digit after the point", `{"a":1.}`, "line 1, column 8: expected a digit after the decimal point, found '}'"},
		{"huge exponent", `{"a":1e1000000000}`, "line 1, column 6: the exponent of a number has at most 3 digits"},
		{"endless number", `{"a":` + strings.Repeat("9", 200) + `}`, "line 1, column 6: a number has at most 128 characters"},
		{"trailing comma", `{"a":1,}`, "line 1, column 8: expected a field name in double quotes, found '}'"},
		{"bad escape", `{"a":"\x"}`, `line 1, column 7: expected an escape sequence: \" \\ \/ \b \f \n \r \t or \u and four hex digits`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := command.Decode([]byte(tt.body))
			var invalid *es.InvalidError
			if !errors.As(err, &invalid) || invalid.Code != "malformed" || invalid.Message != tt.message {
				t.Fatalf("got  %v\nwant malformed: %s", err, tt.message)
			}
		})
	}
	var invalid *es.InvalidError
	if _, err := command.Decode([]byte(deep(64))); !errors.As(err, &invalid) || invalid.Code != "schema" {
		t.Errorf("64 levels are not too deep: %v", err)
	}
}

func TestDecodeRefusesLargeBodiesUnread(t *testing.T) {
	t.Parallel()
	_, err := newCommand(t, "CreateBasket").Decode(make([]byte, schema.MaxBody+1))
	var invalid *es.InvalidError
	if !errors.As(err, &invalid) || invalid.Code != "too_large" {
		t.Fatalf("got %v, want too_large", err)
	}
}

func BenchmarkDecode(b *testing.B) {
	command := newCommand(b, "CreateBasket")
	body := []byte(good)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := command.Decode(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRequestHash(b *testing.B) {
	body := []byte(good)
	b.ReportAllocs()
	for b.Loop() {
		schema.RequestHash("CreateBasket", body)
	}
}

func FuzzCommandDecode(f *testing.F) {
	command := newCommand(f, "CreateBasket")
	for _, seed := range []string{good, string(command.Example), `{}`, `[1e9,"\ud83d\ude00",null]`, `{"items":[{"quantity":1.0}]}`, "\xff", `{"a":{"a":{"a":[[[]]]}}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		decoded, err := command.Decode(data)
		again, errAgain := command.Decode(data)
		if fmt.Sprint(err) != fmt.Sprint(errAgain) || !cmp.Equal(decoded, again, cmp.AllowUnexported(price{})) {
			t.Fatalf("two answers to %q: %v and %v", data, err, errAgain)
		}
		var invalid *es.InvalidError
		if err != nil && !errors.As(err, &invalid) {
			t.Fatalf("%q: error %v is no *es.InvalidError", data, err)
		}
	})
}
