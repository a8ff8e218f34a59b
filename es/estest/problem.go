package estest

import (
	"errors"

	"github.com/millstream-es/millstream/es"
)

// problem is how a door words an error.
func problem(err error) *es.Problem {
	var rejection *es.Rejection
	var invalid *es.InvalidError
	switch {
	case errors.As(err, &rejection):
		status := 409
		if rejection.NotFound {
			status = 404
		}
		return &es.Problem{Code: rejection.Code, Message: rejection.Message, Pointer: rejection.Pointer, Status: status}
	case errors.As(err, &invalid):
		return &es.Problem{Code: invalid.Code, Message: invalid.Message, Pointer: invalid.Pointer, Status: 422}
	}
	return &es.Problem{Code: "failed", Message: err.Error(), Status: 500}
}
