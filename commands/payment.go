package commands

import (
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
)

// Payments is the aggregate of one payment, whose id is "<order id>-<n>".
var Payments = es.Define[Payment]("payment",
	RequestPayment{}, RecordPayment{}, RecordPaymentFailure{}, RequestRefund{}, RecordRefund{}).
	Internal(RecordPayment{}, RecordPaymentFailure{}, RecordRefund{}).
	Like("o-1-1")

// PaymentCommand is a command to a payment.
//
//sumtype:decl
type PaymentCommand interface {
	es.Command
	paymentCommand()
}

// RequestPayment has the payment provider asked for an amount.
type RequestPayment struct {
	OrderID    string        `json:"orderId" jsonschema:"pattern=^[A-Za-z0-9_-]+$,minLength=1,maxLength=64,example=o-1"`
	CustomerID string        `json:"customerId" jsonschema:"pattern=^[A-Za-z0-9_-]+$,minLength=1,maxLength=64,example=c-1"`
	Amount     money.Decimal `json:"amount" jsonschema:"minimum=0,example=39.98"`
	Currency   string        `json:"currency" jsonschema:"pattern=^[A-Z]{3}$,example=USD,description=ISO 4217"`
	Method     string        `json:"method" jsonschema:"enum=credit_card,enum=paypal,enum=bank_transfer,example=credit_card"`
	Token      string        `json:"token" jsonschema:"pattern=\\S,maxLength=256,example=tok_ok,description=From the payment provider; never a card number"`
}

// RecordPayment says that the provider took the amount.
type RecordPayment struct {
	TransactionID string `json:"transactionId" jsonschema:"pattern=\\S,maxLength=200,example=tx-1,description=The provider's"`
}

// RecordPaymentFailure says that the provider refused.
type RecordPaymentFailure struct {
	Reason string `json:"reason" jsonschema:"pattern=\\S,maxLength=500,example=card declined"`
}

// RequestRefund has the provider asked to give the amount back.
type RequestRefund struct {
	Reason string `json:"reason" jsonschema:"pattern=\\S,maxLength=500,example=order cancelled"`
}

// RecordRefund says that the provider gave the amount back.
type RecordRefund struct {
	RefundID string `json:"refundId" jsonschema:"pattern=\\S,maxLength=200,example=re-1,description=The provider's"`
}

// The names on the wire. They never change.

func (RequestPayment) CommandType() string       { return "RequestPayment" }
func (RecordPayment) CommandType() string        { return "RecordPayment" }
func (RecordPaymentFailure) CommandType() string { return "RecordPaymentFailure" }
func (RequestRefund) CommandType() string        { return "RequestRefund" }
func (RecordRefund) CommandType() string         { return "RecordRefund" }

func (RequestPayment) paymentCommand()       {}
func (RecordPayment) paymentCommand()        {}
func (RecordPaymentFailure) paymentCommand() {}
func (RequestRefund) paymentCommand()        {}
func (RecordRefund) paymentCommand()         {}

// Rejections of a payment.
var (
	ErrPaymentNotFound     = es.NotFound("payment_not_found", "payment does not exist")
	ErrPaymentExists       = es.Rejected("payment_already_exists", "payment already exists, with other contents")
	ErrPaymentFailed       = es.Rejected("payment_failed", "payment has failed")
	ErrPaymentProcessed    = es.Rejected("payment_already_processed", "payment is already processed")
	ErrPaymentNotProcessed = es.Rejected("payment_not_processed", "payment is not processed yet")
	ErrRefundNotRequested  = es.Rejected("refund_not_requested", "no refund was requested")
	ErrRefundRecorded      = es.Rejected("refund_already_recorded", "payment is already refunded")
)

// The statuses of a payment; "" is one that does not exist.
const (
	paymentRequested       = "REQUESTED"
	paymentProcessed       = "PROCESSED"
	paymentFailed          = "FAILED"
	paymentRefundRequested = "REFUND_REQUESTED"
	paymentRefunded        = "REFUNDED"
)

// Payment is what a payment remembers.
type Payment struct {
	Status        string        `json:"status"` // REQUESTED, PROCESSED, FAILED, REFUND_REQUESTED, REFUNDED
	OrderID       string        `json:"orderId"`
	CustomerID    string        `json:"customerId"`
	Amount        money.Decimal `json:"amount"`
	Currency      string        `json:"currency"`
	Method        string        `json:"method"`
	Token         string        `json:"token" pii:"customer"`
	TransactionID string        `json:"transactionId,omitempty"`
	FailureReason string        `json:"failureReason,omitempty"`
	RefundID      string        `json:"refundId,omitempty"`
}

