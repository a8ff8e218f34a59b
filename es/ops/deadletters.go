package ops

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
)

// DeadLetters is what operators can do about messages that were put aside. Its connection must be the engine's
// account's. Everything done is recorded on `operations.deadletters.<id>`, which nothing deletes.
type DeadLetters struct {
	nc      *nats.Conn
	letters *runtime.Letters
}

// NewDeadLetters needs the streams to be set up.
func NewDeadLetters(nc *nats.Conn) (*DeadLetters, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	return &DeadLetters{nc, runtime.NewLetters(js)}, nil
}

// LetterFilter narrows dead letters down; fields left empty narrow nothing.
type LetterFilter struct {
	Consumer string
	Category string // of the aggregate that the message was for
	Error    string // a part of the error's text, in either case
}

func (f LetterFilter) matches(l runtime.DeadLetter) bool {
	return (f.Category == "" || l.Category() == f.Category) && strings.Contains(strings.ToLower(l.Error), strings.ToLower(f.Error))
}

// Letter is a dead letter with its state.
type Letter struct {
	State runtime.LetterState `json:"state"`
	runtime.DeadLetter
}

// List returns the letters that match, those that failed last first, at most limit of them, and how many match in
// all. They come without headers and bodies; Show has those.
func (d *DeadLetters) List(ctx context.Context, f LetterFilter, limit int) (letters []Letter, total int, err error) {
	err = d.each(ctx, f, func(l Letter) {
		letters = append(letters, l)
		total++
		if len(letters) >= 2*limit {
			letters = append(letters[:0], letters[len(letters)-limit:]...)
		}
	})
	slices.Reverse(letters)
	return letters[:min(limit, len(letters))], total, err
}

// Select returns every letter that matches, in the order in which an operation on many takes them: that of the
// originals, consumer by consumer.
func (d *DeadLetters) Select(ctx context.Context, f LetterFilter) ([]Letter, error) {
	var letters []Letter
	if err := d.each(ctx, f, func(l Letter) { letters = append(letters, l) }); err != nil {
		return nil, err
	}
	slices.SortFunc(letters, func(a, b Letter) int {
		return cmp.Or(cmp.Compare(a.Consumer, b.Consumer), cmp.Compare(a.Sequence, b.Sequence), cmp.Compare(a.Key, b.Key))
	})
	return letters, nil
}

// Find returns the letters with these ids, open or settled. NotFound rejection: there never was one of them.
func (d *DeadLetters) Find(ctx context.Context, ids ...string) ([]Letter, error) {
	var letters []Letter
	for _, id := range ids {
		h, err := d.Show(ctx, id)
		if err != nil {
			return nil, err
		}
		letters = append(letters, h.Letter.bare())
	}
	return letters, nil
}

// bare is the letter without headers and body.
func (l Letter) bare() Letter {
	l.Headers, l.Data, l.Bytes = nil, nil, nil
	return l
}

func (d *DeadLetters) each(ctx context.Context, f LetterFilter, take func(Letter)) error {
	return d.letters.Each(ctx, f.Consumer, func(l runtime.DeadLetter) error {
		if f.matches(l) {
			take(Letter{l.State(), l}.bare())
		}
		return nil
	})
}

// LetterHistory is one letter, with what was done about it. The body of a settled letter is no longer there.
type LetterHistory struct {
	Letter
	Operations []runtime.Operation `json:"operations"`
}

// Show returns a letter, open or settled. NotFound rejection: there never was one with this id.
func (d *DeadLetters) Show(ctx context.Context, id string) (LetterHistory, error) {
	letter, state, done, err := d.letters.Find(ctx, id)
	return LetterHistory{Letter{state, letter}, done}, err
}

// Act says who does something, and why.
type Act struct {
	By     string
	Reason string // required to drop
}

// Retry hands the original of each letter to its consumer again, in a process that runs it. report gets one result a
// letter, those that waited behind it included. Errors: nobody runs the consumer, or no answer came; what went wrong
// with one letter is in its result. Retrying what was settled before does nothing.
func (d *DeadLetters) Retry(ctx context.Context, letters []Letter, act Act, report func(runtime.LetterResult)) error {
	return d.all(ctx, letters, runtime.LetterRequest{Kind: "retry", By: act.By, Reason: act.Reason}, report)
}

// Drop gives letters up; what was done stays on record, the bodies do not. It also works when nobody runs the
// consumer any more; only then is what waited behind a dropped letter left for a later retry.
func (d *DeadLetters) Drop(ctx context.Context, letters []Letter, act Act, report func(runtime.LetterResult)) error {
	// What waits goes before what it waits for: else it would be tried as soon as that is gone.
	letters = slices.Clone(letters)
	slices.Reverse(letters)
	return d.all(ctx, letters, runtime.LetterRequest{Kind: "drop", By: act.By, Reason: act.Reason}, report)
}

// Correction is what a resent command has instead of what it had; fields left empty stay as they were.
type Correction struct {
	Stream string // category/id
	Type   string
	Data   json.RawMessage
}

// Resend executes a corrected copy of a letter's command as a new one, whose causation is the letter's id. It takes
// effect once, however often it is sent. Errors as Retry, and a NotFound rejection for an unknown id.
func (d *DeadLetters) Resend(ctx context.Context, id string, c Correction, act Act, report func(runtime.LetterResult)) error {
	if c.Data != nil && !json.Valid(c.Data) {
		return &es.InvalidError{Code: "malformed", Message: "the corrected body is not JSON"}
	}
	letter, err := d.Show(ctx, id)
	if err != nil {
		return err
	}
	r := runtime.LetterRequest{Kind: "resend", By: act.By, Reason: act.Reason, Stream: c.Stream, Type: c.Type, Data: c.Data}
	return d.all(ctx, []Letter{letter.Letter}, r, report)
}

// all asks for the same about each letter, one after the other.
func (d *DeadLetters) all(ctx context.Context, letters []Letter, r runtime.LetterRequest, report func(runtime.LetterResult)) error {
	done := map[string]bool{}
	for _, l := range letters {
		if done[l.ID] || r.Kind == "retry" && done[l.Behind] {
			continue // tried after what it waited for, or waiting still since that has failed
		}
		request := r
		for request.ID = l.ID; request.ID != ""; {
			reply, err := runtime.ActOnLetter(ctx, d.nc, l.Consumer, request)
			if request.Kind == "drop" && errors.Is(err, nats.ErrNoResponders) {
				reply, err = d.dropUnattended(ctx, l, request)
			}
			if err != nil {
				return fmt.Errorf("%s %s: %w", r.Kind, request.ID, err)
			}
			for _, result := range reply.Results {
				done[result.ID] = true
				report(result)
			}
			request = runtime.LetterRequest{Kind: "retry", ID: reply.Next, By: r.By, Reason: "waited behind " + l.ID}
		}
	}
	return nil
}

// dropUnattended drops a letter whose consumer nobody runs.
func (d *DeadLetters) dropUnattended(ctx context.Context, l Letter, r runtime.LetterRequest) (runtime.LetterReply, error) {
	want := runtime.Operation{Kind: r.Kind, By: r.By, Reason: r.Reason, State: runtime.Dropped}
	state, already, err := d.letters.Settle(ctx, l.ID, want)
	if err != nil {
		return runtime.LetterReply{}, err
	}
	result := runtime.LetterResult{ID: l.ID, Consumer: l.Consumer, Subject: l.Subject, State: state, Already: already}
	return runtime.LetterReply{Results: []runtime.LetterResult{result}}, nil
}
