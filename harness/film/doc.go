// Package film records what a client shows, so that a run can be watched again. A film is a file of
// key frames and of the rectangles that changed after them. Each is a PNG with a time on the clock
// of the lane's timeline.
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
// a caller takes through [Recorder.Take] is in the film, at the moment at which it was taken.
//
// The file is written as things happen, so a killed process leaves a film that ends where it was
// killed. Its size is limited: see [Config.MaxBytes].
//
// The package films neither sound nor the pointer, and it shows nothing. Package replay makes a
// page from a film.
package film
