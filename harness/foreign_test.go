package harness_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kballard/go-shellquote"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/verdict"
)

func TestWhatCommandsMaySay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "proxy.cfg")
	require.NoError(t, os.WriteFile(file, []byte("listen 127.0.0.1:{tls_port}\n"), 0o600))
	for _, tt := range []struct {
		proxy, client string
		wrong         string // a part of the error; empty: it is right
	}{
		{proxy: "p {tls_port}"},
		{proxy: "p {port}"},
		{proxy: "p {vv}"},
		{proxy: "p -f {file:" + file + "}"},
		{proxy: `sh -c 'echo ${HOME} {"a":1} {}; exec p {tls_port}'`},
		{proxy: "p"},
		{proxy: "builtin"}, // a program of that name
		{client: "c"},
		{client: "c {socket}"},
		{client: "'a client' --vv={vv} {socket}"},

		{proxy: "p {tls-port} {vv}", wrong: "did you mean {tls_port}?"},
		{proxy: "p {Port}", wrong: "did you mean {port}?"},
		{proxy: "p {source_s} {port}", wrong: "did you mean {sources}?"},
		{proxy: "p {file:/nonexistent} {port}", wrong: "/nonexistent"},
		{proxy: "p {port} 'open", wrong: "Unterminated single-quoted string"},
		{proxy: " ", wrong: "it is empty"},
		{client: "c {sockets}", wrong: "did you mean {socket}?"},
		{client: `c \`, wrong: "Unterminated backslash-escape"},
	} {
		cfg := harness.Config{}
		field := "Proxy"
		if tt.proxy != "" {
			cfg.Proxy = harness.Command(tt.proxy)
		} else {
			field, cfg.Client = "Client", harness.Command(tt.client)
		}
		err := cfg.Check()
		if tt.wrong == "" {
			require.NoError(t, err, "%+v", tt)
			continue
		}
		require.ErrorContains(t, err, tt.wrong, "%+v", tt)
		require.Equal(t, verdict.Harness, verdict.Of(err))
		var bad *harness.FieldError
		require.ErrorAs(t, err, &bad)
		require.Equal(t, field, bad.Field)
	}
	require.ErrorContains(t, harness.Config{Proxy: harness.Command("")}.Check(), "it is empty")
}

func TestPathsInCommandsAreMadeAbsolute(t *testing.T) {
	dir, err := os.Getwd()
	require.NoError(t, err)
	for in, want := range map[string]string{
		"":                                "builtin",
		"builtin":                         "builtin",
		"none":                            "none",
		"haproxy -f {file:a/ha.cfg}":      "haproxy -f {file:" + dir + "/a/ha.cfg}",
		"./p.sh ./not-this {file:/x.cfg}": dir + "/p.sh ./not-this {file:/x.cfg}",
		"/bin/p {tls_port}":               "/bin/p {tls_port}",
		"p 'open":                         "p 'open",
	} {
		got, err := harness.ParseProgram(in).Abs()
		require.NoError(t, err)
		require.Equal(t, want, got.String(), in)
	}
}

func TestACommandWorksInADirectoryWhoseNameNeedsQuotes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's a $HOME")
	require.NoError(t, os.Mkdir(dir, 0o700))
	t.Chdir(dir)
	for in, want := range map[string][]string{
		"./p.sh {tls_port}":           {dir + "/p.sh", "{tls_port}"},
		" './my p' -f {file:a.cfg} b": {dir + "/my p", "-f", "{file:" + dir + "/a.cfg}", "b"},
		`p {file:a\ b}`:               {"p", "{file:" + dir + "/a b}"},
		"p '-f {file:a.cfg} {vv}'":    {"p", "-f {file:" + dir + "/a.cfg} {vv}"},
		"./p './p {file:a}' {file:a}": {dir + "/p", "./p {file:" + dir + "/a}", "{file:" + dir + "/a}"},
	} {
		got, err := harness.ParseProgram(in).Abs()
		require.NoError(t, err)
		words, err := shellquote.Split(got.String())
		require.NoError(t, err, got)
		require.Equal(t, want, words, in)
	}
}

// The file parses, but its CA is no certificate.
func TestAVirtViewerFileThatNoClientCanUseIsTheFaultOfTheProxyThatWroteIt(t *testing.T) {
	t.Parallel()
	harness.RequireHost(t)
	cfg := echoLane(t)
	file := filepath.Join(t.TempDir(), "made.vv")
	require.NoError(t, os.WriteFile(file, []byte("[virt-viewer]\ntype=spice\nhost=127.0.0.1\ntls-port=9\npassword=x\nca=no certificate\n"), 0o600))
	cfg.Proxy, cfg.Client = harness.Command("sh -c 'cp "+file+" {vv}; exec sleep 600'"), harness.Builtin
	_, err := tryStart(t, cfg)
	require.ErrorContains(t, err, "the proxy's virt-viewer file cannot be used: spice: config's CA holds no certificate in PEM")
	require.Equal(t, verdict.Product, verdict.Of(err))
	require.Equal(t, verdict.HopProxy, verdict.HopOf(err))
}

func TestEveryPlaceholderIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../docs/foreign-parts.md")
	require.NoError(t, err)
	text := string(b)
	for what, names := range map[string][]string{"--proxy": harness.ProxyPlaceholders, "--client": harness.ClientPlaceholders} {
		_, table, ok := strings.Cut(text, "| `"+what+"` |")
		require.True(t, ok, what)
		table, _, _ = strings.Cut(table, "\n\n")
		for _, name := range append(names, "file:PATH") {
			require.Contains(t, table, "`{"+name+"}`", what)
		}
	}
}

// The configuration files in the document are those that a lane was brought up
// with.
func TestTheDocumentedConfigurationsAreTheTestedOnes(t *testing.T) {
	doc, err := os.ReadFile("../docs/foreign-parts.md")
	require.NoError(t, err)
	script, err := os.ReadFile("../cmd/spicelane/testdata/lane-foreign.txt")
	require.NoError(t, err)
	for _, name := range []string{"stunnel.conf", "haproxy.cfg", "nginx.conf"} {
		_, tested, ok := strings.Cut(string(script), "-- "+name+" --\n")
		require.True(t, ok, name)
		tested, _, _ = strings.Cut(tested, "-- ")
		require.Contains(t, string(doc), " "+name+"\n"+tested+"```", name)
	}
}
