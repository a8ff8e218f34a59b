package projectors_test

import (
	"strings"
	"testing"

	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/projectors"
)

func TestAccounts(t *testing.T) {
	t.Parallel()
	euros := func(transfer, other, sum, balance string) events.MoneyDeposited {
		return events.MoneyDeposited{Amount: amount(sum), Currency: "EUR", Reference: "rent", TransferID: transfer, Counterparty: other, Balance: amount(balance)}
	}
	m := fold(t, projectors.Accounts, record(
		in{"account/a-9", events.TransferRefused{TransferID: "t-0", Code: "account_not_found", Reason: "no"}},
		in{"account/a-1", events.AccountOpened{AccountID: "a-1", Owner: "Ada", Currency: "EUR"}},
		in{"account/a-2", events.AccountOpened{AccountID: "a-2", Owner: "Eve", Currency: "EUR"}},
		in{"account/a-3", events.AccountOpened{AccountID: "a-3", Owner: "Kaede", Currency: "JPY"}},
		in{"account/a-1", euros("", "", "100", "100")},
		in{"transfer/t-1", events.TransferRequested{From: "a-1", To: "a-2", Amount: amount("12.34"), Currency: "EUR", Reference: "rent"}},
		in{"account/a-1", events.MoneyWithdrawn{Amount: amount("12.34"), Currency: "EUR", Reference: "rent", TransferID: "t-1", Counterparty: "a-2", Balance: amount("87.66")}},
		in{"account/a-2", euros("t-1", "a-1", "12.34", "12.34")},
		in{"transfer/t-1", events.TransferCompleted{}},
		in{"transfer/t-2", events.TransferRequested{From: "a-2", To: "a-3", Amount: amount("12"), Currency: "EUR"}},
		in{"account/a-2", events.MoneyWithdrawn{Amount: amount("12"), Currency: "EUR", TransferID: "t-2", Counterparty: "a-3", Balance: amount("0.34")}},
		in{"account/a-3", events.TransferRefused{TransferID: "t-2", Code: "currency_mismatch", Reason: "it holds JPY"}},
		in{"account/a-2", events.MoneyWithdrawn{Amount: amount("0.34"), Currency: "EUR", Reference: "cash"}},
		in{"account/a-2", events.AccountClosed{Reason: "moved"}},
		in{"account/a-2", events.MoneyReturned{TransferID: "t-2", Amount: amount("12"), Currency: "EUR", Reason: "it holds JPY", Balance: amount("12")}},
		in{"transfer/t-2", events.TransferFailed{Reason: "it holds JPY"}},
		in{"account/a-3", events.MoneyDeposited{Amount: amount("500"), Currency: "JPY", Balance: amount("500")}},
		in{"transfer/t-3", events.TransferRequested{From: "a-3", To: "a-1", Amount: amount("1"), Currency: "JPY"}},
	))
	wantRows(t, m, `SELECT account_id, owner, currency, balance, status, opened_at, updated_at, version, revision FROM accounts ORDER BY 1`,
		"a-1 | Ada | EUR | 8766 | OPEN | 2026-03-01T12:00:01.000000000Z | 2026-03-01T12:00:06.000000000Z | 3 | 7",
		"a-2 | Eve | EUR | 1200 | CLOSED | 2026-03-01T12:00:02.000000000Z | 2026-03-01T12:00:14.000000000Z | 6 | 15",
		"a-3 | Kaede | JPY | 500 | OPEN | 2026-03-01T12:00:03.000000000Z | 2026-03-01T12:00:16.000000000Z | 3 | 17")
	wantRows(t, m, `SELECT account_id, version, type, amount, balance, reference, transfer_id, counterparty, revision FROM transactions ORDER BY 1, 2`,
		"a-1 | 2 | DEPOSIT | 10000 | 10000 | rent |  |  | 5",
		"a-1 | 3 | TRANSFER_OUT | -1234 | 8766 | rent | t-1 | a-2 | 7",
		"a-2 | 2 | TRANSFER_IN | 1234 | 1234 | rent | t-1 | a-1 | 8",
		"a-2 | 3 | TRANSFER_OUT | -1200 | 34 |  | t-2 | a-3 | 11",
		"a-2 | 4 | WITHDRAWAL | -34 | 0 | cash |  |  | 13",
		"a-2 | 6 | TRANSFER_RETURNED | 1200 | 1200 | it holds JPY | t-2 | a-3 | 15",
		"a-3 | 3 | DEPOSIT | 500 | 500 |  |  |  | 17")
	wantRows(t, m, `SELECT a.account_id FROM accounts a WHERE balance <> (SELECT sum(amount) FROM transactions t WHERE t.account_id = a.account_id)`)
	wantRows(t, m, `SELECT transfer_id, from_account, to_account, amount, currency, reference, status, reason, version, revision FROM transfers ORDER BY 1`,
		"t-1 | a-1 | a-2 | 1234 | EUR | rent | COMPLETED |  | 2 | 9",
		"t-2 | a-2 | a-3 | 1200 | EUR |  | FAILED | it holds JPY | 2 | 16",
		"t-3 | a-3 | a-1 | 1 | JPY |  | REQUESTED |  | 1 | 18")
}

func TestAPageOfTransactionsSortsNothing(t *testing.T) {
	t.Parallel()
	m := fold(t, projectors.Accounts, record(in{"account/a-1", events.AccountOpened{AccountID: "a-1", Owner: "Ada", Currency: "EUR"}}))
	plan := strings.Join(readRows(t, m, `EXPLAIN QUERY PLAN SELECT * FROM accounts a
		LEFT JOIN transactions t ON t.account_id = a.account_id AND t.version < 9
		WHERE a.account_id = 'a-1' ORDER BY t.version DESC LIMIT 50`), "; ")
	if strings.Contains(plan, "TEMP B-TREE") || strings.Contains(plan, "SCAN") {
		t.Error(plan)
	}
}
