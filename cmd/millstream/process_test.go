package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain puts the binary on the PATH of the tests, as `millstream`, and beside it a plain NATS server.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"millstream": main, "nats-server": natsServer})
}

// natsServer is `nats-server -c FILE`.
func natsServer() {
	opts, err := server.ProcessConfigFile(os.Args[len(os.Args)-1])
	if err == nil {
		var s *server.Server
		if s, err = server.NewServer(opts); err == nil {
			s.ConfigureLogger()
			s.Start()
			s.WaitForShutdown()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "nats-server:", err)
		os.Exit(1)
	}
}

// patience is how long a condition may take to come true before a test gives up.
const patience = 60 * time.Second

// process is a running child.
type process struct {
	cmd    *exec.Cmd
	log    *transcript
	ended  chan struct{} // closed when it has ended
	err    error         // how; set before ended is closed
	NATS   string        `json:"nats"`
	HTTP   string        `json:"http"`
	Data   string        `json:"data"`
	stdout *bufio.Reader
}

// transcript keeps what a child said.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// launch starts a child; env is added to this process's own.
func launch(env []string, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(name, args...), log: &transcript{}, ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = p.log
	stdout, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout = w
	p.stdout = bufio.NewReader(stdout)
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, w.Close(), stdout.Close())
	}
	go func() {
		p.err = errors.Join(p.cmd.Wait(), w.Close())
		close(p.ended)
	}()
	return p, nil
}

// launchNode starts `millstream VERB --json` and waits until it is ready.
func launchNode(env []string, args ...string) (*process, error) {
	p, err := launch(env, "millstream", append(args, "--json")...)
	if err != nil {
		return nil, err
	}
	line := make(chan []byte, 1)
	go func() {
		if text, err := p.stdout.ReadBytes('\n'); err == nil {
			line <- text
		}
		io.Copy(io.Discard, p.stdout) // nothing more is expected there
	}()
	select {
	case text := <-line:
		if err := json.Unmarshal(text, p); err != nil {
			return nil, errors.Join(fmt.Errorf("ready line %q: %w", text, err), p.kill())
		}
		return p, nil
	case <-p.ended:
		return nil, fmt.Errorf("millstream ended before it was ready (%w):\n%s", p.err, p.log)
	case <-time.After(patience):
		return nil, errors.Join(fmt.Errorf("millstream was not ready within %s:\n%s", patience, p.log), p.kill())
	}
}

// kill is kill -9.
func (p *process) kill() error {
	select {
	case <-p.ended:
		return nil
	default:
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.ended
	return nil
}

// stop asks to finish, and demands a clean end.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.ended:
		if p.err != nil {
			return fmt.Errorf("ended with %w:\n%s", p.err, p.log)
		}
		return nil
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("did not stop within %s:\n%s", patience, p.log), p.kill())
	}
}

// bury ends the process with its test; when that has failed, with what it said and what its goroutines were at.
func (p *process) bury(t testing.TB) {
	if p == nil {
		return // it never started
	}
	if t.Failed() {
		if err := p.cmd.Process.Signal(syscall.SIGQUIT); err == nil {
			<-p.ended
		}
		t.Logf("what millstream said:\n%s", p.log)
	}
	if err := p.kill(); err != nil {
		t.Error(err)
	}
}

// dev starts a node on free ports and ends it with the test.
func dev(t testing.TB, dir string, args ...string) *process {
	t.Helper()
	p, err := launchNode(nil, append([]string{"dev", "--data", dir, "--nats", "127.0.0.1:0", "--http", "127.0.0.1:0"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.bury(t) })
	return p
}

// eventually waits for a condition; what it returns as an error says what is still missing.
func eventually(limit time.Duration, condition func() error) error {
	deadline := time.Now().Add(limit)
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := condition()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %s: %w", limit, err)
		}
		time.Sleep(pause) // between two looks; not what is waited for
	}
}

// getJSON reads an answer of the HTTP door.
func getJSON(url string, into any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %s", url, response.Status, body)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("GET %s: %w: %s", url, err, body)
	}
	return nil
}

// run runs a child to its end and returns what it printed and its exit code.
func run(t testing.TB, name string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs strings.Builder
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// northwind returns the folder of the Northwind sample, or skips the test.
func northwind(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("MILLSTREAM_NORTHWIND")
	if dir == "" {
		dir = "../../../shared/northwind"
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "orders.csv")); err != nil {
		t.Skipf("no Northwind files in %s: set MILLSTREAM_NORTHWIND to their folder", dir)
	}
	return dir
}
