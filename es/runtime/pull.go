package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// puller asks a pull consumer for messages. It is our own, not the client library's, for two reasons. When this process
// becomes the owner of a pinned consumer, requests still open at the server must be dead before the consumer is reset,
// or the first messages after the reset go to one that nobody reads. And a reader of the whole log cannot afford the
// library's two goroutines and its parsing of every reply subject.
type puller struct {
	conn    *nats.Conn
	subject string // $JS.API.CONSUMER.MSG.NEXT.<stream>.<consumer>
	group   string // of a pinned consumer
	pin     string
	most    int // messages asked for and not yet taken
	sub     *nats.Subscription
	in      chan *nats.Msg
}

// errPullLost: the server did not end a request in time, as when its leader went away.
var errPullLost = errors.New("a pull request was not answered in time")

// newPuller reads a consumer, pinned when group is not empty. At most so many messages may be asked for and not yet
// taken.
func newPuller(conn *nats.Conn, stream, consumer, group string, most int) *puller {
	return &puller{conn: conn, subject: "$JS.API.CONSUMER.MSG.NEXT." + stream + "." + consumer, group: group, most: most}
}

// mostPulled is the most that one request of a pinned consumer may ask for.
const mostPulled = 256

// open makes a fresh inbox; answers to earlier requests are no longer heard. It has room for two requests' answers:
// what does not fit would be dropped, and counts as delivered.
func (p *puller) open() error {
	p.in = make(chan *nats.Msg, 2*p.most+16)
	sub, err := p.conn.ChanSubscribe(p.conn.NewRespInbox()+".*", p.in)
	p.sub = sub
	return err
}

// abandon makes the server forget the open request, for certain when it returns without an error.
func (p *puller) abandon() error {
	if p.sub == nil {
		return nil
	}
	err := p.sub.Unsubscribe()
	p.sub = nil
	if err != nil {
		return err
	}
	return p.conn.FlushTimeout(5 * time.Second)
}

// ask sends a request for n messages that ends after wait, and returns the subject on which its end is told. With a
// heartbeat the server says as often that it still knows of it.
func (p *puller) ask(n int, wait, heartbeat time.Duration) (reply string, err error) {
	if p.sub == nil {
		if err := p.open(); err != nil {
			return "", err
		}
	}
	request, err := json.Marshal(struct {
		Batch     int           `json:"batch"`
		Expires   time.Duration `json:"expires"`
		Heartbeat time.Duration `json:"idle_heartbeat,omitempty"`
		Group     string        `json:"group,omitempty"`
		ID        string        `json:"id,omitempty"`
	}{n, wait, heartbeat, p.group, p.pin})
	if err != nil {
		return "", err
	}
	// Each request has a subject of its own under the inbox, so that a late answer to an earlier one is known.
	reply = p.sub.Subject[:len(p.sub.Subject)-1] + nats.NewInbox()[len(nats.InboxPrefix):]
	return reply, p.conn.PublishRequest(p.subject, reply, request)
}

// statusOf returns the status of a message of the server's own, "" of a stored one.
func statusOf(m *nats.Msg) string {
	if len(m.Data) > 0 || m.Reply != "" {
		return ""
	}
	return m.Header.Get("Status")
}

// pull asks for up to n messages within wait and hands each to take until take returns false. It returns when n have
// come, the request has expired, or stop is closed.
func (p *puller) pull(n int, wait time.Duration, stop <-chan struct{}, take func(*nats.Msg) (bool, error)) error {
	reply, err := p.ask(n, wait, 0)
	if err != nil {
		return err
	}
	lost := time.NewTimer(wait + 2*time.Second)
	defer lost.Stop()
	for got := 0; got < n; {
		select {
		case m := <-p.in:
			if status := statusOf(m); status != "" {
				if m.Subject != reply {
					continue
				}
				return p.ended(status, m.Header.Get("Description"))
			}
			got++
			more, err := take(m)
			if err != nil || !more {
				return err
			}
		case <-lost.C:
			return errors.Join(errPullLost, p.abandon())
		case <-stop:
			return nil
		}
	}
	return nil
}

