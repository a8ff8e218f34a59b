// Package access says who is calling and what they may do: roles, one table of operations, and the ways in which a
// caller proves who they are. Every door asks Check before it acts.
package access

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/millstream-es/millstream/es"
)

// Role is what a principal may do at most. Each may do all that the one before may.
type Role string

// The roles.
const (
	Viewer   Role = "viewer"   // reads
	Operator Role = "operator" // sends commands, mends what is broken without losing anything
	Admin    Role = "admin"    // discards, overrides, hands out keys
)

// Roles are all of them, the least first.
var Roles = []Role{Viewer, Operator, Admin}

// ParseRole reads a role's name.
func ParseRole(text string) (Role, error) {
	if r := Role(text); slices.Contains(Roles, r) {
		return r, nil
	}
	return "", fmt.Errorf("role %.40q is none: choose viewer, operator or admin", text)
}

// Includes reports whether r may do what needs the other.
func (r Role) Includes(other Role) bool {
	need := slices.Index(Roles, other)
	return need >= 0 && slices.Index(Roles, r) >= need
}

// Operation is something that a door does for a caller. Scopes name it: never change one.
type Operation string

// The operations.
const (
	Public             Operation = "public" // asks for nobody: health, documents, the console's own files
	QueryAsk           Operation = "query.ask"
	AggregateRead      Operation = "aggregate.read" // states, history, trace, why
	EventsFollow       Operation = "events.follow"  // WebSocket, server-sent events, subscriptions
	CommandSend        Operation = "command.send"
	CommandInternal    Operation = "command.internal" // those that sagas send to their own aggregates
	OutcomeRead        Operation = "outcome.read"
	ProjectionsRead    Operation = "projections.read"
	ProjectionsOperate Operation = "projections.operate" // pause, resume, rebuild, verify
	ProjectionsForce   Operation = "projections.force"   // skip, rollback
	SagasRead          Operation = "sagas.read"
	SagasOperate       Operation = "sagas.operate" // retry
	SagasForce         Operation = "sagas.force"   // cancel
	DeadLettersRead    Operation = "deadletters.read"
	DeadLettersOperate Operation = "deadletters.operate" // retry, resend
	DeadLettersForce   Operation = "deadletters.force"   // drop
	SnapshotsRead      Operation = "snapshots.read"
	SnapshotsForce     Operation = "snapshots.force"
	AuditRead          Operation = "audit.read"
	MetricsRead        Operation = "metrics.read"
	SchemasRead        Operation = "schemas.read"
	KeysManage         Operation = "keys.manage"
)

// Rules gives each operation its least role. What is not in it is allowed to nobody, but for Public.
var Rules = map[Operation]Role{
	QueryAsk:           Viewer,
	AggregateRead:      Viewer,
	EventsFollow:       Viewer,
	CommandSend:        Operator,
	CommandInternal:    Admin,
	OutcomeRead:        Operator,
	ProjectionsRead:    Viewer,
	ProjectionsOperate: Operator,
	ProjectionsForce:   Admin,
	SagasRead:          Viewer,
	SagasOperate:       Operator,
	SagasForce:         Admin,
	DeadLettersRead:    Operator, // payloads
	DeadLettersOperate: Operator,
	DeadLettersForce:   Admin,
	SnapshotsRead:      Viewer,
	SnapshotsForce:     Admin,
	AuditRead:          Operator,
	MetricsRead:        Viewer,
	SchemasRead:        Viewer,
	KeysManage:         Admin,
}

// Targets says what an operation's targets are; one that is not in it has none. What concerns all of them at once, such as
// a list that is not narrowed down, has the target "".
var Targets = map[Operation]string{
	QueryAsk:           "query",
	AggregateRead:      "category",
	EventsFollow:       "category",
	CommandSend:        "category",
	CommandInternal:    "category",
	OutcomeRead:        "category",
	ProjectionsRead:    "projection",
	ProjectionsOperate: "projection",
	ProjectionsForce:   "projection",
	SagasRead:          "saga",
	SagasOperate:       "saga",
	SagasForce:         "saga",
	DeadLettersRead:    "consumer",
	DeadLettersOperate: "consumer",
	DeadLettersForce:   "consumer",
	SnapshotsRead:      "category",
	SnapshotsForce:     "category",
}

