package natsstore

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"iter"
	"net"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/schema"
)

// RawHeaders is an option of connections that read much of the log. The client library parses the headers of every
// message into a map, which is half of what a projector allocates to catch up, and nearly a fifth of its processor time. On an
// in-process connection with this option the headers stay as they are, in front of the message's data; Message reads
// both forms. Other connections are not changed.
func RawHeaders(o *nats.Options) error {
	if o.InProcessServer != nil {
		o.InProcessServer = rawProvider{o.InProcessServer}
	}
	return nil
}

type rawProvider struct{ nats.InProcessConnProvider }

func (p rawProvider) InProcessConn() (net.Conn, error) {
	conn, err := p.InProcessConnProvider.InProcessConn()
	if err != nil {
		return nil, err
	}
	return newRawConn(conn), nil
}

// rawConn gives its reader messages with headers (HMSG) as messages without (MSG), the headers being part of the data
// (https://docs.nats.io/reference/reference-protocols/nats-protocol).
type rawConn struct {
	net.Conn
	in   *bufio.Reader
	line []byte // of the protocol, not yet given
	part bool   // the line goes on
	data int    // bytes of a message, behind the line, not yet given
}

func newRawConn(conn net.Conn) *rawConn {
	return &rawConn{Conn: conn, in: bufio.NewReaderSize(conn, 64<<10)}
}

// Read gives all that has come, but waits only for the first byte.
func (c *rawConn) Read(p []byte) (n int, err error) {
	for n < len(p) {
		switch {
		case len(c.line) > 0:
			k := copy(p[n:], c.line)
			n, c.line = n+k, c.line[k:]
		case n > 0 && c.in.Buffered() == 0:
			return n, nil
		case c.data > 0:
			k, err := c.in.Read(p[n:min(len(p), n+c.data)])
			n, c.data = n+k, c.data-k
			if err != nil {
				return n, err
			}
		default:
			if n > 0 && !c.whole() {
				return n, nil
			}
			if err := c.next(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// whole tells whether a line can be read without waiting.
func (c *rawConn) whole() bool {
	waiting, _ := c.in.Peek(c.in.Buffered()) // what is buffered can be looked at
	return bytes.IndexByte(waiting, '\n') >= 0
}

// next reads a line of the protocol.
func (c *rawConn) next() error {
	line, err := c.in.ReadSlice('\n')
	part := c.part
	c.line, c.part = line, errors.Is(err, bufio.ErrBufferFull) // an INFO may be longer
	if part || c.part {
		return nil
	}
	if err != nil {
		return err
	}
	headers := bytes.HasPrefix(line, []byte("HMSG "))
	if !headers && !bytes.HasPrefix(line, []byte("MSG ")) {
		return nil
	}
	fields := bytes.TrimRight(line, "\r\n")
	at := bytes.LastIndexByte(fields, ' ')
	size, err := strconv.Atoi(string(fields[at+1:]))
	if err != nil {
		return fmt.Errorf("the server sent %q, which does not end with a message's size", line)
	}
	c.data = size + len("\r\n")
	if headers { // HMSG subject sid [reply] headers total
		before := bytes.LastIndexByte(fields[:at], ' ')
		c.line = append(line[1:before], line[at:]...)
	}
	return nil
}

// A block of headers begins with this, and ends with an empty line.
const headersBegin = "NATS/1.0"

// headersEnd returns where a message's own data begins, behind its headers; 0: it has none.
func headersEnd(data []byte) int {
	if !bytes.HasPrefix(data, []byte(headersBegin)) {
		return 0
	}
	for at := 0; ; {
		line := bytes.IndexByte(data[at:], '\n')
		if line < 0 {
			return 0
		}
		at += line + 1
		if line == 1 {
			return at
		}
	}
}

// Message is a stored message as a consumer delivers it, from either kind of connection.
type Message struct {
	Subject string
	Data    []byte

	header nats.Header
	raw    string // block of headers; "" when they are in header
}

// NewMessage reads a delivered message.
func NewMessage(m *nats.Msg) Message {
	if m.Header == nil {
		if end := headersEnd(m.Data); end > 0 {
			return Message{Subject: m.Subject, Data: m.Data[end:], raw: string(m.Data[:end])}
		}
	}
	return Message{Subject: m.Subject, Data: m.Data, header: m.Header}
}

// Header is the message's headers in the client library's form.
func (m Message) Header() nats.Header {
	if m.raw == "" {
		return m.header
	}
	header := nats.Header{}
	for name, value := range m.headers() {
		header[name] = append(header[name], value)
	}
	return header
}

func (m Message) headers() iter.Seq2[string, string] {
	if m.raw == "" {
		return parsed(m.header)
	}
	return func(yield func(string, string) bool) {
		rest := m.raw[strings.IndexByte(m.raw, '\n')+1:] // behind the version
		for end := strings.IndexByte(rest, '\n'); end > 0; end = strings.IndexByte(rest, '\n') {
			line := rest[:end-1]
			rest = rest[end+1:]
			colon := strings.IndexByte(line, ':')
			if colon < 0 {
				continue
			}
			if value := strings.TrimLeft(line[colon+1:], " \t"); !yield(line[:colon], value) {
				return
			}
		}
	}
}

// MoreFollow is MoreFollow of the message's headers.
func (m Message) MoreFollow() bool {
	if m.raw != "" && !strings.Contains(m.raw, headerTogether) {
		return false
	}
	return MoreFollow(m.Header())
}

// DecodeMessage reads a stored commit, as Decode, for one who handles some types of events: handles says which. The
// events of others, if this program knows them, come without their data, as a nil Event.
func (l *Log) DecodeMessage(m Message, handles func(eventType string) bool, seq uint64) ([]es.Recorded, error) {
	return l.decode(selective{l.codec, handles}, m.Subject, m.headers(), m.Data, seq)
}

// selective decodes what is handled.
type selective struct {
	*schema.Registry
	handles func(eventType string) bool
}

func (s selective) DecodeEvent(eventType string, version int, data []byte) (es.Event, error) {
	if !s.handles(eventType) {
		return nil, s.KnowsEvent(eventType, version)
	}
	return s.Registry.DecodeEvent(eventType, version, data)
}
