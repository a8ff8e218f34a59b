package commands_test

import (
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
)

var dec = money.MustParse

// createOrder is a wish for one line of two units at 19.99 USD.
func createOrder() commands.CreateOrder {
	return commands.CreateOrder{
		CustomerID:      "c-1",
		Currency:        "USD",
		Items:           []commands.Item{{ProductID: "p-1", Quantity: 2, Price: dec("19.99")}},
		ShippingAddress: commands.Address{Street: "1 Main St", City: "Springfield", State: "IL", ZipCode: "62701", Country: "USA"},
		Payment:         commands.OrderPayment{Method: "credit_card", Token: "tok_ok"},
	}
}

var (
	created = events.OrderCreated{
		OrderID:         "o-1",
		OrderNumber:     "o-1",
		CustomerID:      "c-1",
		Currency:        "USD",
		Items:           []events.OrderItem{{ProductID: "p-1", Quantity: 2, Price: dec("19.99"), TotalPrice: dec("39.98")}},
		TotalAmount:     dec("39.98"),
		ShippingAddress: events.Address{Street: "1 Main St", City: "Springfield", State: "IL", ZipCode: "62701", Country: "USA"},
		OrderDate:       estest.Noon,
		Payment:         events.OrderPayment{Method: "credit_card", Token: "tok_ok"},
	}
	paid      = events.OrderPaid{PaymentID: "o-1-1", Amount: dec("39.98"), CustomerID: "c-1", OrderNumber: "o-1", Currency: "USD"}
	shipped   = events.OrderShipped{TrackingNumber: "1Z999", ShippedAt: estest.Noon, CustomerID: "c-1", OrderNumber: "o-1"}
	delivered = events.OrderDelivered{DeliveredAt: estest.Noon}
	cancelled = events.OrderCancelled{Reason: "changed my mind", CustomerID: "c-1", OrderNumber: "o-1"}
)

func TestAnOrderIsCreatedOnce(t *testing.T) {
	t.Parallel()
	estest.For(t, commands.Orders).ID("o-1").When(createOrder()).Then(created)
	estest.For(t, commands.Orders).ID("o-1").Given(created).When(createOrder()).ThenRejected(commands.ErrOrderExists)
	estest.For(t, commands.Orders).ID("o-1").Given(created, cancelled).When(createOrder()).ThenRejected(commands.ErrOrderExists)
	estest.For(t, commands.Orders).ID(strings.Repeat("x", 61)).When(createOrder()).ThenRejected(commands.ErrOrderIDTooLong)
}

func TestOptionalFieldsOfAnOrder(t *testing.T) {
	t.Parallel()
	berlin := time.Date(1996, 7, 4, 1, 30, 0, 0, time.FixedZone("CEST", 2*60*60))
	wish := createOrder()
	wish.OrderNumber, wish.OrderDate, wish.ShippingMethod = "10248", &berlin, "express"
	want := created
	want.OrderNumber, want.OrderDate, want.ShippingMethod = "10248", berlin.UTC(), "express"
	estest.For(t, commands.Orders).ID("o-1").When(wish).Then(want)
}

func TestTotalsAreComputed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		currency string
		items    []commands.Item
		totals   []string
		sum      string
	}{
		"a tie goes to the even cent": {"USD", []commands.Item{
			{ProductID: "p-1", Quantity: 1, Price: dec("0.5"), TaxRate: dec("0.25")},
			{ProductID: "p-1", Quantity: 1, Price: dec("0.5"), TaxRate: dec("0.27")}}, []string{"0.62", "0.64"}, "1.26"},
		"one product on two lines": {"EUR", []commands.Item{
			{ProductID: "p-1", Quantity: 3, Price: dec("1.1")},
			{ProductID: "p-1", Quantity: 1, Price: dec("2"), TaxRate: dec("0.19")}}, []string{"3.3", "2.38"}, "5.68"},
		"a currency without coins": {"JPY", []commands.Item{
			{ProductID: "p-1", Quantity: 3, Price: dec("101"), TaxRate: dec("0.1")}}, []string{"333"}, "333"},
		"a currency with three digits": {"KWD", []commands.Item{
			{ProductID: "p-1", Quantity: 7, Price: dec("0.001"), TaxRate: dec("0.5")}}, []string{"0.01"}, "0.01"},
		"for nothing": {"USD", []commands.Item{{ProductID: "p-1", Quantity: 1}}, []string{"0"}, "0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wish, want := createOrder(), created
			wish.Currency, want.Currency = c.currency, c.currency
			wish.Items, want.Items = c.items, nil
			for i, item := range c.items {
				want.Items = append(want.Items, events.OrderItem{
					ProductID: item.ProductID, Quantity: item.Quantity, Price: item.Price, TaxRate: item.TaxRate, TotalPrice: dec(c.totals[i]),
				})
			}
			want.TotalAmount = dec(c.sum)
			estest.For(t, commands.Orders).ID("o-1").When(wish).Then(want)
		})
	}
}

