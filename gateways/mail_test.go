package gateways_test

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http/httptest"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
	"github.com/millstream-es/millstream/gateways"
	"github.com/millstream-es/millstream/money"
)

const (
	secretAddress  = "ada.secret@example.com"
	secretPassword = "smtp_secret_42"
)

func shipping() events.MailRequested {
	return events.MailRequested{Kind: "shipped", To: secretAddress, Name: "Ada Lovelace", CustomerID: "c-1", OrderNumber: "N-1", TrackingNumber: "1Z999"}
}

func mailOf(e events.MailRequested) es.Recorded {
	return es.Recorded{Meta: es.Meta{Stream: commands.Mails.Stream("o-1"), Time: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)}, Event: e}
}

// mailing is a gateway that sends through a server.
func mailing(s *mailServer) es.Gateway {
	g := gateways.Mails()
	*g.Settings.(*gateways.MailSettings) = gateways.MailSettings{
		Host: "127.0.0.1", Port: s.address.Port, From: "Mill Shop <shop@mill.example>", TLS: "none", Timeout: time.Minute,
	}
	return g
}

func wasFailed(reason string) []es.Effect {
	return []es.Effect{commands.Mails.To("o-1", commands.RecordMailFailure{Kind: "shipped", Reason: reason})}
}

func TestMailIsSent(t *testing.T) {
	t.Parallel()
	s := serveMail(t, &mailServer{}, nil)
	g := mailing(s)
	got, err := g.Deliver(t.Context(), mailOf(shipping()), "key-1/1")
	if err != nil {
		t.Fatal(err)
	}
	mails := s.taken()
	if len(mails) != 1 {
		t.Fatalf("%d mails were sent, want 1", len(mails))
	}
	m, body := readMail(t, mails[0])
	id := strings.Trim(m.Header.Get("Message-ID"), "<>")
	check(t, got, nil, []es.Effect{commands.Mails.To("o-1", commands.RecordMailSent{Kind: "shipped", MessageID: id})}, nil)
	for header, want := range map[string]string{
		"From": `"Mill Shop" <shop@mill.example>`, "To": `"Ada Lovelace" <` + secretAddress + `>`, "Subject": "Your order N-1 is on its way",
		"Date": "Sat, 31 Jan 2026 12:00:00 +0000", "Auto-Submitted": "auto-generated", "User-Agent": "", "X-Mailer": "",
	} {
		if got := m.Header.Get(header); got != want {
			t.Errorf("%s is %q, want %q", header, got, want)
		}
	}
	if !strings.HasSuffix(id, "@mill.example") {
		t.Errorf("the Message-ID %q is not of the sender's domain", id)
	}
	differ(t, "body", "Dear Ada Lovelace,\r\n\r\nyour order N-1 has left our house.\r\n\r\nTracking number: 1Z999\r\n", body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if all := strings.Join(s.verbs, "\n"); !strings.Contains(all, "MAIL FROM:<shop@mill.example>") || !strings.Contains(all, "RCPT TO:<"+secretAddress+">") || !strings.HasSuffix(all, "QUIT") {
		t.Errorf("the server was told\n%s", all)
	}
}

func TestTextsOfMails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		change        func(*events.MailRequested)
		subject, body string
	}{
		{func(e *events.MailRequested) {
			e.Kind, e.Amount, e.Currency = "confirmation", money.MustParse("40"), "USD"
		}, "Your order N-1 is confirmed", "Dear Ada Lovelace,\r\n\r\nthank you for your order N-1. It is paid and all of it is set aside for you.\r\n\r\nAmount: 40.00 USD\r\n\r\nWe will write again when it is on its way.\r\n"},
		{func(e *events.MailRequested) {
			e.Kind, e.Amount, e.Currency = "confirmation", money.MustParse("500"), "JPY"
		}, "Your order N-1 is confirmed", "Dear Ada Lovelace,\r\n\r\nthank you for your order N-1. It is paid and all of it is set aside for you.\r\n\r\nAmount: 500 JPY\r\n\r\nWe will write again when it is on its way.\r\n"},
		{func(e *events.MailRequested) { e.Kind, e.Name, e.Reason = "cancelled", "", "out of stock" },
			"Your order N-1 is cancelled", "Hello,\r\n\r\nyour order N-1 is cancelled.\r\n\r\nReason: out of stock\r\n\r\nWhatever was paid for it goes back to you.\r\n"},
		{func(e *events.MailRequested) { e.Name, e.OrderNumber = "Åsa Öberg 王", "№ 7" },
			"Your order № 7 is on its way", "Dear Åsa Öberg 王,\r\n\r\nyour order № 7 has left our house.\r\n\r\nTracking number: 1Z999\r\n"},
		{func(e *events.MailRequested) {
			e.Name, e.OrderNumber, e.TrackingNumber = "Eve\r\nBcc: all@example.com", "7\nX-Evil: 1", "1Z\r\n.\r\nQUIT"
		}, "Your order 7 X-Evil: 1 is on its way", "Dear Eve Bcc: all@example.com,\r\n\r\nyour order 7 X-Evil: 1 has left our house.\r\n\r\nTracking number: 1Z . QUIT\r\n"},
	} {
		s := serveMail(t, &mailServer{}, nil)
		e := shipping()
		c.change(&e)
		if _, err := mailing(s).Deliver(t.Context(), mailOf(e), "key"); err != nil {
			t.Fatal(err)
		}
		m, body := readMail(t, s.taken()[0])
		subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
		if err != nil || subject != c.subject {
			t.Errorf("the subject is %q (%v), want %q", subject, err, c.subject)
		}
		differ(t, "body", c.body, body)
		to, err := m.Header.AddressList("To")
		if err != nil || len(to) != 1 || to[0].Address != secretAddress || m.Header.Get("Bcc") != "" || m.Header.Get("X-Evil") != "" {
			t.Errorf("the mail goes to %v (%v), headers %v", to, err, m.Header)
		}
	}
}

