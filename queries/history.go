package queries

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/millstream-es/millstream/es"
)

// Entry is one event in an aggregate's history.
type Entry struct {
	Version       uint64          `json:"version"`
	Revision      es.Revision     `json:"revision"` // of the commit; events of one commit share it
	ID            string          `json:"id"`
	Type          string          `json:"type"`
	Time          time.Time       `json:"time"`
	User          string          `json:"user"`
	CommandID     string          `json:"commandId"`
	CorrelationID string          `json:"correlationId"`
	CausationID   string          `json:"causationId"`
	Data          json.RawMessage `json:"data"`
}

// History is a page of an aggregate's events, oldest first.
type History struct {
	Items      []Entry `json:"items"`
	NextCursor string  `json:"nextCursor,omitempty"` // absent: this was the last page
}

// HistoryParams names an aggregate and a place in its history.
type HistoryParams struct {
	ID     string `json:"id"`
	Cursor string `json:"cursor,omitempty"`
	Limit  int    `json:"limit,omitempty" jsonschema:"minimum=1,maximum=200,default=50"`
}

// The histories: who did what, and when.
var (
	OrderHistory    = historyOf("order", "/orders/{id}/history", ErrOrderNotFound)
	CustomerHistory = historyOf("customer", "/customers/{id}/history", ErrCustomerNotFound)
	StockHistory    = historyOf("stock", "/stock/{id}/history", ErrStockNotFound)
	PaymentHistory  = historyOf("payment", "/payments/{id}/history", ErrPaymentNotFound)
	AccountHistory  = historyOf("account", "/accounts/{id}/history", ErrAccountNotFound)
	TransferHistory = historyOf("transfer", "/transfers/{id}/history", ErrTransferNotFound)
	MailHistory     = historyOf("mail", "/mails/{id}/history", ErrMailNotFound)
)

func historyOf(category, path string, notFound *es.Rejection) es.Query[HistoryParams, History] {
	return es.Query[HistoryParams, History]{
		Name:      category + "History",
		Path:      path,
		Summary:   "What happened to one " + category + ", oldest first: every event with its time, user and cause",
		Projector: "audit",
		Ask: func(ctx context.Context, db es.Reader, p HistoryParams) (History, error) {
			return askHistory(ctx, db, category, p, notFound)
		},
	}
}

func askHistory(ctx context.Context, db es.Reader, category string, p HistoryParams, notFound *es.Rejection) (History, error) {
	if err := checkID(p.ID, "id"); err != nil {
		return History{}, err
	}
	limit, err := pageSize(p.Limit)
	if err != nil {
		return History{}, err
	}
	after, err := readHistoryCursor(p.Cursor, category)
	if err != nil {
		return History{}, err
	}
	found, err := readAll(ctx, db, scanEntry, `SELECT version, revision, event_id, type, time, user, command_id, correlation, causation, data
		FROM audit WHERE category = ? AND id = ? AND version > ? ORDER BY version LIMIT ?`, category, p.ID, after, limit+1)
	if err != nil {
		return History{}, err
	}
	if len(found) == 0 && after == 0 { // every stream has a first event
		return History{}, notFound.With("%s %q does not exist", category, p.ID)
	}
	items, next := page(found, limit, func(e Entry) string { return e.Cursor(category) })
	return History{Items: items, NextCursor: next}, nil
}

// readHistoryCursor returns the version that a history goes on after; 0: the beginning.
func readHistoryCursor(text, category string) (int64, error) {
	after, err := readCursor(text, historyCursor(category), 1)
	if err != nil || after == nil {
		return 0, err
	}
	version, err := strconv.ParseInt(after[0], 10, 64)
	if err != nil || version < 1 {
		return 0, badCursor()
	}
	return version, nil
}

func scanEntry(row scanner) (Entry, error) {
	var e Entry
	var at, data string
	err := row.Scan(&e.Version, &e.Revision, &e.ID, &e.Type, &at, &e.User, &e.CommandID, &e.CorrelationID, &e.CausationID, &data)
	if err != nil {
		return Entry{}, err
	}
	e.Data = json.RawMessage(data)
	e.Time, err = readTime(at)
	return e, err
}
