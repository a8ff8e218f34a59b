package sagas_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/sagas"
)

func TestAProcessSaysWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	stock := func(product, words string) es.Wait {
		return es.Wait{For: words, On: commands.Stocks.Stream(product)}
	}
	payment := es.Wait{For: "payment " + order + "-1", On: commands.Payments.Stream(order + "-1"), Timer: "payment", Then: "cancels"}
	gathered := []es.Recorded{created(), reserved("p-1", 3), reserved("p-2", 1)}
	transfers := estest.On(commands.Transfers.Stream("t-1"), events.TransferRequested{From: "a-1", To: "a-2", Amount: amount("10"), Currency: "EUR"})
	for _, c := range []struct {
		name   string
		saga   es.Saga
		inputs []es.Recorded
		want   []es.Wait
	}{
		{"an order, for stock", sagas.Fulfilments, []es.Recorded{created(), reserved("p-1", 3)}, []es.Wait{stock("p-2", "1 of product p-2 to be reserved")}},
		{"an order, for its payment", sagas.Fulfilments, gathered, []es.Wait{payment}},
		{"an order whose payment came too late, for the cancellation", sagas.Fulfilments, append(gathered, timeIsOver),
			[]es.Wait{{For: "the cancellation of order " + order + " (payment not settled in time)", On: commands.Orders.Stream(order)}}},
		{"a cancelled order, for its stock and money", sagas.Fulfilments, append(gathered, processed("1", "30"), cancelled("no")), []es.Wait{
			stock("p-1", "product p-1 to be released"), stock("p-2", "product p-2 to be released"),
			{For: "the refund of payment " + order + "-1", On: commands.Payments.Stream(order + "-1")},
		}},
		{"a transfer, for the withdrawal", sagas.Transfers, []es.Recorded{transfers},
			[]es.Wait{{For: "10 EUR to leave account a-1", On: commands.Accounts.Stream("a-1"), Timer: "retry", Then: "tries again"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var state json.RawMessage
			var err error
			if state, _, err = c.saga.React(nil, c.inputs...); err != nil {
				t.Fatal(err)
			}
			got, err := c.saga.Waits(state)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