func TestMailServerAnswers(t *testing.T) {
	t.Parallel()
	const no, later = "550 5.1.1 no such user " + secretAddress, "451 4.7.1 greylisted, " + secretAddress
	for _, c := range []struct {
		name   string
		script map[string][]string
		want   []es.Effect // nil: an error, unless err is nil too and it was sent
		err    error
	}{
		{"the recipient is refused", map[string][]string{"RCPT": {no}}, wasFailed("550 5.1.1 no such user ***"), nil},
		{"the text is refused", map[string][]string{".": {"554 spam"}}, wasFailed("554 spam"), nil},
		{"the text is refused beforehand", map[string][]string{"DATA": {"552 mailbox full"}}, wasFailed("552 mailbox full"), nil},
		{"a refusal in several lines", map[string][]string{"RCPT": {"550-no\r\n550 such user"}}, wasFailed("550 no such user"), nil},
		{"the recipient has to wait", map[string][]string{"RCPT": {later}}, nil, es.ErrTransient},
		{"the text has to wait", map[string][]string{".": {"452 disk full"}}, nil, es.ErrTransient},
		{"the sender has to wait", map[string][]string{"MAIL": {"421 busy"}}, nil, es.ErrTransient},
		{"the sender is refused: our settings are wrong", map[string][]string{"MAIL": {"553 not yours"}}, nil, es.ErrPermanent},
		{"we are refused", map[string][]string{"greeting": {"554 go away"}}, nil, es.ErrPermanent},
		{"closed for now", map[string][]string{"greeting": {"421 come back"}}, nil, es.ErrTransient},
		{"hung up at once", map[string][]string{"greeting": {"drop"}}, nil, es.ErrTransient},
		{"hung up at the recipient", map[string][]string{"RCPT": {"drop"}}, nil, es.ErrTransient},
		{"hung up after the text", map[string][]string{".": {"drop"}}, nil, es.ErrTransient},
		{"sent, and hung up then", map[string][]string{"RSET": {"drop"}, "QUIT": {"drop"}}, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := serveMail(t, &mailServer{script: c.script}, nil)
			got, err := mailing(s).Deliver(t.Context(), mailOf(shipping()), "key-1")
			if c.want == nil && c.err == nil {
				if err != nil || len(got) != 1 {
					t.Fatalf("got %v, %v; want one command", got, err)
				}
				if _, ok := got[0].(es.Send).Command.(commands.RecordMailSent); !ok {
					t.Fatalf("got %v, want RecordMailSent", got)
				}
				return
			}
			check(t, got, err, c.want, c.err)
			if err != nil && strings.Contains(err.Error(), secretAddress) {
				t.Errorf("the error shows the address: %v", err)
			}
		})
	}
}

