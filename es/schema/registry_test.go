package schema_test

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/schema"
)

func TestSchemaFollowsTheGoType(t *testing.T) {
	t.Parallel()
	got, err := schema.Of(reflect.TypeFor[item]())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"$schema":"https://json-schema.org/draft/2020-12/schema","properties":{` +
		`"productId":{"type":"string","maxLength":64,"minLength":1,"examples":["p-1"]},` +
		`"quantity":{"type":"integer","maximum":1000000,"minimum":1,"examples":[2]},` +
		`"price":{"type":"number","maximum":1000000000,"minimum":0,"examples":[19.99]}},` +
		`"additionalProperties":false,"type":"object","required":["productId","quantity","price"]}`
	if string(got) != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

type tree struct {
	Branches []tree `json:"branches"`
}

type mute struct{}

func (mute) MarshalJSON() ([]byte, error) { return nil, nil }

func TestSchemaRefusesTypesItCannotDescribe(t *testing.T) {
	t.Parallel()
	for want, typ := range map[string]reflect.Type{
		"contains itself":          reflect.TypeFor[tree](),
		"marshals itself":          reflect.TypeFor[struct{ Field mute }](),
		"unsupported type":         reflect.TypeFor[struct{ Field chan int }](),
		"which is no JSON Schema:": reflect.TypeFor[liar](),
	} {
		if _, err := schema.Of(typ); !errors.Is(err, es.ErrPermanent) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v, want a permanent one with %q", typ, err, want)
		}
	}
}

type liar struct{}

func (liar) JSONSchema() string { return "{" }

func TestExamplesAreReadyToPaste(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"CreateBasket": `{"customerId":"c-1","items":[{"productId":"p-1","quantity":2,"price":19.99}],"method":"credit_card","address":{"street":"1 Main St","country":"USA"},"email":"ada@example.com"}`,
		"EmptyBasket":  `{}`,
	}
	for _, c := range newRegistry(t).Commands("basket") {
		if string(c.Example) != want[c.Type] {
			t.Errorf("%s: got  %s\nwant %s", c.Type, c.Example, want[c.Type])
		}
		if _, err := c.Decode(c.Example); err != nil {
			t.Errorf("%s: its own example is refused: %v", c.Type, err)
		}
	}
}

type badExample struct {
	Code string `json:"code" jsonschema:"pattern=^[0-9]+$"`
}

func (badExample) CommandType() string { return "BadExample" }
func (badExample) basketCommand()      {}

type badTag struct {
	Code string `json:"code" jsonschema:"pattern=(,example=x"`
}

func (badTag) CommandType() string { return "BadTag" }
func (badTag) basketCommand()      {}

func TestNewReportsEveryFault(t *testing.T) {
	t.Parallel()
	_, err := schema.New(es.Domain{
		Events:     []es.EventDef{es.EventOf[basketFilled](1), es.EventOf[basketFilled](1)},
		Aggregates: []es.Aggregate{es.Define[basket]("basket", badExample{}, createBasket{}, badTag{})},
	})
	if err == nil || !errors.Is(err, es.ErrPermanent) {
		t.Fatalf("got %v, want a permanent error", err)
	}
	for _, want := range []string{
		`event "BasketFilled" is listed twice`,
		`command BadExample of basket: its example {"code":"text"} is refused (schema: /code: must match ^[0-9]+$ but is "text"): give the field a jsonschema tag with a fitting example=…`,
		`command BadTag of basket: its jsonschema tags do not make a JSON Schema`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "CreateBasket") {
		t.Errorf("error blames a command without fault:\n%v", err)
	}
}

func TestUnknownNamesSayWhatWasMeant(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	tests := []struct{ category, command, code, message string }{
		{"baskt", "CreateBasket", "unknown_category", `unknown aggregate "baskt": did you mean basket?`},
		{"planet", "CreateBasket", "unknown_category", `unknown aggregate "planet": known are basket, shelf`},
		{"basket", "CreatBasket", "unknown_command", `unknown command "CreatBasket": did you mean CreateBasket?`},
		{"basket", "Fly", "unknown_command", `unknown command "Fly": known are CreateBasket, EmptyBasket`},
		{"basket", "TidyShelf", "unknown_command", `unknown command "TidyShelf": it is one of shelf, not of basket`},
		{"basket", strings.Repeat("é", 40), "unknown_command", `unknown command "` + strings.Repeat("é", 32) + `…": known are CreateBasket, EmptyBasket`},
	}
	for _, tt := range tests {
		_, err := r.Command(tt.category, tt.command)
		var invalid *es.InvalidError
		if !errors.As(err, &invalid) || invalid.Code != tt.code || invalid.Message != tt.message {
			t.Errorf("%s/%s: got  %v\nwant %s: %s", tt.category, tt.command, err, tt.code, tt.message)
		}
	}
}

func TestClosestForgivesSlips(t *testing.T) {
	t.Parallel()
	known := []string{"CreateOrder", "ShipOrder", "CancelOrder", "id"}
	for name, want := range map[string]string{
		"CreatOrder": "CreateOrder", "CraeteOrder": "CreateOrder", "shiporder": "ShipOrder", "CancelOrders": "CancelOrder",
		"ie": "id", "": "", "Fly": "", "ReceiveStock": "", strings.Repeat("x", 1000): "",
	} {
		if got, _ := schema.Closest(name, known); got != want {
			t.Errorf("Closest(%.20q) = %q, want %q", name, got, want)
		}
	}
}

func TestEventsComeBackAtTheirNewestVersion(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	want := basketFilled{Count: math.MaxInt64}
	data, version, err := r.EncodeEvent(want)
	if err != nil || version != 2 {
		t.Fatalf("got version %d, error %v; want version 2", version, err)
	}
	if got, err := r.DecodeEvent("BasketFilled", version, data); err != nil || got != want {
		t.Fatalf("got %v, %v; want %v", got, err, want)
	}
	if got, err := r.DecodeEvent("BasketFilled", 1, []byte(`{"count":"7"}`)); err != nil || got != (basketFilled{Count: 7}) {
		t.Fatalf("version 1: got %v, %v; want 7", got, err)
	}
}

type unlisted struct{}

func (unlisted) EventType() string { return "Unlisted" }

type impostor struct{ Count float64 }

func (impostor) EventType() string { return "BasketFilled" }

func TestEventsThatCannotBeStoredOrReadArePermanentErrors(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	for _, e := range []es.Event{unlisted{}, impostor{}, &basketFilled{}} {
		if _, _, err := r.EncodeEvent(e); !errors.Is(err, es.ErrPermanent) {
			t.Errorf("encode %T: got %v, want a permanent error", e, err)
		}
	}
	for name, err := range map[string]error{
		"unlisted type": second(r.DecodeEvent("Unlisted", 1, []byte(`{}`))),
		"from tomorrow": second(r.DecodeEvent("BasketFilled", 3, []byte(`{}`))),
		"version 0":     second(r.DecodeEvent("BasketFilled", 0, []byte(`{}`))),
		"damaged":       second(r.DecodeEvent("BasketFilled", 2, []byte(`{"cou`))),
		"wrong type":    second(r.DecodeEvent("BasketFilled", 2, []byte(`{"count":"x"}`))),
		"bad upcast":    second(r.DecodeEvent("BasketFilled", 1, []byte(`{"count":"x"}`))),
	} {
		if !errors.Is(err, es.ErrPermanent) {
			t.Errorf("%s: got %v, want a permanent error", name, err)
		}
	}
}

