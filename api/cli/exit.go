package cli

import (
	"errors"
	"net/http"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/es"
)

// The exit codes. They are part of the interface: scripts switch on them.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2 // flags, arguments, configuration, or a command's body against its schema
	exitNotFound    = 3
	exitConflict    = 4 // the expected version is not the stream's
	exitRejected    = 5 // the business said no
	exitUnknown     = 6 // no answer came: it may have happened or not
	exitUnavailable = 7 // no server, nobody answers, a port or a data directory is taken
	exitNotAllowed  = 8
)

const description = `Event sourcing and CQRS on NATS JetStream: one binary, from a laptop to a cluster.

Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 conflict, 5 rejected, 6 outcome unknown,
7 unavailable, 8 not allowed. Data goes to standard output, everything else to standard error.`

// codedError carries its exit code.
type codedError struct {
	code int
	err  error
}

func (e codedError) Error() string { return e.err.Error() }
func (e codedError) Unwrap() error { return e.err }

type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// silentError is an exit code whose reason has been printed.
type silentError int

func (e silentError) Error() string { return "failed" }

func exitCode(err error) int {
	var (
		coded   codedError
		silent  silentError
		usage   usageError
		no      *es.Rejection
		invalid *es.InvalidError
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &silent):
		return int(silent)
	case errors.As(err, &coded):
		return coded.code
	case errors.As(err, &invalid) && invalid.Code == access.CodeDenied:
		return exitNotAllowed
	case errors.As(err, &usage), errors.As(err, &invalid):
		return exitUsage
	case errors.As(err, &no) && no.NotFound:
		return exitNotFound
	case errors.Is(err, es.ErrRejected):
		return exitRejected
	case errors.Is(err, es.ErrConflict):
		return exitConflict
	case errors.Is(err, es.ErrUnknownOutcome):
		return exitUnknown
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrPermissionViolation), errors.Is(err, nats.ErrAuthExpired):
		return exitNotAllowed
	case errors.Is(err, es.ErrTransient), errors.Is(err, nats.ErrNoServers), errors.Is(err, nats.ErrNoResponders), errors.Is(err, nats.ErrTimeout):
		return exitUnavailable
	default:
		return exitFailure
	}
}

// replyCode is the exit code of a command's reply.
func replyCode(r es.Reply) int {
	status := 0
	if r.Error != nil {
		status = r.Error.Status
	}
	switch r.Outcome {
	case es.Accepted, es.Unchanged:
		return exitOK
	case es.Conflict:
		return exitConflict
	case es.UnknownOutcome:
		return exitUnknown
	case es.RejectedReply, es.Invalid:
		if status == http.StatusNotFound {
			return exitNotFound
		}
		if status == http.StatusForbidden {
			return exitNotAllowed
		}
		if r.Outcome == es.Invalid {
			return exitUsage
		}
		return exitRejected
	default:
		if status == http.StatusServiceUnavailable {
			return exitUnavailable
		}
		return exitFailure
	}
}
