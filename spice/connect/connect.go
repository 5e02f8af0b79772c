// Package connect reaches a SPICE server through an HTTP proxy by CONNECT, for the proxy= of a
// virt-viewer file.
//
//	conn, err := connect.Dial(ctx, "http://pve.example:3128", connect.Target(host, 61000))
//
// The host of such a file may be a name that only the proxy can resolve. Proxmox makes names that
// contain a ticket and colons. They are sent unchanged, as the request target and in the Host
// header. The caller adds TLS inside, if it is needed.
//
// The package speaks plain HTTP to the proxy, and only the method CONNECT. Its errors never contain
// the target or the proxy's password.
package connect

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spicelane/spicelane/internal/hostport"
)

const (
	// DefaultPort is the port of a proxy whose URL has none, as with Proxmox's spiceproxy.
	DefaultPort = "3128"

	// maxAnswer limits the head of the proxy's answer, in bytes.
	maxAnswer = 16 << 10
)

// RefusedError says that the proxy answered with a status other than 2xx.
type RefusedError struct {
	Proxy  string // host and port
	Status string // as in "401 invalid ticket"
}

func (e *RefusedError) Error() string {
	s := fmt.Sprintf("HTTP proxy %s: CONNECT: %s", e.Proxy, e.Status)
	if strings.HasPrefix(e.Status, "401") || strings.HasPrefix(e.Status, "403") {
		s += " (a virt-viewer file of Proxmox is good for some seconds only: get a fresh one)"
	}
	return s
}

// Target returns the target for CONNECT: host and port. A host with colons that is not an IPv6
// address is a name that only the proxy knows, and stays unchanged.
func Target(host string, port int) string {
	if strings.Contains(host, ":") && net.ParseIP(hostport.Bare(host)) == nil {
		return host + ":" + strconv.Itoa(port)
	}
	return hostport.Join(host, port)
}

// CheckProxy returns an error if a URL does not describe a proxy.
func CheckProxy(proxy string) error {
	_, _, err := parse(proxy)
	return err
}

func parse(proxy string) (addr string, user *url.Userinfo, err error) {
	if !strings.Contains(proxy, "://") {
		proxy = "http://" + proxy
	}
	u, err := url.Parse(proxy)
	switch {
	case err != nil: // its text would repeat the password
		return "", nil, errors.New("the HTTP proxy's URL is malformed")
	case u.Scheme != "http":
		return "", nil, fmt.Errorf("an HTTP proxy is reached by http://, not %s://", u.Scheme)
	case u.Hostname() == "":
		return "", nil, errors.New("the HTTP proxy's URL has no host")
	}
	port := u.Port()
	if port == "" {
		port = DefaultPort
	}
	return net.JoinHostPort(u.Hostname(), port), u.User, nil
}

// Dial connects to a proxy and makes it connect to a target. If the proxy refuses that, the error
// is a *RefusedError. Dial does not read a byte beyond the proxy's answer.
func Dial(ctx context.Context, proxy, target string) (_ net.Conn, err error) {
	addr, user, err := parse(proxy)
	if err != nil {
		return nil, err
	}
	if strings.ContainsAny(target, " \t\r\n") || strings.ContainsFunc(target, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, errors.New("the host for the HTTP proxy has blanks or control characters in it")
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("HTTP proxy: %w", err)
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = conn.SetDeadline(time.Unix(1, 0))
	})
	status, err := ask(conn, target, user)
	if !stop() {
		<-interrupted
		if err != nil {
			err = context.Cause(ctx)
		}
	}
	if clearErr := conn.SetDeadline(time.Time{}); err == nil {
		err = clearErr
	}
	if err == nil && !strings.HasPrefix(status, "2") {
		err = &RefusedError{Proxy: addr, Status: status}
	}
	if err != nil {
		conn.Close()
		if refused := (*RefusedError)(nil); errors.As(err, &refused) {
			return nil, err
		}
		return nil, fmt.Errorf("HTTP proxy %s: %w", addr, err)
	}
	return conn, nil
}

// ask sends the request and returns the status of the answer.
func ask(conn net.Conn, target string, user *url.Userinfo) (string, error) {
	request := "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n"
	if user != nil {
		password, _ := user.Password()
		request += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)) + "\r\n"
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		return "", err
	}
	// Byte by byte: what follows the empty line is the server's.
	var head []byte
	var one [1]byte
	for !strings.HasSuffix(string(head), "\r\n\r\n") && !strings.HasSuffix(string(head), "\n\n") {
		if len(head) == maxAnswer {
			return "", fmt.Errorf("its answer has more than %d bytes of head", maxAnswer)
		}
		if _, err := io.ReadFull(conn, one[:]); err != nil {
			return "", fmt.Errorf("after %d bytes of its answer: %w", len(head), err)
		}
		head = append(head, one[0])
	}
	line, _, _ := strings.Cut(string(head), "\n")
	version, status, _ := strings.Cut(strings.TrimSpace(line), " ")
	if !strings.HasPrefix(version, "HTTP/1.") || len(status) < 3 {
		return "", fmt.Errorf("it does not speak HTTP: %q", line)
	}
	return status, nil
}
