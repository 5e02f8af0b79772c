package spice_test

import (
	"context"
	"crypto/tls"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/spicetest"
	"github.com/spicelane/spicelane/spice/vv"
)

func TestTheServerMustBeTheOneThatTheFileNames(t *testing.T) {
	bundle, err := pki.New(pki.Config{})
	require.NoError(t, err)
	other, err := pki.New(pki.Config{})
	require.NoError(t, err)
	for _, tc := range []struct {
		name string
		file vv.File
		want string // empty if it connects
	}{
		{"host name", vv.File{Host: "localhost", CA: string(bundle.CACert)}, ""},
		{"host subject", vv.File{Host: "elsewhere.example", CA: string(bundle.CACert), HostSubject: bundle.HostSubject}, ""},
		{"wrong host name", vv.File{Host: "elsewhere.example", CA: string(bundle.CACert)}, "not elsewhere.example"},
		{"wrong host subject", vv.File{Host: "localhost", CA: string(bundle.CACert), HostSubject: "O=Other,CN=localhost"}, `want host subject "O=Other,CN=localhost"`},
		{"another authority", vv.File{Host: "localhost", CA: string(other.CACert)}, "certificate signed by unknown authority"},
		{"another authority and the right subject", vv.File{Host: "localhost", CA: string(other.CACert), HostSubject: bundle.HostSubject}, "unknown authority"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := serve(t, displayID)
			s.speak(bundle.ServerTLS())
			tc.file.TLSPort, tc.file.Password = 5901, ticket
			cfg := spice.FromVV(&tc.file)
			cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
				require.Equal(t, "tcp "+tc.file.Host+":5901", network+" "+addr)
				return new(net.Dialer).DialContext(ctx, "unix", s.path)
			}
			c, err := spice.Dial(t.Context(), cfg)
			if tc.want != "" {
				require.ErrorContains(t, err, tc.want)
				require.NotContains(t, err.Error(), ticket)
				return
			}
			require.NoError(t, err)
			require.NoError(t, c.Close())
		})
	}
}

func TestAPlaintextPortIsHintedAt(t *testing.T) {
	s := serve(t, displayID)
	cfg := s.config(spice.Config{Host: "localhost", TLSPort: 5900})
	cfg.UnixPath = ""
	cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		client, server := spicetest.Pipe()
		go func() {
			defer server.Close()
			server.Read(make([]byte, 512))
			server.Write([]byte("REDQ and what else a SPICE server says"))
		}()
		return client, nil
	}
	_, err := spice.Dial(t.Context(), cfg)
	require.ErrorContains(t, err, "is this the TLS port?")
	var record tls.RecordHeaderError
	require.ErrorAs(t, err, &record)
}
