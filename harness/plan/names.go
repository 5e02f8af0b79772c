package plan

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var (
	idPattern       = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)
	variablePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	pathPattern     = regexp.MustCompile(`[^A-Za-z0-9._=-]+`)
)

func isID(s string) bool { return idPattern.MatchString(s) }

func index(i int) string { return fmt.Sprintf("[%d]", i) }

// list joins words for a message: "a, b or c".
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// asText returns the text of a matrix value or of an expression's result.
func asText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

// fileName returns a directory name for a cell's ID: "boot-display=qxl-tls=true".
func fileName(id string) string {
	s := strings.Trim(pathPattern.ReplaceAllString(id, "-"), "-.")
	if len(s) > 100 {
		s = strings.TrimRight(s[:100], "-.")
	}
	return s
}
