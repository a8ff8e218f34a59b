package commands_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/events"
)

func TestStock(t *testing.T) {
	t.Parallel()
	received := events.StockReceived{Quantity: 10}
	reserved := func(order string, quantity int64) events.Stock {
		return events.StockReserved{OrderID: order, Quantity: quantity}
	}
	released := func(order string, quantity int64) events.Stock {
		return events.StockReleased{OrderID: order, Quantity: quantity}
	}
	shipped := func(order string, quantity int64) events.Stock {
		return events.StockShipped{OrderID: order, Quantity: quantity}
	}
	short := func(quantity, available int64) events.Stock {
		return events.StockReservationRejected{OrderID: "o-1", Quantity: quantity, Available: available}
	}
	reserve := func(quantity int64) commands.StockCommand {
		return commands.ReserveStock{OrderID: "o-1", Quantity: quantity}
	}
	release, ship := commands.ReleaseStock{OrderID: "o-1"}, commands.ShipStock{OrderID: "o-1"}

	for _, c := range []struct {
		name    string
		given   []events.Stock
		when    commands.StockCommand
		then    events.Stock // nil: unchanged, unless rejected
		refused error
	}{
		{"receiving", nil, commands.ReceiveStock{Quantity: 10}, received, nil},
		{"receiving more than can be counted", []events.Stock{events.StockReceived{Quantity: 1e12}}, commands.ReceiveStock{Quantity: 1}, nil, commands.ErrStockFull.At("/quantity")},
		{"reserving what is there", []events.Stock{received}, reserve(10), reserved("o-1", 10), nil},
		{"reserving of an unknown product", nil, reserve(1), short(1, 0), nil},
		{"reserving more than is there", []events.Stock{received}, reserve(11), short(11, 10), nil},
		{"reserving what another order holds", []events.Stock{received, reserved("o-2", 8)}, reserve(3), short(3, 2), nil},
		{"reserving the same again", []events.Stock{received, reserved("o-1", 4)}, reserve(4), nil, nil},
		{"a reservation that grows", []events.Stock{received, reserved("o-1", 4), reserved("o-2", 3)}, reserve(7), reserved("o-1", 7), nil},
		{"a reservation that grows too much", []events.Stock{received, reserved("o-1", 4), reserved("o-2", 3)}, reserve(8), short(8, 3), nil},
		{"what was held stays held after that", []events.Stock{received, reserved("o-1", 4), reserved("o-2", 3), short(8, 3)}, reserve(4), nil, nil},
		{"after a refusal it is decided anew", []events.Stock{short(5, 0), received}, reserve(5), reserved("o-1", 5), nil},
		{"after a refusal it may be refused again", []events.Stock{short(5, 0)}, reserve(5), short(5, 0), nil},
		{"a reservation does not shrink", []events.Stock{received, reserved("o-1", 4)}, reserve(3), nil, commands.ErrReservationSmaller.At("/quantity")},
		{"reserving after release", []events.Stock{received, reserved("o-1", 4), released("o-1", 4)}, reserve(4), nil, commands.ErrReservationReleased},
		{"reserving after shipment", []events.Stock{received, reserved("o-1", 4), shipped("o-1", 4)}, reserve(4), nil, commands.ErrStockShipped},
		{"releasing", []events.Stock{received, reserved("o-1", 4)}, release, released("o-1", 4), nil},
		{"releasing again", []events.Stock{received, reserved("o-1", 4), released("o-1", 4)}, release, nil, nil},
		{"releasing before the reservation arrived", []events.Stock{received}, release, released("o-1", 0), nil},
		{"releasing that again", []events.Stock{received, released("o-1", 0)}, release, nil, nil},
		{"reserving too late", []events.Stock{received, released("o-1", 0)}, reserve(1), nil, commands.ErrReservationReleased},
		{"releasing what has been shipped", []events.Stock{received, reserved("o-1", 4), shipped("o-1", 4)}, release, nil, commands.ErrStockShipped},
		{"what was released can be reserved by others", []events.Stock{received, reserved("o-2", 10), released("o-2", 10)}, reserve(10), reserved("o-1", 10), nil},
		{"shipping", []events.Stock{received, reserved("o-1", 4)}, ship, shipped("o-1", 4), nil},
		{"shipping again", []events.Stock{received, reserved("o-1", 4), shipped("o-1", 4)}, ship, nil, nil},
		{"shipping what is not held", []events.Stock{received}, ship, nil, commands.ErrNothingReserved},
		{"shipping what was refused", []events.Stock{short(5, 0)}, ship, nil, commands.ErrNothingReserved},
		{"shipping what was released", []events.Stock{received, reserved("o-1", 4), released("o-1", 4)}, ship, nil, commands.ErrReservationReleased},
		{"what was shipped is gone", []events.Stock{received, reserved("o-2", 4), shipped("o-2", 4)}, reserve(7), short(7, 6), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			decision := estest.For(t, commands.Stocks).ID("p-1").Given(c.given...).When(c.when)
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

// Whatever comes in whatever order: no unit is held twice, none appears or disappears.
func TestStockIsConserved(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var stock commands.Stock
		var received, shipped int64
		ended := map[string]bool{}
		for range rapid.IntRange(1, 60).Draw(t, "commands") {
			c := stockCommand().Draw(t, "command")
			decided, err := stock.Decide(c, es.Meta{})
			if err != nil && len(decided) > 0 {
				t.Fatalf("%#v: events %v and error %v", c, decided, err)
			}
			for _, e := range decided {
				switch e := e.(type) {
				case events.StockReceived:
					received += e.Quantity
				case events.StockReserved:
					if ended[e.OrderID] {
						t.Fatalf("%s holds units again", e.OrderID)
					}
				case events.StockReleased:
					ended[e.OrderID] = true
				case events.StockShipped:
					shipped += e.Quantity
					ended[e.OrderID] = true
				}
				stock = stock.Evolve(e)
			}
			var held int64
			for orderID, r := range stock.Orders.All() {
				if r.Status == "RESERVED" {
					held += r.Quantity
				}
				if ended[orderID] == (r.Status == "RESERVED") {
					t.Fatalf("%s is %s", orderID, r.Status)
				}
			}
			if stock.Reserved != held || stock.OnHand != received-shipped || stock.Available() < 0 || stock.Reserved < 0 {
				t.Fatalf("after %#v: %+v, orders hold %d, received %d, shipped %d", c, stock, held, received, shipped)
			}
		}
	})
}

func stockCommand() *rapid.Generator[commands.StockCommand] {
	return rapid.Custom(func(t *rapid.T) commands.StockCommand {
		order := rapid.SampledFrom([]string{"o-1", "o-2", "o-3", "o-4"}).Draw(t, "order")
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			return commands.ReceiveStock{Quantity: rapid.Int64Range(1, 20).Draw(t, "quantity")}
		case 1:
			return commands.ReleaseStock{OrderID: order}
		case 2:
			return commands.ShipStock{OrderID: order}
		}
		return commands.ReserveStock{OrderID: order, Quantity: rapid.Int64Range(1, 20).Draw(t, "quantity")}
	})
}
