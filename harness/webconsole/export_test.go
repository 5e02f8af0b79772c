package webconsole

// What the tests of this package look at from outside.

var (
	PictureMessage = pictureMessage
	IsMakeCode     = isMakeCode
	Page           = page
)
