package runtime

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
)

// Headers that a client may set on a command, at every door. No other is read or passed on.
const (
	HeaderCommandID   = "Nats-Msg-Id"
	HeaderCorrelation = "Correlation-Id"
	HeaderCausation   = "Causation-Id"
	HeaderUser        = "User-Id"
	HeaderExpected    = "Millstream-Expected-Version"
	HeaderTraceparent = "traceparent"
	// HeaderPrefer with respond-async lets a call be queued instead of answered.
	HeaderPrefer = "Prefer"
)

// Users that stand for nobody in particular.
const (
	EngineUser = "engine" // who connects to the engine's own account
	queuedUser = "queued" // whoever queued a command: the server takes its word on who sent a message away when it stores it
)

// requestOf reads a command from a NATS message; command and stream come from its subject,
// "<door>.<category>.<id>.<Command>".
func requestOf(subject string, header nats.Header, data []byte) (es.Request, error) {
	var r es.Request
	tokens := strings.Split(subject, ".")
	if len(tokens) != 4 {
		return r, &es.InvalidError{Code: "bad_subject", Message: fmt.Sprintf("subject %q must be %s.<category>.<id>.<Command>; `nats req call.help ''` lists them", subject, tokens[0])}
	}
	r.Meta.Stream = es.Stream{Category: tokens[1], ID: tokens[2]}
	r.Type, r.Data = tokens[3], data
	r.Meta.CommandID = commandID(r.Meta.Stream, header)
	r.Meta.Correlation = header.Get(HeaderCorrelation)
	r.Meta.Causation = header.Get(HeaderCausation)
	r.Meta.Traceparent = header.Get(HeaderTraceparent)
	r.Meta.User = header.Get(HeaderUser) // believed in development only
	if v := header.Get(HeaderExpected); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			return r, &es.InvalidError{Code: "bad_header", Message: fmt.Sprintf("header %s must be a version such as 3, not %q", HeaderExpected, v)}
		}
		r.Expected = &n
	}
	return r, nil
}

// QueuedID is a command's id as a queued message has it, its stream in front: JetStream takes two messages of one id that
// follow each other closely for one, and an id is only one within its aggregate.
func QueuedID(s es.Stream, commandID string) string {
	return s.Category + "." + s.ID + "." + commandID
}

// commandID reads a command's id, with or without its stream.
func commandID(s es.Stream, header nats.Header) string {
	return strings.TrimPrefix(header.Get(HeaderCommandID), QueuedID(s, ""))
}

// admit checks what a door hands in and takes the command's id from madeUp when it is absent.
func admit(r *es.Request, madeUp func() string) error {
	if err := r.Meta.Stream.Validate(); err != nil {
		return err
	}
	switch id := r.Meta.CommandID; {
	case id == "":
		r.Meta.CommandID = madeUp()
	case !es.ValidID(id):
		r.Meta.CommandID = ""
		return &es.InvalidError{Code: "bad_id", Message: "the command id must match [A-Za-z0-9_-]{1,64}"}
	case strings.HasPrefix(id, es.EnginePrefix):
		return &es.InvalidError{Code: "bad_id", Message: fmt.Sprintf("command ids that begin with %q are the engine's own", es.EnginePrefix)}
	}
	for _, f := range []struct{ name, value string }{
		{HeaderCorrelation, r.Meta.Correlation}, {HeaderCausation, r.Meta.Causation}, {HeaderUser, r.Meta.User}, {HeaderTraceparent, r.Meta.Traceparent},
	} {
		if !printable(f.value) {
			return &es.InvalidError{Code: "bad_header", Message: fmt.Sprintf("%s must be at most 128 printable ASCII characters", f.name)}
		}
	}
	return nil
}

func printable(s string) bool {
	if len(s) > 128 {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
