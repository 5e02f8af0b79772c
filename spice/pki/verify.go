package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"net"
	"strings"
)

// ClientTLS returns a TLS configuration that accepts a server whose chain ends in roots. It
// identifies the server by hostSubject if that is not empty, otherwise by host, a DNS name or an IP
// address.
//
// Names are compared as SPICE clients do, see [MatchHost]: a certificate without alternative names
// is identified by its common name, which crypto/tls does not support.
func ClientTLS(roots *x509.CertPool, host, hostSubject string) *tls.Config {
	identify := func(leaf *x509.Certificate) error { return MatchHost(leaf, host) }
	if hostSubject != "" {
		identify = func(leaf *x509.Certificate) error { return MatchHostSubject(leaf, hostSubject) }
	}
	return &tls.Config{
		RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS12,
		// crypto/tls cannot verify a chain without its own check of the name. So its verification
		// is switched off, and VerifyConnection does the same without DNSName.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			err := verifyChain(state.PeerCertificates, roots)
			if err == nil {
				err = identify(state.PeerCertificates[0])
			}
			if err != nil {
				return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
			}
			return nil
		},
	}
}

// verifyChain checks that chain, which begins with the server's certificate, ends in roots and is
// valid now. Nil roots are the system's.
func verifyChain(chain []*x509.Certificate, roots *x509.CertPool) error {
	opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, cert := range chain[1:] {
		opts.Intermediates.AddCert(cert)
	}
	_, err := chain[0].Verify(opts)
	return err
}

// HostError says that a certificate without alternative names belongs to another host.
type HostError struct {
	Host        string
	CommonNames []string // of the certificate
}

func (e *HostError) Error() string {
	if len(e.CommonNames) == 0 {
		return fmt.Sprintf("certificate names no host, want %q", e.Host)
	}
	return fmt.Sprintf("certificate is for the common name %q, want %q", strings.Join(e.CommonNames, ", "), e.Host)
}

// MatchHost checks that cert belongs to host, a DNS name or an IP address, as SPICE clients do. It
// compares the alternative names, or the common name if these contain no DNS name and no address.
// The error is an [x509.HostnameError] or a [*HostError].
func MatchHost(cert *x509.Certificate, host string) error {
	host, _, _ = strings.Cut(host, "%") // the zone of a link-local address is this machine's
	if len(cert.DNSNames)+len(cert.IPAddresses) > 0 {
		return cert.VerifyHostname(host)
	}
	names := commonNames(cert)
	for _, name := range names {
		if matchName(name, host) {
			return nil
		}
	}
	return &HostError{Host: host, CommonNames: names}
}

// commonNames returns all common names of the subject; pkix.Name has only the last one.
func commonNames(cert *x509.Certificate) []string {
	commonName := asn1.ObjectIdentifier{2, 5, 4, 3}
	var names []string
	for _, attribute := range cert.Subject.Names {
		if name, ok := attribute.Value.(string); ok && attribute.Type.Equal(commonName) {
			names = append(names, name)
		}
	}
	return names
}

// matchName compares names, ignoring the case of ASCII letters. A star matches the whole first
// label of a DNS name (RFC 9525, section 6.3).
func matchName(pattern, host string) bool {
	if canonical(pattern) == canonical(host) {
		return host != ""
	}
	_, domain, ok := strings.Cut(host, ".")
	rest, wild := strings.CutPrefix(pattern, "*.")
	return ok && wild && rest != "" && canonical(rest) == canonical(domain) && net.ParseIP(host) == nil
}
