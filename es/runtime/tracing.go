package runtime

import (
	"cmp"
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/millstream-es/millstream/es"
	"github.com/millstream-es/millstream/es/readmodel"
)

// tracing makes spans of what the engine does. A command is a child of whoever sent it. What is done because of an
// event in the log is not: that may be done much later, and again, and for many at once; it begins a trace of its own
// that links to the commands whose events it is about. A nil one makes nothing, and allocates nothing.
type tracing struct{ tracer trace.Tracer }

// The attributes of spans, beside error and span status.
const (
	attrStream      = attribute.Key("millstream.stream")
	attrCommandID   = attribute.Key("millstream.command_id")
	attrCorrelation = attribute.Key("millstream.correlation")
	attrOutcome     = attribute.Key("millstream.outcome")
	attrVersion     = attribute.Key("millstream.version")
	attrRevision    = attribute.Key("millstream.revision")
	attrKey         = attribute.Key("millstream.key")
	attrEvents      = attribute.Key("millstream.events")
)

// mostLinks bounds the links of a span that is about many commands: OpenTelemetry keeps no more than this.
const mostLinks = 128

func newTracing(t trace.Tracer) *tracing {
	if t == nil {
		return nil
	}
	return &tracing{t}
}

// span is one that has begun, or none.
type span struct{ otel trace.Span }

// end ends the span; err is what became of it.
func (s span) end(err error) {
	if s.otel == nil {
		return
	}
	if err != nil {
		s.otel.SetStatus(codes.Error, err.Error())
	}
	s.otel.End()
}

// replied ends a command's span. What the business says no to is no error.
func (s span) replied(r es.Reply) {
	if s.otel == nil {
		return
	}
	s.otel.SetAttributes(attrOutcome.String(string(r.Outcome)), attrRevision.Int64(int64(r.Revision)), attrVersion.Int64(int64(r.Version)))
	if r.Outcome == es.Failed || r.Outcome == es.UnknownOutcome {
		s.otel.SetStatus(codes.Error, r.Error.Code)
	}
	s.otel.End()
}

// begin begins a span within the one of ctx.
func (t *tracing) begin(ctx context.Context, name string) span {
	if t == nil {
		return span{}
	}
	_, s := t.tracer.Start(ctx, name)
	return span{s}
}

// command begins the span of a command, within that of its sender, and has the events carry it on.
func (t *tracing) command(ctx context.Context, r *es.Request) (context.Context, span) {
	if t == nil {
		return ctx, span{}
	}
	ctx, s := t.tracer.Start(within(ctx, r.Meta.Traceparent), "command "+r.Type, trace.WithAttributes(
		attrStream.String(r.Meta.Stream.String()), attrCommandID.String(r.Meta.CommandID),
		attrCorrelation.String(cmp.Or(r.Meta.Correlation, r.Meta.CommandID))))
	r.Meta.Traceparent = t.parent(ctx, r.Meta.Traceparent)
	return ctx, span{s}
}

// together is command for those that are stored all or nothing.
func (t *tracing) together(ctx context.Context, requests []es.Request) (context.Context, span) {
	if t == nil {
		return ctx, span{}
	}
	first, streams := requests[0].Meta, make([]string, len(requests))
	for i, r := range requests {
		streams[i] = r.Meta.Stream.String()
	}
	ctx, s := t.tracer.Start(within(ctx, first.Traceparent), "commands together", trace.WithAttributes(
		attrStream.StringSlice(streams), attrCommandID.String(first.CommandID),
		attrCorrelation.String(cmp.Or(first.Correlation, first.CommandID))))
	for i := range requests {
		requests[i].Meta.Traceparent = t.parent(ctx, requests[i].Meta.Traceparent)
	}
	return ctx, span{s}
}

