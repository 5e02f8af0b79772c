// Package film records what a client shows while it shows it, so that a run can be watched again:
// a file of key frames and of the rectangles that changed after them, each a PNG, on the clock of
// the lane's timeline.
//
//	r, err := film.Start(film.Config{Path: path, Clock: start, Screen: screen})
//	r.Drawn(0, rect, time.Now()) // called by the code that draws; never blocks
//	err = r.Close()
//
//	f, err := film.ReadFile(path)
//	img := f.At(0, 1500*time.Millisecond)
//
// Recording costs little: only what was drawn is copied, only what differs is compressed, and a
// screen that changes all the time is filmed less often (see [Config.Share]). A picture that
// a caller takes through [Recorder.Take] is always in the film, at the moment at which it was
// taken.
//
// The file is written as it happens, so a killed process leaves a film that ends where it was
// killed. It is bounded: see [Config.MaxBytes].
//
// What it does not do: it films neither sound nor the pointer, and it shows nothing. Package
// replay makes a page of a film.
package film
