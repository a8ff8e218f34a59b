CREATE TABLE orders (
	order_id        TEXT PRIMARY KEY,
	order_number    TEXT NOT NULL,
	status          TEXT NOT NULL CHECK (status IN ('CREATED', 'PAID', 'SHIPPED', 'DELIVERED', 'CANCELLED')),
	customer_id     TEXT NOT NULL,
	currency        TEXT NOT NULL,
	total_amount    INTEGER NOT NULL, -- minor units of currency
	tracking_number TEXT NOT NULL DEFAULT '',
	cancel_reason   TEXT NOT NULL DEFAULT '',
	order_date      TEXT NOT NULL,
	created_at      TEXT NOT NULL,
	updated_at      TEXT NOT NULL,
	version         INTEGER NOT NULL,
	revision        INTEGER NOT NULL
) STRICT;

CREATE INDEX orders_by_date ON orders (order_date, order_id);
CREATE INDEX orders_by_customer ON orders (customer_id, order_date, order_id);
CREATE INDEX orders_by_status ON orders (status, order_date, order_id);

CREATE TABLE order_items (
	order_id    TEXT NOT NULL REFERENCES orders,
	line        INTEGER NOT NULL, -- 1, 2, 3 … in the order
	product_id  TEXT NOT NULL,
	quantity    INTEGER NOT NULL,
	price       INTEGER NOT NULL, -- of one unit, minor units
	tax_rate    TEXT NOT NULL,    -- exact decimal
	total_price INTEGER NOT NULL, -- of the line with tax, minor units
	PRIMARY KEY (order_id, line)
) STRICT, WITHOUT ROWID;

-- Joined, not copied into every order: a customer may be renamed, or register after ordering.
CREATE TABLE customers (
	customer_id TEXT PRIMARY KEY,
	name        TEXT NOT NULL,
	tier        TEXT NOT NULL
) STRICT, WITHOUT ROWID;
