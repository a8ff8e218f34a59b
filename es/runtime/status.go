package runtime

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/millstream-es/millstream/es"
)

// Status is the HTTP status, and Nats-Service-Error-Code, of an engine's error.
func Status(err error) int {
	var rejection *es.Rejection
	var invalid *es.InvalidError
	switch {
	case err == nil:
		return http.StatusOK
	case errors.As(err, &rejection):
		if rejection.NotFound {
			return http.StatusNotFound
		}
		return http.StatusConflict
	case errors.As(err, &invalid):
		switch invalid.Code {
		case "denied":
			return http.StatusForbidden
		case "unknown_command", "unknown_category", "unknown_query":
			return http.StatusNotFound
		case "too_large":
			return http.StatusRequestEntityTooLarge
		case "unsupported_media_type":
			return http.StatusUnsupportedMediaType
		case "schema", "id_reused":
			return http.StatusUnprocessableEntity
		}
		return http.StatusBadRequest
	case errors.Is(err, es.ErrConflict):
		return http.StatusConflict
	case errors.Is(err, es.ErrTransient), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// Problem is the body that tells a caller of an error. What is not meant for callers is not shown to them.
func Problem(err error) *es.Problem {
	if err == nil {
		return nil
	}
	p := &es.Problem{Status: Status(err)}
	var moved unexpectedVersionError
	var rejection *es.Rejection
	var invalid *es.InvalidError
	var building *BuildingError
	switch {
	case errors.As(err, &building):
		p.Code, p.Message = "being_built", building.forCallers()
	case errors.As(err, &rejection):
		p.Code, p.Message, p.Pointer = rejection.Code, rejection.Message, rejection.Pointer
	case errors.As(err, &invalid):
		p.Code, p.Message, p.Pointer, p.Errors = invalid.Code, invalid.Message, invalid.Pointer, invalid.Faults
	case errors.As(err, &moved):
		p.Code, p.Message = "conflict", moved.Error()
	case errors.Is(err, es.ErrConflict):
		p.Code, p.Message = "conflict", "too many writers at once on this stream; try again"
	case errors.Is(err, es.ErrUnknownOutcome):
		p.Code, p.Message = "outcome_unknown", "no answer came from the log; send the same command id again to learn the outcome"
	case p.Status == http.StatusServiceUnavailable:
		p.Code, p.Message = "unavailable", "not available at the moment; try again, with the same command id"
	default:
		p.Code, p.Message = "internal", "the engine failed and has logged the reason; nothing was stored"
	}
	return p
}

// outcome is what became of a command that ended in err.
func outcome(err error) es.OutcomeKind {
	var invalid *es.InvalidError
	switch {
	case errors.Is(err, es.ErrRejected):
		return es.RejectedReply
	case errors.As(err, &invalid):
		return es.Invalid
	case errors.Is(err, es.ErrConflict):
		return es.Conflict
	case errors.Is(err, es.ErrUnknownOutcome):
		return es.UnknownOutcome
	}
	return es.Failed
}

// unexpectedVersionError is the conflict of a caller who decided on another version.
type unexpectedVersionError struct{ expected, found uint64 }

func unexpected(expected, found uint64) error { return unexpectedVersionError{expected, found} }

func (v unexpectedVersionError) Error() string {
	return fmt.Sprintf("the stream is at version %d, not %d: read it again and decide anew", v.found, v.expected)
}

func (v unexpectedVersionError) Unwrap() error { return errUnexpected }
