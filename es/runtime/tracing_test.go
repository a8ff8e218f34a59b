package runtime

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/readmodel"
)

const callers = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestOneStoryIsTracesWithLinks(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewInMemoryExporter()
	provider := sdk.NewTracerProvider(sdk.WithSyncer(spans))
	s := newTestServer(t)
	e := s.start(t, func(c *Config) { c.Tracer = provider.Tracer("test") })
	header := nats.Header{HeaderTraceparent: {callers}, HeaderCorrelation: {"story"}}
	if reply, _ := s.call(t, "call.pot.a.PutCoins", `{"coins":3}`, header); reply.Outcome != es.Accepted {
		t.Fatalf("%+v", reply)
	}
	if reply, _ := s.call(t, "call.pot.a.TakeCoins", `{"coins":2,"for":"b"}`, header); reply.Outcome != es.Accepted {
		t.Fatalf("%+v", reply)
	}
	find := func(name, stream string) (found tracetest.SpanStub) {
		eventually(t, "span "+name+" of "+stream, func() bool {
			all := spans.GetSpans()
			i := slices.IndexFunc(all, func(s tracetest.SpanStub) bool {
				return s.Name == name && (stream == "" || slices.Contains(s.Attributes, attrStream.String(stream)))
			})
			if i >= 0 {
				found = all[i]
			}
			return i >= 0
		})
		return found
	}
	links := func(s, to tracetest.SpanStub) bool {
		return slices.ContainsFunc(s.Links, func(l sdk.Link) bool {
			return l.SpanContext.TraceID() == to.SpanContext.TraceID() && l.SpanContext.SpanID() == to.SpanContext.SpanID()
		})
	}
	sent := find("command TakeCoins", "pot/a")
	if sent.SpanContext.TraceID().String() != callers[3:35] || sent.Parent.SpanID().String() != callers[36:52] {
		t.Errorf("the command is no child of its caller's: %+v", sent)
	}
	for _, want := range []any{attrOutcome.String("accepted"), attrCorrelation.String("story"), attrVersion.Int64(2), attrRevision.Int64(2)} {
		if !slices.ContainsFunc(sent.Attributes, func(a attribute.KeyValue) bool { return any(a) == want }) {
			t.Errorf("no %v in %v", want, sent.Attributes)
		}
	}
	for _, name := range []string{"decide", "append"} {
		if !slices.ContainsFunc(spans.GetSpans(), func(s tracetest.SpanStub) bool {
			return s.Name == name && s.Parent.SpanID() == sent.SpanContext.SpanID()
		}) {
			t.Errorf("no %s within the command", name)
		}
	}
	caused := find("command PutCoins", "pot/b")
	saga := find("saga mover", "pot/a")
	if caused.Parent.SpanID() != saga.SpanContext.SpanID() {
		t.Errorf("the saga's command is no child of its reaction: %+v", caused)
	}
	if saga.Parent.IsValid() || !links(saga, sent) || saga.SpanContext.TraceID() == sent.SpanContext.TraceID() {
		t.Errorf("the reaction does not link to the command across the log: %+v", saga)
	}
	eventually(t, "a transaction of the read model that shows the command", func() bool {
		return slices.ContainsFunc(spans.GetSpans(), func(s tracetest.SpanStub) bool { return s.Name == "project pots" && links(s, sent) })
	})
	history, err := e.log.Load(t.Context(), pots.Stream("b"), es.Range{})
	if err != nil || contextOf(history.Events[0].Traceparent).SpanID() != caused.SpanContext.SpanID() {
		t.Errorf("the event carries %q on, not its command's span; %v", history.Events[0].Traceparent, err)
	}
}

func TestSpansAreFreeWhenNobodyWantsThem(t *testing.T) {
	var off *tracing
	r := request("a", putCoins{1}, "c-1")
	r.Meta.Traceparent = callers
	recorded := es.Recorded{Meta: r.Meta}
	batch := readmodel.Batch{Events: []es.Recorded{recorded}}
	ctx, failed := t.Context(), errors.New("failed")
	allocated := testing.AllocsPerRun(100, func() {
		inside, command := off.command(ctx, &r)
		decide := off.begin(inside, "decide")
		decide.end(failed)
		command.replied(es.Reply{Outcome: es.Accepted})
		_, reaction := off.reaction(ctx, "saga mover", "a", recorded)
		reaction.end(nil)
		_, project := off.batch(ctx, "pots", batch)
		project.end(nil)
		if off.parent(ctx, callers) != callers {
			t.Error("another parent")
		}
	})
	if allocated != 0 || r.Meta.Traceparent != callers {
		t.Errorf("%v allocations, traceparent %s", allocated, r.Meta.Traceparent)
	}
}

func TestATraceparentThatIsNoneIsNoParent(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "00-a-b-01", "junk", "00-00000000000000000000000000000000-b7ad6b7169203331-01"} {
		if trace.SpanContextFromContext(within(context.Background(), text)).IsValid() {
			t.Errorf("%q was taken for a parent", text)
		}
	}
}
