package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
)

// subjectKeys are the attribute names that a host subject may use, with their object identifiers
// (RFC 4519, PKCS #9). HostSubject writes the first name of an identifier.
var subjectKeys = []struct {
	name string
	oid  string
}{
	{"CN", "2.5.4.3"}, {"commonName", "2.5.4.3"},
	{"SN", "2.5.4.4"}, {"surname", "2.5.4.4"},
	{"serialNumber", "2.5.4.5"},
	{"C", "2.5.4.6"}, {"countryName", "2.5.4.6"},
	{"L", "2.5.4.7"}, {"localityName", "2.5.4.7"},
	{"ST", "2.5.4.8"}, {"stateOrProvinceName", "2.5.4.8"},
	{"street", "2.5.4.9"}, {"streetAddress", "2.5.4.9"},
	{"O", "2.5.4.10"}, {"organizationName", "2.5.4.10"},
	{"OU", "2.5.4.11"}, {"organizationalUnitName", "2.5.4.11"},
	{"title", "2.5.4.12"},
	{"postalCode", "2.5.4.17"},
	{"name", "2.5.4.41"},
	{"GN", "2.5.4.42"}, {"givenName", "2.5.4.42"},
	{"initials", "2.5.4.43"},
	{"DC", "0.9.2342.19200300.100.1.25"}, {"domainComponent", "0.9.2342.19200300.100.1.25"},
	{"UID", "0.9.2342.19200300.100.1.1"}, {"userId", "0.9.2342.19200300.100.1.1"},
	{"emailAddress", "1.2.840.113549.1.9.1"},
}

// attribute is one KEY=value of a subject; oid is dotted.
type attribute struct{ oid, value string }

// SubjectError says that a certificate does not have a host subject, or that the host subject
// itself is malformed.
type SubjectError struct {
	Want string // the host subject
	Got  string // the certificate's, in the same form; empty if Want is malformed
	Err  error  // what is wrong with Want; nil if it merely differs
}

func (e *SubjectError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("host subject %q: %v", e.Want, e.Err)
	}
	return fmt.Sprintf("certificate subject is %q, want host subject %q", e.Got, e.Want)
}

func (e *SubjectError) Unwrap() error { return e.Err }

// HostSubject returns the subject of cert in SPICE's form: KEY=value pairs in the order of the
// certificate, joined by commas, with a backslash before a comma or a backslash of a value. It
// returns "" if a relative name has several attributes, or if a value is not a string.
func HostSubject(cert *x509.Certificate) string {
	attrs, err := subjectOf(cert)
	if err != nil {
		return ""
	}
	escape := strings.NewReplacer(`\`, `\\`, `,`, `\,`)
	parts := make([]string, len(attrs))
	for i, a := range attrs {
		key := a.oid
		for _, k := range subjectKeys {
			if k.oid == a.oid {
				key = k.name
				break
			}
		}
		parts[i] = key + "=" + escape.Replace(a.value)
	}
	return strings.Join(parts, ",")
}

// MatchHostSubject compares the subject of cert with a host subject as SPICE clients do: same
// attributes, same order, and values equal except for ASCII case and runs of white space. The error
// is a [*SubjectError].
func MatchHostSubject(cert *x509.Certificate, hostSubject string) error {
	want, err := parseHostSubject(hostSubject)
	if err != nil {
		return &SubjectError{Want: hostSubject, Err: err}
	}
	differs := &SubjectError{Want: hostSubject, Got: HostSubject(cert)}
	got, err := subjectOf(cert)
	if err != nil || len(got) != len(want) {
		return differs
	}
	for i := range want {
		if got[i].oid != want[i].oid || canonical(got[i].value) != canonical(want[i].value) {
			return differs
		}
	}
	return nil
}

// ValidHostSubject returns nil if s has the form of a host subject, and a [*SubjectError] if not.
func ValidHostSubject(s string) error {
	if _, err := parseHostSubject(s); err != nil {
		return &SubjectError{Want: s, Err: err}
	}
	return nil
}

// parseHostSubject parses KEY=value pairs as described at HostSubject. It skips spaces before a
// key. A key is one of subjectKeys or a dotted OID.
func parseHostSubject(s string) ([]attribute, error) {
	var (
		attrs    []attribute
		key, val strings.Builder
		inValue  bool
	)
	end := func() error {
		switch {
		case !inValue:
			return fmt.Errorf("%q lacks \"=value\"", key.String())
		case val.Len() == 0:
			return fmt.Errorf("%s has no value", key.String())
		}
		oid, err := keyOID(key.String())
		if err != nil {
			return err
		}
		attrs = append(attrs, attribute{oid, val.String()})
		key.Reset()
		val.Reset()
		inValue = false
		return nil
	}
	for i := 0; i < len(s); i++ {
		c, escaped := s[i], false
		if c == '\\' {
			if i++; i == len(s) || (s[i] != '\\' && s[i] != ',') {
				return nil, errors.New(`a backslash may only stand before "," and "\"`)
			}
			c, escaped = s[i], true
		}
		switch {
		case c == ',' && !escaped:
			if err := end(); err != nil {
				return nil, err
			}
		case inValue:
			val.WriteByte(c)
		case c == '=':
			inValue = true
		case c == ' ' && key.Len() == 0:
		default:
			key.WriteByte(c)
		}
	}
	if inValue || key.Len() > 0 {
		if err := end(); err != nil {
			return nil, err
		}
	}
	if len(attrs) == 0 {
		return nil, errors.New("is empty")
	}
	return attrs, nil
}

// keyOID returns the dotted identifier of an attribute name.
func keyOID(key string) (string, error) {
	for _, k := range subjectKeys {
		if k.name == key {
			return k.oid, nil
		}
	}
	if oid, err := x509.ParseOID(key); err == nil {
		return oid.String(), nil
	}
	return "", fmt.Errorf("unknown attribute %q", key)
}

// subjectOf parses the subject from the raw certificate, because pkix.Name loses the order. A
// relative name with several attributes has no host subject.
func subjectOf(cert *x509.Certificate) ([]attribute, error) {
	var rdns pkix.RDNSequence
	if _, err := asn1.Unmarshal(cert.RawSubject, &rdns); err != nil {
		return nil, err
	}
	var attrs []attribute
	for _, rdn := range rdns {
		if len(rdn) != 1 {
			return nil, errors.New("relative name with several attributes")
		}
		value, ok := rdn[0].Value.(string)
		if !ok {
			return nil, fmt.Errorf("attribute %v is not a string", rdn[0].Type)
		}
		attrs = append(attrs, attribute{rdn[0].Type.String(), value})
	}
	return attrs, nil
}

// canonical returns the form in which values are compared: trimmed, with single spaces inside, and
// ASCII letters in lower case.
func canonical(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool {
		return r == ' ' || (r >= '\t' && r <= '\r')
	}), " ")
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
