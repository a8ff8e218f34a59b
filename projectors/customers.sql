-- A customer who ordered and never registered has a row too: name, email and tier empty, version 0.
CREATE TABLE customers (
	customer_id  TEXT PRIMARY KEY,
	name         TEXT NOT NULL DEFAULT '',
	email        TEXT NOT NULL DEFAULT '',
	phone        TEXT NOT NULL DEFAULT '',
	tier         TEXT NOT NULL DEFAULT '',
	total_orders INTEGER NOT NULL DEFAULT 0, -- all that were placed, cancelled ones included
	version      INTEGER NOT NULL DEFAULT 0, -- of the customer's own stream
	revision     INTEGER NOT NULL,           -- of the last event that changed the row
	updated_at   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE customer_values (
	customer_id TEXT NOT NULL REFERENCES customers,
	currency    TEXT NOT NULL,
	place       INTEGER NOT NULL, -- 1 is the currency the customer dealt in first
	paid        INTEGER NOT NULL, -- minor units
	refunded    INTEGER NOT NULL, -- minor units
	PRIMARY KEY (customer_id, currency)
) STRICT, WITHOUT ROWID;

CREATE TABLE customer_orders (
	order_id     TEXT PRIMARY KEY,
	customer_id  TEXT NOT NULL REFERENCES customers,
	order_number TEXT NOT NULL,
	status       TEXT NOT NULL CHECK (status IN ('CREATED', 'PAID', 'SHIPPED', 'DELIVERED', 'CANCELLED')),
	currency     TEXT NOT NULL,
	total_amount INTEGER NOT NULL, -- minor units of currency
	order_date   TEXT NOT NULL,
	updated_at   TEXT NOT NULL,
	revision     INTEGER NOT NULL -- of the order's last event
) STRICT, WITHOUT ROWID;

CREATE INDEX customer_orders_by_status ON customer_orders (customer_id, status, order_date, order_id);
