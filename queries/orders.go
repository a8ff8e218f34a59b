package queries

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/money"
)

// Order is an order with its lines and its customer's name and tier as they are now.
type Order struct {
	OrderID        string        `json:"orderId"`
	OrderNumber    string        `json:"orderNumber"`
	Status         string        `json:"status" jsonschema:"enum=CREATED,enum=PAID,enum=SHIPPED,enum=DELIVERED,enum=CANCELLED"`
	CustomerID     string        `json:"customerId"`
	CustomerName   string        `json:"customerName"` // empty: not registered
	CustomerTier   string        `json:"customerTier"` // empty: not registered
	Currency       string        `json:"currency"`
	TotalAmount    money.Decimal `json:"totalAmount"`
	Items          []OrderItem   `json:"items"`
	ItemsCount     int           `json:"itemsCount"`     // lines
	UniqueProducts int           `json:"uniqueProducts"` // one product may stand on two lines
	TrackingNumber string        `json:"trackingNumber"` // empty: not shipped
	CancelReason   string        `json:"cancelReason"`   // empty: not cancelled
	OrderDate      time.Time     `json:"orderDate"`
	CreatedAt      time.Time     `json:"createdAt"`
	UpdatedAt      time.Time     `json:"updatedAt"`
	Version        uint64        `json:"version"`
	Revision       es.Revision   `json:"revision"` // of the order's last event
}

// OrderItem is one line of an order.
type OrderItem struct {
	ProductID  string        `json:"productId"`
	Quantity   int64         `json:"quantity"`
	Price      money.Decimal `json:"price"` // of one unit, before tax
	TaxRate    money.Decimal `json:"taxRate"`
	TotalPrice money.Decimal `json:"totalPrice"` // of the line, with tax
}

// StreamVersion makes the order's version its ETag.
func (o Order) StreamVersion() uint64 { return o.Version }

// Orders is a page of orders, newest first.
type Orders struct {
	Items      []Order `json:"items"`
	NextCursor string  `json:"nextCursor,omitempty"` // absent: this was the last page
}

// OrderByIDParams names one order.
type OrderByIDParams struct {
	OrderID string `json:"orderId"`
}

// OrderListParams narrows a list of orders.
type OrderListParams struct {
	CustomerID string    `json:"customerId,omitempty"`
	Status     string    `json:"status,omitempty" jsonschema:"enum=CREATED,enum=PAID,enum=SHIPPED,enum=DELIVERED,enum=CANCELLED"`
	From       time.Time `json:"from,omitempty,omitzero"` // order date, inclusive
	To         time.Time `json:"to,omitempty,omitzero"`   // order date, exclusive
	Cursor     string    `json:"cursor,omitempty"`
	Limit      int       `json:"limit,omitempty" jsonschema:"minimum=1,maximum=200,default=50"`
}

// CustomerOrdersParams narrows a list of one customer's orders.
type CustomerOrdersParams struct {
	CustomerID string    `json:"customerId"`
	Status     string    `json:"status,omitempty" jsonschema:"enum=CREATED,enum=PAID,enum=SHIPPED,enum=DELIVERED,enum=CANCELLED"`
	From       time.Time `json:"from,omitempty,omitzero"` // order date, inclusive
	To         time.Time `json:"to,omitempty,omitzero"`   // order date, exclusive
	Cursor     string    `json:"cursor,omitempty"`
	Limit      int       `json:"limit,omitempty" jsonschema:"minimum=1,maximum=200,default=50"`
}

// ErrOrderNotFound: no such order, or the read model does not show it yet.
var ErrOrderNotFound = es.NotFound("order_not_found", "no such order")

// OrderByID is one order.
var OrderByID = es.Query[OrderByIDParams, Order]{
	Name:      "order",
	Path:      "/orders/{orderId}",
	Summary:   "One order with its lines",
	Projector: "orders",
	Ask: func(ctx context.Context, db es.Reader, p OrderByIDParams) (Order, error) {
		if err := checkID(p.OrderID, "orderId"); err != nil {
			return Order{}, err
		}
		order, err := scanOrder(db.QueryRowContext(ctx, selectOrders+` WHERE o.order_id = ?`, p.OrderID))
		if errors.Is(err, sql.ErrNoRows) {
			return Order{}, ErrOrderNotFound.With("order %q does not exist", p.OrderID)
		}
		return order, err
	},
}

// OrderList is the orders that match, newest first.
var OrderList = es.Query[OrderListParams, Orders]{
	Name:      "orders",
	Path:      "/orders",
	Summary:   "Orders, newest first, by customer, status and order date",
	Projector: "orders",
	Ask:       listOrders,
}

// CustomerOrders is one customer's orders, newest first. A customer nobody knows has none.
var CustomerOrders = es.Query[CustomerOrdersParams, Orders]{
	Name:      "customerOrders",
	Path:      "/customers/{customerId}/orders",
	Summary:   "A customer's orders, newest first",
	Projector: "orders",
	Ask: func(ctx context.Context, db es.Reader, p CustomerOrdersParams) (Orders, error) {
		if err := checkID(p.CustomerID, "customerId"); err != nil {
			return Orders{}, err
		}
		return listOrders(ctx, db, OrderListParams(p))
	},
}

