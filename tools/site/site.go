package main

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
)

const (
	// home is the first page of the site.
	home = "README.md"
	// contents is the page whose headings and links are the navigation.
	contents = "docs/README.md"
	// longestWord is the length in bytes up to which a word of code is not broken: it fits on a phone.
	longestWord = 28
	// source is the URL of files that the site does not have, such as programs.
	source = "https://github.com/spicelane/spicelane/blob/main/"
)

// markdown reads GitHub's dialect. It writes a cell's alignment as an attribute, because the pages'
// policy forbids inline styles.
var markdown = goldmark.New(goldmark.WithExtensions(
	extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignAttribute)),
	extension.Strikethrough, extension.Linkify,
))

// A page is one document.
type page struct {
	path    string // its path in the repository, such as docs/proxy.md
	title   string // its first heading
	label   string // its name in the navigation
	source  []byte
	doc     ast.Node
	anchors map[string]bool
	parts   []part
}

// A part is the text of a page under one heading.
type part struct {
	level         int
	anchor, title string
	text          strings.Builder
}

// A group is a heading of the navigation and its pages.
type group struct {
	Title string
	Pages []*page
}

// A site has all documents.
type site struct {
	root            string
	pages           []*page // in the order of the navigation
	groups          []group
	images          []string // paths in the repository
	inside, outside int      // numbers of links
	dead            int      // number of dead links
	faults          []string
}

// read reads the navigation and every page that it links to.
func read(root string) (*site, error) {
	s := &site{root: root}
	first, err := s.readPage(home)
	if err != nil {
		return nil, err
	}
	index, err := s.readPage(contents)
	if err != nil {
		return nil, err
	}
	first.label, index.label = first.title, index.title
	s.pages = []*page{first, index}
	var in *group
	err = ast.Walk(index.doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			if n.Level == 2 {
				s.groups = append(s.groups, group{Title: plain(n, index.source)})
				in = &s.groups[len(s.groups)-1]
			}
		case *ast.Link:
			target, _ := resolve(contents, string(n.Destination))
			if in == nil || path.Ext(target) != ".md" || s.page(target) != nil {
				return ast.WalkContinue, nil
			}
			p, err := s.readPage(target)
			if os.IsNotExist(err) {
				return ast.WalkContinue, nil // check reports it
			} else if err != nil {
				return ast.WalkStop, err
			}
			p.label = plain(n, index.source)
			in.Pages = append(in.Pages, p)
			s.pages = append(s.pages, p)
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		return nil, err
	}
	all, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		return nil, err
	}
	for _, file := range all {
		if name := path.Join("docs", filepath.Base(file)); s.page(name) == nil {
			s.faults = append(s.faults, fmt.Sprintf("%s: has no link in %s", name, contents))
		}
	}
	return s, nil
}

// page returns the page with a path; nil if there is none.
func (s *site) page(path string) *page {
	for _, p := range s.pages {
		if p.path == path {
			return p
		}
	}
	return nil
}

// readPage reads one document and gives its headings the anchors that GitHub gives them.
func (s *site) readPage(name string) (*page, error) {
	b, err := os.ReadFile(filepath.Join(s.root, filepath.FromSlash(name)))
	if err != nil {
		return nil, err
	}
	p := &page{path: name, source: b, doc: markdown.Parser().Parse(text.NewReader(b)), anchors: make(map[string]bool)}
	p.parts = []part{{}}
	for n := p.doc.FirstChild(); n != nil; n = n.NextSibling() {
		h, ok := n.(*ast.Heading)
		if !ok {
			at := &p.parts[len(p.parts)-1].text
			at.WriteString(plain(n, b))
			at.WriteByte(' ')
			continue
		}
		title := plain(h, b)
		anchor := slug(title)
		for i := 1; p.anchors[anchor]; i++ {
			anchor = fmt.Sprintf("%s-%d", slug(title), i)
		}
		p.anchors[anchor] = true
		h.SetAttributeString("id", []byte(anchor))
		if p.title == "" {
			p.title = title
		}
		p.parts = append(p.parts, part{level: h.Level, anchor: anchor, title: title})
	}
	if p.title == "" {
		s.faults = append(s.faults, name+": has no heading")
	}
	return p, nil
}

// plain returns the text of a node without markup.
func plain(n ast.Node, source []byte) string {
	var b strings.Builder
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		switch n := n.(type) {
		case *ast.Text:
			if entering {
				b.Write(n.Segment.Value(source))
				if n.SoftLineBreak() || n.HardLineBreak() {
					b.WriteByte(' ')
				}
			}
		case *ast.String:
			if entering {
				b.Write(n.Value)
			}
		case *ast.AutoLink:
			if entering {
				b.Write(n.Label(source))
			}
		case *ast.CodeBlock, *ast.FencedCodeBlock:
			if entering {
				for i := range n.Lines().Len() {
					line := n.Lines().At(i)
					b.Write(line.Value(source))
				}
			}
		default:
			// Separate the words of two cells or two paragraphs.
			if !entering && n.Type() == ast.TypeBlock {
				b.WriteByte(' ')
			}
		}
		return ast.WalkContinue, nil
	})
	return strings.Join(strings.Fields(b.String()), " ")
}

var noSlug = regexp.MustCompile(`[^\pL\pN_ -]`)

