package rest

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
	"github.com/millstream-es/millstream/es/schema"
)

// preferences are what a caller's Prefer header (RFC 7240) asks for; what is not known is ignored.
type preferences struct {
	queued bool           // respond-async, wait or both
	wait   *time.Duration // wait=N: how long the answer is waited for
}

func readPrefer(h http.Header) (p preferences, err error) {
	for preference := range strings.SplitSeq(strings.Join(h.Values("Prefer"), ","), ",") {
		preference, _, _ = strings.Cut(preference, ";") // parameters mean nothing to the two known here
		name, value, _ := strings.Cut(preference, "=")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "respond-async":
			p.queued = true
		case "wait":
			seconds, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 31)
			if err != nil {
				return p, badHeader("header Prefer: wait must be a number of seconds, like wait=5, found %q", clip(strings.TrimSpace(value)))
			}
			if p.wait == nil { // the first one counts: RFC 7240, 2
				wait := time.Duration(seconds) * time.Second
				p.queued, p.wait = true, &wait
			}
		}
	}
	return p, nil
}

// await bounds how long is waited, and says so.
func (p preferences) await(w http.ResponseWriter, most time.Duration) time.Duration {
	applied := "respond-async"
	wait := time.Duration(0)
	if p.wait != nil {
		wait = min(*p.wait, most)
		applied = "wait=" + strconv.FormatFloat(wait.Seconds(), 'f', -1, 64)
	}
	w.Header().Set("Preference-Applied", applied)
	w.Header().Add("Vary", "Prefer")
	return wait
}

// enqueue puts a command into the queue instead of waiting for it, or waits as long as the caller likes.
func (d *Door) enqueue(w http.ResponseWriter, r *http.Request, c *schema.Command, request es.Request, prefers preferences) {
	// What is wrong with the command itself is said now, not to whoever looks for its outcome later.
	if _, _, err := c.DecodeHashed(request.Data); err != nil {
		answerCommand(w, r, runtime.Refusal(request, err), false)
		return
	}
	id, err := d.engine.Enqueue(r.Context(), request)
	request.Meta.CommandID = id
	if err != nil {
		answerCommand(w, r, runtime.Refusal(request, err), false)
		return
	}
	wait := prefers.await(w, d.opts.MaxWait)
	if wait > 0 {
		ctx, cancel := context.WithTimeout(r.Context(), wait)
		defer cancel()
		// What cannot be learnt now is learnt at Location: the command is in the queue.
		if reply, pending, err := d.engine.AwaitOutcome(ctx, request.Meta.Stream, id); err == nil && !pending {
			answerCommand(w, r, reply, request.Expected != nil)
			return
		}
	}
	w.Header().Set("Location", outcomePath(request.Meta.Stream, id))
	writePending(w, request.Meta.Stream, id)
}

func outcomePath(s es.Stream, commandID string) string {
	return "/commands/" + s.Category + "/" + s.ID + "/" + commandID
}

func writePending(w http.ResponseWriter, s es.Stream, commandID string) {
	w.Header().Set("Retry-After", "1")
	w.Header().Set("Cache-Control", "no-store")
	WriteJSON(w, http.StatusAccepted, runtime.NewQueued(s, commandID))
}

// addOutcomes adds GET /commands/{category}/{id}/{commandId}, where a queued command's reply is found.
func (d *Door) addOutcomes() error {
	category := func(r *http.Request) string { return r.PathValue("category") }
	d.register(d.outcomeOperation(), guard{operation: access.OutcomeRead, asks: []access.Operation{access.OutcomeRead}},
		asking(access.OutcomeRead, category, http.HandlerFunc(d.outcome)))
	return nil
}

// outcome answers 202 while the command is pending and then its reply, with 200 whatever that says.
func (d *Door) outcome(w http.ResponseWriter, r *http.Request) {
	stream, id := es.Stream{Category: r.PathValue("category"), ID: r.PathValue("id")}, r.PathValue("commandId")
	prefers, err := readPrefer(r.Header)
	if err == nil {
		err = stream.Validate()
	}
	if err == nil && !es.ValidID(id) {
		err = &es.InvalidError{Code: "bad_id", Message: "the command's id must match [A-Za-z0-9_-]{1,64}", Pointer: "/commandId"}
	}
	if err != nil {
		WriteError(w, r, err)
		return
	}
	look, limit := d.engine.Outcome, d.opts.MaxWait
	if prefers.wait != nil {
		look, limit = d.engine.AwaitOutcome, prefers.await(w, d.opts.MaxWait)
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	reply, pending, err := look(ctx, stream, id)
	switch {
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		WriteError(w, r, es.Transient(err))
	case err != nil:
		WriteError(w, r, err)
	case pending:
		writePending(w, stream, id)
	default:
		setRevision(w, reply.Revision)
		writeAnswer(w, r, "", reply)
	}
}
