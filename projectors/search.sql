-- What is searched stands first; what is shown beside it follows. Personal data included: name and address.
CREATE TABLE orders (
	docid           INTEGER PRIMARY KEY, -- 1, 2, 3 … in the order of creation
	order_id        TEXT NOT NULL UNIQUE,
	order_number    TEXT NOT NULL,
	customer_id     TEXT NOT NULL,
	customer_name   TEXT NOT NULL, -- copied, since it is searched; empty: not registered
	products        TEXT NOT NULL, -- their ids, each once, between spaces
	address         TEXT NOT NULL, -- on one line
	tracking_number TEXT NOT NULL DEFAULT '',

	status          TEXT NOT NULL CHECK (status IN ('CREATED', 'PAID', 'SHIPPED', 'DELIVERED', 'CANCELLED')),
	currency        TEXT NOT NULL,
	total_amount    INTEGER NOT NULL, -- minor units of currency
	order_date      TEXT NOT NULL,
	version         INTEGER NOT NULL,
	revision        INTEGER NOT NULL
) STRICT;

CREATE INDEX orders_by_customer ON orders (customer_id);

CREATE TABLE customers (
	customer_id TEXT PRIMARY KEY,
	name        TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- FTS4, not FTS5: the plain build has no FTS5. The index holds no text of its own; it reads the old text from orders to
-- take it out, and so must be told before a row changes.
CREATE VIRTUAL TABLE order_text USING fts4 (
	content="orders", tokenize=unicode61 "remove_diacritics=2",
	order_id, order_number, customer_id, customer_name, products, address, tracking_number
);

CREATE TRIGGER orders_created AFTER INSERT ON orders BEGIN
	INSERT INTO order_text (docid, order_id, order_number, customer_id, customer_name, products, address, tracking_number)
	VALUES (new.docid, new.order_id, new.order_number, new.customer_id, new.customer_name, new.products, new.address, new.tracking_number);
END;

CREATE TRIGGER orders_change BEFORE UPDATE OF customer_name, products, tracking_number ON orders BEGIN
	DELETE FROM order_text WHERE docid = old.docid;
END;

CREATE TRIGGER orders_changed AFTER UPDATE OF customer_name, products, tracking_number ON orders BEGIN
	INSERT INTO order_text (docid, order_id, order_number, customer_id, customer_name, products, address, tracking_number)
	VALUES (new.docid, new.order_id, new.order_number, new.customer_id, new.customer_name, new.products, new.address, new.tracking_number);
END;
