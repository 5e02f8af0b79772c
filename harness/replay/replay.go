package replay

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/spicelane/spicelane/harness/timeline"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/atomicfile"
)

// File is the page's name in a lane's directory.
const File = "lane.html"

// DefaultMaxBytes is the default limit of a page's size.
const DefaultMaxBytes = 10 << 20

// Options say what to put into a page.
type Options struct {
	// MaxBytes limits the size of the page. If it is too large, frames of the film are left out
	// first, those around the failure last; then entries of logs and timeline. Default:
	// DefaultMaxBytes.
	MaxBytes int
	// LastPicture leaves out all of the film but its end, because people need only the last picture
	// of a lane that passed.
	LastPicture bool
	// TestOutput is the output of the lane's test; empty if that is not known.
	TestOutput string

	entries bool // keep the entries of the timeline
}

func (o Options) maxBytes() int {
	if o.MaxBytes > 0 {
		return o.MaxBytes
	}
	return DefaultMaxBytes
}

// Write makes the page of the lane in dir, as dir/lane.html.
func Write(dir string, o Options) error {
	b, err := Make(dir, o)
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, File), b, 0o644)
}

// WriteAll makes the pages of the lanes in dir and below, and returns their paths. It returns an
// error if there is no lane. If a page cannot be made, WriteAll still makes the others, and then
// returns the error.
func WriteAll(dir string) (pages []string, err error) {
	lanes, err := Find(dir)
	errs := []error{err}
	for _, lane := range lanes {
		if werr := Write(lane, Options{}); werr != nil {
			errs = append(errs, werr)
		} else {
			pages = append(pages, filepath.Join(lane, File))
		}
	}
	return pages, errors.Join(errs...)
}

// Find returns the directories of lanes in dir and below. It returns an error if there is none.
func Find(dir string) (lanes []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && isLane(path) {
			lanes = append(lanes, path)
		}
		return err
	})
	if err != nil {
		err = fmt.Errorf("replay: %w", err)
	} else if len(lanes) == 0 {
		err = fmt.Errorf("replay: no lane has left anything in %s: there is no %s", dir, timeline.File)
	}
	return lanes, err
}

// isLane tells whether dir is the directory of a lane.
func isLane(dir string) bool {
	return exists(filepath.Join(dir, timeline.File)) || exists(filepath.Join(dir, verdict.File))
}

//go:embed page.html
var pageHTML string

// mainHTML is the screen, the logs and the timeline. It has no text from anywhere else. On the page
// of a running lane, the element that shows the screen as it is now replaces {{live}}.
//
//go:embed main.html
var mainHTML string

//go:embed page.css
var pageCSS string

//go:embed page.js
var pageJS string

var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

// digest returns the name of a script or style in a content security policy.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// Policy returns the content security policy of the page. It allows the page's own script and
// style, and nothing else.
func Policy() string {
	return fmt.Sprintf("default-src 'none'; script-src '%s'; style-src '%s'; base-uri 'none'; form-action 'none'",
		digest(pageJS), digest(pageCSS))
}

// Make returns the page of the lane in dir. It returns an error if there is no lane in dir. Files
// that are damaged are not errors.
func Make(dir string, o Options) ([]byte, error) {
	l, err := gather(dir, o)
	if err != nil {
		return nil, err
	}
	pictures, film := l.pack(o)
	data, err := l.data(film, pictures, o.maxBytes()-len(pictures)-len(pageJS)-len(pageCSS)-len(pageHTML)-len(mainHTML))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	// Only the head has text from outside, and the template escapes it. All else is from this
	// package, or base64.
	fmt.Fprintf(&b, pageTop, template.HTMLEscapeString(Policy()), template.HTMLEscapeString(l.head.Title()), pageCSS)
	if err := pageTemplate.Execute(&b, l.head); err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	b.WriteString(strings.Replace(mainHTML, "{{live}}", "", 1))
	fmt.Fprintf(&b, pageEnd, data, pictures, pageJS)
	return b.Bytes(), nil
}

