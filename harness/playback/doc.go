// Package playback writes what a lane left behind in forms that other players show: a video, an
// animated PNG, subtitles of the timeline, and a terminal's recording of the serial console.
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
// The animated PNG and WebM have the exact pixels of the film; MP4 does not, because what plays it
// everywhere halves the resolution of colours. Videos take ffmpeg; all else is this package's own.
//
// What happens within 20 ms is shown in one frame, because viewers do not show shorter ones. Until
// a display has a picture, and while it has none, it is black.
//
// The package reads nothing but what it is given, and films nothing: package film does.
package playback
