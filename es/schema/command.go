package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/invopop/jsonschema"
	"github.com/millstream-es/millstream/es"
	validation "github.com/santhosh-tekuri/jsonschema/v6"
)

// MaxBody is the largest body of a command, in bytes.
const MaxBody = 1 << 20

// Command is one command of one category, with all that a door needs to offer, check and read it.
type Command struct {
	Category string
	Type     string
	Schema   json.RawMessage // JSON Schema 2020-12 of the body
	Example  json.RawMessage // a body that Decode takes

	def       es.CommandDef
	described *jsonschema.Schema // Schema with its fields in order
	compiled  *validation.Schema
}

func newCommand(category string, def es.CommandDef) (*Command, error) {
	described, err := reflectSchema(def.Go)
	if err != nil {
		return nil, err
	}
	c := &Command{Category: category, Type: def.Type, def: def, described: described}
	if c.Schema, err = json.Marshal(described); err != nil {
		return nil, err
	}
	doc, err := validation.UnmarshalJSON(bytes.NewReader(c.Schema))
	if err != nil {
		return nil, err
	}
	compiler := validation.NewCompiler()
	compiler.DefaultDraft(validation.Draft2020)
	compiler.AssertFormat()
	url := "command:///" + category + "/" + def.Type
	if err := compiler.AddResource(url, doc); err != nil {
		return nil, err
	}
	if c.compiled, err = compiler.Compile(url); err != nil {
		return nil, fmt.Errorf("its jsonschema tags do not make a JSON Schema: %w", err)
	}
	if c.Example, err = example(described); err != nil {
		return nil, err
	}
	if _, err := c.Decode(c.Example); err != nil {
		return nil, fmt.Errorf("its example %s is refused (%w): give the field a jsonschema tag with a fitting example=…", c.Example, err)
	}
	return c, nil
}

// Decode checks a body against the schema and reads it; an empty body stands for {}. It returns an
// *es.InvalidError: too_large, malformed (with the position), or schema with the JSON pointer of the first field, in
// the order of the body, that is to blame.
func (c *Command) Decode(data []byte) (es.Command, error) {
	command, _, err := c.decode(data)
	return command, err
}

// DecodeHashed is Decode with the RequestHash, which spares reading the body twice.
func (c *Command) DecodeHashed(data []byte) (command es.Command, hash string, err error) {
	command, value, err := c.decode(data)
	if err != nil {
		return nil, "", err
	}
	return command, requestHash(c.Type, value), nil
}

// decode also returns the value that the body stands for.
func (c *Command) decode(data []byte) (es.Command, any, error) {
	if len(data) > MaxBody {
		return nil, nil, &es.InvalidError{Code: "too_large", Message: fmt.Sprintf("the body has %d bytes, at most %d are taken", len(data), MaxBody)}
	}
	if len(bytes.TrimSpace(data)) == 0 {
		data = []byte("{}")
	}
	value, err := parse(data)
	if err != nil {
		return nil, nil, err
	}
	if err := c.compiled.Validate(value); err != nil {
		var v *validation.ValidationError
		if !errors.As(err, &v) {
			return nil, nil, es.Permanent(err)
		}
		return nil, nil, c.explain(v, data, value)
	}
	command, err := c.def.Decode(data)
	if err != nil {
		return nil, nil, blame(c.def.Go, value, err)
	}
	return command, value, nil
}
