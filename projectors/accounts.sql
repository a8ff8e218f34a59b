CREATE TABLE accounts (
	account_id TEXT PRIMARY KEY,
	owner      TEXT NOT NULL,
	currency   TEXT NOT NULL,
	balance    INTEGER NOT NULL DEFAULT 0, -- minor units of currency
	status     TEXT NOT NULL CHECK (status IN ('OPEN', 'CLOSED')),
	opened_at  TEXT NOT NULL,
	updated_at TEXT NOT NULL,
	version    INTEGER NOT NULL,
	revision   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Every movement of money; an account's balance is the sum of its amounts.
CREATE TABLE transactions (
	account_id   TEXT NOT NULL REFERENCES accounts,
	version      INTEGER NOT NULL, -- of the account, so that newer ones are greater
	type         TEXT NOT NULL CHECK (type IN ('DEPOSIT', 'WITHDRAWAL', 'TRANSFER_IN', 'TRANSFER_OUT', 'TRANSFER_RETURNED')),
	amount       INTEGER NOT NULL, -- minor units, negative: money went out
	balance      INTEGER NOT NULL, -- minor units, afterwards
	reference    TEXT NOT NULL,    -- for people; of TRANSFER_RETURNED: why
	transfer_id  TEXT NOT NULL,    -- empty: no transfer
	counterparty TEXT NOT NULL,    -- the other account of a transfer
	time         TEXT NOT NULL,
	revision     INTEGER NOT NULL,
	PRIMARY KEY (account_id, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE transfers (
	transfer_id  TEXT PRIMARY KEY,
	from_account TEXT NOT NULL,
	to_account   TEXT NOT NULL,
	amount       INTEGER NOT NULL, -- minor units of currency
	currency     TEXT NOT NULL,
	reference    TEXT NOT NULL,
	status       TEXT NOT NULL CHECK (status IN ('REQUESTED', 'COMPLETED', 'FAILED')),
	reason       TEXT NOT NULL DEFAULT '', -- of FAILED
	created_at   TEXT NOT NULL,
	updated_at   TEXT NOT NULL,
	version      INTEGER NOT NULL,
	revision     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
