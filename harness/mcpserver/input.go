package mcpserver

import (
	"context"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/control"
)

// Limits of input.
const (
	maxKeys = 64
	maxKey  = 64   // bytes of a key's name
	maxText = 2000 // characters; at 10 ms each this takes 20 s
)

func (s *server) addInput() {
	acts := func() *mcp.ToolAnnotations { return &mcp.ToolAnnotations{} }
	add(s, &mcp.Tool{Name: "press", Annotations: acts(),
		Description: "Press and release keys in a lane's guest, one after the other."}, callLimit, s.press)
	add(s, &mcp.Tool{Name: "type", Annotations: acts(),
		Description: "Type text on the keyboard of a lane's guest. A line break becomes Enter."}, callLimit, s.typeText)
	add(s, &mcp.Tool{Name: "click", Annotations: acts(),
		Description: "Move the pointer of a lane's guest and click."}, callLimit, s.click)
}

type pressParams struct {
	laneName
	Keys []string `json:"keys" jsonschema:"each a name (Enter, F10, Left), a character of the US layout, or several joined by + (Ctrl+Alt+Delete)"`
}

type pressResult struct {
	Pressed int `json:"pressed"`
}

func (s *server) press(ctx context.Context, in pressParams) (*mcp.CallToolResult, pressResult, error) {
	none := pressResult{}
	if n := len(in.Keys); n == 0 || n > maxKeys {
		return nil, none, fmt.Errorf("keys: %d is not between 1 and %d", n, maxKeys)
	}
	// Check all names before pressing the first key.
	for _, k := range in.Keys {
		if len(k) > maxKey {
			return nil, none, fmt.Errorf("keys: a name of %d bytes is no key", len(k))
		}
		if _, err := control.ParseKey(k); err != nil {
			return nil, none, err
		}
	}
	err := s.drive(ctx, in.Lane, func(d *control.Driver) error { return drive.Press(ctx, d, in.Keys...) })
	if err != nil {
		return nil, none, err
	}
	return nil, pressResult{len(in.Keys)}, nil
}

type typeParams struct {
	laneName
	Text   string `json:"text" jsonschema:"at most 2000 characters"`
	Layout string `json:"layout,omitempty" jsonschema:"the guest's keyboard layout: us (default), uk, de or fr"`
}

type typeResult struct {
	Characters int `json:"characters" jsonschema:"how many were typed"`
}

func (s *server) typeText(ctx context.Context, in typeParams) (*mcp.CallToolResult, typeResult, error) {
	none := typeResult{}
	if n := utf8.RuneCountInString(in.Text); n == 0 || n > maxText {
		return nil, none, fmt.Errorf("text: %d characters are not between 1 and %d", n, maxText)
	}
	if in.Layout != "" && !slices.Contains(control.Layouts(), in.Layout) {
		return nil, none, fmt.Errorf("layout: %q is none of %v", in.Layout, control.Layouts())
	}
	var res typeResult
	err := s.drive(ctx, in.Lane, func(d *control.Driver) error {
		if d.Supports(control.MethodType) {
			got, err := d.Type(ctx, control.TypeParams{Text: in.Text, Layout: in.Layout})
			res.Characters = got.CharsSent
			return err
		}
		if in.Layout != "" && in.Layout != "us" {
			return &verdict.Error{Verdict: verdict.Harness, Op: "type", Err: fmt.Errorf("the lane's client (%s) supports only a US keyboard", d.Server().ServerName)}
		}
		var err error
		res.Characters, err = d.Paste(ctx, control.PasteParams{Text: in.Text})
		return err
	})
	return nil, res, err
}

type clickParams struct {
	laneName
	X      int    `json:"x" jsonschema:"pixels from the left"`
	Y      int    `json:"y" jsonschema:"pixels from the top"`
	Button string `json:"button,omitempty" jsonschema:"left (default), middle, right, side or extra"`
	Double bool   `json:"double,omitempty" jsonschema:"click twice"`
}

type clickResult struct {
	X int `json:"x"`
	Y int `json:"y"`
}

func (s *server) click(ctx context.Context, in clickParams) (*mcp.CallToolResult, clickResult, error) {
	none := clickResult{}
	if in.Button == "" {
		in.Button = "left"
	}
	if !slices.Contains(control.MouseButtons(), in.Button) {
		return nil, none, fmt.Errorf("button: %q is none of %v", in.Button, control.MouseButtons())
	}
	err := s.drive(ctx, in.Lane, func(d *control.Driver) error {
		if !d.Supports(control.MethodMouseMove) {
			return &verdict.Error{Verdict: verdict.Harness, Op: "click", Err: fmt.Errorf("the lane's client (%s) has no mouse", d.Server().ServerName)}
		}
		if err := d.MouseMove(ctx, control.MouseMoveParams{X: in.X, Y: in.Y}); err != nil {
			return err
		}
		times := 1
		if in.Double {
			times = 2
		}
		for range times {
			if err := d.MouseButton(ctx, in.Button, control.Press); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, none, err
	}
	return nil, clickResult{in.X, in.Y}, nil
}