var orderStatuses = []string{"CREATED", "PAID", "SHIPPED", "DELIVERED", "CANCELLED"}

const orderCursor = "order"

func listOrders(ctx context.Context, db es.Reader, p OrderListParams) (Orders, error) {
	limit, err := pageSize(p.Limit)
	if err != nil {
		return Orders{}, err
	}
	where, args, err := orderFilter(p)
	if err != nil {
		return Orders{}, err
	}
	found, err := readAll(ctx, db, scanOrder, selectOrders+where+` ORDER BY o.order_date DESC, o.order_id DESC LIMIT ?`, append(args, limit+1)...)
	if err != nil {
		return Orders{}, err
	}
	items, next := page(found, limit, Order.Cursor)
	return Orders{Items: items, NextCursor: next}, nil
}

func orderFilter(p OrderListParams) (where string, args []any, err error) {
	var terms []string
	add := func(term string, values ...any) {
		terms = append(terms, term)
		args = append(args, values...)
	}
	if p.CustomerID != "" {
		if err := checkID(p.CustomerID, "customerId"); err != nil {
			return "", nil, err
		}
		add(`o.customer_id = ?`, p.CustomerID)
	}
	if p.Status != "" {
		if !slices.Contains(orderStatuses, p.Status) {
			return "", nil, &es.InvalidError{Code: "schema", Message: fmt.Sprintf("status must be one of %s, found %q", strings.Join(orderStatuses, ", "), p.Status), Pointer: "/status"}
		}
		add(`o.status = ?`, p.Status)
	}
	if !p.From.IsZero() {
		add(`o.order_date >= ?`, p.From.UTC().Format(timeLayout))
	}
	if !p.To.IsZero() {
		add(`o.order_date < ?`, p.To.UTC().Format(timeLayout))
	}
	after, err := readCursor(p.Cursor, orderCursor, 2)
	if err != nil {
		return "", nil, err
	}
	if after != nil {
		if _, err := time.Parse(timeLayout, after[0]); err != nil || !es.ValidID(after[1]) {
			return "", nil, badCursor()
		}
		add(`(o.order_date, o.order_id) < (?, ?)`, after[0], after[1])
	}
	if len(terms) == 0 {
		return "", nil, nil
	}
	return ` WHERE ` + strings.Join(terms, ` AND `), args, nil
}

const selectOrders = `SELECT o.order_id, o.order_number, o.status, o.customer_id, coalesce(c.name, ''), coalesce(c.tier, ''),
	o.currency, o.total_amount, o.tracking_number, o.cancel_reason, o.order_date, o.created_at, o.updated_at, o.version, o.revision,
	(SELECT json_group_array(json_object('productId', i.product_id, 'quantity', i.quantity, 'price', i.price,
			'taxRate', i.tax_rate, 'totalPrice', i.total_price) ORDER BY i.line)
		FROM order_items i WHERE i.order_id = o.order_id)
	FROM orders o LEFT JOIN customers c ON c.customer_id = o.customer_id`

// storedItem is a line as selectOrders gives it: amounts in minor units.
type storedItem struct {
	ProductID  string `json:"productId"`
	Quantity   int64  `json:"quantity"`
	Price      int64  `json:"price"`
	TaxRate    string `json:"taxRate"`
	TotalPrice int64  `json:"totalPrice"`
}

func scanOrder(row scanner) (Order, error) {
	var o Order
	var total int64
	var ordered, created, updated, lines string
	err := row.Scan(&o.OrderID, &o.OrderNumber, &o.Status, &o.CustomerID, &o.CustomerName, &o.CustomerTier,
		&o.Currency, &total, &o.TrackingNumber, &o.CancelReason, &ordered, &created, &updated, &o.Version, &o.Revision, &lines)
	if err != nil {
		return Order{}, err
	}
	if o.TotalAmount, err = amount(total, o.Currency); err != nil {
		return Order{}, err
	}
	if o.OrderDate, err = readTime(ordered); err != nil {
		return Order{}, err
	}
	if o.CreatedAt, err = readTime(created); err != nil {
		return Order{}, err
	}
	if o.UpdatedAt, err = readTime(updated); err != nil {
		return Order{}, err
	}
	var stored []storedItem
	if err := json.Unmarshal([]byte(lines), &stored); err != nil {
		return Order{}, es.Permanent(err)
	}
	products := map[string]bool{}
	o.Items = make([]OrderItem, len(stored))
	for i, s := range stored {
		if o.Items[i], err = s.item(o.Currency); err != nil {
			return Order{}, err
		}
		products[s.ProductID] = true
	}
	o.ItemsCount, o.UniqueProducts = len(o.Items), len(products)
	return o, nil
}

func (s storedItem) item(currency string) (OrderItem, error) {
	price, err := amount(s.Price, currency)
	if err != nil {
		return OrderItem{}, err
	}
	total, err := amount(s.TotalPrice, currency)
	if err != nil {
		return OrderItem{}, err
	}
	rate, err := money.Parse(s.TaxRate)
	if err != nil {
		return OrderItem{}, es.Permanent(err)
	}
	return OrderItem{ProductID: s.ProductID, Quantity: s.Quantity, Price: price, TaxRate: rate, TotalPrice: total}, nil
}
