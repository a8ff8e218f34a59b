package cli

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/api/access"
	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/natsstore"
	"github.com/millstream-es/millstream/es/runtime"
)

// A command that is queued by a call is its sender's; by a message in the queue it is nobody's, whatever that says.
func TestWhoQueuesByNATSIsKnownIfTheyCall(t *testing.T) {
	t.Parallel()
	s := newServed(t, authFlags{APIKeys: true, NATSRoles: map[string]string{"client": "operator"}})
	client := estest.Connect(t, s.nats.ClientURL(), "client")
	js, err := jetstream.New(estest.Connect(t, s.nats.ClientURL(), ""))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(subject, body string, into any, headers ...string) {
		t.Helper()
		m := nats.NewMsg(subject)
		m.Data = []byte(body)
		for i := 0; i < len(headers); i += 2 {
			m.Header.Set(headers[i], headers[i+1])
		}
		reply, err := client.RequestMsg(m, 20*time.Second)
		if err == nil {
			err = json.Unmarshal(reply.Data, into)
		}
		if err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
	}
	user := func(id string) (name string) {
		t.Helper()
		s.until(t, "stores an event of "+id, func() bool {
			m, err := natsstore.Newest(t.Context(), js, natsstore.EventsStream, "events.stock."+id)
			if err == nil && m != nil {
				name = m.Header.Get("ce-userid")
			}
			return name != ""
		})
		return name
	}

	var queued runtime.Queued
	ask("call.stock.p-1.ReceiveStock", `{"quantity":1}`, &queued, "Prefer", "respond-async", "Nats-Msg-Id", "q-1", "User-Id", "mallory", "Nats-Request-Info", `{"acc":"ENGINE","user":"engine"}`)
	if queued != (runtime.Queued{CommandID: "q-1", Stream: "stock/p-1", Status: "pending"}) {
		t.Errorf("the answer is %+v", queued)
	}
	if name := user("p-1"); name != "client" {
		t.Errorf("queued by a call, the command is %q's", name)
	}
	var reply es.Reply
	ask("call.stock.p-1.ReceiveStock", `{"quantity":1}`, &reply, "Nats-Msg-Id", "q-1")
	if reply.Outcome != es.Accepted || reply.Version != 1 {
		t.Errorf("called with the same id, it is answered %+v", reply)
	}
	var ack jetstream.PubAck
	ask("commands.stock.p-2.ReceiveStock", `{"quantity":1}`, &ack, "User-Id", "mallory")
	if ack.Stream != natsstore.CommandsStream || ack.Sequence == 0 {
		t.Errorf("the queue acknowledges %+v", ack)
	}
	if name := user("p-2"); name != "queued" {
		t.Errorf("put into the queue, the command is %q's", name)
	}
	for _, c := range []struct{ subject, body, code string }{
		{"call.stock.p-1.ReceiveStock", `{"quantity":0}`, "schema"},
		{"call.stock.p-1.ReceiveStok", `{}`, "unknown_command"},
		{"call.transfer.t-1.CompleteTransfer", `{}`, access.CodeDenied},
	} {
		reply = es.Reply{}
		if ask(c.subject, c.body, &reply, "Prefer", "respond-async"); reply.Error == nil || reply.Error.Code != c.code {
			t.Errorf("%s %s is answered %+v %+v", c.subject, c.body, reply, reply.Error)
		}
	}
}
