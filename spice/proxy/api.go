package proxy

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/spicelane/spicelane/spice/console"
	"github.com/spicelane/spicelane/spice/vv"
)

// sourcesTimeout limits how long an API call waits for the sources.
const sourcesTimeout = 5 * time.Second

// VVFor does what VV does, for a named viewer. The name appears only in the audit log and in
// /sessions.
func (p *Proxy) VVFor(ctx context.Context, source, uuid, viewer string) (*vv.File, error) {
	return p.vv(ctx, source, uuid, "", viewer)
}

// VV returns a virt-viewer file for a console through the proxy, with a new token as its password.
// The error is an [*UnknownConsoleError] if there is no such console.
func (p *Proxy) VV(ctx context.Context, source, uuid string) (*vv.File, error) {
	return p.vv(ctx, source, uuid, "", "")
}

func (p *Proxy) vv(ctx context.Context, source, uuid, asked, viewer string) (*vv.File, error) {
	uuid = console.CanonicalUUID(uuid)
	c, err := p.cfg.Consoles.Console(ctx, source, uuid)
	if err != nil {
		return nil, err
	}
	c.Release()
	token := p.tokens.issue(grant{source, uuid, viewer}, p.cfg.now())
	p.emit(Event{Kind: EventTokenIssued, Source: source, UUID: uuid, Console: c.Name, Viewer: viewer})
	served := p.tls.Load().bundle
	return &vv.File{
		Type:           "spice",
		Host:           p.publicHost(asked),
		Port:           p.plain.Addr().(*net.TCPAddr).Port,
		TLSPort:        p.secure.Addr().(*net.TCPAddr).Port,
		Password:       token,
		CA:             string(served.CACert),
		HostSubject:    served.HostSubject,
		Title:          c.Name,
		DeleteThisFile: true,
	}, nil
}

// directVV returns a virt-viewer file for the console itself.
func (p *Proxy) directVV(ctx context.Context, source, uuid, _, _ string) (*vv.File, error) {
	c, err := p.cfg.Consoles.Console(ctx, source, console.CanonicalUUID(uuid))
	if err != nil {
		return nil, err
	}
	// The reader of the file links at any time, so the source need not wait.
	c.Release()
	f := &vv.File{Type: "spice", Password: c.Ticket, Title: c.Name, DeleteThisFile: true}
	if c.Unix != "" {
		f.UnixPath = c.Unix
		return f, nil
	}
	f.Host, f.Port, f.TLSPort, f.SecureChannels, f.Proxy = c.Host(), c.InsecurePort, c.SecurePort, c.SecureChannels, c.Proxy
	if c.SecurePort != 0 {
		f.CA, f.HostSubject = string(c.CACert), c.HostSubject
	}
	return f, nil
}

// publicHost returns the host that clients connect to. asked is the Host header of the request, if
// there was one.
func (p *Proxy) publicHost(asked string) string {
	if p.cfg.Host != "" {
		return p.cfg.Host
	}
	if ip := p.secure.Addr().(*net.TCPAddr).IP; !ip.IsUnspecified() {
		return ip.String()
	}
	if host, _, err := net.SplitHostPort(asked); err == nil {
		asked = host
	}
	return cmp.Or(strings.Trim(asked, "[]"), "127.0.0.1")
}

// ConsoleInfo is one console in the answer to GET /consoles.
type ConsoleInfo struct {
	Source       string `json:"source"`
	UUID         string `json:"uuid"`
	Name         string `json:"name"`
	Hypervisor   string `json:"hypervisor,omitempty"`
	HypervisorIP string `json:"hypervisor_ip,omitempty"`
	InsecurePort int    `json:"insecure_port,omitempty"`
	SecurePort   int    `json:"secure_port,omitempty"`
	Unix         string `json:"unix,omitempty"`
	VV           string `json:"vv"` // path of its virt-viewer file for the proxy
}

// handler routes the API. It demands the token for everything except /healthz and /metrics, even
// for unknown paths.
func (p *Proxy) handler() http.Handler {
	private := http.NewServeMux()
	route(private, "GET", "/consoles", p.getConsoles)
	route(private, "GET", "/sessions", p.getSessions)
	route(private, "DELETE", "/sessions/{id}", p.deleteSession)
	route(private, "GET", "/console/proxy/{source}/{uuid}/console.vv", p.getVV(p.vv))
	if p.cfg.AllowDirect {
		route(private, "GET", "/console/direct/{source}/{uuid}/console.vv", p.getVV(p.directVV))
	}
	private.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, http.StatusNotFound, "not_found", "there is nothing at "+r.URL.Path)
	})

	public := http.NewServeMux()
	route(public, "GET", "/healthz", p.getHealth)
	metrics := promhttp.HandlerFor(p.metrics.registry, promhttp.HandlerOpts{Registry: p.metrics.registry})
	route(public, "GET", "/metrics", metrics.ServeHTTP)
	public.Handle("/", p.authorised(private))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.answering.RLock()
		defer p.answering.RUnlock()
		if p.answered {
			writeError(w, http.StatusServiceUnavailable, "closing", "the proxy is ending")
			return
		}
		public.ServeHTTP(w, r)
	})
}

// route serves one method of a pattern, and answers others with an error in JSON. GET includes
// HEAD.
func route(mux *http.ServeMux, method, pattern string, serve http.HandlerFunc) {
	allowed := method
	if method == "GET" {
		allowed = "GET, HEAD"
	}
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method && (method != "GET" || r.Method != "HEAD") {
			w.Header().Set("Allow", allowed)
			writeError(w, http.StatusMethodNotAllowed, "method_not_allowed", r.Method+" is not possible here, "+method+" is")
			return
		}
		serve(w, r)
	})
}

