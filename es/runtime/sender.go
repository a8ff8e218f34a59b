package runtime

import (
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
)

// headerRequestInfo says who sent what crosses from another account. The server writes it behind all other headers and
// takes away what clients wrote under that name.
const headerRequestInfo = "Nats-Request-Info"

// maxHeaders is how many header lines a request may have: see wholeHeaders.
const maxHeaders = 16

// senderOf says who sends a request: in development whoever they say, elsewhere the NATS user that the server vouches
// for. Errors are *es.InvalidError.
func (e *Engine) senderOf(m *nats.Msg) (string, error) {
	if e.cfg.Dev {
		return m.Header.Get(HeaderUser), nil
	}
	if err := wholeHeaders(m); err != nil {
		return "", err
	}
	given := m.Header[headerRequestInfo]
	if len(given) == 0 {
		return EngineUser, nil // of the engine's own account: no border was crossed
	}
	var info struct {
		Account string `json:"acc"`
		User    string `json:"user"`
	}
	if err := json.Unmarshal([]byte(given[len(given)-1]), &info); err != nil || info.Account == "" {
		return "", &es.InvalidError{Code: "bad_header", Message: "header " + headerRequestInfo + " is the server's to write, and does not say who sends"}
	}
	switch info.User {
	case "":
		return info.Account, nil
	case EngineUser, queuedUser:
		return info.Account + "/" + info.User, nil // not ours, whatever it calls itself
	}
	return info.User, nil
}

// wholeHeaders refuses a message of whose headers something may not have been read. For the server a line ends with
// CRLF; the client library ends it at LF as well, its block at the first empty line, and reads nothing of one that is
// malformed. So a client could hide the server's line behind one of its own, or slip one in that the server does not
// find. What was not read shows in the size: a line that was read is counted as "name: value" and CRLF, which it can
// have undercut by two bytes at most, a status line by some more; maxHeaders times that is less than the server's line.
func wholeHeaders(m *nats.Msg) error {
	lines, read := 0, 0
	for name, values := range m.Header {
		for _, value := range values {
			lines++
			read += len(name) + len(": ") + len(value) + len("\r\n")
		}
	}
	if m.Header != nil {
		read += len("NATS/1.0\r\n") + len("\r\n")
	}
	if lines > maxHeaders {
		return &es.InvalidError{Code: "bad_header", Message: fmt.Sprintf("the message has %d header lines, at most %d are taken", lines, maxHeaders)}
	}
	if sent := m.Size() - len(m.Subject) - len(m.Reply) - len(m.Data); sent > read {
		return &es.InvalidError{Code: "bad_header", Message: `the headers cannot be read: each must be a line "name: value" that ends with CRLF`}
	}
	return nil
}
