package pki_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spicelane/spicelane/spice/pki"
)

// authority signs certificates as the how-tos of the field make them with openssl.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string, parent *authority) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"Example"}, CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a := &authority{t: t, key: key}
	signer, signerKey := template, key
	if parent != nil {
		signer, signerKey = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, key.Public(), signerKey)
	require.NoError(t, err)
	a.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	return a
}

// sign returns a server certificate and its key, both PEM.
func (a *authority) sign(subject pkix.Name, change func(*x509.Certificate)) (cert, key []byte) {
	a.t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: subject,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	if change != nil {
		change(template)
	}
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, priv.Public(), a.key)
	require.NoError(a.t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(priv)
	require.NoError(a.t, err)
	return pemOf("CERTIFICATE", der), pemOf("PRIVATE KEY", keyDER)
}

func (a *authority) pem() []byte { return pemOf("CERTIFICATE", a.cert.Raw) }

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// handshake returns what a client of cfg thinks of a server with that certificate.
func handshake(t *testing.T, cfg *tls.Config, cert, key []byte) error {
	t.Helper()
	pair, err := tls.X509KeyPair(cert, key)
	require.NoError(t, err)
	// TCP, not net.Pipe: both ends write at once when a client refuses.
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
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
	return tls.Client(near, cfg).Handshake()
}

// https://www.spice-space.org/spice-user-manual.html and nearly every how-to make a certificate
// with a common name and nothing else. spice-gtk looks at the common name if there are no
// alternative names; crypto/tls "relies on legacy Common Name field".
func TestACommonNameIdentifiesAServerWithoutAlternativeNames(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t, "CA", nil), newAuthority(t, "other CA", nil)
	named := func(cn string) pkix.Name { return pkix.Name{Organization: []string{"Example"}, CommonName: cn} }
	withName := func(c *x509.Certificate) { c.DNSNames = []string{"alternative.example"} }
	expired := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
	forClients := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }
	for _, tc := range []struct {
		name   string
		cn     string
		change func(*x509.Certificate)
		host   string
		roots  *x509.CertPool
		want   string // empty if it is accepted
	}{
		{"the name", "kvm.example", nil, "kvm.example", ca.pool(), ""},
		{"other letters", "KVM.Example", nil, "kvm.example", ca.pool(), ""},
		{"an address", "192.0.2.7", nil, "192.0.2.7", ca.pool(), ""},
		{"a wildcard", "*.example.org", nil, "kvm.example.org", ca.pool(), ""},
		{"another name", "kvm.example", nil, "other.example", ca.pool(), `certificate is for the common name "kvm.example", want "other.example"`},
		{"a wildcard for two labels", "*.example.org", nil, "a.b.example.org", ca.pool(), "common name"},
		{"a wildcard for an address", "*.0.2.7", nil, "192.0.2.7", ca.pool(), "common name"},
		{"no name", "", nil, "kvm.example", ca.pool(), `certificate names no host, want "kvm.example"`},
		{"an alternative name takes the common name's place", "kvm.example", withName, "kvm.example", ca.pool(), "alternative.example, not kvm.example"},
		{"an alternative name", "kvm.example", withName, "alternative.example", ca.pool(), ""},
		{"another authority", "kvm.example", nil, "kvm.example", other.pool(), "unknown authority"},
		{"expired", "kvm.example", expired, "kvm.example", ca.pool(), "expired"},
		{"a client's certificate", "kvm.example", forClients, "kvm.example", ca.pool(), "incompatible key usage"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cert, key := ca.sign(named(tc.cn), tc.change)
			err := handshake(t, pki.ClientTLS(tc.roots, tc.host, ""), cert, key)
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.want)
			var verification *tls.CertificateVerificationError
			require.ErrorAs(t, err, &verification)
		})
	}
}

func TestEachOfSeveralCommonNamesCounts(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "CA", nil)
	cn := []int{2, 5, 4, 3}
	cert, _ := ca.sign(pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: cn, Value: "one"}, {Type: cn, Value: "two"}}}, nil)
	leaf := parse(t, cert)
	for _, host := range []string{"one", "two"} {
		assert.NoError(t, pki.MatchHost(leaf, host))
	}
	var wrong *pki.HostError
	require.ErrorAs(t, pki.MatchHost(leaf, "three"), &wrong)
	assert.Equal(t, []string{"one", "two"}, wrong.CommonNames)
}

func TestTheZoneOfAnAddressIsNotCompared(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "CA", nil)
	cert, _ := ca.sign(pkix.Name{CommonName: "x"}, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.ParseIP("fe80::1")} })
	assert.NoError(t, pki.MatchHost(parse(t, cert), "fe80::1%eth0"))
	assert.Error(t, pki.MatchHost(parse(t, cert), "fe80::2%eth0"))
}

// QEMU and nginx take a server certificate that is followed by the intermediate ones.
func TestADirectoryWithAnIntermediateCertificateServes(t *testing.T) {
	t.Parallel()
	root := newAuthority(t, "Root CA", nil)
	issuing := newAuthority(t, "Issuing CA", root)
	names := func(c *x509.Certificate) { c.DNSNames = []string{"localhost"} }
	cert, key := issuing.sign(pkix.Name{Organization: []string{"Example"}, CommonName: "proxy"}, names)
	write := func(serverCert []byte) string {
		dir := t.TempDir()
		for name, data := range map[string][]byte{pki.CACertFile: root.pem(), pki.ServerCertFile: serverCert, pki.ServerKeyFile: key} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
		}
		return dir
	}
	b, err := pki.LoadDir(write(append(cert, issuing.pem()...)))
	require.NoError(t, err)
	assert.Equal(t, "O=Example,CN=proxy", b.HostSubject)

	ln, err := tls.Listen("tcp", "127.0.0.1:0", b.ServerTLS())
	require.NoError(t, err)
	defer ln.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if conn, err := ln.Accept(); err == nil {
			conn.(*tls.Conn).Handshake()
			conn.Close()
		}
	}()
	conn, err := tls.Dial("tcp", ln.Addr().String(), pki.ClientTLS(root.pool(), "localhost", ""))
	require.NoError(t, err, "the intermediate certificate is sent")
	conn.Close()
	<-done

	_, err = pki.LoadDir(write(cert))
	assert.ErrorContains(t, err, "unknown authority", "without it nobody can verify the server")
	other := newAuthority(t, "Issuing CA", nil)
	_, err = pki.LoadDir(write(append(cert, other.pem()...)))
	assert.ErrorContains(t, err, "unknown authority")
}
