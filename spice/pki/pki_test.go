package pki_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/pki"
)

func newBundle(t *testing.T, cfg pki.Config) *pki.Bundle {
	t.Helper()
	b, err := pki.New(cfg)
	require.NoError(t, err)
	return b
}

func parse(t *testing.T, text []byte) *x509.Certificate {
	t.Helper()
	block, rest := pem.Decode(text)
	require.NotNil(t, block)
	require.Empty(t, rest)
	cert, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return cert
}

func TestServerCertificateNamesLoopbackAndTheExtraHosts(t *testing.T) {
	b := newBundle(t, pki.Config{Hosts: []string{"proxy.example", "192.0.2.7", "localhost"}, CommonName: "proxy.example"})
	cert := parse(t, b.ServerCert)
	assert.Equal(t, []string{"localhost", "proxy.example"}, cert.DNSNames)
	for _, host := range []string{"localhost", "127.0.0.1", "::1", "proxy.example", "192.0.2.7"} {
		_, err := cert.Verify(x509.VerifyOptions{Roots: b.CAPool(), DNSName: host})
		assert.NoError(t, err, host)
	}
	assert.Error(t, cert.VerifyHostname("other.example"))
	assert.Equal(t, "O=Spicelane,CN=proxy.example", b.HostSubject)

	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	require.True(t, ok, "got %T", cert.PublicKey)
	assert.Equal(t, elliptic.P256(), key.Curve)
}

func TestCertificatesHoldFromALittleBeforeNow(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	b := newBundle(t, pki.Config{Now: now, Validity: time.Hour})
	for _, text := range [][]byte{b.CACert, b.ServerCert} {
		cert := parse(t, text)
		assert.Equal(t, now.Add(-pki.Backdate), cert.NotBefore)
		assert.Equal(t, now.Add(time.Hour), cert.NotAfter)
	}
	_, err := pki.New(pki.Config{Validity: -1})
	assert.ErrorContains(t, err, "negative")
	_, err = pki.New(pki.Config{Hosts: []string{""}})
	assert.ErrorContains(t, err, "host name is empty")
}

func TestEveryBundleIsFresh(t *testing.T) {
	a, b := newBundle(t, pki.Config{}), newBundle(t, pki.Config{})
	assert.NotEqual(t, a.CACert, b.CACert)
	assert.NotEqual(t, a.ServerKey, b.ServerKey)
	_, err := parse(t, a.ServerCert).Verify(x509.VerifyOptions{Roots: b.CAPool()})
	assert.Error(t, err, "a CA must not vouch for another bundle's server")
	assert.NotEqual(t, parse(t, a.ServerCert).SerialNumber, parse(t, b.ServerCert).SerialNumber)
}

func TestWriteDirKeepsKeysPrivateAndReplacesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	b := newBundle(t, pki.Config{})
	require.NoError(t, b.WriteDir(dir))
	for name, mode := range map[string]fs.FileMode{
		pki.CACertFile: 0o644, pki.CAKeyFile: 0o600, pki.ServerCertFile: 0o644, pki.ServerKeyFile: 0o600,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode().Perm(), name)
	}

	loaded, err := pki.LoadDir(dir)
	require.NoError(t, err)
	assert.Equal(t, b.ServerCert, loaded.ServerCert)
	assert.Equal(t, b.CAKey, loaded.CAKey)
	assert.Equal(t, b.HostSubject, loaded.HostSubject)

	require.NoError(t, os.Remove(filepath.Join(dir, pki.CACertFile)))
	err = newBundle(t, pki.Config{}).WriteDir(dir)
	assert.ErrorIs(t, err, fs.ErrExist)
	assert.NoFileExists(t, filepath.Join(dir, pki.CACertFile), "a refused WriteDir leaves nothing behind")
	key, err := os.ReadFile(filepath.Join(dir, pki.CAKeyFile))
	require.NoError(t, err)
	assert.Equal(t, b.CAKey, key)
}

func TestLoadDirRejectsWhatCannotServe(t *testing.T) {
	good, other := newBundle(t, pki.Config{}), newBundle(t, pki.Config{})
	old := newBundle(t, pki.Config{Now: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), Validity: time.Hour})
	for name, c := range map[string]struct {
		change func(dir string) error
		want   string
	}{
		"no server key": {func(dir string) error { return os.Remove(filepath.Join(dir, pki.ServerKeyFile)) }, pki.ServerKeyFile},
		"another key": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, pki.ServerKeyFile), other.ServerKey, 0o600)
		}, "private key does not match"},
		"another CA": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, pki.CACertFile), other.CACert, 0o600)
		}, "unknown authority"},
		"CA is no PEM": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, pki.CACertFile), []byte("hello"), 0o600)
		}, "CA: no certificate in PEM form"},
		"expired": {func(dir string) error {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
			return old.WriteDir(dir)
		}, "expired"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "tls")
			require.NoError(t, good.WriteDir(dir))
			require.NoError(t, c.change(dir))
			_, err := pki.LoadDir(dir)
			assert.ErrorContains(t, err, c.want)
		})
	}
	dir := t.TempDir()
	require.NoError(t, good.WriteDir(dir))
	require.NoError(t, os.Remove(filepath.Join(dir, pki.CAKeyFile)))
	b, err := pki.LoadDir(dir)
	require.NoError(t, err, "a proxy does not need the CA's key")
	assert.Nil(t, b.CAKey)
}

