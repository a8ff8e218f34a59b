package graphql

import (
	"context"
	"math"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es"
)

// What one operation may be.
const (
	maxDepth      = 10   // fields within fields; ofType of an introspection does not count
	maxComplexity = 300  // see cost
	maxAliases    = 30   // each as often as its fragment is spread
	maxTokens     = 4000 // of the document, before it is parsed
	maxFields     = 500  // of the document, before it is validated: which compares each with each
)

// stateCost is what a thing folded from the log costs: a read of its whole history.
const stateCost = 20

// pageUnit is for how many things of a page its fields count once.
const pageUnit = 10

// limits refuses operations that ask for too much, before anything of them is executed.
type limits struct{ valid documents }

// ExtensionName names it to the executor.
func (limits) ExtensionName() string { return "Limits" }

// Validate has nothing to check.
func (limits) Validate(graphql.ExecutableSchema) error { return nil }

// MutateOperationParameters refuses what is too much to validate, and what comes over a WebSocket that may no longer ask.
func (l limits) MutateOperationParameters(ctx context.Context, params *graphql.RawParams) *gqlerror.Error {
	if connectionFrom(ctx) != nil {
		for _, ask := range []func(context.Context) *es.Problem{rest.Again, rest.Count} {
			if p := ask(ctx); p != nil {
				return coded(p.Code, "%s", p.Message)
			}
		}
	}
	if _, valid := l.valid.Get(ctx, params.Query); valid {
		return nil
	}
	fields := 0
	if doc, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: params.Query}, maxTokens); err == nil { // else the executor says so
		for _, o := range doc.Operations {
			fields += count(o.SelectionSet)
		}
		for _, f := range doc.Fragments {
			fields += count(f.SelectionSet)
		}
	}
	if fields > maxFields {
		return coded("too_complex", "the document has %d fields, at most %d are taken: ask in several", fields, maxFields)
	}
	return nil
}

// count counts the fields that stand in a selection.
func count(set ast.SelectionSet) (fields int) {
	for _, selection := range set {
		switch selection := selection.(type) {
		case *ast.Field:
			fields += 1 + count(selection.SelectionSet)
		case *ast.InlineFragment:
			fields += count(selection.SelectionSet)
		}
	}
	return fields
}

// MutateOperationContext refuses, or says whether the schema may be asked for.
func (limits) MutateOperationContext(ctx context.Context, o *graphql.OperationContext) *gqlerror.Error {
	o.DisableIntrospection = access.Check(ctx, access.SchemasRead, "") != nil
	c := (&scale{variables: o.Variables, fragments: map[*ast.FragmentDefinition]cost{}}).weigh(o.Operation.SelectionSet)
	switch {
	case c.depth > maxDepth:
		return coded("too_deep", "the operation is %d fields deep, at most %d are taken: ask in several", c.depth, maxDepth)
	case c.aliases > maxAliases:
		return coded("too_many_aliases", "the operation has %d aliases, at most %d are taken: ask in several", c.aliases, maxAliases)
	case c.complexity > maxComplexity:
		return coded("too_complex", "the operation has complexity %d, at most %d is taken: ask for fewer fields or a smaller first (a field counts 1, a connection with all its fields once for every %d of its first, a state %d)",
			c.complexity, maxComplexity, pageUnit, stateCost)
	}
	return nil
}

// cost is what a selection asks for. Complexity: a field counts 1, a connection with all that is selected of it once for
// every pageUnit things that may come, a state stateCost.
type cost struct{ depth, aliases, complexity int }

func (c *cost) add(more cost) {
	c.depth = max(c.depth, more.depth)
	c.aliases = plus(c.aliases, more.aliases)
	c.complexity = plus(c.complexity, more.complexity)
}

// scale weighs the selections of one operation. Each fragment is weighed once, however often it is spread: spreads of
// spreads would take for ever.
type scale struct {
	variables map[string]any
	fragments map[*ast.FragmentDefinition]cost
}

func (s *scale) weigh(set ast.SelectionSet) cost {
	var sum cost
	for _, selection := range set {
		switch selection := selection.(type) {
		case *ast.Field:
			sum.add(s.field(selection))
		case *ast.InlineFragment:
			sum.add(s.weigh(selection.SelectionSet))
		case *ast.FragmentSpread:
			c, known := s.fragments[selection.Definition]
			if !known {
				c = s.weigh(selection.Definition.SelectionSet)
				s.fragments[selection.Definition] = c
			}
			sum.add(c)
		}
	}
	return sum
}

func (s *scale) field(f *ast.Field) cost {
	c := s.weigh(f.SelectionSet)
	if f.Name != "ofType" {
		c.depth++
	}
	if f.Alias != f.Name {
		c.aliases = plus(c.aliases, 1)
	}
	own, units := 1, 1
	switch name := f.Definition.Type.Name(); {
	case strings.HasSuffix(name, "Connection"):
		units = s.units(f)
	case name == "AggregateState":
		own = stateCost
	}
	c.complexity = times(plus(c.complexity, own), units)
	return c
}

// units is how often a connection's fields count.
func (s *scale) units(f *ast.Field) int {
	first, err := graphql.UnmarshalInt(f.ArgumentMap(s.variables)["first"])
	if err != nil || first < 1 || first > maxFirst {
		first = maxFirst // what is more, or none, is refused when it is asked for
	}
	return (first + pageUnit - 1) / pageUnit
}

// plus and times do not overflow. Their operands are not negative.
func plus(a, b int) int {
	if a > math.MaxInt-b {
		return math.MaxInt
	}
	return a + b
}

func times(a, b int) int {
	if b > 0 && a > math.MaxInt/b {
		return math.MaxInt
	}
	return a * b
}
