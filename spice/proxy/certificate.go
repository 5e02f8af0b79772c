package proxy

import (
	"crypto/tls"
	"fmt"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/spicelane/spicelane/spice/pki"
)

// certificate is the certificate for clients, and what virt-viewer files say about it.
type certificate struct {
	bundle *pki.Bundle
	config *tls.Config
}

// SetTLS replaces the certificate for new connections and new virt-viewer files. Open channels
// continue.
func (p *Proxy) SetTLS(bundle *pki.Bundle) {
	config := bundle.ServerTLS()
	// Pictures come in bursts after silence. crypto/tls starts each burst with small records, which
	// cost one system call per kilobyte.
	config.DynamicRecordSizingDisabled = true
	p.tls.Store(&certificate{bundle, config})
}

// certificateSettles is how long the directory must be unchanged before it is read, because the
// files of a certificate are replaced one by one.
const certificateSettles = 100 * time.Millisecond

// watchCertificate starts to watch the directory of the certificate.
func (p *Proxy) watchCertificate(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		if err = watcher.Add(dir); err != nil {
			watcher.Close()
		}
	}
	if err != nil {
		return fmt.Errorf("proxy: watch %s: %w", dir, err)
	}
	p.wg.Go(func() { p.followCertificate(watcher, dir) })
	return nil
}

// followCertificate loads a new certificate when the directory has been unchanged for a moment
// after a change. If the certificate cannot be used, it is reported, and the last good one stays.
func (p *Proxy) followCertificate(watcher *fsnotify.Watcher, dir string) {
	defer watcher.Close()
	quiet := time.NewTimer(certificateSettles)
	quiet.Stop()
	defer quiet.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-watcher.Events:
			quiet.Reset(certificateSettles)
		case err := <-watcher.Errors:
			p.log.Warn("proxy: watch the certificate", "dir", dir, "error", err)
			quiet.Reset(certificateSettles)
		case <-quiet.C:
			bundle, err := pki.LoadDir(dir)
			if err != nil {
				p.log.Error("proxy: certificate: the last good one stays", "dir", dir, "error", err)
				continue
			}
			p.SetTLS(bundle)
			p.log.Info("proxy: certificate reloaded", "dir", dir, "host_subject", bundle.HostSubject)
		}
	}
}
