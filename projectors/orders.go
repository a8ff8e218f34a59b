package projectors

import (
	"context"
	_ "embed" // the schema

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
)

//go:embed orders.sql
var ordersSchema string

// Orders is the order summary: what was ordered, by whom, and where it stands.
var Orders = es.Projector{
	Name:    "orders",
	Version: 1,
	Schema:  ordersSchema,
	Interest: es.Interest{
		Handles: []es.Event{
			events.OrderCreated{}, events.OrderItemAdded{}, events.OrderPaid{}, events.OrderShipped{},
			events.OrderDelivered{}, events.OrderCancelled{},
			events.CustomerRegistered{}, events.CustomerRenamed{}, events.CustomerTierChanged{},
		},
		Ignores: []es.Event{
			events.StockReceived{}, events.StockReserved{}, events.StockReservationRejected{}, events.StockReleased{},
			events.StockShipped{},
			events.PaymentRequested{}, events.PaymentProcessed{}, events.PaymentFailed{}, events.RefundRequested{},
			events.PaymentRefunded{},
			events.AccountOpened{}, events.MoneyDeposited{}, events.MoneyWithdrawn{}, events.MoneyReturned{}, events.TransferRefused{},
			events.AccountClosed{}, events.TransferRequested{}, events.TransferCompleted{}, events.TransferFailed{},
			events.MailRequested{}, events.MailSent{}, events.MailFailed{},
		},
	},
	Apply: applyOrders,
}

func applyOrders(ctx context.Context, tx es.Tx, r es.Recorded) error {
	switch e := r.Event.(type) {
	case events.OrderCreated:
		return createOrder(ctx, tx, r, e)
	case events.OrderItemAdded:
		return addOrderItem(ctx, tx, r, e)
	case events.OrderPaid:
		return moveOrder(ctx, tx, r, "PAID", "", "")
	case events.OrderShipped:
		return moveOrder(ctx, tx, r, "SHIPPED", e.TrackingNumber, "")
	case events.OrderDelivered:
		return moveOrder(ctx, tx, r, "DELIVERED", "", "")
	case events.OrderCancelled:
		return moveOrder(ctx, tx, r, "CANCELLED", "", e.Reason)
	case events.CustomerRegistered:
		return exec(ctx, tx, `INSERT INTO customers (customer_id, name, tier) VALUES (?, ?, 'standard')`, r.Stream.ID, e.Name)
	case events.CustomerRenamed:
		return execOne(ctx, tx, r, `UPDATE customers SET name = ? WHERE customer_id = ?`, e.Name, r.Stream.ID)
	case events.CustomerTierChanged:
		return execOne(ctx, tx, r, `UPDATE customers SET tier = ? WHERE customer_id = ?`, e.Tier, r.Stream.ID)
	}
	return unhandled(r)
}

func createOrder(ctx context.Context, tx es.Tx, r es.Recorded, e events.OrderCreated) error {
	total, err := minor(e.TotalAmount, e.Currency)
	if err != nil {
		return err
	}
	at := es.SQLTime(r.Time)
	err = exec(ctx, tx, `INSERT INTO orders (order_id, order_number, status, customer_id, currency, total_amount,
			order_date, created_at, updated_at, version, revision)
		VALUES (?, ?, 'CREATED', ?, ?, ?, ?, ?, ?, ?, ?)`,
		r.Stream.ID, e.OrderNumber, e.CustomerID, e.Currency, total, es.SQLTime(e.OrderDate), at, at, r.Version, r.Revision)
	if err != nil {
		return err
	}
	for i, item := range e.Items {
		if err := insertItem(ctx, tx, r.Stream.ID, i+1, item, e.Currency); err != nil {
			return err
		}
	}
	return nil
}

func addOrderItem(ctx context.Context, tx es.Tx, r es.Recorded, e events.OrderItemAdded) error {
	var currency string
	var lines int
	err := tx.QueryRowContext(ctx, `SELECT currency, (SELECT count(*) FROM order_items i WHERE i.order_id = o.order_id)
		FROM orders o WHERE order_id = ?`, r.Stream.ID).Scan(&currency, &lines)
	if err != nil {
		return err
	}
	total, err := minor(e.TotalAmount, currency)
	if err != nil {
		return err
	}
	err = execOne(ctx, tx, r, `UPDATE orders SET total_amount = ?, updated_at = ?, version = ?, revision = ? WHERE order_id = ?`,
		total, es.SQLTime(r.Time), r.Version, r.Revision, r.Stream.ID)
	if err != nil {
		return err
	}
	return insertItem(ctx, tx, r.Stream.ID, lines+1, e.Item, currency)
}

func insertItem(ctx context.Context, tx es.Tx, orderID string, line int, item events.OrderItem, currency string) error {
	price, err := minor(item.Price, currency)
	if err != nil {
		return err
	}
	total, err := minor(item.TotalPrice, currency)
	if err != nil {
		return err
	}
	return exec(ctx, tx, `INSERT INTO order_items (order_id, line, product_id, quantity, price, tax_rate, total_price)
		VALUES (?, ?, ?, ?, ?, ?, ?)`, orderID, line, item.ProductID, item.Quantity, price, item.TaxRate.String(), total)
}

// moveOrder sets the status; a tracking number or reason that is there already stays when none is given.
func moveOrder(ctx context.Context, tx es.Tx, r es.Recorded, status, tracking, reason string) error {
	return execOne(ctx, tx, r, `UPDATE orders SET status = ?, tracking_number = coalesce(nullif(?, ''), tracking_number),
			cancel_reason = coalesce(nullif(?, ''), cancel_reason), updated_at = ?, version = ?, revision = ?
		WHERE order_id = ?`, status, tracking, reason, es.SQLTime(r.Time), r.Version, r.Revision, r.Stream.ID)
}
