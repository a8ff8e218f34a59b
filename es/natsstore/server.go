package natsstore

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
)

// Names that nats.conf and the embedded server agree on.
const (
	engineUser   = "engine"
	inProcess    = "in-process" // a user of the engine's account that exists only within this process
	passwordEnd  = "_PASSWORD"
	startTimeout = 30 * time.Second
)

// ServerConfig says how to start an embedded server.
type ServerConfig struct {
	Conf    string // the text of nats.conf
	Name    string // the server's name; "" = millstream
	DataDir string // holds the streams and the lock; created when missing
	Host    string // "" = 127.0.0.1. Any other than loopback needs the passwords of nats.conf
	Port    int    // 0: one that is free, see ClientURL

	// Fast lets acknowledgements come before the disk has the data: synced once a second instead of always.
	Fast bool
	// GroupSync opens Server.Syncer, with which the engine itself makes acknowledgements durable, one sync for many;
	// the server then syncs once a second, as with Fast.
	GroupSync bool
	// RequireAuth asks for a password also on loopback, where else everyone is the engine's user.
	RequireAuth bool
	// Vars are values for the variables of Conf, written as in Conf. They win over the environment; what is in
	// neither is supplied: a random password, and for the rest what this struct says.
	Vars map[string]string
	// Cluster keeps Conf's cluster block, so that several servers of one process form a cluster.
	Cluster bool

	Logger *slog.Logger // of the server's warnings and errors; nil = slog.Default()
}

// Server is an embedded NATS server.
type Server struct {
	nats     *server.Server
	lock     *os.File
	syncer   *Syncer
	data     string // the data directory
	account  string // the engine's
	password string // of the user inProcess
}

