// Package replay makes one file from what a lane left behind: a page that shows the lane again.
//
//	err := replay.Write(dir, replay.Options{}) // dir/lane.html
//
// The page needs only a browser. It loads nothing, not even from the file system, and its content
// security policy forbids that. It has the verdict, the film of the screen (see package film), the
// timeline, the logs and the last pictures, all on the lane's clock.
//
// Everything that a guest, a test or a program printed is shown as text and never read as HTML.
// Files that are missing, cut off or damaged are left out, and the page says so. So a lane that was
// killed has a page, too.
//
// The package runs nothing. It does not search for secrets: the lane does, and reads the text in a
// page with [Text].
package replay
