package queries

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/money"
)

// Account is what stands on one account.
type Account struct {
	AccountID string        `json:"accountId"`
	Owner     string        `json:"owner"`
	Currency  string        `json:"currency"`
	Balance   money.Decimal `json:"balance"` // of a closed account: what was given back to it and is not paid out yet
	Status    string        `json:"status" jsonschema:"enum=OPEN,enum=CLOSED"`
	OpenedAt  time.Time     `json:"openedAt"`
	UpdatedAt time.Time     `json:"updatedAt"`
	Version   uint64        `json:"version"`
	Revision  es.Revision   `json:"revision"` // of the account's last event
}

// StreamVersion makes the account's version its ETag.
func (a Account) StreamVersion() uint64 { return a.Version }

// AccountPage is a page of accounts, by id.
type AccountPage struct {
	Items      []Account `json:"items"`
	NextCursor string    `json:"nextCursor,omitempty"` // absent: this was the last page
}

// Transaction is one movement of money on an account.
type Transaction struct {
	Type         string        `json:"type" jsonschema:"enum=DEPOSIT,enum=WITHDRAWAL,enum=TRANSFER_IN,enum=TRANSFER_OUT,enum=TRANSFER_RETURNED"`
	Amount       money.Decimal `json:"amount"` // negative: money went out
	Currency     string        `json:"currency"`
	Balance      money.Decimal `json:"balance"`      // afterwards
	Reference    string        `json:"reference"`    // as it was given; of TRANSFER_RETURNED: why
	TransferID   string        `json:"transferId"`   // empty: no transfer
	Counterparty string        `json:"counterparty"` // the other account of a transfer
	Time         time.Time     `json:"time"`
	Version      uint64        `json:"version"` // of the account
	Revision     es.Revision   `json:"revision"`
}

// Transactions is a page of an account's movements, newest first.
type Transactions struct {
	Items      []Transaction `json:"items"`
	NextCursor string        `json:"nextCursor,omitempty"` // absent: this was the last page
}

// Transfer is where one transfer stands.
type Transfer struct {
	TransferID string        `json:"transferId"`
	From       string        `json:"from"`
	To         string        `json:"to"`
	Amount     money.Decimal `json:"amount"`
	Currency   string        `json:"currency"`
	Reference  string        `json:"reference"`
	Status     string        `json:"status" jsonschema:"enum=REQUESTED,enum=COMPLETED,enum=FAILED"`
	Reason     string        `json:"reason"` // of FAILED
	CreatedAt  time.Time     `json:"createdAt"`
	UpdatedAt  time.Time     `json:"updatedAt"`
	Version    uint64        `json:"version"`
	Revision   es.Revision   `json:"revision"` // of the transfer's last event
}

// StreamVersion makes the transfer's version its ETag.
func (t Transfer) StreamVersion() uint64 { return t.Version }

// AccountByIDParams names one account.
type AccountByIDParams struct {
	AccountID string `json:"accountId"`
}

// AccountTransactionsParams names an account and a place in its movements.
type AccountTransactionsParams struct {
	AccountID string `json:"accountId"`
	Cursor    string `json:"cursor,omitempty"`
	Limit     int    `json:"limit,omitempty" jsonschema:"minimum=1,maximum=200,default=50"`
}

// TransferByIDParams names one transfer.
type TransferByIDParams struct {
	TransferID string `json:"transferId"`
}

// No such thing, or the read model does not show it yet.
var (
	ErrAccountNotFound  = es.NotFound("account_not_found", "no such account")
	ErrTransferNotFound = es.NotFound("transfer_not_found", "no such transfer")
)

// AccountByID is one account.
var AccountByID = es.Query[AccountByIDParams, Account]{
	Name:      "account",
	Path:      "/accounts/{accountId}",
	Summary:   "One account with its balance",
	Projector: "accounts",
	Ask: func(ctx context.Context, db es.Reader, p AccountByIDParams) (Account, error) {
		if err := checkID(p.AccountID, "accountId"); err != nil {
			return Account{}, err
		}
		account, err := scanAccount(db.QueryRowContext(ctx, selectAccounts+` WHERE account_id = ?`, p.AccountID))
		if errors.Is(err, sql.ErrNoRows) {
			return Account{}, ErrAccountNotFound.With("account %q does not exist", p.AccountID)
		}
		return account, err
	},
}

// AccountList is all accounts, by id.
var AccountList = es.Query[ListParams, AccountPage]{
	Name:      "accounts",
	Path:      "/accounts",
	Summary:   "All accounts with their balances, by id",
	Projector: "accounts",
	Ask: func(ctx context.Context, db es.Reader, p ListParams) (AccountPage, error) {
		items, next, err := listByID(ctx, db, p, "account", selectAccounts+` WHERE account_id > ? ORDER BY account_id LIMIT ?`,
			scanAccount, Account.Cursor)
		return AccountPage{Items: items, NextCursor: next}, err
	},
}

