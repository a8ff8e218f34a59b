package graphql

import (
	"context"
	"strconv"

	"github.com/maypok86/otter/v2"
	"github.com/vektah/gqlparser/v2/ast"
)

// keptDocuments bounds the texts of the documents that are kept parsed, in bytes.
const keptDocuments = 8 << 20

// documents are those that were parsed and found valid, so that the same question is read once.
type documents struct {
	cache *otter.Cache[string, *ast.QueryDocument]
}

func newDocuments() documents {
	return documents{otter.Must(&otter.Options[string, *ast.QueryDocument]{
		MaximumWeight: keptDocuments,
		Weigher:       func(text string, _ *ast.QueryDocument) uint32 { return uint32(len(text)) + 1 },
	})}
}

// Get returns a document that was added.
func (d documents) Get(_ context.Context, text string) (*ast.QueryDocument, bool) {
	return d.cache.GetIfPresent(text)
}

// Add is called once a document is valid and before it is used.
func (d documents) Add(_ context.Context, text string, doc *ast.QueryDocument) {
	exactNumbers(doc)
	d.cache.Set(text, doc)
}

// exactNumbers lets every decimal that stands in a document keep its text, which the library would read as a float. So
// does a number that is too large for the library, which would panic: the scalar says what is wrong with it.
func exactNumbers(doc *ast.QueryDocument) {
	for _, o := range doc.Operations {
		for _, v := range o.VariableDefinitions {
			exactValue(v.DefaultValue)
			exactDirectives(v.Directives)
		}
		exactDirectives(o.Directives)
		exactSelections(o.SelectionSet)
	}
	for _, f := range doc.Fragments {
		exactDirectives(f.Directives)
		exactSelections(f.SelectionSet)
	}
}

func exactSelections(set ast.SelectionSet) {
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			exactArguments(s.Arguments)
			exactDirectives(s.Directives)
			exactSelections(s.SelectionSet)
		case *ast.InlineFragment:
			exactDirectives(s.Directives)
			exactSelections(s.SelectionSet)
		case *ast.FragmentSpread:
			exactDirectives(s.Directives)
		}
	}
}

func exactDirectives(list ast.DirectiveList) {
	for _, d := range list {
		exactArguments(d.Arguments)
	}
}

func exactArguments(list ast.ArgumentList) {
	for _, a := range list {
		exactValue(a.Value)
	}
}

func exactValue(v *ast.Value) {
	if v == nil {
		return
	}
	for _, c := range v.Children {
		exactValue(c.Value)
	}
	var err error
	switch v.Kind {
	case ast.IntValue:
		_, err = strconv.ParseInt(v.Raw, 10, 64)
	case ast.FloatValue:
		_, err = strconv.ParseFloat(v.Raw, 64)
	default:
		return
	}
	if err != nil || v.Definition != nil && v.Definition.Name == "Decimal" {
		v.Kind = ast.StringValue
	}
}
