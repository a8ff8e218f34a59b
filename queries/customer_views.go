package queries

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/money"
)

// CustomerOverview is what somebody wants to see who has the customer on the phone: the profile, how the orders
// stand, and those under way. All orders, payments and changes are lists of their own (/customers/{id}/orders,
// /payments and /history).
type CustomerOverview struct {
	Customer       Customer    `json:"customer"`
	OrdersByStatus OrderCounts `json:"ordersByStatus"`
	FirstOrderDate *time.Time  `json:"firstOrderDate,omitempty"` // absent: never ordered
	LastOrderDate  *time.Time  `json:"lastOrderDate,omitempty"`
	OpenOrders     []OpenOrder `json:"openOrders"` // not yet delivered, newest first; at most 20
	Revision       es.Revision `json:"revision"`   // of the last event that changed any of this
}

// OrderCounts says how many orders have each status.
type OrderCounts struct {
	Created   int64 `json:"CREATED"`
	Paid      int64 `json:"PAID"`
	Shipped   int64 `json:"SHIPPED"`
	Delivered int64 `json:"DELIVERED"`
	Cancelled int64 `json:"CANCELLED"`
}

// OpenOrder is an order under way.
type OpenOrder struct {
	OrderID     string        `json:"orderId"`
	OrderNumber string        `json:"orderNumber"`
	Status      string        `json:"status" jsonschema:"enum=CREATED,enum=PAID,enum=SHIPPED"`
	TotalAmount money.Decimal `json:"totalAmount"`
	Currency    string        `json:"currency"`
	OrderDate   time.Time     `json:"orderDate"`
	UpdatedAt   time.Time     `json:"updatedAt"`
}

// CustomerOverviewByID is one customer at a glance.
var CustomerOverviewByID = es.Query[CustomerByIDParams, CustomerOverview]{
	Name:      "customerOverview",
	Path:      "/customers/{customerId}/overview",
	Summary:   "One customer at a glance: profile, orders by status, orders under way",
	Projector: "customers",
	Ask: func(ctx context.Context, db es.Reader, p CustomerByIDParams) (CustomerOverview, error) {
		if err := checkID(p.CustomerID, "customerId"); err != nil {
			return CustomerOverview{}, err
		}
		overview, err := scanOverview(db.QueryRowContext(ctx, selectOverview, p.CustomerID))
		if errors.Is(err, sql.ErrNoRows) {
			return CustomerOverview{}, ErrCustomerNotFound.With("customer %q does not exist", p.CustomerID)
		}
		return overview, err
	},
}

// One statement, so that the counts, the list and the sums are of one moment. The customer's own columns come last.
const selectOverview = `SELECT
	(SELECT json_group_object(status, n) FROM (SELECT status, count(*) n FROM customer_orders WHERE customer_id = ?1 GROUP BY status)),
	(SELECT min(order_date) FROM customer_orders WHERE customer_id = ?1),
	(SELECT max(order_date) FROM customer_orders WHERE customer_id = ?1),
	(SELECT coalesce(max(revision), 0) FROM customer_orders WHERE customer_id = ?1),
	(SELECT json_group_array(json_object('orderId', order_id, 'orderNumber', order_number, 'status', status,
			'currency', currency, 'total', total_amount, 'orderDate', order_date, 'updatedAt', updated_at)
			ORDER BY order_date DESC, order_id DESC)
		FROM (SELECT * FROM customer_orders WHERE customer_id = ?1 AND status IN ('CREATED', 'PAID', 'SHIPPED')
			ORDER BY order_date DESC, order_id DESC LIMIT 20)),
	customer.* FROM (` + selectCustomers + ` WHERE c.customer_id = ?1) customer`

func scanOverview(row scanner) (CustomerOverview, error) {
	var o CustomerOverview
	var counts, open string
	var first, last sql.NullString
	var err error
	o.Customer, err = scanCustomer(before{row, []any{&counts, &first, &last, &o.Revision, &open}})
	if err != nil {
		return CustomerOverview{}, err
	}
	o.Revision = max(o.Revision, o.Customer.Revision)
	if err := json.Unmarshal([]byte(counts), &o.OrdersByStatus); err != nil {
		return CustomerOverview{}, es.Permanent(err)
	}
	if o.FirstOrderDate, err = optionalTime(first); err != nil {
		return CustomerOverview{}, err
	}
	if o.LastOrderDate, err = optionalTime(last); err != nil {
		return CustomerOverview{}, err
	}
	var stored []struct {
		OpenOrder
		Total int64 `json:"total"` // minor units
	}
	if err := json.Unmarshal([]byte(open), &stored); err != nil {
		return CustomerOverview{}, es.Permanent(err)
	}
	o.OpenOrders = make([]OpenOrder, len(stored))
	for i, s := range stored {
		if s.TotalAmount, err = amount(s.Total, s.Currency); err != nil {
			return CustomerOverview{}, err
		}
		o.OpenOrders[i] = s.OpenOrder
	}
	return o, nil
}

// before scans some columns of its own ahead of those that are asked for.
type before struct {
	row  scanner
	head []any
}

func (b before) Scan(targets ...any) error {
	return b.row.Scan(append(b.head, targets...)...)
}

func optionalTime(text sql.NullString) (*time.Time, error) {
	if !text.Valid {
		return nil, nil
	}
	t, err := readTime(text.String)
	return &t, err
}

// CustomerPaymentsParams narrows a list of one customer's payments.
type CustomerPaymentsParams struct {
	CustomerID string `json:"customerId"`
	Cursor     string `json:"cursor,omitempty"`
	Limit      int    `json:"limit,omitempty" jsonschema:"minimum=1,maximum=200,default=50"`
}

// CustomerPaymentList is a page of payments, newest first.
type CustomerPaymentList struct {
	Items      []Payment `json:"items"`
	NextCursor string    `json:"nextCursor,omitempty"` // absent: this was the last page
}

const paymentCursor = "payment"

// CustomerPayments is what one customer paid, was refused and got back, newest first. A customer nobody knows has
// none.
var CustomerPayments = es.Query[CustomerPaymentsParams, CustomerPaymentList]{
	Name:      "customerPayments",
	Path:      "/customers/{customerId}/payments",
	Summary:   "A customer's payments and refunds, newest first",
	Projector: "payments",
	Ask: func(ctx context.Context, db es.Reader, p CustomerPaymentsParams) (CustomerPaymentList, error) {
		if err := checkID(p.CustomerID, "customerId"); err != nil {
			return CustomerPaymentList{}, err
		}
		limit, err := pageSize(p.Limit)
		if err != nil {
			return CustomerPaymentList{}, err
		}
		before, err := newestFirst(p.Cursor, paymentCursor, 1)
		if err != nil {
			return CustomerPaymentList{}, err
		}
		found, err := readAll(ctx, db, scanPayment, selectPayments+` WHERE customer_id = ? AND (created_at, payment_id) < (?, ?)
			ORDER BY created_at DESC, payment_id DESC LIMIT ?`, p.CustomerID, before[0], before[1], limit+1)
		if err != nil {
			return CustomerPaymentList{}, err
		}
		items, next := page(found, limit, Payment.Cursor)
		return CustomerPaymentList{Items: items, NextCursor: next}, nil
	},
}
