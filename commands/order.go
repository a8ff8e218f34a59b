package commands

import (
	"fmt"
	"slices"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
)

// Orders is the aggregate of one order.
var Orders = es.Define[Order]("order",
	CreateOrder{}, AddOrderItem{}, MarkOrderPaid{}, ShipOrder{}, DeliverOrder{}, CancelOrder{}).
	Internal(MarkOrderPaid{})

// OrderCommand is a command to an order.
//
//sumtype:decl
type OrderCommand interface {
	es.Command
	orderCommand()
}

// CreateOrder begins an order. Its totals are computed, never taken from input.
type CreateOrder struct {
	CustomerID      string       `json:"customerId" jsonschema:"pattern=^[A-Za-z0-9_-]+$,minLength=1,maxLength=64,example=c-1"`
	OrderNumber     string       `json:"orderNumber,omitempty" jsonschema:"pattern=\\S,maxLength=64,description=For people; default: the order's id"`
	Currency        string       `json:"currency" jsonschema:"pattern=^[A-Z]{3}$,example=USD,description=ISO 4217"`
	Items           []Item       `json:"items" jsonschema:"minItems=1,maxItems=500"`
	ShippingAddress Address      `json:"shippingAddress"`
	ShippingMethod  string       `json:"shippingMethod,omitempty" jsonschema:"maxLength=64"`
	OrderDate       *time.Time   `json:"orderDate,omitempty" jsonschema:"description=Default: now"`
	Payment         OrderPayment `json:"payment"`
}

// Item is one line of an order as it is wished.
type Item struct {
	ProductID string        `json:"productId" jsonschema:"pattern=^[A-Za-z0-9_-]+$,minLength=1,maxLength=64,example=p-1"`
	Quantity  int64         `json:"quantity" jsonschema:"minimum=1,maximum=1000000,example=2"`
	Price     money.Decimal `json:"price" jsonschema:"minimum=0,maximum=1000000000,example=19.99,description=Of one unit before tax"`
	TaxRate   money.Decimal `json:"taxRate,omitzero" jsonschema:"minimum=0,maximum=1,description=0.19 is 19 %; default 0"`
}

// Address is where an order goes.
type Address struct {
	Street  string `json:"street" jsonschema:"pattern=\\S,maxLength=200,example=1 Main St"`
	City    string `json:"city" jsonschema:"pattern=\\S,maxLength=100,example=Springfield"`
	State   string `json:"state,omitempty" jsonschema:"maxLength=60,example=IL"`
	ZipCode string `json:"zipCode,omitempty" jsonschema:"maxLength=20,example=62701"`
	Country string `json:"country" jsonschema:"pattern=\\S,maxLength=60,example=USA"`
}

// OrderPayment is how the customer pays.
type OrderPayment struct {
	Method string `json:"method" jsonschema:"enum=credit_card,enum=paypal,enum=bank_transfer,example=credit_card"`
	Token  string `json:"token" jsonschema:"pattern=\\S,maxLength=256,example=tok_ok,description=From the payment provider; never a card number"`
}

// AddOrderItem adds a line to an order that is not yet paid.
type AddOrderItem struct {
	ProductID string        `json:"productId" jsonschema:"pattern=^[A-Za-z0-9_-]+$,minLength=1,maxLength=64,example=p-1"`
	Quantity  int64         `json:"quantity" jsonschema:"minimum=1,maximum=1000000,example=1"`
	Price     money.Decimal `json:"price" jsonschema:"minimum=0,maximum=1000000000,example=19.99,description=Of one unit before tax"`
	TaxRate   money.Decimal `json:"taxRate,omitzero" jsonschema:"minimum=0,maximum=1,description=0.19 is 19 %; default 0"`
}

// MarkOrderPaid says what has been paid for the order in all.
type MarkOrderPaid struct {
	PaymentID string        `json:"paymentId" jsonschema:"pattern=^[A-Za-z0-9_-]+$,minLength=1,maxLength=64,example=o-1-1,description=Of the payment that completed it"`
	Amount    money.Decimal `json:"amount" jsonschema:"minimum=0,example=39.98,description=The sum of all payments processed for the order"`
	Currency  string        `json:"currency,omitempty" jsonschema:"pattern=^[A-Z]{3}$,example=USD,description=When given: must be the order's"`
}