// StartServer starts an embedded server and waits until it takes connections. Permanent errors: the data directory
// is in use by another process, the port is taken (errors.Is syscall.EADDRINUSE), others could connect without
// authentication, nats.conf does not read.
func StartServer(c ServerConfig) (*Server, error) {
	if c.Name == "" {
		c.Name = "millstream"
	}
	if c.Host == "" {
		c.Host = "127.0.0.1"
	}
	if c.Port == 0 {
		c.Port = server.RANDOM_PORT
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	s := &Server{data: c.DataDir, password: rand.Text()}
	opts, err := c.options(s.password)
	if err != nil {
		return nil, err
	}
	s.account = opts.Users[len(opts.Users)-1].Account.Name
	if s.lock, err = LockDir(c.DataDir); err != nil {
		return nil, err
	}
	if c.GroupSync {
		if s.syncer, err = NewSyncer(c.DataDir, filepath.Join(streamDir(c.DataDir, s.account, EventsStream), "msgs")); err != nil {
			return nil, errors.Join(err, s.lock.Close())
		}
	}
	if s.nats, err = server.NewServer(opts); err != nil {
		s.release()
		return nil, es.Permanent(fmt.Errorf("nats.conf: %w", err))
	}
	log := &serverLog{to: c.Logger, fatal: make(chan string, 1)}
	s.nats.SetLoggerV2(log, false, false, false)
	s.nats.Start()
	if err := s.ready(log); err != nil {
		s.Shutdown()
		return nil, err
	}
	return s, nil
}

// ready waits until the server listens, or says why it does not.
func (s *Server) ready(log *serverLog) error {
	for end := time.Now().Add(startTimeout); time.Now().Before(end); {
		select {
		case why := <-log.fatal:
			if strings.Contains(why, syscall.EADDRINUSE.Error()) {
				return es.Permanent(fmt.Errorf("%w: the embedded NATS server cannot start: %s; stop what uses the port, or choose another with --nats HOST:PORT (port 0 picks a free one)", syscall.EADDRINUSE, why))
			}
			return es.Permanent(fmt.Errorf("the embedded NATS server cannot start: %s", why))
		default:
		}
		if s.nats.ReadyForConnections(100 * time.Millisecond) {
			return nil
		}
	}
	return es.Transient(fmt.Errorf("the embedded NATS server was not ready within %s", startTimeout))
}

var variable = regexp.MustCompile(`\$MILLSTREAM_[A-Z_]+`)

// variables returns the names that nats.conf takes from its environment, comments left out.
func variables(conf string) []string {
	var names []string
	for line := range strings.Lines(conf) {
		line, _, _ = strings.Cut(line, "#")
		for _, v := range variable.FindAllString(line, -1) {
			names = append(names, v[1:])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// options reads nats.conf and overrides what differs in an embedded server.
func (c ServerConfig) options(password string) (*server.Options, error) {
	supplied := map[string]string{
		"MILLSTREAM_NODE":           quote(c.Name),
		"MILLSTREAM_LISTEN":         quote(net.JoinHostPort(c.Host, "4222")),
		"MILLSTREAM_STORE":          quote(c.DataDir),
		"MILLSTREAM_CLUSTER_LISTEN": quote("127.0.0.1:6222"),
		"MILLSTREAM_ROUTES":         "[]",
	}
	var values strings.Builder
	var invented []string
	for _, name := range variables(c.Conf) {
		value, given := c.Vars[name]
		if _, set := os.LookupEnv(name); set && !given {
			continue // nats.conf reads the environment by itself
		}
		if !given {
			value = supplied[name]
			if strings.HasSuffix(name, passwordEnd) {
				value = rand.Text() // nobody knows it, so nobody can connect with it
				invented = append(invented, name)
			}
		}
		fmt.Fprintf(&values, "%s: %s\n", name, value)
	}
	loopback := isLoopback(c.Host)
	if !loopback && len(invented) > 0 {
		return nil, es.Permanent(fmt.Errorf("listening on %s lets other machines connect, which needs passwords: set %s, or listen on 127.0.0.1",
			c.Host, strings.Join(invented, ", ")))
	}
	opts := &server.Options{}
	if err := opts.ProcessConfigString(values.String() + c.Conf); err != nil {
		return nil, es.Permanent(fmt.Errorf("nats.conf: %w", err))
	}
	engine := slices.IndexFunc(opts.Users, func(u *server.User) bool { return u.Username == engineUser })
	if engine < 0 {
		return nil, es.Permanent(fmt.Errorf("nats.conf has no user %q", engineUser))
	}
	opts.Users = append(opts.Users, &server.User{Username: inProcess, Password: password, Account: opts.Users[engine].Account})
	if loopback && !c.RequireAuth {
		opts.NoAuthUser = engineUser // so that the stock nats CLI works without credentials
	}
	opts.ServerName, opts.Host, opts.Port, opts.StoreDir = c.Name, c.Host, c.Port, c.DataDir
	opts.NoSigs = true // signals are the program's
	opts.HTTPPort, opts.HTTPSPort = 0, 0
	if c.Fast || c.GroupSync {
		opts.SyncAlways, opts.SyncInterval = false, time.Second
	}
	if !c.Cluster {
		opts.Cluster, opts.Routes = server.ClusterOpts{}, nil
	}
	return opts, nil
}

// Connect opens a connection of its own, in the process, as a user of the engine's account.
func (s *Server) Connect(opts ...nats.Option) (*nats.Conn, error) {
	own := []nats.Option{nats.Name("millstream"), nats.InProcessServer(s.nats), nats.UserInfo(inProcess, s.password)}
	nc, err := nats.Connect("", append(own, opts...)...)
	if err != nil {
		return nil, es.Transient(fmt.Errorf("connect to the embedded NATS server: %w", err))
	}
	return nc, nil
}

// ClientURL is where others connect: nats://HOST:PORT.
func (s *Server) ClientURL() string { return s.nats.ClientURL() }

// NATS is the server itself, for what this type does not offer.
func (s *Server) NATS() *server.Server { return s.nats }

// Healthy says what is wrong with the server and its streams (a failed write stays one until the next start).
func (s *Server) Healthy() error {
	if h := s.nats.Healthz(&server.HealthzOptions{}); h.Status != "ok" {
		return es.Transient(fmt.Errorf("the embedded NATS server is not healthy (%s): %s", h.Status, h.Error))
	}
	return nil
}

// Shutdown stops the server, waits until it has stopped and gives the data directory free.
func (s *Server) Shutdown() {
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
	s.release()
}

// release closes what is beside the server. An error would change nothing: the lock goes with the file descriptor.
func (s *Server) release() {
	if s.syncer != nil {
		s.syncer.Close()
	}
	s.lock.Close()
}

// ForgetConsumer removes from disk what the server could not load of a consumer: its state was torn by a power cut.
func (s *Server) ForgetConsumer(stream, consumer string) error {
	if !es.ValidID(stream) || !es.ValidID(consumer) {
		return es.Permanent(fmt.Errorf("no consumer is named %q on %q", consumer, stream))
	}
	return os.RemoveAll(filepath.Join(streamDir(s.data, s.account, stream), "obs", consumer))
}

// Sync brings everything that is in the data directory to disk.
func (s *Server) Sync() error {
	sync, closeFile, err := openSync(s.nats.StoreDir())
	if err == nil {
		err = errors.Join(sync(), closeFile())
	}
	if err != nil {
		return es.Permanent(fmt.Errorf("data directory %s cannot be synced: %w", s.nats.StoreDir(), err))
	}
	return nil
}

// streamDir is where the server keeps a stream: its messages in msgs, its consumers in obs.
func streamDir(data, account, stream string) string {
	return filepath.Join(data, server.JetStreamStoreDir, account, "streams", stream)
}

// Syncer makes acknowledgements durable; nil unless ServerConfig.GroupSync.
func (s *Server) Syncer() *Syncer { return s.syncer }

func quote(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// serverLog carries the server's own log to slog. The server would end the process on a fatal error; here it only
// tells StartServer.
type serverLog struct {
	to    *slog.Logger
	fatal chan string
}

func (l *serverLog) Noticef(format string, v ...any) {
	l.to.Debug("nats: " + fmt.Sprintf(format, v...))
}
func (l *serverLog) Warnf(format string, v ...any) {
	if strings.HasPrefix(format, "Plaintext passwords") {
		return // they were made up at this start, and nobody has seen them
	}
	l.to.Warn("nats: " + fmt.Sprintf(format, v...))
}
func (l *serverLog) Errorf(format string, v ...any) { l.to.Error("nats: " + fmt.Sprintf(format, v...)) }
func (l *serverLog) Debugf(string, ...any)          {}
func (l *serverLog) Tracef(string, ...any)          {}

func (l *serverLog) Fatalf(format string, v ...any) {
	select {
	case l.fatal <- fmt.Sprintf(format, v...):
	default:
		l.Errorf(format, v...)
	}
}
