package events

import (
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/money"
)

// Payment is an event of one payment, whose id is "<order id>-<n>".
//
//sumtype:decl
type Payment interface {
	es.Event
	payment()
}

// PaymentRequested: the payment provider is to be asked for the amount.
type PaymentRequested struct {
	OrderID    string        `json:"orderId"`
	CustomerID string        `json:"customerId"`
	Amount     money.Decimal `json:"amount"`
	Currency   string        `json:"currency"`
	Method     string        `json:"method"` // credit_card, paypal or bank_transfer
	Token      string        `json:"token" pii:"customer"`
}

// PaymentProcessed: the provider took the amount.
type PaymentProcessed struct {
	PaymentID     string        `json:"paymentId"`
	TransactionID string        `json:"transactionId"` // the provider's
	OrderID       string        `json:"orderId"`
	CustomerID    string        `json:"customerId"`
	Amount        money.Decimal `json:"amount"`
	Currency      string        `json:"currency"`
}

// PaymentFailed: the provider refused; nothing was taken.
type PaymentFailed struct {
	PaymentID string `json:"paymentId"`
	OrderID   string `json:"orderId"`
	Reason    string `json:"reason"`
}

// RefundRequested: the provider is to be asked to give the amount back.
type RefundRequested struct {
	PaymentID string        `json:"paymentId"`
	OrderID   string        `json:"orderId"`
	Reason    string        `json:"reason"`
	Amount    money.Decimal `json:"amount"`
	Currency  string        `json:"currency"`
}

// PaymentRefunded: the provider gave the amount back.
type PaymentRefunded struct {
	PaymentID  string        `json:"paymentId"`
	OrderID    string        `json:"orderId"`
	CustomerID string        `json:"customerId"`
	Amount     money.Decimal `json:"amount"`
	Currency   string        `json:"currency"`
	RefundID   string        `json:"refundId"` // the provider's
}

// The names on the wire. They never change.

func (PaymentRequested) EventType() string { return "PaymentRequested" }
func (PaymentProcessed) EventType() string { return "PaymentProcessed" }
func (PaymentFailed) EventType() string    { return "PaymentFailed" }
func (RefundRequested) EventType() string  { return "RefundRequested" }
func (PaymentRefunded) EventType() string  { return "PaymentRefunded" }

func (PaymentRequested) payment() {}
func (PaymentProcessed) payment() {}
func (PaymentFailed) payment()    {}
func (RefundRequested) payment()  {}
func (PaymentRefunded) payment()  {}