func TestAmountsThatNoCurrencyHas(t *testing.T) {
	t.Parallel()
	item := func(quantity int64, price string) commands.Item {
		return commands.Item{ProductID: "p-1", Quantity: quantity, Price: dec(price)}
	}
	for name, c := range map[string]struct {
		currency string
		items    []commands.Item
		want     error
	}{
		"unknown currency":         {"ABC", []commands.Item{item(1, "1")}, commands.ErrUnknownCurrency.At("/currency")},
		"more decimals than cents": {"USD", []commands.Item{item(1, "1"), item(1, "1.005")}, commands.ErrTooManyDecimals.At("/items/1/price")},
		"half a yen":               {"JPY", []commands.Item{item(2, "0.5")}, commands.ErrTooManyDecimals.At("/items/0/price")},
		"a price out of range":     {"USD", []commands.Item{item(1, "1e20")}, commands.ErrAmountOutOfRange.At("/items/0/price")},
		"a line out of range":      {"USD", []commands.Item{item(1e6, "1e15")}, commands.ErrAmountOutOfRange.At("/items/0")},
		"a sum out of range":       {"JPY", []commands.Item{item(5, "1e18"), item(5, "1e18")}, commands.ErrAmountOutOfRange.At("/items")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wish := createOrder()
			wish.Currency, wish.Items = c.currency, c.items
			estest.For(t, commands.Orders).ID("o-1").When(wish).ThenRejected(c.want)
		})
	}
}

func TestTimesThatNoLogCouldHold(t *testing.T) {
	t.Parallel()
	early := time.Date(0, 1, 1, 0, 0, 0, 0, time.FixedZone("", 23*60*60)) // the year -1 in UTC, which has no RFC 3339
	late := time.Date(9999, 12, 31, 23, 0, 0, 0, time.UTC)
	wish := createOrder()
	wish.OrderDate = &early
	estest.For(t, commands.Orders).ID("o-1").When(wish).ThenRejected(commands.ErrDateOutOfRange.At("/orderDate"))
	estest.For(t, commands.Orders).Given(created, paid).When(commands.ShipOrder{TrackingNumber: "1", ShippedAt: &late}).
		ThenRejected(commands.ErrDateOutOfRange.At("/shippedAt"))
	estest.For(t, commands.Orders).Given(created, paid, shipped).When(commands.DeliverOrder{DeliveredAt: &late}).
		ThenRejected(commands.ErrDateOutOfRange.At("/deliveredAt"))
}

func TestNothingHappensToAnOrderThatDoesNotExist(t *testing.T) {
	t.Parallel()
	for _, c := range []commands.OrderCommand{
		commands.AddOrderItem{}, commands.MarkOrderPaid{}, commands.ShipOrder{}, commands.DeliverOrder{}, commands.CancelOrder{},
	} {
		estest.For(t, commands.Orders).ID("o-1").When(c).ThenRejected(commands.ErrOrderNotFound)
	}
	if !commands.ErrOrderNotFound.NotFound {
		t.Error("order_not_found must answer 404")
	}
}

func TestItemsAreAddedOnlyBeforePayment(t *testing.T) {
	t.Parallel()
	add := commands.AddOrderItem{ProductID: "p-2", Quantity: 3, Price: dec("1.5"), TaxRate: dec("0.07")}
	line := events.OrderItem{ProductID: "p-2", Quantity: 3, Price: dec("1.5"), TaxRate: dec("0.07"), TotalPrice: dec("4.82")}
	estest.For(t, commands.Orders).Given(created).When(add).Then(events.OrderItemAdded{Item: line, TotalAmount: dec("44.8")}).
		And().When(add).Then(events.OrderItemAdded{Item: line, TotalAmount: dec("49.62")})
	for _, history := range [][]events.Order{{created, paid}, {created, paid, shipped}, {created, cancelled}} {
		estest.For(t, commands.Orders).Given(history...).When(add).ThenRejected(commands.ErrOrderNotOpen)
	}
	estest.For(t, commands.Orders).Given(created).When(commands.AddOrderItem{ProductID: "p-2", Quantity: 1, Price: dec("0.001")}).
		ThenRejected(commands.ErrTooManyDecimals.At("/price"))
	full := created
	full.Items = make([]events.OrderItem, 500)
	estest.For(t, commands.Orders).Given(full).When(add).ThenRejected(commands.ErrTooManyItems)
}

