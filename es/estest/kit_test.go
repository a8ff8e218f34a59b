package estest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
)

func TestAggregateScenarios(t *testing.T) {
	t.Parallel()
	estest.For(t, accounts).When(deposit{5}).Then(deposited{5}).ThenState(account{Balance: 5})
	estest.For(t, accounts).ID("a-1").User("ada").At(estest.Noon).
		Given(deposited{5}).
		When(withdraw{6}).ThenRejected(errTooPoor).ThenRejected(errTooPoor.At("/amount")).ThenRejected(es.ErrRejected)
	estest.For(t, transfers).Given(transferBegun{}, transferEnded{}).When(approveTransfer{}).ThenUnchanged().
		And().When(endTransfer{}).ThenUnchanged()
}

func TestSagaScenarios(t *testing.T) {
	t.Parallel()
	begun := estest.On(transfers.Stream("t-1"), transferBegun{"a", "b", 7})
	approved := estest.On(transfers.Stream("t-1"), transferApproved{})
	estest.ForSaga(t, carriers).When(begun).Then(es.After{Name: "approval", Delay: 15 * time.Minute})
	estest.ForSaga(t, carriers).Given(begun).When(approved).
		Then(es.Cancel{Name: "approval"}, accounts.To("a", withdraw{7}))
	estest.ForSaga(t, carriers).Given(begun, approved).
		When(estest.RejectedOutcome(accounts.Stream("a"), withdraw{7}, errTooPoor)).
		Then(transfers.To("t-1", endTransfer{Done: false})).
		When(estest.AcceptedOutcome(transfers.Stream("t-1"), endTransfer{})).Then(es.Done{})
	estest.ForSaga(t, carriers).Given(begun).
		When(estest.Woken("approval", estest.At(estest.Noon.Add(time.Hour)))).
		Then(accounts.To("alarms", deposit{1}), transfers.To("t-1", endTransfer{Done: false})).
		When(approved).ThenNothing().
		ThenState(carrier{ID: "t-1", Begun: transferBegun{"a", "b", 7}, Closed: true})
}

// forgetful loses a field on its way through JSON.
type forgetful struct{ secret int }

func (forgetful) EventType() string { return "Forgetful" }

type anyCommand struct{}

func (anyCommand) CommandType() string { return "Any" }

// leaky writes to the map of the state that it was given.
type leaky struct{ Seen map[string]bool }

func (leaky) Decide(anyCommand, es.Meta) ([]forgetful, error) { return []forgetful{{}}, nil }
func (l leaky) Evolve(forgetful) leaky {
	if l.Seen == nil {
		return leaky{Seen: map[string]bool{}}
	}
	l.Seen["again"] = true
	return l
}

func TestTheKitFailsWhereItShould(t *testing.T) {
	t.Parallel()
	begun := estest.On(transfers.Stream("t-1"), transferBegun{"a", "b", 7})
	leaking := es.Define[leaky]("leaky", anyCommand{})
	tests := map[string]struct {
		run  func(t testing.TB)
		want string
	}{
		"other events":       {func(t testing.TB) { estest.For(t, accounts).When(deposit{5}).Then(deposited{6}) }, "Deposit: events differ (-want +got)"},
		"no events":          {func(t testing.TB) { estest.For(t, accounts).When(deposit{5}).ThenUnchanged() }, "events differ"},
		"unexpected refusal": {func(t testing.TB) { estest.For(t, accounts).When(withdraw{5}).Then(withdrawn{5}) }, "expected events [Withdrawn], but it was refused: too_poor: balance is 0, 5 are wanted"},
		"unexpected success": {func(t testing.TB) { estest.For(t, accounts).When(deposit{5}).ThenRejected(errTooPoor) }, "but it was accepted with events \n  Deposited{Amount:5}"},
		"other refusal":      {func(t testing.TB) { estest.For(t, accounts).When(withdraw{5}).ThenRejected(es.Rejected("x", "y")) }, `expected refusal "x: y", got "too_poor: balance`},
		"other field":        {func(t testing.TB) { estest.For(t, accounts).When(withdraw{5}).ThenRejected(errTooPoor.At("/x")) }, `at /x, got it at "/amount"`},
		"not invalid":        {func(t testing.TB) { estest.For(t, accounts).When(withdraw{5}).ThenInvalid("schema", "/amount") }, `expected invalid input schema at "/amount", got error too_poor`},
		"other state":        {func(t testing.TB) { estest.For(t, accounts).When(deposit{5}).ThenState(account{Balance: 6}) }, "state differs"},
		"lost in JSON":       {func(t testing.TB) { estest.For(t, leaking).Given(forgetful{7}) }, "event Forgetful does not survive its JSON {}"},
		"impure":             {func(t testing.TB) { estest.For(t, leaking).Given(forgetful{}).When(anyCommand{}) }, "Any changed the state that it was given"},
		"other effects":      {func(t testing.TB) { estest.ForSaga(t, carriers).When(begun).Then(es.Done{}) }, "saga carrier: effects differ"},
		"unhandled event": {func(t testing.TB) {
			estest.ForSaga(t, carriers).Given(estest.On(transfers.Stream("t-1"), transferEnded{}))
		}, "does not handle TransferEnded"},
		"event of no process": {func(t testing.TB) {
			estest.ForSaga(t, carriers).Given(estest.On(accounts.Stream("a"), transferBegun{}))
		}, "routed to no process"},
		"event of another process": {func(t testing.TB) {
			estest.ForSaga(t, carriers).Given(begun, estest.On(transfers.Stream("t-2"), transferBegun{}))
		}, `belongs to process "t-2", the inputs before it to "t-1"`},
	}
	for name, tt := range tests {
		if got := failure(t, tt.run); !strings.Contains(got, tt.want) {
			t.Errorf("%s: got failure %q, want one with %q", name, got, tt.want)
		}
	}
}

// failure returns the message that a test ends with, "" when it passes.
func failure(t *testing.T, run func(testing.TB)) (message string) {
	defer func() {
		if p := recover(); p != nil {
			message = fmt.Sprint(p)
		}
	}()
	run(failing{t})
	return ""
}

type failing struct{ testing.TB }

func (f failing) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
