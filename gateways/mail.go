package gateways

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/mail"
	"os"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/millstream-es/millstream/commands"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/events"
)

// mailName names the gateway's consumer. It is durable: under another name it would begin the log anew, and send every
// mail again that was ever sent.
const mailName = "mail"

// mailConnections is how many mails are on their way at once: servers refuse those who come in crowds.
const mailConnections = 4

// MailSettings say which mail server is used.
type MailSettings struct {
	Host     string        `name:"mail-host" placeholder:"HOST" help:"Mail server (SMTP) that takes mails to customers. Without it none is sent: they stay REQUESTED in the outbox, GET /mails."`
	Port     int           `name:"mail-port" default:"587" placeholder:"PORT" help:"Its port: usually 587 with --mail-tls=starttls, 465 with implicit."`
	From     string        `name:"mail-from" placeholder:"ADDRESS" help:"Sender of mails, such as 'Mill Shop <shop@example.com>'."`
	User     string        `name:"mail-user" help:"User name at the mail server."`
	Password string        `name:"mail-password" env:"MILLSTREAM_MAIL_PASSWORD" placeholder:"SECRET" help:"Password of --mail-user; set it in the environment, where other users do not see it."`
	TLS      string        `name:"mail-tls" enum:"starttls,implicit,none" default:"starttls" help:"How the connection to the mail server is encrypted: ${enum}; never less than this says."`
	CA       string        `name:"mail-ca" type:"path" placeholder:"FILE" help:"Certificates that vouch for the mail server, instead of the system's."`
	Timeout  time.Duration `name:"mail-timeout" default:"30s" help:"How long one attempt to send a mail may take."`
}

// Validate reports every fault of the settings at once.
func (s *MailSettings) Validate() error {
	if s.Host == "" {
		return nil
	}
	var errs []error
	if _, err := mail.ParseAddress(s.From); err != nil {
		errs = append(errs, fmt.Errorf("--mail-host needs --mail-from, an address such as 'Mill Shop <shop@example.com>', found %q", s.From))
	}
	if s.Port < 1 || s.Port > 65535 {
		errs = append(errs, fmt.Errorf("--mail-port must be 1 to 65535, found %d", s.Port))
	}
	if (s.User == "") != (s.Password == "") {
		errs = append(errs, errors.New("--mail-user and the password of that user (MILLSTREAM_MAIL_PASSWORD) go together"))
	}
	if s.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("--mail-timeout must be above zero, found %s", s.Timeout))
	}
	if _, err := s.tlsConfig(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (s *MailSettings) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{ServerName: s.Host, MinVersion: tls.VersionTLS12}
	if s.CA == "" {
		return config, nil
	}
	pem, err := os.ReadFile(s.CA)
	if err != nil {
		return nil, fmt.Errorf("--mail-ca: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--mail-ca: %s holds no certificate in PEM", s.CA)
	}
	return config, nil
}

// Mails sends what MailRequested wants and records what the mail server answered. Between the server's yes and the
// record of it a crash can have a mail sent again; it then has the same Message-ID and the same bytes, by which
// receivers know it. A mail that the server refuses for good has failed; what comes of an outage, or of wrong settings,
// is an error.
func Mails() es.Gateway {
	settings := &MailSettings{Port: 587, TLS: "starttls", Timeout: 30 * time.Second}
	turn := make(chan struct{}, mailConnections)
	return es.Gateway{
		Name:     mailName,
		Settings: settings,
		Answers:  []es.Event{events.MailSent{}, events.MailFailed{}},
		Interest: es.Interest{
			Handles: []es.Event{events.MailRequested{}},
			Ignores: []es.Event{
				events.OrderCreated{}, events.OrderItemAdded{}, events.OrderPaid{}, events.OrderShipped{},
				events.OrderDelivered{}, events.OrderCancelled{},
				events.StockReceived{}, events.StockReserved{}, events.StockReservationRejected{},
				events.StockReleased{}, events.StockShipped{},
				events.PaymentRequested{}, events.PaymentProcessed{}, events.PaymentFailed{}, events.RefundRequested{},
				events.PaymentRefunded{},
				events.CustomerRegistered{}, events.CustomerRenamed{}, events.CustomerTierChanged{},
				events.MailSent{}, events.MailFailed{},
				events.AccountOpened{}, events.MoneyDeposited{}, events.MoneyWithdrawn{}, events.MoneyReturned{}, events.TransferRefused{},
				events.AccountClosed{}, events.TransferRequested{}, events.TransferCompleted{}, events.TransferFailed{},
			},
		},
		Deliver: func(ctx context.Context, r es.Recorded, key string) ([]es.Effect, error) {
			e, ok := r.Event.(events.MailRequested)
			if !ok {
				return nil, es.Permanent(fmt.Errorf("the mail gateway was handed %s, which it does not handle", r.EventType()))
			}
			if settings.Host == "" {
				return nil, nil
			}
			select {
			case turn <- struct{}{}:
				defer func() { <-turn }()
			case <-ctx.Done():
				return nil, es.Transient(ctx.Err())
			}
			return settings.deliver(ctx, r, e, key)
		},
	}
}

func (s *MailSettings) deliver(ctx context.Context, r es.Recorded, e events.MailRequested, key string) ([]es.Effect, error) {
	failed := func(reason string) ([]es.Effect, error) {
		return []es.Effect{commands.Mails.To(r.Stream.ID, commands.RecordMailFailure{Kind: e.Kind, Reason: reason})}, nil
	}
	from, err := mail.ParseAddress(s.From)
	if err != nil {
		return nil, es.Permanent(fmt.Errorf("--mail-from %q is not an address: %w", s.From, err))
	}
	to, err := mail.ParseAddress(e.To)
	if err != nil || to.Address != e.To {
		return failed("the customer's address is not one that mail can be sent to")
	}
	to.Name = oneLine(e.Name)
	_, domain, _ := strings.Cut(from.Address, "@")
	id := messageID(key, domain)
	m := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	m.FromMailAddress(from)
	m.ToMailAddress(to)
	m.SetMessageIDWithValue(id)
	m.SetDateWithValue(r.Time)
	m.SetGenHeader("Auto-Submitted", "auto-generated") // so that no holiday notice answers
	subject, body := text(e)
	m.Subject(subject)
	m.SetBodyString(gomail.TypeTextPlain, body)

	refused, err := s.send(ctx, m, []string{e.To, s.Password})
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s mail of order %s: %w", e.Kind, r.Stream.ID, err)
	case refused != "":
		return failed(refused)
	}
	return []es.Effect{commands.Mails.To(r.Stream.ID, commands.RecordMailSent{Kind: e.Kind, MessageID: id})}, nil
}

// messageID makes the same id of the same key.
func messageID(key, domain string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16]) + "@" + domain
}