// ShipOrder says that the goods left the house.
type ShipOrder struct {
	TrackingNumber string     `json:"trackingNumber" jsonschema:"pattern=\\S,maxLength=100,example=1Z999"`
	ShippedAt      *time.Time `json:"shippedAt,omitempty" jsonschema:"description=Default: now"`
}

// DeliverOrder says that the goods arrived.
type DeliverOrder struct {
	DeliveredAt *time.Time `json:"deliveredAt,omitempty" jsonschema:"description=Default: now"`
}

// CancelOrder ends an order that was not shipped.
type CancelOrder struct {
	Reason string `json:"reason" jsonschema:"pattern=\\S,maxLength=500,example=changed my mind"`
}

// The names on the wire. They never change.

func (CreateOrder) CommandType() string   { return "CreateOrder" }
func (AddOrderItem) CommandType() string  { return "AddOrderItem" }
func (MarkOrderPaid) CommandType() string { return "MarkOrderPaid" }
func (ShipOrder) CommandType() string     { return "ShipOrder" }
func (DeliverOrder) CommandType() string  { return "DeliverOrder" }
func (CancelOrder) CommandType() string   { return "CancelOrder" }

func (CreateOrder) orderCommand()   {}
func (AddOrderItem) orderCommand()  {}
func (MarkOrderPaid) orderCommand() {}
func (ShipOrder) orderCommand()     {}
func (DeliverOrder) orderCommand()  {}
func (CancelOrder) orderCommand()   {}

// Rejections of an order.
var (
	ErrOrderNotFound    = es.NotFound("order_not_found", "order does not exist")
	ErrOrderExists      = es.Rejected("order_already_exists", "order already exists")
	ErrOrderIDTooLong   = es.Rejected("order_id_too_long", "an order's id has at most 60 characters, so that its payments' ids fit")
	ErrOrderNotOpen     = es.Rejected("order_not_open", "items can be added only before the order is paid")
	ErrTooManyItems     = es.Rejected("too_many_items", "an order has at most 500 items")
	ErrUnderpaid        = es.Rejected("order_underpaid", "the payments do not yet reach the order's total")
	ErrOverpaid         = es.Rejected("order_overpaid", "the payments exceed the order's total")
	ErrOrderAlreadyPaid = es.Rejected("order_already_paid", "order is already paid")
	ErrNotPaid          = es.Rejected("order_not_paid", "order must be paid before shipping")
	ErrNotShipped       = es.Rejected("order_not_shipped", "order must be shipped before delivery")
	ErrOrderShipped     = es.Rejected("order_already_shipped", "order is already shipped")
	ErrOrderCancelled   = es.Rejected("order_cancelled", "order is cancelled")
)

const (
	maxItems         = 500
	maxOrderIDLength = 60 // payments are named "<order id>-<n>", within es.MaxIDLength
)

// The statuses of an order; "" is one that does not exist.
const (
	orderCreated   = "CREATED"
	orderPaid      = "PAID"
	orderShipped   = "SHIPPED"
	orderDelivered = "DELIVERED"
	orderCancelled = "CANCELLED"
)

// Order is what an order remembers.
type Order struct {
	Status          string             `json:"status"` // CREATED, PAID, SHIPPED, DELIVERED, CANCELLED
	OrderNumber     string             `json:"orderNumber"`
	CustomerID      string             `json:"customerId"`
	Currency        string             `json:"currency"`
	Items           []events.OrderItem `json:"items"`
	TotalAmount     money.Decimal      `json:"totalAmount"`
	ShippingAddress events.Address     `json:"shippingAddress"`
	ShippingMethod  string             `json:"shippingMethod,omitempty"`
	OrderDate       time.Time          `json:"orderDate"`
	PaymentMethod   string             `json:"paymentMethod"`
	PaymentID       string             `json:"paymentId,omitempty"` // of the payment that completed it
	PaidAmount      money.Decimal      `json:"paidAmount"`
	TrackingNumber  string             `json:"trackingNumber,omitempty"`
	ShippedAt       *time.Time         `json:"shippedAt,omitempty"`
	DeliveredAt     *time.Time         `json:"deliveredAt,omitempty"`
	CancelReason    string             `json:"cancelReason,omitempty"`
}

