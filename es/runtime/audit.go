package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// Action is what an operator did, as stored on `operations.<what>.<on>`, which nothing deletes. Dead letters store an
// Operation instead, whose fields of the same name mean the same.
type Action struct {
	Kind   string    `json:"kind"` // retry, cancel, pause, drop …
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason,omitempty"`
	State  string    `json:"state,omitempty"` // of what it was done to, after
	Error  string    `json:"error,omitempty"` // why it was not done
	Detail any       `json:"detail,omitempty"`
}

// What actions are done to, the second token of their subjects.
const (
	OnProjections = "projections"
	OnSagas       = "sagas"
	OnSnapshots   = "snapshots"
	OnDeadLetters = "deadletters"
)

// maxBy and maxReason bound what an operator is recorded with, in bytes.
const (
	maxBy     = 119
	maxReason = 1000
)

// checkOperator refuses an action whose record would not say who did it, or would be too long.
func checkOperator(by, reason string) error {
	switch {
	case by == "" || !printable("operator:"+by):
		return &es.InvalidError{Code: "bad_request", Message: fmt.Sprintf("who asks must be said, in at most %d printable ASCII characters", maxBy)}
	case len(reason) > maxReason:
		return &es.InvalidError{Code: "bad_request", Message: fmt.Sprintf("the reason has %d bytes, at most %d are kept", len(reason), maxReason)}
	}
	return nil
}

// record stores what was done, and done is what became of it. It is stored although ctx has ended meanwhile.
func record(ctx context.Context, js jetstream.JetStream, what, on string, a Action, done error) error {
	a.At = time.Now().UTC()
	if done != nil {
		a.Error = done.Error()
	}
	body, err := json.Marshal(a)
	if err != nil {
		return errors.Join(done, es.Permanent(err))
	}
	ctx, cancel := detached(ctx, 10*time.Second)
	defer cancel()
	if _, err := js.Publish(ctx, "operations."+what+"."+on, body); err != nil {
		err = es.Transient(fmt.Errorf("%s %s by %s is not recorded: %w", a.Kind, on, a.By, err))
		if done == nil {
			err = fmt.Errorf("done, but: %w", err)
		}
		return errors.Join(done, err)
	}
	return done
}

// AuditEntry is one action of an operator, of whatever kind.
type AuditEntry struct {
	Sequence uint64          `json:"sequence"` // 1, 2, 3 … over all actions
	Time     time.Time       `json:"time"`
	What     string          `json:"what"` // OnSagas and the like
	On       string          `json:"on"`   // name of the projector, saga/key, category/id, id of the dead letter
	Kind     string          `json:"kind"`
	By       string          `json:"by"`
	Reason   string          `json:"reason,omitempty"`
	State    string          `json:"state,omitempty"`
	Error    string          `json:"error,omitempty"`
	Record   json.RawMessage `json:"record,omitempty"` // whole, as stored
}

// AuditFilter narrows an audit down; fields left empty narrow nothing.
type AuditFilter struct {
	What string
	On   string // needs What
	By   string
}

// auditLook is how many actions one page looks at, at most.
const auditLook = 2000

// Audit returns what operators did, the newest first: at most limit actions before the one with sequence before (0: the
// newest of all). next is where the page after begins, 0: nothing is left.
func Audit(ctx context.Context, js jetstream.JetStream, f AuditFilter, before uint64, limit int) (entries []AuditEntry, next uint64, err error) {
	stream, err := js.Stream(ctx, natsstore.OperationsStream)
	if err != nil {
		return nil, 0, es.Transient(fmt.Errorf("stream %s: %w", natsstore.OperationsStream, err))
	}
	last := stream.CachedInfo().State.LastSeq + 1
	if before == 0 || before > last {
		before = last
	}
	for looked := 0; before > 1; looked++ {
		if len(entries) == limit || looked == auditLook {
			return entries, before, nil
		}
		before--
		m, err := stream.GetMsg(ctx, before)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return nil, 0, es.Transient(fmt.Errorf("read %d of %s: %w", before, natsstore.OperationsStream, err))
		}
		if e := auditEntry(m); f.matches(e) {
			entries = append(entries, e)
		}
	}
	return entries, 0, nil
}

func (f AuditFilter) matches(e AuditEntry) bool {
	return (f.What == "" || f.What == e.What) && (f.On == "" || f.On == e.On) && (f.By == "" || f.By == e.By)
}

// ActionsOn returns all that was done to one thing, oldest first.
func ActionsOn(ctx context.Context, js jetstream.JetStream, what, on string) ([]AuditEntry, error) {
	entries := []AuditEntry{}
	err := natsstore.Scan(ctx, js, natsstore.OperationsStream, "operations."+what+"."+on, func(m *jetstream.RawStreamMsg) error {
		entries = append(entries, auditEntry(m))
		return nil
	})
	return entries, err
}

func auditEntry(m *jetstream.RawStreamMsg) AuditEntry {
	e := AuditEntry{Sequence: m.Sequence, Time: m.Time}
	if tokens := strings.SplitN(m.Subject, ".", 3); len(tokens) == 3 {
		e.What, e.On = tokens[1], tokens[2]
	}
	var a Action
	if err := json.Unmarshal(m.Data, &a); err != nil {
		e.Error = fmt.Sprintf("this record is not one: %v", err)
		return e
	}
	e.Kind, e.By, e.Reason, e.State, e.Error, e.Record = a.Kind, a.By, a.Reason, a.State, a.Error, m.Data
	return e
}
