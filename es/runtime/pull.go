package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// puller asks a pinned pull consumer for messages. It is our own, not the client library's, for what happens when
// this process becomes the owner: requests still open at the server must be dead before the consumer is reset, or
// the first messages after the reset go to one that nobody reads.
type puller struct {
	conn    *nats.Conn
	subject string // $JS.API.CONSUMER.MSG.NEXT.<stream>.<consumer>
	pin     string
	sub     *nats.Subscription
	in      chan *nats.Msg
}

// errPullLost: the server did not end a request in time, as when its leader went away.
var errPullLost = errors.New("a pull request was not answered in time")

func newPuller(conn *nats.Conn, stream, consumer string) *puller {
	return &puller{conn: conn, subject: "$JS.API.CONSUMER.MSG.NEXT." + stream + "." + consumer}
}

// mostPulled is the most that one request may ask for.
const mostPulled = 256

// open makes a fresh inbox; answers to earlier requests are no longer heard. It has room for two requests' answers:
// what does not fit would be dropped, and counts as delivered.
func (p *puller) open() error {
	p.in = make(chan *nats.Msg, 2*mostPulled+16)
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

// pull asks for up to n messages within wait and hands each to take until take returns false. It returns when n have
// come, the request has expired, or stop is closed.
func (p *puller) pull(n int, wait time.Duration, stop <-chan struct{}, take func(*nats.Msg) (bool, error)) error {
	if p.sub == nil {
		if err := p.open(); err != nil {
			return err
		}
	}
	request, err := json.Marshal(struct {
		Batch   int           `json:"batch"`
		Expires time.Duration `json:"expires"`
		Group   string        `json:"group"`
		ID      string        `json:"id,omitempty"`
	}{n, wait, pinGroup, p.pin})
	if err != nil {
		return err
	}
	// Each request has a subject of its own under the inbox, so that a late answer to an earlier one is known.
	reply := p.sub.Subject[:len(p.sub.Subject)-1] + nats.NewInbox()[len(nats.InboxPrefix):]
	if err := p.conn.PublishRequest(p.subject, reply, request); err != nil {
		return err
	}
	lost := time.NewTimer(wait + 2*time.Second)
	defer lost.Stop()
	for got := 0; got < n; {
		select {
		case m := <-p.in:
			if status := m.Header.Get("Status"); status != "" && len(m.Data) == 0 && m.Reply == "" {
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
