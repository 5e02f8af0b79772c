package mask_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/spicelane/spicelane/harness/plan/mask"
)

const secret = `pa$$ w"ord+7/é`

func TestASecretIsMaskedInEachFormInWhichProgramsPrintIt(t *testing.T) {
	t.Parallel()
	m := mask.New(map[string]string{"S": secret})
	b, err := json.Marshal(secret)
	require.NoError(t, err)
	wrapped := base64.StdEncoding.EncodeToString([]byte("user:" + secret + ":and more"))
	for name, form := range map[string]string{
		"itself":             secret,
		"base64":             base64.StdEncoding.EncodeToString([]byte(secret)),
		"base64 for URLs":    base64.RawURLEncoding.EncodeToString([]byte(secret)),
		"a URL's query":      url.QueryEscape(secret),
		"a URL's path":       url.PathEscape(secret),
		"small URL escapes":  "pa%24%24+w%22ord%2b7%2f%c3%a9",
		"JSON":               string(b[1 : len(b)-1]),
		"hexadecimal":        hex.EncodeToString([]byte(secret)),
		"large hexadecimal":  strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"wrapped lines":      secret[:3] + "\n" + secret[3:7] + "\r\n" + secret[7:],
		"wrapped base64":     base64.StdEncoding.EncodeToString([]byte(secret))[:8] + "\n" + base64.StdEncoding.EncodeToString([]byte(secret))[8:],
		"twice, overlapping": secret + secret,
	} {
		got := m.String("before " + form + " behind")
		require.True(t, strings.HasPrefix(got, "before ") && strings.HasSuffix(got, " behind"), "%s: %q", name, got)
		require.Contains(t, got, "***", name)
		for _, f := range mask.Forms(secret) {
			require.NotContains(t, strings.NewReplacer("\n", "", "\r", "").Replace(got), f, name)
		}
	}
	got := m.String(wrapped)
	require.Contains(t, got, "***", "within a longer text in base64")
	require.Less(t, len(got), len(wrapped)-len(secret)/2)
}

func TestWhatIsNoSecretStaysAsItIs(t *testing.T) {
	t.Parallel()
	m := mask.New(map[string]string{"S": secret, "T": "aaab"})
	for _, s := range []string{"", "\n", "pa$$ w", "aaa", "aaaaaa\naa", "pa$$ w\"ord+7/e", strings.Repeat("pa$$ ", 100), "base64: " + base64.StdEncoding.EncodeToString([]byte("pa$$ word"))} {
		require.Equal(t, s, m.String(s))
	}
	require.Equal(t, "anything", (*mask.Masker)(nil).String("anything"))
}

// The size of the chunks in which output arrives is accidental.
func TestASecretIsMaskedWhereverChunksEnd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		secrets := rapid.SliceOfN(rapid.StringMatching(`[ab\n]{4,9}`).Filter(func(s string) bool { return mask.Check(s) == nil }), 1, 3).Draw(t, "secrets")
		text := rapid.StringMatching(`[abc\n]{0,20}`).Draw(t, "before")
		for i, s := range secrets {
			text += s + rapid.StringMatching(`[abc\n]{0,9}`).Draw(t, fmt.Sprint(i))
		}
		named := map[string]string{}
		for i, s := range secrets {
			named[fmt.Sprint(i)] = s
		}
		m := mask.New(named)
		var out bytes.Buffer
		w := m.Writer(&out)
		for rest := text; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "chunk")
			_, err := w.Write([]byte(rest[:n]))
			require.NoError(t, err)
			rest = rest[n:]
		}
		require.NoError(t, w.Close())
		require.Equal(t, m.String(text), out.String(), "the same as in one piece")
		plain := strings.ReplaceAll(out.String(), "\n", "")
		for _, s := range secrets {
			s = strings.ReplaceAll(s, "\n", "")
			if len(s) >= mask.MinLength {
				require.NotContains(t, plain, s)
			}
		}
		require.Equal(t, strings.Count(text, "\n"), strings.Count(out.String(), "\n"), "no line is lost")
	})
}

func TestASecretThatCannotBeMaskedIsRefused(t *testing.T) {
	t.Parallel()
	require.EqualError(t, mask.Check(""), "the secret is empty")
	require.EqualError(t, mask.Check(" \n"), "the secret is empty")
	require.EqualError(t, mask.Check("x"), "the secret is a single character, which cannot be masked: it is in every output")
	require.EqualError(t, mask.Check("é"), "the secret is a single character, which cannot be masked: it is in every output")
	require.EqualError(t, mask.Check("123"), "the secret has 3 characters, and one of less than 4 cannot be masked")
	require.NoError(t, mask.Check("1234"))
}

func TestFilesAreCleanedAlsoInsideCompressedOnes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name string, b []byte) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o640))
	}
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	fmt.Fprint(w, "x ", secret)
	require.NoError(t, w.Close())
	enc, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	write("log.txt", []byte("a "+secret+" b"))
	write("a.gz", z.Bytes())
	write("b.zst", enc.EncodeAll([]byte("y "+secret), nil))
	write("clean.bin", []byte{0x1f, 0x8b, 0, 1, 2})
	write("token-hunter2hunter2/x", []byte("nothing"))
	changed, err := mask.New(map[string]string{"S": secret, "N": "hunter2hunter2"}).Clean(dir)
	require.NoError(t, err)
	require.Equal(t, []string{"a.gz", "b.zst", "log.txt"}, changed)
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return string(b)
	}
	require.Equal(t, "a *** b", read("log.txt"))
	require.Contains(t, read("a.gz"), "withheld")
	require.Contains(t, read("b.zst"), "withheld")
	require.Equal(t, "\x1f\x8b\x00\x01\x02", read("clean.bin"))
	require.Equal(t, "nothing", read("token-***/x"))
	info, err := os.Stat(filepath.Join(dir, "log.txt"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
}

func TestALinkWhoseNameAndTargetHaveASecretIsRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.Symlink("hunter2hunter2", filepath.Join(dir, "to-hunter2hunter2")))
	_, err := mask.New(map[string]string{"N": "hunter2hunter2"}).Clean(dir)
	require.NoError(t, err)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestFilesWhoseNamesHaveOnlyDifferentSecretsStayApart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"log-hunter1hunter1", "log-hunter2hunter2", "log-***"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	_, err := mask.New(map[string]string{"N": "hunter2hunter2", "M": "hunter1hunter1"}).Clean(dir)
	require.NoError(t, err)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 3)
	for _, e := range left {
		require.NotContains(t, e.Name(), "hunter")
	}
}

func BenchmarkMask(b *testing.B) {
	m := mask.New(map[string]string{"S": secret, "KEY": strings.Repeat("0123456789abcdef\n", 100)})
	text := []byte(strings.Repeat("some output of a program that is running\n", 1000))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		w := m.Writer(new(bytes.Buffer))
		_, _ = w.Write(text)
		_ = w.Close()
	}
}
