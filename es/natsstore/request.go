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

// inbox receives the answers of many requests on one subscription, so that a request costs neither a subscription
// nor a goroutine, and one that is given up leaves nothing behind.
type inbox struct {
	nc     *nats.Conn
	prefix string
	mu     sync.Mutex
	last   uint64
	calls  map[string]*call
}

// call is one request under way.
type call struct {
	in       *inbox
	token    string
	single   bool
	messages []*nats.Msg // written by the subscription's goroutine until done is closed, read afterwards
	err      error       // likewise: why no answer will come
	done     chan struct{}
}

func newInbox(nc *nats.Conn) (*inbox, error) {
	in := &inbox{nc: nc, prefix: nc.NewInbox() + ".", calls: map[string]*call{}}
	sub, err := nc.Subscribe(in.prefix+"*", in.receive)
	if err != nil {
		return nil, err
	}
	sub.SetClosedHandler(func(string) { in.fail(nats.ErrConnectionClosed) })
	// The receiver never blocks, and what it holds is bounded by the size of a page and the number of readers.
	return in, sub.SetPendingLimits(-1, -1)
}

func (in *inbox) receive(m *nats.Msg) {
	token := m.Subject[len(in.prefix):]
	in.mu.Lock()
	c := in.calls[token]
	if c == nil {
		in.mu.Unlock()
		return
	}
	end := c.single || isStatus(m)
	if end {
		delete(in.calls, token)
	}
	in.mu.Unlock()
	c.messages = append(c.messages, m)
	if end {
		close(c.done)
	}
}

// fail ends every request under way: the subscription's goroutine calls it last.
func (in *inbox) fail(why error) {
	in.mu.Lock()
	calls := in.calls
	in.calls = map[string]*call{}
	in.mu.Unlock()
	for _, c := range calls {
		c.err = why
		close(c.done)
	}
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
	in.mu.Lock()
	in.last++
	c := &call{in: in, token: strconv.FormatUint(in.last, 36), single: single, done: make(chan struct{})}
	in.calls[c.token] = c
	in.mu.Unlock()
	m.Reply = in.prefix + c.token
	if err := in.nc.PublishMsg(m); err != nil {
		c.cancel()
		return nil, err
	}
	return c, nil
}

// request sends a message and returns the one answer. It is nats.go's RequestMsgWithContext on an inbox of its own:
// there, those who send and those who are answered wait for one lock of the connection, which costs a third of the
// rate with many senders. Errors are nats.go's and the context's.
func (in *inbox) request(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
	c, err := in.send(m, true)
	if err != nil {
		return nil, err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		c.cancel()
		return nil, ctx.Err()
	}
	if c.err != nil {
		return nil, c.err
	}
	answer := c.messages[0]
	if len(answer.Data) == 0 && answer.Header.Get("Status") == noResponders {
		return nil, nats.ErrNoResponders
	}
	return answer, nil
}

// cancel gives the request up; after its end it does nothing.
func (c *call) cancel() {
	c.in.mu.Lock()
	delete(c.in.calls, c.token)
	c.in.mu.Unlock()
}

// wait returns the answers, in order.
func (c *call) wait(ctx context.Context) ([]*nats.Msg, error) {
	select {
	case <-c.done:
		if c.err != nil {
			return nil, es.Transient(fmt.Errorf("no answer: %w", c.err))
		}
		return c.messages, nil
	case <-ctx.Done():
		c.cancel()
		return nil, es.Transient(fmt.Errorf("no answer: %w", ctx.Err()))
	}
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