const (
	pageTop = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="%s">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>%s</title>
<style>%s</style>
</head>
`
	pageEnd = dataBegin + "%s" + dataEnd + `
<script type="application/octet-stream" id="pictures">%s</script>
<script>%s</script>
</body>
</html>
`
)

// The beginning and the end of the block of a page that has the lane's text.
const (
	dataBegin = `<script type="application/octet-stream" id="data">`
	dataEnd   = `</script>`
)

// Text returns the text of the lane in a page, which has it compressed. Programs that search a
// lane's files search this text, too. It is empty if r is not a page. A damaged page is an error.
func Text(r io.Reader) (io.Reader, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	for {
		// The block is one line.
		line, err := br.ReadString('\n')
		if _, data, ok := strings.Cut(line, dataBegin); ok {
			data, _, _ = strings.Cut(data, dataEnd)
			packed, err := base64.StdEncoding.DecodeString(data)
			if err != nil {
				return nil, fmt.Errorf("replay: %w", err)
			}
			z, err := gzip.NewReader(bytes.NewReader(packed))
			if err != nil {
				return nil, fmt.Errorf("replay: %w", err)
			}
			return z, nil
		}
		if errors.Is(err, io.EOF) {
			return strings.NewReader(""), nil
		}
		if err != nil {
			return nil, fmt.Errorf("replay: %w", err)
		}
	}
}

// pageData has the data for the page's script. Its JSON names are those in page.js.
type pageData struct {
	From   int64         `json:"from"` // of the timeline, in microseconds
	To     int64         `json:"to"`
	Focus  int64         `json:"focus"` // the moment that is shown first
	Tracks []track       `json:"tracks"`
	T      []int64       `json:"t"` // of each event; the difference to the one before
	D      []int64       `json:"d"` // how long it took
	K      []int         `json:"k"` // its track
	X      []string      `json:"x"` // its text
	Bad    []int         `json:"bad"`
	Marks  []mark        `json:"marks"`
	Film   []pageFrame   `json:"film"`
	Stills bool          `json:"stills,omitempty"` // the film is made from pictures that the test took
	Pics   []pagePicture `json:"pics"`
	Curves []curve       `json:"curves"`
	// Pointer has the states of the pointer: t, x, y, shape, and flags. The flags are 1 if it is
	// hidden, plus 2 if a button is down. Shapes are numbered from 1.
	Pointer [][5]int64    `json:"pointer"`
	Shapes  []pagePicture `json:"shapes"`
	// Now is when the data of a running lane were made, in microseconds on its clock. Began is when
	// its clock began, in microseconds since 1970.
	Now   int64 `json:"now,omitempty"`
	Began int64 `json:"began,omitempty"`

	Left []string `json:"left"`
	Name string   `json:"name"`
}

type track struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// A mark is a moment or time that is highlighted on all tracks.
type mark struct {
	T    int64  `json:"t"`
	D    int64  `json:"d"`
	Kind string `json:"kind"` // verdict, wait, fault
	Text string `json:"text"`
}

// A pageFrame is a frame of the film. Each patch has x, y, width and height, and the offset and
// length of its PNG in the block of pictures.
type pageFrame struct {
	T       int64    `json:"t"`
	Since   int64    `json:"since,omitempty"` // of a late frame, see film.Frame
	Display uint8    `json:"s"`
	Key     bool     `json:"key,omitempty"`
	Gone    bool     `json:"gone,omitempty"`
	Size    [2]int   `json:"size,omitzero"`
	Patches [][6]int `json:"p,omitempty"`
}

// A curve is drawn on a track: values from 0 on, each valid up to a moment.
type curve struct {
	Track string    `json:"track"`
	Bad   bool      `json:"bad"`
	T     []int64   `json:"t"`
	V     []float64 `json:"v"`
}

// A pagePicture is a picture besides the film, or a shape of the pointer.
type pagePicture struct {
	T    int64  `json:"t"`
	Name string `json:"name"`
	Via  string `json:"via"` // whose it is: qemu, direct, compared
	At   [2]int `json:"at"`
	Hot  [2]int `json:"hot,omitzero"`
}

// data returns the data for the page's script, compressed and in base64. It leaves out events until
// the result is about as long as limit, in bytes, or minText if that is more.
func (l *lane) data(film []pageFrame, pictures string, limit int) (string, error) {
	for try := 0; ; try++ {
		d := l.pageData(film)
		text, err := json.Marshal(d)
		if err != nil {
			return "", fmt.Errorf("replay: %w", err)
		}
		var packed bytes.Buffer
		z, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
		if err != nil {
			return "", fmt.Errorf("replay: %w", err)
		}
		if _, err = z.Write(text); err == nil {
			err = z.Close()
		}
		if err != nil {
			return "", fmt.Errorf("replay: %w", err)
		}
		size := base64.StdEncoding.EncodedLen(packed.Len())
		limit := max(limit, minText)
		if size <= limit || try == 4 {
			return base64.StdEncoding.EncodeToString(packed.Bytes()), nil
		}
		l.thinEvents(0.9 * float64(limit) / float64(size))
	}
}

// minText is the number of bytes of a page that text gets, however large the pictures are.
const minText = 1 << 20

func us(d time.Duration) int64 { return d.Microseconds() }

// exists tells whether path is a regular file.
func exists(path string) bool {
	st, err := os.Lstat(path)
	return err == nil && st.Mode().IsRegular()
}
