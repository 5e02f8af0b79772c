// Package otlp sends what took how long in a run to an OpenTelemetry collector, over OTLP.
//
//	sent, err := otlp.Send(ctx, trace.OfRun(run))
//
// It is configured by the environment, as OpenTelemetry specifies: OTEL_EXPORTER_OTLP_ENDPOINT and
// its kin say where to and how, OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES what the run is
// called there, and TRACEPARENT which span it is a part of, such as a job of CI.
//
// It is a package of its own, because it needs OpenTelemetry and gRPC, which no test has to link.
package otlp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/spicelane/spicelane/harness/trace"
)

// Wanted tells whether the environment says that traces are to be sent.
func Wanted() bool {
	off := strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true")
	if off || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return false
	}
	return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" ||
		os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}

// A Sent says what was sent.
type Sent struct {
	Spans int
	// Trace is the ID by which the trace is found.
	Trace string
}

// Send sends a span and all in it. What happened to a lane is sent, too, as far as it is pointed out
// or went wrong. Without an error, the collector has taken everything.
func Send(ctx context.Context, root *trace.Span) (Sent, error) {
	if err := checkProtocol(); err != nil {
		return Sent{}, err
	}
	client, err := otlptracehttp.New(ctx)
	if err != nil {
		return Sent{}, fmt.Errorf("otlp: %w", err)
	}
	res, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "spicelane")),
		resource.WithTelemetrySDK(),
		resource.WithFromEnv())
	if err != nil {
		return Sent{}, fmt.Errorf("otlp: %w", err)
	}
	out := &exporter{SpanExporter: client}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithResource(res),
		sdktrace.WithSampler(sdktrace.AlwaysSample()),
		// NB: without blocking, what comes too fast is dropped.
		sdktrace.WithBatcher(out, sdktrace.WithBlocking()),
		sdktrace.WithRawSpanLimits(sdktrace.SpanLimits{
			AttributeValueLengthLimit: maxValue, AttributeCountLimit: -1, EventCountLimit: maxEvents,
			LinkCountLimit: 0, AttributePerEventCountLimit: -1, AttributePerLinkCountLimit: -1,
		}),
	)
	parent := propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{
		"traceparent": os.Getenv("TRACEPARENT"), "tracestate": os.Getenv("TRACESTATE"),
	})
	tracer := provider.Tracer("github.com/spicelane/spicelane")
	id := add(parent, tracer, root)
	err = errors.Join(provider.ForceFlush(ctx), out.failed())
	err = errors.Join(err, provider.Shutdown(ctx))
	if err != nil {
		return Sent{}, fmt.Errorf("otlp: %w", err)
	}
	return Sent{root.Count(), id}, nil
}

// Limits of what is sent of one span: collectors refuse messages of more than some megabytes.
const (
	maxValue  = 4 << 10
	maxEvents = 128
)

// checkProtocol refuses protocols that are asked for and not spoken here.
func checkProtocol() error {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		switch p := os.Getenv(name); p {
		case "":
			continue
		case "http/protobuf":
			return nil
		default:
			return fmt.Errorf("otlp: %s is %s: only http/protobuf is spoken here, mostly on port 4318",
				name, p)
		}
	}
	return nil
}

// add adds a span and those in it, and returns the ID of their trace.
func add(ctx context.Context, tracer oteltrace.Tracer, s *trace.Span) string {
	ctx, span := tracer.Start(ctx, string(s.Kind)+" "+s.Name, oteltrace.WithTimestamp(s.Start))
	defer span.End(oteltrace.WithTimestamp(s.End))
	span.SetAttributes(attribute.String("spicelane.kind", string(s.Kind)))
	for _, a := range s.Attrs {
		span.SetAttributes(attribute.String("spicelane."+a.Key, a.Value))
	}
	if s.Error != "" {
		// The limits of the library are not for this.
		span.SetStatus(codes.Error, strings.ToValidUTF8(s.Error[:min(len(s.Error), maxValue)], ""))
	}
	for _, m := range s.Moments {
		if m.Mark || m.Bad {
			span.AddEvent(m.Track.Name, oteltrace.WithTimestamp(m.At),
				oteltrace.WithAttributes(attribute.String("spicelane.text", m.Text)))
		}
	}
	for _, in := range s.Spans {
		add(ctx, tracer, in)
	}
	return span.SpanContext().TraceID().String()
}

// An exporter remembers the first error, of which a batcher only tells a global handler.
type exporter struct {
	sdktrace.SpanExporter
	mu  sync.Mutex
	err error
}

func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if e.failed() != nil {
		return nil // one collector that is away is enough to wait for
	}
	err := e.SpanExporter.ExportSpans(ctx, spans)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.err = err
	}
	return nil
}

func (e *exporter) failed() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}
