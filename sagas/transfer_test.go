package sagas_test

import (
	"testing"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/sagas"
)

func TestTransfer(t *testing.T) {
	t.Parallel()
	requested := estest.On(commands.Transfers.Stream("t-1"), events.TransferRequested{
		From: "a-1", To: "a-2", Amount: amount("12.34"), Currency: "EUR", Reference: "rent",
	})
	refused := func(account, reason string) es.Recorded {
		return estest.On(commands.Accounts.Stream(account), events.TransferRefused{TransferID: "t-1", Code: "some_code", Reason: reason})
	}
	send := commands.Accounts.To("a-1", commands.SendTransfer{
		TransferID: "t-1", To: "a-2", Amount: amount("12.34"), Currency: "EUR", Reference: "rent",
	})
	receive := commands.Accounts.To("a-2", commands.ReceiveTransfer{
		TransferID: "t-1", From: "a-1", Amount: amount("12.34"), Currency: "EUR", Reference: "rent",
	})
	complete := commands.Transfers.To("t-1", commands.CompleteTransfer{})
	giveBack := commands.Accounts.To("a-1", commands.ReturnTransfer{TransferID: "t-1", Reason: "account a-2 is closed"})
	fail := func(reason string) es.Effect {
		return commands.Transfers.To("t-1", commands.FailTransfer{Reason: reason})
	}
	// soon is the outcome of a command that led to TransferRefused, which has not been heard yet.
	soon := func(e es.Effect) es.Recorded {
		r := ok(e)
		o := r.Event.(es.Outcome)
		o.Reply.Events = []string{events.TransferRefused{}.EventType()}
		r.Event = o
		return r
	}
	in := func(inputs ...es.Recorded) []es.Recorded { return inputs }
	withdrawn := in(requested, ok(send))
	deposited := append(withdrawn, ok(receive))
	rejected := append(withdrawn, soon(receive), refused("a-2", "account a-2 is closed"))
	tests := []struct {
		name  string
		given []es.Recorded
		when  es.Recorded
		then  []es.Effect
	}{
		{"first the money is withdrawn", nil, requested, []es.Effect{send}},
		{"then it is deposited", in(requested), ok(send), []es.Effect{receive}},
		{"then the transfer is complete", withdrawn, ok(receive), []es.Effect{complete}},
		{"and nothing more is owed", deposited, ok(complete), []es.Effect{done}},
		{"a step that was done before is done", in(requested), unchanged(send), []es.Effect{receive}},
		{"the deposit too", withdrawn, unchanged(receive), []es.Effect{complete}},
		{"and the note of it", deposited, unchanged(complete), []es.Effect{done}},
		{"a request that is heard twice is one transfer", withdrawn, requested, nil},

		{"a refusal is an event, which says why", in(requested), soon(send), nil},
		{"money that cannot be withdrawn fails the transfer", in(requested, soon(send)), refused("a-1", "too little"), []es.Effect{fail("too little")}},
		{"and nothing more is owed", in(requested, soon(send), refused("a-1", "too little")), ok(fail("too little")), []es.Effect{done}},
		{"a refusal of before is told by the rejection", in(requested), no(send, commands.ErrTransferRefused.With("too little")), []es.Effect{fail("too little")}},
		{"and its event, which comes later, is not news", in(requested, no(send, commands.ErrTransferRefused.With("too little")), ok(fail("too little"))), refused("a-1", "too little"), nil},

		{"money that cannot be deposited is given back", append(withdrawn, soon(receive)), refused("a-2", "account a-2 is closed"), []es.Effect{giveBack}},
		{"also when the refusal is of before", withdrawn, no(receive, commands.ErrTransferRefused.With("account a-2 is closed")), []es.Effect{giveBack}},
		{"then the transfer has failed", rejected, ok(giveBack), []es.Effect{fail("account a-2 is closed")}},
		{"also when it was given back before", rejected, unchanged(giveBack), []es.Effect{fail("account a-2 is closed")}},
		{"and nothing more is owed", append(rejected, ok(giveBack)), ok(fail("account a-2 is closed")), []es.Effect{done}},
		{"what cannot be given back stays owed", rejected, no(giveBack, commands.ErrAmountOutOfRange), []es.Effect{tryAgain}},
		{"until it can", append(rejected, no(giveBack, commands.ErrAmountOutOfRange)), retryNow, []es.Effect{giveBack}},
		{"a refusal of the other account is no answer", in(requested, soon(send)), refused("a-2", "closed"), nil},
		{"a refusal after the deposit is none", deposited, refused("a-2", "closed"), nil},
		{"a transfer that nobody requested is nobody's", nil, refused("a-2", "closed"), nil},

		{"a lost withdrawal is tried again", in(requested), lost(send), []es.Effect{tryAgain}},
		{"as it was", in(requested, lost(send)), retryNow, []es.Effect{send}},
		{"a lost withdrawal that was refused fails the transfer", in(requested, lost(send)), refused("a-1", "too little"), []es.Effect{fail("too little")}},
		{"a lost deposit is tried again, not given back", withdrawn, lost(receive), []es.Effect{tryAgain}},
		{"as it was", append(withdrawn, lost(receive)), retryNow, []es.Effect{receive}},
		{"a lost giving back too", append(rejected, lost(giveBack)), retryNow, []es.Effect{giveBack}},
		{"a lost completion too", append(deposited, lost(complete)), retryNow, []es.Effect{complete}},
		{"a lost failure too", append(rejected, ok(giveBack), lost(fail("account a-2 is closed"))), retryNow, []es.Effect{fail("account a-2 is closed")}},
		{"how it ended was written down by somebody else", deposited, no(complete, commands.ErrTransferFailed), []es.Effect{done}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			estest.ForSaga(t, sagas.Transfers).Given(tt.given...).When(tt.when).Then(tt.then...)
		})
	}
}
