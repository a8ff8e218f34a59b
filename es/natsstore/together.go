package natsstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
)

// Commits of several streams are stored together as one JetStream atomic batch (ADR-50): each message has its own
// guard, and the last one's acknowledgement stands for all. The stored messages keep JetStream's headers; what a
// reader needs is in our own, which a mirror or a mended batch has too.
const (
	headerBatchID     = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"

	headerTogether = "Millstream-Together" // "2/3": the second of three
	headerRest     = "Millstream-Rest"     // on the first: the others, for Mend
	maxRest        = 60 << 10              // bytes; the server takes headers of 64 KiB
)

// Unsynced tells a Log that its server acknowledges before the disk has the data. One replica then has nowhere to
// learn from what a power cut took away, so AppendAll refuses.
func Unsynced(l *Log) { l.unsynced = true }

// AppendAll stores commits as one atomic batch, see es.Log.
func (l *Log) AppendAll(ctx context.Context, commits ...es.Commit) (es.Revision, error) {
	if err := es.ValidateTogether(commits); err != nil {
		return 0, err
	}
	if len(commits) == 1 {
		return l.Append(ctx, commits[0])
	}
	batch := make([]*nats.Msg, len(commits))
	for i, c := range commits {
		m, err := encode(l.codec, c)
		if err != nil {
			return 0, err
		}
		m.Header.Set(ExpectedRevision, strconv.FormatUint(uint64(c.Expected), 10))
		m.Header.Set(headerTogether, fmt.Sprintf("%d/%d", i+1, len(commits)))
		batch[i] = m
	}
	if err := l.canTogether(ctx); err != nil {
		return 0, err
	}
	if err := setRest(batch); err != nil {
		return 0, err
	}
	return l.publisher.publishTogether(ctx, batch)
}

func (l *Log) canTogether(ctx context.Context) error {
	if !l.unsynced || l.replicated.Load() {
		return nil
	}
	info, err := l.info(ctx)
	if err != nil {
		return err
	}
	if info.Config.Replicas > 1 {
		l.replicated.Store(true)
		return nil
	}
	return &es.InvalidError{Code: "not_atomic", Message: "this log is in fast mode on one node, where a power cut could keep half of what belongs together: " +
		"run it durable (--durability durable) or with three replicas, or let a saga take the steps one by one"}
}

// publishTogether sends a batch in one go and waits for the acknowledgement of the whole.
func (p *Publisher) publishTogether(ctx context.Context, batch []*nats.Msg) (es.Revision, error) {
	last := batch[len(batch)-1]
	last.Header.Set(headerBatchCommit, "1")
	subjects := make([]string, len(batch))
	for i, m := range batch {
		m.Header.Set(headerBatchSeq, strconv.Itoa(i+1))
		subjects[i] = m.Subject
		// A message that does not go out would leave the others waiting on the server.
		if int64(m.Size()) > p.nc.MaxPayload() {
			return 0, unacknowledged(p.nc, m, nats.ErrMaxPayload)
		}
	}
	all := &nats.Msg{Subject: strings.Join(subjects, " + ")}
	if err := ctx.Err(); err != nil {
		return 0, es.Transient(fmt.Errorf("%s: not sent: %w", all.Subject, err))
	}
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	var pause backoff
	for {
		id := rand.Text()
		for _, m := range batch {
			m.Header.Set(headerBatchID, id)
		}
		for _, m := range batch[:len(batch)-1] {
			if err := p.nc.PublishMsg(m); err != nil {
				return 0, es.Transient(fmt.Errorf("%s: not sent: %w", m.Subject, err)) // without its last nothing is stored
			}
		}
		ack, err := p.nc.RequestMsgWithContext(ctx, last)
		if errors.Is(err, nats.ErrNoResponders) && pause.wait(ctx) == nil {
			continue // nobody took it: a leader is being elected
		}
		if err != nil {
			return 0, unacknowledged(p.nc, all, err)
		}
		stored, err := revision(all, ack.Data)
		if errors.Is(err, errBatchLost) && pause.wait(ctx) == nil {
			continue
		}
		return stored, err
	}
}

