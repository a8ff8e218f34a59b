-- The outbox: the last request for each mail and what became of it. Personal data included: address and name.
CREATE TABLE mails (
	order_id     TEXT NOT NULL,
	kind         TEXT NOT NULL CHECK (kind IN ('confirmation', 'shipped', 'cancelled')),
	status       TEXT NOT NULL CHECK (status IN ('REQUESTED', 'SENT', 'FAILED')),
	customer_id  TEXT NOT NULL,
	order_number TEXT NOT NULL,
	address      TEXT NOT NULL,
	name         TEXT NOT NULL,
	message_id   TEXT NOT NULL DEFAULT '',
	reason       TEXT NOT NULL DEFAULT '', -- of the failure
	requested_at TEXT NOT NULL,
	updated_at   TEXT NOT NULL,
	revision     INTEGER NOT NULL,
	PRIMARY KEY (order_id, kind)
) STRICT, WITHOUT ROWID;

CREATE INDEX mails_by_time ON mails (requested_at, order_id, kind);
CREATE INDEX mails_by_status ON mails (status, requested_at, order_id, kind);
