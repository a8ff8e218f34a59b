package graphql

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/99designs/gqlgen/graphql/handler/transport"
	"github.com/coder/websocket"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es/schema"
)

// subprotocol is the one of the two there are for GraphQL that is still maintained.
const subprotocol = "graphql-transport-ws"

// Why a WebSocket is closed, beside the protocol's own reasons.
const (
	closeSlow    websocket.StatusCode = 4008 // the client takes less than what happens
	closeLeaving websocket.StatusCode = 1001 // the server stops
	closeUnknown websocket.StatusCode = 4401 // the key or token that opened it is no longer good
)

const (
	initWait             = 10 * time.Second // for the client's first message
	pingEvery            = 25 * time.Second // a client that misses two is gone
	mostSubscribed       = 50               // subscriptions of one WebSocket at once
	mostToSend     int64 = schema.MaxBody   // bytes of one message from a client
)

// socket answers operations over a WebSocket, subscriptions among them.
func (d *Door) socket(w http.ResponseWriter, r *http.Request) {
	if status, refused := d.checkUpgrade(w, r); refused != nil {
		d.answer(w, r, status, d.exec.DispatchError(r.Context(), gqlerror.List{refused}))
		return
	}
	if refused := d.enter(); refused != nil {
		d.answer(w, r, http.StatusServiceUnavailable, d.exec.DispatchError(r.Context(), gqlerror.List{refused}))
		return
	}
	defer d.left()
	c := &connection{wait: d.opts.WriteWait}
	stay := context.AfterFunc(d.open, func() { c.end(closeLeaving, "the server is stopping: connect again") })
	defer stay()
	ctx, gone := context.WithCancel(r.Context())
	defer gone()
	go c.askAgain(ctx, d.opts.Beat)
	defer c.end(websocket.StatusProtocolError, "not understood") // where nothing else was said
	limit := mostToSend
	transport.Websocket{
		Implementation:   c,
		InitTimeout:      initWait,
		PingPongInterval: pingEvery,
		PayloadReadLimit: &limit,
	}.Do(w, r.WithContext(context.WithValue(r.Context(), connectionKey{}, c)), d.exec)
}

// checkUpgrade refuses what is no WebSocket for this door, before the connection is taken over.
func (d *Door) checkUpgrade(w http.ResponseWriter, r *http.Request) (int, *gqlerror.Error) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		w.Header().Set("Allow", http.MethodPost)
		return http.StatusMethodNotAllowed, coded("method_not_allowed", "GET is for WebSockets here: send operations with POST")
	}
	offered := strings.Split(strings.ReplaceAll(strings.Join(r.Header.Values("Sec-WebSocket-Protocol"), ","), " ", ""), ",")
	if !slices.Contains(offered, subprotocol) {
		return http.StatusBadRequest, coded("unsupported_subprotocol", "offer the WebSocket subprotocol %s", subprotocol)
	}
	// A browser sends cookies with a WebSocket to anywhere, and asks nobody.
	if origin := r.Header.Get("Origin"); origin != "" && !slices.Contains(d.opts.TrustedOrigins, origin) {
		if u, err := url.Parse(origin); err != nil || !strings.EqualFold(u.Host, r.Host) {
			return http.StatusForbidden, coded("cross_origin", "this request comes from a page of another origin: list that origin as trusted or send it from elsewhere")
		}
	}
	return 0, nil
}

// connection is one WebSocket. The library has one too, whose writes wait for a client for ever.
type connection struct {
	wait       time.Duration // for a client to take a message
	subscribed atomic.Int32

	mu    sync.Mutex
	conn  *websocket.Conn
	ended bool
	pulse *time.Timer // closes the connection of a client that misses its pings
}

type connectionKey struct{}

// connectionFrom is the WebSocket that an operation came over; nil: it came otherwise.
func connectionFrom(ctx context.Context) *connection {
	c, _ := ctx.Value(connectionKey{}).(*connection)
	return c
}

// end closes the connection for a reason; the first one counts. The client has some seconds to say goodbye, which
// nobody waits for.
func (c *connection) end(code websocket.StatusCode, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil && !c.ended {
		go c.conn.Close(code, reason) // whoever is gone cannot be told
	}
	c.ended = true
}

// askAgain ends a connection whose caller may no longer have it.
func (c *connection) askAgain(ctx context.Context, every time.Duration) {
	beat := time.NewTicker(every)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
		case <-ctx.Done():
			return
		}
		if rest.Again(ctx) != nil {
			c.end(closeUnknown, "the key or token is no longer good: connect again with one that is")
			return
		}
	}
}

// Accept takes the connection over. Its origin was looked at.
func (c *connection) Accept(w http.ResponseWriter, r *http.Request, _ transport.WebsocketAcceptOptions) (transport.WebsocketConn, error) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{subprotocol}, InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn = conn; c.ended { // meanwhile
		conn.CloseNow() //nolint:errcheck // the next read says so
	}
	return c, nil
}

// Subprotocol is what was agreed on.
func (c *connection) Subprotocol() string { return c.conn.Subprotocol() }

// SetReadLimit bounds a client's messages; a larger one closes the connection.
func (c *connection) SetReadLimit(limit int64) { c.conn.SetReadLimit(limit) }

// SetReadDeadline closes the connection at a time, unless another is set before; zero: never.
func (c *connection) SetReadDeadline(at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pulse != nil {
		c.pulse.Stop()
		c.pulse = nil
	}
	if !at.IsZero() && !c.ended {
		c.pulse = time.AfterFunc(time.Until(at), func() { c.conn.CloseNow() }) //nolint:errcheck // it is gone
	}
	return nil
}

// NextReader waits for the client's next message.
func (c *connection) NextReader() (messageType int, r io.Reader, err error) {
	kind, data, err := c.conn.Read(context.Background())
	switch websocket.CloseStatus(err) {
	case websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusNoStatusRcvd:
		return int(kind), nil, transport.ErrWebsocketClosed
	}
	return int(kind), bytes.NewReader(data), err
}

// WriteJSON sends a message. One that the client does not take in time closes the connection.
func (c *connection) WriteJSON(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.wait)
	defer cancel()
	return c.conn.Write(ctx, websocket.MessageText, data)
}

// WriteClose says goodbye.
func (c *connection) WriteClose(code int, message string) error {
	c.end(websocket.StatusCode(code), message)
	return nil
}

// Close is called behind WriteClose, which closes.
func (c *connection) Close() error { return c.SetReadDeadline(time.Time{}) }
