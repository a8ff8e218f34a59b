package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/api/rest"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/ops"
	"github.com/millstream-es/millstream/es/runtime"
)

// authFlags say how callers prove who they are.
type authFlags struct {
	APIKeys       bool              `name:"api-keys" default:"true" negatable:"" help:"Take API keys: see the verb keys."`
	OIDC          string            `name:"oidc" placeholder:"URL" help:"Take JWTs of this issuer, with the keys that it publishes (OpenID Connect Discovery)."`
	JWTKeys       string            `name:"jwt-keys" type:"path" placeholder:"FILE" help:"Take JWTs signed with one of these public keys: PEM or a JWKS. The file is read again when a key is not known."`
	JWTIssuer     string            `name:"jwt-issuer" placeholder:"TEXT" help:"The issuer (iss) that JWTs must name; default: that of --oidc."`
	JWTAudience   string            `name:"jwt-audience" placeholder:"TEXT" help:"The audience (aud) that JWTs must name."`
	JWTAlgorithms []string          `name:"jwt-algorithms" default:"RS256,ES256,EdDSA" placeholder:"NAME,…" help:"What JWTs may be signed with."`
	JWTRoleClaim  string            `name:"jwt-role-claim" default:"role" placeholder:"NAME" help:"The claim with the caller's role or roles; dots lead into objects (realm_access.roles)."`
	JWTRoles      map[string]string `name:"jwt-roles" mapsep:"," placeholder:"TEXT=ROLE,…" help:"What stands for which role in that claim, such as ops-team=admin. Default: the roles' own names."`
	NATSRoles     map[string]string `name:"nats-roles" mapsep:"," default:"*=operator" placeholder:"USER=ROLE,…" help:"What users of the NATS servers may do by call.> and queries.>; * is everyone not named. Users of the engine's own account are admins."`
	HTTPCert      string            `name:"http-cert" type:"path" placeholder:"FILE" help:"Serve HTTPS with this certificate chain."`
	HTTPKey       string            `name:"http-key" type:"path" placeholder:"FILE" help:"Key of --http-cert."`
}

// check reports every fault at once.
func (f authFlags) check() error {
	var errs []error
	jwt := f.OIDC != "" || f.JWTKeys != ""
	switch {
	case f.OIDC != "" && f.JWTKeys != "":
		errs = append(errs, errors.New("--oidc and --jwt-keys are different ways to get the keys of JWTs: give one"))
	case !jwt && (f.JWTIssuer != "" || f.JWTAudience != "" || len(f.JWTRoles) > 0):
		errs = append(errs, errors.New("--jwt-… flags need the keys that JWTs are verified with: give --oidc or --jwt-keys"))
	case !jwt && !f.APIKeys:
		errs = append(errs, errors.New("nobody could come in by HTTP: give --oidc or --jwt-keys, or let --api-keys stand"))
	}
	if jwt && f.JWTAudience == "" {
		errs = append(errs, errors.New("--jwt-audience is missing: a token that was made for somebody else would be taken"))
	}
	if f.JWTKeys != "" && f.JWTIssuer == "" {
		errs = append(errs, errors.New("--jwt-issuer is missing: name whose JWTs are taken"))
	}
	for _, a := range f.JWTAlgorithms {
		if !slices.Contains(access.Algorithms, a) {
			errs = append(errs, fmt.Errorf("--jwt-algorithms %s: expected some of %s", a, strings.Join(access.Algorithms, ", ")))
		}
	}
	for _, m := range []struct {
		flag  string
		roles map[string]string
	}{{"jwt-roles", f.JWTRoles}, {"nats-roles", f.NATSRoles}} {
		for name, role := range m.roles {
			if _, err := access.ParseRole(role); err != nil {
				errs = append(errs, fmt.Errorf("--%s %s: %w", m.flag, name, err))
			}
		}
	}
	if (f.HTTPCert == "") != (f.HTTPKey == "") {
		errs = append(errs, errors.New("--http-cert and --http-key go together"))
	}
	return errors.Join(errs...)
}

// callers are how those who call are known, made ready before the engine starts, so that what is wrong shows at once.
type callers struct {
	dev     bool // everyone is believed, and is an admin
	apiKeys bool
	jwts    access.Authenticator // nil: none are taken
	tls     *tls.Config          // nil: plain HTTP
}

