CREATE TABLE stock (
	product_id TEXT PRIMARY KEY,
	on_hand    INTEGER NOT NULL DEFAULT 0,
	reserved   INTEGER NOT NULL DEFAULT 0, -- sum of the product's reservations
	updated_at TEXT NOT NULL,
	version    INTEGER NOT NULL,
	revision   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE reservations (
	product_id TEXT NOT NULL REFERENCES stock,
	order_id   TEXT NOT NULL,
	quantity   INTEGER NOT NULL,
	PRIMARY KEY (product_id, order_id)
) STRICT, WITHOUT ROWID;
