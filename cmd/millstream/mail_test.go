package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/millstream-es/millstream/queries"
)

// TestMailsGoOutOnce: the real binary, a mail server that first asks to come back, then hangs up after it has the text,
// then takes the mail; and a kill -9, after which nothing is sent again.
func TestMailsGoOutOnce(t *testing.T) {
	t.Parallel()
	s := serveMail(t)
	_, port, err := net.SplitHostPort(s.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"dev", "--data", t.TempDir(), "--nats", "127.0.0.1:0", "--http", "127.0.0.1:0",
		"--mail-host", "127.0.0.1", "--mail-port", port, "--mail-tls", "none", "--mail-from", "shop@mill.example"}
	p, err := launchNode(nil, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.kill(); err != nil {
			t.Error(err)
		}
	})
	send(t, p, "customer/c-1", "RegisterCustomer", `{"name":"Ada","email":"ada@example.com"}`)
	send(t, p, "stock/p-1", "ReceiveStock", `{"quantity":5}`)
	const order = `{"customerId":"c-1","currency":"USD","items":[{"productId":"p-1","quantity":1,"price":20}],
		"shippingAddress":{"street":"1 Main St","city":"Springfield","country":"USA"},"payment":{"method":"paypal","token":"tok_ok"}}`
	send(t, p, "order/o-1", "CreateOrder", order)
	outbox := func(want ...string) {
		t.Helper()
		err := eventually(patience, func() error {
			var page queries.Outbox
			if err := getJSON(p.HTTP+"/mails?status=SENT", &page); err != nil {
				return err
			}
			var got []string
			for _, m := range page.Items {
				got = append(got, m.OrderID+" "+m.Kind)
			}
			if strings.Join(got, ", ") != strings.Join(want, ", ") {
				return fmt.Errorf("sent are %v, not yet %v", got, want)
			}
			return nil
		})
		if err != nil {
			t.Fatalf("%v\n%s", err, p.log)
		}
	}
	outbox("o-1 confirmation")
	s.mu.Lock()
	texts := s.texts
	s.mu.Unlock()
	if len(texts) != 2 || texts[0] != texts[1] || !strings.Contains(texts[0], "Amount: 20.00 USD") {
		t.Errorf("the mail whose yes was lost and its repetition are %q", texts)
	}
	if err := p.kill(); err != nil {
		t.Fatal(err)
	}
	if p, err = launchNode(nil, args...); err != nil {
		t.Fatal(err)
	}
	send(t, p, "order/o-1", "ShipOrder", `{"trackingNumber":"1Z999"}`)
	outbox("o-1 shipped", "o-1 confirmation")
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.texts) != 3 || !strings.Contains(s.texts[2], "1Z999") {
		t.Errorf("after the restart the mails are %q", s.texts)
	}
}

func send(t *testing.T, p *process, stream, command, data string) {
	t.Helper()
	if out, errs, code := run(t, "millstream", "send", "--server", p.NATS, stream, command, data); code != 0 {
		t.Fatalf("%s to %s: exit code %d: %s%s", command, stream, code, out, errs)
	}
}

// mailServer asks the first sender to come back, hangs up on the second after the text, and takes all others' mails.
type mailServer struct {
	listener net.Listener

	mu    sync.Mutex
	seen  int
	texts []string // hung up on or taken
}

func serveMail(t *testing.T) *mailServer {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &mailServer{listener: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go s.talk(conn)
		}
	}()
	return s
}

func (s *mailServer) talk(conn net.Conn) {
	defer conn.Close()
	s.mu.Lock()
	s.seen++
	visitor := s.seen
	s.mu.Unlock()
	in := bufio.NewReader(conn)
	for say := "220 mail.test"; ; {
		if _, err := fmt.Fprintf(conn, "%s\r\n", say); err != nil {
			return
		}
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		say = "250 fine"
		switch verb, _, _ := strings.Cut(strings.TrimSpace(line), " "); {
		case verb == "RCPT" && visitor == 1:
			say = "451 come back"
		case verb == "DATA":
			fmt.Fprint(conn, "354 go ahead\r\n")
			text := ""
			for line = ""; line != ".\r\n"; text += line {
				if line, err = in.ReadString('\n'); err != nil {
					return
				}
			}
			s.mu.Lock()
			s.texts = append(s.texts, text)
			s.mu.Unlock()
			if visitor == 2 {
				return
			}
		case verb == "QUIT":
			return
		}
	}
}
