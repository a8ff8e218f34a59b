package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// spans is a collector of traces, as OTLP over HTTP has them.
type spans struct {
	mu  sync.Mutex
	all []*trace.Span
}

func (s *spans) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var sent collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &sent)
	}
	if err != nil || r.URL.Path != "/v1/traces" {
		http.Error(w, fmt.Sprintf("%s: %v", r.URL.Path, err), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range sent.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			s.all = append(s.all, scope.Spans...)
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// find returns the spans of a name that fit.
func (s *spans) find(name string, fits func(*trace.Span) bool) (found []*trace.Span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, span := range s.all {
		if span.Name == name && fits(span) {
			found = append(found, span)
		}
	}
	return found
}

func within(parent *trace.Span) func(*trace.Span) bool {
	return func(s *trace.Span) bool {
		return string(s.ParentSpanId) == string(parent.SpanId) && string(s.TraceId) == string(parent.TraceId)
	}
}

// acrossTheLog fits what began a trace of its own and links to a span.
func acrossTheLog(from *trace.Span) func(*trace.Span) bool {
	return func(s *trace.Span) bool {
		if len(s.ParentSpanId) > 0 || string(s.TraceId) == string(from.TraceId) {
			return false
		}
		for _, link := range s.Links {
			if string(link.SpanId) == string(from.SpanId) && string(link.TraceId) == string(from.TraceId) {
				return true
			}
		}
		return false
	}
}

// TestAnOrderIsTracedFromHTTPThroughItsSaga sends an order with a traceparent and follows it by what the process
// exports: door, command, saga, its commands, gateway and read model.
func TestAnOrderIsTracedFromHTTPThroughItsSaga(t *testing.T) {
	t.Parallel()
	const traceID, callersSpan = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	sent := &spans{}
	server := httptest.NewServer(sent)
	defer server.Close()
	p := dev(t, t.TempDir(), "--otlp", server.URL)
	post := func(path, body string, header ...string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.HTTP+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if answer.StatusCode >= 300 {
			text, _ := io.ReadAll(answer.Body)
			t.Fatalf("%s: %s %s", path, answer.Status, text)
		}
	}
	post("/customers/c-1/register-customer", `{"name":"Ada","email":"ada@example.org"}`)
	post("/stock/p-1/receive-stock", `{"quantity":10}`)
	post("/orders/o-1/create-order", `{"customerId":"c-1","currency":"USD","items":[{"productId":"p-1","quantity":2,"price":19.99}],
		"shippingAddress":{"street":"1 Main St","city":"Springfield","state":"IL","zipCode":"62701","country":"USA"},"payment":{"method":"credit_card","token":"tok_ok"}}`,
		"traceparent", "00-"+traceID+"-"+callersSpan+"-01")
	if err := eventually(patience, func() error {
		status, text, err := get(t.Context(), p.HTTP+"/orders/o-1")
		if err != nil || status != http.StatusOK || !strings.Contains(text, `"PAID"`) {
			return fmt.Errorf("the order is not paid: %d %s %w", status, text, err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := p.stop(); err != nil { // what is left is sent
		t.Fatal(err)
	}

	one := func(what, name string, fits func(*trace.Span) bool) *trace.Span {
		t.Helper()
		found := sent.find(name, fits)
		if len(found) != 1 {
			t.Fatalf("%s: %d spans %q", what, len(found), name)
		}
		return found[0]
	}
	some := func(what, name string, fits func(*trace.Span) bool) []*trace.Span {
		t.Helper()
		found := sent.find(name, fits)
		if len(found) == 0 {
			t.Fatalf("%s: no span %q", what, name)
		}
		return found
	}
	door := one("the request is the caller's child", "HTTP POST", func(s *trace.Span) bool {
		return hex.EncodeToString(s.TraceId) == traceID && hex.EncodeToString(s.ParentSpanId) == callersSpan
	})
	order := one("the command is the request's child", "command CreateOrder", within(door))
	one("it is decided within", "decide", within(order))
	one("it is appended within", "append", within(order))
	some("the read model links to the command", "project orders", acrossTheLog(order))

	// The saga reserves stock because of the order, asks for the payment because of the stock, and so on.
	caused := func(cause *trace.Span, by, command string) *trace.Span {
		t.Helper()
		for _, reaction := range some(by+" links to "+cause.Name, by, acrossTheLog(cause)) {
			if found := sent.find(command, within(reaction)); len(found) == 1 {
				return found[0]
			}
		}
		t.Fatalf("%s did not send one %s because of %s", by, command, cause.Name)
		return nil
	}
	reserved := caused(order, "saga fulfilment", "command ReserveStock")
	requested := caused(reserved, "saga fulfilment", "command RequestPayment")
	answered := caused(requested, "gateway payment", "command RecordPayment")
	caused(answered, "saga fulfilment", "command MarkOrderPaid")
}
