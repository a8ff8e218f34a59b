package cli

import (
	"net/http"
	"net/http/httptest"
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/millstream-es/millstream/es/runtime"
)

func TestDoorsTakeTheRequestsSpanForTheirCallers(t *testing.T) {
	t.Parallel()
	const caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	spans := tracetest.NewInMemoryExporter()
	carried := ""
	h := traceRequests(sdk.NewTracerProvider(sdk.WithSyncer(spans)), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		carried = r.Header.Get(runtime.HeaderTraceparent)
	}))
	for path, wants := range map[string]int{"/parcels/p-1": 1, "/readyz": 0, "/metrics": 0, "/events": 0} {
		spans.Reset()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, nil)
		r.Header.Set(runtime.HeaderTraceparent, caller)
		h.ServeHTTP(httptest.NewRecorder(), r)
		got := spans.GetSpans()
		if len(got) != wants {
			t.Fatalf("%s: %d spans, want %d", path, len(got), wants)
		}
		if wants == 0 {
			if carried != caller {
				t.Errorf("%s: the caller's traceparent became %q", path, carried)
			}
			continue
		}
		own := got[0].SpanContext
		if got[0].Name != "HTTP POST" || got[0].Parent.SpanID().String() != caller[36:52] || own.TraceID().String() != caller[3:35] {
			t.Errorf("%s: %+v is no child of its caller's", path, got[0])
		}
		if carried != "00-"+caller[3:35]+"-"+own.SpanID().String()+"-01" {
			t.Errorf("%s: the door heard of %q, not of %s", path, carried, own.SpanID())
		}
	}
}

func TestAnAddressOfACollectorIsItsBaseOrWhole(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"http://c:4318":                "http://c:4318/v1/traces",
		"http://c:4318/":               "http://c:4318/v1/traces",
		"https://c/otlp":               "https://c/otlp/v1/traces",
		"https://c/otlp/v1/traces":     "https://c/otlp/v1/traces",
		"https://c/otlp/v1/traces?k=1": "",
		"c:4318":                       "",
		"ftp://c":                      "",
	} {
		f := tracingFlags{given}
		if err := f.check(); (err != nil) != (want == "") || err == nil && f.endpoint() != want {
			t.Errorf("%s: %v, %s", given, err, f.endpoint())
		}
	}
}
