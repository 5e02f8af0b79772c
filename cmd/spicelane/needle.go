package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/screen/ocr"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
	"github.com/spicelane/spicelane/harness/verdict"
)

// needleDir is where reference images are unless --dir says otherwise.
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

// laneAndName splits the arguments of a command that takes a lane and then a word, or only the
// word if the picture is from elsewhere.
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

--area may be given more than once. Behind the rectangle may stand, with commas between them:
  exclude            leave this area out of the others
  match=PERCENT      the similarity that is needed; 100 if it is not stated
  margin=PIXELS      how far from its place the area may be; 0 if it is not stated
  click, click=X+Y   click here: in the middle, or at a place from the upper left corner`,
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
	f.StringArrayVar(&areas, "area", nil, "an area, `WIDTHxHEIGHT+X+Y[,…]`, see above")
	f.StringArrayVar(&tags, "tag", nil, "a `TAG`; may be given more than once")
	f.StringVar(&dir, "dir", needleDir, "the `DIRECTORY` of reference images")
	f.StringVar(&socket, "socket", "", "the control socket's `PATH`, instead of a lane's name")
	f.StringVar(&file, "png", "", "make it of this picture `FILE`")
	f.BoolVar(&force, "force", false, "replace one of the same name")
	return cmd
}

// parseArea reads an area as --area has it.
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
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		switch {
		case word == "exclude":
			a.Type, a.Margin = needle.TypeExclude, nil
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
			if n, err := fmt.Sscanf(value+".", "%d+%d.", &a.Click.X, &a.Click.Y); err != nil || n != 2 {
				return bad("click is %q: want X+Y", value)
			}
		default:
			return bad("unknown word %q: want exclude, match=, margin= or click", word)
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
}

func newNeedleMatch() *cobra.Command {
	var socket, file, dir, evidence string
	var scale, asJSON bool
	cmd := &cobra.Command{
		Use:   "match [LANE | --socket PATH | --png FILE] TAG",
		Short: "Say whether a reference image is on a screen now; exit status 1 if not",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			lane, tag, err := laneAndName(args, socket, file, "a TAG, or the name of a reference image")
			if err != nil {
				return err
			}
			d, err := needle.Open(dir)
			if err != nil {
				return usage("%w", err)
			}
			p, err := screenOf(cmd, lane, socket, file)
			if err != nil {
				return err
			}
			r, err := d.Match(needle.Query{Tag: tag, Scale: scale}, p)
			if err != nil {
				return usage("%w", err)
			}
			var files []string
			if evidence != "" {
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
			guessAreas(cmd, r, p)
			if !r.Matched() {
				return &verdict.Error{Verdict: verdict.Product, Op: "needle", Err: errors.New(r.String())}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "dir", needleDir, "the `DIRECTORY` of reference images")
	f.StringVar(&socket, "socket", "", "the control socket's `PATH`, instead of a lane's name")
	f.StringVar(&file, "png", "", "look at this picture `FILE`")
	f.StringVar(&evidence, "evidence", "", "on a mismatch, leave pictures of it in this `DIRECTORY`")
	f.BoolVar(&scale, "scale", false, "scale a screen of another size")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// guessAreas says what tesseract reads in the areas of type ocr. They decide nothing.
func guessAreas(cmd *cobra.Command, r *needle.Result, p *pixmap.Picture) {
	for i, a := range cmp.Or(r.Match, r.Nearest).Needle.Areas {
		if a.Type != needle.TypeOCR {
			continue
		}
		s, err := ocr.Read(cmd.Context(), p, a.Rect())
		if err != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "spicelane: area %d is of type ocr and was not read: %v\n", i+1, err)
			continue
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "spicelane: area %d is of type ocr; tesseract guesses %q, which decides nothing\n", i+1, s)
	}
}

func resultRow(r *needle.Result, files []string) needleMatch {
	found := cmp.Or(r.Match, r.Nearest)
	row := needleMatch{Matched: r.Matched(), Tag: r.Tag, Candidates: r.Candidates, Needle: found.Needle.Name, Reason: found.Reason, Evidence: files, Areas: []areaResult{}}
	for _, a := range found.Areas {
		row.Areas = append(row.Areas, areaResult{a.OK, a.At.Min.X, a.At.Min.Y, a.At.Dx(), a.At.Dy(), a.Similarity, a.Need, a.Differ})
	}
	return row
}

func newNeedleList() *cobra.Command {
	var asJSON, unused, neverMatched bool
	var results []string
	cmd := &cobra.Command{
		Use:   "list [DIRECTORY]",
		Short: "List the reference images, and the files that are none",
		Long: `List the reference images, and the files that are none.

With --results, the list says how often each was looked for and found in the runs whose lanes left
their files there. --unused keeps those that nobody has looked for, --never-matched those that were
never on the screen, whether looked for or not.`,
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
				return usage("--unused and --never-matched need --results DIRECTORY, where lanes left their files")
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
				return usage("%d files in %s are no reference images", n, dir)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&results, "results", nil, "a `DIRECTORY` with the files of lanes, at any depth; may be given more than once")
	f.BoolVar(&unused, "unused", false, "only those that nobody has looked for")
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