// The server took the text and the connection broke before its yes: the mail goes out again, and can be known as the
// same one.
func TestARepeatedMailIsTheSameMail(t *testing.T) {
	t.Parallel()
	s := serveMail(t, &mailServer{script: map[string][]string{".": {"drop"}}}, nil)
	g := mailing(s)
	got, err := g.Deliver(t.Context(), mailOf(shipping()), "key-1")
	check(t, got, err, nil, es.ErrTransient)
	if _, err := g.Deliver(t.Context(), mailOf(shipping()), "key-1"); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Deliver(t.Context(), mailOf(shipping()), "key-2"); err != nil {
		t.Fatal(err)
	}
	mails := s.taken()
	if len(mails) != 3 || mails[0] != mails[1] {
		t.Fatalf("the repeated mail is another one:\n%s", strings.Join(mails, "\n---\n"))
	}
	first, _ := readMail(t, mails[0])
	other, _ := readMail(t, mails[2])
	if first.Header.Get("Message-ID") == other.Header.Get("Message-ID") {
		t.Errorf("two events have one Message-ID: %s", first.Header.Get("Message-ID"))
	}
}

func TestASilentMailServerTimesOut(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"greeting", "EHLO", "RCPT", "."} {
		s := serveMail(t, &mailServer{script: map[string][]string{verb: {"silent"}}}, nil)
		g := mailing(s)
		g.Settings.(*gateways.MailSettings).Timeout = 50 * time.Millisecond
		got, err := g.Deliver(t.Context(), mailOf(shipping()), "key-1")
		check(t, got, err, nil, es.ErrTransient)
	}
}

func TestNoMailServerIsAnOutage(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	got, err := mailing(&mailServer{address: l.Addr().(*net.TCPAddr)}).Deliver(t.Context(), mailOf(shipping()), "key-1")
	check(t, got, err, nil, es.ErrTransient)
}

