package commands

import (
	"bytes"
	"encoding/json"
	"hash/maphash"
	"iter"
	"strings"
)

// Reservation is what one order has to do with a product's stock; the zero value is nothing.
type Reservation struct {
	Status   string `json:"status"` // RESERVED, RELEASED, SHIPPED
	Quantity int64  `json:"quantity"`
}

// The statuses of a reservation.
const (
	stockReserved = "RESERVED"
	stockReleased = "RELEASED"
	stockShipped  = "SHIPPED"
)

// Reservations maps order ids to reservations and never changes: With returns another one. It shares almost all of
// itself with the old one (a treap: a search tree by order id, a heap by a hash of it), since a product that sells
// well has tens of thousands of orders, and copying a map at each event would cost the square of them.
// The zero value is empty. In JSON it is an object.
type Reservations struct{ root *reservationNode }

type reservationNode struct {
	orderID     string
	reservation Reservation
	left, right *reservationNode
}

// Get returns an order's reservation, zero when there is none.
func (r Reservations) Get(orderID string) Reservation {
	for n := r.root; n != nil; {
		switch c := strings.Compare(orderID, n.orderID); {
		case c == 0:
			return n.reservation
		case c < 0:
			n = n.left
		default:
			n = n.right
		}
	}
	return Reservation{}
}

// With returns the map in which the order has this reservation.
func (r Reservations) With(orderID string, reservation Reservation) Reservations {
	return Reservations{r.root.with(orderID, reservation)}
}

// All yields the reservations by order id.
func (r Reservations) All() iter.Seq2[string, Reservation] {
	return func(yield func(string, Reservation) bool) { r.root.walk(yield) }
}

// MarshalJSON writes {"o-1":{"status":"RESERVED","quantity":2}}.
func (r Reservations) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for orderID, reservation := range r.All() {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(orderID)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(reservation)
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (r *Reservations) UnmarshalJSON(data []byte) error {
	var all map[string]Reservation
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	*r = Reservations{}
	for orderID, reservation := range all {
		*r = r.With(orderID, reservation)
	}
	return nil
}

// JSONSchema describes the JSON form.
func (Reservations) JSONSchema() string {
	return `{"type":"object","additionalProperties":{"type":"object","required":["status","quantity"],` +
		`"properties":{"status":{"enum":["RESERVED","RELEASED","SHIPPED"]},"quantity":{"type":"integer"}}}}`
}

// Equal compares contents, for packages that compare values by this method.
func (r Reservations) Equal(other Reservations) bool {
	next, stop := iter.Pull2(other.All())
	defer stop()
	for orderID, reservation := range r.All() {
		if o, v, ok := next(); !ok || o != orderID || v != reservation {
			return false
		}
	}
	_, _, more := next()
	return !more
}

func (n *reservationNode) with(orderID string, reservation Reservation) *reservationNode {
	if n == nil {
		return &reservationNode{orderID: orderID, reservation: reservation}
	}
	c := *n
	switch strings.Compare(orderID, n.orderID) {
	case 0:
		c.reservation = reservation
	case -1:
		// What comes back is a fresh copy, so turning it over changes nothing that others see.
		if c.left = n.left.with(orderID, reservation); c.left.above(n) {
			top := c.left
			c.left, top.right = top.right, &c
			return top
		}
	case 1:
		if c.right = n.right.with(orderID, reservation); c.right.above(n) {
			top := c.right
			c.right, top.left = top.left, &c
			return top
		}
	}
	return &c
}

func (n *reservationNode) walk(yield func(string, Reservation) bool) bool {
	return n == nil || n.left.walk(yield) && yield(n.orderID, n.reservation) && n.right.walk(yield)
}

// above says which of two stands nearer the root. The seed is secret, so that nobody can choose order ids that make
// the tree a list; it shows in no result.
func (n *reservationNode) above(m *reservationNode) bool {
	return maphash.String(treeSeed, n.orderID) > maphash.String(treeSeed, m.orderID)
}

var treeSeed = maphash.MakeSeed()
