package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"os"
	"path"
	"path/filepath"
	"strings"
)

//go:embed page.html site.css site.js
var files embed.FS

var pageTemplate = template.Must(template.ParseFS(files, "page.html"))

// A link is one line of the navigation.
type link struct {
	Href, Title string
	Current     bool
}

// view has the data for the template of a page.
type view struct {
	Title, Root string
	Groups      []linkGroup
	Parts       []link
	Body        template.HTML
	Home        link
	Contents    link
	Back, Next  *link
}

type linkGroup struct {
	Title string
	Links []link
}

// write writes the site into a directory. It replaces the site of an earlier run.
func (s *site) write(out string) error {
	if err := clear(out); err != nil {
		return err
	}
	for i := range s.pages {
		var body bytes.Buffer
		p := s.pages[i]
		if err := markdown.Renderer().Render(&body, p.source, p.doc); err != nil {
			return fmt.Errorf("%s: %w", p.path, err)
		}
		var html bytes.Buffer
		// The renderer escapes all text, and check rejects pages that contain HTML.
		if err := pageTemplate.Execute(&html, s.view(i, template.HTML(body.String()))); err != nil {
			return fmt.Errorf("%s: %w", p.path, err)
		}
		if err := put(out, htmlPath(p.path), html.Bytes()); err != nil {
			return err
		}
	}
	for _, name := range s.images {
		b, err := os.ReadFile(filepath.Join(s.root, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		if err := put(out, name, b); err != nil {
			return err
		}
	}
	for _, name := range []string{"site.css", "site.js"} {
		b, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		if err := put(out, name, b); err != nil {
			return err
		}
	}
	index, err := s.index()
	if err != nil {
		return err
	}
	return put(out, "search.js", index)
}

// clear removes the site in a directory. It returns an error if the directory has something else.
func clear(out string) error {
	entries, err := os.ReadDir(out)
	if os.IsNotExist(err) || err == nil && len(entries) == 0 {
		return nil
	} else if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(out, "search.js")); err != nil {
		return fmt.Errorf("%s has files, and they are not a site: choose another directory", out)
	}
	return os.RemoveAll(out)
}

func put(out, name string, b []byte) error {
	file := filepath.Join(out, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}

// view returns the data for the template of page i: the navigation around its body.
func (s *site) view(i int, body template.HTML) view {
	p := s.pages[i]
	from := htmlPath(p.path)
	to := func(q *page) link {
		return link{Href: between(from, htmlPath(q.path)), Title: q.label, Current: q == p}
	}
	v := view{
		Title: p.title, Root: strings.Repeat("../", strings.Count(p.path, "/")), Body: body,
		Home: to(s.pages[0]), Contents: to(s.pages[1]),
	}
	for _, g := range s.groups {
		lg := linkGroup{Title: g.Title}
		for _, q := range g.Pages {
			lg.Links = append(lg.Links, to(q))
		}
		v.Groups = append(v.Groups, lg)
	}
	for _, part := range p.parts {
		if part.level == 2 {
			v.Parts = append(v.Parts, link{Href: "#" + part.anchor, Title: part.title})
		}
	}
	if i > 0 {
		l := to(s.pages[i-1])
		v.Back = &l
	}
	if i+1 < len(s.pages) {
		l := to(s.pages[i+1])
		v.Next = &l
	}
	return v
}

// index returns the script with the search index, which has an entry for each heading.
func (s *site) index() ([]byte, error) {
	type entry struct {
		Href, Page, Heading, Text string
	}
	var all []entry
	for _, p := range s.pages {
		for i := range p.parts {
			part := &p.parts[i]
			text := strings.TrimSpace(part.text.String())
			if text == "" && part.title == "" {
				continue
			}
			e := entry{Href: path.Clean(htmlPath(p.path)), Page: p.title, Heading: part.title, Text: text}
			if part.anchor != "" {
				e.Href += "#" + part.anchor
			}
			all = append(all, e)
		}
	}
	b, err := json.Marshal(all)
	return append(append([]byte("window.spicelaneIndex = "), b...), ";\n"...), err
}
