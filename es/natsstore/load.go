package natsstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
)

// A page of a batched direct get: small enough that writers hardly wait for it and that the pages under way stay
// below what a server lets pile up for one connection (64 MB).
const (
	pageMessages = 1000
	pageBytes    = 4 << 20
	maxPages     = 12
)

// The headers of a direct get's answers.
const (
	headerSubject = "Nats-Subject"
	headerSeq     = "Nats-Sequence"
	headerLastSeq = "Nats-Last-Sequence"
	headerPending = "Nats-Num-Pending"
)

// stored is a message as it stands in the log.
type stored struct {
	*nats.Msg // Subject is the one it was stored under
	seq       uint64
}

// errGap is a version that is not there. A replica that lags or is damaged may show one; the leader may not.
var errGap = es.Transient(errors.New("a version is missing"))

// Load reads a stream's history by batched direct get, which any replica answers, and proves it: every page ends
// with the server's end-of-batch, sequences chain, versions have no gap, and the last commit is at least as new as
// the leader's was at the beginning. What a replica cannot show is read from the leader, message by message.
func (l *Log) Load(ctx context.Context, s es.Stream, r es.Range) (es.History, error) {
	if err := s.Validate(); err != nil {
		return es.History{}, err
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, readTimeout)
		defer cancel()
	}
	h := &history{log: l, subject: Subject(s), bounds: r, at: uint64(r.After)}
	if err := h.load(ctx, s); err != nil {
		return es.History{}, fmt.Errorf("load %s: %w", s, err)
	}
	return h.read, nil
}

// history is a load under way.
type history struct {
	log     *Log
	subject string
	bounds  es.Range
	read    es.History
	at      uint64 // sequence of the last message seen; what follows it is still to be read
	version uint64 // of the last event seen; 0: unknown, or none yet
	past    bool   // a bound is reached: nothing more is wanted
}

// load asks a replica for its first page and, at the same time, the leader how far the history goes.
func (h *history) load(ctx context.Context, s es.Stream) error {
	// The first page begins with the commit at Range.After itself, whose version tells what must follow it.
	first, err := h.log.askPage(ctx, h.subject, max(h.at, 1))
	if err != nil {
		return err
	}
	defer first.cancel()
	if h.bounds.MayLag {
		return h.asShown(ctx, s, first)
	}
	leader, err := h.log.askLast(s)
	if err != nil {
		return err
	}
	defer leader.cancel()
	more, lagging := h.page(ctx, first)
	if errors.Is(lagging, es.ErrPermanent) {
		return lagging
	}
	last, err := h.newest(ctx, s, leader)
	if err != nil {
		return err
	}
	if last == 0 || uint64(last) < uint64(h.bounds.After) {
		h.read = es.History{}
		return nil
	}
	return h.upTo(ctx, uint64(last), more, lagging)
}

// asShown reads what a replica shows, and has only what that cannot prove read from the leader.
func (h *history) asShown(ctx context.Context, s es.Stream, p *page) error {
	for {
		more, lagging := h.page(ctx, p)
		if lagging != nil {
			if errors.Is(lagging, es.ErrPermanent) {
				return lagging
			}
			last, err := h.log.Last(ctx, s)
			if err != nil {
				return errors.Join(err, lagging)
			}
			return h.upTo(ctx, uint64(last), false, lagging)
		}
		if h.version == 0 && h.bounds.After > 0 {
			if err := h.anchor(ctx, nil); err != nil {
				return err
			}
		}
		if !more || h.past {
			return nil
		}
		var err error
		if p, err = h.log.askPage(ctx, h.subject, h.at+1); err != nil {
			return err
		}
	}
}

// newest waits for the leader's answer, and asks once more when none comes.
func (h *history) newest(ctx context.Context, s es.Stream, leader *call) (es.Revision, error) {
	attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	last, err := h.log.lastAnswer(attempt, leader)
	if errors.Is(err, es.ErrTransient) {
		return h.log.Last(ctx, s)
	}
	return last, err
}

