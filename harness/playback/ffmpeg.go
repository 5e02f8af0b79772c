package playback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spicelane/spicelane/internal/atomicfile"
)

// ErrNoFFmpeg means that the program ffmpeg is not installed.
var ErrNoFFmpeg = errors.New("ffmpeg is not installed")

// IsVideo reports whether WriteVideo can write a file of that name: .webm or .mp4.
func IsVideo(path string) bool { return formats[extension(path)] != nil }

func extension(path string) string { return strings.ToLower(filepath.Ext(path)) }

// formats are ffmpeg's arguments for each file name extension. WebM keeps each pixel. Most players
// of MP4 need half the resolution of colours, and an even size.
var formats = map[string][]string{
	".webm": {"-c:v", "libvpx-vp9", "-lossless", "1", "-deadline", "realtime", "-cpu-used", "8",
		"-row-mt", "1", "-pix_fmt", "gbrp", "-f", "webm"},
	".mp4": {"-c:v", "libx264", "-preset", "veryfast", "-crf", "16",
		"-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2,scale=out_color_matrix=bt709,format=yuv420p",
		"-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709",
		"-movflags", "+faststart", "-f", "mp4"},
}

// WriteVideo writes the playback as a video. The extension of path selects the format. The error
// matches ErrNoFFmpeg if ffmpeg is not installed. After an error, the file at path is unchanged.
func (p *Playback) WriteVideo(ctx context.Context, path string) error {
	format := formats[extension(path)]
	if format == nil {
		return fmt.Errorf("playback: %s: the kinds of videos are .webm and .mp4", path)
	}
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		return fmt.Errorf("playback: %w", ErrNoFFmpeg)
	}
	dir, err := os.MkdirTemp("", "spicelane-film-")
	if err != nil {
		return fmt.Errorf("playback: %w", err)
	}
	defer os.RemoveAll(dir)
	// NB: a file, because ffmpeg does not read an animated PNG from a pipe.
	frames := filepath.Join(dir, "frames.png")
	// NB: ffmpeg ignores the delay of the last frame, so that frame comes twice.
	delays := func(shot int) []int {
		all := p.delays(shot)
		if last := len(all) - 1; shot == len(p.shots)-1 && all[last] > lastShot {
			all = append(all[:last], all[last]-lastShot, lastShot)
		}
		return all
	}
	if err := WriteFile(frames, func(w io.Writer) error { return p.writeAPNG(w, delays) }); err != nil {
		return err
	}
	out, err := os.CreateTemp(filepath.Dir(path), atomicfile.Prefix+"*")
	if err != nil {
		return fmt.Errorf("playback: %w", err)
	}
	defer os.Remove(out.Name())
	if err := out.Close(); err != nil {
		return fmt.Errorf("playback: %w", err)
	}
	args := []string{"-hide_banner", "-nostdin", "-loglevel", "error", "-f", "apng", "-i", frames,
		"-fps_mode", "passthrough"}
	args = append(append(args, format...), "-y", "file:"+out.Name())
	cmd := exec.CommandContext(ctx, ffmpeg, args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("playback: %s: %w: %s; an animated PNG (.png) needs no ffmpeg",
			ffmpeg, err, lastLine(said.String()))
	}
	if err := os.Chmod(out.Name(), 0o644); err != nil {
		return fmt.Errorf("playback: %w", err)
	}
	if err := os.Rename(out.Name(), path); err != nil {
		return fmt.Errorf("playback: %w", err)
	}
	return nil
}

// lastShot is how long the last frame of a video is shown, in ms.
const lastShot = int(minShot / time.Millisecond)

// lastLine returns the last line of a program's output.
func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return strings.TrimSpace(s[strings.LastIndexByte(s, '\n')+1:])
}
