package access_test

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/millstream-es/millstream/api/access"
)

// may is what each role may do that the one before may not, written out a second time so that a slip in the table
// shows.
var may = []struct {
	role access.Role
	ops  string
}{
	{access.Viewer, "query.ask aggregate.read events.follow projections.read sagas.read snapshots.read metrics.read schemas.read"},
	{access.Operator, "command.send outcome.read projections.operate sagas.operate deadletters.read deadletters.operate audit.read"},
	{access.Admin, "command.internal projections.force sagas.force deadletters.force snapshots.force keys.manage"},
}

func TestRoleByOperation(t *testing.T) {
	t.Parallel()
	seen := 0
	for least, m := range may {
		for op := range strings.FieldsSeq(m.ops) {
			seen++
			for i, role := range access.Roles {
				ctx := access.With(t.Context(), access.Principal{Name: "p", Role: role})
				err := access.Check(ctx, access.Operation(op), "")
				var denied *access.DeniedError
				switch {
				case i >= least && err != nil:
					t.Errorf("%s as %s: %v", op, role, err)
				case i < least && !errors.As(err, &denied):
					t.Errorf("%s as %s: expected a denial, found %v", op, role, err)
				case i < least && (!strings.Contains(err.Error(), "needs role "+string(m.role)) || !strings.Contains(err.Error(), "has role "+string(role))):
					t.Errorf("%s as %s does not say which role is needed and which is there: %v", op, role, err)
				}
			}
			var unknown *access.UnauthenticatedError
			if err := access.Check(t.Context(), access.Operation(op), ""); !errors.As(err, &unknown) || unknown.Problem().Status != http.StatusUnauthorized {
				t.Errorf("%s of nobody: %v", op, err)
			}
			for _, role := range []access.Role{"", "root"} {
				if err := (access.Principal{Role: role}).Check(access.Operation(op), ""); err == nil {
					t.Errorf("%s as %q is allowed", op, role)
				}
			}
		}
	}
	if seen != len(access.Rules) {
		t.Errorf("%d operations are tested, %d have a rule", seen, len(access.Rules))
	}
}

func TestEveryOperationHasARule(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "access.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if kind, named := typeOf(spec, ok); named && kind == "Operation" {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Error(err)
			}
			if op := access.Operation(text); op != access.Public && access.Rules[op] == "" {
				t.Errorf("operation %s has no rule", op)
			}
			n++
		}
		return true
	})
	if n != len(access.Rules)+1 {
		t.Errorf("found %d operations, and %d rules beside public", n, len(access.Rules))
	}
	if err := (access.Principal{Role: access.Admin}).Check("coffee.make", ""); err == nil {
		t.Error("an operation without a rule is allowed")
	}
	if err := access.Check(t.Context(), access.Public, ""); err != nil {
		t.Error(err)
	}
}

func typeOf(spec *ast.ValueSpec, ok bool) (string, bool) {
	if !ok {
		return "", false
	}
	name, ok := spec.Type.(*ast.Ident)
	if !ok {
		return "", false
	}
	return name.Name, true
}

func TestScopesNarrow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		scopes string
		op     access.Operation
		target string
		ok     bool
	}{
		{"", access.CommandSend, "order", true},
		{"*", access.CommandSend, "order", true},
		{"command.send", access.CommandSend, "order", true},
		{"command.send:order", access.CommandSend, "order", true},
		{"command.send:order", access.CommandSend, "stock", false},
		{"command.send:order", access.CommandSend, "", false},
		{"command.send:order", access.CommandSend, "orders", false},
		{"command.send:order query.ask", access.QueryAsk, "orders", true},
		{"query.ask:orders query.ask:stock", access.QueryAsk, "stock", true},
		{"query.ask", access.CommandSend, "order", false},
		{"keys.manage", access.KeysManage, "", false}, // widens nothing: the role is operator
	} {
		p := access.Principal{Name: "ci", Role: access.Operator, Scopes: strings.Fields(c.scopes)}
		if err := p.Check(c.op, c.target); (err == nil) != c.ok {
			t.Errorf("scopes %q, %s of %q: %v", c.scopes, c.op, c.target, err)
		}
	}
	for scope, ok := range map[string]bool{
		"*": true, "query.ask": true, "command.send:order": true, "sagas.force:fulfilment": true, "deadletters.read:saga-fulfilment": true,
		"": false, "order": false, "public": false, "command.*": false, "command.send:": false, "command.send:a b": false, "*:order": false, "metrics.read:x": false, "audit.read:order": false,
	} {
		if err := access.CheckScope(scope); (err == nil) != ok {
			t.Errorf("scope %q: %v", scope, err)
		}
	}
}

func TestParseRole(t *testing.T) {
	t.Parallel()
	for _, r := range access.Roles {
		if got, err := access.ParseRole(string(r)); err != nil || got != r {
			t.Errorf("%s: %v", r, err)
		}
	}
	if !slices.IsSortedFunc(access.Roles, func(a, b access.Role) int {
		if b.Includes(a) {
			return -1
		}
		return 1
	}) {
		t.Error("roles are not in order")
	}
	for _, bad := range []string{"", "Admin", "root"} {
		if _, err := access.ParseRole(bad); err == nil {
			t.Errorf("%q is a role", bad)
		}
	}
}
