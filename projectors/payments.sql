-- The payment token is left out: nobody asks for it here.
CREATE TABLE payments (
	payment_id     TEXT PRIMARY KEY,
	order_id       TEXT NOT NULL,
	customer_id    TEXT NOT NULL,
	status         TEXT NOT NULL CHECK (status IN ('REQUESTED', 'PROCESSED', 'FAILED', 'REFUND_REQUESTED', 'REFUNDED')),
	currency       TEXT NOT NULL,
	amount         INTEGER NOT NULL, -- minor units of currency
	method         TEXT NOT NULL,
	transaction_id TEXT NOT NULL DEFAULT '',
	refund_id      TEXT NOT NULL DEFAULT '',
	reason         TEXT NOT NULL DEFAULT '', -- of the failure or the refund
	created_at     TEXT NOT NULL,
	updated_at     TEXT NOT NULL,
	version        INTEGER NOT NULL,
	revision       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX payments_by_customer ON payments (customer_id, created_at, payment_id);
CREATE INDEX payments_by_order ON payments (order_id, created_at, payment_id);
