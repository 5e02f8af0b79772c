package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/screen/ocr"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/harness/screen/text"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/internal/atomicfile"
	"github.com/spicelane/spicelane/spice/control"
)

func newText() *cobra.Command {
	var socket, file, pattern, region, known, cell, learn string
	var fonts, origin []string
	var asJSON, guess bool
	cmd := &cobra.Command{
		Use:   "text [NAME | --socket PATH | --png FILE]",
		Short: "Print what is written on the screen",
		Long: `Print the text of a screen with fixed cells: firmware, VGA text modes, Linux's console. A
character is printed only if every pixel of its cell is as in the font; the others are
printed as \uFFFD.

For proportional text, use --ocr: tesseract guesses the text, and the result proves nothing.

The fonts of OVMF and Beacon are built in. --font adds one: the name of a console font of
this host, such as Lat15-VGA16, or a file. With --learn, the font is made from a screen
whose text is known.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case guess && len(fonts)+len(origin) > 0:
				return usage("--font and --origin are for exact text, and --ocr is a guess: leave them out")
			case learn != "" && len(fonts) > 0:
				return usage("--learn: the font is made: leave out --font")
			}
			r, err := textReader(fonts, origin)
			if err != nil {
				return err
			}
			var re *regexp.Regexp
			if pattern != "" {
				if re, err = regexp.Compile(pattern); err != nil {
					return usage("--find: %w", err)
				}
			}
			part, err := parseRegion(region)
			if err != nil {
				return err
			}
			var rect image.Rectangle
			if part != nil {
				rect = part.Rectangle()
			}
			switch {
			case learn != "" && !guess && (re != nil || asJSON):
				return usage("--learn makes a font and prints nothing: leave out --find and --json")
			case part != nil && re == nil && !guess:
				return usage("--region needs --find or --ocr")
			case learn == "" && (known != "" || cell != ""):
				return usage("--known and --cell need --learn")
			}
			screen, err := screenOf(cmd, arg(args, 0), socket, file)
			if err != nil {
				return err
			}
			if guess {
				if re != nil || asJSON || learn != "" {
					return usage("--ocr is a guess for a person to read: it does not go with --find, --json or --learn")
				}
				return printGuess(cmd, screen, rect)
			}
			guest, err := fontsOf(arg(args, 0))
			if err != nil {
				return err
			}
			r.Fonts = append(guest, r.Fonts...)
			if learn != "" {
				return learnFont(screen, learn, known, cell, r.Origin)
			}
			g, err := r.Read(screen)
			if err != nil {
				return &verdict.Error{Verdict: verdict.Product, Op: "text", Err: err, Hint: "name its font with --font, or learn it with --learn"}
			}
			if err := printText(cmd, g, re, rect, asJSON); err != nil {
				return err
			}
			if re != nil && len(g.Find(re, rect)) == 0 {
				return &verdict.Error{Verdict: verdict.Product, Op: "text", Err: fmt.Errorf("nothing on the screen is %q", pattern)}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&socket, "socket", "", "the control socket's `PATH`, instead of a lane's name")
	f.StringVar(&file, "png", "", "read it from this picture `FILE`")
	f.StringArrayVar(&fonts, "font", nil, "a further `FONT`: its name or its file; may be given more than once")
	f.StringSliceVar(&origin, "origin", nil, "the upper left pixel of a cell as `X,Y`, to skip the search for the grid")
	f.StringVar(&pattern, "find", "", "print where this regular `EXPRESSION` matches, one match per line; exit status 1 if nowhere")
	f.BoolVar(&guess, "ocr", false, "print what tesseract guesses, if it is installed")
	f.StringVar(&region, "region", "", "with --find or --ocr: only within `WIDTHxHEIGHT+X+Y` in pixels")
	f.StringVar(&learn, "learn", "", "make a font from the screen and write it to this `FILE`")
	f.StringVar(&known, "known", "", "with --learn: the `FILE` with the screen's text, beginning with the cell at --origin")
	f.StringVar(&cell, "cell", "", "with --learn: a cell's size as `WIDTHxHEIGHT`")
	f.BoolVar(&asJSON, "json", false, "print the grid as JSON")
	return cmd
}

// textReader returns the reader that the flags describe.
func textReader(fonts, origin []string) (text.Reader, error) {
	var r text.Reader
	var err error
	if r.Fonts, err = text.LoadAll(fonts...); err != nil {
		return r, usage("--font: %w", err)
	}
	r.Fonts = append(r.Fonts, text.Fonts()...)
	if len(origin) > 0 {
		var at image.Point
		s := strings.Join(origin, ",")
		if scanWhole(s, "%d,%d", &at.X, &at.Y) != nil {
			return r, usage("--origin %s: want X,Y in pixels", s)
		}
		r.Origin = &at
	}
	return r, nil
}

// fontsOf returns the fonts that the guest of a lane may use. Without a lane's name it returns
// none.
func fontsOf(name string) ([]*text.Font, error) {
	if name == "" {
		return nil, nil
	}
	s, err := registry.Find(name)
	if err != nil {
		return nil, err
	}
	fonts, err := text.LoadAll(s.Fonts...)
	return fonts, verdict.Classify("fonts of the guest", err)
}

// screenOf returns the picture of a lane, of a control socket or of a file.
func screenOf(cmd *cobra.Command, name, socket, file string) (*pixmap.Picture, error) {
	if file != "" {
		if name != "" || socket != "" {
			return nil, usage("--png, --socket and a lane's name exclude each other")
		}
		p, err := pixmap.ReadFile(file)
		if err != nil {
			return nil, usage("%w", err)
		}
		return p, nil
	}
	t, err := resolveTarget(name, socket)
	if err != nil {
		return nil, err
	}
	var p *pixmap.Picture
	err = withDriver(cmd, t, func(ctx context.Context, d *control.Driver) error {
		ctx, cancel := answering(ctx, 1)
		defer cancel()
		img, err := d.Image(ctx, control.ScreenshotParams{})
		if err == nil {
			p = pixmap.Of(img)
		}
		return err
	})
	return p, err
}

// printGuess prints the text that tesseract reads in a part of p.
func printGuess(cmd *cobra.Command, p *pixmap.Picture, part image.Rectangle) error {
	s, err := ocr.Read(cmd.Context(), p, part)
	switch {
	case errors.As(err, new(*ocr.Error)):
		return verdict.Classify("text", err)
	case err != nil:
		return usage("%w", err)
	}
	fmt.Fprintln(cmd.ErrOrStderr(), "spicelane: tesseract guessed this; it proves nothing")
	_, err = fmt.Fprintln(cmd.OutOrStdout(), inertLines(s))
	return err
}

// scanWhole does what fmt.Sscanf does, and refuses text behind what the format asks for, which Sscanf
// leaves unread: "8x16.5" is not "%dx%d". An argument of a program has no NUL.
func scanWhole(s, format string, to ...any) error {
	_, err := fmt.Sscanf(s+"\x00", format+"\x00", to...)
	return err
}

func learnFont(screen *pixmap.Picture, out, known, cell string, origin *image.Point) error {
	var w, h int
	if scanWhole(cell, "%dx%d", &w, &h) != nil {
		return usage("--learn needs --cell WIDTHxHEIGHT, got %q", cell)
	}
	if known == "" {
		return usage("--learn needs --known FILE, the text that is on the screen")
	}
	b, err := os.ReadFile(known)
	if err != nil {
		return usage("--known: %w", err)
	}
	if origin == nil {
		origin = &image.Point{}
	}
	f, err := text.Learn("learnt", screen, w, h, *origin, strings.Split(string(bytes.TrimRight(b, "\r\n")), "\n"))
	if err != nil {
		return usage("%w", err)
	}
	if err := atomicfile.Write(out, f.Hex(), 0o644); err != nil {
		return verdict.Classify("text", err)
	}
	return nil
}

// A cellPlace is a cell's place in what --json prints.
type cellPlace struct {
	Col int `json:"col"`
	Row int `json:"row"`
}

type jsonHit struct {
	cellPlace
	Text   string `json:"text"`
	X      int    `json:"x"`
	Y      int    `json:"y"`
	Width  int    `json:"width"`
	Height int    `json:"height"`
}

func printText(cmd *cobra.Command, g *text.Grid, re *regexp.Regexp, region image.Rectangle, asJSON bool) error {
	var hits []text.Hit
	if re != nil {
		hits = g.Find(re, region)
	}
	out := cmd.OutOrStdout()
	switch {
	case asJSON:
		v := struct {
			Font    string     `json:"font"`
			X       int        `json:"x"`
			Y       int        `json:"y"`
			Cols    int        `json:"cols"`
			Rows    int        `json:"rows"`
			Lines   []string   `json:"lines"`
			Unknown int        `json:"unknown"`
			Cursor  *cellPlace `json:"cursor,omitempty"`
			Hits    []jsonHit  `json:"hits,omitempty"`
		}{Font: g.Font.Name, X: g.Origin.X, Y: g.Origin.Y, Cols: g.Cols, Rows: g.Rows, Lines: g.Lines(), Unknown: g.UnknownCells()}
		if col, row, ok := g.Cursor(); ok {
			v.Cursor = &cellPlace{col, row}
		}
		for _, h := range hits {
			v.Hits = append(v.Hits, jsonHit{cellPlace{h.Col, h.Row}, h.Text, h.Rect.Min.X, h.Rect.Min.Y, h.Rect.Dx(), h.Rect.Dy()})
		}
		return printJSON(out, v)
	case re != nil:
		for _, h := range hits {
			fmt.Fprintf(out, "%d,%d: %s\n", h.Col, h.Row, inertText(h.Text))
		}
		return nil
	}
	_, err := fmt.Fprintln(out, inertLines(g.Text()))
	return err
}

// inertLines makes lines of a guest's output harmless to a terminal.
func inertLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = inertText(line)
	}
	return strings.Join(lines, "\n")
}
