CREATE TABLE stock (
	product_id TEXT PRIMARY KEY,
	on_hand    INTEGER NOT NULL DEFAULT 0,
	reserved   INTEGER NOT NULL DEFAULT 0, -- sum of the product's reservations
	received   INTEGER NOT NULL DEFAULT 0, -- ever
	shipped    INTEGER NOT NULL DEFAULT 0, -- ever
	missed     INTEGER NOT NULL DEFAULT 0, -- what refused reservations lacked since units last came in
	updated_at TEXT NOT NULL,
	version    INTEGER NOT NULL,
	revision   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX stock_by_available ON stock (on_hand - reserved, product_id);

CREATE TABLE reservations (
	product_id TEXT NOT NULL REFERENCES stock,
	order_id   TEXT NOT NULL,
	quantity   INTEGER NOT NULL,
	PRIMARY KEY (product_id, order_id)
) STRICT, WITHOUT ROWID;