func TestAnOrderIsPaidWhenThePaymentsReachItsTotal(t *testing.T) {
	t.Parallel()
	pay := func(amount string) commands.MarkOrderPaid {
		return commands.MarkOrderPaid{PaymentID: "o-1-1", Amount: dec(amount)}
	}
	order := func(history ...events.Order) *estest.Scenario[commands.Order, commands.OrderCommand, events.Order] {
		return estest.For(t, commands.Orders).ID("o-1").Given(append([]events.Order{created}, history...)...)
	}
	order().When(pay("39.97")).ThenRejected(commands.ErrUnderpaid.At("/amount"))
	order().When(pay("39.99")).ThenRejected(commands.ErrOverpaid.At("/amount"))
	order().When(pay("39.98")).Then(paid)
	order().When(pay("39.980")).Then(paid)
	order().When(commands.MarkOrderPaid{PaymentID: "o-1-1", Amount: dec("39.98"), Currency: "USD"}).Then(paid)
	order().When(commands.MarkOrderPaid{PaymentID: "o-1-1", Amount: dec("39.98"), Currency: "EUR"}).
		ThenRejected(commands.ErrCurrencyMismatch.At("/currency"))
	order(events.OrderItemAdded{TotalAmount: dec("50")}).When(pay("39.98")).ThenRejected(commands.ErrUnderpaid)
	order(paid).When(pay("39.98")).ThenUnchanged()
	order(paid, shipped, delivered).When(pay("39.98")).ThenUnchanged()
	order(paid).When(commands.MarkOrderPaid{PaymentID: "o-1-2", Amount: dec("39.98")}).ThenRejected(commands.ErrOrderAlreadyPaid)
	order(cancelled).When(pay("39.98")).ThenRejected(commands.ErrOrderCancelled)
	order(paid, cancelled).When(pay("39.98")).ThenRejected(commands.ErrOrderCancelled)
}

func TestShippingDeliveringCancelling(t *testing.T) {
	t.Parallel()
	ship, deliver, cancel := commands.ShipOrder{TrackingNumber: "1Z999"}, commands.DeliverOrder{}, commands.CancelOrder{Reason: "changed my mind"}
	again := commands.ShipOrder{TrackingNumber: "other"}
	for _, c := range []struct {
		name    string
		given   []events.Order
		when    commands.OrderCommand
		then    events.Order // nil: unchanged, unless rejected
		refused error
	}{
		{"an unpaid order is not shipped", []events.Order{created}, ship, nil, commands.ErrNotPaid},
		{"a paid order is shipped", []events.Order{created, paid}, ship, shipped, nil},
		{"shipping again the same way changes nothing", []events.Order{created, paid, shipped}, ship, nil, nil},
		{"an order is not shipped twice", []events.Order{created, paid, shipped}, again, nil, commands.ErrOrderShipped},
		{"a delivered order is not shipped", []events.Order{created, paid, shipped, delivered}, again, nil, commands.ErrOrderShipped},
		{"a cancelled order is not shipped", []events.Order{created, paid, cancelled}, ship, nil, commands.ErrOrderCancelled},
		{"an unpaid order is not delivered", []events.Order{created}, deliver, nil, commands.ErrNotShipped},
		{"an order on the shelf is not delivered", []events.Order{created, paid}, deliver, nil, commands.ErrNotShipped},
		{"a shipped order is delivered", []events.Order{created, paid, shipped}, deliver, delivered, nil},
		{"delivering again changes nothing", []events.Order{created, paid, shipped, delivered}, deliver, nil, nil},
		{"a cancelled order is not delivered", []events.Order{created, cancelled}, deliver, nil, commands.ErrOrderCancelled},
		{"an unpaid order is cancelled", []events.Order{created}, cancel, cancelled, nil},
		{"a paid order is cancelled", []events.Order{created, paid}, cancel, cancelled, nil},
		{"cancelling again changes nothing", []events.Order{created, cancelled}, commands.CancelOrder{Reason: "x"}, nil, nil},
		{"a shipped order is not cancelled", []events.Order{created, paid, shipped}, cancel, nil, commands.ErrOrderShipped},
		{"a delivered order is not cancelled", []events.Order{created, paid, shipped, delivered}, cancel, nil, commands.ErrOrderShipped},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			decision := estest.For(t, commands.Orders).ID("o-1").Given(c.given...).When(c.when)
			switch {
			case c.refused != nil:
				decision.ThenRejected(c.refused)
			case c.then == nil:
				decision.ThenUnchanged()
			default:
				decision.Then(c.then)
			}
		})
	}
}