// Principal is an authenticated caller.
type Principal struct {
	Name string `json:"name"` // the user of their events and operator actions
	Role Role   `json:"role"`
	// Scopes narrow what the role allows: an operation ("query.ask"), one on a target ("command.send:order") or
	// "*". None: all that the role allows.
	Scopes []string `json:"scopes,omitempty"`
	Method string   `json:"method"` // how they proved it: dev, jwt, key or nats
}

// Route is one route of an HTTP door and the operation that it asks for.
type Route struct {
	Method, Path string
	Operation    Operation
}

// Authenticator finds out who sends a request. ErrNoCredentials: the request carries none of the kind it knows;
// *UnauthenticatedError: it carries some that are not good.
type Authenticator interface {
	Authenticate(r *http.Request) (Principal, error)
}

type principalKey struct{}

// With returns a context that carries the caller.
func With(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// From returns the caller; false: nobody is authenticated.
func From(ctx context.Context) (Principal, bool) {
	p, ok := ctx.Value(principalKey{}).(Principal)
	return p, ok
}

// Check asks whether the caller in ctx may do op on target ("": it has none). Errors: *UnauthenticatedError (401),
// *DeniedError (403).
func Check(ctx context.Context, op Operation, target string) error {
	if op == Public {
		return nil
	}
	p, ok := From(ctx)
	if !ok {
		return &UnauthenticatedError{Reason: "this needs a caller who is known"}
	}
	return p.Check(op, target)
}

// CheckAny asks whether the caller in ctx may do at least one of ops to something. It is for a door that learns what a
// request is about only on the way, and then asks Check. Errors: those of Check.
func CheckAny(ctx context.Context, ops ...Operation) error {
	p, ok := From(ctx)
	if !ok {
		return Check(ctx, ops[0], "")
	}
	if slices.ContainsFunc(ops, p.mayAny) {
		return nil
	}
	return p.Check(ops[0], "")
}

// mayAny reports whether the principal may do op to something.
func (p Principal) mayAny(op Operation) bool {
	if p.Check(op, "") == nil {
		return true
	}
	return slices.ContainsFunc(p.Scopes, func(scope string) bool {
		of, target, targeted := strings.Cut(scope, ":")
		return targeted && of == string(op) && p.Check(op, target) == nil
	})
}

// Check asks whether the principal may do op on target. Error: *DeniedError.
func (p Principal) Check(op Operation, target string) error {
	if op == Public {
		return nil
	}
	need, ruled := Rules[op]
	if ruled && p.Role.Includes(need) && p.within(op, target) {
		return nil
	}
	return &DeniedError{Principal: p, Operation: op, Target: target, Need: need}
}

func (p Principal) within(op Operation, target string) bool {
	if len(p.Scopes) == 0 {
		return true
	}
	return slices.ContainsFunc(p.Scopes, func(scope string) bool {
		return scope == "*" || scope == string(op) || target != "" && scope == string(op)+":"+target
	})
}

// CheckScope says why a scope allows nothing; nil when it may.
func CheckScope(scope string) error {
	op, target, targeted := strings.Cut(scope, ":")
	_, ruled := Rules[Operation(op)]
	switch {
	case ruled && targeted && Targets[Operation(op)] == "":
		return fmt.Errorf("scope %.80q names a target, and %s has none: write %[2]s", scope, op)
	case scope == "*" || ruled && (!targeted || es.ValidID(target)):
		return nil
	}
	return fmt.Errorf("scope %.80q is none: write an operation (query.ask), one on a target (command.send:order) or *", scope)
}