// Decide says what a command leads to.
func (p Payment) Decide(c PaymentCommand, m es.Meta) ([]events.Payment, error) {
	if _, requests := c.(RequestPayment); !requests && p.Status == "" {
		return nil, ErrPaymentNotFound.With("payment %s does not exist", m.Stream.ID)
	}
	switch c := c.(type) {
	case RequestPayment:
		return p.request(c)
	case RecordPayment:
		return p.record(c, m.Stream.ID)
	case RecordPaymentFailure:
		return p.recordFailure(c, m.Stream.ID)
	case RequestRefund:
		return p.requestRefund(c, m.Stream.ID)
	case RecordRefund:
		return p.recordRefund(c, m.Stream.ID)
	}
	return nil, unknownCommand(c)
}

func (p Payment) request(c RequestPayment) ([]events.Payment, error) {
	if p.Status != "" {
		if c == (RequestPayment{p.OrderID, p.CustomerID, p.Amount, p.Currency, p.Method, p.Token}) {
			return nil, nil
		}
		return nil, ErrPaymentExists
	}
	if err := checkAmount(c.Amount, c.Currency, "/amount"); err != nil {
		return nil, err
	}
	return []events.Payment{events.PaymentRequested(c)}, nil
}

func (p Payment) record(c RecordPayment, id string) ([]events.Payment, error) {
	switch {
	case p.Status == paymentFailed:
		return nil, ErrPaymentFailed.With("payment has failed: %s", p.FailureReason)
	case p.Status == paymentRequested:
		return []events.Payment{events.PaymentProcessed{
			PaymentID:     id,
			TransactionID: c.TransactionID,
			OrderID:       p.OrderID,
			CustomerID:    p.CustomerID,
			Amount:        p.Amount,
			Currency:      p.Currency,
		}}, nil
	case c.TransactionID == p.TransactionID:
		return nil, nil
	}
	return nil, ErrPaymentProcessed.With("payment is already processed, by transaction %s", p.TransactionID)
}

func (p Payment) recordFailure(c RecordPaymentFailure, id string) ([]events.Payment, error) {
	switch {
	case p.Status == paymentRequested:
		return []events.Payment{events.PaymentFailed{PaymentID: id, OrderID: p.OrderID, Reason: c.Reason}}, nil
	case p.Status == paymentFailed && c.Reason == p.FailureReason:
		return nil, nil
	case p.Status == paymentFailed:
		return nil, ErrPaymentFailed.With("payment has already failed: %s", p.FailureReason)
	}
	return nil, ErrPaymentProcessed
}

func (p Payment) requestRefund(c RequestRefund, id string) ([]events.Payment, error) {
	switch p.Status {
	case paymentRequested:
		return nil, ErrPaymentNotProcessed
	case paymentFailed:
		return nil, ErrPaymentFailed.With("payment has failed, so there is nothing to refund")
	case paymentRefundRequested, paymentRefunded:
		return nil, nil
	}
	return []events.Payment{events.RefundRequested{
		PaymentID: id,
		OrderID:   p.OrderID,
		Reason:    c.Reason,
		Amount:    p.Amount,
		Currency:  p.Currency,
	}}, nil
}

func (p Payment) recordRefund(c RecordRefund, id string) ([]events.Payment, error) {
	switch p.Status {
	case paymentRequested:
		return nil, ErrPaymentNotProcessed
	case paymentFailed:
		return nil, ErrPaymentFailed
	case paymentProcessed:
		return nil, ErrRefundNotRequested
	case paymentRefunded:
		if c.RefundID == p.RefundID {
			return nil, nil
		}
		return nil, ErrRefundRecorded.With("payment is already refunded, by %s", p.RefundID)
	}
	return []events.Payment{events.PaymentRefunded{
		PaymentID:  id,
		OrderID:    p.OrderID,
		CustomerID: p.CustomerID,
		Amount:     p.Amount,
		Currency:   p.Currency,
		RefundID:   c.RefundID,
	}}, nil
}

// Evolve returns the payment after an event.
func (p Payment) Evolve(e events.Payment) Payment {
	switch e := e.(type) {
	case events.PaymentRequested:
		return Payment{
			Status:     paymentRequested,
			OrderID:    e.OrderID,
			CustomerID: e.CustomerID,
			Amount:     e.Amount,
			Currency:   e.Currency,
			Method:     e.Method,
			Token:      e.Token,
		}
	case events.PaymentProcessed:
		p.Status, p.TransactionID = paymentProcessed, e.TransactionID
	case events.PaymentFailed:
		p.Status, p.FailureReason = paymentFailed, e.Reason
	case events.RefundRequested:
		p.Status = paymentRefundRequested
	case events.PaymentRefunded:
		p.Status, p.RefundID = paymentRefunded, e.RefundID
	}
	return p
}

// Allowed are the commands that the payment would take now.
func (p Payment) Allowed() []PaymentCommand {
	switch p.Status {
	case "":
		return []PaymentCommand{RequestPayment{}}
	case paymentRequested:
		return []PaymentCommand{RecordPayment{}, RecordPaymentFailure{}}
	case paymentProcessed:
		return []PaymentCommand{RequestRefund{}}
	case paymentRefundRequested:
		return []PaymentCommand{RecordRefund{}}
	}
	return nil
}
