package projectors

import (
	"context"
	_ "embed" // the schema

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
)

//go:embed accounts.sql
var accountsSchema string

// Accounts is the ledger: what stands on each account, every movement of money, and where each transfer stands.
var Accounts = es.Projector{
	Name:    "accounts",
	Version: 1,
	Schema:  accountsSchema,
	Interest: es.Interest{
		Handles: []es.Event{
			events.AccountOpened{}, events.MoneyDeposited{}, events.MoneyWithdrawn{}, events.MoneyReturned{},
			events.TransferRefused{}, events.AccountClosed{},
			events.TransferRequested{}, events.TransferCompleted{}, events.TransferFailed{},
		},
		Ignores: []es.Event{
			events.OrderCreated{}, events.OrderItemAdded{}, events.OrderPaid{}, events.OrderShipped{},
			events.OrderDelivered{}, events.OrderCancelled{},
			events.StockReceived{}, events.StockReserved{}, events.StockReservationRejected{}, events.StockReleased{},
			events.StockShipped{},
			events.PaymentRequested{}, events.PaymentProcessed{}, events.PaymentFailed{}, events.RefundRequested{},
			events.PaymentRefunded{},
			events.CustomerRegistered{}, events.CustomerRenamed{}, events.CustomerTierChanged{},
			events.MailRequested{}, events.MailSent{}, events.MailFailed{},
		},
	},
	Apply: applyAccounts,
}

func applyAccounts(ctx context.Context, tx es.Tx, r es.Recorded) error {
	switch e := r.Event.(type) {
	case events.AccountOpened:
		at := es.SQLTime(r.Time)
		return exec(ctx, tx, `INSERT INTO accounts (account_id, owner, currency, status, opened_at, updated_at, version, revision)
			VALUES (?, ?, ?, 'OPEN', ?, ?, ?, ?)`, r.Stream.ID, e.Owner, e.Currency, at, at, r.Version, r.Revision)
	case events.MoneyDeposited:
		t := transaction{"DEPOSIT", e.Amount, e.Balance, e.Currency, e.Reference, e.TransferID, e.Counterparty}
		if e.TransferID != "" {
			t.kind = "TRANSFER_IN"
		}
		return t.book(ctx, tx, r)
	case events.MoneyWithdrawn:
		t := transaction{"WITHDRAWAL", e.Amount.Neg(), e.Balance, e.Currency, e.Reference, e.TransferID, e.Counterparty}
		if e.TransferID != "" {
			t.kind = "TRANSFER_OUT"
		}
		return t.book(ctx, tx, r)
	case events.MoneyReturned:
		return transaction{"TRANSFER_RETURNED", e.Amount, e.Balance, e.Currency, e.Reason, e.TransferID, ""}.book(ctx, tx, r)
	case events.TransferRefused: // also an account that does not exist refuses
		return exec(ctx, tx, `UPDATE accounts SET updated_at = ?, version = ?, revision = ? WHERE account_id = ?`,
			es.SQLTime(r.Time), r.Version, r.Revision, r.Stream.ID)
	case events.AccountClosed:
		return execOne(ctx, tx, r, `UPDATE accounts SET status = 'CLOSED', updated_at = ?, version = ?, revision = ? WHERE account_id = ?`,
			es.SQLTime(r.Time), r.Version, r.Revision, r.Stream.ID)
	case events.TransferRequested:
		return requestTransfer(ctx, tx, r, e)
	case events.TransferCompleted:
		return endTransfer(ctx, tx, r, "COMPLETED", "")
	case events.TransferFailed:
		return endTransfer(ctx, tx, r, "FAILED", e.Reason)
	}
	return unhandled(r)
}

type transaction struct {
	kind            string
	amount, balance money.Decimal
	currency        string
	reference       string
	transferID      string
	counterparty    string
}

// book writes the movement and the account's new balance.
func (t transaction) book(ctx context.Context, tx es.Tx, r es.Recorded) error {
	amount, err := minor(t.amount, t.currency)
	if err != nil {
		return err
	}
	balance, err := minor(t.balance, t.currency)
	if err != nil {
		return err
	}
	at := es.SQLTime(r.Time)
	err = execOne(ctx, tx, r, `UPDATE accounts SET balance = ?, updated_at = ?, version = ?, revision = ? WHERE account_id = ?`,
		balance, at, r.Version, r.Revision, r.Stream.ID)
	if err != nil {
		return err
	}
	// A giving back tells as counterparty whom the money was meant for.
	return exec(ctx, tx, `INSERT INTO transactions (account_id, version, type, amount, balance, reference, transfer_id, counterparty, time, revision)
		SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, coalesce(nullif(?8, ''), (SELECT to_account FROM transfers WHERE transfer_id = ?7), ''), ?9, ?10`,
		r.Stream.ID, r.Version, t.kind, amount, balance, t.reference, t.transferID, t.counterparty, at, r.Revision)
}

func requestTransfer(ctx context.Context, tx es.Tx, r es.Recorded, e events.TransferRequested) error {
	amount, err := minor(e.Amount, e.Currency)
	if err != nil {
		return err
	}
	at := es.SQLTime(r.Time)
	return exec(ctx, tx, `INSERT INTO transfers (transfer_id, from_account, to_account, amount, currency, reference, status,
			created_at, updated_at, version, revision)
		VALUES (?, ?, ?, ?, ?, ?, 'REQUESTED', ?, ?, ?, ?)`,
		r.Stream.ID, e.From, e.To, amount, e.Currency, e.Reference, at, at, r.Version, r.Revision)
}

func endTransfer(ctx context.Context, tx es.Tx, r es.Recorded, status, reason string) error {
	return execOne(ctx, tx, r, `UPDATE transfers SET status = ?, reason = ?, updated_at = ?, version = ?, revision = ? WHERE transfer_id = ?`,
		status, reason, es.SQLTime(r.Time), r.Version, r.Revision, r.Stream.ID)
}
