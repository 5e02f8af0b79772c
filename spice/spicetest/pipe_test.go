package spicetest_test

import (
	"bytes"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/spicetest"
)

func TestBothEndsOfAPipeMayWriteFirst(t *testing.T) {
	a, b := spicetest.Pipe()
	defer a.Close()
	defer b.Close()
	for _, end := range []net.Conn{a, b} {
		_, err := end.Write([]byte("hello"))
		require.NoError(t, err)
	}
	for _, end := range []net.Conn{a, b} {
		got := make([]byte, 5)
		_, err := io.ReadFull(end, got)
		require.NoError(t, err)
		assert.Equal(t, "hello", string(got))
	}
}

func TestAFullPipeBlocksUntilItIsRead(t *testing.T) {
	a, b := spicetest.Pipe()
	defer a.Close()
	sent := bytes.Repeat([]byte("0123456789abcdef"), spicetest.PipeBuffer/8)
	go func() {
		_, err := a.Write(sent)
		assert.NoError(t, err)
		assert.NoError(t, a.CloseWrite())
	}()
	got, err := io.ReadAll(b)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(sent, got))
	_, err = b.Write([]byte("still open"))
	assert.NoError(t, err)
	require.NoError(t, b.Close())
	_, err = a.Write([]byte("x"))
	assert.ErrorIs(t, err, net.ErrClosed, "after CloseWrite")
	_, err = b.Read(make([]byte, 1))
	assert.ErrorIs(t, err, net.ErrClosed)
	_, err = b.Write(nil)
	assert.ErrorIs(t, err, net.ErrClosed)
	rest, err := io.ReadAll(a)
	assert.NoError(t, err, "what was written before the close is still read")
	assert.Equal(t, "still open", string(rest))
}

func TestWritingToAClosedEndFails(t *testing.T) {
	a, b := spicetest.Pipe()
	require.NoError(t, b.Close())
	require.NoError(t, b.Close(), "twice is once")
	_, err := a.Write([]byte("x"))
	assert.ErrorIs(t, err, io.ErrClosedPipe)
	require.NoError(t, a.Close())
}

func TestDeadlinesOfAPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := spicetest.Pipe()
		defer a.Close()
		defer b.Close()
		begin := time.Now()
		require.NoError(t, a.SetReadDeadline(begin.Add(time.Second)))
		_, err := a.Read(make([]byte, 1))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(begin))

		require.NoError(t, a.SetDeadline(time.Now().Add(time.Hour)))
		require.NoError(t, a.SetDeadline(time.Time{}))
		_, err = a.Write([]byte("x"))
		require.NoError(t, err, "a deadline can be taken back")

		require.NoError(t, a.SetWriteDeadline(time.Now().Add(time.Minute)))
		n, err := a.Write(make([]byte, spicetest.PipeBuffer))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.Equal(t, spicetest.PipeBuffer-1, n)
		require.NoError(t, a.SetReadDeadline(time.Unix(1, 0)))
		_, err = a.Read(make([]byte, 1))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded, "a deadline in the past is over at once")
	})
}
