package gateways

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strconv"
	"strings"

	gomail "github.com/wneessen/go-mail"

	"github.com/millstream-es/millstream/es"
)

// send hands one mail to the server. refused is the server's own words when it will not have this mail, now or later.
// Errors are transient, or permanent when the server refuses us: our name, password or sender. secrets are taken out
// of both.
func (s *MailSettings) send(ctx context.Context, m *gomail.Msg, secrets []string) (refused string, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	fault := func(what string, err error) error {
		if ctx.Err() != nil {
			err = errors.Join(ctx.Err(), err)
		}
		said := fmt.Errorf("%s: %s", what, shown(oneLine(err.Error()), secrets))
		if code, _ := answered(err); code >= 500 {
			return es.Permanent(said)
		}
		return es.Transient(said)
	}
	var conn net.Conn
	client, err := s.client(func(c net.Conn) { conn = c })
	if err != nil {
		return "", es.Permanent(err)
	}
	session, err := client.DialToSMTPClientWithContext(ctx)
	if conn != nil {
		defer conn.Close() // a second time when all went well, after QUIT
	}
	if err != nil {
		return "", fault("the mail server cannot be reached or does not let us in", err)
	}
	hurry := context.AfterFunc(ctx, func() { conn.Close() })
	defer hurry()
	err = client.SendWithSMTPClient(session, m)
	if m.IsDelivered() {
		_ = client.CloseWithSMTPClient(session) // the mail is sent, however we part
		return "", nil
	}
	if err == nil {
		return "", es.Permanent(errors.New("the mail was neither sent nor refused"))
	}
	code, words := answered(err)
	if failure, ok := errors.AsType[*gomail.SendError](err); ok && code >= 500 && failure.Reason != gomail.ErrSMTPMailFrom {
		return shown(words, secrets), nil
	}
	return "", fault("the mail server did not take the mail", err)
}

func (s *MailSettings) client(opened func(net.Conn)) (*gomail.Client, error) {
	config, err := s.tlsConfig()
	if err != nil {
		return nil, err
	}
	policy := gomail.TLSMandatory
	switch s.TLS {
	case "implicit":
		policy = gomail.TLSOpportunistic // encrypted before it is asked
	case "none":
		policy = gomail.NoTLS
	}
	options := []gomail.Option{
		gomail.WithPort(s.Port), gomail.WithTimeout(s.Timeout), gomail.WithTLSPolicy(policy), gomail.WithTLSConfig(config),
		gomail.WithDialContextFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
			dial := (&net.Dialer{}).DialContext
			if s.TLS == "implicit" {
				dial = (&tls.Dialer{Config: config}).DialContext
			}
			conn, err := dial(ctx, network, address)
			if err == nil {
				opened(conn)
			}
			return conn, err
		}),
	}
	if s.User != "" {
		options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(s.User), gomail.WithPassword(s.Password))
	}
	client, err := gomail.NewClient(s.Host, options...)
	if err != nil {
		return nil, fmt.Errorf("settings of the mail server: %w", err)
	}
	return client, nil
}

// answered returns the server's code and words, 0 when the fault is not an answer of the server.
func answered(err error) (code int, words string) {
	if failure, ok := errors.AsType[*gomail.SendError](err); ok {
		_, words, _ = strings.Cut(failure.Error(), ": ")
		words, _, _ = strings.Cut(words, ", affected ")
		digits, quoted, _ := strings.Cut(words, " ")
		if plain, err := strconv.Unquote(quoted); err == nil {
			words = digits + " " + plain
		}
		return failure.ErrorCode(), oneLine(words)
	}
	if reply, ok := errors.AsType[*textproto.Error](err); ok {
		return reply.Code, oneLine(reply.Msg)
	}
	return 0, ""
}