func TestTimesOfShippingAndDelivery(t *testing.T) {
	t.Parallel()
	day := estest.Noon.Add(24 * time.Hour)
	estest.For(t, commands.Orders).Given(created, paid).When(commands.ShipOrder{TrackingNumber: "1Z999", ShippedAt: &day}).
		Then(events.OrderShipped{TrackingNumber: "1Z999", ShippedAt: day, CustomerID: "c-1", OrderNumber: "o-1"}).
		And().When(commands.DeliverOrder{DeliveredAt: &day}).Then(events.OrderDelivered{DeliveredAt: day})
}

func TestAnOlderStateKeepsItsItems(t *testing.T) {
	t.Parallel()
	add := func(o commands.Order, product string) commands.Order {
		return o.Evolve(events.OrderItemAdded{Item: events.OrderItem{ProductID: product}})
	}
	older := add(add(commands.Order{}.Evolve(created), "p-2"), "p-3") // appending to three items leaves room for a fourth
	one, other := add(older, "p-4"), add(older, "p-5")
	if len(older.Items) != 3 || one.Items[3].ProductID != "p-4" || other.Items[3].ProductID != "p-5" {
		t.Errorf("states share their items: %v, %v, %v", older.Items, one.Items, other.Items)
	}
}

// Totals are compared with math/big.Rat, over all currencies' digits.
func TestTotalsAreExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		currency := rapid.SampledFrom([]string{"USD", "JPY", "KWD", "CLF"}).Draw(t, "currency")
		digits, _ := money.Digits(currency)
		wish := createOrder()
		wish.Currency, wish.Items = currency, nil
		scale := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(digits)), nil))
		sum := new(big.Rat)
		for range rapid.IntRange(1, 5).Draw(t, "lines") {
			item := commands.Item{
				ProductID: "p-1",
				Quantity:  rapid.Int64Range(1, 1_000_000).Draw(t, "quantity"),
				Price:     money.FromMinor(rapid.Int64Range(0, 1_000_000).Draw(t, "price"), digits),
				TaxRate:   money.FromMinor(rapid.Int64Range(0, 10_000).Draw(t, "tax"), 4),
			}
			wish.Items = append(wish.Items, item)
			line := new(big.Rat).SetInt64(item.Quantity)
			line.Mul(line, rat(item.Price))
			line.Mul(line, new(big.Rat).Add(rat(item.TaxRate), big.NewRat(1, 1)))
			sum.Add(sum, new(big.Rat).Quo(halfEven(line.Mul(line, scale)), scale))
		}
		decided, err := commands.Order{}.Decide(wish, es.Meta{Stream: commands.Orders.Stream("o-1"), Time: estest.Noon})
		if err != nil {
			t.Fatal(err)
		}
		if got := decided[0].(events.OrderCreated).TotalAmount; rat(got).Cmp(sum) != 0 {
			t.Fatalf("total is %s, want %s", got, sum.FloatString(digits))
		}
	})
}

func rat(d money.Decimal) *big.Rat {
	r, ok := new(big.Rat).SetString(d.String())
	if !ok {
		panic(fmt.Sprintf("%s is no number", d))
	}
	return r
}

// halfEven rounds to a whole number: floor(x + 1/2), less 1 when x was a tie and that is odd.
func halfEven(x *big.Rat) *big.Rat {
	up := new(big.Rat).Add(x, big.NewRat(1, 2))
	n := new(big.Int).Div(up.Num(), up.Denom())
	if up.IsInt() && n.Bit(0) == 1 {
		n.Sub(n, big.NewInt(1))
	}
	return new(big.Rat).SetInt(n)
}
