package natsstore_test

import (
	"errors"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	millstream "github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/nats-io/nats.go"
)

func TestServerTakesStrangersAsTheEngineOnlyOnLoopback(t *testing.T) {
	t.Parallel()
	s := estest.StartServer(t, millstream.NATSConf)
	if err := s.Healthy(); err != nil {
		t.Error(err)
	}
	estest.SetUp(t, estest.Connect(t, s.ClientURL(), ""), 1) // as `nats stream ls` would connect

	config := quiet(t)
	config.Host = "0.0.0.0"
	_, err := natsstore.StartServer(config)
	refused(t, err, "0.0.0.0", "MILLSTREAM_ENGINE_PASSWORD", "127.0.0.1")

	config.RequireAuth, config.Host = true, ""
	s = start(t, config)
	if nc, err := nats.Connect(s.ClientURL()); err == nil {
		nc.Close()
		t.Error("a stranger got in although a password is required")
	}
	inProcess(t, s)

	config = quiet(t)
	config.Host, config.Vars = "0.0.0.0", map[string]string{}
	for _, user := range []string{"ENGINE", "CLIENT", "READER", "SYS", "CLUSTER"} {
		config.Vars["MILLSTREAM_"+user+"_PASSWORD"] = "secret"
	}
	s = start(t, config)
	if nc, err := nats.Connect(s.ClientURL()); err == nil {
		nc.Close()
		t.Error("a stranger got in from another machine")
	}
	nc, err := nats.Connect(s.ClientURL(), nats.UserInfo("client", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

func TestPortTakenSaysWhichAndHowToChangeIt(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(estest.StartServer(t, millstream.NATSConf).ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	config := quiet(t)
	if config.Port, err = strconv.Atoi(u.Port()); err != nil {
		t.Fatal(err)
	}
	_, err = natsstore.StartServer(config)
	refused(t, err, "127.0.0.1:"+u.Port(), "--nats HOST:PORT")
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("%v is not EADDRINUSE", err)
	}
	config.Port = 0
	start(t, config) // the directory is free again
}

func TestConfThatDoesNotReadIsRefused(t *testing.T) {
	t.Parallel()
	for conf, want := range map[string]string{
		"debug: false":                        `no user "engine"`,
		millstream.NATSConf + "\nnonsense: 1": "nonsense",
		"accounts {":                          "nats.conf",
	} {
		config := quiet(t)
		config.Conf = conf
		_, err := natsstore.StartServer(config)
		refused(t, err, want)
	}
}

// TestSecondProcessOnTheSameDataIsRefused has the first process killed as well: its lock must go with it.
func TestSecondProcessOnTheSameDataIsRefused(t *testing.T) {
	t.Parallel()
	config := quiet(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	first := exec.Command(self, "-test.run=^TestHoldDataDirectory$")
	first.Env = append(os.Environ(), "HOLD_DATA_DIRECTORY="+config.DataDir)
	hold, err := first.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	out, err := first.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // it writes when it has the directory
		t.Fatal(err)
	}
	_, err = natsstore.StartServer(config)
	refused(t, err, config.DataDir, "process "+strconv.Itoa(first.Process.Pid), "--data DIR")

	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := first.Wait(); err == nil {
		t.Error("the first process ended by itself")
	}
	s := start(t, config)
	_, err = natsstore.StartServer(config)
	refused(t, err, config.DataDir, "process "+strconv.Itoa(os.Getpid()))
	s.Shutdown()
	start(t, config)
}

func TestHoldDataDirectory(t *testing.T) {
	dir := os.Getenv("HOLD_DATA_DIRECTORY")
	if dir == "" {
		t.Skip("runs as the child of another test")
	}
	config := quiet(t)
	config.DataDir = dir
	start(t, config)
	if _, err := os.Stdout.WriteString("!"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
		t.Fatal(err) // the parent is gone
	}
}

func TestDataSurvivesARestart(t *testing.T) {
	t.Parallel()
	config := quiet(t)
	s := start(t, config)
	js := estest.SetUp(t, inProcess(t, s), 1)
	if _, err := js.Publish(t.Context(), "events.order.o-1", []byte("fact")); err != nil {
		t.Fatal(err)
	}
	s.Shutdown()
	if _, err := os.Stat(filepath.Join(config.DataDir, "jetstream")); err != nil {
		t.Error(err)
	}
	js = estest.SetUp(t, inProcess(t, start(t, config)), 1)
	stream, err := js.Stream(t.Context(), natsstore.EventsStream)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := stream.GetMsg(t.Context(), 1); err != nil || string(m.Data) != "fact" {
		t.Fatalf("%+v, %v", m, err)
	}
}

func quiet(t *testing.T) natsstore.ServerConfig {
	return natsstore.ServerConfig{Conf: millstream.NATSConf, DataDir: t.TempDir(), Fast: true, Logger: slog.New(slog.DiscardHandler)}
}

func start(t *testing.T, config natsstore.ServerConfig) *natsstore.Server {
	t.Helper()
	s, err := natsstore.StartServer(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

func refused(t *testing.T, err error, parts ...string) {
	t.Helper()
	if !errors.Is(err, es.ErrPermanent) {
		t.Fatalf("got %v, want a permanent error", err)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not mention %q", err, part)
		}
	}
}