// reaction begins the span of what is done because of events of one commit.
func (t *tracing) reaction(ctx context.Context, name, key string, events ...es.Recorded) (context.Context, span) {
	if t == nil || len(events) == 0 {
		return ctx, span{}
	}
	r := events[0]
	ctx, s := t.linked(ctx, name, []string{r.Traceparent}, attrKey.String(key), attrStream.String(r.Stream.String()),
		attrRevision.Int64(int64(r.Revision)), attrVersion.Int64(int64(r.Version)), attrCorrelation.String(r.Correlation))
	return ctx, s
}

// woken begins the span of what a process does when its timer goes off. It links to the command that the process
// began with.
func (t *tracing) woken(ctx context.Context, saga string, p *process) (context.Context, span) {
	if t == nil {
		return ctx, span{}
	}
	return t.linked(ctx, "saga "+saga, []string{p.Traceparent}, attrKey.String(p.key), attrCorrelation.String(p.Correlation))
}

// batch begins the span of a transaction of a read model, linked to the commands whose events it shows.
func (t *tracing) batch(ctx context.Context, projector string, b readmodel.Batch) (context.Context, span) {
	if t == nil {
		return ctx, span{}
	}
	var parents []string
	for _, r := range b.Events {
		if n := len(parents); r.Traceparent != "" && (n == 0 || parents[n-1] != r.Traceparent) {
			if n == mostLinks {
				break
			}
			parents = append(parents, r.Traceparent)
		}
	}
	return t.linked(ctx, "project "+projector, parents, attrRevision.Int64(int64(b.Last)), attrEvents.Int(len(b.Events)))
}

func (t *tracing) linked(ctx context.Context, name string, parents []string, attributes ...attribute.KeyValue) (context.Context, span) {
	var links []trace.Link
	for _, parent := range parents {
		if c := contextOf(parent); c.IsValid() {
			links = append(links, trace.Link{SpanContext: c})
		}
	}
	ctx, s := t.tracer.Start(ctx, name, trace.WithNewRoot(), trace.WithLinks(links...), trace.WithAttributes(attributes...))
	return ctx, span{s}
}

// parent is the traceparent of what is sent now: of the span that is under way in ctx, else the one that is at hand.
func (t *tracing) parent(ctx context.Context, otherwise string) string {
	if t == nil || !trace.SpanContextFromContext(ctx).IsValid() {
		return otherwise
	}
	return Traceparent(ctx)
}

// Traceparent is the W3C name of the span that is under way in ctx; "" when there is none.
func Traceparent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[HeaderTraceparent]
}

// within is ctx with the sender's span, when there is one.
func within(ctx context.Context, parent string) context.Context {
	if c := contextOf(parent); c.IsValid() {
		return trace.ContextWithRemoteSpanContext(ctx, c)
	}
	return ctx
}

// contextOf reads a traceparent; what is none, or of a later version that cannot be read, is not valid.
func contextOf(parent string) trace.SpanContext {
	if parent == "" {
		return trace.SpanContext{}
	}
	carrier := propagation.MapCarrier{HeaderTraceparent: parent}
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
}

// about are the fields by which lines of the log about a message are found, beside each other and in traces; what is
// not known is left out.
func about(m es.Meta, revision es.Revision) (fields []any) {
	add := func(name, value string) {
		if value != "" {
			fields = append(fields, name, value)
		}
	}
	if m.Stream.Category != "" {
		add("stream", m.Stream.String())
	}
	add("correlation", m.Correlation)
	if c := contextOf(m.Traceparent); c.IsValid() {
		add("trace", c.TraceID().String())
	}
	if revision > 0 {
		fields = append(fields, "revision", revision)
	}
	return fields
}

// aboutDelivery is about for a message as it came, of which perhaps nothing can be read.
func aboutDelivery(d Delivery) []any {
	if events, err := d.events(); err == nil && len(events) > 0 {
		return about(events[0].Meta, events[0].Revision)
	}
	m := es.Meta{Correlation: d.Header.Get(HeaderCorrelation), Traceparent: d.Header.Get(HeaderTraceparent)}
	m.Stream, _ = es.ParseStream(d.Key)
	return about(m, 0)
}
