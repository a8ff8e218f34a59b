package projectors

import (
	"context"
	_ "embed" // the schema

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
)

//go:embed stock.sql
var stockSchema string

// Stock is what is on hand of each product, what came in and went out, and for which orders it is held.
var Stock = es.Projector{
	Name:    "stock",
	Version: 2,
	Schema:  stockSchema,
	Interest: es.Interest{
		Handles: []es.Event{
			events.StockReceived{}, events.StockReserved{}, events.StockReservationRejected{}, events.StockReleased{},
			events.StockShipped{},
		},
		Ignores: []es.Event{
			events.OrderCreated{}, events.OrderItemAdded{}, events.OrderPaid{}, events.OrderShipped{},
			events.OrderDelivered{}, events.OrderCancelled{},
			events.PaymentRequested{}, events.PaymentProcessed{}, events.PaymentFailed{}, events.RefundRequested{},
			events.PaymentRefunded{},
			events.CustomerRegistered{}, events.CustomerRenamed{}, events.CustomerTierChanged{},
			events.AccountOpened{}, events.MoneyDeposited{}, events.MoneyWithdrawn{}, events.MoneyReturned{}, events.TransferRefused{},
			events.AccountClosed{}, events.TransferRequested{}, events.TransferCompleted{}, events.TransferFailed{},
			events.MailRequested{}, events.MailSent{}, events.MailFailed{},
		},
	},
	Apply: applyStock,
}

func applyStock(ctx context.Context, tx es.Tx, r es.Recorded) error {
	switch e := r.Event.(type) {
	case events.StockReceived:
		return receiveStock(ctx, tx, r, e.Quantity)
	case events.StockReserved:
		return holdStock(ctx, tx, r, e.OrderID, e.Quantity, 0)
	case events.StockReservationRejected:
		return missStock(ctx, tx, r, e)
	case events.StockReleased:
		return holdStock(ctx, tx, r, e.OrderID, 0, 0)
	case events.StockShipped:
		return holdStock(ctx, tx, r, e.OrderID, 0, e.Quantity)
	}
	return unhandled(r)
}

// receiveStock takes units in; whoever was refused for want of them is history.
func receiveStock(ctx context.Context, tx es.Tx, r es.Recorded, quantity int64) error {
	return exec(ctx, tx, `INSERT INTO stock (product_id, on_hand, received, updated_at, version, revision) VALUES (?1, ?2, ?2, ?3, ?4, ?5)
		ON CONFLICT DO UPDATE SET on_hand = on_hand + excluded.on_hand, received = received + excluded.received, missed = 0,
			updated_at = excluded.updated_at, version = excluded.version, revision = excluded.revision`,
		r.Stream.ID, quantity, es.SQLTime(r.Time), r.Version, r.Revision)
}

// missStock counts what a refused reservation lacked: all that the order wanted to hold, less what it held and what
// was available.
func missStock(ctx context.Context, tx es.Tx, r es.Recorded, e events.StockReservationRejected) error {
	if err := touchStock(ctx, tx, r, 0); err != nil {
		return err
	}
	return exec(ctx, tx, `UPDATE stock SET missed = missed + max(0, ?3 - ?4
			- coalesce((SELECT quantity FROM reservations WHERE product_id = ?1 AND order_id = ?2), 0))
		WHERE product_id = ?1`, r.Stream.ID, e.OrderID, e.Quantity, e.Available)
}

// touchStock takes shipped units out, makes the product's row when there is none, and notes what changed it last.
func touchStock(ctx context.Context, tx es.Tx, r es.Recorded, shipped int64) error {
	return exec(ctx, tx, `INSERT INTO stock (product_id, on_hand, shipped, updated_at, version, revision) VALUES (?1, -?2, ?2, ?3, ?4, ?5)
		ON CONFLICT DO UPDATE SET on_hand = on_hand + excluded.on_hand, shipped = shipped + excluded.shipped,
			updated_at = excluded.updated_at, version = excluded.version, revision = excluded.revision`,
		r.Stream.ID, shipped, es.SQLTime(r.Time), r.Version, r.Revision)
}

// holdStock sets all that is held for an order, after taking out what was shipped of it.
func holdStock(ctx context.Context, tx es.Tx, r es.Recorded, orderID string, quantity, shipped int64) error {
	if err := touchStock(ctx, tx, r, shipped); err != nil {
		return err
	}
	err := exec(ctx, tx, `UPDATE stock SET reserved = reserved + ?3
			- coalesce((SELECT quantity FROM reservations WHERE product_id = ?1 AND order_id = ?2), 0)
		WHERE product_id = ?1`, r.Stream.ID, orderID, quantity)
	if err != nil {
		return err
	}
	if quantity == 0 {
		return exec(ctx, tx, `DELETE FROM reservations WHERE product_id = ? AND order_id = ?`, r.Stream.ID, orderID)
	}
	return exec(ctx, tx, `INSERT INTO reservations (product_id, order_id, quantity) VALUES (?, ?, ?)
		ON CONFLICT DO UPDATE SET quantity = excluded.quantity`, r.Stream.ID, orderID, quantity)
}
