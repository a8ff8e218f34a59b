package runtime

import (
	"errors"
	"fmt"
	"strings"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/schema"
)

// authorize asks whether the user of a call may send its command.
func (e *Engine) authorize(r *es.Request) error {
	command, err := e.schemas.Command(r.Meta.Stream.Category, r.Type)
	if err != nil {
		return err
	}
	r.Internal = command.Internal
	if e.cfg.Authorize == nil {
		return nil
	}
	operation := "command.send"
	if command.Internal {
		operation = "command.internal"
	}
	return e.cfg.Authorize(r.Meta.User, operation, command.Category)
}

// internalCommand refuses a command that nobody vouched for.
func internalCommand(c *schema.Command) error {
	return &es.InvalidError{Code: "denied", Message: fmt.Sprintf("%s is sent by sagas and gateways: a caller needs role admin, and cannot queue it", c.Type)}
}

// CheckUser says why a caller cannot bear a name: it could not stand in a header, or not be told from the engine's own
// users in the audit trail.
func CheckUser(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case !printable(name):
		return errors.New("a name has at most 128 printable ASCII characters")
	case name == EngineUser, name == queuedUser:
		return fmt.Errorf("%q is the engine's own", name)
	}
	for _, prefix := range []string{"saga:", "gateway:", "operator:"} {
		if strings.HasPrefix(name, prefix) {
			return fmt.Errorf("names that begin with %q are the engine's own", prefix)
		}
	}
	return nil
}
