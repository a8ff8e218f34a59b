package projectors

import (
	"context"
	_ "embed" // the schema

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
)

//go:embed mails.sql
var mailsSchema string

// Mails is the outbox: every mail that was requested, and what became of it.
var Mails = es.Projector{
	Name:    "mails",
	Version: 1,
	Schema:  mailsSchema,
	Interest: es.Interest{
		Handles: []es.Event{events.MailRequested{}, events.MailSent{}, events.MailFailed{}},
		Ignores: []es.Event{
			events.OrderCreated{}, events.OrderItemAdded{}, events.OrderPaid{}, events.OrderShipped{},
			events.OrderDelivered{}, events.OrderCancelled{},
			events.StockReceived{}, events.StockReserved{}, events.StockReservationRejected{}, events.StockReleased{},
			events.StockShipped{},
			events.PaymentRequested{}, events.PaymentProcessed{}, events.PaymentFailed{}, events.RefundRequested{},
			events.PaymentRefunded{},
			events.CustomerRegistered{}, events.CustomerRenamed{}, events.CustomerTierChanged{},
			events.AccountOpened{}, events.MoneyDeposited{}, events.MoneyWithdrawn{}, events.MoneyReturned{}, events.TransferRefused{},
			events.AccountClosed{}, events.TransferRequested{}, events.TransferCompleted{}, events.TransferFailed{},
		},
	},
	Apply: applyMails,
}

func applyMails(ctx context.Context, tx es.Tx, r es.Recorded) error {
	switch e := r.Event.(type) {
	case events.MailRequested:
		at := es.SQLTime(r.Time)
		return exec(ctx, tx, `INSERT INTO mails (order_id, kind, status, customer_id, order_number, address, name, requested_at, updated_at, revision)
			VALUES (?, ?, 'REQUESTED', ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET status = excluded.status, customer_id = excluded.customer_id, order_number = excluded.order_number,
				address = excluded.address, name = excluded.name, message_id = '', reason = '',
				requested_at = excluded.requested_at, updated_at = excluded.updated_at, revision = excluded.revision`,
			r.Stream.ID, e.Kind, e.CustomerID, e.OrderNumber, e.To, e.Name, at, at, r.Revision)
	case events.MailSent:
		return execOne(ctx, tx, r, `UPDATE mails SET status = 'SENT', message_id = ?, reason = '', updated_at = ?, revision = ? WHERE order_id = ? AND kind = ?`,
			e.MessageID, es.SQLTime(r.Time), r.Revision, r.Stream.ID, e.Kind)
	case events.MailFailed:
		return execOne(ctx, tx, r, `UPDATE mails SET status = 'FAILED', reason = ?, updated_at = ?, revision = ? WHERE order_id = ? AND kind = ?`,
			e.Reason, es.SQLTime(r.Time), r.Revision, r.Stream.ID, e.Kind)
	}
	return unhandled(r)
}
