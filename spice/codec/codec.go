// Package codec has what the SPICE image decoders share: the form of a picture, the two kinds of
// errors, and the check of a destination.
//
// The decoders are separate packages below it, one per format of spice-protocol/spice/enums.h
// (SpiceImageType):
//
//	bitmap  SPICE_IMAGE_TYPE_BITMAP
//	quic    SPICE_IMAGE_TYPE_QUIC
//	lz      SPICE_IMAGE_TYPE_LZ_RGB, LZ_PLT
//	glz     SPICE_IMAGE_TYPE_GLZ_RGB, ZLIB_GLZ_RGB
//	lz4     SPICE_IMAGE_TYPE_LZ4
//	jpeg    SPICE_IMAGE_TYPE_JPEG, JPEG_ALPHA, and the frames of an MJPEG stream
//
// All of them write pixels in the same form into memory of the caller: 32 bits in the byte order
// blue, green, red, X or alpha, rows from the top down:
//
//	h, err := quic.ParseHeader(data)   // cheap: no memory is taken
//	...                                // the caller compares h with its limits
//	dst := make([]byte, 4*h.Width*h.Height)
//	_, err = dec.Decode(dst, 4*h.Width, data)
//
// A stride is the distance in bytes from the start of a row to the start of the next. It is at
// least four times the width, and the bytes between two rows are not written. The fourth byte of a
// pixel is its alpha if the header says so. Otherwise it is X, which has no meaning: zero, or in
// uncompressed 32-bit formats what the server sent, or in GLZ images the alpha of an earlier image.
// If SPICE_IMAGE_FLAGS_HIGH_BITS_SET is set, the caller sets it to 0xff.
//
// After an error the destination contains a partial picture or garbage; do not show it.
//
// The package itself decodes nothing, knows no messages and has no state.
package codec

import "fmt"

// MaxDimension is the largest width or height, in pixels, that any decoder accepts. No SPICE
// surface comes near it: spice-server and QEMU's devices stop at 16384. It keeps products of two
// dimensions and four bytes within an int on every platform.
const MaxDimension = 1 << 15

// FormatError says that the bytes are not a valid image: truncated, damaged or
// hostile. It is returned as *FormatError.
type FormatError struct {
	// Codec is the format's short name: "quic", "lz", ….
	Codec string
	// Offset is the position in the image data, in bytes, at which the decoder
	// stopped. Bit-oriented formats round it up to the byte.
	Offset int
	// Reason says what is wrong there.
	Reason string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("%s: malformed image at byte %d: %s", e.Codec, e.Offset, e.Reason)
}

// UnsupportedError says that the image may be valid, but uses something that the decoder does not
// support. It is returned as *UnsupportedError.
type UnsupportedError struct {
	// Codec is the format's short name: "quic", "lz", ….
	Codec string
	// Feature names what the image needs, with its number.
	Feature string
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%s: unsupported image: %s", e.Codec, e.Feature)
}

// DestinationError says that the memory for the pixels does not fit the image, which is the
// caller's mistake. It is returned as *DestinationError.
type DestinationError struct {
	Codec         string
	Width, Height int // of the image, in pixels
	Stride, Len   int // of the destination, in bytes
}

func (e *DestinationError) Error() string {
	return fmt.Sprintf("%s: a destination of %d bytes with stride %d is too small for %dx%d pixels",
		e.Codec, e.Len, e.Stride, e.Width, e.Height)
}

// CheckSize returns a *FormatError unless both dimensions are between 1 and
// MaxDimension. offset is where the header states them.
func CheckSize(codec string, offset, width, height int) error {
	if width < 1 || height < 1 || width > MaxDimension || height > MaxDimension {
		return &FormatError{codec, offset, fmt.Sprintf("size %dx%d, want 1 to %d each way", width, height, MaxDimension)}
	}
	return nil
}

// CheckDestination returns a *DestinationError unless dst has room for width by height pixels of 4
// bytes with the given stride, in bytes. The last row needs no more than its pixels. Width and
// height must have passed CheckSize.
func CheckDestination(codec string, dst []byte, stride, width, height int) error {
	row := 4 * width
	if stride < row || len(dst) < row || (height > 1 && (len(dst)-row)/(height-1) < stride) {
		return &DestinationError{codec, width, height, stride, len(dst)}
	}
	return nil
}
