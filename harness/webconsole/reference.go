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

// The parts of the page that make reference images.
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

// maxReference limits what the page sends: the largest picture that is read, hardly compressed.
const maxReference = 256 << 20

// A keptReference is what the page sends.
type keptReference struct {
	Name string `json:"name"`
	// Replace allows to replace a reference image of that name.
	Replace bool `json:"replace"`
	// PNG is the picture on which the areas were drawn.
	PNG []byte `json:"png"`
	// Needle is what the JSON file is to contain.
	Needle json.RawMessage `json:"needle"`
}

// referenceDir answers where reference images are kept. Without a directory none are made, and the
// page has no button for it.
func (s *Server) referenceDir(w http.ResponseWriter, _ *http.Request) {
	if s.cfg.Needles == "" {
		w.WriteHeader(http.StatusNoContent) // no error: browsers would complain of one
		return
	}
	answerJSON(w, map[string]string{"dir": s.cfg.Needles})
}

// keepReference writes a reference image.
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
