// Package pki makes the certificates that a SPICE endpoint needs: a certificate authority, and one
// server certificate signed by it.
//
//	bundle, err := pki.New(pki.Config{Hosts: []string{"proxy.example"}})
//	if err != nil { … }
//	if err := bundle.WriteDir(dir); err != nil { … }
//
// The files have the names that QEMU expects in the directory of "-spice x509-dir=…", so a proxy
// and a QEMU can use the same directory.
//
// SPICE identifies a server either by its host name or by its whole subject, written in a special
// form (the "host-subject" of a .vv file). [HostSubject] returns that form and [MatchHostSubject]
// compares with it.
//
// The package does not run an authority: nothing is revoked or renewed, and the CA's key is used
// once. If a client rejects a certificate, look at the certificate with `openssl x509 -in
// server-cert.pem -text`.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// The files that [Bundle.WriteDir] writes and [LoadDir] reads.
const (
	CACertFile     = "ca-cert.pem"     // certificate of the authority; public
	CAKeyFile      = "ca-key.pem"      // its key, mode 0600
	ServerCertFile = "server-cert.pem" // certificate of the server; public
	ServerKeyFile  = "server-key.pem"  // its key, mode 0600
)

const (
	// DefaultValidity is how long certificates are valid if Config.Validity is 0.
	DefaultValidity = 365 * 24 * time.Hour

	// Backdate is how long before now a certificate becomes valid, so that a client whose clock is
	// a little slow still accepts it.
	Backdate = 5 * time.Minute

	// DefaultCommonName names the server when Config.CommonName is empty.
	DefaultCommonName = "localhost"

	// organization is in both subjects, so that a certificate shows who made it.
	organization = "Spicelane"
)

// defaultHosts are the names in every server certificate.
var defaultHosts = []string{"localhost", "127.0.0.1", "::1"}

// Config says what to put into the certificates. The zero value makes a certificate for localhost,
// 127.0.0.1 and ::1.
type Config struct {
	// Hosts are additional DNS names and IP addresses of the server, besides localhost, 127.0.0.1
	// and ::1.
	Hosts []string

	// CommonName is the CN of the server's subject; empty means DefaultCommonName. Clients that
	// support subject alternative names ignore it, but it is part of the host subject.
	CommonName string

	// Validity is how long from now the certificates are valid; 0 means DefaultValidity, negative
	// is an error.
	Validity time.Duration

	// Now is the time from which validity counts; zero means time.Now. Only
	// tests set it.
	Now time.Time
}

// Bundle is a CA, a server certificate signed by it, and both keys, all PEM.
type Bundle struct {
	CACert     []byte
	CAKey      []byte // nil when loaded from a directory without ca-key.pem
	ServerCert []byte
	ServerKey  []byte

	// HostSubject is the subject of the server certificate in SPICE's form.
	HostSubject string

	pair tls.Certificate
	pool *x509.CertPool
}

// New makes a new CA and server certificate with ECDSA P-256 keys.
func New(cfg Config) (*Bundle, error) {
	now := cfg.Now
	if now.IsZero() {
		now = time.Now()
	}
	validity := cfg.Validity
	if validity == 0 {
		validity = DefaultValidity
	}
	if validity < 0 {
		return nil, fmt.Errorf("pki: validity %v is negative", validity)
	}
	commonName := cfg.CommonName
	if commonName == "" {
		commonName = DefaultCommonName
	}

	caKey, caKeyPEM, err := newKey()
	if err != nil {
		return nil, err
	}
	ca := &x509.Certificate{
		// The serial number is random (128 bits, as RFC 5280 section 4.1.2.2
		// allows up to 160), so that two lanes never share issuer and serial.
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{Organization: []string{organization}, CommonName: organization + " CA"},
		NotBefore:             now.Add(-Backdate),
		NotAfter:              now.Add(validity),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return nil, fmt.Errorf("pki: CA certificate: %w", err)
	}
	caCert, err := x509.ParseCertificate(caDER)
	if err != nil {
		return nil, fmt.Errorf("pki: CA certificate: %w", err)
	}

	key, keyPEM, err := newKey()
	if err != nil {
		return nil, err
	}
	server := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{Organization: []string{organization}, CommonName: commonName},
		NotBefore:             now.Add(-Backdate),
		NotAfter:              now.Add(validity),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	seen := map[string]bool{}
	for _, host := range append(append([]string{}, defaultHosts...), cfg.Hosts...) {
		if host == "" {
			return nil, errors.New("pki: a host name is empty")
		}
		if seen[host] {
			continue
		}
		seen[host] = true
		if ip := net.ParseIP(host); ip != nil {
			server.IPAddresses = append(server.IPAddresses, ip)
		} else {
			server.DNSNames = append(server.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, server, caCert, key.Public(), caKey)
	if err != nil {
		return nil, fmt.Errorf("pki: server certificate: %w", err)
	}
	return newBundle(pemCert(caDER), caKeyPEM, pemCert(der), keyPEM)
}

// newBundle parses the PEM texts once, so that every Bundle is usable.
func newBundle(caCert, caKey, serverCert, serverKey []byte) (*Bundle, error) {
	b := &Bundle{CACert: caCert, CAKey: caKey, ServerCert: serverCert, ServerKey: serverKey}
	var err error
	if b.pair, err = tls.X509KeyPair(serverCert, serverKey); err != nil {
		return nil, fmt.Errorf("pki: server certificate and key: %w", err)
	}
	b.pool = x509.NewCertPool()
	if !b.pool.AppendCertsFromPEM(caCert) {
		return nil, errors.New("pki: CA: no certificate in PEM form")
	}
	b.HostSubject = HostSubject(b.pair.Leaf)
	return b, nil
}

// ServerTLS returns a TLS configuration with the server certificate. The oldest version is TLS 1.2,
// which spice-gtk of every current distribution supports.
func (b *Bundle) ServerTLS() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{b.pair}, MinVersion: tls.VersionTLS12}
}

