package es

import (
	"errors"
	"fmt"
)

// Every error of the engine is one of three; callers ask errors.Is and nothing else.
var (
	// ErrRejected: the business says no. Answer it; never retry.
	ErrRejected = errors.New("rejected")
	// ErrTransient: the same call may succeed later, unchanged.
	ErrTransient = errors.New("transient")
	// ErrPermanent: code, data or input is wrong; retrying changes nothing. Dead letter or halt.
	ErrPermanent = errors.New("permanent")
)

// Kinds of the three, for those who need to tell them apart.
var (
	// ErrConflict (transient): the stream moved on since the decision was taken.
	ErrConflict = fmt.Errorf("%w: the stream has moved on", ErrTransient)
	// ErrUnknownOutcome (transient): no answer came; the append may or may not have happened. Sending the same
	// command id again is safe and tells.
	ErrUnknownOutcome = fmt.Errorf("%w: no answer came, so the outcome is unknown", ErrTransient)
	// ErrCorrupt (permanent): the log is not whole (a gap in sequence or version).
	ErrCorrupt = fmt.Errorf("%w: the log is not whole", ErrPermanent)
)

// Transient marks err as worth retrying. A nil err stays nil.
func Transient(err error) error { return mark(ErrTransient, err) }

// Permanent marks err as not worth retrying. A nil err stays nil.
func Permanent(err error) error { return mark(ErrPermanent, err) }

func mark(kind, err error) error {
	if err == nil || errors.Is(err, kind) {
		return err
	}
	return fmt.Errorf("%w: %w", kind, err)
}

// Rejection is a business "no" with a stable code. Declare one with Rejected or NotFound, return it as it is or
// made more precise with With and At; errors.Is finds it by its code.
type Rejection struct {
	Code     string // snake_case, never changed: callers switch on it
	Message  string // for people
	Pointer  string // JSON pointer into the command, when one field is to blame
	NotFound bool   // the thing itself does not exist: 404 instead of 409
}

// Rejected declares a rejection.
func Rejected(code, message string) *Rejection { return &Rejection{Code: code, Message: message} }

// NotFound declares the rejection for a thing that does not exist.
func NotFound(code, message string) *Rejection {
	return &Rejection{Code: code, Message: message, NotFound: true}
}

// With returns a copy with a message that names what was found.
func (r *Rejection) With(format string, args ...any) *Rejection {
	c := *r
	c.Message = fmt.Sprintf(format, args...)
	return &c
}

// At returns a copy that blames the field at a JSON pointer, such as /items/0/price.
func (r *Rejection) At(pointer string) *Rejection {
	c := *r
	c.Pointer = pointer
	return &c
}

func (r *Rejection) Error() string { return r.Code + ": " + r.Message }

// Is finds ErrRejected and any Rejection with the same code.
func (r *Rejection) Is(target error) bool {
	if target == ErrRejected {
		return true
	}
	other, ok := target.(*Rejection)
	return ok && other.Code == r.Code
}

// InvalidError is input that no state could accept: malformed, unknown, against the schema. It is permanent.
type InvalidError struct {
	Code    string // bad_id, malformed, unknown_command, unknown_category, schema, too_large, id_reused …
	Message string
	Pointer string  // JSON pointer into the body, "" when the whole is to blame
	Faults  []Fault // all that is to blame, this first; nil when there is no other
}

// Fault is one part of an input that is to blame.
type Fault struct {
	Pointer string `json:"pointer"` // JSON pointer into the body, or /<parameter>
	Message string `json:"message"`
}

func (e *InvalidError) Error() string {
	if e.Pointer != "" {
		return fmt.Sprintf("%s: %s: %s", e.Code, e.Pointer, e.Message)
	}
	return e.Code + ": " + e.Message
}

// Unwrap makes errors.Is(err, ErrPermanent) true.
func (e *InvalidError) Unwrap() error { return ErrPermanent }
