package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
)

// clientFlags say which NATS servers to connect to, and as whom. Names are those of the nats CLI.
type clientFlags struct {
	Server   string `env:"NATS_URL" default:"nats://127.0.0.1:4222" placeholder:"URL,…" help:"NATS servers."`
	Context  string `placeholder:"NAME" help:"Connect as this context of the nats CLI says; other flags win over it."`
	Creds    string `type:"path" placeholder:"FILE" help:"Credentials file."`
	NKey     string `name:"nkey" type:"path" placeholder:"FILE" help:"NKey seed file."`
	User     string `help:"User name."`
	Password string `help:"Password of --user; better in the environment than on the command line."`
	TLSCA    string `name:"tlsca" type:"path" placeholder:"FILE" help:"Certificates that vouch for the servers."`
	TLSCert  string `name:"tlscert" type:"path" placeholder:"FILE" help:"Client certificate."`
	TLSKey   string `name:"tlskey" type:"path" placeholder:"FILE" help:"Key of --tlscert."`
}

func (c clientFlags) check() error {
	var errs []error
	if (c.TLSCert == "") != (c.TLSKey == "") {
		errs = append(errs, errors.New("--tlscert and --tlskey go together"))
	}
	ways := 0
	for _, given := range []string{c.Creds, c.NKey, c.User} {
		if given != "" {
			ways++
		}
	}
	if ways > 1 {
		errs = append(errs, errors.New("--creds, --nkey and --user are different ways to say who you are: give one"))
	}
	if c.Password != "" && c.User == "" {
		errs = append(errs, errors.New("--password needs --user"))
	}
	return errors.Join(errs...)
}

// natsContext is what is read of ~/.config/nats/context/NAME.json.
type natsContext struct {
	URL      string `json:"url"`
	Creds    string `json:"creds"`
	NKey     string `json:"nkey"`
	User     string `json:"user"`
	Password string `json:"password"`
	CA       string `json:"ca"`
	Cert     string `json:"cert"`
	Key      string `json:"key"`
}

// resolve fills what no flag said from the nats CLI's context.
func (c clientFlags) resolve() (clientFlags, error) {
	if c.Context == "" {
		return c, nil
	}
	dir := os.Getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return c, err
		}
		dir = filepath.Join(home, ".config")
	}
	file := filepath.Join(dir, "nats", "context", filepath.Base(c.Context)+".json")
	data, err := os.ReadFile(file)
	if err != nil {
		return c, usageError{fmt.Errorf("context %q: %w; `nats context ls` lists them", c.Context, err)}
	}
	var saved natsContext
	if err := json.Unmarshal(data, &saved); err != nil {
		return c, usageError{fmt.Errorf("context %s: %w", file, err)}
	}
	if saved.URL != "" && (c.Server == "" || c.Server == nats.DefaultURL) {
		c.Server = saved.URL
	}
	if c.Creds == "" && c.NKey == "" && c.User == "" {
		c.Creds, c.NKey, c.User, c.Password = saved.Creds, saved.NKey, saved.User, saved.Password
	}
	if c.TLSCA == "" {
		c.TLSCA = saved.CA
	}
	if c.TLSCert == "" {
		c.TLSCert, c.TLSKey = saved.Cert, saved.Key
	}
	return c, nil
}

// connect opens a connection that keeps coming back after an outage.
func (c clientFlags) connect(name string, more ...nats.Option) (*nats.Conn, error) {
	c, err := c.resolve()
	if err != nil {
		return nil, err
	}
	options := []nats.Option{nats.Name(name), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond)}
	if c.Creds != "" {
		options = append(options, nats.UserCredentials(c.Creds))
	}
	if c.NKey != "" {
		nkey, err := nats.NkeyOptionFromSeed(c.NKey)
		if err != nil {
			return nil, usageError{fmt.Errorf("--nkey %s: %w", c.NKey, err)}
		}
		options = append(options, nkey)
	}
	if c.User != "" {
		options = append(options, nats.UserInfo(c.User, c.Password))
	}
	if c.TLSCA != "" {
		options = append(options, nats.RootCAs(c.TLSCA))
	}
	if c.TLSCert != "" {
		options = append(options, nats.ClientCert(c.TLSCert, c.TLSKey))
	}
	nc, err := nats.Connect(c.Server, append(options, more...)...)
	if err != nil {
		if unreadable, ok := errors.AsType[*url.Error](err); ok {
			err = unreadable.Err // the text of the whole names the address, with its password
		}
		return nil, fmt.Errorf("connect to %s: %w", serversShown(c.Server), err)
	}
	return nc, nil
}

// allowed gives connect an option and ctx an end: when the server refuses a subject, whoever waits on ctx learns it
// at once instead of after a time-out.
func allowed(ctx context.Context) (context.Context, nats.Option, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	handler := nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrPermissionViolation) {
			cancel(err)
		}
	})
	return ctx, handler, func() { cancel(nil) }
}

// refused turns a reply that never came, because the server forbade asking, into that error.
func refused(ctx context.Context, r es.Reply) error {
	if cause := context.Cause(ctx); r.Outcome == es.UnknownOutcome && errors.Is(cause, nats.ErrPermissionViolation) {
		return fmt.Errorf("not allowed: %s", strings.TrimSpace(cause.Error()))
	}
	return nil
}
