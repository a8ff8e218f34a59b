package natsstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	wmnats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
)

// ExpectedRevision is the metadata key, and the header, of the revision that a subject's last message must have.
const ExpectedRevision = nats.ExpectedLastSubjSeqHdr

// ackTimeout bounds the wait for an acknowledgement when the caller's context does not.
const ackTimeout = 5 * time.Second

// Publisher is a Watermill publisher over JetStream that knows about revisions: it can expect one, and returns the
// new one. The topic is the subject; metadata are headers, as they stand.
type Publisher struct {
	nc        *nats.Conn
	answers   func() (*inbox, error) // opened with the first message
	marshaler wmnats.NATSMarshaler
	closed    atomic.Bool
}

var _ message.Publisher = (*Publisher)(nil)

// NewPublisher makes a publisher on a connection that stays the caller's: Close does not close it, and the one
// subscription on which answers come ends with it.
func NewPublisher(nc *nats.Conn) *Publisher {
	return &Publisher{nc: nc, answers: sync.OnceValues(func() (*inbox, error) { return newInbox(nc) })}
}

// Publish stores messages one after the other, each within its own context, and stops at the first failure: those
// before it are stored. A message expects a revision when its metadata say so (ExpectedRevision). Errors as Append.
func (p *Publisher) Publish(topic string, messages ...*message.Message) error {
	for i, msg := range messages {
		if _, err := p.publish(msg.Context(), topic, msg); err != nil {
			return fmt.Errorf("message %d of %d: %w", i+1, len(messages), err)
		}
	}
	return nil
}

// Append stores one message as the next of its subject and returns its revision. The subject's last message must
// have the expected revision; 0: there must be none. ErrConflict: it has not, nothing was stored. ErrUnknownOutcome:
// no acknowledgement came, the message may be stored. InvalidError too_large: larger than the server takes.
func (p *Publisher) Append(ctx context.Context, topic string, msg *message.Message, expected es.Revision) (es.Revision, error) {
	msg.Metadata.Set(ExpectedRevision, strconv.FormatUint(uint64(expected), 10))
	return p.publish(ctx, topic, msg)
}

// append is Append of a message as the server gets it.
func (p *Publisher) append(ctx context.Context, m *nats.Msg, expected es.Revision) (es.Revision, error) {
	m.Header[ExpectedRevision] = []string{strconv.FormatUint(uint64(expected), 10)}
	return p.send(ctx, m)
}

// Close refuses further messages. Nothing is buffered, so nothing is lost.
func (p *Publisher) Close() error {
	p.closed.Store(true)
	return nil
}

func (p *Publisher) publish(ctx context.Context, topic string, msg *message.Message) (es.Revision, error) {
	if topic == "" || strings.ContainsAny(topic, "*> \t\r\n") {
		return 0, es.Permanent(fmt.Errorf("topic %q must be a literal subject", topic))
	}
	m, err := p.marshaler.Marshal(topic, msg)
	if err != nil {
		return 0, es.Permanent(fmt.Errorf("%s: %w", topic, err))
	}
	return p.send(ctx, m)
}

// send has a message stored.
func (p *Publisher) send(ctx context.Context, m *nats.Msg) (es.Revision, error) {
	if p.closed.Load() {
		return 0, es.Permanent(errors.New("the publisher is closed"))
	}
	if err := ctx.Err(); err != nil {
		return 0, es.Transient(fmt.Errorf("%s: not sent: %w", m.Subject, err))
	}
	in, err := p.answers()
	if err != nil {
		return 0, unacknowledged(p.nc, m, err)
	}
	var pause backoff
	for end := time.Now().Add(ackTimeout); ; {
		ack, err := in.request(ctx, m, time.Until(end))
		if errors.Is(err, nats.ErrNoResponders) && time.Now().Before(end) && pause.wait(ctx) == nil {
			continue // nobody took it: a leader is being elected
		}
		if err != nil {
			return 0, unacknowledged(p.nc, m, err)
		}
		return revision(m, ack.Data)
	}
}

// publishError brings an error of nats.go's own JetStream publisher to one of ours. A nil err stays nil.
func publishError(err error) error {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &api):
		return classify(api.Code, int(api.ErrorCode), api.Description)
	default:
		return fmt.Errorf("%w: %w", es.ErrUnknownOutcome, err)
	}
}

// unacknowledged says what a missing acknowledgement means.
func unacknowledged(nc *nats.Conn, m *nats.Msg, err error) error {
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return &es.InvalidError{Code: "too_large", Message: fmt.Sprintf("a message of %d bytes for %s; the server takes %d, headers included", m.Size(), m.Subject, nc.MaxPayload())}
	case errors.Is(err, nats.ErrBadSubject), errors.Is(err, nats.ErrInvalidMsg), errors.Is(err, nats.ErrBadHeaderMsg), errors.Is(err, nats.ErrHeadersNotSupported):
		return es.Permanent(fmt.Errorf("%s: %w", m.Subject, err))
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w: no stream takes %s, or it has no leader", es.ErrUnknownOutcome, m.Subject)
	default:
		return fmt.Errorf("%w: %s: %w", es.ErrUnknownOutcome, m.Subject, err)
	}
}

// revision reads an acknowledgement.
func revision(m *nats.Msg, data []byte) (es.Revision, error) {
	if seq, ok := plain(data); ok {
		return seq, nil
	}
	var ack struct {
		Stream string      `json:"stream"`
		Seq    es.Revision `json:"seq"`
		Error  *apiError   `json:"error"`
	}
	if err := json.Unmarshal(data, &ack); err != nil {
		return 0, fmt.Errorf("%w: %s: the acknowledgement is not JetStream's: %w", es.ErrUnknownOutcome, m.Subject, err)
	}
	if e := ack.Error; e != nil {
		if expected := m.Header.Get(ExpectedRevision); expected != "" {
			return 0, fmt.Errorf("%s, expected revision %s: %w", m.Subject, expected, e.classify())
		}
		return 0, fmt.Errorf("%s: %w", m.Subject, e.classify())
	}
	if ack.Stream == "" || ack.Seq == 0 {
		return 0, fmt.Errorf("%w: %s: the acknowledgement is not JetStream's: %q", es.ErrUnknownOutcome, m.Subject, data)
	}
	return ack.Seq, nil
}

// plain reads the acknowledgement that a server writes most, {"stream":"EVENTS","seq":7}, at a tenth of the cost; what
// says more is left to encoding/json.
func plain(data []byte) (es.Revision, bool) {
	rest, ok := bytes.CutPrefix(data, []byte(`{"stream":"`))
	stream, rest, found := bytes.Cut(rest, []byte(`","seq":`))
	digits, end := bytes.CutSuffix(rest, []byte("}"))
	if !ok || !found || !end || len(stream) == 0 || bytes.ContainsAny(stream, `"\\`) {
		return 0, false
	}
	seq, err := strconv.ParseUint(string(digits), 10, 64)
	return es.Revision(seq), err == nil && seq > 0
}