// Decide says what a command leads to.
func (o Order) Decide(c OrderCommand, m es.Meta) ([]events.Order, error) {
	if _, creates := c.(CreateOrder); !creates && o.Status == "" {
		return nil, ErrOrderNotFound.With("order %s does not exist", m.Stream.ID)
	}
	switch c := c.(type) {
	case CreateOrder:
		return o.create(c, m)
	case AddOrderItem:
		return o.addItem(c)
	case MarkOrderPaid:
		return o.markPaid(c)
	case ShipOrder:
		return o.ship(c, m)
	case DeliverOrder:
		return o.deliver(c, m)
	case CancelOrder:
		return o.cancel(c)
	}
	return nil, unknownCommand(c)
}

func (o Order) create(c CreateOrder, m es.Meta) ([]events.Order, error) {
	if o.Status != "" {
		return nil, ErrOrderExists.With("order %s already exists", m.Stream.ID)
	}
	if len(m.Stream.ID) > maxOrderIDLength {
		return nil, ErrOrderIDTooLong
	}
	orderDate, err := given(c.OrderDate, m, "/orderDate")
	if err != nil {
		return nil, err
	}
	e := events.OrderCreated{
		OrderID:         m.Stream.ID,
		OrderNumber:     c.OrderNumber,
		CustomerID:      c.CustomerID,
		Currency:        c.Currency,
		Items:           make([]events.OrderItem, len(c.Items)),
		ShippingAddress: events.Address(c.ShippingAddress),
		ShippingMethod:  c.ShippingMethod,
		OrderDate:       orderDate,
		Payment:         events.OrderPayment(c.Payment),
	}
	if e.OrderNumber == "" {
		e.OrderNumber = e.OrderID
	}
	for i, item := range c.Items {
		if e.Items[i], err = priced(item, c.Currency, fmt.Sprintf("/items/%d", i)); err != nil {
			return nil, err
		}
		e.TotalAmount = e.TotalAmount.Add(e.Items[i].TotalPrice)
	}
	if err := checkAmount(e.TotalAmount, c.Currency, "/items"); err != nil {
		return nil, err
	}
	return []events.Order{e}, nil
}

func (o Order) addItem(c AddOrderItem) ([]events.Order, error) {
	if o.Status != orderCreated {
		return nil, ErrOrderNotOpen.With("items can be added only before the order is paid; it is %s", o.Status)
	}
	if len(o.Items) >= maxItems {
		return nil, ErrTooManyItems
	}
	item, err := priced(Item(c), o.Currency, "")
	if err != nil {
		return nil, err
	}
	total := o.TotalAmount.Add(item.TotalPrice)
	if err := checkAmount(total, o.Currency, ""); err != nil {
		return nil, err
	}
	return []events.Order{events.OrderItemAdded{Item: item, TotalAmount: total}}, nil
}

func (o Order) markPaid(c MarkOrderPaid) ([]events.Order, error) {
	if c.Currency != "" && c.Currency != o.Currency {
		return nil, ErrCurrencyMismatch.With("paid in %s, but the order is in %s", c.Currency, o.Currency).At("/currency")
	}
	switch {
	case o.Status == orderCancelled:
		return nil, ErrOrderCancelled
	case o.Status != orderCreated && c.PaymentID == o.PaymentID && c.Amount == o.PaidAmount:
		return nil, nil
	case o.Status != orderCreated:
		return nil, ErrOrderAlreadyPaid
	case c.Amount.Cmp(o.TotalAmount) < 0:
		return nil, ErrUnderpaid.With("%s of %s %s is paid", c.Amount, o.TotalAmount, o.Currency).At("/amount")
	case c.Amount.Cmp(o.TotalAmount) > 0:
		return nil, ErrOverpaid.With("%s is paid, more than the total of %s %s", c.Amount, o.TotalAmount, o.Currency).At("/amount")
	}
	return []events.Order{events.OrderPaid{
		PaymentID: c.PaymentID, Amount: c.Amount, CustomerID: o.CustomerID, OrderNumber: o.OrderNumber, Currency: o.Currency,
	}}, nil
}

