package runtime

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millstream-es/millstream"
	"github.com/millstream-es/millstream/es/estest"
	"github.com/millstream-es/millstream/es/natsstore"
)

// universalServer starts a server with one stream for every topic of Watermill's suite.
func universalServer(t *testing.T) (jetstream.JetStream, func() jetstream.JetStream) {
	t.Helper()
	server := estest.StartServer(t, millstream.NATSConf)
	connect := func() jetstream.JetStream {
		nc, err := server.Connect()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		return js
	}
	js := connect()
	if _, err := js.CreateStream(context.Background(), jetstream.StreamConfig{Name: "WM", Subjects: []string{"wm.>"}}); err != nil {
		t.Fatal(err)
	}
	return js, connect
}

func universalTopic(c tests.TestContext) string { return "wm." + string(c.TestID) }

// perTopic makes a subscriber of its own for each topic, as a handler of the engine has one.
type perTopic struct {
	make func(topic string) message.Subscriber
	mu   sync.Mutex
	subs []message.Subscriber
}

func (p *perTopic) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	s := p.make(topic)
	p.mu.Lock()
	p.subs = append(p.subs, s)
	p.mu.Unlock()
	return s.Subscribe(ctx, topic)
}

func (p *perTopic) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, s := range p.subs {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

func TestLanesPassWatermillsSuite(t *testing.T) {
	js, connect := universalServer(t)
	construct := func(t *testing.T, group string) (message.Publisher, message.Subscriber) {
		return natsstore.NewPublisher(connect().Conn()), &perTopic{make: func(topic string) message.Subscriber {
			return NewLaneSubscriber(LaneConfig{
				JetStream: js, Stream: "WM", Durable: strings.ReplaceAll(topic, ".", "-") + group,
				PinTTL: time.Second, AckWait: 30 * time.Second, Grace: time.Second, Pause: 100 * time.Microsecond,
			})
		}}
	}
	tests.TestPubSub(t, tests.Features{
		ConsumerGroups: true, GuaranteedOrder: true, Persistent: true, GenerateTopicFunc: universalTopic, ForceShort: testing.Short(),
	}, func(t *testing.T) (message.Publisher, message.Subscriber) { return construct(t, "") }, construct)
}

// unbatched turns a batch of one into the message it stands for, and keeps the reader's checkpoint, which is how the
// suite can judge it.
type unbatched struct {
	*BatchSubscriber
	applied func(sequence uint64)
	reading *sync.WaitGroup
}

// Close returns when the channels are closed, as the suite expects.
func (u unbatched) Close() error {
	err := u.BatchSubscriber.Close()
	u.reading.Wait()
	return err
}

func (u unbatched) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	batches, err := u.BatchSubscriber.Subscribe(ctx, topic)
	if err != nil {
		return nil, err
	}
	out := make(chan *message.Message)
	u.reading.Go(func() {
		defer close(out)
		for b := range batches {
			batch := BatchFrom(b.Context())
			m := batch.Items[0].(*message.Message).Copy()
			m.SetContext(b.Context())
			select {
			case out <- m:
			case <-b.Context().Done():
				continue
			}
			select {
			case <-m.Acked():
				u.applied(batch.Last)
				b.Ack()
			case <-m.Nacked():
				b.Nack()
			case <-b.Context().Done():
			}
		}
	})
	return out, nil
}

// streamPerTopic gives each topic a stream of its own: a reader sees every sequence of its stream.
type streamPerTopic struct {
	message.Publisher
	js   jetstream.JetStream
	made *sync.Map
}

func (p streamPerTopic) ensure(topic string) error {
	if _, made := p.made.Load(topic); made {
		return nil
	}
	defer p.made.Store(topic, true)
	_, err := p.js.CreateOrUpdateStream(context.Background(), jetstream.StreamConfig{Name: streamName(topic), Subjects: []string{topic}})
	return err
}

func (p streamPerTopic) Publish(topic string, messages ...*message.Message) error {
	if err := p.ensure(topic); err != nil {
		return err
	}
	return p.Publisher.Publish(topic, messages...)
}

func streamName(topic string) string { return strings.ReplaceAll(topic, ".", "-") }

// TestBatchesPassWatermillsSuite runs the parts of the suite that apply to a reader that owns its position: not those
// with several subscribers sharing one.
func TestBatchesPassWatermillsSuite(t *testing.T) {
	t.Parallel()
	server := estest.StartServer(t, millstream.NATSConf)
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var made sync.Map
	position := map[string]uint64{}
	construct := func(t *testing.T) (message.Publisher, message.Subscriber) {
		publisher := streamPerTopic{natsstore.NewPublisher(nc), js, &made}
		return publisher, &perTopic{make: func(topic string) message.Subscriber {
			if err := publisher.ensure(topic); err != nil {
				t.Error(err)
			}
			return &unbatched{
				BatchSubscriber: NewBatchSubscriber(BatchConfig{
					JetStream: js, Stream: streamName(topic), Durable: "reader-" + newID(), Size: 1, Most: 1, Grace: time.Second, Pause: 100 * time.Microsecond,
					Next: func() uint64 {
						mu.Lock()
						defer mu.Unlock()
						return position[topic] + 1
					},
					Decode: func(m natsstore.Message, _ uint64) (any, error) { return newMessage(m.Header(), m.Data, 0), nil },
					Missing: func(sequence uint64) (any, error) {
						stream, err := js.Stream(context.Background(), streamName(topic))
						if err != nil {
							return nil, err
						}
						m, err := stream.GetMsg(context.Background(), sequence)
						if err != nil {
							return nil, err
						}
						return newMessage(m.Header, m.Data, 0), nil
					},
				}),
				applied: func(sequence uint64) {
					mu.Lock()
					defer mu.Unlock()
					position[topic] = sequence
				},
				reading: &sync.WaitGroup{},
			}
		}}
	}
	features := tests.Features{GuaranteedOrderWithSingleSubscriber: true, Persistent: true, RequireSingleInstance: true, GenerateTopicFunc: universalTopic}
	for name, test := range map[string]func(*testing.T, tests.TestContext, tests.PubSubConstructor){
		"publish and subscribe": tests.TestPublishSubscribe, "resend on error": tests.TestResendOnError, "no ack": tests.TestNoAck,
		"continue after subscriber's close": tests.TestContinueAfterSubscribeClose, "continue after errors": tests.TestContinueAfterErrors,
		"in order": tests.TestPublishSubscribeInOrder, "publisher's close": tests.TestPublisherClose, "topic": tests.TestTopic,
		"message's context": tests.TestMessageCtx, "subscribe's context": tests.TestSubscribeCtx,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, tests.TestContext{TestID: tests.NewTestID(), Features: features}, construct)
		})
	}
}