// AccountTransactions is the movements of one account, newest first.
var AccountTransactions = es.Query[AccountTransactionsParams, Transactions]{
	Name:      "accountTransactions",
	Path:      "/accounts/{accountId}/transactions",
	Summary:   "An account's movements of money, newest first",
	Projector: "accounts",
	Ask:       askTransactions,
}

// TransferByID is one transfer.
var TransferByID = es.Query[TransferByIDParams, Transfer]{
	Name:      "transfer",
	Path:      "/transfers/{transferId}",
	Summary:   "One transfer between two accounts",
	Projector: "accounts",
	Ask: func(ctx context.Context, db es.Reader, p TransferByIDParams) (Transfer, error) {
		if err := checkID(p.TransferID, "transferId"); err != nil {
			return Transfer{}, err
		}
		transfer, err := scanTransfer(db.QueryRowContext(ctx, `SELECT transfer_id, from_account, to_account, amount, currency, reference,
				status, reason, created_at, updated_at, version, revision
			FROM transfers WHERE transfer_id = ?`, p.TransferID))
		if errors.Is(err, sql.ErrNoRows) {
			return Transfer{}, ErrTransferNotFound.With("transfer %q does not exist", p.TransferID)
		}
		return transfer, err
	},
}

const (
	transactionCursor = "transaction"

	selectAccounts = `SELECT account_id, owner, currency, balance, status, opened_at, updated_at, version, revision FROM accounts`

	// An account without movements has one row, of version 0, so that it can be told from one that does not exist.
	selectTransactions = `SELECT a.currency, coalesce(t.type, ''), coalesce(t.amount, 0), coalesce(t.balance, 0), coalesce(t.reference, ''),
			coalesce(t.transfer_id, ''), coalesce(t.counterparty, ''), coalesce(t.time, a.opened_at), coalesce(t.version, 0), coalesce(t.revision, 0)
		FROM accounts a LEFT JOIN transactions t ON t.account_id = a.account_id AND t.version < ?
		WHERE a.account_id = ? ORDER BY t.version DESC LIMIT ?`
)

func askTransactions(ctx context.Context, db es.Reader, p AccountTransactionsParams) (Transactions, error) {
	if err := checkID(p.AccountID, "accountId"); err != nil {
		return Transactions{}, err
	}
	limit, err := pageSize(p.Limit)
	if err != nil {
		return Transactions{}, err
	}
	before, err := readTransactionCursor(p.Cursor)
	if err != nil {
		return Transactions{}, err
	}
	found, err := readAll(ctx, db, scanTransaction, selectTransactions, before, p.AccountID, limit+1)
	switch {
	case err != nil:
		return Transactions{}, err
	case len(found) == 0:
		return Transactions{}, ErrAccountNotFound.With("account %q does not exist", p.AccountID)
	case found[0].Version == 0:
		return Transactions{Items: []Transaction{}}, nil
	}
	items, next := page(found, limit, Transaction.Cursor)
	return Transactions{Items: items, NextCursor: next}, nil
}

// readTransactionCursor returns the version that movements go on before.
func readTransactionCursor(text string) (int64, error) {
	after, err := readCursor(text, transactionCursor, 1)
	if err != nil || after == nil {
		return math.MaxInt64, err
	}
	before, err := strconv.ParseInt(after[0], 10, 64)
	if err != nil || before < 1 {
		return 0, badCursor()
	}
	return before, nil
}

func scanAccount(row scanner) (Account, error) {
	var a Account
	var balance int64
	var opened, updated string
	err := row.Scan(&a.AccountID, &a.Owner, &a.Currency, &balance, &a.Status, &opened, &updated, &a.Version, &a.Revision)
	if err != nil {
		return Account{}, err
	}
	if a.Balance, err = amount(balance, a.Currency); err != nil {
		return Account{}, err
	}
	if a.OpenedAt, err = readTime(opened); err != nil {
		return Account{}, err
	}
	a.UpdatedAt, err = readTime(updated)
	return a, err
}

func scanTransaction(row scanner) (Transaction, error) {
	var t Transaction
	var moved, balance int64
	var at string
	err := row.Scan(&t.Currency, &t.Type, &moved, &balance, &t.Reference, &t.TransferID, &t.Counterparty, &at, &t.Version, &t.Revision)
	if err != nil {
		return Transaction{}, err
	}
	if t.Amount, err = amount(moved, t.Currency); err != nil {
		return Transaction{}, err
	}
	if t.Balance, err = amount(balance, t.Currency); err != nil {
		return Transaction{}, err
	}
	t.Time, err = readTime(at)
	return t, err
}

func scanTransfer(row scanner) (Transfer, error) {
	var t Transfer
	var moved int64
	var created, updated string
	err := row.Scan(&t.TransferID, &t.From, &t.To, &moved, &t.Currency, &t.Reference, &t.Status, &t.Reason, &created, &updated,
		&t.Version, &t.Revision)
	if err != nil {
		return Transfer{}, err
	}
	if t.Amount, err = amount(moved, t.Currency); err != nil {
		return Transfer{}, err
	}
	if t.CreatedAt, err = readTime(created); err != nil {
		return Transfer{}, err
	}
	t.UpdatedAt, err = readTime(updated)
	return t, err
}
