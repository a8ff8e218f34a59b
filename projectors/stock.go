package projectors

import (
	"context"
	_ "embed" // the schema

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
)

//go:embed stock.sql
var stockSchema string

// Stock is what is on hand of each product, and for which orders it is held.
var Stock = es.Projector{
	Name:    "stock",
	Version: 1,
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
		},
	},
	Apply: applyStock,
}

func applyStock(ctx context.Context, tx es.Tx, r es.Recorded) error {
	switch e := r.Event.(type) {
	case events.StockReceived:
		return moveStock(ctx, tx, r, e.Quantity)
	case events.StockReserved:
		return holdStock(ctx, tx, r, e.OrderID, e.Quantity, 0)
	case events.StockReservationRejected:
		return moveStock(ctx, tx, r, 0)
	case events.StockReleased:
		return holdStock(ctx, tx, r, e.OrderID, 0, 0)
	case events.StockShipped:
		return holdStock(ctx, tx, r, e.OrderID, 0, -e.Quantity)
	}
	return unhandled(r)
}

// moveStock adds to what is on hand.
func moveStock(ctx context.Context, tx es.Tx, r es.Recorded, onHand int64) error {
	return exec(ctx, tx, `INSERT INTO stock (product_id, on_hand, updated_at, version, revision) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET on_hand = on_hand + excluded.on_hand, updated_at = excluded.updated_at,
			version = excluded.version, revision = excluded.revision`,
		r.Stream.ID, onHand, stamp(r.Time), r.Version, r.Revision)
}

// holdStock sets all that is held for an order and adds to what is on hand.
func holdStock(ctx context.Context, tx es.Tx, r es.Recorded, orderID string, quantity, onHand int64) error {
	if err := moveStock(ctx, tx, r, onHand); err != nil {
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
