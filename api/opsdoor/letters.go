package opsdoor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/ops"
	"github.com/millstream-es/millstream/es/runtime"
)

func (d *Door) letterMounts() []rest.Mount {
	named := []rest.Mount{
		d.get("deadletters/{id}", access.DeadLettersRead, "One dead letter with headers, body and what was done about it", d.deadLetter, ops.LetterHistory{}),
		d.post("deadletters/{id}/retry", access.DeadLettersOperate, "Hand a message to its consumer again", d.retryLetter, reasoned{}, letterResults{}),
		d.post("deadletters/{id}/resend", access.DeadLettersOperate, "Send a corrected copy of a command as a new one", d.resendLetter, correction{}, letterResults{}),
		d.post("deadletters/{id}/drop", access.DeadLettersForce, "Give a message up, for good and on record", d.dropLetter, sure{}, letterResults{}),
		d.post("deadletters/retry", access.DeadLettersOperate, "Retry many", d.retryLetters, letterOrder{}, letterResults{}),
		d.post("deadletters/drop", access.DeadLettersForce, "Drop many", d.dropLetters, letterOrder{}, letterResults{}),
	}
	for i := range named {
		named[i].Asks = []access.Operation{named[i].Operation} // whose letter it is shows when it is found
	}
	return append(named, on(inQuery("consumer"), d.get("deadletters", access.DeadLettersRead, "Open dead letters: consumer, category, error, state, cursor, limit", d.deadLetters, list[ops.Letter]{}, rest.Param{Name: "consumer", Description: "of one consumer"}, rest.Param{Name: "category", Description: "for aggregates of one category"}, rest.Param{Name: "error", Description: "a part of the error"}, rest.Param{Name: "state", Description: "parked or waiting"}, cursorParam, limitParam))...)
}

func (d *Door) deadLetters(r *http.Request) (int, any, error) {
	value, limit, err := query(r, "consumer", "category", "error", "state", "cursor")
	if err != nil {
		return 0, nil, err
	}
	state := runtime.LetterState(value("state"))
	if !slices.Contains([]runtime.LetterState{"", runtime.Parked, runtime.Waiting}, state) {
		return 0, nil, bad("state %.64q: expected parked or waiting; what was settled is in the audit", state)
	}
	before, err := parseLetterCursor(value("cursor"))
	if err != nil {
		return 0, nil, err
	}
	all, err := d.letters.Select(r.Context(), ops.LetterFilter{Consumer: value("consumer"), Category: value("category"), Error: value("error")})
	if err != nil {
		return 0, nil, err
	}
	all = slices.DeleteFunc(all, func(l ops.Letter) bool { return state != "" && l.State != state })
	total := len(all)
	slices.SortFunc(all, newestFirst)
	if before != nil {
		all = slices.DeleteFunc(all, func(l ops.Letter) bool { return newestFirst(l, *before) <= 0 })
	}
	next := ""
	if len(all) > limit {
		all = all[:limit]
		last := all[limit-1]
		next = fmt.Sprintf("%d.%s", last.FailedAt.UnixNano(), last.ID)
	}
	return 0, listOf(all, next).of(total), nil
}

func newestFirst(a, b ops.Letter) int {
	return cmp.Or(b.FailedAt.Compare(a.FailedAt), cmp.Compare(a.ID, b.ID))
}

// parseLetterCursor returns the last letter of the page before, which may be settled by now.
func parseLetterCursor(text string) (*ops.Letter, error) {
	if text == "" {
		return nil, nil
	}
	at, id, _ := strings.Cut(text, ".")
	nanos, err := strconv.ParseInt(at, 10, 64)
	if err != nil || id == "" {
		return nil, bad("cursor %.64q is none: take the one that the page before names as next", text)
	}
	l := &ops.Letter{}
	l.ID, l.FailedAt = id, time.Unix(0, nanos)
	return l, nil
}

func (d *Door) deadLetter(r *http.Request) (int, any, error) {
	l, err := d.letters.Show(r.Context(), r.PathValue("id"))
	if err == nil {
		err = access.Check(r.Context(), access.DeadLettersRead, l.Consumer)
	}
	if err != nil {
		return 0, nil, err
	}
	return 0, l, nil
}

// find returns the letters that ids name, all of which the caller may do op to.
func (d *Door) find(r *http.Request, op access.Operation, ids ...string) ([]ops.Letter, error) {
	letters, err := d.letters.Find(r.Context(), ids...)
	if err != nil {
		return nil, err
	}
	for _, l := range letters {
		if err := access.Check(r.Context(), op, l.Consumer); err != nil {
			return nil, err
		}
	}
	return letters, nil
}

// letterOrder is the body of what is done about dead letters.
type letterOrder struct {
	IDs     []string `json:"ids"` // of many
	Reason  string   `json:"reason,omitempty"`
	Confirm string   `json:"confirm,omitempty"`
}

// letterResults says what became of each, those that waited behind them included.
type letterResults struct {
	Results []runtime.LetterResult `json:"results"`
	Stopped string                 `json:"stopped,omitempty"` // why the rest was not tried
}

