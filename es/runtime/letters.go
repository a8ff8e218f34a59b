package runtime

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
)

// LetterState is what became of a dead letter.
type LetterState string

// The states. The last three settle a letter: it leaves DEADLETTERS, and its last operation says so for ever.
const (
	Parked  LetterState = "parked"
	Waiting LetterState = "waiting" // behind a parked one of the same key
	Retried LetterState = "retried"
	Resent  LetterState = "resent"
	Dropped LetterState = "dropped"
)

// Settled reports whether nothing more is to be done about a letter.
func (s LetterState) Settled() bool { return s == Retried || s == Resent || s == Dropped }

// State is that of a letter which is still in DEADLETTERS.
func (l DeadLetter) State() LetterState {
	if l.Behind != "" {
		return Waiting
	}
	return Parked
}

// Operation is one act of an operator on a dead letter, as stored on `operations.deadletters.<letter's id>`. Nothing
// deletes it, so it holds neither the body nor the headers, only the body's SHA-256.
type Operation struct {
	Kind    string      `json:"kind"` // retry, resend or drop
	By      string      `json:"by"`
	At      time.Time   `json:"at"`
	Reason  string      `json:"reason,omitempty"`
	State   LetterState `json:"state"`             // of the letter, after
	Error   string      `json:"error,omitempty"`   // why the letter is still there
	Reply   *es.Reply   `json:"reply,omitempty"`   // of the command, when one was executed
	Command string      `json:"command,omitempty"` // of a resend: "<category>/<id> <type>"
	Letter  DeadLetter  `json:"letter"`
	SHA256  string      `json:"sha256"` // of the letter's body
}

// Letters is the store of dead letters: DEADLETTERS holds what is open, OPERATIONS what was done.
type Letters struct {
	js        jetstream.JetStream
	publisher *natsstore.Publisher
}

// NewLetters needs the streams to be set up.
func NewLetters(js jetstream.JetStream) *Letters {
	return &Letters{js, natsstore.NewPublisher(js.Conn())}
}

// storedLetter is a letter and where it is stored.
type storedLetter struct {
	DeadLetter
	at uint64
}

// Each calls f with every open letter of a consumer ("": of all), in the order in which they last failed.
func (l *Letters) Each(ctx context.Context, consumer string, f func(DeadLetter) error) error {
	if consumer == "" {
		consumer = "*"
	} else if !isToken(consumer) {
		return &es.InvalidError{Code: "bad_consumer", Message: fmt.Sprintf("consumer %q cannot be the name of one", consumer)}
	}
	return l.each(ctx, letterSubject(consumer, "*", "*"), func(s storedLetter) error { return f(s.DeadLetter) })
}

// Find returns a letter, open or settled, its state, and what was done about it, oldest first. A settled one comes
// without headers and body. NotFound rejection: there never was one with this id.
func (l *Letters) Find(ctx context.Context, id string) (letter DeadLetter, state LetterState, done []Operation, err error) {
	open, err := l.find(ctx, "*", id)
	if err != nil {
		return letter, "", nil, err
	}
	if done, err = l.history(ctx, id); err != nil {
		return letter, "", nil, err
	}
	if n := len(done); n > 0 && (open == nil || done[n-1].State.Settled()) {
		return done[n-1].Letter, done[n-1].State, done, nil
	}
	if open == nil {
		return letter, "", nil, noSuchLetter(id)
	}
	return open.DeadLetter, open.State(), done, nil
}

func (l *Letters) history(ctx context.Context, id string) ([]Operation, error) {
	var all []Operation
	err := natsstore.Scan(ctx, l.js, natsstore.OperationsStream, operationSubject(id), func(m *jetstream.RawStreamMsg) error {
		var op Operation
		if err := json.Unmarshal(m.Data, &op); err != nil {
			return es.Permanent(fmt.Errorf("operation at %d: %w", m.Sequence, err))
		}
		all = append(all, op)
		return nil
	})
	return all, err
}

// Settle records an operation that ends a letter and takes the letter away. NotFound rejection: there is no such
// letter; ErrConflict: somebody else did something about it at the same time. already: it was settled before, in the
// state returned.
func (l *Letters) Settle(ctx context.Context, id string, op Operation) (state LetterState, already bool, err error) {
	s, err := l.find(ctx, "*", id)
	if err != nil {
		return "", false, err
	}
	last, at, err := l.last(ctx, id)
	switch {
	case err != nil:
		return "", false, err
	case last.State.Settled():
		return last.State, true, l.remove(ctx, s)
	case s == nil:
		return "", false, noSuchLetter(id)
	}
	return op.State, false, l.settle(ctx, *s, op, at)
}

func noSuchLetter(id string) error {
	return es.NotFound("dead_letter_not_found", "").With("there is no dead letter %q: `deadletters list` shows those that are open", id)
}

func operationSubject(id string) string { return "operations.deadletters." + id }

func checkLetterID(id string) error {
	if !es.ValidID(id) {
		return &es.InvalidError{Code: "bad_id", Message: fmt.Sprintf("%.64q cannot be the id of a dead letter, like ms-0123…", id)}
	}
	return nil
}

func isToken(s string) bool { return s != "" && !strings.ContainsAny(s, ".*> \t\r\n") }

func (l *Letters) each(ctx context.Context, filter string, f func(storedLetter) error) error {
	return natsstore.Scan(ctx, l.js, natsstore.DeadLettersStream, filter, func(m *jetstream.RawStreamMsg) error {
		s, err := decodeLetter(m)
		if err != nil {
			return err
		}
		return f(*s)
	})
}

