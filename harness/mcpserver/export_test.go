package mcpserver

var (
	SmallPNG = smallPNG
	Cut      = cut
)

// MaxCalls is how many calls may run at once.
const MaxCalls = maxCalls

// Tail returns the last n lines of a file, of its last size bytes.
func Tail(path string, n, size int) (lines []string, isCut bool, err error) {
	res, err := tail(path, n, size)
	return res.Lines, res.Cut, err
}
