package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/millstream-es/millstream/es/runtime"
)

// instrumentation names what made a span.
const instrumentation = "github.com/millstream-es/millstream"

type tracingFlags struct {
	OTLP string `name:"otlp" env:"OTEL_EXPORTER_OTLP_ENDPOINT" placeholder:"URL" help:"Send traces by OTLP over HTTP to a collector here, as http://127.0.0.1:4318. Other OTEL_ variables, as of headers and of sampling, are heeded. Default: none are made."`
}

func (t tracingFlags) check() error {
	if t.OTLP == "" {
		return nil
	}
	u, err := url.Parse(t.OTLP)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" {
		return fmt.Errorf("--otlp %s: expected the URL of a collector, like http://127.0.0.1:4318", t.OTLP)
	}
	return nil
}

// endpoint is where traces go: the collector's base, or the whole address when it says so.
func (t tracingFlags) endpoint() string {
	if base := strings.TrimRight(t.OTLP, "/"); !strings.HasSuffix(base, "/v1/traces") {
		return base + "/v1/traces"
	}
	return t.OTLP
}

// provider makes what sends spans away; nil when nobody wants them. Spans that cannot be sent are dropped and the log
// says so: nothing waits for a collector.
func (t tracingFlags) provider(ctx context.Context, service string, log *slog.Logger) (*sdk.TracerProvider, error) {
	if t.OTLP == "" {
		return nil, nil
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(t.endpoint()))
	if err != nil {
		return nil, fmt.Errorf("--otlp %s: %w", t.OTLP, err)
	}
	// What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say comes last and wins.
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(), resource.WithAttributes(
		attribute.String("service.name", service), attribute.String("service.version", runtime.Version)), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces are not sent", "error", err) }))
	return sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(about)), nil
}

// traceRequests makes a span of every request, within that of its caller. Doors take it for the caller's: commands
// and problems carry it on. What is followed for hours, and what is asked every few seconds, has none.
func traceRequests(p trace.TracerProvider, doors http.Handler) http.Handler {
	inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if own := runtime.Traceparent(r.Context()); own != "" {
			r.Header.Set(runtime.HeaderTraceparent, own)
		}
		doors.ServeHTTP(w, r)
	})
	traced := otelhttp.NewHandler(inner, "",
		otelhttp.WithTracerProvider(p), otelhttp.WithMeterProvider(noop.NewMeterProvider()),
		otelhttp.WithPropagators(propagation.TraceContext{}),
		otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string { return "HTTP " + r.Method }))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/livez", r.URL.Path == "/readyz", r.URL.Path == "/metrics", r.URL.Path == "/events", r.Header.Get("Upgrade") != "":
			doors.ServeHTTP(w, r)
		default:
			traced.ServeHTTP(w, r)
		}
	})
}
