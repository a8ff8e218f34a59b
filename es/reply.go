package es

import "encoding/json"

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
	Pointer string   `json:"pointer"` // JSON pointer into the body
	Allowed []string `json:"allowed,omitempty"`
	Status  int      `json:"-"` // HTTP status and Nats-Service-Error-Code
}
