// Package websocket lets clients outside follow the log as it grows: /ws speaks JSON over a WebSocket, many
// subscriptions on one connection; /events is one subscription as server-sent events.
package websocket

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
)

// Protocol is the WebSocket subprotocol. Its messages never change their meaning.
const Protocol = "millstream.v1"

// The reasons of our own for closing a connection, beside those of RFC 6455.
const (
	CloseUnknown     websocket.StatusCode = 4401 // the key or token that opened it is no longer good
	CloseSlow        websocket.StatusCode = 4008 // the client takes less than happens
	CloseTooFrequent websocket.StatusCode = 4029 // the client sends too much
)

// Engine is what the door needs of *runtime.Engine.
type Engine interface {
	Follow(ctx context.Context, f runtime.Filter, from runtime.FollowFrom) (*runtime.Subscription, error)
}

var _ Engine = (*runtime.Engine)(nil)

// Options change how the door behaves; the zero value works.
type Options struct {
	// TrustedOrigins are the origins of browser pages, as "https://host[:port]", that may connect from elsewhere.
	TrustedOrigins []string
	// MaxClients is how many may be connected at once, by either way; default 10,000.
	MaxClients int
	// Beat is how often a silent connection is asked for a sign of life, and any whether its caller may stay; default
	// 20 s. Three of them without a sign of life end it.
	Beat time.Duration
	// MaxAge is after how long a connection is ended, give or take a quarter, so that its client shows again who it is;
	// default 1 h.
	MaxAge time.Duration
	// Patience is how long a client may take none of what is written to it; default 30 s.
	Patience time.Duration
}

// Door serves followers.
type Door struct {
	engine Engine
	opts   Options
	stop   chan struct{} // closed when the door closes

	mu      sync.Mutex
	clients int
	closed  bool
	empty   chan struct{} // closed when the door is closed and the last client gone
}

// New makes a door. Nothing runs before a client comes.
func New(e Engine, opts Options) *Door {
	opts.MaxClients = cmp.Or(opts.MaxClients, 10_000)
	opts.Beat = cmp.Or(opts.Beat, 20*time.Second)
	opts.MaxAge = cmp.Or(opts.MaxAge, time.Hour)
	opts.Patience = cmp.Or(opts.Patience, 30*time.Second)
	return &Door{engine: e, opts: opts, stop: make(chan struct{}), empty: make(chan struct{})}
}

// tag groups the door's routes in the OpenAPI document.
const tag = "events"

// Mounts are the door's routes.
func (d *Door) Mounts() []rest.Mount {
	return []rest.Mount{
		{Method: http.MethodGet, Pattern: "/ws", Operation: access.EventsFollow, Asks: []access.Operation{access.EventsFollow}, Handler: http.HandlerFunc(d.connect),
			Summary: "Follow events over a WebSocket, subprotocol " + Protocol, Doc: &rest.Doc{Tag: tag,
				Description: "Connect with a WebSocket client; what goes over it is not HTTP.",
				Status:      http.StatusSwitchingProtocols, Errors: []int{400, 401, 403, 426, 429, 503}}},
		{Method: http.MethodGet, Pattern: "/events", Operation: access.EventsFollow, Asks: []access.Operation{access.EventsFollow}, Handler: http.HandlerFunc(d.events),
			Summary: "Follow events as server-sent events: ?stream=, category=, type=, correlation=, after=", Doc: &rest.Doc{Tag: tag,
				Description: "Each message is one commit: its id the revision, its data the events as CloudEvents. Last-Event-ID goes on behind the last one seen.",
				Params: []rest.Param{{Name: "stream", Description: "of one aggregate, as category/id"}, {Name: "category", Description: "of one category"},
					{Name: "type", Description: "of one type; may be repeated"}, {Name: "correlation", Description: "of one story"},
					{Name: "after", Description: "from behind this revision on"}, {Name: "new", Description: "true: only what happens from now on"}},
				Answer: rest.Media("text/event-stream")}},
	}
}

