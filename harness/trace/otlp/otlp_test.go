package otlp_test

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/spicelane/spicelane/harness/replay"
	"github.com/spicelane/spicelane/harness/trace"
	"github.com/spicelane/spicelane/harness/trace/otlp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A collector takes spans as the protocol's specification says, and keeps them.
type collector struct {
	mu       sync.Mutex
	resource map[string]string
	spans    []*tracepb.Span
	posts    int
	header   http.Header
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
		http.Error(w, "this is the place for traces", http.StatusNotFound)
		return
	}
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = z
	}
	b, err := io.ReadAll(body)
	var req v1.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(b, &req)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.posts++
	c.header = r.Header
	for _, rs := range req.ResourceSpans {
		c.resource = attributes(rs.Resource.Attributes)
		for _, ss := range rs.ScopeSpans {
			c.spans = append(c.spans, ss.Spans...)
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	out, err := proto.Marshal(&v1.ExportTraceServiceResponse{})
	if err == nil {
		_, _ = w.Write(out)
	}
}

func attributes(all []*commonpb.KeyValue) map[string]string {
	out := map[string]string{}
	for _, a := range all {
		out[a.Key] = a.Value.GetStringValue()
	}
	return out
}

// collect starts a collector and puts its address into the environment.
func collect(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	clean(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	return c
}

// clean removes from the environment what would change a test.
func clean(t *testing.T) {
	t.Helper()
	for _, name := range []string{"ENDPOINT", "TRACES_ENDPOINT", "PROTOCOL", "TRACES_PROTOCOL", "HEADERS", "COMPRESSION", "TIMEOUT"} {
		t.Setenv("OTEL_EXPORTER_OTLP_"+name, "")
	}
	for _, name := range []string{"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "TRACEPARENT", "TRACESTATE"} {
		t.Setenv(name, "")
	}
}

var zero = time.Date(2026, 11, 27, 4, 40, 0, 0, time.UTC)

func span(kind trace.Kind, name string, from, to float64, in ...*trace.Span) *trace.Span {
	at := func(s float64) time.Time { return zero.Add(time.Duration(s * float64(time.Second))) }
	return &trace.Span{Kind: kind, Name: name, Start: at(from), End: at(to), Spans: in}
}

func run() *trace.Span {
	wait := span(trace.Wait, "await a key", 2.5, 3.25)
	wait.Error = "it never came"
	wait.Attrs = []trace.Attr{{Key: "saw", Value: "none"}}
	lane := span(trace.Lane, "a", 1, 4, span(trace.Phase, "start", 1, 2), span(trace.Phase, "use", 2, 4, wait))
	lane.Moments = []trace.Moment{
		{At: zero.Add(1500 * time.Millisecond), Track: replay.Track{ID: "serial", Name: "Serial"}, Text: "Hello"},
		{At: zero.Add(3 * time.Second), Track: replay.Track{ID: "fault", Name: "Faults"}, Text: "kill", Mark: true},
	}
	return span(trace.Run, "go test", 0, 5, span(trace.Test, "TestA", .5, 4.5, lane))
}

func TestTheSpansOfARunReachACollector(t *testing.T) {
	c := collect(t)
	sent, err := otlp.Send(t.Context(), run())
	require.NoError(t, err)
	require.Equal(t, 6, sent.Spans)
	require.Len(t, c.spans, 6)
	require.Equal(t, "spicelane", c.resource["service.name"])
	names, byName := map[string]string{}, map[string]*tracepb.Span{}
	for _, s := range c.spans {
		names[hex.EncodeToString(s.SpanId)] = s.Name
		byName[s.Name] = s
		require.Equal(t, sent.Trace, hex.EncodeToString(s.TraceId))
	}
	for name, want := range map[string]struct {
		parent   string
		from, to float64
	}{
		"run go test":      {"", 0, 5},
		"test TestA":       {"run go test", .5, 4.5},
		"lane a":           {"test TestA", 1, 4},
		"phase start":      {"lane a", 1, 2},
		"phase use":        {"lane a", 2, 4},
		"wait await a key": {"phase use", 2.5, 3.25},
	} {
		s := byName[name]
		require.NotNil(t, s, name)
		require.Equal(t, want.parent, names[hex.EncodeToString(s.ParentSpanId)], name)
		require.Equal(t, want.from, time.Unix(0, int64(s.StartTimeUnixNano)).Sub(zero).Seconds(), name)
		require.Equal(t, want.to, time.Unix(0, int64(s.EndTimeUnixNano)).Sub(zero).Seconds(), name)
		kind, _, _ := strings.Cut(name, " ")
		require.Equal(t, kind, attributes(s.Attributes)["spicelane.kind"])
	}
	wait := byName["wait await a key"]
	require.Equal(t, tracepb.Status_STATUS_CODE_ERROR, wait.Status.Code)
	require.Equal(t, "it never came", wait.Status.Message)
	require.Equal(t, "none", attributes(wait.Attributes)["spicelane.saw"])
	require.Equal(t, tracepb.Status_STATUS_CODE_UNSET, byName["lane a"].Status.GetCode())
	events := byName["lane a"].Events
	require.Len(t, events, 1, "what is pointed out, and not each line")
	require.Equal(t, "Faults", events[0].Name)
	require.Equal(t, "kill", attributes(events[0].Attributes)["spicelane.text"])
	require.Equal(t, uint64(zero.Add(3*time.Second).UnixNano()), events[0].TimeUnixNano)
}

func TestTheEnvironmentSaysHowSpansAreSent(t *testing.T) {
	c := collect(t)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	t.Setenv("TRACEPARENT", parent)
	t.Setenv("OTEL_SERVICE_NAME", "console tests")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "ci.job=77")
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=secret")
	t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
	sent, err := otlp.Send(t.Context(), run())
	require.NoError(t, err)
	require.Equal(t, "0af7651916cd43dd8448eb211c80319c", sent.Trace)
	require.Equal(t, "console tests", c.resource["service.name"])
	require.Equal(t, "77", c.resource["ci.job"])
	require.Equal(t, "secret", c.header.Get("X-Key"))
	require.Equal(t, "gzip", c.header.Get("Content-Encoding"))
	var roots []string
	for _, s := range c.spans {
		if hex.EncodeToString(s.ParentSpanId) == "b7ad6b7169203331" {
			roots = append(roots, s.Name)
		}
	}
	require.Equal(t, []string{"run go test"}, roots)
}

// More than one message can take, and more than the queue of the library has room for.
func TestNoSpanOfALargeRunIsLost(t *testing.T) {
	c := collect(t)
	root := span(trace.Run, "go test", 0, 1)
	for i := range 5000 {
		root.Spans = append(root.Spans, span(trace.Test, fmt.Sprint("Test", i), 0, 1))
	}
	root.Spans[0].Error = strings.Repeat("ü", 100<<10)
	sent, err := otlp.Send(t.Context(), root)
	require.NoError(t, err)
	require.Equal(t, 5001, sent.Spans)
	require.Greater(t, c.posts, 1)
	names := map[string]bool{}
	for _, s := range c.spans {
		names[s.Name] = true
		require.LessOrEqual(t, len(s.Status.GetMessage()), 4<<10)
	}
	require.Len(t, names, 5001)
}

func TestACollectorThatTakesNothingIsAnError(t *testing.T) {
	clean(t)
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no key", http.StatusUnauthorized)
	}))
	defer refuses.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", refuses.URL)
	_, err := otlp.Send(t.Context(), run())
	require.ErrorContains(t, err, "otlp: ")
	require.ErrorContains(t, err, "401 Unauthorized")

	// Nobody listens there: the retries end with the caller's patience.
	refuses.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = otlp.Send(ctx, run())
	require.ErrorContains(t, err, "otlp: ")

	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	_, err = otlp.Send(t.Context(), run())
	require.EqualError(t, err, "otlp: OTEL_EXPORTER_OTLP_PROTOCOL is grpc: only http/protobuf is spoken here, mostly on port 4318")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")
	_, err = otlp.Send(ctx, run())
	require.NotContains(t, fmt.Sprint(err), "is grpc", "the variable for traces counts more")
}

func TestSpansAreSentOnlyIfTheEnvironmentSaysSo(t *testing.T) {
	for _, c := range []struct {
		set    map[string]string
		wanted bool
	}{
		{nil, false},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, true},
		{map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, true},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"}, false},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"}, false},
	} {
		clean(t)
		for name, value := range c.set {
			t.Setenv(name, value)
		}
		require.Equal(t, c.wanted, otlp.Wanted(), "%v", c.set)
	}
}