// lettersTime bounds what one request does about many letters; within the server's own limit for an answer.
const lettersTime = 50 * time.Second

// each does something about letters. What went wrong with a single one is the answer's error.
func (d *Door) each(r *http.Request, one bool, do func(context.Context, ops.Act, func(runtime.LetterResult)) error, reason string) (int, any, error) {
	by, err := operator(r)
	if err != nil {
		return 0, nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), lettersTime)
	defer cancel()
	answer := letterResults{Results: []runtime.LetterResult{}}
	err = do(ctx, ops.Act{By: by, Reason: reason}, func(result runtime.LetterResult) { answer.Results = append(answer.Results, result) })
	switch {
	case err != nil && len(answer.Results) == 0:
		return 0, nil, err
	case err != nil:
		answer.Stopped = err.Error()
	case one:
		return 0, answer, failedAgain(answer.Results)
	}
	return 0, answer, nil
}

// failedAgain is why nothing came of what was done about one letter, which stays. That is no fault of this door.
func failedAgain(results []runtime.LetterResult) error {
	if len(results) == 0 || results[0].Error == "" {
		return nil
	}
	reason, _, _ := strings.Cut(results[0].Error, "\n") // a panic's goes on with its stack
	if results[0].Status == http.StatusServiceUnavailable {
		return es.Transient(errors.New(reason))
	}
	return es.Rejected("failed_again", reason)
}

func (d *Door) retryLetter(r *http.Request) (int, any, error) {
	o, err := read[reasoned](r)
	if err != nil {
		return 0, nil, err
	}
	letters, err := d.find(r, access.DeadLettersOperate, r.PathValue("id"))
	if err != nil {
		return 0, nil, err
	}
	return d.each(r, true, d.retrying(letters), o.Reason)
}

func (d *Door) dropLetter(r *http.Request) (int, any, error) {
	o, err := read[sure](r)
	if err != nil {
		return 0, nil, err
	}
	id := r.PathValue("id")
	letters, err := d.find(r, access.DeadLettersForce, id)
	if err == nil {
		err = confirmed("dropping dead letter "+id, id, o.Confirm, o.Reason)
	}
	if err != nil {
		return 0, nil, err
	}
	return d.each(r, true, d.dropping(letters), o.Reason)
}

func (d *Door) retrying(letters []ops.Letter) func(context.Context, ops.Act, func(runtime.LetterResult)) error {
	return func(ctx context.Context, act ops.Act, report func(runtime.LetterResult)) error {
		return d.letters.Retry(ctx, letters, act, report)
	}
}

func (d *Door) dropping(letters []ops.Letter) func(context.Context, ops.Act, func(runtime.LetterResult)) error {
	return func(ctx context.Context, act ops.Act, report func(runtime.LetterResult)) error {
		return d.letters.Drop(ctx, letters, act, report)
	}
}

// correction is the body of a letter that is sent again as it should have been.
type correction struct {
	Reason  string          `json:"reason,omitempty"`
	Stream  string          `json:"stream,omitempty"`  // category/id; "": as it was
	Command string          `json:"command,omitempty"` // "": as it was
	Data    json.RawMessage `json:"data,omitempty"`    // absent: as it was
}

func (d *Door) resendLetter(r *http.Request) (int, any, error) {
	o, err := read[correction](r)
	if err != nil {
		return 0, nil, err
	}
	if o.Stream == "" && o.Command == "" && o.Data == nil {
		return 0, nil, bad("nothing is corrected: give data, stream or command; to send it as it was, retry it")
	}
	if _, err := d.find(r, access.DeadLettersOperate, r.PathValue("id")); err != nil {
		return 0, nil, err
	}
	mended := ops.Correction{Stream: o.Stream, Type: o.Command, Data: o.Data}
	return d.each(r, true, func(ctx context.Context, act ops.Act, report func(runtime.LetterResult)) error {
		return d.letters.Resend(ctx, r.PathValue("id"), mended, act, report)
	}, o.Reason)
}

// many reads which letters op is meant for.
func (d *Door) many(r *http.Request, op access.Operation) (letterOrder, []ops.Letter, error) {
	o, err := read[letterOrder](r)
	if err != nil {
		return o, nil, err
	}
	if len(o.IDs) == 0 || len(o.IDs) > mostLimit {
		return o, nil, bad("ids must name 1 to %d dead letters, not %d", mostLimit, len(o.IDs))
	}
	letters, err := d.find(r, op, o.IDs...)
	return o, letters, err
}

func (d *Door) retryLetters(r *http.Request) (int, any, error) {
	o, letters, err := d.many(r, access.DeadLettersOperate)
	if err != nil {
		return 0, nil, err
	}
	return d.each(r, false, d.retrying(letters), o.Reason)
}

func (d *Door) dropLetters(r *http.Request) (int, any, error) {
	o, letters, err := d.many(r, access.DeadLettersForce)
	if err == nil {
		err = confirmed(fmt.Sprintf("dropping %d dead letters", len(letters)), fmt.Sprintf("drop %d", len(letters)), o.Confirm, o.Reason)
	}
	if err != nil {
		return 0, nil, err
	}
	return d.each(r, false, d.dropping(letters), o.Reason)
}