// upTo reads up to a sequence: while a replica has more, page by page from whichever answers, then from the leader.
// lagging says why what a replica showed so far proves nothing further.
func (h *history) upTo(ctx context.Context, last uint64, more bool, lagging error) error {
	for lagging == nil && more && !h.past && h.at < last {
		p, err := h.log.askPage(ctx, h.subject, h.at+1)
		if err != nil {
			return err
		}
		if more, lagging = h.page(ctx, p); errors.Is(lagging, es.ErrPermanent) {
			return lagging
		}
	}
	if err := h.fromLeader(ctx, last); err != nil {
		return errors.Join(err, lagging)
	}
	return nil
}

// page takes a page in while it comes, as far as it proves itself; more says that whoever sent it has more.
func (h *history) page(ctx context.Context, p *page) (more bool, err error) {
	defer p.cancel()
	attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	proof := chain{filter: h.subject, after: p.from - 1}
	for {
		m, err := p.next(attempt)
		if err != nil {
			return false, es.Transient(fmt.Errorf("%s: no answer: %w", directGet, err))
		}
		if isStatus(m) {
			return proof.end(m)
		}
		found, err := proof.next(m)
		if err != nil {
			return false, err
		}
		if h.version == 0 && h.bounds.After > 0 {
			if err := h.anchor(ctx, &found); err != nil {
				return false, err
			}
		}
		if h.past || found.seq <= h.at {
			continue
		}
		if h.read.Events == nil {
			pending, _ := parseSequence(m.Header, headerPending) // a hint at best
			h.read.Events = make([]es.Recorded, 0, min(pending+1, pageMessages))
		}
		if err := h.add(found); err != nil {
			return false, err
		}
	}
}

// anchor learns the version that stands before the first commit to read: from what a replica showed first when that is
// the commit at Range.After, else from the leader, since a replica's word on what comes first would prove nothing.
func (h *history) anchor(ctx context.Context, first *stored) error {
	if first == nil || first.seq != h.at {
		var err error
		if first, err = h.log.get(ctx, request{Seq: h.at, NextFor: h.subject}); err != nil || first == nil {
			return err
		}
	}
	if first.seq > h.at {
		return h.add(*first) // After is no commit of this stream: only its caller knows what it has
	}
	commit, err := h.log.Decode(first.Subject, first.Header, first.Data, first.seq)
	if err != nil {
		return err
	}
	h.read.Before = commit[len(commit)-1]
	h.version = h.read.Before.Version
	return nil
}

