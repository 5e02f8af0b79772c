package harness

import (
	"regexp"
	"strings"
	"testing"

	"github.com/kballard/go-shellquote"
	"github.com/stretchr/testify/require"
)

func TestTheCommandThatRunsALaneAgainNamesItsTestLiterally(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"TestX", "TestX/a+b", "TestX/(1,2)/c", `TestX/a\b*`, "TestX/[1]#01", "TestX/$a|b"} {
		b := &bringUp{Lane: &Lane{cfg: Config{test: name}}}
		words, err := shellquote.Split(b.command())
		require.NoError(t, err)
		pattern := words[4]
		require.Equal(t, "-run", words[3])
		parts := strings.Split(pattern, "/")
		for i, part := range strings.Split(name, "/") {
			re, err := regexp.Compile(parts[i])
			require.NoError(t, err, pattern)
			require.True(t, re.MatchString(part), "%s does not match %s", pattern, name)
			require.False(t, re.MatchString(part+"x"), "%s matches more than %s", pattern, name)
		}
	}
}
