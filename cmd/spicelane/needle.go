package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/screen"
	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

// needleDir is the directory of reference images unless --dir names another.
const needleDir = harness.DefaultNeedles

func newNeedle() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "needle new|match|list",
		Short: "Make reference images of screens, look for them, list them",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usage("needle needs a subcommand: new, match or list")
		},
	}
	cmd.AddCommand(newNeedleNew(), newNeedleMatch(), newNeedleList())
	return cmd
}

// laneAndName splits the arguments of a command that takes a lane and a word. If the picture comes
// from a socket or a file, the command takes only the word.
func laneAndName(args []string, socket, file, what string) (lane, name string, err error) {
	switch elsewhere := socket != "" || file != ""; {
	case elsewhere && len(args) == 1:
		return "", args[0], nil
	case !elsewhere && len(args) == 2:
		return args[0], args[1], nil
	case elsewhere:
		return "", "", usage("with --socket or --png want only %s", what)
	}
	return "", "", usage("want a lane's name and %s", what)
}

func newNeedleNew() *cobra.Command {
	var socket, file, dir string
	var areas, tags []string
	var force bool
	cmd := &cobra.Command{
		Use:   "new [LANE | --socket PATH | --png FILE] NAME --area WIDTHxHEIGHT+X+Y…",
		Short: "Make a reference image of what is on a screen now",
		Long: `Make a reference image of what is on a screen now: NAME.png and NAME.json, in the format of
os-autoinst's needles.

--area may be given more than once. These words may follow the rectangle, separated by commas:

  - exclude: leave this area out of the others
  - match=PERCENT: the similarity that is needed; default: 100
  - margin=PIXELS: how far from its place the area may be; default: 0
  - click, click=X+Y: click here: in the middle, or X+Y from the upper left corner
  - ocr: tesseract must read there what it reads now
  - ocr=TEXT: tesseract must read this TEXT there; the last word, because TEXT may contain commas`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			lane, name, err := laneAndName(args, socket, file, "the NAME of the reference image")
			if err != nil {
				return err
			}
			var parsed []needle.Area
			for _, s := range areas {
				a, err := parseArea(s)
				if err != nil {
					return err
				}
				parsed = append(parsed, a)
			}
			if _, err := os.Stat(filepath.Join(dir, name+".json")); !errors.Is(err, fs.ErrNotExist) && !force {
				return usage("%s is there already; --force replaces it", filepath.Join(dir, name+".json"))
			}
			p, err := screenOf(cmd, lane, socket, file)
			if err != nil {
				return err
			}
			n, err := needle.New(name, parsed, tags, p)
			if err != nil {
				return usage("%w", err)
			}
			if err := n.Save(dir); err != nil {
				return verdict.Classify("needle", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %d areas of a screen of %d×%d\n", n.Path, len(n.Areas), p.Width, p.Height)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&areas, "area", nil, "an area as `WIDTHxHEIGHT+X+Y[,…]`; see above")
	f.StringArrayVar(&tags, "tag", nil, "a `TAG`; may be given more than once")
	f.StringVar(&dir, "dir", needleDir, "the `DIR`ectory of reference images")
	f.StringVar(&socket, "socket", "", "the control socket's `PATH`, instead of a lane's name")
	f.StringVar(&file, "png", "", "make it from this picture `FILE`")
	f.BoolVar(&force, "force", false, "replace an existing one of the same name")
	return cmd
}

// parseArea parses the value of --area.
func parseArea(s string) (needle.Area, error) {
	words := strings.Split(s, ",")
	bad := func(format string, args ...any) (needle.Area, error) {
		return needle.Area{}, usage("--area %s: %w", s, fmt.Errorf(format, args...))
	}
	r, err := parseRegion(words[0])
	if err != nil || r == nil {
		return bad("want WIDTHxHEIGHT+X+Y, for example 96x16+8+40")
	}
	none := 0
	a := needle.Area{X: r.X, Y: r.Y, Width: r.Width, Height: r.Height, Type: needle.TypeMatch, Margin: &none}
	for i, word := range words[1:] {
		if text, ok := strings.CutPrefix(strings.Join(words[i+1:], ","), "ocr="); ok {
			a.Type, a.Margin, a.Text = needle.TypeOCR, nil, text
			break
		}
		key, value, _ := strings.Cut(word, "=")
		switch {
		case word == "exclude":
			a.Type, a.Margin = needle.TypeExclude, nil
		case word == "ocr":
			a.Type, a.Margin = needle.TypeOCR, nil
		case key == "match":
			if a.Match, err = strconv.ParseFloat(value, 64); err != nil {
				return bad("match is %q: want a percentage", value)
			}
		case key == "margin":
			m, err := strconv.Atoi(value)
			if err != nil {
				return bad("margin is %q: want pixels", value)
			}
			a.Margin = &m
		case word == "click":
			a.Click = &needle.Click{Center: true}
		case key == "click":
			a.Click = new(needle.Click)
			if scanWhole(value, "%d+%d", &a.Click.X, &a.Click.Y) != nil {
				return bad("click is %q: want X+Y", value)
			}
		default:
			return bad("unknown word %q: want exclude, match=, margin=, click or ocr", word)
		}
	}
	return a, nil
}

// needleMatch is what `needle match --json` prints.
type needleMatch struct {
	Matched    bool         `json:"matched"`
	Tag        string       `json:"tag"`
	Candidates int          `json:"candidates"`
	Needle     string       `json:"needle"`
	Areas      []areaResult `json:"areas"`
	OCR        bool         `json:"rests_on_ocr,omitempty"`
	Reason     string       `json:"reason,omitempty"`
	Evidence   []string     `json:"evidence,omitempty"`
}

type areaResult struct {
	OK         bool    `json:"ok"`
	X          int     `json:"x"`
	Y          int     `json:"y"`
	Width      int     `json:"width"`
	Height     int     `json:"height"`
	Similarity float64 `json:"similarity"`
	Needed     float64 `json:"needed"`
	Differ     int     `json:"differing_pixels"`
	Read       string  `json:"read,omitempty"` // in an area of type ocr
	Wanted     string  `json:"wanted,omitempty"`
}

func newNeedleMatch() *cobra.Command {
	var look needleLooking
	var dir, evidence string
	var masks, fonts []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "match [LANE | --socket PATH | --png FILE] TAG",
		Short: "Say whether a reference image is on a screen; exit status 1 if not",
		Long: `Say whether a reference image is on a screen now, or appears within the time of --wait.

Mask parts of the screen that do not matter: name them with --mask, or let --ignore find
them. "cursor" is a text cursor, "pointer" the mouse pointer if the guest draws it. One
picture does not show whether a cursor blinks, so --ignore cursor masks only a cursor that
underlines a cell of a console. With --wait, it also masks one that blinks.

Tesseract reads areas of type ocr, if it is installed. The output says so, because
tesseract guesses.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			lane, tag, err := laneAndName(args, look.socket, look.file, "a TAG, or the name of a reference image")
			if err != nil {
				return err
			}
			q := &look.matcher.Query
			q.Tag = tag
			if err := look.mask(masks); err != nil {
				return err
			}
			if len(fonts) > 0 && !q.IgnoreCursor {
				return usage("--font needs --ignore cursor: it is for the console that the cursor is on")
			}
			if look.matcher.Reader, err = textReader(fonts, nil); err != nil {
				return err
			}
			guest, err := fontsOf(lane)
			if err != nil {
				return err
			}
			look.matcher.Reader.Fonts = append(guest, look.matcher.Reader.Fonts...)
			if look.matcher.Dir, err = needle.Open(dir); err != nil {
				return usage("%w", err)
			}
			r, err := look.at(cmd, lane)
			if err != nil {
				return err
			}
			var files []string
			if evidence != "" && !r.Matched() {
				if err := os.MkdirAll(evidence, 0o755); err != nil {
					return verdict.Classify("needle", err)
				}
				if files, err = r.WriteEvidence(evidence); err != nil {
					return verdict.Classify("needle", err)
				}
			}
			if asJSON {
				if err := printJSON(cmd.OutOrStdout(), resultRow(r, files)); err != nil {
					return err
				}
			} else if r.Matched() {
				fmt.Fprintln(cmd.OutOrStdout(), inertText(r.String()))
			}
			if !r.Matched() {
				kind := verdict.Product
				if r.Unread != nil {
					kind = verdict.Host
				}
				return &verdict.Error{Verdict: kind, Op: "needle", Err: errors.New(r.String())}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "dir", needleDir, "the `DIR`ectory of reference images")
	f.StringVar(&look.socket, "socket", "", "the control socket's `PATH`, instead of a lane's name")
	f.StringVar(&look.file, "png", "", "look at this picture `FILE`")
	f.StringVar(&evidence, "evidence", "", "on a mismatch, leave pictures of it in this `DIR`ectory")
	f.StringArrayVar(&masks, "mask", nil, "do not compare this part of the screen, as `WIDTHxHEIGHT+X+Y`; may be given more than once")
	f.StringSliceVar(&look.ignore, "ignore", nil, "mask `WHAT` changes by itself: cursor, pointer or both; see above")
	f.StringArrayVar(&fonts, "font", nil, "with --ignore cursor: a further `FONT` of the console, see spicelane text")
	f.BoolVar(&look.matcher.Query.Scale, "scale", false, "scale a screen of another size")
	f.DurationVar(&look.wait, "wait", 0, "wait up to this `TIME` for it")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// A needleLooking has the options of `needle match`.
type needleLooking struct {
	matcher      screen.Matcher
	socket, file string
	ignore       []string
	wait         time.Duration
}

// mask sets the masks of the query from the flags.
func (l *needleLooking) mask(masks []string) error {
	for _, s := range masks {
		r, err := parseRegion(s)
		if err != nil || r == nil {
			return usage("--mask %s: want WIDTHxHEIGHT+X+Y, for example 96x16+8+40", s)
		}
		l.matcher.Query.Masks = append(l.matcher.Query.Masks, r.Rectangle())
	}
	for _, what := range l.ignore {
		switch what {
		case "cursor":
			l.matcher.Query.IgnoreCursor = true
		case "pointer":
			l.matcher.Query.IgnorePointer = true
		default:
			return usage("--ignore %s: want cursor or pointer", what)
		}
	}
	switch {
	case l.file != "" && l.matcher.Query.IgnorePointer:
		return usage("--ignore pointer needs a lane or a socket: a picture does not show where the pointer was; use --mask")
	case l.file != "" && l.wait != 0:
		return usage("--wait needs a lane or a socket: a picture does not change")
	case l.wait < 0:
		return usage("--wait %v: want a time that is not negative", l.wait)
	}
	return nil
}

// at matches the screen of a lane, of a control socket or of a file.
func (l *needleLooking) at(cmd *cobra.Command, lane string) (r *needle.Result, err error) {
	if l.file != "" {
		p, err := screenOf(cmd, lane, l.socket, l.file)
		if err != nil {
			return nil, err
		}
		r, err = l.matcher.Match(cmd.Context(), p, nil)
		return r, verdict.Classify("needle", err)
	}
	t, err := resolveTarget(lane, l.socket)
	if err != nil {
		return nil, err
	}
	err = withDriver(cmd, t, func(ctx context.Context, d *control.Driver) (err error) {
		if l.wait > 0 {
			r, err = l.await(ctx, d)
		} else {
			r, err = l.now(ctx, d)
		}
		return err
	})
	return r, err
}

// now looks for the reference image in the present picture.
func (l *needleLooking) now(ctx context.Context, d *control.Driver) (*needle.Result, error) {
	asking, cancel := answering(ctx, 2)
	defer cancel()
	img, err := d.Image(asking, control.ScreenshotParams{})
	if err != nil {
		return nil, err
	}
	var pointer *image.Point
	if l.matcher.Query.IgnorePointer {
		pointer = drive.Pointer(asking, d)
	}
	r, err := l.matcher.Match(ctx, pixmap.Of(img), pointer)
	return r, verdict.Classify("needle", err)
}

// await waits for the reference image. If it does not come in time, await returns the last result
// and no error. However short the time is, await looks at one picture.
func (l *needleLooking) await(ctx context.Context, d *control.Driver) (*needle.Result, error) {
	src, err := drive.WatchScreen(ctx, d)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	within, cancel := context.WithTimeout(ctx, l.wait)
	defer cancel()
	r, err := screen.AwaitNeedle(within, src, &l.matcher)
	switch {
	case err == nil, r != nil && errors.Is(err, context.DeadlineExceeded):
		return r, nil
	case errors.Is(err, context.DeadlineExceeded):
		return l.now(ctx, d)
	case errors.As(err, new(*screen.Error)): // the client has ended, or the user has interrupted
		return nil, &verdict.Error{Verdict: drive.VerdictOf(err), Op: "needle", Err: err}
	}
	return nil, verdict.Classify("needle", err)
}

func resultRow(r *needle.Result, files []string) needleMatch {
	found := cmp.Or(r.Match, r.Nearest)
	row := needleMatch{Matched: r.Matched(), OCR: r.RestsOnOCR(), Tag: r.Tag, Candidates: r.Candidates, Needle: found.Needle.Name, Reason: found.Reason, Evidence: files, Areas: []areaResult{}}
	for _, a := range found.Areas {
		row.Areas = append(row.Areas, areaResult{a.OK, a.At.Min.X, a.At.Min.Y, a.At.Dx(), a.At.Dy(), a.Similarity, a.Need, a.Differ, a.Read, a.Wanted})
	}
	return row
}

func newNeedleList() *cobra.Command {
	var asJSON, unused, neverMatched bool
	var results []string
	cmd := &cobra.Command{
		Use:   "list [DIR]",
		Short: "List the reference images, and the files that are not reference images",
		Long: `List the reference images, and the files that are not reference images.

With --results, the list says how often the lanes that left their files there looked for
each image, and how often it matched. --unused lists only those that no lane looked for,
--never-matched only those that were never on the screen, whether looked for or not.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := arg(args, 0)
			if dir == "" {
				dir = needleDir
			}
			d, err := needle.Open(dir)
			if err != nil {
				return usage("%w", err)
			}
			if (unused || neverMatched) && len(results) == 0 {
				return usage("--unused and --never-matched need --results DIR, where lanes left their files")
			}
			uses, err := needleUses(d, results)
			if err != nil {
				return err
			}
			rows := []needleRow{}
			for _, n := range d.Needles {
				r := needleRow{Name: n.Name, Tags: append([]string{}, n.Tags...), Areas: len(n.Areas), File: n.Path, Use: uses[n]}
				if !(unused && r.Use.LookedFor > 0) && !(neverMatched && r.Use.Matched > 0) {
					rows = append(rows, r)
				}
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), rows)
			} else {
				err = printNeedles(cmd.OutOrStdout(), rows, len(results) > 0)
			}
			if err != nil {
				return err
			}
			for _, p := range d.Problems {
				fmt.Fprintln(cmd.ErrOrStderr(), p.Err)
			}
			if n := len(d.Problems); n > 0 {
				return usage("%d files in %s are not reference images", n, dir)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&results, "results", nil, "a `DIR`ectory with the files of lanes, at any depth; may be given more than once")
	f.BoolVar(&unused, "unused", false, "only those that no lane looked for")
	f.BoolVar(&neverMatched, "never-matched", false, "only those that were never on the screen")
	f.BoolVar(&asJSON, "json", false, "print them as JSON")
	return cmd
}

// A needleRow is a line of needle list.
type needleRow struct {
	Name  string     `json:"name"`
	Tags  []string   `json:"tags"`
	Areas int        `json:"areas"`
	File  string     `json:"file"`
	Use   *needleUse `json:"use,omitempty"` // with --results
}

func printNeedles(w io.Writer, rows []needleRow, used bool) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	head := "NAME\tAREAS\t"
	if used {
		head += "LOOKED FOR\tMATCHED\t"
	}
	fmt.Fprintln(tw, head+"TAGS")
	for _, r := range rows {
		fmt.Fprintf(tw, "%s\t%d\t", r.Name, r.Areas)
		if used {
			fmt.Fprintf(tw, "%d\t%d\t", r.Use.LookedFor, r.Use.Matched)
		}
		fmt.Fprintln(tw, strings.Join(r.Tags, " "))
	}
	return tw.Flush()
}