// position reads which of how many stored together a message is; 1 of 1 when it stands alone.
func position(header nats.Header) (n, of uint64) {
	first, all, ok := strings.Cut(header.Get(headerTogether), "/")
	if !ok {
		return 1, 1
	}
	n, err := strconv.ParseUint(first, 10, 64)
	of, err2 := strconv.ParseUint(all, 10, 64)
	if err != nil || err2 != nil || n == 0 || n > of {
		return 1, 1
	}
	return n, of
}

// MoreFollow reports whether a stored message belongs together with the next one, so that no reader stops at it.
func MoreFollow(header nats.Header) bool {
	n, of := position(header)
	return n < of
}

// rest is a message of a batch as the first one carries it.
type rest struct {
	Subject string      `json:"subject"`
	Header  nats.Header `json:"header"`
	Data    []byte      `json:"data"`
}

// setRest gives the first message a copy of the others. The server removes a batch from its waiting room once it is
// written, not once it is synced; a power cut then keeps the log's beginning of it, which is enough to mend it.
func setRest(batch []*nats.Msg) error {
	others := make([]rest, len(batch)-1)
	for i, m := range batch[1:] {
		others[i] = rest{m.Subject, m.Header, m.Data}
	}
	data, err := json.Marshal(others)
	if err != nil {
		return es.Permanent(err)
	}
	text := base64.StdEncoding.EncodeToString(data)
	if len(text) > maxRest {
		return &es.InvalidError{Code: "too_large", Message: fmt.Sprintf("commits stored together may have about %d KiB beside the first, found %d", maxRest*9/16>>10, len(data)*3/4>>10)}
	}
	batch[0].Header.Set(headerRest, text)
	return nil
}

// Mend completes commits stored together of which a power cut kept only the first ones, which can only be the log's
// last. They were never acknowledged, so whoever sent them does not know of either outcome. To be called before the
// log is read. ErrCorrupt: it cannot be done.
func (l *Log) Mend(ctx context.Context) error {
	end, err := l.LastRevision(ctx)
	if err != nil || end == 0 {
		return err
	}
	last, err := l.get(ctx, request{Seq: uint64(end)})
	if err != nil || last == nil || !MoreFollow(last.Header) {
		return err
	}
	n, of := position(last.Header)
	torn := func(why error) error {
		return fmt.Errorf("%w: it ends at revision %d with commit %d of %d that belong together, and the others cannot be restored: %w; restore the log from a backup", es.ErrCorrupt, end, n, of, why)
	}
	first, err := l.get(ctx, request{Seq: last.seq - (n - 1)})
	if err != nil {
		return err
	}
	if first == nil {
		return torn(errors.New("the first is missing"))
	}
	text := first.Header.Get(headerRest)
	if text == "" {
		return torn(errors.New("the first does not carry them, as when an import of events was interrupted"))
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return torn(err)
	}
	var others []rest
	if err := json.Unmarshal(data, &others); err != nil {
		return torn(err)
	}
	if uint64(len(others)) != of-1 {
		return torn(fmt.Errorf("the first knows of %d others", len(others)))
	}
	for _, r := range others[n-1:] {
		ours, err := l.mend(ctx, &nats.Msg{Subject: r.Subject, Header: r.Header, Data: r.Data})
		if err != nil {
			return err
		}
		if !ours {
			return torn(fmt.Errorf("%s has moved on", r.Subject))
		}
	}
	return nil
}

// mend appends one message, unless another process was quicker to; ours is false when something else stands there.
func (l *Log) mend(ctx context.Context, m *nats.Msg) (ours bool, err error) {
	expected, err := parseSequence(m.Header, ExpectedRevision)
	if err != nil {
		return false, es.Permanent(err)
	}
	err = retry(ctx, func(ctx context.Context) error {
		ack, err := l.publisher.nc.RequestMsgWithContext(ctx, m)
		if err != nil {
			return unacknowledged(l.publisher.nc, m, err)
		}
		if _, err = revision(m, ack.Data); !errors.Is(err, es.ErrConflict) {
			ours = err == nil
			return err
		}
		found, err := l.get(ctx, request{Seq: expected + 1, NextFor: m.Subject})
		ours = found != nil && bytes.Equal(found.Data, m.Data) && found.Header.Get(headerID) == m.Header.Get(headerID)
		return err
	})
	return ours, err
}
