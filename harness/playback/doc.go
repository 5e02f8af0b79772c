// Package playback writes a lane's film and timeline in formats that other programs play: a video,
// an animated PNG, subtitles of the timeline, and a terminal recording of the serial console.
//
//	r, err := replay.Read(dir)
//	if err != nil { … }
//	p, err := playback.Open(r, playback.Options{SkipIdle: time.Second})
//	if err != nil { … }
//	err = p.WriteAPNG(pngFile)
//	err = p.WriteVideo(ctx, "lane.webm")
//	err = p.WriteSubtitles(vttFile)
//	err = playback.WriteCast(castFile, r, playback.Options{})
//
// The animated PNG and WebM have the exact pixels of the film. MP4 does not, because most players
// need MP4 with half the resolution of colours. Videos need ffmpeg; the package writes the other
// formats itself.
//
// Changes within 20 ms are shown in one frame, because viewers do not show shorter ones. While a
// display has no picture, it is black.
//
// The package only reads a lane's directory. Package film makes the film.
package playback
