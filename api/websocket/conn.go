package websocket

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
)

// What a connection may ask for.
const (
	maxSubscriptions = 32
	maxMessage       = 64 << 10 // bytes
	maxRate          = 20       // messages a second, maxBurst at once
	maxBurst         = 100
)

// conn is one WebSocket. It is read by one goroutine, and each subscription writes from its own: a client that takes
// nothing holds up its own subscriptions, whose queues then overflow, and nobody else.
type conn struct {
	door    *Door
	socket  *websocket.Conn
	ctx     context.Context // of its subscriptions
	cancel  context.CancelFunc
	work    sync.WaitGroup
	closing sync.Once
	alive   atomic.Int64 // Unix nanoseconds of the last sign of life
	writing atomic.Int64 // messages being written

	mu            sync.Mutex
	subscriptions map[string]context.CancelFunc
}

// serve handles the client's messages until the connection ends.
func (c *conn) serve() {
	c.socket.SetReadLimit(maxMessage)
	c.live()
	c.work.Go(c.keepAlive)
	c.work.Go(c.bounded)
	c.read()
	c.cancel()
	c.close(websocket.StatusNormalClosure, "")
	c.work.Wait()
}

// bounded ends the connection when the door closes or it has lasted long enough.
func (c *conn) bounded() {
	old := time.NewTimer(c.door.age())
	defer old.Stop()
	select {
	case <-c.door.stop:
		c.close(websocket.StatusGoingAway, "this process is stopping: connect again, and subscribe after the last revision seen")
	case <-old.C:
		c.close(websocket.StatusServiceRestart, "connect again from time to time, and subscribe after the last revision seen")
	case <-c.ctx.Done():
	}
}

func (c *conn) read() {
	allowance, last := float64(maxBurst), time.Now()
	for {
		kind, data, err := c.socket.Read(context.Background()) // ends with the socket
		if err != nil {
			return
		}
		c.live()
		now := time.Now()
		allowance = min(maxBurst, allowance+now.Sub(last).Seconds()*maxRate)
		last = now
		if allowance--; allowance < 0 {
			c.close(CloseTooFrequent, fmt.Sprintf("more than %d messages a second", maxRate))
			return
		}
		if kind != websocket.MessageText {
			c.close(websocket.StatusUnsupportedData, "messages are text: JSON")
			return
		}
		if err := c.handle(data); err != nil {
			return
		}
	}
}

// handle does what a message asks for. An error is the connection's.
func (c *conn) handle(data []byte) error {
	m, err := decode(data)
	if err == nil {
		switch m.Type {
		case typePing:
			return c.write(answer{Type: typePong}.encode())
		case typeSubscribe:
			err = c.subscribe(m)
		case typeUnsubscribe:
			err = c.unsubscribe(m.ID)
		}
	}
	if err != nil {
		return c.write(failed(typeError, m.ID, err).encode())
	}
	return nil
}

func (c *conn) subscribe(m message) error {
	ctx, cancel := context.WithCancel(c.ctx)
	if err := c.reserve(m.ID, cancel); err != nil {
		cancel()
		return err
	}
	s, err := c.door.follow(ctx, m.Filter, m.From)
	if err != nil {
		cancel()
		c.release(m.ID)
		return err
	}
	c.work.Go(func() {
		defer cancel()
		c.forward(m.ID, s)
	})
	return nil
}

func (c *conn) reserve(id string, cancel context.CancelFunc) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.subscriptions[id] != nil:
		return &es.InvalidError{Code: "id_in_use", Message: fmt.Sprintf("subscription %q is there already: unsubscribe it first, or choose another id", id), Pointer: "/id"}
	case len(c.subscriptions) >= maxSubscriptions:
		return &es.InvalidError{Code: "too_many_subscriptions", Message: fmt.Sprintf("a connection has at most %d subscriptions: unsubscribe some, or open another", maxSubscriptions)}
	}
	c.subscriptions[id] = cancel
	return nil
}

func (c *conn) release(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.subscriptions, id)
}

// unsubscribe ends a subscription; forward says so, as its last message.
func (c *conn) unsubscribe(id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	cancel := c.subscriptions[id]
	if cancel == nil {
		known := make([]string, 0, len(c.subscriptions))
		for other := range c.subscriptions {
			known = append(known, other)
		}
		message := fmt.Sprintf("there is no subscription %q", id)
		if near, ok := es.Closest(id, known); ok {
			message += fmt.Sprintf(": did you mean %s?", near)
		}
		return &es.InvalidError{Code: "unknown_subscription", Message: message, Pointer: "/id"}
	}
	cancel()
	return nil
}

// forward writes what a subscription delivers, and how it ended.
func (c *conn) forward(id string, s *runtime.Subscription) {
	for n := range s.C() {
		data, err := encodeNotice(id, n)
		if err == nil {
			err = c.write(data)
		}
		if err != nil {
			c.close(websocket.StatusInternalError, "an event could not be sent")
			return
		}
	}
	c.release(id)
	if c.ctx.Err() != nil {
		return
	}
	switch err := s.Err(); {
	case errors.Is(err, runtime.ErrSlow):
		c.close(CloseSlow, "too slow: connect again, and subscribe after the last revision seen")
	case errors.Is(err, context.Canceled):
		c.write(answer{Type: typeEnded, ID: id, Code: "unsubscribed", Message: "as asked for"}.encode()) //nolint:errcheck // read notices
	case runtime.Status(err) == http.StatusServiceUnavailable:
		c.close(websocket.StatusGoingAway, "the log is out of reach here: connect again, and subscribe after the last revision seen")
	default:
		c.write(failed(typeEnded, id, err).encode()) //nolint:errcheck // read notices
	}
}

// blocked is how long a write takes that had to wait for the client: it has read something then.
const blocked = 100 * time.Millisecond

func (c *conn) write(data []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.door.opts.Patience)
	defer cancel()
	c.writing.Add(1)
	defer c.writing.Add(-1)
	begun := time.Now()
	err := c.socket.Write(ctx, websocket.MessageText, data)
	if err == nil && time.Since(begun) > blocked {
		c.live()
	}
	return err
}

func (c *conn) live() { c.alive.Store(time.Now().UnixNano()) }

// keepAlive ends a connection whose peer is gone, or whose caller may no longer have it. While a message is being
// written its time limit ends one whose peer is gone.
func (c *conn) keepAlive() {
	beat := time.NewTicker(c.door.opts.Beat)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
		case <-c.ctx.Done():
			return
		}
		if rest.Again(c.ctx) != nil {
			c.close(CloseUnknown, "the key or token is no longer good: connect again with one that is")
			return
		}
		if c.writing.Load() > 0 {
			continue
		}
		ctx, cancel := context.WithTimeout(c.ctx, c.door.opts.Beat)
		err := c.socket.Ping(ctx)
		cancel()
		if err == nil {
			c.live()
		} else if time.Since(time.Unix(0, c.alive.Load())) > 3*c.door.opts.Beat {
			c.cut()
			return
		}
	}
}

// close ends the connection with a code and a reason of at most 123 bytes.
func (c *conn) close(code websocket.StatusCode, reason string) {
	c.closing.Do(func() {
		c.socket.Close(code, reason)
	})
}

func (c *conn) cut() {
	c.closing.Do(func() {
		c.socket.CloseNow() //nolint:errcheck // the peer is gone
	})
}
