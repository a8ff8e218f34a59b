package natsstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
)

// apiError is an error as JetStream answers it.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) classify() error { return classify(e.Code, e.ErrCode, e.Description) }

// JetStream's error codes that mean something of their own here. Codes are stable; texts are not.
const (
	codeNoPeers            = 10005 // some are not online yet, as when a cluster starts
	codeNotFound           = 10037
	codeNoAccount          = 10039
	codeTooLarge           = 10054
	codeStreamNotFound     = 10059
	codeWrongLast          = 10071
	codeWrongLastInFlight  = 10164 // a conflicting write is on its way on a replicated stream
	codeBatchIncomplete    = 10176 // some of it did not arrive, or its leader changed: nothing was stored
	statusTooManyRequests  = 429
	statusRequestTimeout   = 408
	firstServerSideProblem = 500
)

// noResponders is the status with which a server answers what nobody listens to.
const noResponders = "503"

// errNoPeers: the cluster has too few servers for a stream's replicas, for now.
var errNoPeers = es.Transient(errors.New("too few servers are online"))

// classify brings an error of JetStream to one of ours.
func classify(code, errCode int, description string) error {
	err := fmt.Errorf("%s (JetStream error %d)", description, errCode)
	switch {
	case errCode == codeWrongLast, errCode == codeWrongLastInFlight:
		return fmt.Errorf("%w: %w", es.ErrConflict, err)
	case errCode == codeBatchIncomplete:
		return fmt.Errorf("%w: %w", errBatchLost, err)
	case errCode == codeNoPeers:
		return fmt.Errorf("%w: %w", errNoPeers, err)
	case errCode == codeTooLarge:
		return &es.InvalidError{Code: "too_large", Message: err.Error()}
	case errCode == codeNoAccount:
		return es.Permanent(fmt.Errorf("%w: connect as a user of the engine's account", err))
	case errCode == codeStreamNotFound:
		return es.Permanent(fmt.Errorf("%w: the streams are not set up in this account", err))
	case code >= firstServerSideProblem, code == statusTooManyRequests, code == statusRequestTimeout:
		return es.Transient(err)
	default:
		return es.Permanent(err)
	}
}

// errBatchLost is a batch that the server knows no more; nothing of it was stored.
var errBatchLost = es.Transient(errors.New("the batch did not arrive whole"))

// backoff pauses between attempts: 2 ms, doubling up to a quarter of a second.
type backoff struct{ next time.Duration }

