package webconsole

import (
	"bytes"
	_ "embed" // the parts of the page
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/screen/pixmap"
)

// The parts of the page for making reference images.
var (
	//go:embed reference.html
	referenceHTML string
	//go:embed reference.css
	referenceCSS string
	//go:embed reference.js
	referenceJS string
)

// withReference puts these parts into the page.
func withReference(page string) string {
	return strings.NewReplacer("{{reference.html}}", referenceHTML, "{{reference.css}}", referenceCSS, "{{reference.js}}", referenceJS).Replace(page)
}

// maxReference limits a request with a reference image, in bytes. It is enough for the largest
// picture, even with little compression.
const maxReference = 256 << 20

// A keptReference is the page's request to save a reference image.
type keptReference struct {
	Name string `json:"name"`
	// Replace allows replacing a reference image of that name.
	Replace bool `json:"replace"`
	// PNG is the picture on which the areas were drawn.
	PNG []byte `json:"png"`
	// Needle is the content for the JSON file.
	Needle json.RawMessage `json:"needle"`
}

// referenceDir responds with the directory of reference images. If there is none, the page has no
// button for making them.
func (s *Server) referenceDir(w http.ResponseWriter, _ *http.Request) {
	if s.cfg.Needles == "" {
		w.WriteHeader(http.StatusNoContent) // not an error, because browsers log errors
		return
	}
	answerJSON(w, map[string]string{"dir": s.cfg.Needles})
}

// keepReference saves a reference image.
func (s *Server) keepReference(w http.ResponseWriter, r *http.Request) {
	if s.cfg.Needles == "" {
		http.Error(w, "this console keeps no reference images", http.StatusNotFound)
		return
	}
	if r.Header.Get("Content-Type") != "application/json" {
		http.Error(w, "want application/json", http.StatusUnsupportedMediaType)
		return
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReference))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	var kept keptReference
	if err := json.Unmarshal(b, &kept); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	n, err := kept.make()
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	file := filepath.Join(s.cfg.Needles, n.Name+".json")
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) && !kept.Replace {
		http.Error(w, file+" is there already", http.StatusConflict)
		return
	}
	if err := n.Save(s.cfg.Needles); err != nil {
		s.log.Error("a reference image was not saved", "err", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	s.log.Info("a reference image was saved", "file", n.Path)
	answerJSON(w, map[string]string{"file": n.Path})
}

func (k keptReference) make() (*needle.Needle, error) {
	said, err := needle.Parse(k.Needle)
	if err != nil {
		return nil, err
	}
	p, err := pixmap.Read(bytes.NewReader(k.PNG))
	if err != nil {
		return nil, fmt.Errorf("the picture: %w", err)
	}
	return needle.New(k.Name, said.Areas, said.Tags, p)
}

func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
