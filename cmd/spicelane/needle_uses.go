package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spicelane/spicelane/harness/headless"
	"github.com/spicelane/spicelane/harness/screen/needle"
	"github.com/spicelane/spicelane/harness/timeline"
)

// A needleUse says how often lanes looked for a reference image, and how often it matched.
type needleUse struct {
	LookedFor int `json:"looked_for"`
	Matched   int `json:"matched"`
}

// needleUses returns how often the lanes that left their files in results used each needle of a
// directory. Without results it returns nil. A query for a tag counts for all needles that have it
// now.
func needleUses(d *needle.Dir, results []string) (map[*needle.Needle]*needleUse, error) {
	if len(results) == 0 {
		return nil, nil
	}
	uses := make(map[*needle.Needle]*needleUse, len(d.Needles))
	for _, n := range d.Needles {
		uses[n] = &needleUse{}
	}
	lanes, err := eachLookAtNeedles(results, func(l needleLook) {
		found, err := d.Lookup(l.Tag)
		if err != nil {
			return // the tag is from another directory
		}
		for _, n := range found {
			if !l.Again {
				uses[n].LookedFor++
			}
			if n.Name == l.Needle {
				uses[n].Matched++
			}
		}
	})
	if err == nil && lanes == 0 {
		err = usage("no lane has left a %s in %q", timeline.File, results)
	}
	return uses, err
}

// A needleLook is an entry that [headless.NoteNeedle] wrote.
type needleLook struct {
	Tag     string `json:"tag"`
	Matched *bool  `json:"matched"`
	Needle  string `json:"needle"` // empty if none matched
	Again   bool   `json:"again"`
}

// eachLookAtNeedles calls f for each query for a needle in the timelines below results. It returns
// the number of lanes.
func eachLookAtNeedles(results []string, f func(needleLook)) (lanes int, err error) {
	for _, dir := range results {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.Name() != timeline.File {
				return err
			}
			file, err := os.Open(path)
			if err != nil {
				return err
			}
			defer file.Close()
			lanes++
			return eachLook(file, f)
		})
		if errors.Is(err, fs.ErrNotExist) {
			return lanes, usage("--results: %w", err)
		}
		if err != nil {
			return lanes, fmt.Errorf("results: %w", err)
		}
	}
	return lanes, nil
}

func eachLook(r io.Reader, f func(needleLook)) error {
	_, err := timeline.Read(r, func(e timeline.Entry) error {
		var look needleLook
		if e.Kind == headless.KindNeedle && e.Decode(&look) == nil && look.Matched != nil {
			f(look)
		}
		return nil
	})
	return err
}
