package webconsole

// Exports for the external tests of this package.

const MaxRequest = maxRequest

var (
	PictureMessage = pictureMessage
	IsMakeCode     = isMakeCode
)