// wait returns the context's error when it ends during the pause.
func (b *backoff) wait(ctx context.Context) error {
	b.next = min(max(2*b.next, 2*time.Millisecond), 250*time.Millisecond)
	t := time.NewTimer(b.next)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// inbox makes requests, each at a place of its own. Places are used again.
type inbox struct {
	nc     *nats.Conn
	prefix string
	mu     sync.Mutex
	made   uint64 // places ever
	taken  int    // by requests under way
	free   [2][]*place
}

// place is a subscription that hears the answers to one request at a time. The connection's reader hands them over
// itself: a goroutine between it and who waits would cost as much as the server's part in a small request.
type place struct {
	answers chan *nats.Msg
	closed  chan struct{} // the subscription is, with its connection
	prefix  string
	sub     *nats.Subscription
	asked   uint64
	timer   *time.Timer // of requests with a limit, which a context of their own would cost more
}

// A place has room for what may come before anyone looks: the one answer, beside some that came too late for earlier
// requests, or a page and its end.
const (
	singleAnswers = 8
	pageAnswers   = pageMessages + singleAnswers
)

// call is one request under way. It belongs to one goroutine, which waits for its end or cancels it.
type call struct {
	*place
	in     *inbox
	reply  string // the subject of its answers, and of no other's
	single bool
	over   bool
}

func newInbox(nc *nats.Conn) (*inbox, error) {
	if nc.IsClosed() {
		return nil, nats.ErrConnectionClosed
	}
	return &inbox{nc: nc, prefix: nc.NewInbox() + "."}, nil
}

// kind is the index of free for requests with one answer or with a page of them.
func kind(single bool) int {
	if single {
		return 0
	}
	return 1
}

func (in *inbox) take(single bool) (*place, error) {
	k := kind(single)
	in.mu.Lock()
	if n := len(in.free[k]); n > 0 {
		p := in.free[k][n-1]
		in.free[k] = in.free[k][:n-1]
		in.taken++
		in.mu.Unlock()
		return p, nil
	}
	in.made++
	p := &place{prefix: in.prefix + strconv.FormatUint(in.made, 36) + ".", closed: make(chan struct{})}
	in.mu.Unlock()
	p.answers = make(chan *nats.Msg, [...]int{singleAnswers, pageAnswers}[k])
	var err error
	if p.sub, err = in.nc.ChanSubscribe(p.prefix+"*", p.answers); err != nil {
		return nil, err
	}
	p.sub.SetClosedHandler(func(string) { close(p.closed) })
	if in.nc.IsClosed() { // perhaps before there was a handler
		return nil, nats.ErrConnectionClosed
	}
	in.mu.Lock()
	in.taken++
	in.mu.Unlock()
	return p, nil
}

// ask sends a request. One answer ends it when single is set, else an answer with a status.
func (in *inbox) ask(subject string, body []byte, single bool) (*call, error) {
	c, err := in.send(&nats.Msg{Subject: subject, Data: body}, single)
	if err != nil {
		return nil, es.Transient(fmt.Errorf("%s: %w", subject, err))
	}
	return c, nil
}

// send is ask for a whole message, whose reply subject it sets; the error is nats.go's own.
func (in *inbox) send(m *nats.Msg, single bool) (*call, error) {
	p, err := in.take(single)
	if err != nil {
		return nil, err
	}
	p.asked++
	c := &call{place: p, in: in, reply: p.prefix + strconv.FormatUint(p.asked, 36), single: single}
	m.Reply = c.reply
	if err := in.nc.PublishMsg(m); err != nil {
		c.end()
		return nil, err
	}
	return c, nil
}

// request sends a message and returns the one answer, that comes within a time. It is nats.go's RequestMsgWithContext on places of its own:
// there, those who send and those who are answered wait for one lock of the connection, which costs a third of the
// rate with many senders. Errors are nats.go's and the context's.
func (in *inbox) request(ctx context.Context, m *nats.Msg, within time.Duration) (*nats.Msg, error) {
	c, err := in.send(m, true)
	if err != nil {
		return nil, err
	}
	if c.timer == nil {
		c.timer = time.NewTimer(within)
	} else {
		c.timer.Reset(within)
	}
	defer c.timer.Stop()
	answer, err := c.await(ctx, c.timer.C)
	if err != nil {
		c.cancel()
		return nil, err
	}
	if len(answer.Data) == 0 && answer.Header.Get("Status") == noResponders {
		return nil, nats.ErrNoResponders
	}
	return answer, nil
}

// next returns the next answer; after the last there is none. Errors are nats.go's and the context's.
func (c *call) next(ctx context.Context) (*nats.Msg, error) { return c.await(ctx, nil) }

func (c *call) await(ctx context.Context, end <-chan time.Time) (*nats.Msg, error) {
	for {
		var m *nats.Msg
		select {
		case m = <-c.answers:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-end:
			return nil, context.DeadlineExceeded
		case <-c.closed:
			select {
			case m = <-c.answers: // came before
			default:
				return nil, nats.ErrConnectionClosed
			}
		}
		if m.Subject != c.reply {
			continue // of an earlier request: there may be two answers when two servers take themselves for the leader
		}
		if c.single || isStatus(m) {
			c.end()
		}
		return m, nil
	}
}

// wait returns the answers, in order.
func (c *call) wait(ctx context.Context) (messages []*nats.Msg, err error) {
	for !c.over {
		m, err := c.next(ctx)
		if err != nil {
			c.cancel()
			return nil, es.Transient(fmt.Errorf("no answer: %w", err))
		}
		messages = append(messages, m)
	}
	return messages, nil
}

// end gives the place to the next request: nothing more will come.
func (c *call) end() {
	if c.over {
		return
	}
	c.over = true
	k := kind(c.single)
	c.in.mu.Lock()
	c.in.free[k] = append(c.in.free[k], c.place)
	c.in.taken--
	c.in.mu.Unlock()
}

// cancel gives the request up, with its place, where answers may still come; after its end it does nothing.
func (c *call) cancel() {
	if c.over {
		return
	}
	c.over = true
	c.in.mu.Lock()
	c.in.taken--
	c.in.mu.Unlock()
	// An error says that the connection is closed, and every subscription with it.
	_ = c.sub.Unsubscribe()
}

// isStatus tells the server's own messages (end of batch, not found, no responders) from stored ones.
func isStatus(m *nats.Msg) bool {
	return m.Header["Status"] != nil && m.Header[headerSubject] == nil
}

// retry repeats what fails for a passing reason until the context ends; what comes then is ErrTransient and carries
// the last reason. A context without an end gets one.
func retry(ctx context.Context, do func(context.Context) error) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, readTimeout)
		defer cancel()
	}
	var pause backoff
	for {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		err := do(attempt)
		cancel()
		if err == nil || !errors.Is(err, es.ErrTransient) {
			return err
		}
		if pause.wait(ctx) != nil {
			return fmt.Errorf("%w (given up: %w)", err, ctx.Err())
		}
	}
}
