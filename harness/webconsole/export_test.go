package webconsole

// What the tests of this package look at from outside.

const MaxRequest = maxRequest

var (
	PictureMessage = pictureMessage
	IsMakeCode     = isMakeCode
)
