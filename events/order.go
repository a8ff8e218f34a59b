package events

import (
	"strings"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/money"
)

// Order is an event of an order.
//
//sumtype:decl
type Order interface {
	es.Event
	order()
}

// OrderCreated (version 2): a customer ordered. Amounts are in Currency, rounded to its digits.
type OrderCreated struct {
	OrderID         string        `json:"orderId"`
	OrderNumber     string        `json:"orderNumber"` // for people; the order's id when none was given
	CustomerID      string        `json:"customerId"`
	Currency        string        `json:"currency"` // ISO 4217
	Items           []OrderItem   `json:"items"`    // one product may stand on two lines
	TotalAmount     money.Decimal `json:"totalAmount"`
	ShippingAddress Address       `json:"shippingAddress"`
	ShippingMethod  string        `json:"shippingMethod,omitempty"`
	OrderDate       time.Time     `json:"orderDate"`
	Payment         OrderPayment  `json:"payment"`
}

// OrderItem is one line of an order.
type OrderItem struct {
	ProductID  string        `json:"productId"`
	Quantity   int64         `json:"quantity"`
	Price      money.Decimal `json:"price"`      // of one unit, before tax
	TaxRate    money.Decimal `json:"taxRate"`    // 0.19 is 19 %
	TotalPrice money.Decimal `json:"totalPrice"` // of the line, with tax
}

// Address is where an order goes. State and zip code are optional.
type Address struct {
	Street  string `json:"street" pii:"customer"`
	City    string `json:"city" pii:"customer"`
	State   string `json:"state,omitempty" pii:"customer"`
	ZipCode string `json:"zipCode,omitempty" pii:"customer"`
	Country string `json:"country" pii:"customer"`
}

// OrderPayment is how the customer pays.
type OrderPayment struct {
	Method string `json:"method"` // credit_card, paypal or bank_transfer
	Token  string `json:"token" pii:"customer"`
}

// OrderItemAdded: a line was added to an order that is not yet paid.
type OrderItemAdded struct {
	Item        OrderItem     `json:"item"`
	TotalAmount money.Decimal `json:"totalAmount"` // of the order, with the new line
}

// OrderPaid: the payments processed for the order reached its total.
type OrderPaid struct {
	PaymentID string        `json:"paymentId"` // of the payment that completed it
	Amount    money.Decimal `json:"amount"`    // of all payments, which is the order's total

	// Told again here, for those who see only this event; empty in events from before they were.
	CustomerID  string `json:"customerId,omitempty"`
	OrderNumber string `json:"orderNumber,omitempty"`
	Currency    string `json:"currency,omitempty"`
}

// OrderShipped: the goods left the house.
type OrderShipped struct {
	TrackingNumber string    `json:"trackingNumber"`
	ShippedAt      time.Time `json:"shippedAt"`

	// Told again here, for those who see only this event; empty in events from before they were.
	CustomerID  string `json:"customerId,omitempty"`
	OrderNumber string `json:"orderNumber,omitempty"`
}

// OrderDelivered: the goods arrived.
type OrderDelivered struct {
	DeliveredAt time.Time `json:"deliveredAt"`
}

// OrderCancelled: the order will not be shipped.
type OrderCancelled struct {
	Reason string `json:"reason"`

	// Told again here, for those who see only this event; empty in events from before they were.
	CustomerID  string `json:"customerId,omitempty"`
	OrderNumber string `json:"orderNumber,omitempty"`
}

// The names on the wire. They never change.

func (OrderCreated) EventType() string   { return "OrderCreated" }
func (OrderItemAdded) EventType() string { return "OrderItemAdded" }
func (OrderPaid) EventType() string      { return "OrderPaid" }
func (OrderShipped) EventType() string   { return "OrderShipped" }
func (OrderDelivered) EventType() string { return "OrderDelivered" }
func (OrderCancelled) EventType() string { return "OrderCancelled" }

func (OrderCreated) order()   {}
func (OrderItemAdded) order() {}
func (OrderPaid) order()      {}
func (OrderShipped) order()   {}
func (OrderDelivered) order() {}
func (OrderCancelled) order() {}

// orderCreatedV1 had the address as one string and knew neither currencies nor taxes.
type orderCreatedV1 struct {
	OrderID     string `json:"orderId"`
	OrderNumber string `json:"orderNumber"`
	CustomerID  string `json:"customerId"`
	Items       []struct {
		ProductID string        `json:"productId"`
		Quantity  int64         `json:"quantity"`
		Price     money.Decimal `json:"price"`
	} `json:"items"`
	TotalAmount     money.Decimal `json:"totalAmount"`
	ShippingAddress string        `json:"shippingAddress" pii:"customer"` // "street, city, state, zip, country"
	ShippingMethod  string        `json:"shippingMethod"`
	OrderDate       time.Time     `json:"orderDate"`
	Payment         OrderPayment  `json:"payment"`
}

var orderCreatedFrom1 = es.Upcast(1, func(old orderCreatedV1) (OrderCreated, error) {
	e := OrderCreated{
		OrderID:         old.OrderID,
		OrderNumber:     old.OrderNumber,
		CustomerID:      old.CustomerID,
		Currency:        "USD", // all that was sold in when version 1 was written
		TotalAmount:     old.TotalAmount,
		ShippingAddress: splitAddress(old.ShippingAddress),
		ShippingMethod:  old.ShippingMethod,
		OrderDate:       old.OrderDate,
		Payment:         old.Payment,
	}
	for _, i := range old.Items {
		e.Items = append(e.Items, OrderItem{
			ProductID:  i.ProductID,
			Quantity:   i.Quantity,
			Price:      i.Price,
			TotalPrice: i.Price.Mul(money.FromInt(i.Quantity)).RoundHalfEven(2),
		})
	}
	return e, nil
})

// splitAddress reads "street, city, state, zip, country" from the end, since a street may hold commas. Text with
// fewer parts becomes the street: an old event must stay readable, and nothing of it gets lost.
func splitAddress(text string) Address {
	parts := strings.Split(text, ",")
	for i, p := range parts {
		parts[i] = strings.TrimSpace(p)
	}
	n := len(parts)
	if n < 5 {
		return Address{Street: strings.TrimSpace(text)}
	}
	return Address{
		Street:  strings.Join(parts[:n-4], ", "),
		City:    parts[n-4],
		State:   parts[n-3],
		ZipCode: parts[n-2],
		Country: parts[n-1],
	}
}
