package es

import (
	"encoding/json"
	"fmt"
)

// OutcomeKind is what became of a command.
type OutcomeKind string

// The outcomes.
const (
	Accepted       OutcomeKind = "accepted"  // events were stored
	Unchanged      OutcomeKind = "unchanged" // already so, nothing was stored
	RejectedReply  OutcomeKind = "rejected"  // the business said no
	Conflict       OutcomeKind = "conflict"  // the expected version is not the stream's
	Invalid        OutcomeKind = "invalid"   // malformed, unknown or against the schema
	UnknownOutcome OutcomeKind = "unknown"   // no answer came: send the same id again
	Failed         OutcomeKind = "failed"    // the machinery failed; nothing was stored
)

// Durability is what an acknowledgement means.
type Durability string

// The durabilities.
const (
	Durable Durability = "durable" // on disk: survives a power cut
	Fast    Durability = "fast"    // written to the operating system: survives the death of the process
)

// Request is a command on its way in, as every door hands it to the engine.
type Request struct {
	Type     string          // the command's wire name
	Data     json.RawMessage // its JSON body
	Meta     Meta            // Stream is set; CommandID may be empty, Time and RequestHash are stamped by the engine
	Expected *uint64         // the version the caller decided on; nil: any
	Internal bool            // the caller may send commands that are for sagas and gateways: a door says so once it has checked
}

// Requests makes of effects that are Send what the engine's ExecuteAll takes; meta (command id, user, correlation) is
// that of all of them.
//
//	es.Requests(es.Meta{CommandID: "t-1"}, accounts.To("a", Withdraw{5}), accounts.To("b", Deposit{5}))
func Requests(meta Meta, sends ...Effect) ([]Request, error) {
	requests := make([]Request, len(sends))
	for i, e := range sends {
		send, ok := e.(Send)
		if !ok {
			return nil, Permanent(fmt.Errorf("effect %d is a %T: only commands can be requested", i+1, e))
		}
		data, err := json.Marshal(send.Command)
		if err != nil {
			return nil, Permanent(fmt.Errorf("command %s: %w", send.Command.CommandType(), err))
		}
		requests[i] = Request{Type: send.Command.CommandType(), Data: data, Meta: meta}
		requests[i].Meta.Stream = send.Stream
	}
	return requests, nil
}

// Reply answers a command, the same JSON at every door.
type Reply struct {
	CommandID  string      `json:"commandId"`
	Outcome    OutcomeKind `json:"outcome"`
	Stream     string      `json:"stream,omitempty"` // "category/id"
	Revision   Revision    `json:"revision,omitempty"`
	Version    uint64      `json:"version,omitempty"`
	Events     []string    `json:"events,omitempty"` // types of the events stored
	Durability Durability  `json:"durability,omitempty"`
	Error      *Problem    `json:"error,omitempty"`
}

// Problem says why a command was not accepted.
type Problem struct {
	Code    string   `json:"code"`
	Message string   `json:"message"`
	Pointer string   `json:"pointer"`          // JSON pointer into the body
	Errors  []Fault  `json:"errors,omitempty"` // all that is to blame, when that is more than Pointer
	Allowed []string `json:"allowed,omitempty"`
	Status  int      `json:"-"` // HTTP status and Nats-Service-Error-Code
}
