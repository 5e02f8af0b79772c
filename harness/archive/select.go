package archive

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Select returns the records that a text selects, newest first. The text is a comma-separated list
// of
//
//	latest, latest~2    the newest run, and the second run before it
//	build:3f9a          all runs of the build whose key begins with 3f9a
//	branch=main         all runs with that label, or that value in their build
//	20261127-10         the run with this ID, or the only one whose ID begins with it
//
// records must be sorted, newest first. Select returns an error if a part of the text selects no
// run, or is ambiguous.
func Select(records []*Record, text string) ([]*Record, error) {
	chosen := make(map[*Record]bool)
	for _, word := range strings.Split(text, ",") {
		some, err := selectOne(records, strings.TrimSpace(word))
		if err != nil {
			return nil, err
		}
		for _, r := range some {
			chosen[r] = true
		}
	}
	var all []*Record
	for _, r := range records {
		if chosen[r] {
			all = append(all, r)
		}
	}
	return all, nil
}

func selectOne(records []*Record, word string) ([]*Record, error) {
	if back, ok := strings.CutPrefix(word, "latest"); ok && (back == "" || back[0] == '~') {
		n, err := strconv.ParseUint(strings.TrimPrefix(back, "~"), 10, 31)
		if back != "" && err != nil {
			return nil, fmt.Errorf("%q: a number comes after latest~", word)
		}
		if n >= uint64(len(records)) {
			return nil, fmt.Errorf("%q: there are only %d runs", word, len(records))
		}
		return records[n : n+1], nil
	}
	matching := func(f func(*Record) bool) []*Record {
		return slices.DeleteFunc(slices.Clone(records), func(r *Record) bool { return !f(r) })
	}
	if i := slices.IndexFunc(records, func(r *Record) bool { return r.ID == word }); i >= 0 {
		return records[i : i+1], nil
	}
	if key, ok := strings.CutPrefix(word, "build:"); ok && key != "" {
		all := matching(func(r *Record) bool { return strings.HasPrefix(r.Key, key) })
		for _, r := range all {
			if r.Key != all[0].Key {
				return nil, fmt.Errorf("%q: the builds %s and %s begin so; write more of the key", word, all[0].Key, r.Key)
			}
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("%q: no run tested such a build", word)
		}
		return all, nil
	}
	if name, value, ok := strings.Cut(word, "="); ok {
		all := matching(func(r *Record) bool {
			_, labelled := r.Labels[name]
			return labelled && r.Labels[name] == value || !labelled && value != "" && r.Build[name] == value
		})
		if len(all) == 0 {
			return nil, fmt.Errorf("%q: no run has that label, or that value in its build", word)
		}
		return all, nil
	}
	if word != "" {
		all := matching(func(r *Record) bool { return strings.HasPrefix(r.ID, word) })
		switch len(all) {
		case 1:
			return all, nil
		case 0:
		default:
			return nil, fmt.Errorf("%q: %d runs begin so, such as %s and %s; write more of the id", word, len(all), all[0].ID, all[1].ID)
		}
	}
	return nil, fmt.Errorf("%q: there is no such run; spicelane archive list has all", word)
}
