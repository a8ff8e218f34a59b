package commands

import (
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
)

// Stocks is the aggregate of one product's stock; the product is the stream's id.
var Stocks = es.Define[Stock]("stock",
	ReceiveStock{}, ReserveStock{}, ReleaseStock{}, ShipStock{}).In("stock").Like("p-1")

// StockCommand is a command to a product's stock.
//
//sumtype:decl
type StockCommand interface {
	es.Command
	stockCommand()
}

// ReceiveStock says that units came in.
type ReceiveStock struct {
	Quantity int64 `json:"quantity" jsonschema:"minimum=1,maximum=1000000,example=100"`
}

// ReserveStock holds units for an order. Not having enough is not a rejection but the event
// StockReservationRejected, so that it stands in the log.
type ReserveStock struct {
	OrderID  string `json:"orderId" jsonschema:"pattern=^[A-Za-z0-9_-]+$,minLength=1,maxLength=64,example=o-1"`
	Quantity int64  `json:"quantity" jsonschema:"minimum=1,maximum=500000000,example=2,description=All that the order is to hold: the sum over its lines"`
}

// ReleaseStock gives back what an order holds, for good: a reservation that arrives later is refused.
type ReleaseStock struct {
	OrderID string `json:"orderId" jsonschema:"pattern=^[A-Za-z0-9_-]+$,minLength=1,maxLength=64,example=o-1"`
}

// ShipStock says that what an order holds left the house.
type ShipStock struct {
	OrderID string `json:"orderId" jsonschema:"pattern=^[A-Za-z0-9_-]+$,minLength=1,maxLength=64,example=o-1"`
}

// The names on the wire. They never change.

func (ReceiveStock) CommandType() string { return "ReceiveStock" }
func (ReserveStock) CommandType() string { return "ReserveStock" }
func (ReleaseStock) CommandType() string { return "ReleaseStock" }
func (ShipStock) CommandType() string    { return "ShipStock" }

func (ReceiveStock) stockCommand() {}
func (ReserveStock) stockCommand() {}
func (ReleaseStock) stockCommand() {}
func (ShipStock) stockCommand()    {}

// Rejections of a product's stock.
var (
	ErrStockFull           = es.Rejected("stock_full", "the stock would hold more units than can be counted")
	ErrReservationSmaller  = es.Rejected("reservation_smaller", "a reservation can only grow; release it to give units back")
	ErrReservationReleased = es.Rejected("reservation_released", "the order's reservation was released")
	ErrStockShipped        = es.Rejected("stock_already_shipped", "the order's units have already left the house")
	ErrNothingReserved     = es.Rejected("nothing_reserved", "nothing is reserved for the order")
)

// maxOnHand is far beyond any warehouse and keeps every sum of quantities exact, in JavaScript too.
const maxOnHand = 1_000_000_000_000

// Stock is what a product's stock remembers: 0 ≤ Reserved ≤ OnHand, and Reserved is the sum of what orders hold.
// Orders that released or shipped are remembered, so that a late reservation is known to be late.
type Stock struct {
	OnHand   int64        `json:"onHand"`
	Reserved int64        `json:"reserved"`
	Orders   Reservations `json:"orders"`
}

// Available is what nobody holds.
func (s Stock) Available() int64 { return s.OnHand - s.Reserved }

// Decide says what a command leads to.
func (s Stock) Decide(c StockCommand, _ es.Meta) ([]events.Stock, error) {
	switch c := c.(type) {
	case ReceiveStock:
		if s.OnHand+c.Quantity > maxOnHand {
			return nil, ErrStockFull.With("%d units are on hand; at most %d can be", s.OnHand, int64(maxOnHand)).At("/quantity")
		}
		return []events.Stock{events.StockReceived(c)}, nil
	case ReserveStock:
		return s.reserve(c)
	case ReleaseStock:
		return s.release(c)
	case ShipStock:
		return s.ship(c)
	}
	return nil, unknownCommand(c)
}

func (s Stock) reserve(c ReserveStock) ([]events.Stock, error) {
	held := s.Orders.Get(c.OrderID)
	switch {
	case held.Status == stockReleased:
		return nil, ErrReservationReleased
	case held.Status == stockShipped:
		return nil, ErrStockShipped
	case held.Quantity == c.Quantity:
		return nil, nil
	case held.Quantity > c.Quantity:
		return nil, ErrReservationSmaller.With("the order already holds %d units, more than %d", held.Quantity, c.Quantity).At("/quantity")
	case c.Quantity-held.Quantity > s.Available():
		return []events.Stock{events.StockReservationRejected{OrderID: c.OrderID, Quantity: c.Quantity, Available: s.Available()}}, nil
	}
	return []events.Stock{events.StockReserved(c)}, nil
}

func (s Stock) release(c ReleaseStock) ([]events.Stock, error) {
	held := s.Orders.Get(c.OrderID)
	switch held.Status {
	case stockReleased:
		return nil, nil
	case stockShipped:
		return nil, ErrStockShipped
	}
	// Also when nothing is held: the reservation may still be on its way, and must find that it is late.
	return []events.Stock{events.StockReleased{OrderID: c.OrderID, Quantity: held.Quantity}}, nil
}

func (s Stock) ship(c ShipStock) ([]events.Stock, error) {
	held := s.Orders.Get(c.OrderID)
	switch held.Status {
	case stockShipped:
		return nil, nil
	case stockReleased:
		return nil, ErrReservationReleased
	case "":
		return nil, ErrNothingReserved
	}
	return []events.Stock{events.StockShipped{OrderID: c.OrderID, Quantity: held.Quantity}}, nil
}

// Evolve returns the stock after an event.
func (s Stock) Evolve(e events.Stock) Stock {
	switch e := e.(type) {
	case events.StockReceived:
		s.OnHand += e.Quantity
	case events.StockReserved:
		s.Reserved += e.Quantity - s.Orders.Get(e.OrderID).Quantity
		s.Orders = s.Orders.With(e.OrderID, Reservation{stockReserved, e.Quantity})
	case events.StockReservationRejected:
	case events.StockReleased:
		s.Reserved -= e.Quantity
		s.Orders = s.Orders.With(e.OrderID, Reservation{Status: stockReleased})
	case events.StockShipped:
		s.OnHand -= e.Quantity
		s.Reserved -= e.Quantity
		s.Orders = s.Orders.With(e.OrderID, Reservation{stockShipped, e.Quantity})
	}
	return s
}

// Allowed are the commands that the stock would take now, for one order or another.
func (s Stock) Allowed() []StockCommand {
	allowed := []StockCommand{ReceiveStock{}, ReserveStock{}, ReleaseStock{}}
	if s.Reserved > 0 {
		allowed = append(allowed, ShipStock{})
	}
	return allowed
}
