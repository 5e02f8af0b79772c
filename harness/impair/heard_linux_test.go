package impair_test

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/impair"
)

// Two connections carry the same data and then are silent; one of them probes.
func TestKeepaliveProbesAreHeardAndAreNoData(t *testing.T) {
	r, quiet, _ := start(t, impair.Profile{})
	probing, err := (&net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second}}).Dial("tcp", r.Addr())
	require.NoError(t, err)
	defer probing.Close()
	require.NoError(t, quiet.(*net.TCPConn).SetKeepAlive(false))
	for _, c := range []net.Conn{quiet, probing} {
		_, err := c.Write([]byte("twelve bytes"))
		require.NoError(t, err)
		_, err = c.Read(make([]byte, 12))
		require.NoError(t, err)
	}
	heard := func(i int) impair.Heard {
		h, err := r.Conns()[i].Heard()
		require.NoError(t, err)
		return h
	}
	var before [2]impair.Heard
	more := func(n uint64) func() bool {
		return func() bool { return heard(1).Segments >= before[1].Segments+n }
	}
	// By the second probe, the acknowledgements of the data have arrived.
	before[1] = heard(1)
	require.Eventually(t, more(2), 10*time.Second, time.Millisecond)
	before = [2]impair.Heard{heard(0), heard(1)}
	require.Equal(t, uint64(24), before[0].Bytes, "of both ends")
	require.Eventually(t, more(1), 10*time.Second, time.Millisecond)
	require.Equal(t, before[0], heard(0), "the relay makes a connection talk that does not")
	require.Equal(t, before[1].Bytes, heard(1).Bytes)
}
