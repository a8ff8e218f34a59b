package queries_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/money"
	"github.com/millstream-es/millstream/queries"
)

// ledger is three accounts, a transfer that came through and one that came back.
var ledger = []any{
	"account/a-1", events.AccountOpened{AccountID: "a-1", Owner: "Ada", Currency: "EUR"},
	"account/a-2", events.AccountOpened{AccountID: "a-2", Owner: "Eve", Currency: "EUR"},
	"account/a-3", events.AccountOpened{AccountID: "a-3", Owner: "Kaede", Currency: "JPY"},
	"account/a-1", events.MoneyDeposited{Amount: money.MustParse("100"), Currency: "EUR", Reference: "salary", Balance: money.MustParse("100")},
	"transfer/t-1", events.TransferRequested{From: "a-1", To: "a-2", Amount: money.MustParse("12.34"), Currency: "EUR", Reference: "rent"},
	"account/a-1", events.MoneyWithdrawn{Amount: money.MustParse("12.34"), Currency: "EUR", Reference: "rent", TransferID: "t-1", Counterparty: "a-2", Balance: money.MustParse("87.66")},
	"account/a-2", events.MoneyDeposited{Amount: money.MustParse("12.34"), Currency: "EUR", Reference: "rent", TransferID: "t-1", Counterparty: "a-1", Balance: money.MustParse("12.34")},
	"transfer/t-1", events.TransferCompleted{},
	"transfer/t-2", events.TransferRequested{From: "a-2", To: "a-3", Amount: money.MustParse("2"), Currency: "EUR"},
	"transfer/t-2", events.TransferFailed{Reason: "account a-3 holds JPY, not EUR"},
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	h := build(t, ledger...)
	first := `{"accountId":"a-1", "owner":"Ada", "currency":"EUR", "balance":87.66, "status":"OPEN",
		"openedAt":"2026-03-01T12:00:01Z", "updatedAt":"2026-03-01T12:00:06Z", "version":3, "revision":6}`
	wantJSON(t, h, queries.AccountByID, queries.AccountByIDParams{AccountID: "a-1"}, first)
	page, err := ask(t, h, queries.AccountList, queries.ListParams{Limit: 1})
	if err != nil || len(page.Items) != 1 || page.Items[0].AccountID != "a-1" || page.NextCursor == "" {
		t.Fatalf("the first page is %+v (%v)", page, err)
	}
	page, err = ask(t, h, queries.AccountList, queries.ListParams{Cursor: page.NextCursor})
	if err != nil || len(page.Items) != 2 || page.Items[1].Currency != "JPY" || page.NextCursor != "" {
		t.Errorf("the second page is %+v (%v)", page, err)
	}
	wantJSON(t, h, queries.TransferByID, queries.TransferByIDParams{TransferID: "t-1"}, `{"transferId":"t-1", "from":"a-1", "to":"a-2",
		"amount":12.34, "currency":"EUR", "reference":"rent", "status":"COMPLETED", "reason":"",
		"createdAt":"2026-03-01T12:00:05Z", "updatedAt":"2026-03-01T12:00:08Z", "version":2, "revision":8}`)
	failed, err := ask(t, h, queries.TransferByID, queries.TransferByIDParams{TransferID: "t-2"})
	if err != nil || failed.Status != "FAILED" || failed.Reason != "account a-3 holds JPY, not EUR" {
		t.Errorf("the transfer that failed is %+v (%v)", failed, err)
	}
	for category, q := range map[string]es.Query[queries.HistoryParams, queries.History]{"a-1": queries.AccountHistory, "t-1": queries.TransferHistory} {
		if history, err := ask(t, h, q, queries.HistoryParams{ID: category}); err != nil || len(history.Items) < 2 {
			t.Errorf("%s: %+v (%v)", q.Name, history, err)
		}
	}
}

