package scenario_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness/scenario"
	"github.com/spicelane/spicelane/harness/serial"
)

func TestTheBannerIsAWholeLineUnlessItMayBeAPrompt(t *testing.T) {
	for _, tc := range []struct {
		line          serial.Line
		whole, prompt bool
	}{
		{serial.Line{Text: "Hello", Complete: true}, true, true},
		{serial.Line{Text: "Hello"}, false, false},
		{serial.Line{Text: " Hello", Complete: true}, false, true},
		{serial.Line{Text: "Hello> "}, false, true},
		{serial.Line{Text: "x Hello", Complete: true}, false, false},
		{serial.Line{Text: "Hell", Complete: true}, false, false},
	} {
		require.Equal(t, tc.whole, scenario.IsBanner(tc.line, "Hello", false), "%+v", tc.line)
		require.Equal(t, tc.prompt, scenario.IsBanner(tc.line, "Hello", true), "%+v", tc.line)
	}
}
