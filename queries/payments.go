package queries

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/money"
)

// Payment is where one payment stands.
type Payment struct {
	PaymentID     string        `json:"paymentId"`
	OrderID       string        `json:"orderId"`
	CustomerID    string        `json:"customerId"`
	Status        string        `json:"status" jsonschema:"enum=REQUESTED,enum=PROCESSED,enum=FAILED,enum=REFUND_REQUESTED,enum=REFUNDED"`
	Amount        money.Decimal `json:"amount"`
	Currency      string        `json:"currency"`
	Method        string        `json:"method"`
	TransactionID string        `json:"transactionId"` // the provider's; empty: not processed
	RefundID      string        `json:"refundId"`      // the provider's; empty: not refunded
	Reason        string        `json:"reason"`        // of the failure or the refund
	CreatedAt     time.Time     `json:"createdAt"`
	UpdatedAt     time.Time     `json:"updatedAt"`
	Version       uint64        `json:"version"`
	Revision      es.Revision   `json:"revision"` // of the payment's last event
}

// StreamVersion makes the payment's version its ETag.
func (p Payment) StreamVersion() uint64 { return p.Version }

// PaymentByIDParams names one payment.
type PaymentByIDParams struct {
	PaymentID string `json:"paymentId"` // "<order id>-<n>"
}

// ErrPaymentNotFound: no such payment, or the read model does not show it yet.
var ErrPaymentNotFound = es.NotFound("payment_not_found", "no such payment")

// PaymentByID is one payment.
var PaymentByID = es.Query[PaymentByIDParams, Payment]{
	Name:      "payment",
	Path:      "/payments/{paymentId}",
	Summary:   "One payment",
	Projector: "payments",
	Ask: func(ctx context.Context, db es.Reader, p PaymentByIDParams) (Payment, error) {
		if err := checkID(p.PaymentID, "paymentId"); err != nil {
			return Payment{}, err
		}
		payment, err := scanPayment(db.QueryRowContext(ctx, selectPayments+` WHERE payment_id = ?`, p.PaymentID))
		if errors.Is(err, sql.ErrNoRows) {
			return Payment{}, ErrPaymentNotFound.With("payment %q does not exist", p.PaymentID)
		}
		return payment, err
	},
}

const selectPayments = `SELECT payment_id, order_id, customer_id, status, amount, currency, method,
	transaction_id, refund_id, reason, created_at, updated_at, version, revision FROM payments`

func scanPayment(row scanner) (Payment, error) {
	var p Payment
	var units int64
	var created, updated string
	err := row.Scan(&p.PaymentID, &p.OrderID, &p.CustomerID, &p.Status, &units, &p.Currency, &p.Method,
		&p.TransactionID, &p.RefundID, &p.Reason, &created, &updated, &p.Version, &p.Revision)
	if err != nil {
		return Payment{}, err
	}
	if p.Amount, err = amount(units, p.Currency); err != nil {
		return Payment{}, err
	}
	if p.CreatedAt, err = readTime(created); err != nil {
		return Payment{}, err
	}
	p.UpdatedAt, err = readTime(updated)
	return p, err
}
