// Package sagas holds the processes of the domain: what follows from an event in another aggregate. A saga is the
// opposite of an aggregate: events and outcomes in, commands and timers out, purely. What it has sent it writes into
// its state first, so that nothing is asked for twice by mistake and everything asked for can be taken back.
package sagas

import (
	"strings"
	"time"

	"github.com/millstream-es/millstream/es"
)

// All lists every saga of the domain.
var All = []es.Saga{
	Fulfilments,
	Tiers,
	Mailings,
	Transfers,
}

// wakeRetry is the timer after which a saga sends again what it cannot do without and the machinery failed to do.
// The name is durable: it stands in timers under way.
const wakeRetry = "retry"

const retryDelay = time.Minute

// lost reports whether a command failed without the business having said anything: sent again, it may succeed.
func lost(o es.Outcome) bool {
	switch o.Reply.Outcome {
	case es.Failed, es.UnknownOutcome, es.Conflict:
		return true
	}
	return false
}

// why says in words why a command was not accepted.
func why(o es.Outcome) string {
	if o.Reply.Error == nil {
		return string(o.Reply.Outcome)
	}
	return o.Reply.Error.Message
}

// maxReason is how long the reason of a cancellation or refund may be, in bytes.
const maxReason = 500

// clip keeps a reason, which may quote other systems, within what commands take.
func clip(reason string) string {
	if len(reason) <= maxReason {
		return reason
	}
	return strings.ToValidUTF8(reason[:maxReason-len("…")], "") + "…"
}
