package schema_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/schema"
)

// price has JSON of its own, like money.Decimal.
type price struct{ text string }

func (p price) MarshalJSON() ([]byte, error) { return []byte(p.text), nil }
func (p price) JSONSchema() string           { return `{"type":"number"}` }
func (p *price) UnmarshalJSON(data []byte) error {
	if _, decimals, _ := strings.Cut(string(data), "."); len(decimals) > 4 {
		return fmt.Errorf("has more than 4 decimals")
	}
	p.text = string(data)
	return nil
}

type item struct {
	ProductID string `json:"productId" jsonschema:"minLength=1,maxLength=64,example=p-1"`
	Quantity  int64  `json:"quantity" jsonschema:"minimum=1,maximum=1000000,example=2"`
	Price     price  `json:"price" jsonschema:"minimum=0,maximum=1000000000,example=19.99"`
}

type address struct {
	Street  string `json:"street" jsonschema:"example=1 Main St"`
	State   string `json:"state,omitempty"`
	Country string `json:"country" jsonschema:"pattern=^[A-Z]{3}$,example=USA"`
}

type createBasket struct {
	CustomerID string            `json:"customerId" jsonschema:"example=c-1"`
	Items      []item            `json:"items" jsonschema:"minItems=1,maxItems=100"`
	Method     string            `json:"method" jsonschema:"enum=credit_card,enum=paypal"`
	Address    address           `json:"address"`
	Email      string            `json:"email,omitempty" jsonschema:"format=email,example=ada@example.com"`
	Note       string            `json:"note,omitempty"`
	PlacedAt   time.Time         `json:"placedAt,omitzero"`
	Labels     map[string]uint16 `json:"labels,omitempty"`
	Gift       *bool             `json:"gift,omitempty"`
}

type emptyBasket struct{}

func (createBasket) CommandType() string { return "CreateBasket" }
func (createBasket) basketCommand()      {}
func (emptyBasket) CommandType() string  { return "EmptyBasket" }
func (emptyBasket) basketCommand()       {}

type basketCommand interface {
	es.Command
	basketCommand()
}

type basketFilledV1 struct {
	Count string `json:"count"`
}

type basketFilled struct {
	Count int64 `json:"count"`
}

func (basketFilled) EventType() string { return "BasketFilled" }

type basket struct{ filled bool }

func (basket) Decide(basketCommand, es.Meta) ([]basketFilled, error) { return nil, nil }
func (basket) Evolve(basketFilled) basket                            { return basket{filled: true} }

var (
	baskets = es.Define[basket]("basket", createBasket{}, emptyBasket{})
	domain  = es.Domain{
		Name: "test",
		Events: []es.EventDef{es.EventOf[basketFilled](2, es.Upcast(1, func(old basketFilledV1) (basketFilled, error) {
			var e basketFilled
			return e, json.Unmarshal([]byte(old.Count), &e.Count)
		}))},
		Aggregates: []es.Aggregate{baskets, es.Define[shelf]("shelf", tidyShelf{})},
	}
)

type tidyShelf struct{}

func (tidyShelf) CommandType() string { return "TidyShelf" }

type shelf struct{}

func (shelf) Decide(tidyShelf, es.Meta) ([]basketFilled, error) { return nil, nil }
func (shelf) Evolve(basketFilled) shelf                         { return shelf{} }

func newRegistry(t testing.TB) *schema.Registry {
	t.Helper()
	r, err := schema.New(domain)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newCommand(t testing.TB, typ string) *schema.Command {
	t.Helper()
	c, err := newRegistry(t).Command("basket", typ)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
