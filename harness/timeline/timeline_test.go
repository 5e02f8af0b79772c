package timeline_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/timeline"
)

func TestTwoWritersShareOneFileAndOneClock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), timeline.File)
	start := time.Now()
	lane, err := timeline.Open(path, start)
	require.NoError(t, err)
	client, err := timeline.Open(path, lane.Start())
	require.NoError(t, err)
	lane.AddAt(start.Add(1500*time.Microsecond), "step", map[string]any{"name": "qemu", "t_us": "not this", "kind": "nor this"})
	client.AddAt(start.Add(2*time.Millisecond), "key", map[string]any{"code": 28, "down": true})
	lane.AddAt(start.Add(3*time.Millisecond), "odd", map[string]any{"field": make(chan int)})
	require.NoError(t, client.Close())
	require.NoError(t, lane.Close())
	lane.Add("late", nil)
	require.NoError(t, lane.Close())

	b, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
	require.Len(t, lines, 3)
	require.JSONEq(t, `{"t_us":1500,"kind":"step","name":"qemu"}`, string(lines[0]))
	require.JSONEq(t, `{"t_us":2000,"kind":"key","code":28,"down":true}`, string(lines[1]))
	var odd map[string]any
	require.NoError(t, json.Unmarshal(lines[2], &odd))
	require.Equal(t, "odd", odd["kind"])
	require.Contains(t, odd["unprintable"], "chan int")
}

func TestANilWriterTakesEntriesAndIsClosed(t *testing.T) {
	t.Parallel()
	var none *timeline.Writer
	none.Add("step", nil)
	none.AddAt(time.Now(), "step", nil)
	require.NoError(t, none.Close())
}
