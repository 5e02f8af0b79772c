// Site makes a static site of the documents of this repository: HTML, a style sheet, a script and a
// search index. The site works without a server and without a network.
//
//	cd tools && go run ./site -root .. -o ../artifacts/site
//
// docs/README.md is the navigation. Site fails if a link, an anchor or an image is dead, if a page
// contains HTML, or if the navigation lacks a page. make site runs it.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	root := flag.String("root", ".", "the repository")
	out := flag.String("o", "artifacts/site", "the directory for the site; what is there is replaced")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "site: unknown argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	if err := run(*root, *out); err != nil {
		fmt.Fprintln(os.Stderr, "site:", err)
		os.Exit(1)
	}
}

// run makes the site of the repository at root in the directory out. It prints its counts and
// faults.
func run(root, out string) error {
	s, err := read(root)
	if err != nil {
		return err
	}
	s.check()
	for _, fault := range s.faults {
		fmt.Fprintln(os.Stderr, fault)
	}
	fmt.Printf("site: %d pages, %d links to pages and files, %d to other sites, %d images; dead links: %d\n",
		len(s.pages), s.inside, s.outside, len(s.images), s.dead)
	if len(s.faults) > 0 {
		return fmt.Errorf("%d faults in the documents, %d of them dead links", len(s.faults), s.dead)
	}
	if err := s.write(out); err != nil {
		return err
	}
	index, err := filepath.Abs(filepath.Join(out, "index.html"))
	fmt.Println("site: open", index)
	return err
}