func decodeLetter(m *jetstream.RawStreamMsg) (*storedLetter, error) {
	s := &storedLetter{at: m.Sequence}
	if err := json.Unmarshal(m.Data, &s.DeadLetter); err != nil {
		return nil, es.Permanent(fmt.Errorf("dead letter at %d of %s is not one (%w): look with `nats stream get %[2]s %[1]d`, and take it away with `nats stream rmm %[2]s %[1]d`", m.Sequence, natsstore.DeadLettersStream, err))
	}
	return s, nil
}

func (l *Letters) find(ctx context.Context, consumer, id string) (*storedLetter, error) {
	if err := checkLetterID(id); err != nil {
		return nil, err
	}
	m, err := natsstore.Newest(ctx, l.js, natsstore.DeadLettersStream, letterSubject(consumer, "*", id))
	if m == nil {
		return nil, err
	}
	return decodeLetter(m)
}

// last returns the newest operation on a letter and its revision; the zero value when there is none.
func (l *Letters) last(ctx context.Context, id string) (op Operation, at es.Revision, err error) {
	m, err := natsstore.Newest(ctx, l.js, natsstore.OperationsStream, operationSubject(id))
	if m == nil {
		return op, 0, err
	}
	if err := json.Unmarshal(m.Data, &op); err != nil {
		return op, 0, es.Permanent(fmt.Errorf("operation at %d of %s: %w", m.Sequence, natsstore.OperationsStream, err))
	}
	return op, es.Revision(m.Sequence), nil
}

// lane returns the open letters of one key in the order of the originals.
func (l *Letters) lane(ctx context.Context, consumer, key string) ([]storedLetter, error) {
	var lane []storedLetter
	err := l.each(ctx, letterSubject(consumer, laneToken(key), "*"), func(s storedLetter) error {
		lane = append(lane, s)
		return nil
	})
	slices.SortFunc(lane, func(a, b storedLetter) int { return cmp.Compare(a.Sequence, b.Sequence) })
	return lane, err
}

// ahead returns the first open letter of the same key whose original is older; "": there is none.
func (l *Letters) ahead(ctx context.Context, of DeadLetter) (string, error) {
	newest, err := natsstore.Newest(ctx, l.js, natsstore.DeadLettersStream, letterSubject(of.Consumer, laneToken(of.Key), "*"))
	if newest == nil {
		return "", err // the usual case, at the price of one look
	}
	lane, err := l.lane(ctx, of.Consumer, of.Key)
	if err != nil || len(lane) == 0 || lane[0].Sequence >= of.Sequence {
		return "", err
	}
	return lane[0].ID, nil
}

// add stores a letter unless it is there already, or was settled before: what comes again after that, since its
// acknowledgement was lost, does not rise from the dead.
func (l *Letters) add(ctx context.Context, letter DeadLetter) (added, settled bool, err error) {
	last, _, err := l.last(ctx, letter.ID)
	if err != nil || last.State.Settled() {
		return false, err == nil, err
	}
	err = l.write(ctx, letter, 0)
	if errors.Is(err, es.ErrConflict) {
		return false, false, nil
	}
	return err == nil, false, err
}

// write stores a letter in the place of the one at sequence at.
func (l *Letters) write(ctx context.Context, letter DeadLetter, at uint64) error {
	return l.append(ctx, letter.subject(), letter, es.Revision(at))
}

func (l *Letters) append(ctx context.Context, subject string, v any, expected es.Revision) error {
	body, err := json.Marshal(v)
	if err != nil {
		return es.Permanent(fmt.Errorf("%s: %w", subject, err))
	}
	_, err = l.publisher.Append(ctx, subject, message.NewMessage(newID(), body), expected)
	return err
}

// record appends an operation after the one at revision after.
func (l *Letters) record(ctx context.Context, letter DeadLetter, op Operation, after es.Revision) error {
	sum := sha256.Sum256(letter.Body())
	op.SHA256 = hex.EncodeToString(sum[:])
	op.Letter = letter
	op.Letter.Headers, op.Letter.Data, op.Letter.Bytes = nil, nil, nil
	op.At = time.Now().UTC()
	return l.append(ctx, operationSubject(letter.ID), op, after)
}

// settle records the end of a letter and takes it away. A crash in between leaves a letter whose last operation says
// that it is settled; whoever meets it next takes it away.
func (l *Letters) settle(ctx context.Context, s storedLetter, op Operation, after es.Revision) error {
	if err := l.record(ctx, s.DeadLetter, op, after); err != nil {
		return err
	}
	return l.remove(ctx, &s)
}

func (l *Letters) remove(ctx context.Context, s *storedLetter) error {
	if s == nil {
		return nil
	}
	stream, err := l.js.Stream(ctx, natsstore.DeadLettersStream)
	if err == nil {
		err = stream.DeleteMsg(ctx, s.at)
	}
	if errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		if _, gone := stream.GetMsg(ctx, s.at); errors.Is(gone, jetstream.ErrMsgNotFound) {
			return nil // somebody else was quicker
		}
	}
	if err != nil {
		return es.Transient(fmt.Errorf("take dead letter %s away: %w", s.ID, err))
	}
	return nil
}

// discard takes a letter away that was stored by mistake, without a record.
func (l *Letters) discard(ctx context.Context, letter DeadLetter) error {
	s, err := l.find(ctx, letter.Consumer, letter.ID)
	if err != nil {
		return err
	}
	return l.remove(ctx, s)
}
