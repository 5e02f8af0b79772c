// Package bgra converts pixels from SPICE's form (B, G, R and a fourth byte) to that of package
// image.
package bgra

// Opaque writes pixels B, G, R, X from src to dst as R, G, B, 255. dst must be as long as src, and
// may be src.
func Opaque(dst, src []byte) {
	dst = dst[:len(src)]
	for i := 0; i+3 < len(src); i += 4 {
		dst[i], dst[i+1], dst[i+2], dst[i+3] = src[i+2], src[i+1], src[i], 0xff
	}
}

// Alpha writes pixels B, G, R, A from src to dst as R, G, B, A. dst must be as long as src, and may
// be src.
func Alpha(dst, src []byte) {
	dst = dst[:len(src)]
	for i := 0; i+3 < len(src); i += 4 {
		dst[i], dst[i+1], dst[i+2], dst[i+3] = src[i+2], src[i+1], src[i], src[i+3]
	}
}