// fromLeader reads what is missing up to the leader's last sequence of this subject.
func (h *history) fromLeader(ctx context.Context, last uint64) error {
	if h.version == 0 && h.bounds.After > 0 {
		if err := h.anchor(ctx, nil); err != nil {
			return err
		}
	}
	for h.at < last && !h.past {
		m, err := h.log.get(ctx, request{Seq: h.at + 1, NextFor: h.subject})
		if err != nil {
			return err
		}
		if m == nil {
			return fmt.Errorf("%w: %s has a commit at revision %d by its leader, which finds none after %d; restore it from a replica or a backup",
				es.ErrCorrupt, h.subject, last, h.at)
		}
		if err := h.add(*m); errors.Is(err, errGap) {
			return fmt.Errorf("%w: also by the leader, %w; restore it from a replica or a backup", es.ErrCorrupt, err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// add takes the next commit in, unless it is past a bound. The version is checked in either case: a commit past the
// bound proves that none is missing before it.
func (h *history) add(m stored) error {
	commit, err := h.log.Decode(m.Subject, m.Header, m.Data, m.seq)
	if err != nil {
		return err
	}
	known := h.version > 0 || h.bounds.After == 0
	if found := commit[0].Version; known && found != h.version+1 {
		return fmt.Errorf("%w: %s at revision %d begins with version %d, expected %d", errGap, m.Subject, m.seq, found, h.version+1)
	}
	upTo, asOf := h.bounds.UpTo, h.bounds.AsOf
	n, _ := position(m.Header)
	h.past = upTo > 0 && es.Revision(m.seq-(n-1)) > upTo ||
		!asOf.IsZero() && slices.ContainsFunc(commit, func(e es.Recorded) bool { return e.Time.After(asOf) })
	if h.past {
		return nil
	}
	h.at = m.seq
	h.version = commit[len(commit)-1].Version
	h.read.Events = append(h.read.Events, commit...)
	h.read.Revision = es.Revision(m.seq)
	return nil
}

// page is a request for the next messages of a subject, under way.
type page struct {
	*call
	from uint64
	done func() // gives its place to the next, once
}

func (l *Log) askPage(ctx context.Context, subject string, from uint64) (*page, error) {
	body := fmt.Appendf(nil, `{"seq":%d,"next_by_subj":"%s","batch":%d,"max_bytes":%d}`, from, subject, pageMessages, pageBytes)
	return l.askIn(ctx, l.pages, body, from)
}

// askIn asks for a page when one of a number of places is free.
func (l *Log) askIn(ctx context.Context, places chan struct{}, body []byte, from uint64) (*page, error) {
	select {
	case places <- struct{}{}:
	case <-ctx.Done():
		return nil, es.Transient(ctx.Err())
	}
	done := sync.OnceFunc(func() { <-places })
	c, err := l.in.ask(directGet, body, false)
	if err != nil {
		done()
		return nil, err
	}
	return &page{c, from, done}, nil
}

// wait returns the messages, in order.
func (p *page) wait(ctx context.Context) ([]*nats.Msg, error) {
	defer p.done()
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	messages, err := p.call.wait(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", directGet, err)
	}
	return messages, nil
}

// cancel gives the page up; after its end it does nothing.
func (p *page) cancel() {
	p.call.cancel()
	p.done()
}

// chain checks the messages of one page, as they come: those under a filter after a sequence, without a hole.
type chain struct {
	filter string
	after  uint64
	last   uint64 // the sequence of the last that was proven; 0: none was
}

// next returns the message when it is proven to follow the last.
func (c *chain) next(m *nats.Msg) (stored, error) {
	subject := m.Header.Get(headerSubject)
	if !covers(c.filter, subject) {
		return stored{}, es.Transient(fmt.Errorf("asked for %s, found %s", c.filter, subject))
	}
	seq, err := parseSequence(m.Header, headerSeq)
	if err != nil {
		return stored{}, es.Transient(err)
	}
	previous, err := parseSequence(m.Header, headerLastSeq)
	if err != nil {
		return stored{}, es.Transient(err)
	}
	if previous != c.last || seq <= max(c.after, c.last) {
		return stored{}, es.Transient(fmt.Errorf("%s: revision %d says it follows %d, but came after %d", c.filter, seq, previous, max(c.after, c.last)))
	}
	c.last = seq
	m.Subject = subject
	return stored{Msg: m, seq: seq}, nil
}

// verify checks a page that came whole. It returns what is proven to follow without a hole (it counts even beside an
// error) and whether the server has more.
func verify(filter string, after uint64, messages []*nats.Msg) (found []stored, more bool, err error) {
	proof := chain{filter: filter, after: after}
	for i, m := range messages {
		if isStatus(m) {
			if i != len(messages)-1 {
				return found, false, es.Transient(fmt.Errorf("a status came before the last message of a page"))
			}
			more, err = proof.end(m)
			return found, more, err
		}
		s, err := proof.next(m)
		if err != nil {
			return found, false, err
		}
		found = append(found, s)
	}
	return found, false, es.Transient(fmt.Errorf("%s: a page of %d messages has no end", filter, len(messages)))
}

// end reads the status that ends a page.
func (c *chain) end(m *nats.Msg) (more bool, err error) {
	switch status := m.Header.Get("Status"); {
	case status == "404" && c.last == 0:
		return false, nil
	case status == "204":
		last, err := parseSequence(m.Header, headerLastSeq)
		if err != nil {
			return false, es.Transient(err)
		}
		pending, err := parseSequence(m.Header, headerPending)
		if err != nil {
			return false, es.Transient(err)
		}
		if last != c.last {
			return false, es.Transient(fmt.Errorf("a page ends with revision %d, but %d was the last to come", last, c.last))
		}
		return pending > 0 && last > 0, nil
	case status == "408" || status == "412" || status == "413":
		return false, es.Permanent(fmt.Errorf("%s refuses the request: %s %s", directGet, status, m.Header.Get("Description")))
	default:
		return false, es.Transient(fmt.Errorf("%s: status %s %s", directGet, status, m.Header.Get("Description")))
	}
}