func (o Order) ship(c ShipOrder, m es.Meta) ([]events.Order, error) {
	switch o.Status {
	case orderCreated:
		return nil, ErrNotPaid
	case orderCancelled:
		return nil, ErrOrderCancelled
	case orderShipped, orderDelivered:
		if c.TrackingNumber == o.TrackingNumber {
			return nil, nil
		}
		return nil, ErrOrderShipped.With("order is already shipped, as %s", o.TrackingNumber)
	}
	at, err := given(c.ShippedAt, m, "/shippedAt")
	if err != nil {
		return nil, err
	}
	return []events.Order{events.OrderShipped{
		TrackingNumber: c.TrackingNumber, ShippedAt: at, CustomerID: o.CustomerID, OrderNumber: o.OrderNumber,
	}}, nil
}

func (o Order) deliver(c DeliverOrder, m es.Meta) ([]events.Order, error) {
	switch o.Status {
	case orderCreated, orderPaid:
		return nil, ErrNotShipped
	case orderCancelled:
		return nil, ErrOrderCancelled
	case orderDelivered:
		return nil, nil
	}
	at, err := given(c.DeliveredAt, m, "/deliveredAt")
	if err != nil {
		return nil, err
	}
	return []events.Order{events.OrderDelivered{DeliveredAt: at}}, nil
}

func (o Order) cancel(c CancelOrder) ([]events.Order, error) {
	switch o.Status {
	case orderShipped, orderDelivered:
		return nil, ErrOrderShipped
	case orderCancelled:
		return nil, nil
	}
	return []events.Order{events.OrderCancelled{Reason: c.Reason, CustomerID: o.CustomerID, OrderNumber: o.OrderNumber}}, nil
}

// priced computes a line. pointer is the item's place in the command.
func priced(i Item, currency, pointer string) (events.OrderItem, error) {
	if err := checkAmount(i.Price, currency, pointer+"/price"); err != nil {
		return events.OrderItem{}, err
	}
	digits, _ := money.Digits(currency) // known, or checkAmount had refused it
	total := money.FromInt(i.Quantity).Mul(i.Price).Mul(money.FromInt(1).Add(i.TaxRate)).RoundHalfEven(digits)
	if err := checkAmount(total, currency, pointer); err != nil {
		return events.OrderItem{}, err
	}
	return events.OrderItem{ProductID: i.ProductID, Quantity: i.Quantity, Price: i.Price, TaxRate: i.TaxRate, TotalPrice: total}, nil
}

// Evolve returns the order after an event.
func (o Order) Evolve(e events.Order) Order {
	switch e := e.(type) {
	case events.OrderCreated:
		return Order{
			Status:          orderCreated,
			OrderNumber:     e.OrderNumber,
			CustomerID:      e.CustomerID,
			Currency:        e.Currency,
			Items:           e.Items,
			TotalAmount:     e.TotalAmount,
			ShippingAddress: e.ShippingAddress,
			ShippingMethod:  e.ShippingMethod,
			OrderDate:       e.OrderDate,
			PaymentMethod:   e.Payment.Method,
		}
	case events.OrderItemAdded:
		o.Items = append(slices.Clip(o.Items), e.Item) // clipped: appending copies, older values keep theirs
		o.TotalAmount = e.TotalAmount
	case events.OrderPaid:
		o.Status, o.PaymentID, o.PaidAmount = orderPaid, e.PaymentID, e.Amount
	case events.OrderShipped:
		o.Status, o.TrackingNumber, o.ShippedAt = orderShipped, e.TrackingNumber, &e.ShippedAt
	case events.OrderDelivered:
		o.Status, o.DeliveredAt = orderDelivered, &e.DeliveredAt
	case events.OrderCancelled:
		o.Status, o.CancelReason = orderCancelled, e.Reason
	}
	return o
}

// Allowed are the commands that the order would take now.
func (o Order) Allowed() []OrderCommand {
	switch o.Status {
	case "":
		return []OrderCommand{CreateOrder{}}
	case orderCreated:
		return []OrderCommand{AddOrderItem{}, MarkOrderPaid{}, CancelOrder{}}
	case orderPaid:
		return []OrderCommand{ShipOrder{}, CancelOrder{}}
	case orderShipped:
		return []OrderCommand{DeliverOrder{}}
	}
	return nil
}
