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

// Customer is a customer's profile with the statistics of what was ordered and paid. One who ordered and never
// registered has no name, e-mail or tier, and version 0.
type Customer struct {
	CustomerID     string        `json:"customerId"`
	Name           string        `json:"name"`
	Email          string        `json:"email"`
	Phone          string        `json:"phone"`
	Tier           string        `json:"tier"`                     // standard, silver, gold or platinum
	TotalOrders    int64         `json:"totalOrders"`              // all that were placed, cancelled ones included
	Currency       string        `json:"currency"`                 // of lifetimeValue: the first that the customer dealt in
	LifetimeValue  money.Decimal `json:"lifetimeValue"`            // paid minus refunded
	LifetimeValues []money.Money `json:"lifetimeValues,omitempty"` // of every currency, when there is more than one
	UpdatedAt      time.Time     `json:"updatedAt"`
	Version        uint64        `json:"version"`
	Revision       es.Revision   `json:"revision"` // of the last event that changed any of this
}

// StreamVersion is that of the customer's own stream, the one that a command to the customer expects. The
// statistics move without it.
func (c Customer) StreamVersion() uint64 { return c.Version }

// Customers is a page of customers, by id.
type Customers struct {
	Items      []Customer `json:"items"`
	NextCursor string     `json:"nextCursor,omitempty"` // absent: this was the last page
}

// CustomerByIDParams names one customer.
type CustomerByIDParams struct {
	CustomerID string `json:"customerId"`
}

// ErrCustomerNotFound: neither registered nor seen in an order, or the read model does not show it yet.
var ErrCustomerNotFound = es.NotFound("customer_not_found", "no such customer")

// CustomerByID is one customer.
var CustomerByID = es.Query[CustomerByIDParams, Customer]{
	Name:      "customer",
	Path:      "/customers/{customerId}",
	Summary:   "One customer with order statistics",
	Projector: "customers",
	Ask: func(ctx context.Context, db es.Reader, p CustomerByIDParams) (Customer, error) {
		if err := checkID(p.CustomerID, "customerId"); err != nil {
			return Customer{}, err
		}
		customer, err := scanCustomer(db.QueryRowContext(ctx, selectCustomers+` WHERE c.customer_id = ?`, p.CustomerID))
		if errors.Is(err, sql.ErrNoRows) {
			return Customer{}, ErrCustomerNotFound.With("customer %q does not exist", p.CustomerID)
		}
		return customer, err
	},
}

// CustomerList is all customers, by id.
var CustomerList = es.Query[ListParams, Customers]{
	Name:      "customers",
	Path:      "/customers",
	Summary:   "Customers with order statistics, by id",
	Projector: "customers",
	Ask: func(ctx context.Context, db es.Reader, p ListParams) (Customers, error) {
		items, next, err := listByID(ctx, db, p, "customer", selectCustomers+` WHERE c.customer_id > ? ORDER BY c.customer_id LIMIT ?`,
			scanCustomer, Customer.Cursor)
		return Customers{Items: items, NextCursor: next}, err
	},
}

const selectCustomers = `SELECT c.customer_id, c.name, c.email, c.phone, c.tier, c.total_orders, c.updated_at, c.version, c.revision,
	(SELECT json_group_array(json_object('currency', v.currency, 'units', v.paid - v.refunded) ORDER BY v.place)
		FROM customer_values v WHERE v.customer_id = c.customer_id)
	FROM customers c`

func scanCustomer(row scanner) (Customer, error) {
	var c Customer
	var updated, values string
	err := row.Scan(&c.CustomerID, &c.Name, &c.Email, &c.Phone, &c.Tier, &c.TotalOrders, &updated, &c.Version, &c.Revision, &values)
	if err != nil {
		return Customer{}, err
	}
	if c.UpdatedAt, err = readTime(updated); err != nil {
		return Customer{}, err
	}
	var stored []struct {
		Currency string `json:"currency"`
		Units    int64  `json:"units"`
	}
	if err := json.Unmarshal([]byte(values), &stored); err != nil {
		return Customer{}, es.Permanent(err)
	}
	for i, v := range stored {
		value, err := amount(v.Units, v.Currency)
		if err != nil {
			return Customer{}, err
		}
		if i == 0 {
			c.Currency, c.LifetimeValue = v.Currency, value
		}
		if len(stored) > 1 {
			c.LifetimeValues = append(c.LifetimeValues, money.Money{Amount: value, Currency: v.Currency})
		}
	}
	return c, nil
}
