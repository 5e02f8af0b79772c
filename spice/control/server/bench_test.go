package server_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/controltest"
	"github.com/spicelane/spicelane/spice/control/server"
)

func BenchmarkScreenshot(b *testing.B) {
	for _, format := range []string{"rgba", "png"} {
		b.Run(format+" 1024x768", func(b *testing.B) {
			path, _ := controltest.Open(b, server.Config{Console: controltest.New(1024, 768)})
			d := controltest.Dial(b, path)
			for b.Loop() {
				_, err := d.Image(b.Context(), control.ScreenshotParams{Format: format})
				require.NoError(b, err)
			}
		})
	}
}

func BenchmarkStatus(b *testing.B) {
	path, _ := controltest.Open(b, server.Config{Console: controltest.New(8, 8)})
	d := controltest.Dial(b, path)
	for b.Loop() {
		_, err := d.Status(b.Context())
		require.NoError(b, err)
	}
}
