package schema

import (
	"encoding/json"
	"fmt"

	"github.com/millstream-es/millstream/es"
)

// Command is one command of one category, with all that a door needs to offer, check and read it.
type Command struct {
	Body
	Category string
	Type     string
	Internal bool            // see es.CommandDef
	Example  json.RawMessage // a body that Decode takes

	def es.CommandDef
}

func newCommand(category string, def es.CommandDef) (*Command, error) {
	body, err := newBody("command:///"+category+"/"+def.Type, def.Go)
	if err != nil {
		return nil, err
	}
	c := &Command{Body: body, Category: category, Type: def.Type, Internal: def.Internal, def: def}
	if c.Example, err = example(c.described); err != nil {
		return nil, err
	}
	if _, err := c.Decode(c.Example); err != nil {
		return nil, fmt.Errorf("its example %s is refused (%w): give the field a jsonschema tag with a fitting example=…", c.Example, err)
	}
	return c, nil
}

// Decode checks a body against the schema and reads it; an empty body stands for {}. It returns an
// *es.InvalidError: too_large, malformed (with the position), or schema with the JSON pointers of the fields that are
// to blame, in the order of the body.
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
	value, body, err := c.check(data)
	if err != nil {
		return nil, nil, err
	}
	command, err := c.def.Decode(body)
	if err != nil {
		return nil, nil, blame(c.goType, value, err)
	}
	return command, value, nil
}