// ended says what the end of a request means: most are the ordinary course of things.
func (p *puller) ended(status, description string) error {
	switch status {
	case "404", "408":
		return nil
	case "423": // somebody else is the owner; ask without a pin from now on
		p.pin = ""
		return nil
	}
	return fmt.Errorf("the server ended a pull request: %s %s", status, description)
}

// A request can be lost with a leader that steps down; missing heartbeats tell within two seconds.
const (
	flowExpiry    = 10 * time.Second
	flowHeartbeat = time.Second
)

// flow reads a consumer of one's own without a pause: before what was asked for has come, it asks for more.
type flow struct {
	*puller
	asked int // and not yet come
	quiet *time.Timer
}

func newFlow(p *puller) *flow {
	quiet := time.NewTimer(time.Hour)
	quiet.Stop()
	return &flow{puller: p, quiet: quiet}
}

// close stops hearing what was asked for. An error would say that it is not heard any more anyway.
func (f *flow) close() {
	if f.sub != nil {
		_ = f.sub.Unsubscribe()
	}
}

// waiting returns the next message that has come already, nil when there is none.
func (f *flow) waiting(ctx context.Context) (*nats.Msg, error) { return f.take(ctx, false) }

// next waits for the next message. Errors: ctx's; the server says no more, or why it does not.
func (f *flow) next(ctx context.Context) (*nats.Msg, error) { return f.take(ctx, true) }

func (f *flow) take(ctx context.Context, wait bool) (*nats.Msg, error) {
	for {
		if f.asked <= f.most/2 {
			n := f.most - f.asked
			if _, err := f.ask(n, flowExpiry, flowHeartbeat); err != nil {
				return nil, err
			}
			f.asked += n
		}
		var m *nats.Msg
		select {
		case m = <-f.in:
		default:
			if !wait {
				return nil, nil
			}
			f.quiet.Reset(2 * flowHeartbeat)
			select {
			case m = <-f.in:
				f.quiet.Stop()
			case <-f.quiet.C:
				return nil, errPullLost
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if m.Reply == "" && m.Header == nil { // on a connection made with natsstore.RawHeaders
			var err error
			if m.Header, err = nats.DecodeHeadersMsg(m.Data); err != nil {
				return nil, fmt.Errorf("the server ended a pull request: %w", err)
			}
			m.Data = nil
		}
		status := statusOf(m)
		switch status {
		case "":
			f.asked--
			return m, nil
		case "100":
			continue
		}
		if err := f.ended(status, m.Header.Get("Description")); err != nil {
			return nil, err
		}
		left, err := strconv.Atoi(m.Header.Get("Nats-Pending-Messages"))
		if err != nil {
			return nil, fmt.Errorf("the server ended a pull request (%s) without saying what is left of it: %w", status, err)
		}
		f.asked -= left
	}
}

// deliveryOf reads from a delivered message's reply subject its sequence in the stream and how many wait behind it. The
// subject is $JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<delivery>.<time>.<behind>, or has a domain and an
// account before the stream, and more at the end
// (https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-15.md).
func deliveryOf(reply string) (sequence, behind uint64, err error) {
	token, at := 5, 0
	if strings.Count(reply, ".") > 8 {
		token = 7
	}
	for rest, more := reply, true; more && err == nil; at++ {
		var text string
		text, rest, more = strings.Cut(rest, ".")
		switch at {
		case token:
			sequence, err = strconv.ParseUint(text, 10, 64)
		case token + 3:
			behind, err = strconv.ParseUint(text, 10, 64)
		}
	}
	if err != nil || at <= token+3 || !strings.HasPrefix(reply, "$JS.ACK.") {
		return 0, 0, fmt.Errorf("a delivered message's reply subject should name its sequence and what is behind it, found %q", reply)
	}
	return sequence, behind, nil
}
