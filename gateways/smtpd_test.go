package gateways_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
)

// mailServer is as much of an SMTP server as a client needs. It gives the scripted answers, one for each time a verb
// comes ("." is the end of the mail's text), and says yes to everything else. "drop" closes the connection instead,
// "silent" never answers.
type mailServer struct {
	address *net.TCPAddr
	tls     *tls.Config // offers STARTTLS when set
	auth    string      // the AUTH extension, when set

	mu     sync.Mutex
	script map[string][]string
	verbs  []string // as they came, with their arguments
	mails  []string // texts that were taken, and those that were answered with drop
	open   int      // connections
	most   int      // connections at once, ever
	hold   func()   // called, when set, before the end of a mail's text is answered
}

func serveMail(t *testing.T, s *mailServer, wrap func(net.Conn) net.Conn) *mailServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().(*net.TCPAddr)
	var running sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if wrap != nil {
				conn = wrap(conn)
			}
			running.Go(func() { s.talk(conn) })
		}
	})
	return s
}

func (s *mailServer) talk(conn net.Conn) {
	s.count(1)
	defer s.count(-1)
	defer func() { conn.Close() }()
	in := bufio.NewReader(conn)
	if !s.answer(conn, in, "greeting", "220 mail.test ready") {
		return
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		s.mu.Lock()
		s.verbs = append(s.verbs, line)
		s.mu.Unlock()
		verb, _, _ := strings.Cut(line, " ")
		switch verb {
		case "EHLO":
			offered := []string{"250-mail.test"}
			if s.tls != nil {
				offered = append(offered, "250-STARTTLS")
			}
			if s.auth != "" {
				offered = append(offered, "250-AUTH "+s.auth)
			}
			if !s.answer(conn, in, verb, strings.Join(append(offered, "250 8BITMIME"), "\r\n")) {
				return
			}
		case "STARTTLS":
			fmt.Fprint(conn, "220 go ahead\r\n")
			conn = tls.Server(conn, s.tls)
			in = bufio.NewReader(conn)
		case "AUTH":
			if !s.answer(conn, in, verb, "235 welcome") {
				return
			}
		case "DATA":
			if !s.answer(conn, in, verb, "354 go ahead") {
				return
			}
			if !s.lastRefused() && !s.take(conn, in) {
				return
			}
		case "QUIT":
			s.answer(conn, in, verb, "221 bye")
			return
		default:
			if !s.answer(conn, in, verb, "250 fine") {
				return
			}
		}
	}
}

// lastRefused reports whether the answer to DATA was scripted, which is always a no.
func (s *mailServer) lastRefused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	refused := s.script["refused"] != nil
	delete(s.script, "refused")
	return refused
}

func (s *mailServer) take(conn net.Conn, in *bufio.Reader) bool {
	var text strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			break
		}
		text.WriteString(strings.TrimPrefix(line, ".")) // a dot at the beginning is sent twice
	}
	if s.hold != nil {
		s.hold()
	}
	s.mu.Lock()
	next := s.script["."]
	if len(next) == 0 || next[0] == "drop" {
		s.mails = append(s.mails, text.String())
	}
	s.mu.Unlock()
	return s.answer(conn, in, ".", "250 taken")
}

// answer says whether the connection goes on.
func (s *mailServer) answer(conn net.Conn, in *bufio.Reader, verb, usual string) bool {
	s.mu.Lock()
	say := usual
	if scripted := s.script[verb]; len(scripted) > 0 {
		say, s.script[verb] = scripted[0], scripted[1:]
		if verb == "DATA" {
			s.script["refused"] = []string{}
		}
	}
	s.mu.Unlock()
	switch say {
	case "drop":
		return false
	case "silent":
		in.ReadString(0) // until the other side gives up
		return false
	}
	_, err := fmt.Fprintf(conn, "%s\r\n", say)
	return err == nil
}

func (s *mailServer) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open += n
	s.most = max(s.most, s.open)
}

func (s *mailServer) taken() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.mails...)
}
