package wire_test

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/wire"
)

// sameMessage compares messages by what they say: empty and nil slices are equal.
var sameMessage = cmpopts.EquateEmpty()

func (v vector) name() string { return fmt.Sprintf("%s %s %s", v.channel, v.dir, v.msg.MessageName()) }

func TestEveryMessageIsItsLiteralBytes(t *testing.T) {
	for i, v := range vectors {
		t.Run(fmt.Sprintf("%d %s", i, v.name()), func(t *testing.T) {
			body := literal(v.bytes)
			got, err := wire.Decode(v.channel, v.dir, v.msg.MessageType(), body)
			require.NoError(t, err)
			if diff := cmp.Diff(v.msg, got, sameMessage); diff != "" {
				t.Errorf("decode % x (-want +got):\n%s", body, diff)
			}
			assert.Equal(t, v.msg.MessageName(), got.MessageName())
			assert.Equalf(t, body, append([]byte{}, v.msg.Append(nil)...), "encode %+v", v.msg)
			// Offsets count from where the body begins, not from the buffer's start.
			assert.Equal(t, append([]byte("header"), body...), v.msg.Append([]byte("header")))
		})
	}
}

func TestEveryProperPrefixIsRejected(t *testing.T) {
	for i, v := range vectors {
		t.Run(fmt.Sprintf("%d %s", i, v.name()), func(t *testing.T) {
			body := literal(v.bytes)
			for n := range body {
				_, err := wire.Decode(v.channel, v.dir, v.msg.MessageType(), body[:n:n])
				if v.open && n >= v.fixed {
					assert.NoErrorf(t, err, "%d of %d bytes", n, len(body))
					continue
				}
				var e *wire.DecodeError
				require.Truef(t, errors.As(err, &e), "%d of %d bytes: got %v, want a DecodeError", n, len(body), err)
				assert.Equal(t, v.channel, e.Channel)
				assert.Equal(t, v.msg.MessageName(), e.Message)
				assert.LessOrEqual(t, e.Offset, n)
			}
		})
	}
}

func TestDecodingIntoAUsedMessageLeavesNothingOfTheOldOne(t *testing.T) {
	for _, a := range vectors {
		for _, b := range vectors {
			if reflect.TypeOf(a.msg) != reflect.TypeOf(b.msg) {
				continue
			}
			m := reflect.New(reflect.TypeOf(a.msg).Elem()).Interface().(wire.Message)
			require.NoError(t, m.Decode(literal(a.bytes)))
			require.NoError(t, m.Decode(literal(b.bytes)))
			if diff := cmp.Diff(b.msg, m, sameMessage); diff != "" {
				t.Errorf("%s after another (-want +got):\n%s", b.name(), diff)
			}
		}
	}
}

func TestEveryModelledMessageHasALiteral(t *testing.T) {
	covered := map[string]bool{}
	for _, v := range vectors {
		covered[fmt.Sprintf("%s %T", v.dir, v.msg)] = true
	}
	for _, channel := range append(wire.ChannelTypes(), 200) {
		for _, d := range []wire.Direction{server, client} {
			for _, kind := range wire.Messages(channel, d) {
				m, err := wire.Decode(channel, d, kind.Type, nil)
				if err == nil || m != nil {
					assert.Truef(t, covered[fmt.Sprintf("%s %T", d, m)], "%s %s %s has no vector", channel, d, kind.Name)
				}
				assert.Equal(t, kind.Type, m.MessageType())
				assert.Equal(t, kind.Name, wire.MessageName(channel, d, kind.Type))
			}
		}
	}
	images := map[wire.ImageType]bool{}
	for _, v := range vectors {
		if m, ok := v.msg.(*wire.DrawCopy); ok && m.Src != nil {
			images[m.Src.Type] = true
		}
	}
	for _, typ := range wire.ImageTypes() {
		assert.Truef(t, images[typ], "image type %s has no vector", typ)
	}
}

func TestAnUnknownMessageSurvivesByteForByte(t *testing.T) {
	body := []byte{1, 2, 3, 0, 255}
	m, err := wire.DecodeServer(wire.ChannelDisplay, 999, body)
	require.NoError(t, err)
	assert.Equal(t, &wire.Unknown{Type: 999, Body: body}, m)
	assert.Equal(t, body, m.Append(nil))
	assert.Equal(t, "display.999", wire.MessageName(wire.ChannelDisplay, server, 999))

	m, err = wire.DecodeServer(77, 101, body)
	require.NoError(t, err)
	assert.Equal(t, body, m.Append(nil))
	_, err = wire.DecodeServer(77, 4, nil)
	assert.ErrorContains(t, err, "ping", "messages of all channels are understood on an unknown one")
}

