// Package glz decodes SPICE's GLZ images (SPICE_IMAGE_TYPE_GLZ_RGB and ZLIB_GLZ_RGB): an LZ
// compression whose matches may also be in earlier images of the session. spice-gtk's
// src/decode-glz.c is the reference.
//
// The earlier images form the Window. All display channels of a session share one, and each channel
// has a separate Decoder:
//
//	window := glz.NewWindow(pixels)     // as announced in SPICE_MSGC_DISPLAY_INIT
//	dec := window.NewDecoder()          // one per channel
//	h, err := glz.ParseHeader(data)
//	...
//	_, err = dec.Decode(ctx, dst, 4*h.Width, data)
//
// Images have consecutive ids across the channels. Every channel has its own connection, so an
// image can arrive before one that it refers to. Decode then waits until another Decoder has
// decoded that one. So it must run on the channel's own goroutine, with a context that ends with
// the session.
//
// Each image says how far back the server's dictionary reaches. Older images are dropped, once all
// earlier images have arrived. A server that never releases images runs into the limit given to
// NewWindow.
//
// Every GLZ image must be decoded, shown or not, because later ones may refer to it.
package glz

import (
	"encoding/binary"
	"fmt"

	"github.com/spicelane/spicelane/spice/codec"
)

const name = "glz"

// HeaderSize is the number of bytes before the first stream.
const HeaderSize = 33

const (
	magic   = 0x20205a4c // "LZ  ", common/lz_common.h
	version = 1<<16 | 1
)

// Type is the subset of LzImageType of spice-common's common/lz_common.h that GLZ
// images have; palette images are never compressed with GLZ, because the same
// bytes could be different colours in a later image.
type Type uint8

const (
	RGB16 Type = 6 + iota // 15-bit colour, decoded with the high bits repeated
	RGB24                 // decoded exactly as RGB32
	RGB32                 // X decodes to 0
	RGBA                  // colour and alpha
)

var typeNames = [...]string{RGB16: "rgb16", RGB24: "rgb24", RGB32: "rgb32", RGBA: "rgba"}

func (t Type) String() string {
	if t >= RGB16 && t <= RGBA {
		return typeNames[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// HasAlpha reports whether the fourth byte of the decoded pixels means something.
func (t Type) HasAlpha() bool { return t == RGBA }

// Header is the header of a GLZ image.
type Header struct {
	Type          Type
	Width, Height int    // pixels
	TopDown       bool   // otherwise the last row comes first, and Decode flips the image
	ID            uint64 // number of the image within the session, from 0
	HeadDistance  uint32 // ID less this is the oldest image that the server still refers to
}

// ParseHeader reads and checks the header of a GLZ image without decoding it. It
// returns *codec.FormatError or, for a version other than 1.1 or a type
// that GLZ does not have, *codec.UnsupportedError.
func ParseHeader(src []byte) (Header, error) {
	if len(src) < HeaderSize {
		return Header{}, &codec.FormatError{Codec: name, Offset: len(src), Reason: "truncated header"}
	}
	be := binary.BigEndian
	if m := be.Uint32(src); m != magic {
		return Header{}, &codec.FormatError{Codec: name, Offset: 0, Reason: fmt.Sprintf("magic %#08x, want %#08x", m, magic)}
	}
	if v := be.Uint32(src[4:]); v != version {
		return Header{}, &codec.UnsupportedError{Codec: name, Feature: fmt.Sprintf("version %d.%d", v>>16, v&0xffff)}
	}
	h := Header{
		Type:    Type(src[8] & 0xf), // LZ_IMAGE_TYPE_MASK
		TopDown: src[8]>>4 != 0,
		// Negative or huge sizes wrap to a number that CheckSize refuses.
		Width:        int(int32(be.Uint32(src[9:]))),
		Height:       int(int32(be.Uint32(src[13:]))),
		ID:           be.Uint64(src[21:]),
		HeadDistance: be.Uint32(src[29:]),
	}
	// The stride, at 17, is the server's and says nothing about the stream.
	if h.Type < RGB16 || h.Type > RGBA {
		return Header{}, &codec.UnsupportedError{Codec: name, Feature: h.Type.String()}
	}
	if err := codec.CheckSize(name, 9, h.Width, h.Height); err != nil {
		return Header{}, err
	}
	if uint64(h.HeadDistance) > h.ID {
		return Header{}, &codec.FormatError{Codec: name, Offset: 29,
			Reason: fmt.Sprintf("image %d reaches back %d images", h.ID, h.HeadDistance)}
	}
	return h, nil
}
