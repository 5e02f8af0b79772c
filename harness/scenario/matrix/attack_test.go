package matrix_test

import (
	"context"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/harness"
	"github.com/spicelane/spicelane/harness/internal/lanetest"
	"github.com/spicelane/spicelane/internal/hostport"
	"github.com/spicelane/spicelane/internal/need"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy/adversary"
	"github.com/spicelane/spicelane/spice/wire"
)

const foreignParts = "../../../docs/foreign-parts.md"

// documented writes the configuration file that the document shows for a proxy, and returns its
// path.
func documented(t *testing.T, name string) string {
	t.Helper()
	doc, err := os.ReadFile(foreignParts)
	require.NoError(t, err)
	_, text, ok := strings.Cut(string(doc), " "+name+"\n")
	require.True(t, ok, "%s has no %s", foreignParts, name)
	text, _, _ = strings.Cut(text, "```")
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// What the pack finds in front of a lane if a proxy passes SPICE through inside TLS: nothing of
// SPICE is looked at, so it is what QEMU itself answers. The document has it in plain words.
var passedThrough = map[string]string{
	"port/HTTP inside TLS":                      "invalid_magic",
	"link/bad magic":                            "invalid_magic",
	"link/magic in the other byte order":        "invalid_magic",
	"token/replayed":                            "ok",
	"token/shown by eight at once":              "8 of 8",
	"token/fresh, with a guessed connection id": "ok",
	"token/fresh, with the connection id of somebody else's session": "ok",
	"token/of one session with the connection id of another":         "ok",
	"ticket/SASL":                   "result-N",
	"ticket/mechanism 99":           "result-N",
	"slow/no byte":                  "open",
	"slow/half a TLS hello":         "open",
	"slow/nothing after TLS":        "open",
	"slow/nothing after the magic":  "open",
	"slow/no ticket after the link": "open",
	"slow/a byte now and then":      "open",
}

// QEMU closes these connections with unread bytes, so a reset follows its answer. A relay loses
// what it has not read when the reset comes.
var lostNowAndThen = []string{"link/version 1", "link/version 3", "link/version 2^31", "link/size 0", "link/size one too small", "link/size 4097",
	"link/size 4 GiB"}

// The pack runs against our proxy, against nginx, haproxy and stunnel as the document configures
// them, and against QEMU without a proxy, each in front of a lane. The cases that need more than
// a TLS port are left out.
func TestThePackFindsInEachProxyWhatTheDocumentSays(t *testing.T) {
	lanetest.AtLength(t)
	doc, err := os.ReadFile(foreignParts)
	require.NoError(t, err)
	for name := range passedThrough {
		require.Contains(t, string(doc), "`"+name+"`", "%s does not tell of it", foreignParts)
	}
	for _, p := range []struct {
		name, program, line, config string
		own                         bool
	}{
		{name: "spicelane", own: true},
		{"nginx", "nginx", "nginx -c", "nginx.conf", false},
		{"haproxy", "haproxy", "haproxy -db -f", "haproxy.cfg", false},
		{"stunnel", "stunnel4", "stunnel4", "stunnel.conf", false},
		{name: "no proxy"},
	} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			cfg := harness.Config{Client: harness.None, SingleClient: true}
			switch {
			case p.program != "":
				need.Program(t, p.program)
				cfg.Proxy = harness.Command(p.line + " {file:" + documented(t, p.config) + "}")
			case !p.own:
				cfg.Proxy, cfg.BackendTLS = harness.None, true
			}
			lane := harness.Up(t, cfg)
			want := passedThrough
			if p.own {
				want = nil
			}
			ran := 0
			for _, c := range adversary.Cases() {
				slow := strings.HasPrefix(c.Name, "slow/")
				if p.own && slow {
					continue // it hangs up after ten seconds, each time
				}
				r := adversary.RunCase(t.Context(), target(t, lane, slow), c)
				if r.Skipped != "" {
					continue
				}
				ran++
				require.NoError(t, r.After, c.Name)
				got := r.Got
				switch expected, wrong := want[c.Name]; {
				case wrong && expected == "result-N":
					require.True(t, isResult(got) && got != c.Want || got == "closed", "%s: %s", c.Name, got)
				case wrong:
					require.Equal(t, expected, got, c.Name)
				case !p.own && got == "closed" && slices.Contains(lostNowAndThen, c.Name):
				default:
					require.Equal(t, c.Want, got, c.Name)
				}
			}
			require.Greater(t, ran, 50)
			t.Logf("%d cases, %d of them wrong", ran, len(want))
		})
	}
}

// isResult tells whether an answer is a result number. If QEMU continues with SASL, the answer is
// the length of a list. On Debian 13 this is 2, which is also a named result.
func isResult(got string) bool {
	for r := range wire.ResultChannelNotAvailable + 1 {
		if got == r.String() {
			return true
		}
	}
	return strings.HasPrefix(got, "result-")
}

// target is a lane's proxy. Silent clients are watched for a moment only: none of the proxies
// hangs up on them within a minute.
func target(t *testing.T, lane *harness.Lane, slow bool) adversary.Target {
	t.Helper()
	file, err := lane.VV(t.Context())
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM([]byte(file.CA)))
	one := adversary.Target{
		TLSAddr: hostport.Join(file.Host, file.TLSPort),
		TLS:     pki.ClientTLS(roots, file.Host, file.HostSubject),
		Token: func(ctx context.Context) (string, error) {
			file, err := lane.VV(ctx)
			if err != nil {
				return "", err
			}
			return file.Password, nil
		},
		OneSession: true,
		Patience:   lane.Scaled(10 * time.Second),
	}
	if slow {
		one.Patience = 3 * time.Second
	}
	return one
}
