package conform

import (
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/spicelane/spicelane/spice/control/internal/pixels"
)

func checkStatus(p *probe) {
	l := p.open()
	l.surfaces()
}

type surface struct {
	ChannelID *uint8  `json:"channel_id"`
	SurfaceID *uint32 `json:"surface_id"`
	Width     *uint32 `json:"width"`
	Height    *uint32 `json:"height"`
}

// surfaces returns the surfaces in status, and checks their form.
func (l *line) surfaces() []surface {
	m := l.ask("status", "{}")
	var st struct {
		SPICEConnected *bool      `json:"spice_connected"`
		AgentConnected *bool      `json:"agent_connected"`
		Surfaces       *[]surface `json:"surfaces"`
	}
	if err := json.Unmarshal(m["result"], &st); err != nil {
		l.p.failf("status: %w: %s", err, m)
	}
	if st.SPICEConnected == nil || st.AgentConnected == nil || st.Surfaces == nil {
		l.p.failf("status lacks a field: %s", m)
	}
	for _, s := range *st.Surfaces {
		if s.ChannelID == nil || s.SurfaceID == nil || s.Width == nil || s.Height == nil || *s.Width == 0 || *s.Height == 0 {
			l.p.failf("a surface lacks a field: %s", m)
		}
	}
	return *st.Surfaces
}

// primary returns surface 0 of the lowest channel. If there is none, it skips the check.
func (l *line) primary() surface {
	all := l.surfaces()
	var best *surface
	for _, s := range all {
		if *s.SurfaceID == 0 && (best == nil || *s.ChannelID < *best.ChannelID) {
			best = &s
		}
	}
	if best == nil {
		l.p.skipf("the session has no primary surface")
	}
	return *best
}

type shot struct {
	Width      int    `json:"width"`
	Height     int    `json:"height"`
	Format     string `json:"format"`
	DataBase64 string `json:"data_base64"`
}

// shoot takes a picture and returns it with its decoded bytes.
func (l *line) shoot(params string) (shot, []byte) {
	m := l.ask("screenshot", params)
	var s shot
	if err := json.Unmarshal(m["result"], &s); err != nil || !m.ok() {
		l.p.failf("screenshot %s was answered %s", params, m)
	}
	data, err := base64.StdEncoding.Strict().DecodeString(s.DataBase64)
	if err != nil {
		l.p.failf("screenshot %s: data_base64: %w", params, err)
	}
	if strings.ContainsAny(s.DataBase64, "\r\n") {
		l.p.failf("screenshot %s: data_base64 has line breaks", params)
	}
	return s, data
}

func checkPNG(p *probe) {
	l := p.open()
	want := l.primary()
	for _, params := range []string{`{}`, `{"format":"png"}`, `{"surface_id":0,"format":"png"}`, `{"surface_id":null,"format":null}`} {
		s, data := l.shoot(params)
		if s.Format != "png" || uint32(s.Width) != *want.Width || uint32(s.Height) != *want.Height {
			p.failf("screenshot %s: %s of %dx%d, want png of %dx%d", params, s.Format, s.Width, s.Height, *want.Width, *want.Height)
		}
		img, err := pixels.DecodePNG(data)
		if err != nil {
			p.failf("screenshot %s: %w", params, err)
		}
		if b := img.Bounds(); b.Dx() != s.Width || b.Dy() != s.Height {
			p.failf("screenshot %s: the file is %dx%d, the answer says %dx%d", params, b.Dx(), b.Dy(), s.Width, s.Height)
		}
		if o, ok := img.(interface{ Opaque() bool }); ok && !o.Opaque() {
			p.failf("screenshot %s: the picture is not opaque", params)
		}
	}
}

func checkRGBA(p *probe) {
	l := p.open()
	want := l.primary()
	s, data := l.shoot(`{"format":"rgba"}`)
	if uint32(s.Width) != *want.Width || uint32(s.Height) != *want.Height {
		p.failf("%dx%d pixels of a surface of %dx%d", s.Width, s.Height, *want.Width, *want.Height)
	}
	if s.Format != "rgba" || len(data) != 4*s.Width*s.Height {
		p.failf("format %s, %d bytes for %dx%d, want %d", s.Format, len(data), s.Width, s.Height, 4*s.Width*s.Height)
	}
	for i := 3; i < len(data); i += 4 {
		if data[i] != 255 {
			p.failf("pixel %d,%d has alpha %d, want 255", i/4%s.Width, i/4/s.Width, data[i])
		}
	}
}

func checkScreenshotBad(p *probe) {
	l := p.open()
	for _, c := range [][2]string{
		{"no_such_surface", `{"surface_id":4294967295}`},
		{"unsupported_format", `{"format":"jpeg"}`}, {"unsupported_format", `{"format":"PNG"}`},
		{"bad_params", `{"surface_id":"0"}`}, {"bad_params", `{"surface_id":-1}`}, {"bad_params", `{"surface_id":4294967296}`}, {"bad_params", `{"format":7}`},
	} {
		l.refuse(c[0], "screenshot", c[1])
	}
	l.alive()
}
