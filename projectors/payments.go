package projectors

import (
	"context"
	_ "embed" // the schema

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
)

//go:embed payments.sql
var paymentsSchema string

// Payments is where each payment stands.
var Payments = es.Projector{
	Name:    "payments",
	Version: 1,
	Schema:  paymentsSchema,
	Interest: es.Interest{
		Handles: []es.Event{
			events.PaymentRequested{}, events.PaymentProcessed{}, events.PaymentFailed{}, events.RefundRequested{},
			events.PaymentRefunded{},
		},
		Ignores: []es.Event{
			events.OrderCreated{}, events.OrderItemAdded{}, events.OrderPaid{}, events.OrderShipped{},
			events.OrderDelivered{}, events.OrderCancelled{},
			events.StockReceived{}, events.StockReserved{}, events.StockReservationRejected{}, events.StockReleased{},
			events.StockShipped{},
			events.CustomerRegistered{}, events.CustomerRenamed{}, events.CustomerTierChanged{},
			events.AccountOpened{}, events.MoneyDeposited{}, events.MoneyWithdrawn{}, events.MoneyReturned{}, events.TransferRefused{},
			events.AccountClosed{}, events.TransferRequested{}, events.TransferCompleted{}, events.TransferFailed{},
			events.MailRequested{}, events.MailSent{}, events.MailFailed{},
		},
	},
	Apply: applyPayments,
}

func applyPayments(ctx context.Context, tx es.Tx, r es.Recorded) error {
	switch e := r.Event.(type) {
	case events.PaymentRequested:
		amount, err := minor(e.Amount, e.Currency)
		if err != nil {
			return err
		}
		at := es.SQLTime(r.Time)
		return exec(ctx, tx, `INSERT INTO payments (payment_id, order_id, customer_id, status, currency, amount, method,
				created_at, updated_at, version, revision)
			VALUES (?, ?, ?, 'REQUESTED', ?, ?, ?, ?, ?, ?, ?)`,
			r.Stream.ID, e.OrderID, e.CustomerID, e.Currency, amount, e.Method, at, at, r.Version, r.Revision)
	case events.PaymentProcessed:
		return movePayment(ctx, tx, r, `UPDATE payments SET status = 'PROCESSED', transaction_id = ?1`, e.TransactionID)
	case events.PaymentFailed:
		return movePayment(ctx, tx, r, `UPDATE payments SET status = 'FAILED', reason = ?1`, e.Reason)
	case events.RefundRequested:
		return movePayment(ctx, tx, r, `UPDATE payments SET status = 'REFUND_REQUESTED', reason = ?1`, e.Reason)
	case events.PaymentRefunded:
		return movePayment(ctx, tx, r, `UPDATE payments SET status = 'REFUNDED', refund_id = ?1`, e.RefundID)
	}
	return unhandled(r)
}

// movePayment finishes an UPDATE, whose first parameter is detail, with what every event changes.
func movePayment(ctx context.Context, tx es.Tx, r es.Recorded, update, detail string) error {
	return execOne(ctx, tx, r, update+`, updated_at = ?2, version = ?3, revision = ?4 WHERE payment_id = ?5`,
		detail, es.SQLTime(r.Time), r.Version, r.Revision, r.Stream.ID)
}
