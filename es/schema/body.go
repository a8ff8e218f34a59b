package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/invopop/jsonschema"
	"github.com/millstream-es/millstream/es"
	validation "github.com/santhosh-tekuri/jsonschema/v6"
)

// MaxBody is the largest body of a command or a query, in bytes.
const MaxBody = 1 << 20

// Body is what a JSON body must be to be read into a Go type.
type Body struct {
	Schema json.RawMessage // JSON Schema 2020-12

	goType    reflect.Type
	described *jsonschema.Schema // Schema with its fields in order
	compiled  *validation.Schema
	quick     *prover // tried before compiled
}

func newBody(url string, t reflect.Type) (Body, error) {
	described, err := reflectSchema(t)
	if err != nil {
		return Body{}, err
	}
	b := Body{goType: t, described: described}
	if b.Schema, err = json.Marshal(described); err != nil {
		return Body{}, err
	}
	doc, err := validation.UnmarshalJSON(bytes.NewReader(b.Schema))
	if err != nil {
		return Body{}, err
	}
	compiler := validation.NewCompiler()
	compiler.DefaultDraft(validation.Draft2020)
	compiler.AssertFormat()
	if err := compiler.AddResource(url, doc); err != nil {
		return Body{}, err
	}
	if b.compiled, err = compiler.Compile(url); err != nil {
		return Body{}, fmt.Errorf("its jsonschema tags do not make a JSON Schema: %w", err)
	}
	b.quick = newProver(b.compiled)
	return b, nil
}

// check returns the value that a body stands for, and the body itself: an empty one stands for {}. It returns an
// *es.InvalidError: too_large, malformed (with the position), or schema with the JSON pointers of the fields that are
// to blame, in the order of the body.
func (b *Body) check(data []byte) (value any, body []byte, err error) {
	if len(data) > MaxBody {
		return nil, nil, &es.InvalidError{Code: "too_large", Message: fmt.Sprintf("the body has %d bytes, at most %d are taken", len(data), MaxBody)}
	}
	if len(bytes.TrimSpace(data)) == 0 {
		data = []byte("{}")
	}
	if value, err = parse(data); err != nil {
		return nil, nil, err
	}
	if !b.quick.proves(value) {
		err = b.judge(data, value)
	}
	return value, data, err
}

// judge has the validation library say whether a value fits, and what does not.
func (b *Body) judge(data []byte, value any) error {
	err := b.compiled.Validate(value)
	if err == nil {
		return nil
	}
	var v *validation.ValidationError
	if !errors.As(err, &v) {
		return es.Permanent(err)
	}
	return b.explain(v, data, value)
}
