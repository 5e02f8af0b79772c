package wire_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/wire"
)

// A pong and a set_ack-shaped unknown, framed both ways.
const (
	fullStream = `0100000000000000 0300 0c000000 00000000  07000000 0807060504030201
		0200000000000000 e703 02000000 05000000  aabb`
	miniStream = `0300 0c000000  07000000 0807060504030201
		e703 02000000  aabb`
)

func TestFramesAreTheirLiteralBytes(t *testing.T) {
	for _, mini := range []bool{false, true} {
		stream, subList := literal(fullStream), uint32(5)
		if mini {
			stream, subList = literal(miniStream), 0
		}
		var out bytes.Buffer
		w := wire.NewFrameWriter(&out, wire.FrameConfig{Mini: mini})
		require.NoError(t, w.WriteMessage(&wire.Pong{ID: 7, Timestamp: 0x0102030405060708}))
		require.NoError(t, w.WriteRaw(wire.Header{Serial: 2, Type: 999, SubList: 5}, []byte{0xaa, 0xbb}))
		assert.Equal(t, stream, out.Bytes())
		assert.EqualValues(t, 2, w.Serial())

		// One byte at a time: reads may be short.
		in := wire.NewFrameReader(iotest.OneByteReader(&out), wire.FrameConfig{Mini: mini})
		h, err := in.Next()
		require.NoError(t, err)
		assert.Equal(t, wire.Header{Serial: 1, Type: 3, Size: 12}, h)
		body, err := in.Body(nil)
		require.NoError(t, err)
		assert.Equal(t, literal("07000000 0807060504030201"), body)
		h, err = in.Next()
		require.NoError(t, err)
		assert.Equal(t, wire.Header{Serial: 2, Type: 999, Size: 2, SubList: subList}, h)
		body, err = in.Body(body)
		require.NoError(t, err)
		assert.Equal(t, []byte{0xaa, 0xbb}, body)
		_, err = in.Next()
		assert.Equal(t, io.EOF, err, "the end between two messages is clean")
	}
}

func TestEveryTruncatedStreamIsAnUnexpectedEnd(t *testing.T) {
	for _, mini := range []bool{false, true} {
		stream, first := literal(fullStream), 30
		if mini {
			stream, first = literal(miniStream), 18
		}
		for n := range stream {
			in := wire.NewFrameReader(bytes.NewReader(stream[:n]), wire.FrameConfig{Mini: mini})
			var err error
			for err == nil {
				if _, err = in.Next(); err == nil {
					_, err = in.Body(nil)
				}
			}
			if n == 0 || n == first {
				assert.Equalf(t, io.EOF, err, "%d bytes", n)
				continue
			}
			assert.ErrorIsf(t, err, io.ErrUnexpectedEOF, "%d bytes", n)
			var e *wire.FrameError
			require.ErrorAsf(t, err, &e, "%d bytes", n)
			_, again := in.Next()
			assert.Equal(t, err, again, "the error stays")
		}
	}
}

func TestABodyCanBeSkippedOrStreamed(t *testing.T) {
	in := wire.NewFrameReader(bytes.NewReader(literal(miniStream)), wire.FrameConfig{Mini: true})
	_, err := in.Next()
	require.NoError(t, err)
	h, err := in.Next() // the first body is skipped
	require.NoError(t, err)
	assert.EqualValues(t, 999, h.Type)
	body, err := io.ReadAll(in.BodyReader())
	require.NoError(t, err)
	assert.Equal(t, []byte{0xaa, 0xbb}, body)
}

func TestAHeaderAloneTakesNoMemory(t *testing.T) {
	// 64 MiB are announced and two bytes come.
	stream := literal("6600 00000004 aabb")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	in := wire.NewFrameReader(bytes.NewReader(stream), wire.FrameConfig{Mini: true})
	_, err := in.Next()
	require.NoError(t, err)
	_, err = in.Body(nil)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	runtime.ReadMemStats(&after)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(2<<20))
}

func TestABodyOverTheLimitIsRefused(t *testing.T) {
	in := wire.NewFrameReader(bytes.NewReader(literal("6600 01010000")), wire.FrameConfig{Mini: true, MaxBody: 256})
	_, err := in.Next()
	assert.EqualError(t, err, "wire: message type 102 at byte 0: body of 257 bytes, the limit is 256")
	in = wire.NewFrameReader(bytes.NewReader(literal("6600 ffffffff")), wire.FrameConfig{Mini: true})
	_, err = in.Next()
	assert.ErrorContains(t, err, "the limit is")
}

// FuzzFrames holds that any stream is read to its end without harm, and that
// the messages found make up the stream again.
func FuzzFrames(f *testing.F) {
	f.Add(false, literal(fullStream))
	f.Add(true, literal(miniStream))
	f.Fuzz(func(t *testing.T, mini bool, stream []byte) {
		cfg := wire.FrameConfig{Mini: mini, MaxBody: 1 << 20, BufferSize: 16}
		in := wire.NewFrameReader(bytes.NewReader(stream), cfg)
		var out bytes.Buffer
		w := wire.NewFrameWriter(&out, cfg)
		for {
			h, err := in.Next()
			var body []byte
			if err == nil {
				body, err = in.Body(nil)
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					var e *wire.FrameError
					require.ErrorAs(t, err, &e)
				}
				break
			}
			require.NoError(t, w.WriteRaw(h, body))
		}
		require.True(t, bytes.HasPrefix(stream, out.Bytes()))
	})
}