// CAPool returns a pool with only the CA.
func (b *Bundle) CAPool() *x509.CertPool { return b.pool.Clone() }

// WriteDir writes the four files into dir. It creates dir with mode 0700 if necessary; keys have
// mode 0600. It never replaces an existing file: then the error wraps [fs.ErrExist], and no file is
// left behind.
func (b *Bundle) WriteDir(dir string) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("pki: %w", err)
	}
	var written []string
	defer func() {
		if err != nil {
			for _, name := range written {
				os.Remove(name)
			}
		}
	}()
	for _, f := range []struct {
		name string
		mode fs.FileMode
		data []byte
	}{
		{CACertFile, 0o644, b.CACert},
		{CAKeyFile, 0o600, b.CAKey},
		{ServerCertFile, 0o644, b.ServerCert},
		{ServerKeyFile, 0o600, b.ServerKey},
	} {
		if f.data == nil {
			continue
		}
		path := filepath.Join(dir, f.name)
		// O_EXCL: a key must never go into a file that somebody else made (and may read), and a CA
		// in use must not be overwritten.
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode)
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("pki: %w: choose an empty directory or remove the old certificates", err)
		}
		if err != nil {
			return fmt.Errorf("pki: %w", err)
		}
		written = append(written, path)
		_, err = file.Write(f.data)
		if err := errors.Join(err, file.Close()); err != nil {
			return fmt.Errorf("pki: %w", err)
		}
	}
	return nil
}

// LoadDir loads the files of [Bundle.WriteDir]. The CA key is not needed to serve and may be
// missing. The server certificate must match its key, chain to the CA, and be valid now. As with
// QEMU, intermediate certificates may follow it in the same file.
func LoadDir(dir string) (*Bundle, error) {
	var errs []error
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			if name == CAKeyFile && errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			errs = append(errs, fmt.Errorf("pki: %w", err))
		}
		return data
	}
	caCert, caKey := read(CACertFile), read(CAKeyFile)
	serverCert, serverKey := read(ServerCertFile), read(ServerKeyFile)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	b, err := newBundle(caCert, caKey, serverCert, serverKey)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	chain := []*x509.Certificate{b.pair.Leaf}
	for _, der := range b.pair.Certificate[1:] {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("pki: %s: an intermediate certificate: %w", filepath.Join(dir, ServerCertFile), err)
		}
		chain = append(chain, cert)
	}
	if err := verifyChain(chain, b.pool); err != nil {
		return nil, fmt.Errorf("pki: %s: %w", filepath.Join(dir, ServerCertFile), err)
	}
	return b, nil
}

// newKey returns a fresh P-256 key and its PKCS #8 PEM text.
func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("pki: key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("pki: key: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// newSerial returns a random positive serial number below 2^128.
func newSerial() *big.Int {
	var raw [16]byte
	rand.Read(raw[:])
	raw[0] |= 1 // never zero
	return new(big.Int).SetBytes(raw[:])
}

func pemCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