// withSubject returns a self-signed certificate of a given subject, in order.
func withSubject(t *testing.T, rdns pkix.RDNSequence) *x509.Certificate {
	t.Helper()
	raw, err := asn1.Marshal(rdns)
	require.NoError(t, err)
	return &x509.Certificate{RawSubject: raw}
}

func rdn(oid asn1.ObjectIdentifier, value string) pkix.RelativeDistinguishedNameSET {
	return pkix.RelativeDistinguishedNameSET{{Type: oid, Value: value}}
}

func TestHostSubjectIsWrittenAndComparedAsSpiceDoes(t *testing.T) {
	country, org, cn := asn1.ObjectIdentifier{2, 5, 4, 6}, asn1.ObjectIdentifier{2, 5, 4, 10}, asn1.ObjectIdentifier{2, 5, 4, 3}
	cert := withSubject(t, pkix.RDNSequence{rdn(country, "IL"), rdn(org, `Red, Hat\`), rdn(cn, "my server")})
	subject := `C=IL,O=Red\, Hat\\,CN=my server`
	assert.Equal(t, subject, pki.HostSubject(cert))

	for _, same := range []string{
		subject, subject + ",", ` C=IL, O=Red\, Hat\\, CN=my server`, `countryName=il,O=red\,  hat\\ ,2.5.4.3=MY SERVER`,
	} {
		assert.NoError(t, pki.MatchHostSubject(cert, same), same)
	}
	for _, other := range []string{
		`CN=my server,O=Red\, Hat\\,C=IL`, `C=IL,O=Red\, Hat\\`, `C=IL,O=Red\, Hat\\,CN=my server,OU=x`,
		`C=IL,O=Red\, Hat\\,CN=myserver`, `C=IL,O=Red\, Hat\\,OU=my server`,
	} {
		err := pki.MatchHostSubject(cert, other)
		var differs *pki.SubjectError
		require.ErrorAs(t, err, &differs, other)
		assert.NoError(t, differs.Err)
		assert.Equal(t, subject, differs.Got)
	}
	for malformed, want := range map[string]string{
		``: "is empty", `CN`: `lacks "=value"`, `CN,O=x`: `lacks "=value"`, `CN=`: "has no value", `CN=,O=x`: "has no value",
		`CN=a\b`: "backslash", `CN=a\`: "backslash", `FOO=x`: `unknown attribute "FOO"`, `O=a,,CN=b`: `lacks "=value"`,
	} {
		assert.ErrorContains(t, pki.ValidHostSubject(malformed), want, malformed)
		assert.ErrorContains(t, pki.MatchHostSubject(cert, malformed), want, malformed)
	}

	several := pkix.RDNSequence{{{Type: org, Value: "a"}, {Type: cn, Value: "b"}}}
	assert.Error(t, pki.MatchHostSubject(withSubject(t, several), "O=a,CN=b"))
}

func TestClientTLSIdentifiesTheServerByHostOrBySubject(t *testing.T) {
	b, other := newBundle(t, pki.Config{}), newBundle(t, pki.Config{})
	handshake := func(roots *x509.CertPool, host, subject string) error {
		// TCP, not net.Pipe: both ends write at once when a client refuses.
		ln, err := tls.Listen("tcp", "127.0.0.1:0", b.ServerTLS())
		require.NoError(t, err)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if conn, err := ln.Accept(); err == nil {
				conn.(*tls.Conn).Handshake()
				conn.Close()
			}
		}()
		defer func() { ln.Close(); <-done }()
		near, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		defer near.Close()
		return tls.Client(near, pki.ClientTLS(roots, host, subject)).Handshake()
	}
	assert.NoError(t, handshake(b.CAPool(), "127.0.0.1", ""))
	assert.NoError(t, handshake(b.CAPool(), "elsewhere", b.HostSubject), "a host subject replaces the name")
	assert.ErrorContains(t, handshake(b.CAPool(), "elsewhere", ""), "elsewhere")
	assert.ErrorContains(t, handshake(b.CAPool(), "127.0.0.1", "CN=other"), `want host subject "CN=other"`)
	assert.ErrorContains(t, handshake(other.CAPool(), "127.0.0.1", b.HostSubject), "unknown authority", "a host subject does not replace the CA")
}

// FuzzHostSubject checks that whatever parses also matches a certificate that
// is made of it, and that nothing panics.
func FuzzHostSubject(f *testing.F) {
	for _, s := range []string{"", "CN=a", `C=IL,O=Red\, Hat\\,CN=my server`, `CN=a\`, " 2.5.4.3=x,", "CN==,O=,", "FOO=x"} {
		f.Add(s)
	}
	cert, err := pki.New(pki.Config{})
	require.NoError(f, err)
	block, _ := pem.Decode(cert.ServerCert)
	leaf, err := x509.ParseCertificate(block.Bytes)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, s string) {
		valid := pki.ValidHostSubject(s)
		if match := pki.MatchHostSubject(leaf, s); match == nil && valid != nil {
			t.Errorf("%q matches but is not valid: %v", s, valid)
		}
	})
}
