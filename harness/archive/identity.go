package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/spicelane/spicelane/harness/plan/result"
)

// keyDigits is the length of an identity's key: 64 bits. Among a million identities, the
// probability that two share a key is below one in ten million.
const keyDigits = 16

// Key returns the key of an identity: the first 16 hex digits of the sha256 of its JSON, with
// sorted keys. It is empty for an empty identity, which says nothing about what was tested.
func Key(identity map[string]string) string {
	if len(identity) == 0 {
		return ""
	}
	b, _ := json.Marshal(identity) // NB: a map of strings always encodes
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])[:keyDigits]
}

// maxValues is how many different values of one kind a build lists. For more, it has their hash.
const maxValues = 4

// Build returns what a whole run tested. It merges the identities of the cells, without the names
// of lanes. If a value differs between cells, as in a matrix over QEMU versions, the build has the
// sorted list of all values; for more than four it has their hash.
func Build(r *result.Run) map[string]string {
	values := make(map[string]map[string]bool)
	for i := range r.Cells {
		for k, v := range r.Cells[i].Identity {
			k = k[strings.LastIndexByte(k, '/')+1:]
			if values[k] == nil {
				values[k] = make(map[string]bool)
			}
			values[k][v] = true
		}
	}
	build := make(map[string]string, len(values))
	for k, set := range values {
		all := slices.Sorted(maps.Keys(set))
		build[k] = strings.Join(all, ", ")
		if len(all) > maxValues {
			sum := sha256.Sum256([]byte(strings.Join(all, "\n")))
			build[k] = "several: " + hex.EncodeToString(sum[:])[:keyDigits]
		}
	}
	return build
}
