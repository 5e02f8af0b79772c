package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/playback"
	"github.com/spicelane/spicelane/harness/registry"
	"github.com/spicelane/spicelane/harness/replay"
	"github.com/spicelane/spicelane/harness/verdict"
)

func newFilm() *cobra.Command {
	var (
		out      string
		opt      playback.Options
		from, to laneTime
		display  uint8
	)
	cmd := &cobra.Command{
		Use:   "film NAME|DIR -o FILE",
		Short: "Make a video of what a lane showed, or a recording of its serial console",
		Long: `Make a video of what a lane showed, from its name or its directory:

  spicelane film a -o a.webm                every pixel as it was; needs ffmpeg
  spicelane film a -o a.mp4                 plays everywhere; needs ffmpeg
  spicelane film DIR -o a.png               an animated PNG (also .apng), without ffmpeg
  spicelane film DIR -o a.cast              the serial console, for asciinema play

If ffmpeg is not installed, an animated PNG is written instead of a video, and the
command says so. The events of the timeline are written beside it, as subtitles
(a.vtt), each with its time on the lane's clock.

--from and --to choose a part of the lane by that clock, as in lane.html#t=2.5. By
default a video begins with the first picture. A lane that passed has a film only if
films are kept (--film always, or SPICELANE_FILM=always).

Exit status: 0 the file was written; 2 there is no such lane, no film in it, or the
arguments are wrong; 3 a program or file that it needs cannot be used.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind := strings.ToLower(filepath.Ext(out))
			switch {
			case out == "":
				return usage("film needs -o FILE.webm, .mp4, .png, .apng or .cast")
			case kind != ".png" && kind != ".apng" && kind != ".cast" && !playback.IsVideo(out):
				return usage("-o %s: the extension must be .webm, .mp4, .png, .apng or .cast", out)
			}
			if opt.Speed == 0 { // package playback takes that as its default
				return usage("--speed 0: the film would never end")
			}
			opt.From, opt.To = time.Duration(from), time.Duration(to)
			if cmd.Flags().Changed("display") {
				opt.Display = &display
			}
			dir, err := laneDir(args[0])
			if err != nil {
				return err
			}
			r, err := replay.Read(dir)
			if err != nil {
				return usage("film: %w", err)
			}
			if kind == ".cast" {
				return filmError(makeCast(cmd.OutOrStdout(), out, r, opt))
			}
			return filmError(makeFilm(cmd, out, r, opt))
		},
	}
	f := cmd.Flags()
	f.StringVarP(&out, "output", "o", "", "the `FILE`; its extension chooses the format")
	f.Var(&from, "from", "begin at this `TIME` of the lane's clock, in seconds or as 1m2.5s; default: the first picture")
	f.Var(&to, "to", "end at this `TIME`; default: the lane's end")
	f.Float64Var(&opt.Speed, "speed", 1, "play this many `TIMES` as fast")
	f.DurationVar(&opt.SkipIdle, "skip-idle", 0, "show at most this much `TIME` of each period without changes; 1s if no TIME is given")
	f.Lookup("skip-idle").NoOptDefVal = "1s"
	f.BoolVar(&opt.DrawInput, "draw-input", false, "draw the pointer and the names of pressed keys into the picture")
	f.Uint8Var(&display, "display", 0, "the display channel's `NUMBER`; default: the first that had a picture")
	return cmd
}

// laneDir returns the directory of a lane, given by its name, its directory or its page.
func laneDir(arg string) (string, error) {
	if filepath.Base(arg) == replay.File {
		return filepath.Dir(arg), nil
	}
	s, err := registry.Find(arg)
	if err == nil {
		return s.Dir, nil
	}
	if isDir(arg) {
		return arg, nil
	}
	if strings.ContainsRune(arg, filepath.Separator) {
		return "", usage("%s is not a directory", arg)
	}
	return "", err
}

func makeFilm(cmd *cobra.Command, out string, r *replay.Recording, opt playback.Options) error {
	p, err := playback.Open(r, opt)
	if err != nil {
		return err
	}
	if r.Film.Torn && r.Head.Outcome != "unknown" {
		fmt.Fprintln(cmd.ErrOrStderr(), "the film is cut off: what made it was killed")
	}
	if n := r.Film.Left.Frames; n > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(),
			"%d frames before %v are left out of the film: it would have become too large\n", n, r.Film.Left.Before)
	}
	if playback.IsVideo(out) {
		err := p.WriteVideo(cmd.Context(), out)
		if errors.Is(err, playback.ErrNoFFmpeg) {
			png := strings.TrimSuffix(out, filepath.Ext(out)) + ".png"
			fmt.Fprintf(cmd.ErrOrStderr(),
				"ffmpeg is not installed, so %s is an animated PNG; for a video: sudo apt-get install -y ffmpeg\n", png)
			out, err = png, playback.WriteFile(png, p.WriteAPNG)
		}
		if err != nil {
			return err
		}
	} else if err := playback.WriteFile(out, p.WriteAPNG); err != nil {
		return err
	}
	subtitles := strings.TrimSuffix(out, filepath.Ext(out)) + ".vtt"
	if err := playback.WriteFile(subtitles, p.WriteSubtitles); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: %d×%d, %.3f s, %d frames; subtitles: %s\n",
		out, p.Size().X, p.Size().Y, p.Length().Seconds(), p.Frames(), subtitles)
	return nil
}

func makeCast(stdout io.Writer, out string, r *replay.Recording, opt playback.Options) error {
	if opt.DrawInput || opt.Display != nil {
		return usage("--draw-input and --display are for a screen, but %s records the serial console", out)
	}
	write := func(w io.Writer) error { return playback.WriteCast(w, r, opt) }
	if err := playback.WriteFile(out, write); err != nil {
		return err
	}
	fmt.Fprintln(stdout, out)
	return nil
}

// filmError gives an error its verdict: a file that cannot be written is the host's fault.
func filmError(err error) error {
	var (
		known *verdict.Error
		path  *os.PathError
	)
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case errors.As(err, &path):
		return &verdict.Error{Verdict: verdict.Host, Op: "film", Err: err}
	}
	return &verdict.Error{Verdict: verdict.Harness, Op: "film", Err: err}
}

// A laneTime is the value of a flag: a time on a lane's clock. It is written in seconds, as in
// links to the lane's page, or with a unit.
type laneTime time.Duration

func (t *laneTime) String() string { return time.Duration(*t).String() }

func (t *laneTime) Type() string { return "TIME" }

func (t *laneTime) Set(s string) error {
	d, err := time.ParseDuration(s)
	if seconds, ferr := strconv.ParseFloat(s, 64); ferr == nil {
		d, err = time.ParseDuration(strconv.FormatFloat(seconds, 'f', -1, 64) + "s")
	}
	if err != nil || d < 0 {
		return fmt.Errorf("want seconds such as 2.5, or a time such as 1m2.5s, not below 0")
	}
	*t = laneTime(d)
	return nil
}
