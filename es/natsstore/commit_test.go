package natsstore

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/millstream-es/millstream/es"
)

// header copies a message's headers, for a test to change.
func header(m *nats.Msg) nats.Header { return maps.Clone(m.Header) }

func TestCommitComesBackAsItWas(t *testing.T) {
	t.Parallel()
	codec := Codec(t)
	odd := CommitOf(Front, 3, 7, Opened{By: "ä \"<&>\"\n"})
	odd.Events[0].User, odd.Events[0].CommandID, odd.Events[0].ID = "Ada Löwe 100%\r\n", "a/b c", "a/b c/1"
	bare := CommitOf(Front, 1, 0, Closed{})
	bare.Events[0].Meta = es.Meta{Stream: Front, CommandID: "c", Time: time.Time{}}
	bare.Events[0].ID = "c/1"
	for name, c := range map[string]es.Commit{
		"one event":      CommitOf(Front, 1, 0, Opened{By: "ada"}),
		"several events": CommitOf(Front, 4, 9, Opened{By: "<ada>"}, Closed{}, Opened{By: "bob"}),
		"odd texts":      odd,
		"nothing set":    bare,
	} {
		t.Run(name, func(t *testing.T) {
			msg, err := encode(codec, c)
			if err != nil {
				t.Fatal(err)
			}
			for k := range msg.Header {
				v := msg.Header.Get(k)
				if strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' && k != contentType || r > '~' }) {
					t.Errorf("header %s: %q", k, v)
				}
			}
			got, err := decode(codec, Subject(Front), parsed(header(msg)), msg.Data, 42)
			if err != nil {
				t.Fatal(err)
			}
			for i := range c.Events {
				c.Events[i].Revision = 42
			}
			if diff := cmp.Diff(c.Events, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCommitReadsWellOnTheWire(t *testing.T) {
	t.Parallel()
	msg, err := encode(Codec(t), CommitOf(Front, 1, 0, Opened{By: "ada"}))
	if err != nil {
		t.Fatal(err)
	}
	want := nats.Header{
		"_watermill_message_uuid": {"c-1/1"},
		"ce-specversion":          {"1.0"}, "ce-id": {"c-1/1"}, "ce-source": {"/door/front"}, "ce-type": {"Opened"}, "ce-subject": {"door/front"},
		"ce-time": {"2026-01-31T12:00:01.000000001Z"}, "ce-datacontenttype": {"application/json"}, "ce-eventversion": {"1"}, "ce-version": {"1"},
		"ce-correlationid": {"r"}, "ce-causationid": {"x/1"}, "ce-userid": {"ada"}, "traceparent": {"00-a-b-01"}, "ce-requesthash": {"abc"},
	}
	if diff := cmp.Diff(want, msg.Header); diff != "" || string(msg.Data) != `{"by":"ada"}` {
		t.Errorf("%s%s", msg.Data, diff)
	}
	if msg, err = encode(Codec(t), CommitOf(Front, 1, 0, Opened{By: "ada"}, Closed{})); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(nats.Header{"_watermill_message_uuid": {"c-1/1"}, "content-type": {"application/cloudevents-batch+json"}}, msg.Header); diff != "" {
		t.Error(diff)
	}
	if !strings.HasPrefix(string(msg.Data), `[{"specversion":"1.0","id":"c-1/1","source":"/door/front","type":"Opened","subject":"door/front",`) {
		t.Errorf("%s", msg.Data)
	}
}

func TestCommitThatCouldNotBeReadBackIsNotWritten(t *testing.T) {
	t.Parallel()
	codec := Codec(t)
	for want, spoil := range map[string]func(*es.Commit){
		"no events":          func(c *es.Commit) { c.Events = nil },
		"bad_id":             func(c *es.Commit) { c.Stream.ID = "a.b" },
		"of stream door/x":   func(c *es.Commit) { c.Events[1].Stream.ID = "x" },
		"command id must be": func(c *es.Commit) { c.Events[1].CommandID = "other" },
		"its id must be":     func(c *es.Commit) { c.Events[1].ID = "c-1/1" },
		"its version must":   func(c *es.Commit) { c.Events[1].Version = 3 },
		"must have version 1": func(c *es.Commit) {
			c.Events[0].Version, c.Events[1].Version = 2, 3
		},
		"nil":       func(c *es.Commit) { c.Events[0].Event = nil },
		"not UTF-8": func(c *es.Commit) { c.Events[0].User = "\xff" },
	} {
		c := CommitOf(Front, 1, 0, Opened{}, Closed{})
		spoil(&c)
		if _, err := encode(codec, c); !errors.Is(err, es.ErrPermanent) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

func TestWhatIsNoCommitIsNotRead(t *testing.T) {
	t.Parallel()
	codec := Codec(t)
	single, err := encode(codec, CommitOf(Front, 1, 0, Opened{By: "ada"}))
	if err != nil {
		t.Fatal(err)
	}
	batch, err := encode(codec, CommitOf(Front, 1, 0, Opened{By: "ada"}, Closed{}))
	if err != nil {
		t.Fatal(err)
	}
	set := func(k, v string) func(nats.Header) nats.Header {
		return func(h nats.Header) nats.Header { h[k] = []string{v}; return h }
	}
	same := func(h nats.Header) nats.Header { return h }
	replace := func(old, new string) []byte {
		return []byte(strings.Replace(string(batch.Data), old, new, 1))
	}
	for name, c := range map[string]struct {
		subject string
		header  nats.Header
		data    []byte
	}{
		"a plain message":           {Subject(Front), nil, []byte(`{}`)},
		"a foreign subject":         {"orders.door.front", header(single), single.Data},
		"a subject of four tokens":  {"events.door.front.x", header(single), single.Data},
		"another stream's event":    {"events.door.back", header(single), single.Data},
		"a double header":           {Subject(Front), func() nats.Header { h := header(single); h.Add("ce-id", "c-1/1"); return h }(), single.Data},
		"another spec":              {Subject(Front), set("ce-specversion", "0.3")(header(single)), single.Data},
		"a wrong id":                {Subject(Front), set("ce-id", "c-1/2")(header(single)), single.Data},
		"an id without a command":   {Subject(Front), set("ce-id", "/1")(header(single)), single.Data},
		"version 0":                 {Subject(Front), set("ce-version", "0")(header(single)), single.Data},
		"version -1":                {Subject(Front), set("ce-version", "-1")(header(single)), single.Data},
		"an unknown type":           {Subject(Front), set("ce-type", "Painted")(header(single)), single.Data},
		"a version of the future":   {Subject(Front), set("ce-eventversion", "2")(header(single)), single.Data},
		"a wrong time":              {Subject(Front), set("ce-time", "yesterday")(header(single)), single.Data},
		"a cut escape":              {Subject(Front), set("ce-userid", "a%2")(header(single)), single.Data},
		"a wrong escape":            {Subject(Front), set("ce-userid", "a%zz")(header(single)), single.Data},
		"an escape that is no text": {Subject(Front), set("ce-userid", "%ff")(header(single)), single.Data},
		"a body that does not fit":  {Subject(Front), same(header(single)), []byte(`{"by":1}`)},
		"no JSON":                   {Subject(Front), same(header(single)), []byte(`{`)},
		"another content type":      {Subject(Front), set("content-type", "application/cloudevents+json")(header(batch)), batch.Data},
		"an empty batch":            {Subject(Front), header(batch), []byte(`[]`)},
		"a batch that is none":      {Subject(Front), header(batch), []byte(`{}`)},
		"a cut batch":               {Subject(Front), header(batch), batch.Data[:len(batch.Data)-1]},
		"a batch with a gap":        {Subject(Front), header(batch), replace(`"version":2`, `"version":3`)},
		"a batch of two commands":   {Subject(Front), header(batch), replace(`"id":"c-1/2"`, `"id":"c-2/2"`)},
		"a batch of two streams":    {Subject(Front), header(batch), replace(`"source":"/door/front"`, `"source":"/door/back"`)},
	} {
		log := &Log{codec: codec}
		events, err := log.Decode(c.subject, c.header, c.data, 42)
		if !errors.Is(err, es.ErrPermanent) || events != nil || !strings.Contains(err.Error(), c.subject) || !strings.Contains(err.Error(), "42") {
			t.Errorf("%s: got %v, %v", name, events, err)
		}
	}
}

// FuzzDecode: whatever stands in the log, Decode neither panics nor makes up an event; what it accepts is what encode
// would have written.
func FuzzDecode(f *testing.F) {
	codec := Codec(f)
	for _, c := range []es.Commit{CommitOf(Front, 1, 0, Opened{By: "ä"}), CommitOf(Front, 2, 1, Opened{}, Closed{})} {
		m, err := encode(codec, c)
		if err != nil {
			f.Fatal(err)
		}
		h := header(m)
		f.Add(h.Get(contentType), h.Get("ce-id"), h.Get("ce-type"), h.Get("ce-time"), h.Get("ce-userid"), h.Get("ce-version"), m.Data)
	}
	log := &Log{codec: codec}
	f.Fuzz(func(t *testing.T, form, id, typ, at, user, version string, data []byte) {
		h := nats.Header{
			"ce-specversion": {"1.0"}, "ce-source": {"/door/front"}, "ce-subject": {"door/front"}, "ce-datacontenttype": {"application/json"}, "ce-eventversion": {"1"},
			contentType: {form}, "ce-id": {id}, "ce-type": {typ}, "ce-time": {at}, "ce-userid": {user}, "ce-version": {version},
		}
		events, err := log.Decode(Subject(Front), h, data, 42)
		if err != nil {
			if !errors.Is(err, es.ErrPermanent) || events != nil {
				t.Fatalf("%v, %v", events, err)
			}
			return
		}
		expected := es.Revision(0)
		if events[0].Version > 1 {
			expected = 41
		}
		m, err := encode(codec, es.Commit{Stream: Front, Expected: expected, Events: events})
		if err != nil {
			t.Fatal(err)
		}
		again, err := log.Decode(Subject(Front), header(m), m.Data, 42)
		if diff := cmp.Diff(events, again); err != nil || diff != "" {
			t.Fatal(err, diff)
		}
	})
}
