package graphql

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/runtime"
)

// refusal is an error as its caller may see it.
type refusal struct {
	problem *es.Problem
	reply   *es.Reply // of a command that the machinery failed
}

func (r *refusal) Error() string { return r.problem.Message }

// refuse makes a refusal of whatever a resolver met. The details of a fault go to the log, not to the caller.
func (d *Door) refuse(ctx context.Context, err error) error {
	var known interface{ Problem() *es.Problem } // of access
	if errors.As(err, &known) {
		return &refusal{problem: known.Problem()}
	}
	p := runtime.Problem(err)
	if p.Status == http.StatusInternalServerError {
		id, _ := rest.Trace(ctx)
		d.opts.Logger.ErrorContext(ctx, "GraphQL field failed", "path", graphql.GetPath(ctx).String(), "trace", id, "error", err)
	}
	return &refusal{problem: p}
}

// late says why a question was not answered in time.
func (d *Door) late(least es.Revision) error {
	p := &es.Problem{Status: http.StatusServiceUnavailable, Code: "unavailable",
		Message: fmt.Sprintf("there was no answer within %s: ask for less, or again", d.opts.MaxWait)}
	if least > 0 {
		p.Code = "revision_not_reached"
		p.Message = fmt.Sprintf("the read model did not reach revision %d within %s: ask again", least, d.opts.MaxWait)
	}
	return &refusal{problem: p}
}

// present writes an error of the answer: its code, and what else tells a program what to do, stand in its extensions.
func (d *Door) present(ctx context.Context, err error) *gqlerror.Error {
	answer := &gqlerror.Error{Message: err.Error(), Path: graphql.GetPath(ctx), Extensions: map[string]any{"code": "schema"}}
	given, ok := errors.AsType[*gqlerror.Error](err)
	if ok {
		answer.Message, answer.Locations = given.Message, given.Locations
		if given.Path != nil {
			answer.Path = given.Path
		}
		switch code := given.Extensions["code"]; code {
		case nil, errcode.ValidationFailed:
		case errcode.ParseFailed:
			answer.Extensions["code"] = "malformed"
		default:
			answer.Extensions["code"] = code
		}
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		answer.Message = r.problem.Message
		answer.Extensions["code"] = r.problem.Code
		if r.problem.Pointer != "" {
			answer.Extensions["pointer"] = r.problem.Pointer
		}
		if r.problem.Errors != nil {
			answer.Extensions["errors"] = r.problem.Errors
		}
		if r.reply != nil {
			answer.Extensions["reply"] = r.reply
		}
	}
	if id, _ := rest.Trace(ctx); id != "" {
		answer.Extensions["traceId"] = id
	}
	return answer
}

// coded is an error of the request itself, before anything was executed.
func coded(code, format string, args ...any) *gqlerror.Error {
	return &gqlerror.Error{Message: fmt.Sprintf(format, args...), Extensions: map[string]any{"code": code}}
}