func TestMalformedMessagesAreRefusedWithTheReason(t *testing.T) {
	for name, tc := range map[string]struct {
		typ    uint16
		bytes  string
		offset int
		reason string
	}{
		"an image beyond the end": {304, drawBase + "40000000" + area + "0800 01" + noMask, 25,
			"offset 64 lies outside the body of 57 bytes"},
		"an image at the end": {304, drawBase + "39000000" + area + "0800 01" + noMask, 25,
			"offset 57 lies outside the body of 57 bytes"},
		"more clips than bytes": {104, "01000000 02000000 03000000 04000000 05000000 01 ffffffff", 25,
			"4294967295 elements of 16 bytes or more, 0 bytes are left"},
		"one clip more than bytes": {104, "01000000 02000000 03000000 04000000 05000000 01 02000000" + area, 25,
			"2 elements of 16 bytes or more, 16 bytes are left"},
		"a bitmap whose size overflows 32 bits": {304,
			copyOf("0100000000000000 00 00 04000000 02000000  08 04 00000100 00000100 00000100 00000000"), 57 + 18 + 18,
			"want 4294967296 bytes, 0 are left"},
		"a palette that must be there": {304,
			copyOf("0100000000000000 64 00 02000000 01000000  00 02000000 00000000 abcd"), 57 + 18 + 9,
			"offset 0 for a palette that must be there"},
		"more palette than bytes": {304,
			copyOf("0100000000000000 64 00 02000000 01000000  00 02000000 56000000 abcd 0700000000000000 ff00 01020300"), 96,
			"255 elements of 4 bytes or more, 4 bytes are left"},
		"a pattern that must be there": {302, drawBase + "02 00000000 0a000000 0b000000 4000" + noMask, 26,
			"offset 0 for a pattern that must be there"},
		"a JPEG larger than its data": {304,
			copyOf("0100000000000000 6c 00 02000000 01000000  01 04000000 03000000 ffd855"), 87,
			"a JPEG of 4 bytes in 3 bytes of data"},
		"a path that must be there": {310, drawBase + "00000000 00 00 0800 0900", 25, "offset 0 for a path that must be there"},
		"glyphs of no format":       {311, drawBase + "2f000000" + area + "00 00 0800 0900" + "0100 08", 50, "1 glyphs of no raster format (flags 0x8)"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := wire.DecodeServer(wire.ChannelDisplay, tc.typ, literal(tc.bytes))
			var e *wire.DecodeError
			require.ErrorAs(t, err, &e)
			assert.Equal(t, tc.reason, e.Reason)
			assert.Equal(t, tc.offset, e.Offset)
		})
	}
}

func TestASubListIsFoundAndBounded(t *testing.T) {
	// A mark that carries a wait_for_channels and an inval_list.
	body, offset := wire.AppendSubMessages(nil, 0, []wire.SubMessage{
		{Type: 5, Body: []byte{0}}, {Type: 105, Body: []byte{0, 0}}})
	assert.Equal(t, literal("0200 0a000000 11000000  0500 01000000 00  6900 02000000 0000"), body)
	h := wire.Header{Serial: 1, Type: 102, Size: uint32(len(body)), SubList: offset}
	subs, err := wire.SubMessages(h, body)
	require.NoError(t, err)
	assert.Empty(t, subs, "offset 0 is no list for a message that is not a list")
	h.Type = 8
	subs, err = wire.SubMessages(h, body)
	require.NoError(t, err)
	assert.Equal(t, []wire.SubMessage{{Type: 5, Body: []byte{0}}, {Type: 105, Body: []byte{0, 0}}}, subs)
	for n := range body {
		_, err := wire.SubMessages(h, body[:n])
		assert.Errorf(t, err, "%d of %d bytes", n, len(body))
	}

	m := &wire.DisplayInvalPalette{ID: 9}
	body, offset = wire.AppendSubMessages(m.Append(nil), 0, []wire.SubMessage{{Type: 5, Body: []byte{0}}})
	subs, err = wire.SubMessages(wire.Header{Type: m.MessageType(), SubList: offset}, body)
	require.NoError(t, err)
	assert.Equal(t, []wire.SubMessage{{Type: 5, Body: []byte{0}}}, subs)
	require.NoError(t, m.Decode(body))
}

// FuzzDecode holds that no body makes a decoder panic or read outside it, and
// that what was understood is understood the same when it is encoded again.
func FuzzDecode(f *testing.F) {
	for _, v := range vectors {
		f.Add(uint8(v.channel), v.dir == client, v.msg.MessageType(), literal(v.bytes))
	}
	f.Fuzz(func(t *testing.T, channel uint8, fromClient bool, typ uint16, body []byte) {
		d := server
		if fromClient {
			d = client
		}
		m, err := wire.Decode(wire.ChannelType(channel), d, typ, body[:len(body):len(body)])
		if err != nil {
			var e *wire.DecodeError
			require.ErrorAs(t, err, &e)
			return
		}
		encoded := m.Append(nil)
		again, err := wire.Decode(wire.ChannelType(channel), d, typ, encoded)
		require.NoErrorf(t, err, "what % x says, encoded as % x", body, encoded)
		if diff := cmp.Diff(m, again, sameMessage); diff != "" {
			t.Errorf("encoded as % x (-before +after):\n%s", encoded, diff)
		}
	})
}

// FuzzSubMessages holds that lists stay inside the body.
func FuzzSubMessages(f *testing.F) {
	f.Add(uint32(0), uint16(8), literal("0200 0a000000 11000000  0500 01000000 00  6900 02000000 0000"))
	f.Add(uint32(8), uint16(107), literal("0900000000000000 0100 0e000000 0500 01000000 00"))
	f.Fuzz(func(t *testing.T, offset uint32, typ uint16, body []byte) {
		subs, err := wire.SubMessages(wire.Header{Type: typ, SubList: offset}, body)
		if err != nil {
			return
		}
		for _, sub := range subs {
			require.LessOrEqual(t, len(sub.Body), len(body))
		}
	})
}