// callers reads what the flags name.
func (f authFlags) callers(ctx context.Context, log *slog.Logger) (c callers, err error) {
	c.apiKeys = f.APIKeys
	if f.HTTPCert != "" {
		certificate, err := tls.LoadX509KeyPair(f.HTTPCert, f.HTTPKey)
		if err != nil {
			return c, usageError{fmt.Errorf("--http-cert %s, --http-key %s: %w", f.HTTPCert, f.HTTPKey, err)}
		}
		c.tls = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	}
	config := access.JWTConfig{Issuer: f.JWTIssuer, Audience: f.JWTAudience, Algorithms: f.JWTAlgorithms, RoleClaim: f.JWTRoleClaim}
	if len(f.JWTRoles) > 0 {
		config.Roles = map[string]access.Role{}
		for text, role := range f.JWTRoles {
			config.Roles[text] = access.Role(role)
		}
	}
	switch {
	case f.OIDC != "":
		if config.Issuer == "" {
			config.Issuer = f.OIDC
		}
		if config.Keys, err = access.Discover(ctx, f.OIDC, log); err != nil {
			return c, fmt.Errorf("--oidc: %w", err)
		}
	case f.JWTKeys != "":
		if config.Keys, err = access.KeysFile(f.JWTKeys, log); err != nil {
			return c, usageError{fmt.Errorf("--jwt-keys: %w", err)}
		}
	default:
		return c, nil
	}
	c.jwts, err = access.JWTs(config)
	return c, err
}

// door is how callers of the HTTP door are known, once the engine has set up the streams. What is returned beside
// ends it.
func (c callers) door(ctx context.Context, connect func(...nats.Option) (*nats.Conn, error), log *slog.Logger) (*access.Sessions, func() error, error) {
	end := func() error { return nil }
	if c.dev {
		return access.NewSessions(access.Dev()), end, nil
	}
	var chain []access.Authenticator
	if c.apiKeys {
		nc, err := connect()
		if err != nil {
			return nil, end, err
		}
		js, err := jetstream.New(nc)
		if err != nil {
			nc.Close()
			return nil, end, err
		}
		ctx, cancel := context.WithTimeout(ctx, startTime)
		defer cancel()
		ring, err := ops.NewKeys(js).Follow(ctx, log)
		if err != nil {
			nc.Close()
			return nil, end, err
		}
		end = func() error {
			err := ring.Close()
			nc.Close()
			return err
		}
		chain = append(chain, access.APIKeys(ring))
	}
	if c.jwts != nil {
		chain = append(chain, c.jwts)
	}
	return access.NewSessions(access.Chain(chain...)), end, nil
}

// sessionMounts are the routes by which a browser logs in.
func sessionMounts(s *access.Sessions) []rest.Mount {
	handler := s.Handler(rest.WriteError)
	summaries := map[string]string{http.MethodPost: "Log in", http.MethodGet: "Who is in", http.MethodDelete: "Log out"}
	const tag = "session"
	docs := map[string]*rest.Doc{
		http.MethodPost:   {Tag: tag, Body: access.Login{}, Answer: access.Principal{}, Errors: []int{400, 401, 415, 429}, Description: "The answer sets the cookie " + access.SessionCookie + "."},
		http.MethodGet:    {Tag: tag, Answer: access.Principal{}, Errors: []int{401, 429}},
		http.MethodDelete: {Tag: tag, Status: http.StatusNoContent},
	}
	var mounts []rest.Mount
	for _, r := range s.Routes() {
		mounts = append(mounts, rest.Mount{Method: r.Method, Pattern: r.Path, Operation: r.Operation, Handler: handler, Summary: summaries[r.Method], Doc: docs[r.Method]})
	}
	return mounts
}

// authorize asks for users of the NATS servers what doors ask for theirs.
func (f authFlags) authorize(user, operation, target string) error {
	role, named := f.NATSRoles[user]
	if !named {
		role = f.NATSRoles["*"]
	}
	if user == runtime.EngineUser {
		role = string(access.Admin)
	}
	p := access.Principal{Name: user, Role: access.Role(role), Method: "nats"}
	if err := p.Check(access.Operation(operation), target); err != nil {
		return &es.InvalidError{Code: access.CodeDenied, Message: err.Error()}
	}
	return nil
}

// warnOfPlainHTTP says that tokens could be read on the way.
func (f authFlags) warnOfPlainHTTP(address string, log *slog.Logger) {
	if f.HTTPCert == "" && !isLoopback(address) {
		log.Warn("HTTP is reachable from other machines and not encrypted, so that tokens can be read on the way: give --http-cert and --http-key, or let a proxy in front of it encrypt", "http", address)
	}
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}
