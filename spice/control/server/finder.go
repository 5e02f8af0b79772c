package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"image"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spicelane/spicelane/spice/control"
	"github.com/spicelane/spicelane/spice/control/internal/ndjson"
)

// A Finder finds reference images and text on pictures. Its errors say what is wrong with a
// condition, for example that no reference image has the tag. They become the code bad_params; a
// *control.Error keeps its own.
type Finder interface {
	Screen(c control.ScreenCondition) (Look, error)
	Text(c control.TextCondition) (Look, error)
}

// A Look checks the pictures of one surface, one after another. pointer is where the driver has
// moved the mouse pointer; nil if that is not known, or if the pointer is not on the picture.
type Look func(ctx context.Context, picture *image.NRGBA, pointer *image.Point) (control.MatchResult, error)

// match looks for a reference image or a text now.
func (cn *connection) match(c *call) (any, error) {
	var p control.MatchParams
	if err := strictParams(c.Params, &p); err != nil {
		return nil, err
	}
	l, err := newLooker(cn.srv.cfg.Finder, p.Screen, p.Text)
	if err != nil {
		return nil, err
	}
	return l.look(c.ctx, cn.srv.cfg.Console, cn.srv.pointer.Load())
}

// strictParams decodes params. Unlike elsewhere, an unknown field is an error: a misspelled
// condition would never be met, or not be checked at all.
func strictParams(params json.RawMessage, v any) *control.Error {
	dec := json.NewDecoder(bytes.NewReader(params))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return errorf(control.CodeBadParams, "params: %s", strings.TrimPrefix(jsonReason(err), "json: "))
	}
	return nil
}

// A looker takes pictures of a surface and checks them.
type looker struct {
	wanted string
	area   control.Area
	at     Look
}

// newLooker makes a looker for exactly one of two conditions.
func newLooker(f Finder, screen *control.ScreenCondition, text *control.TextCondition) (*looker, error) {
	if f == nil {
		return nil, errorf(control.CodeBadParams, "this server finds no reference images and no text")
	}
	l := &looker{}
	var err error
	switch {
	case (screen == nil) == (text == nil):
		return nil, errorf(control.CodeBadParams, "params: want either screen or text")
	case screen != nil:
		if !filepath.IsAbs(screen.Dir) {
			return nil, errorf(control.CodeBadParams, "screen.dir is %q: want an absolute path, the server has a working directory of its own", ndjson.Abbreviate([]byte(screen.Dir)))
		}
		for _, what := range screen.Ignore {
			if what != "cursor" && what != "pointer" {
				return nil, errorf(control.CodeBadParams, `screen.ignore has %q: want "cursor" or "pointer"`, ndjson.Abbreviate([]byte(what)))
			}
		}
		for _, m := range screen.Masks {
			if err := wantPart("screen.masks", m); err != nil {
				return nil, err
			}
		}
		l.wanted, l.area = screen.String(), control.Area{ChannelID: screen.ChannelID, SurfaceID: screen.SurfaceID}
		l.at, err = f.Screen(*screen)
	default:
		if (text.Literal == "") == (text.Pattern == "") {
			return nil, errorf(control.CodeBadParams, "text: want either literal or pattern")
		}
		if i := slices.IndexFunc(text.Fonts, func(name string) bool { return strings.Contains(name, "/") && !filepath.IsAbs(name) }); i >= 0 {
			return nil, errorf(control.CodeBadParams, "text.fonts has %q: want a font's name, or an absolute path", ndjson.Abbreviate([]byte(text.Fonts[i])))
		}
		if text.Rect != nil {
			if err := wantPart("text.rect", *text.Rect); err != nil {
				return nil, err
			}
		}
		l.wanted, l.area = text.String(), control.Area{ChannelID: text.ChannelID, SurfaceID: text.SurfaceID}
		l.at, err = f.Text(*text)
	}
	if err != nil {
		return nil, foundWrong(err)
	}
	return l, nil
}

// foundWrong returns a finder's error as one of the protocol.
func foundWrong(err error) *control.Error {
	if e := new(control.Error); errors.As(err, &e) {
		return e
	}
	return errorf(control.CodeBadParams, "%s", err)
}

// wantPart refuses a rectangle without pixels: a finder could take it for all of the surface.
func wantPart(what string, r control.Rect) error {
	if r.Rectangle().Empty() {
		return errorf(control.CodeBadParams, "%s has %dx%d at %d,%d: want a part of the surface", what, r.Width, r.Height, r.X, r.Y)
	}
	return nil
}

// look takes a picture and checks it.
func (l *looker) look(ctx context.Context, console Console, pointer *image.Point) (control.MatchResult, error) {
	sf, err := pickSurface(console, l.area.ChannelID, l.area.SurfaceID)
	if err != nil {
		return control.MatchResult{}, err
	}
	pic, err := snapshot(console, sf, nil)
	if err != nil {
		return control.MatchResult{}, err
	}
	if src, ok := as[CursorSource](console); ok && src.Cursor().Visible {
		pointer = nil // it is drawn by the client, and not on the picture
	}
	r, err := l.at(ctx, pic.intoImage(), pointer)
	if err != nil {
		return control.MatchResult{}, foundWrong(err)
	}
	return r, nil
}

// found prepares the condition screen or text.
func (w *wait) found(ctx context.Context, screen *control.ScreenCondition, text *control.TextCondition) (node, error) {
	l, err := newLooker(w.finder, screen, text)
	if err != nil {
		return nil, err
	}
	return w.leaf(l.wanted, func() sight {
		r, err := l.look(ctx, w.console, w.pointer())
		if err != nil {
			if e, ok := err.(*control.Error); ok && (e.Code == control.CodeBadParams || e.Code == control.CodeNotImplemented) {
				return sight{saw: e.Message, err: e}
			}
			return sight{saw: plain(err), blind: true}
		}
		return sight{met: r.Matched, saw: r.Saw, found: &r}
	})
}