// Close says goodbye to every client, who may come back to another process and miss nothing, and waits until they have
// gone. ctx bounds the wait.
func (d *Door) Close(ctx context.Context) error {
	d.mu.Lock()
	if !d.closed {
		d.closed = true
		close(d.stop)
		if d.clients == 0 {
			close(d.empty)
		}
	}
	d.mu.Unlock()
	select {
	case <-d.empty:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("followers were cut off: %w", ctx.Err())
	}
}

// age is how long one connection may last; not all end at once.
func (d *Door) age() time.Duration { return d.opts.MaxAge*3/4 + rand.N(d.opts.MaxAge/2+1) }

// enter counts a client in. Otherwise it has answered the request.
func (d *Door) enter(w http.ResponseWriter, r *http.Request) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := &es.Problem{Status: http.StatusServiceUnavailable, Code: "unavailable", Message: "this process is stopping: connect again"}
	switch {
	case d.closed:
	case d.clients >= d.opts.MaxClients:
		p.Code, p.Message = "too_many_clients", fmt.Sprintf("%d clients follow already: try again later, or at another process", d.clients)
	default:
		d.clients++
		return true
	}
	rest.WriteProblem(w, r, p)
	return false
}

// follow subscribes for the caller in ctx to what they may follow.
func (d *Door) follow(ctx context.Context, f runtime.Filter, from runtime.FollowFrom) (*runtime.Subscription, error) {
	if err := access.Check(ctx, access.EventsFollow, cmp.Or(f.Stream.Category, f.Category)); err != nil {
		return nil, err
	}
	return d.engine.Follow(ctx, f, from)
}

func (d *Door) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.clients--; d.clients == 0 && d.closed {
		close(d.empty)
	}
}

// connect makes a WebSocket of a request and serves it to its end.
func (d *Door) connect(w http.ResponseWriter, r *http.Request) {
	if p := d.refusal(r); p != nil {
		if p.Status == http.StatusUpgradeRequired {
			w.Header().Set("Upgrade", "websocket")
			w.Header().Set("Connection", "Upgrade")
		}
		rest.WriteProblem(w, r, p)
		return
	}
	if !d.enter(w, r) {
		return
	}
	defer d.leave()
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	c := &conn{door: d, ctx: ctx, cancel: cancel, subscriptions: map[string]context.CancelFunc{}}
	socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{Protocol}, OriginPatterns: d.opts.TrustedOrigins})
	if err != nil {
		return // Accept has answered
	}
	c.socket = socket
	c.serve()
}

// refusal says why a request can be no connection; nil when it can.
func (d *Door) refusal(r *http.Request) *es.Problem {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return &es.Problem{Status: http.StatusUpgradeRequired, Code: "upgrade_required",
			Message: "connect with a WebSocket client, subprotocol " + Protocol + "; /events is the same for plain HTTP"}
	}
	if origin := r.Header.Get("Origin"); origin != "" && !slices.Contains(d.opts.TrustedOrigins, origin) {
		if u, err := url.Parse(origin); err != nil || !strings.EqualFold(u.Host, r.Host) {
			return &es.Problem{Status: http.StatusForbidden, Code: "cross_origin",
				Message: "this request comes from a page of another origin: list that origin as trusted or connect from elsewhere"}
		}
	}
	offered := strings.Join(r.Header.Values("Sec-WebSocket-Protocol"), ",")
	for name := range strings.SplitSeq(offered, ",") {
		if strings.EqualFold(strings.TrimSpace(name), Protocol) {
			return nil
		}
	}
	if offered != "" {
		return &es.Problem{Status: http.StatusBadRequest, Code: "unknown_protocol",
			Message: fmt.Sprintf("subprotocol %.80q is not spoken here: offer %s, or none", offered, Protocol)}
	}
	return nil
}