func TestMailOverTLSWithAPassword(t *testing.T) {
	t.Parallel()
	pair := httptest.NewTLSServer(nil) // for its certificate
	pair.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	own := &tls.Config{Certificates: pair.TLS.Certificates}
	wrap := func(c net.Conn) net.Conn { return tls.Server(c, own) }
	with := func(s *mailServer, how string) (es.Gateway, *gateways.MailSettings) {
		g := mailing(s)
		settings := g.Settings.(*gateways.MailSettings)
		settings.TLS, settings.CA, settings.User, settings.Password = how, ca, "shop", secretPassword
		return g, settings
	}
	for _, how := range []string{"starttls", "implicit"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			make := func(script map[string][]string) *mailServer {
				if how == "implicit" {
					return serveMail(t, &mailServer{auth: "PLAIN", script: script}, wrap)
				}
				return serveMail(t, &mailServer{auth: "PLAIN", tls: own, script: script}, nil)
			}
			s := make(nil)
			g, settings := with(s, how)
			if _, err := g.Deliver(t.Context(), mailOf(shipping()), "key-1"); err != nil || len(s.taken()) != 1 {
				t.Errorf("%v, %d mails", err, len(s.taken()))
			}
			settings.CA = ""
			got, err := g.Deliver(t.Context(), mailOf(shipping()), "key-1")
			check(t, got, err, nil, es.ErrTransient) // an unknown certificate: the server may be given a better one
			g, _ = with(make(map[string][]string{"AUTH": {"535 wrong: " + secretPassword}}), how)
			got, err = g.Deliver(t.Context(), mailOf(shipping()), "key-1")
			check(t, got, err, nil, es.ErrPermanent)
			if strings.Contains(err.Error(), secretPassword) {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
	plain := serveMail(t, &mailServer{auth: "PLAIN"}, nil)
	g, _ := with(plain, "starttls")
	got, err := g.Deliver(t.Context(), mailOf(shipping()), "key-1")
	check(t, got, err, nil, es.ErrTransient)
	g, _ = with(plain, "none")
	got, err = g.Deliver(t.Context(), mailOf(shipping()), "key-1")
	check(t, got, err, nil, es.ErrTransient)
	plain.mu.Lock()
	defer plain.mu.Unlock()
	if all := strings.Join(plain.verbs, "\n"); strings.Contains(all, "AUTH") || strings.Contains(all, "RCPT") {
		t.Errorf("something went out unencrypted:\n%s", all)
	}
}

func TestOnlyAFewMailsAreOnTheirWayAtOnce(t *testing.T) {
	t.Parallel()
	full, release := make(chan struct{}, 100), make(chan struct{})
	s := serveMail(t, &mailServer{hold: func() { full <- struct{}{}; <-release }}, nil)
	g := mailing(s)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if _, err := g.Deliver(t.Context(), mailOf(shipping()), fmt.Sprint(i)); err != nil {
				t.Error(err)
			}
		})
	}
	for range 4 {
		<-full
	}
	close(release)
	all.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mails) != 20 || s.most > 8 { // a connection may close after the next one has opened
		t.Errorf("%d mails were sent over up to %d connections at once", len(s.mails), s.most)
	}
}

func TestAnAddressThatIsNoneHasFailed(t *testing.T) {
	t.Parallel()
	s := serveMail(t, &mailServer{}, nil)
	for _, address := range []string{"", "nobody", "a@b@c", "<a@b>", "Ada <ada@example.com>", "a@b\r\nRCPT TO:<c@d>", "a@b,c@d"} {
		e := shipping()
		e.To = address
		got, err := mailing(s).Deliver(t.Context(), mailOf(e), "key-1")
		check(t, got, err, wasFailed("the customer's address is not one that mail can be sent to"), nil)
	}
	if n := len(s.taken()); n != 0 {
		t.Errorf("%d mails were sent", n)
	}
}

func TestWithoutAMailServerNothingIsSentOrRecorded(t *testing.T) {
	t.Parallel()
	got, err := gateways.Mails().Deliver(t.Context(), mailOf(shipping()), "key-1")
	check(t, got, err, nil, nil)
	got, err = gateways.Mails().Deliver(t.Context(), es.Recorded{Event: events.OrderPaid{}}, "key-1")
	check(t, got, err, nil, es.ErrPermanent)
}

func TestFaultsOfMailSettings(t *testing.T) {
	t.Parallel()
	good := gateways.MailSettings{Host: "mail.test", Port: 587, From: "shop@mill.example", TLS: "starttls", Timeout: time.Second}
	for want, change := range map[string]func(*gateways.MailSettings){
		"--mail-from":              func(s *gateways.MailSettings) { s.From = "shop" },
		"--mail-port":              func(s *gateways.MailSettings) { s.Port = 70000 },
		"MILLSTREAM_MAIL_PASSWORD": func(s *gateways.MailSettings) { s.User = "shop" },
		"--mail-timeout":           func(s *gateways.MailSettings) { s.Timeout = 0 },
		"--mail-ca":                func(s *gateways.MailSettings) { s.CA = "/nowhere" },
	} {
		s := good
		change(&s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want one that names %s", err, want)
		}
	}
	if err := errors.Join(good.Validate(), (&gateways.MailSettings{}).Validate()); err != nil {
		t.Error(err)
	}
}

func readMail(t *testing.T, text string) (*mail.Message, string) {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader([]byte(text)))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if how := m.Header.Get("Content-Transfer-Encoding"); how != "quoted-printable" {
		t.Errorf("the body is %q", how)
	}
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil {
		t.Fatal(err)
	}
	return m, string(body)
}