func TestTransactions(t *testing.T) {
	t.Parallel()
	h := build(t, ledger...)
	wantJSON(t, h, queries.AccountTransactions, queries.AccountTransactionsParams{AccountID: "a-1"}, `{"items":[
		{"type":"TRANSFER_OUT", "amount":-12.34, "currency":"EUR", "balance":87.66, "reference":"rent", "transferId":"t-1",
			"counterparty":"a-2", "time":"2026-03-01T12:00:06Z", "version":3, "revision":6},
		{"type":"DEPOSIT", "amount":100, "currency":"EUR", "balance":100, "reference":"salary", "transferId":"",
			"counterparty":"", "time":"2026-03-01T12:00:04Z", "version":2, "revision":4}]}`)
	wantJSON(t, h, queries.AccountTransactions, queries.AccountTransactionsParams{AccountID: "a-3"}, `{"items":[]}`)
}

func TestPagesOfTransactions(t *testing.T) {
	t.Parallel()
	facts := []any{"account/a-1", events.AccountOpened{AccountID: "a-1", Owner: "Ada", Currency: "JPY"}}
	var want []string
	for i := range int64(7) {
		facts = append(facts, "account/a-1", events.MoneyDeposited{Amount: money.FromInt(1), Currency: "JPY", Balance: money.FromInt(i + 1)})
		want = append([]string{fmt.Sprint(i + 1)}, want...)
	}
	h := build(t, facts...)
	for limit := range 9 {
		p := queries.AccountTransactionsParams{AccountID: "a-1", Limit: limit}
		var got []string
		for pages := 0; ; pages++ {
			page, err := ask(t, h, queries.AccountTransactions, p)
			if err != nil || limit > 0 && len(page.Items) > limit || pages > 7 {
				t.Fatalf("limit %d: page %d is %+v (%v)", limit, pages, page, err)
			}
			for _, item := range page.Items {
				got = append(got, item.Balance.String())
			}
			if p.Cursor = page.NextCursor; p.Cursor == "" {
				break
			}
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("limit %d: got %v, want %v", limit, got, want)
		}
	}
}

func TestBadQuestionsToTheLedger(t *testing.T) {
	t.Parallel()
	h := build(t, ledger...)
	cursor := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	for _, c := range []struct {
		query         es.QueryDef
		params        any
		code, pointer string // no pointer: it is not there
	}{
		{queries.AccountByID, queries.AccountByIDParams{AccountID: "x"}, "account_not_found", ""},
		{queries.AccountTransactions, queries.AccountTransactionsParams{AccountID: "x"}, "account_not_found", ""},
		{queries.TransferByID, queries.TransferByIDParams{TransferID: "x"}, "transfer_not_found", ""},
		{queries.AccountHistory, queries.HistoryParams{ID: "t-1"}, "account_not_found", ""},
		{queries.TransferHistory, queries.HistoryParams{ID: "a-1"}, "transfer_not_found", ""},
		{queries.AccountByID, queries.AccountByIDParams{AccountID: "a.1"}, "bad_id", "/accountId"},
		{queries.AccountTransactions, queries.AccountTransactionsParams{}, "bad_id", "/accountId"},
		{queries.AccountTransactions, queries.AccountTransactionsParams{AccountID: "a-1", Limit: 201}, "schema", "/limit"},
		{queries.AccountTransactions, queries.AccountTransactionsParams{AccountID: "a-1", Cursor: cursor("order|1")}, "malformed", "/cursor"},
		{queries.AccountTransactions, queries.AccountTransactionsParams{AccountID: "a-1", Cursor: cursor("transaction|-1")}, "malformed", "/cursor"},
		{queries.AccountTransactions, queries.AccountTransactionsParams{AccountID: "a-1", Cursor: cursor("transaction|x")}, "malformed", "/cursor"},
		{queries.AccountList, queries.ListParams{Cursor: "%%%"}, "malformed", "/cursor"},
		{queries.TransferByID, queries.TransferByIDParams{TransferID: "*"}, "bad_id", "/transferId"},
	} {
		_, err := c.query.AskAny(t.Context(), h[c.query.ProjectorName()].DB(), c.params)
		var missing *es.Rejection
		var invalid *es.InvalidError
		switch {
		case c.pointer == "" && errors.As(err, &missing) && missing.NotFound && missing.Code == c.code:
		case c.pointer != "" && errors.As(err, &invalid) && invalid.Code == c.code && invalid.Pointer == c.pointer:
		default:
			t.Errorf("%s %+v: got %v, want %s %s", c.query.QueryName(), c.params, err, c.code, c.pointer)
		}
	}
}
