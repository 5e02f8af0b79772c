// Package codectest helps to test image decoders: pictures that are the same
// everywhere, encoders for the formats that the standard library lacks, and vector
// files.
//
// A vector file is a text header, an empty line, and the bytes of an image:
//
//	expect: ok
//	size: 17x33
//	sha256: 5891b5b522d5df08…
//	picture: text rgb32
//	from: spice-common 0.14 quic_encode
//	comment: runs across a change of the waiting mask
//
// expect is ok, malformed or unsupported. size is the decoded size or, if the format does not
// contain it, that of the image descriptor. sha256 is that of the B,G,R,X pixels from the top down.
// picture is how to make these pixels, so that a failure can show what differs; see Expected.
// palette lists colours as six hexadecimal digits each. from says who made the bytes. Any other key
// is an error.
//
// The encoders are made for tests: clear before fast, and not clever. The
// scripted servers of other test packages may use them too.
package codectest
