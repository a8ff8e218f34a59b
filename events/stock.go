package events

import "github.com/millstream-es/millstream/es"

// Stock is an event of one product's stock. The product is the stream's id.
//
//sumtype:decl
type Stock interface {
	es.Event
	stock()
}

// StockReceived: units came in.
type StockReceived struct {
	Quantity int64 `json:"quantity"`
}

// StockReserved: units are held for an order.
type StockReserved struct {
	OrderID  string `json:"orderId"`
	Quantity int64  `json:"quantity"` // all that is now held for the order, not what was added
}

// StockReservationRejected: there was not enough. What the order already held it still holds.
type StockReservationRejected struct {
	OrderID   string `json:"orderId"`
	Quantity  int64  `json:"quantity"`  // all that the order wanted to hold
	Available int64  `json:"available"` // what nobody held, this order included
}

// StockReleased: an order gave back what it held, and will hold nothing here again.
type StockReleased struct {
	OrderID  string `json:"orderId"`
	Quantity int64  `json:"quantity"` // 0 when the order had not (yet) reserved anything
}

// StockShipped: what an order held left the house.
type StockShipped struct {
	OrderID  string `json:"orderId"`
	Quantity int64  `json:"quantity"`
}

// The names on the wire. They never change.

func (StockReceived) EventType() string            { return "StockReceived" }
func (StockReserved) EventType() string            { return "StockReserved" }
func (StockReservationRejected) EventType() string { return "StockReservationRejected" }
func (StockReleased) EventType() string            { return "StockReleased" }
func (StockShipped) EventType() string             { return "StockShipped" }

func (StockReceived) stock()            {}
func (StockReserved) stock()            {}
func (StockReservationRejected) stock() {}
func (StockReleased) stock()            {}
func (StockShipped) stock()             {}
