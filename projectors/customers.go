package projectors

import (
	"context"
	_ "embed" // the schema

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
)

//go:embed customers.sql
var customersSchema string

// Customers is what is known of each customer: profile, orders and where they stand, and lifetime value (paid minus
// refunded) in each currency.
var Customers = es.Projector{
	Name:    "customers",
	Version: 2,
	Schema:  customersSchema,
	Interest: es.Interest{
		Handles: []es.Event{
			events.CustomerRegistered{}, events.CustomerRenamed{}, events.CustomerTierChanged{},
			events.OrderCreated{}, events.OrderItemAdded{}, events.OrderPaid{}, events.OrderShipped{},
			events.OrderDelivered{}, events.OrderCancelled{},
			events.PaymentProcessed{}, events.PaymentRefunded{},
		},
		Ignores: []es.Event{
			events.StockReceived{}, events.StockReserved{}, events.StockReservationRejected{}, events.StockReleased{},
			events.StockShipped{},
			events.PaymentRequested{}, events.PaymentFailed{}, events.RefundRequested{},
			events.AccountOpened{}, events.MoneyDeposited{}, events.MoneyWithdrawn{}, events.MoneyReturned{}, events.TransferRefused{},
			events.AccountClosed{}, events.TransferRequested{}, events.TransferCompleted{}, events.TransferFailed{},
			events.MailRequested{}, events.MailSent{}, events.MailFailed{},
		},
	},
	Apply: applyCustomers,
}

func applyCustomers(ctx context.Context, tx es.Tx, r es.Recorded) error {
	switch e := r.Event.(type) {
	case events.CustomerRegistered:
		if err := touchCustomer(ctx, tx, r, r.Stream.ID); err != nil {
			return err
		}
		return exec(ctx, tx, `UPDATE customers SET name = ?, email = ?, phone = ?, tier = 'standard', version = ? WHERE customer_id = ?`,
			e.Name, e.Email, e.Phone, r.Version, r.Stream.ID)
	case events.CustomerRenamed:
		return execOne(ctx, tx, r, `UPDATE customers SET name = ?, version = ?, revision = ?, updated_at = ? WHERE customer_id = ?`,
			e.Name, r.Version, r.Revision, es.SQLTime(r.Time), r.Stream.ID)
	case events.CustomerTierChanged:
		return execOne(ctx, tx, r, `UPDATE customers SET tier = ?, version = ?, revision = ?, updated_at = ? WHERE customer_id = ?`,
			e.Tier, r.Version, r.Revision, es.SQLTime(r.Time), r.Stream.ID)
	case events.OrderCreated:
		return addCustomerOrder(ctx, tx, r, e)
	case events.OrderItemAdded:
		return growCustomerOrder(ctx, tx, r, e)
	case events.OrderPaid:
		return moveCustomerOrder(ctx, tx, r, "PAID")
	case events.OrderShipped:
		return moveCustomerOrder(ctx, tx, r, "SHIPPED")
	case events.OrderDelivered:
		return moveCustomerOrder(ctx, tx, r, "DELIVERED")
	case events.OrderCancelled:
		return moveCustomerOrder(ctx, tx, r, "CANCELLED")
	case events.PaymentProcessed:
		return moveMoney(ctx, tx, r, e.CustomerID, money.Money{Amount: e.Amount, Currency: e.Currency}, 1, 0)
	case events.PaymentRefunded:
		return moveMoney(ctx, tx, r, e.CustomerID, money.Money{Amount: e.Amount, Currency: e.Currency}, 0, 1)
	}
	return unhandled(r)
}

func addCustomerOrder(ctx context.Context, tx es.Tx, r es.Recorded, e events.OrderCreated) error {
	total, err := minor(e.TotalAmount, e.Currency)
	if err != nil {
		return err
	}
	if err := touchCustomer(ctx, tx, r, e.CustomerID); err != nil {
		return err
	}
	if err := exec(ctx, tx, `UPDATE customers SET total_orders = total_orders + 1 WHERE customer_id = ?`, e.CustomerID); err != nil {
		return err
	}
	err = exec(ctx, tx, `INSERT INTO customer_orders (order_id, customer_id, order_number, status, currency, total_amount,
			order_date, updated_at, revision)
		VALUES (?, ?, ?, 'CREATED', ?, ?, ?, ?, ?)`,
		r.Stream.ID, e.CustomerID, e.OrderNumber, e.Currency, total, es.SQLTime(e.OrderDate), es.SQLTime(r.Time), r.Revision)
	if err != nil {
		return err
	}
	return addValue(ctx, tx, e.CustomerID, e.Currency, 0, 0)
}

func growCustomerOrder(ctx context.Context, tx es.Tx, r es.Recorded, e events.OrderItemAdded) error {
	var currency string
	if err := tx.QueryRowContext(ctx, `SELECT currency FROM customer_orders WHERE order_id = ?`, r.Stream.ID).Scan(&currency); err != nil {
		return err
	}
	total, err := minor(e.TotalAmount, currency)
	if err != nil {
		return err
	}
	return execOne(ctx, tx, r, `UPDATE customer_orders SET total_amount = ?, updated_at = ?, revision = ? WHERE order_id = ?`,
		total, es.SQLTime(r.Time), r.Revision, r.Stream.ID)
}

func moveCustomerOrder(ctx context.Context, tx es.Tx, r es.Recorded, status string) error {
	return execOne(ctx, tx, r, `UPDATE customer_orders SET status = ?, updated_at = ?, revision = ? WHERE order_id = ?`,
		status, es.SQLTime(r.Time), r.Revision, r.Stream.ID)
}

// moveMoney counts an amount as paid or refunded; the factors are 1 or 0.
func moveMoney(ctx context.Context, tx es.Tx, r es.Recorded, customerID string, amount money.Money, paid, refunded int64) error {
	units, err := minor(amount.Amount, amount.Currency)
	if err != nil {
		return err
	}
	if err := touchCustomer(ctx, tx, r, customerID); err != nil {
		return err
	}
	return addValue(ctx, tx, customerID, amount.Currency, paid*units, refunded*units)
}

// touchCustomer makes the customer's row, when there is none, and notes what changed it last.
func touchCustomer(ctx context.Context, tx es.Tx, r es.Recorded, customerID string) error {
	return exec(ctx, tx, `INSERT INTO customers (customer_id, revision, updated_at) VALUES (?, ?, ?)
		ON CONFLICT DO UPDATE SET revision = excluded.revision, updated_at = excluded.updated_at`, customerID, r.Revision, es.SQLTime(r.Time))
}

func addValue(ctx context.Context, tx es.Tx, customerID, currency string, paid, refunded int64) error {
	return exec(ctx, tx, `INSERT INTO customer_values (customer_id, currency, place, paid, refunded)
		SELECT ?1, ?2, 1 + (SELECT count(*) FROM customer_values WHERE customer_id = ?1), ?3, ?4 WHERE true
		ON CONFLICT DO UPDATE SET paid = paid + excluded.paid, refunded = refunded + excluded.refunded`,
		customerID, currency, paid, refunded)
}
