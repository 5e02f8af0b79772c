// Package replay makes one file of what a lane left behind: a page on which the lane can be seen
// again.
//
//	err := replay.Write(dir, replay.Options{}) // dir/lane.html
//
// The page needs nothing but a browser. It loads nothing, also not from the file system, and a
// content security policy forbids it to. It has the verdict, the film of the screen (see package
// film), the timeline, the logs and the last pictures, all on the lane's clock.
//
// Everything that a guest, a test or a program said is shown as text and never read as HTML.
// Files that are missing, cut off or damaged are left out, and the page says so: a lane that was
// killed has a page, too.
//
// The package reads files and runs nothing. It does not look for secrets: the lane does, and reads
// what is in a page with [Text].
package replay
