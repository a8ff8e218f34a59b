package natsstore

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream/es"
)

func TestPublisher(t *testing.T) {
	t.Parallel()
	nc := serve(t)
	js, err := jetstream.New(nc)
	if err == nil {
		err = SetUp(t.Context(), js, 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	p := NewPublisher(nc)
	stored := func(subject string) uint64 {
		t.Helper()
		s, err := js.Stream(t.Context(), EventsStream)
		if err != nil {
			t.Fatal(err)
		}
		info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(subject))
		if err != nil {
			t.Fatal(err)
		}
		return info.State.Subjects[subject]
	}
	msg := func(metadata ...string) *message.Message {
		m := message.NewMessage("id", []byte("body"))
		for i := 0; i < len(metadata); i += 2 {
			m.Metadata.Set(metadata[i], metadata[i+1])
		}
		return m
	}

	t.Run("append expects and returns revisions", func(t *testing.T) {
		first, err := p.Append(t.Context(), "events.door.a", msg("kind", "test"), 0)
		if err != nil || first == 0 {
			t.Fatal(first, err)
		}
		if _, err := p.Append(t.Context(), "events.door.a", msg(), 0); !errors.Is(err, es.ErrConflict) || !errors.Is(err, es.ErrTransient) {
			t.Errorf("got %v", err)
		}
		second, err := p.Append(t.Context(), "events.door.a", msg(), first)
		if err != nil || second <= first {
			t.Errorf("%d, %v", second, err)
		}
	})
	t.Run("publish stops at the first failure", func(t *testing.T) {
		err := p.Publish("events.door.b", msg(ExpectedRevision, "0"), msg(ExpectedRevision, "0"), msg())
		if !errors.Is(err, es.ErrConflict) || !strings.Contains(err.Error(), "message 2 of 3") {
			t.Errorf("got %v", err)
		}
		if n := stored("events.door.b"); n != 1 {
			t.Errorf("%d messages are stored", n)
		}
	})
	t.Run("publish without an expectation always stores", func(t *testing.T) {
		if err := p.Publish("events.door.c", msg(), msg()); err != nil || stored("events.door.c") != 2 {
			t.Error(err)
		}
	})
	t.Run("an ended message context sends nothing", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		m := msg()
		m.SetContext(ctx)
		if err := p.Publish("events.door.d", m); !errors.Is(err, es.ErrTransient) || errors.Is(err, es.ErrUnknownOutcome) || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if n := stored("events.door.d"); n != 0 {
			t.Errorf("%d messages are stored", n)
		}
	})
	t.Run("a topic with a wildcard is refused", func(t *testing.T) {
		for _, topic := range []string{"", "events.door.*", "events.>", "events.door.a b"} {
			if err := p.Publish(topic, msg()); !errors.Is(err, es.ErrPermanent) {
				t.Errorf("%q: got %v", topic, err)
			}
		}
	})
	t.Run("a header that cannot be sent is permanent", func(t *testing.T) {
		if err := p.Publish("events.door.e", msg("a b", "c")); !errors.Is(err, es.ErrPermanent) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a lost connection leaves the outcome unknown", func(t *testing.T) {
		other := serve(t)
		lost := NewPublisher(other)
		other.Close()
		if _, err := lost.Append(t.Context(), "events.door.f", msg(), 0); !errors.Is(err, es.ErrUnknownOutcome) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a closed publisher leaves the connection open", func(t *testing.T) {
		closed := NewPublisher(nc)
		if err := closed.Close(); err != nil {
			t.Fatal(err)
		}
		if err := closed.Publish("events.door.g", msg()); !errors.Is(err, es.ErrPermanent) {
			t.Errorf("got %v", err)
		}
		if err := p.Publish("events.door.g", msg()); err != nil {
			t.Error(err)
		}
	})
}

func TestErrorsOfJetStreamAreClassified(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		code, errCode int
		want          error
	}{
		{400, 10071, es.ErrConflict},
		{400, 10164, es.ErrConflict},
		{400, 10054, es.ErrPermanent},
		{404, 10059, es.ErrPermanent},
		{503, 10039, es.ErrPermanent},
		{503, 10008, es.ErrTransient},
		{503, 10077, es.ErrTransient},
		{500, 10049, es.ErrTransient},
		{429, 10210, es.ErrTransient},
		{400, 10999, es.ErrPermanent},
	} {
		for _, err := range []error{
			classify(test.code, test.errCode, "text"),
			publishError(&jetstream.APIError{Code: test.code, ErrorCode: jetstream.ErrorCode(test.errCode)}),
		} {
			if !errors.Is(err, test.want) {
				t.Errorf("%d/%d: got %v, want %v", test.code, test.errCode, err, test.want)
			}
		}
	}
	if err := publishError(context.DeadlineExceeded); !errors.Is(err, es.ErrUnknownOutcome) {
		t.Errorf("got %v", err)
	}
}

func TestOldServersAreRefused(t *testing.T) {
	t.Parallel()
	for version, ok := range map[string]bool{"2.14.4": true, "2.15.0-dev": true, "3.0.0": true, "2.14.3": false, "2.9.99": false, "": false} {
		if err := checkServer(version); (err == nil) != ok || err != nil && !errors.Is(err, es.ErrPermanent) {
			t.Errorf("%q: %v", version, err)
		}
	}
}
