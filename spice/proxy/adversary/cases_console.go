package adversary

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"time"

	"github.com/spicelane/spicelane/spice/console"
	"github.com/spicelane/spicelane/spice/link"
	"github.com/spicelane/spicelane/spice/wire"
)

// authority signs the certificates of played consoles.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func (a *attack) authority() *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.fail("make a key: %v", err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "attack CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		a.fail("make a CA: %v", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.fail("make a CA: %v", err)
	}
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// issue makes a server certificate for localhost, which change may corrupt. If by is nil, it is
// self-signed.
func (a *attack) issue(by *authority, change func(c *x509.Certificate)) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.fail("make a key: %v", err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:   pkix.Name{Organization: []string{"Lab"}, CommonName: "node7"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if change != nil {
		change(template)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.fail("make a certificate: %v", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// consoleCases give the target a console that is wrong, or is not a console. The client must get a
// result, not just the end of the connection.
func consoleCases() []Case {
	needs := []need{needConsole}
	const bad, down = "error", "backend_down"
	behind := func(handle func(conn net.Conn)) func(a *attack) string {
		return func(a *attack) string {
			a.play(nil, handle, nil)
			return a.try(a.token(), 0, mainChannel)
		}
	}
	// secured plays a console with a certificate of an authority that the target trusts.
	secured := func(spoil func(c *x509.Certificate), change func(c *console.Console)) func(a *attack) string {
		return func(a *attack) string {
			ca := a.authority()
			a.play(a.issue(ca, spoil), nil, func(c *console.Console) {
				c.CACert = ca.pem
				if change != nil {
					change(c)
				}
			})
			return a.try(a.token(), 0, mainChannel)
		}
	}
	pin := func(subject string) func(c *console.Console) {
		return func(c *console.Console) { c.HostSubject = subject }
	}
	hang := func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }
	after := func(b []byte) func(conn net.Conn) {
		return func(conn net.Conn) {
			_, _ = conn.Write(b)
			hang(conn)
		}
	}
	refuse := func(code wire.Result) func(conn net.Conn) {
		return func(conn net.Conn) {
			_, _ = io.ReadFull(conn, make([]byte, len(request(0, mainChannel))))
			after(link.Reply{Error: code}.Append(nil))(conn)
		}
	}
	chosen := []Case{
		{Name: "console/good certificate, wrong pin", run: secured(nil, pin("O=Lab,CN=node8"))},
		{Name: "console/pin with an attribute less", run: secured(nil, pin("CN=node7"))},
		{Name: "console/pin with an attribute more", run: secured(nil, pin("O=Lab,OU=x,CN=node7"))},
		{Name: "console/pin in another order", run: secured(nil, pin("CN=node7,O=Lab"))},
		{Name: "console/certificate for another name, no pin", run: secured(func(c *x509.Certificate) { c.DNSNames = []string{"node7.example"} }, nil)},
		{Name: "console/certificate expired", run: secured(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, nil)},
		{Name: "console/certificate expired, good pin", run: secured(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, pin("O=Lab,CN=node7"))},
		{Name: "console/certificate not yet valid", run: secured(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, nil)},
		{Name: "console/certificate of a client", run: secured(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, nil)},
		{Name: "console/certificate signs itself", run: func(a *attack) string {
			ca := a.authority()
			a.play(a.issue(nil, nil), nil, func(c *console.Console) { c.CACert = ca.pem })
			return a.try(a.token(), 0, mainChannel)
		}},
		{Name: "console/certificate signs itself, good pin", run: func(a *attack) string {
			ca := a.authority()
			a.play(a.issue(nil, nil), nil, func(c *console.Console) { c.CACert, c.HostSubject = ca.pem, "O=Lab,CN=node7" })
			return a.try(a.token(), 0, mainChannel)
		}},
		{Name: "console/certificate of another authority", run: func(a *attack) string {
			ca, other := a.authority(), a.authority()
			a.play(a.issue(other, nil), nil, func(c *console.Console) { c.CACert = ca.pem })
			return a.try(a.token(), 0, mainChannel)
		}},
		{Name: "console/TLS 1.1 only", run: func(a *attack) string {
			ca := a.authority()
			cfg := a.issue(ca, nil)
			cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
			a.play(cfg, nil, func(c *console.Console) { c.CACert = ca.pem })
			return a.try(a.token(), 0, mainChannel)
		}},
		{Name: "console/plaintext where TLS should be", run: func(a *attack) string {
			a.play(nil, nil, func(c *console.Console) { c.InsecurePort, c.SecurePort = 0, c.InsecurePort })
			return a.try(a.token(), 0, mainChannel)
		}},
	}
	// In these the target must not answer OK, because the console has not.
	refused := []Case{
		{Name: "console/dead", run: func(a *attack) string {
			a.play(nil, nil, nil).ln.Close()
			return a.try(a.token(), 0, mainChannel)
		}},
		{Name: "console/hangs before the link", run: behind(hang)},
		{Name: "console/hangs up at once", run: behind(func(net.Conn) {})},
		{Name: "console/hangs up after the link", run: behind(func(conn net.Conn) { _, _ = io.ReadFull(conn, make([]byte, 16)) })},
		{Name: "console/speaks HTTP", run: behind(after([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")))},
		{Name: "console/speaks VNC", run: behind(after([]byte("RFB 003.008\n")))},
		{Name: "console/talks first", run: behind(after([]byte("REDQ")))},
		{Name: "console/reply of 4 GiB", run: behind(after([]byte("REDQ\x02\x00\x00\x00\x02\x00\x00\x00\xff\xff\xff\xff")))},
		{Name: "console/wants TLS", run: behind(refuse(wire.ResultNeedSecured))},
		{Name: "console/another version", run: behind(refuse(wire.ResultVersionMismatch))},
		{Name: "console/does not know our ticket", run: func(a *attack) string {
			a.good().ticket = "a new ticket"
			return a.try(a.token(), 0, mainChannel)
		}},
	}
	for i := range chosen {
		chosen[i].Want, chosen[i].Reason, chosen[i].needs = bad, down, []need{needLead}
	}
	for i := range refused {
		refused[i].Want, refused[i].Reason, refused[i].needs = bad, down, needs
	}
	return append(append(chosen, refused...),
		Case{Name: "console/dies in the middle of a message", Want: ended, Reason: "server_closed", needs: needs, run: func(a *attack) string {
			s := a.withSession()
			half := message(4, make([]byte, 12))[:9]
			a.send(s.far, half)
			if got := a.gets(s.main, half); got != passed {
				return got
			}
			s.far.Close()
			return a.reaches(s.main)
		}},
		Case{Name: "console/an init too short", Want: ended, Reason: "failed", needs: []need{needConsole, needReads}, run: func(a *attack) string {
			a.good().init = message(103, []byte("abc"))
			conn, got := a.link(a.token(), 0, mainChannel)
			if got != ok {
				return got
			}
			return a.reaches(conn)
		}},
		Case{Name: "console/an init of 1 MiB", Want: ended, Reason: "firewall", needs: []need{needConsole, needReads}, run: func(a *attack) string {
			a.good().init = message(103, make([]byte, 1<<20))
			conn, got := a.link(a.token(), 0, mainChannel)
			if got != ok {
				return got
			}
			return a.reaches(conn)
		}},
	)
}
