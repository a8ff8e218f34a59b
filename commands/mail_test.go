package commands_test

import (
	"testing"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/events"
)

func TestMail(t *testing.T) {
	t.Parallel()
	request := commands.RequestMail{Kind: "shipped", To: "ada@example.com", Name: "Ada", CustomerID: "c-1", OrderNumber: "N-1", TrackingNumber: "1Z999"}
	moved, other := request, request
	moved.To, other.Kind = "ada@example.org", "confirmation"
	confirmation := commands.RequestMail{Kind: "confirmation", To: "ada@example.com", CustomerID: "c-1", OrderNumber: "N-1", Amount: dec("0.005"), Currency: "USD"}
	sent, sentAgain := commands.RecordMailSent{Kind: "shipped", MessageID: "1@x"}, commands.RecordMailSent{Kind: "shipped", MessageID: "2@x"}
	fail := commands.RecordMailFailure{Kind: "shipped", Reason: "550 no such user"}

	isRequested, isSent, isFailed := events.MailRequested(request), events.MailSent(sent), events.MailFailed(fail)
	none := []events.Mail{}
	requested, done, failed := []events.Mail{isRequested}, []events.Mail{isRequested, isSent}, []events.Mail{isRequested, isFailed}

	for _, c := range []struct {
		name    string
		given   []events.Mail
		when    commands.MailCommand
		then    events.Mail // nil: unchanged, unless rejected
		refused error
	}{
		{"requesting", none, request, isRequested, nil},
		{"requesting the same again", requested, request, nil, nil},
		{"requesting the same after it was sent", done, request, nil, nil},
		{"requesting to another address", requested, moved, nil, commands.ErrMailRequested},
		{"requesting to another address after it was sent", done, moved, nil, commands.ErrMailRequested},
		{"requesting another kind", done, other, events.MailRequested(other), nil},
		{"requesting again after a failure", failed, request, isRequested, nil},
		{"requesting to another address after a failure", failed, moved, events.MailRequested(moved), nil},
		{"confirming half a cent", none, confirmation, nil, commands.ErrTooManyDecimals.At("/amount")},

		{"sent", requested, sent, isSent, nil},
		{"sent, told again", done, sent, nil, nil},
		{"sent as two messages", done, sentAgain, nil, commands.ErrMailSent},
		{"sent after all", failed, sent, isSent, nil},
		{"sent and never requested", none, sent, nil, commands.ErrMailNotFound},
		{"sent of another kind", []events.Mail{events.MailRequested(other)}, sent, nil, commands.ErrMailNotFound},

		{"failed", requested, fail, isFailed, nil},
		{"failed, told again", failed, fail, nil, nil},
		{"failed after it was sent", done, fail, nil, commands.ErrMailSent},
		{"failed and never requested", none, fail, nil, commands.ErrMailNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			decision := estest.For(t, commands.Mails).ID("o-1").Given(c.given...).When(c.when)
			switch {
			case c.refused != nil:
				decision.ThenRejected(c.refused)
			case c.then == nil:
				decision.ThenUnchanged()
			default:
				decision.Then(c.then)
			}
		})
	}
}
