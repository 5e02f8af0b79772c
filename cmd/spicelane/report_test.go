package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheSpansOfARunAreSentWhereTheEnvironmentSays(t *testing.T) {
	var got []byte
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err == nil {
			got = append(got, b...)
		}
	}))
	defer collector.Close()
	for _, name := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "TRACEPARENT"} {
		t.Setenv(name, "")
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	file := filepath.Join(t.TempDir(), "run.json")
	write(t, file, `{"Time":"2026-11-27T04:40:00Z","Action":"run","Package":"p","Test":"TestX"}`+"\n"+
		`{"Time":"2026-11-27T04:40:01Z","Action":"pass","Package":"p","Test":"TestX","Elapsed":1}`+"\n"+
		`{"Time":"2026-11-27T04:40:01Z","Action":"pass","Package":"p","Elapsed":1}`+"\n")
	status, stdout, stderr := runCommand("report", file)
	require.Equal(t, 0, status, stderr)
	require.Empty(t, stderr)
	require.Regexp(t, regexp.MustCompile(`(?m)^2 spans were sent, trace [0-9a-f]{32}$`), stdout)
	require.Contains(t, string(got), "test TestX")
	require.NoError(t, os.Unsetenv("OTEL_EXPORTER_OTLP_ENDPOINT"))
	_, stdout, _ = runCommand("report", file)
	require.NotContains(t, stdout, "spans")
}
