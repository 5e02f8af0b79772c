package inert_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/internal/inert"
)

// What a guest can do to the terminal of somebody who looks at its console: titles,
// colours, cursor movements, answers that the terminal types (DECRQSS, DA), and text
// that reads the other way round (CVE-2003-0063, CVE-2021-42574).
func TestWhatAGuestSaysIsShownAndNotCarriedOut(t *testing.T) {
	for in, want := range map[string]string{
		"plain\ttext\n":                  "plain\ttext\n",
		"a line\r\nand another\r\n":      "a line\nand another\n",
		"10%\r50%\rdone":                 "10%^M50%^Mdone",
		"\x1b]0;title\a":                 "^[]0;title^G",
		"\x1bP$q q\x1b\\":                "^[P$q q^[\\",
		"\x1b[2J\x1b[1;31mred":           "^[[2J^[[1;31mred",
		"\u009b6n":                       "<U+009B>6n",
		"\x9b6n":                         `\x9b6n`,
		"back\b\b\x7f\x00":               "back^H^H^?^@",
		"grüße € \U0001f600":             "grüße € \U0001f600",
		"if \u202e\u2066// \u2069\u2066": "if <U+202E><U+2066>// <U+2069><U+2066>",
		"1\u200f2\u200e3\u061c4":         "1<U+200F>2<U+200E>3<U+061C>4",
	} {
		var all bytes.Buffer
		w := &inert.Writer{W: &all}
		n, err := w.Write([]byte(in))
		require.NoError(t, err)
		require.Equal(t, len(in), n)
		require.Equal(t, want, all.String(), "%q", in)

		// A character that falls apart between two reads stays whole.
		var bytewise bytes.Buffer
		w = &inert.Writer{W: &bytewise}
		for _, b := range []byte(in) {
			_, err := w.Write([]byte{b})
			require.NoError(t, err)
		}
		require.Equal(t, want, bytewise.String(), "%q", in)
		require.Equal(t, want, inert.Text(in))
	}
}

// A line of a serial console ends with a carriage return when its line feed has been cut off.
func TestACarriageReturnAtTheEndOfATextIsShown(t *testing.T) {
	for in, want := range map[string]string{"a line\r": "a line^M", "\r": "^M", "cut \xe2\x82": "cut \uFFFD"} {
		require.Equal(t, want, inert.Text(in), "%q", in)
	}
}