func second(_ es.Event, err error) error { return err }

func TestRequestHashSeesOnlyWhatMatters(t *testing.T) {
	t.Parallel()
	base := schema.RequestHash("Ship", []byte(`{"a":1,"b":["x",null,true]}`))
	if len(base) != 32 {
		t.Fatalf("hash %q has %d characters, want 32", base, len(base))
	}
	for _, same := range []string{"{ \"b\" : [\"\\u0078\",null,true],\n\"a\":1}", `{"a":1,"b":["x",null,true]}` + "\n"} {
		if schema.RequestHash("Ship", []byte(same)) != base {
			t.Errorf("%s is the same request", same)
		}
	}
	for _, other := range []string{`{"a":1.0,"b":["x",null,true]}`, `{"a":"1","b":["x",null,true]}`, `{"a":1,"b":["x",true,null]}`, `{"a":1}`, `{`, ``} {
		if schema.RequestHash("Ship", []byte(other)) == base {
			t.Errorf("%s is another request", other)
		}
	}
	if schema.RequestHash("Sink", []byte(`{"a":1,"b":["x",null,true]}`)) == base {
		t.Error("another type is another request")
	}
	if schema.RequestHash("Ship", nil) != schema.RequestHash("Ship", []byte("{}")) {
		t.Error("an empty body stands for {}")
	}
}

func FuzzDecodeEvent(f *testing.F) {
	r := newRegistry(f)
	f.Add("BasketFilled", 1, []byte(`{"count":"7"}`))
	f.Add("BasketFilled", 2, []byte(`{"count":7}`))
	f.Add("Other", 0, []byte("\xff"))
	f.Fuzz(func(t *testing.T, typ string, version int, data []byte) {
		e, err := r.DecodeEvent(typ, version, data)
		if err != nil {
			if !errors.Is(err, es.ErrPermanent) {
				t.Fatalf("error %v is not permanent", err)
			}
			return
		}
		encoded, newest, err := r.EncodeEvent(e)
		if err != nil {
			t.Fatalf("%v was read but cannot be written: %v", e, err)
		}
		if back, err := r.DecodeEvent(typ, newest, encoded); err != nil || back != e {
			t.Fatalf("%v came back as %v, %v", e, back, err)
		}
	})
}

func FuzzParserAgreesWithEncodingJSON(f *testing.F) {
	f.Add([]byte(`{"a":[1,-0.5e3,"\n\ud83d\ude00",null,true,{}]}`))
	command := newCommand(f, "CreateBasket")
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := command.Decode(data)
		var invalid *es.InvalidError
		accepted := err == nil || errors.As(err, &invalid) && invalid.Code == "schema"
		if accepted && len(strings.TrimSpace(string(data))) > 0 && !json.Valid(data) {
			t.Fatalf("%q is no JSON but was taken for it", data)
		}
	})
}
