// Package pagetest looks at pages in a browser.
package pagetest

import (
	"context"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/internal/need"
)

// RequireFits fails the test if the page in the file at path is wider than a window of a desktop.
func RequireFits(t *testing.T, path string) {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(need.Browser(t)), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 800))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ctx, stopBrowser := chromedp.NewExecAllocator(ctx, opts...)
	defer stopBrowser()
	ctx, stop := chromedp.NewContext(ctx)
	defer stop()
	require.NoError(t, chromedp.Do(ctx, chromedp.Navigate("file://"+path)))
	// What is folded counts, too.
	got, err := chromedp.Run(ctx, chromedp.Evaluate[int](`document.querySelectorAll("details").forEach(d => d.open = true), document.documentElement.scrollWidth`))
	require.NoError(t, err)
	require.LessOrEqual(t, got, 1280, "the width of %s", path)
}
