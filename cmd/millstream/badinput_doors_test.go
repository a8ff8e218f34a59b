package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/coder/websocket"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/runtime"
)

// said is what a door answered: the status that its family uses (HTTP, a NATS service's error code, an exit code, 0:
// it has none), the error's code and its text.
type said struct {
	status int
	code   string
	text   string
}

// doors are those of one running process. Each takes a row and returns what it said; ok: the row can be said there.
type doors struct {
	p      *process
	nc     *nats.Conn
	js     jetstream.JetStream
	socket *websocket.Conn
}

func openDoors(t *testing.T, p *process) *doors {
	nc := connect(t, p.NATS)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	socket, _, err := websocket.Dial(t.Context(), p.HTTP+"/ws", &websocket.DialOptions{Subprotocols: []string{"millstream.v1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.CloseNow() })
	return &doors{p, nc, js, socket}
}

// problemIn reads an error in any of the shapes that doors give it.
func problemIn(body []byte) (code, text string) {
	var found struct {
		Error *es.Problem `json:"error"`
		es.Problem
		Errors []struct {
			Message    string         `json:"message"`
			Extensions map[string]any `json:"extensions"`
		} `json:"errors"`
		Data map[string]*struct {
			Error *es.Problem `json:"error"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &found); err != nil {
		return "", string(body)
	}
	text = string(body)
	if found.Error != nil {
		return found.Error.Code, text
	}
	for _, field := range found.Data {
		if field != nil && field.Error != nil {
			return field.Error.Code, text
		}
	}
	if len(found.Errors) > 0 {
		code, _ = found.Errors[0].Extensions["code"].(string)
		return code, text
	}
	return found.Code, text
}

func (d *doors) http(method, path string, header http.Header, body string) (said, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, d.p.HTTP+path, strings.NewReader(body))
	if err != nil {
		return said{}, err
	}
	for name, values := range header {
		r.Header[name] = values
	}
	response, err := http.DefaultTransport.RoundTrip(r) // redirects are answers too
	if err != nil {
		return said{}, err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK && response.Header.Get("Content-Type") == "text/event-stream" {
		return said{status: response.StatusCode, text: "a stream of events"}, nil
	}
	answer, err := io.ReadAll(response.Body)
	code, text := problemIn(answer)
	return said{response.StatusCode, code, text}, err
}

// collections are the categories whose path is not their plural.
var collections = map[string]string{"stock": "stock"}

func (d *doors) rest(b bad) (said, bool, error) {
	header := http.Header{"Content-Type": {"application/json"}}
	if b.id != "" {
		header.Set("Idempotency-Key", b.id)
	}
	if b.version != "" {
		header.Set("If-Match", `"`+b.version+`"`)
	}
	for name, values := range b.header {
		header[name] = values
	}
	switch {
	case b.command != "":
		collection, ok := collections[b.category]
		if !ok {
			collection = b.category + "s"
		}
		s, err := d.http(http.MethodPost, "/"+collection+"/"+url.PathEscape(b.on)+"/"+kebab(b.command), header, b.body)
		return s, true, err
	case b.path != "":
		s, err := d.http(http.MethodGet, b.path, header, "")
		return s, true, err
	}
	return said{}, false, nil
}

func kebab(name string) string {
	var b strings.Builder
	for i, c := range name {
		if unicode.IsUpper(c) && i > 0 {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}

func (b bad) message(prefix string) *nats.Msg {
	m := nats.NewMsg(prefix + "." + b.category + "." + b.on + "." + b.command)
	m.Data = []byte(b.body)
	if b.id != "" {
		m.Header.Set("Nats-Msg-Id", b.id)
	}
	if b.version != "" {
		m.Header.Set("Millstream-Expected-Version", b.version)
	}
	for name, value := range b.natsHeader {
		m.Header.Set(name, value)
	}
	return m
}

// token reports whether the row's command can be said by a subject.
func (b bad) token() bool {
	return b.command != "" && b.header == nil && b.on != "" && !strings.ContainsAny(b.on+b.category+b.command, " \r\n\t\x00")
}

func (d *doors) ask(m *nats.Msg) (said, bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	answer, err := d.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return said{}, true, fmt.Errorf("%s: %w", m.Subject, err)
	}
	status, err := strconv.Atoi(answer.Header.Get("Nats-Service-Error-Code"))
	if err != nil {
		return said{}, true, fmt.Errorf("%s: no error but %s", m.Subject, answer.Data)
	}
	code, text := problemIn(answer.Data)
	return said{status, code, text}, true, nil
}

func (d *doors) call(b bad) (said, bool, error) {
	if !b.token() {
		return said{}, false, nil
	}
	return d.ask(b.message("call"))
}

func (d *doors) queries(b bad) (said, bool, error) {
	if b.query == "" {
		return said{}, false, nil
	}
	m := nats.NewMsg("queries." + b.query)
	m.Data = []byte(b.params)
	for name, value := range b.natsHeader {
		m.Header.Set(name, value)
	}
	return d.ask(m)
}

// queue leaves a command in COMMANDS and returns its place there.
func (d *doors) queue(b bad) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	m := b.message("commands")
	if b.id == "" {
		m.Header.Set("Nats-Msg-Id", "queued-"+strconv.FormatInt(time.Now().UnixNano(), 36))
	}
	ack, err := d.js.PublishMsg(ctx, m)
	if err != nil {
		return 0, err
	}
	if ack.Duplicate {
		return 0, fmt.Errorf("%s was taken for another", m.Subject)
	}
	return ack.Sequence, nil
}

// letters are the errors of the commands that were put aside, by their place in COMMANDS.
func (d *doors) letters(ctx context.Context) (map[uint64]string, error) {
	found := map[uint64]string{}
	err := natsstore.Scan(ctx, d.js, natsstore.DeadLettersStream, "deadletters.>", func(m *jetstream.RawStreamMsg) error {
		var l runtime.DeadLetter
		if err := json.Unmarshal(m.Data, &l); err != nil {
			return err
		}
		found[l.Sequence] = l.Error
		return nil
	})
	return found, err
}

// mutations are GraphQL's names: the argument with the id.
var mutations = map[string]string{
	"stock": "productId", "order": "orderId", "customer": "customerId", "account": "accountId",
	"payment": "paymentId", "transfer": "transferId", "mail": "orderId",
}

func (d *doors) graphql(b bad) (said, bool, error) {
	text := b.graphql
	variables := "{}"
	if b.command != "" && b.header == nil && b.natsHeader == nil {
		argument, ok := mutations[b.category]
		if !ok {
			return said{}, false, nil
		}
		extra := ""
		if b.id != "" {
			extra += fmt.Sprintf(", idempotencyKey: %q", b.id)
		}
		if b.version != "" {
			extra += ", expectedVersion: " + b.version
		}
		on, err := json.Marshal(b.on)
		if err != nil {
			return said{}, true, err
		}
		text = fmt.Sprintf("mutation($input: %sInput!) { %s(%s: %s, input: $input%s) { outcome error { code message pointer errors { pointer message } } } }",
			b.command, strings.ToLower(b.command[:1])+b.command[1:], argument, on, extra)
		variables = `{"input":` + b.body + `}`
	}
	if text == "" {
		return said{}, false, nil
	}
	quoted, err := json.Marshal(text)
	if err != nil {
		return said{}, true, err
	}
	s, err := d.http(http.MethodPost, "/graphql", http.Header{"Content-Type": {"application/json"}}, `{"query":`+string(quoted)+`,"variables":`+variables+`}`)
	return s, true, err
}

// cli sends a command, or asks a read model, with the binary. The status is the exit code.
func (d *doors) cli(b bad) (said, bool, error) {
	var args []string
	switch {
	case b.cli != nil:
		args = append(args, b.cli...)
	case b.token() && b.natsHeader == nil || b.command != "" && b.header == nil && b.natsHeader == nil && !strings.Contains(b.on, "\x00"):
		args = []string{"send", b.category + "/" + b.on, b.command, "-"}
		if b.id != "" {
			args = append(args, "--id="+b.id)
		}
		if b.version != "" {
			args = append(args, "--expected-version="+b.version)
		}
	default:
		return said{}, false, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "millstream", append(args, "--server="+d.p.NATS)...)
	cmd.Stdin = strings.NewReader(b.body)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		return said{}, true, err
	}
	code, text := problemIn(out.Bytes())
	if out.Len() == 0 {
		text = errs.String()
		for _, word := range strings.FieldsFunc(text, func(c rune) bool { return c == ':' || c == ' ' || c == '\n' }) {
			if word == b.code {
				code = word // where it stands in a line for people
			}
		}
	}
	return said{cmd.ProcessState.ExitCode(), code, text}, true, nil
}

func (d *doors) websocket(b bad) (said, bool, error) {
	if b.follow == "" {
		return said{}, false, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := d.socket.Write(ctx, websocket.MessageText, []byte(b.follow)); err != nil {
		return said{}, true, err
	}
	_, data, err := d.socket.Read(ctx)
	if err != nil {
		return said{}, true, err
	}
	code, text := problemIn(data)
	return said{0, code, text}, true, nil
}

func (d *doors) sse(b bad) (said, bool, error) {
	if b.events == "" {
		return said{}, false, nil
	}
	s, err := d.http(http.MethodGet, "/events?"+b.events, b.header, "")
	return s, true, err
}
