package replay_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/film"
	"github.com/spicelane/spicelane/harness/replay"
)

// Without the first picture, the page still shows all else, and accepts keys and clicks.
func TestADamagedPictureInThePageSpoilsNothingElse(t *testing.T) {
	img := image.NewNRGBA(image.Rect(0, 0, 8, 8))
	for i := range img.Pix {
		img.Pix[i] = 0xff
	}
	img.Set(3, 4, color.NRGBA{1, 2, 3, 255})
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, img))
	frame := func(us int, picture string) string {
		return fmt.Sprintf(`{"t_us":%d,"size":[8,8],"rect":[0,0,8,8],"key":true,"png":%d}`+"\n%s\n", us, len(picture), picture)
	}
	dir := lay(t, map[string]string{
		film.File:         frame(1_000_000, strings.Replace(b.String(), "IDAT", "IDOT", 1)) + frame(2_000_000, b.String()),
		"timeline.ndjson": begin + `{"t_us":3000000,"kind":"serial","text":"x"}` + "\n",
	})
	require.NoError(t, replay.Write(dir, replay.Options{}))
	page := openBrowser(t)
	page.open(filepath.Join(dir, replay.File), "t=1.5")
	require.Contains(t, eval[string](page, "what is said", `document.getElementById("message").textContent`), "damaged")
	page.seek(2500 * time.Millisecond)
	require.Equal(t, img.Pix, page.canvas("screen").Pix)
}