// slug returns the anchor that GitHub gives to a heading with this title.
func slug(title string) string {
	return strings.ReplaceAll(noSlug.ReplaceAllString(strings.ToLower(title), ""), " ", "-")
}

// resolve returns the path in the repository and the anchor of a link's target. from is the path of
// the page with the link.
func resolve(from, link string) (target, anchor string) {
	file, anchor, _ := strings.Cut(link, "#")
	if file == "" {
		return from, anchor
	}
	if unescaped, err := url.PathUnescape(file); err == nil {
		file = unescaped
	}
	return path.Join(path.Dir(from), file), anchor
}

// htmlPath returns the path of a page's HTML file in the site.
func htmlPath(p string) string {
	if path.Base(p) == "README.md" {
		return path.Join(path.Dir(p), "index.html")
	}
	return strings.TrimSuffix(p, ".md") + ".html"
}

// between returns the relative URL from one file of the site to another.
func between(from, to string) string {
	rel, err := filepath.Rel(filepath.FromSlash(path.Dir(from)), filepath.FromSlash(to))
	if err != nil {
		panic(err) // NB: both paths are relative to the root of the site
	}
	return (&url.URL{Path: filepath.ToSlash(rel)}).String()
}

// check follows every link and every image. It records a fault for each dead one, and changes the
// others to links of the site.
func (s *site) check() {
	for _, p := range s.pages {
		_ = ast.Walk(p.doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
			if !entering {
				return ast.WalkContinue, nil
			}
			switch n := n.(type) {
			case *ast.AutoLink:
				s.outside++
			case *ast.Link:
				n.Destination = []byte(s.follow(p, n, string(n.Destination)))
			case *ast.Image:
				n.Destination = []byte(s.picture(p, n, string(n.Destination)))
			case *ast.CodeSpan:
				// The class keeps browsers from breaking a flag after its dashes.
				if word := plain(n, p.source); len(word) <= longestWord && !strings.Contains(word, " ") {
					n.SetAttributeString("class", []byte("word"))
				}
			case *ast.RawHTML, *ast.HTMLBlock:
				s.fault(p, n, "", "HTML in a page is not shown; write Markdown")
			}
			return ast.WalkContinue, nil
		})
	}
}

// follow returns the site's URL for the link of a page. It records a fault if the link is dead.
func (s *site) follow(p *page, n ast.Node, link string) string {
	if u, err := url.Parse(link); err == nil && u.Scheme != "" {
		s.outside++
		if u.Scheme != "https" {
			s.fault(p, n, link, link+" does not begin with https://")
		}
		return link
	}
	s.inside++
	target, anchor := resolve(p.path, link)
	if to := s.page(target); to != nil {
		if anchor != "" && !to.anchors[anchor] {
			s.deadLink(p, n, link, fmt.Sprintf("%s has no heading with the anchor %q", target, anchor))
		}
		if anchor != "" {
			anchor = "#" + anchor
		}
		if to == p && anchor != "" {
			return anchor
		}
		return between(htmlPath(p.path), htmlPath(target)) + anchor
	}
	switch _, err := os.Stat(filepath.Join(s.root, filepath.FromSlash(target))); {
	case strings.HasPrefix(target, "..") || path.IsAbs(link):
		s.deadLink(p, n, link, "it leads out of the repository")
	case err != nil:
		s.deadLink(p, n, link, target+" is not there")
	case path.Ext(target) == ".md":
		s.deadLink(p, n, link, fmt.Sprintf("%s has no link in %s, so the site lacks it", target, contents))
	}
	return source + target
}

// picture returns the site's URL for the image of a page. It records a fault if the image is
// missing or has no description.
func (s *site) picture(p *page, n ast.Node, link string) string {
	target, _ := resolve(p.path, link)
	switch info, err := os.Stat(filepath.Join(s.root, filepath.FromSlash(target))); {
	case strings.Contains(link, ":") || strings.HasPrefix(target, "..") || path.IsAbs(link):
		s.deadLink(p, n, link, "an image has to be a file of the repository")
		return ""
	case err != nil || !info.Mode().IsRegular():
		s.deadLink(p, n, link, target+" is not there")
		return ""
	}
	if plain(n, p.source) == "" {
		s.fault(p, n, link, "the image "+link+" says nothing to those who cannot see it; describe it")
	}
	if !slices.Contains(s.images, target) {
		s.images = append(s.images, target)
	}
	return between(htmlPath(p.path), target)
}

func (s *site) deadLink(p *page, n ast.Node, link, why string) {
	s.dead++
	s.fault(p, n, link, fmt.Sprintf("dead link %s: %s", link, why))
}

// fault records a fault, with the line in the page.
func (s *site) fault(p *page, n ast.Node, link, what string) {
	s.faults = append(s.faults, fmt.Sprintf("%s:%d: %s", p.path, lineOf(p, n, link), what))
}

// lineOf returns the line of a node. An inline node has no position, so lineOf searches its block
// for the text of its link.
func lineOf(p *page, n ast.Node, link string) int {
	for b := n; b != nil; b = b.Parent() {
		if b.Type() != ast.TypeBlock || b.Lines() == nil || b.Lines().Len() == 0 {
			continue
		}
		at := b.Lines().At(0).Start
		if i := bytes.Index(p.source[at:], []byte(link)); i > 0 {
			at += i
		}
		return 1 + bytes.Count(p.source[:at], []byte("\n"))
	}
	return 1
}
