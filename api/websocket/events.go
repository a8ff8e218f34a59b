package websocket

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
)

// parameters are those of /events.
var parameters = []string{"stream", "category", "type", "correlation", "after", "new"}

// events serves one subscription as server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html): a message is one commit, its id the revision, so that
// a browser that comes back with Last-Event-ID misses nothing and gets nothing twice.
func (d *Door) events(w http.ResponseWriter, r *http.Request) {
	filter, from, err := asked(r)
	if err != nil {
		rest.WriteError(w, r, err)
		return
	}
	if !d.enter(w, r) {
		return
	}
	defer d.leave()
	s, err := d.follow(r.Context(), filter, from)
	if err != nil {
		rest.WriteError(w, r, err)
		return
	}
	defer s.Close()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold events back
	if r.Method == http.MethodHead {
		return
	}
	out := &stream{ResponseController: http.NewResponseController(w), w: w, patience: d.opts.Patience}
	// The server's time limits are for requests that end. Without the one for reading it would take the end of that
	// time for the client's.
	if err := out.SetReadDeadline(time.Time{}); err != nil {
		panic(err) // the server's connection can always do so
	}
	if out.send("retry: 2000\n\n") == nil {
		d.stream(out, r, s)
	}
}

// stream writes until the subscription, the client or the door ends.
func (d *Door) stream(out *stream, r *http.Request, s *runtime.Subscription) {
	beat, again, old := time.NewTicker(d.opts.Beat), time.NewTicker(d.opts.Beat), time.NewTimer(d.age())
	defer beat.Stop()
	defer again.Stop()
	defer old.Stop()
	for {
		var err error
		select {
		case n, open := <-s.C():
			if !open {
				out.end(s.Err())
				return
			}
			beat.Reset(d.opts.Beat)
			err = out.notice(n)
		case <-beat.C:
			err = out.send(": still here\n\n")
		case <-again.C:
			if p := rest.Again(r.Context()); p != nil {
				out.end(&es.InvalidError{Code: p.Code, Message: p.Message})
				return
			}
		case <-old.C:
			return // the client comes back, and is asked again who it is
		case <-d.stop:
			return
		case <-r.Context().Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// stream writes server-sent events.
type stream struct {
	*http.ResponseController
	w        http.ResponseWriter
	patience time.Duration
}

// send writes and flushes; a client that takes nothing for too long is gone.
func (s *stream) send(text string) error {
	if err := s.SetWriteDeadline(time.Now().Add(s.patience)); err != nil {
		return err
	}
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.Flush()
}

func (s *stream) notice(n runtime.Notice) error {
	if n.Live {
		return s.send(fmt.Sprintf("event: live\nid: %d\ndata: {\"revision\":%[1]d}\n\n", n.Revision))
	}
	b, err := appendEvents(fmt.Appendf(nil, "id: %d\ndata: {", n.Revision), n)
	if err != nil {
		return err
	}
	return s.send(string(append(b, "}\n\n"...)))
}

// end says why nothing more comes. What will not be better soon is not to be tried again at once.
func (s *stream) end(why error) {
	if why == nil || runtime.Status(why) == http.StatusServiceUnavailable && !errors.Is(why, runtime.ErrSlow) {
		return
	}
	a := failed("", "", why)
	retry := ""
	if errors.Is(why, runtime.ErrSlow) {
		a.Code, a.Message = "slow", "the client takes less than happens: what it has not seen comes when it is back"
	} else {
		retry = "retry: 60000\n"
	}
	s.send(fmt.Sprintf("%sevent: ended\ndata: %s\n\n", retry, a.encode())) //nolint:errcheck // the client may be gone
}

// asked reads what a request wants. Errors are *es.InvalidError.
func asked(r *http.Request) (f runtime.Filter, from runtime.FollowFrom, err error) {
	bad := func(code, pointer, format string, args ...any) error {
		return &es.InvalidError{Code: code, Message: fmt.Sprintf(format, args...), Pointer: pointer}
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return f, from, bad("malformed", "", "the query cannot be read: %v", err)
	}
	for name, values := range query {
		switch {
		case name == "type":
			f.Types = values
			continue
		case len(values) > 1:
			return f, from, bad("malformed", "/"+pointerToken(name), "parameter %.64s stands %d times; only type may", name, len(values))
		}
		switch value := values[0]; name {
		case "stream":
			f.Stream, err = es.ParseStream(value)
		case "category":
			f.Category = value
		case "correlation":
			f.Correlation = value
		case "after":
			from.After, err = revision("after", value)
		case "new":
			if from.New, err = strconv.ParseBool(value); err != nil {
				err = bad("malformed", "/new", "new must be true or false, found %.64q", value)
			}
		default:
			err = bad("unknown_parameter", "/"+pointerToken(name), "%s", unknown("parameter", name, parameters))
		}
		if err != nil {
			return f, from, err
		}
	}
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		from.New = false
		from.After, err = revision("header Last-Event-ID", last)
	}
	return f, from, err
}

func revision(name, text string) (es.Revision, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, &es.InvalidError{Code: "malformed", Message: fmt.Sprintf("%s must be a revision, a whole number from 0; found %.64q", name, text)}
	}
	return es.Revision(n), nil
}
