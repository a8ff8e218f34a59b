package projectors

import (
	"context"
	_ "embed" // the schema
	"strings"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
)

//go:embed search.sql
var searchSchema string

// Search is the full text of every order: its ids and numbers, customer, products, address and tracking number. It
// stands in a file of its own, since keeping an index costs more than keeping rows.
var Search = es.Projector{
	Name:    "search",
	Version: 1,
	Schema:  searchSchema,
	Interest: es.Interest{
		Handles: []es.Event{
			events.OrderCreated{}, events.OrderItemAdded{}, events.OrderPaid{}, events.OrderShipped{},
			events.OrderDelivered{}, events.OrderCancelled{},
			events.CustomerRegistered{}, events.CustomerRenamed{},
		},
		Ignores: []es.Event{
			events.StockReceived{}, events.StockReserved{}, events.StockReservationRejected{}, events.StockReleased{},
			events.StockShipped{},
			events.PaymentRequested{}, events.PaymentProcessed{}, events.PaymentFailed{}, events.RefundRequested{},
			events.PaymentRefunded{},
			events.CustomerTierChanged{},
			events.MailRequested{}, events.MailSent{}, events.MailFailed{},
			events.AccountOpened{}, events.MoneyDeposited{}, events.MoneyWithdrawn{}, events.MoneyReturned{}, events.TransferRefused{},
			events.AccountClosed{}, events.TransferRequested{}, events.TransferCompleted{}, events.TransferFailed{},
		},
	},
	Apply: applySearch,
}

func applySearch(ctx context.Context, tx es.Tx, r es.Recorded) error {
	switch e := r.Event.(type) {
	case events.OrderCreated:
		return indexOrder(ctx, tx, r, e)
	case events.OrderItemAdded:
		return indexItem(ctx, tx, r, e)
	case events.OrderPaid:
		return moveFound(ctx, tx, r, "PAID")
	case events.OrderShipped:
		return execOne(ctx, tx, r, `UPDATE orders SET status = 'SHIPPED', tracking_number = ?, version = ?, revision = ? WHERE order_id = ?`,
			e.TrackingNumber, r.Version, r.Revision, r.Stream.ID)
	case events.OrderDelivered:
		return moveFound(ctx, tx, r, "DELIVERED")
	case events.OrderCancelled:
		return moveFound(ctx, tx, r, "CANCELLED")
	case events.CustomerRegistered:
		return nameCustomer(ctx, tx, r.Stream.ID, e.Name)
	case events.CustomerRenamed:
		return nameCustomer(ctx, tx, r.Stream.ID, e.Name)
	}
	return unhandled(r)
}

func indexOrder(ctx context.Context, tx es.Tx, r es.Recorded, e events.OrderCreated) error {
	total, err := minor(e.TotalAmount, e.Currency)
	if err != nil {
		return err
	}
	products, seen := " ", map[string]bool{}
	for _, item := range e.Items {
		if !seen[item.ProductID] {
			seen[item.ProductID] = true
			products += item.ProductID + " "
		}
	}
	a := e.ShippingAddress
	return exec(ctx, tx, `INSERT INTO orders (order_id, order_number, customer_id, customer_name, products, address,
			status, currency, total_amount, order_date, version, revision)
		VALUES (?1, ?2, ?3, coalesce((SELECT name FROM customers WHERE customer_id = ?3), ''), ?4, ?5, 'CREATED', ?6, ?7, ?8, ?9, ?10)`,
		r.Stream.ID, e.OrderNumber, e.CustomerID, products, joined(a.Street, a.City, a.State, a.ZipCode, a.Country),
		e.Currency, total, es.SQLTime(e.OrderDate), r.Version, r.Revision)
}

// joined is an address on one line, without what is not given.
func joined(parts ...string) string {
	var given []string
	for _, p := range parts {
		if p != "" {
			given = append(given, p)
		}
	}
	return strings.Join(given, ", ")
}

func indexItem(ctx context.Context, tx es.Tx, r es.Recorded, e events.OrderItemAdded) error {
	var currency string
	if err := tx.QueryRowContext(ctx, `SELECT currency FROM orders WHERE order_id = ?`, r.Stream.ID).Scan(&currency); err != nil {
		return err
	}
	total, err := minor(e.TotalAmount, currency)
	if err != nil {
		return err
	}
	err = execOne(ctx, tx, r, `UPDATE orders SET total_amount = ?, version = ?, revision = ? WHERE order_id = ?`,
		total, r.Version, r.Revision, r.Stream.ID)
	if err != nil {
		return err
	}
	return exec(ctx, tx, `UPDATE orders SET products = products || ?2 || ' ' WHERE order_id = ?1 AND instr(products, ' ' || ?2 || ' ') = 0`,
		r.Stream.ID, e.Item.ProductID)
}

func moveFound(ctx context.Context, tx es.Tx, r es.Recorded, status string) error {
	return execOne(ctx, tx, r, `UPDATE orders SET status = ?, version = ?, revision = ? WHERE order_id = ?`,
		status, r.Version, r.Revision, r.Stream.ID)
}

// nameCustomer also renames in every order of the customer, those from before the registration among them.
func nameCustomer(ctx context.Context, tx es.Tx, customerID, name string) error {
	err := exec(ctx, tx, `INSERT INTO customers (customer_id, name) VALUES (?, ?) ON CONFLICT DO UPDATE SET name = excluded.name`, customerID, name)
	if err != nil {
		return err
	}
	return exec(ctx, tx, `UPDATE orders SET customer_name = ? WHERE customer_id = ?`, name, customerID)
}