func (p *Proxy) authorised(next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(p.cfg.APIToken))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(token))
		good := subtle.ConstantTimeCompare(got[:], want[:]) == 1
		if !good || p.cfg.APIToken == "" || !strings.EqualFold(scheme, "Bearer") {
			w.Header().Set("WWW-Authenticate", `Bearer realm="spicelane proxy"`)
			writeError(w, http.StatusUnauthorized, "unauthorized", "send the API token as \"Authorization: Bearer TOKEN\"")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (p *Proxy) getHealth(w http.ResponseWriter, r *http.Request) {
	if p.draining.Load() {
		writeError(w, http.StatusServiceUnavailable, "draining", "the proxy is shutting down and takes no more viewers")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), sourcesTimeout)
	defer cancel()
	_, err := p.cfg.Consoles.Consoles(ctx)
	failed, ok := failedSources(err)
	if !ok {
		// Anybody may ask here, and an error names hosts, files and users.
		writeError(w, http.StatusServiceUnavailable, "sources_unavailable", "no source of consoles answers; GET /consoles, with the API token, says why")
		return
	}
	answer := map[string]any{"status": "ok"}
	if failed != nil {
		answer = map[string]any{"status": "degraded", "failed_sources": len(failed)}
	}
	writeJSON(w, http.StatusOK, answer)
}

// FailedSource is a source of consoles that failed, in the answer to GET /consoles.
type FailedSource struct {
	Source  string `json:"source"`
	Message string `json:"message"`
}

// failedSources returns the sources that an error of Catalog.Consoles names. ok is false if the
// error concerns all of them.
func failedSources(err error) (failed []FailedSource, ok bool) {
	var partial *console.PartialError
	if !errors.As(err, &partial) {
		return nil, err == nil
	}
	for _, e := range partial.Failed {
		failed = append(failed, FailedSource{e.Source, e.Err.Error()})
	}
	return failed, true
}

func (p *Proxy) getConsoles(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), sourcesTimeout)
	defer cancel()
	consoles, err := p.cfg.Consoles.Consoles(ctx)
	failed, ok := failedSources(err)
	if !ok {
		writeError(w, http.StatusServiceUnavailable, "sources_unavailable", err.Error())
		return
	}
	infos := make([]ConsoleInfo, len(consoles))
	for i, c := range consoles {
		if c.Proxy != "" {
			// The name of a host behind an HTTP proxy may contain a ticket.
			c.Hypervisor, c.HypervisorIP = c.Endpoint(), ""
		}
		infos[i] = ConsoleInfo{Source: c.Source, UUID: c.UUID, Name: c.Name, Hypervisor: c.Hypervisor, HypervisorIP: c.HypervisorIP,
			InsecurePort: c.InsecurePort, SecurePort: c.SecurePort, Unix: c.Unix,
			VV: "/console/proxy/" + url.PathEscape(c.Source) + "/" + url.PathEscape(c.UUID) + "/console.vv"}
	}
	answer := map[string]any{"consoles": infos}
	if failed != nil {
		answer["failed_sources"] = failed
	}
	writeJSON(w, http.StatusOK, answer)
}

func (p *Proxy) getSessions(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"sessions": p.Sessions(), "relayed": p.Relayed()})
}

func (p *Proxy) deleteSession(w http.ResponseWriter, r *http.Request) {
	if !p.EndSession(r.PathValue("id")) {
		writeError(w, http.StatusNotFound, "unknown_session", "there is no such session")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// maxViewer limits the name of a viewer, in bytes: every line about its session has it.
const maxViewer = 128

// getVV serves the result of make for the console in the path.
func (p *Proxy) getVV(make func(ctx context.Context, source, uuid, asked, viewer string) (*vv.File, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), sourcesTimeout)
		defer cancel()
		viewer := r.URL.Query().Get("viewer")
		if len(viewer) > maxViewer || strings.ContainsFunc(viewer, func(c rune) bool { return !unicode.IsPrint(c) }) {
			writeError(w, http.StatusBadRequest, "bad_viewer", fmt.Sprintf("the viewer's name has more than %d bytes or is not printable", maxViewer))
			return
		}
		var text []byte
		var err error
		source, uuid := r.PathValue("source"), r.PathValue("uuid")
		if r.Method == http.MethodHead {
			// Nobody gets a file, so no token must be issued, and no ticket changed.
			err = p.lists(ctx, source, uuid)
		} else {
			var file *vv.File
			if file, err = make(ctx, source, uuid, r.Host, viewer); err == nil {
				text, err = file.MarshalText()
			}
		}
		var unknown *UnknownConsoleError
		switch {
		case errors.As(err, &unknown):
			writeError(w, http.StatusNotFound, "unknown_console", err.Error())
			return
		case err != nil:
			writeError(w, http.StatusServiceUnavailable, "console_unavailable", err.Error())
			return
		}
		w.Header().Set("Content-Type", "application/x-virt-viewer")
		w.Header().Set("Content-Disposition", `attachment; filename="console.vv"`)
		w.Header().Set("Cache-Control", "no-store")
		// Errors from here on concern only the client's connection.
		_, _ = w.Write(text)
	}
}

// lists returns nil if the sources list a console.
func (p *Proxy) lists(ctx context.Context, source, uuid string) error {
	all, err := p.cfg.Consoles.Consoles(ctx)
	uuid = console.CanonicalUUID(uuid)
	for _, c := range all {
		if c.Source == source && c.UUID == uuid {
			return nil
		}
	}
	if err != nil {
		return err // it may be one of a source that failed
	}
	return &UnknownConsoleError{Source: source, UUID: uuid}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func writeError(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, map[string]any{"error": map[string]string{"code": code, "message": message}})
}
