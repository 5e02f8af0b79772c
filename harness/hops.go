package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spicelane/spicelane/harness/drive"
	"github.com/spicelane/spicelane/harness/verdict"
)

// askGrace limits, under KVM, how long the hops are asked after a failed wait.
const askGrace = 2 * time.Second

// askHops annotates err, a failed wait for a digest, with what each hop between guest and client
// knows. It names the hop at fault if that is clear. shows tells whether a digest is the awaited
// one. Other errors stay as they are.
func (l *Lane) askHops(err error, shows func(Digest) bool) error {
	var e *verdict.Error
	var wait *drive.AwaitError
	if !errors.As(err, &wait) || !errors.As(err, &e) || l.ended() {
		return err
	}
	// NB: not the wait's context, which has expired.
	ctx, cancel := context.WithTimeout(context.Background(), l.Scaled(askGrace))
	defer cancel()
	hop, qemu := l.askQEMU(ctx, shows)
	w := *wait
	w.Known = append(w.Known, qemu)
	if said := l.askProxy(ctx); said != "" {
		w.Known = append(w.Known, said)
	}
	w.Known = append(w.Known, l.askClient(ctx))
	g := *e
	g.Err = &w
	if g.Hop == "" && g.Verdict == verdict.Product {
		g.Hop = hop
	}
	return &g
}

// ended tells whether a part of the lane has ended, or the lane was closed.
func (l *Lane) ended() bool {
	select {
	case <-l.closing:
	case <-l.backendDone():
	case <-l.proxy.Done():
	case <-l.client.Done():
	default:
		return false
	}
	return true
}

// askQEMU says whether QEMU's own picture shows the awaited digest. If it does and the client's
// does not, the digest was lost between the two.
func (l *Lane) askQEMU(ctx context.Context, shows func(Digest) bool) (verdict.Hop, string) {
	img, err := l.Screendump(ctx)
	if err != nil {
		return "", "QEMU's own picture cannot be had: " + err.Error()
	}
	d, err := drive.ScanPicture(img)
	if err != nil {
		return "", "QEMU's own picture: " + err.Error()
	}
	if !shows(d) {
		return "", "QEMU's own picture does not show it either, but " + drive.DescribeDigest(d)
	}
	if now, err := drive.ReadDigest(ctx, l.driver); err == nil && shows(now) {
		return "", "it came too late: by now QEMU and the client show it"
	}
	hop, known := l.BlamePath(ctx)
	return hop, "QEMU's own picture shows it: " + known
}

// askProxy describes what the built-in proxy has relayed; empty without one.
func (l *Lane) askProxy(ctx context.Context) string {
	if l.State().Proxy.API == "" || l.apiToken == "" {
		return ""
	}
	sessions, err := l.proxySessions(ctx)
	if err != nil {
		return "the proxy cannot be asked: " + err.Error()
	}
	if len(sessions) == 0 {
		return "the proxy has no session"
	}
	var said []string
	for _, s := range sessions {
		// Channels are listed in the order in which they were opened, which varies.
		for _, name := range []string{"display:0", "inputs:0"} {
			for _, c := range s.Channels {
				if c.Channel != name {
					continue
				}
				said = append(said, fmt.Sprintf("%s: %d messages from QEMU, %d from the client, silent for %v", c.Channel,
					c.MessagesFromServer, c.MessagesFromClient, time.Duration(c.SilenceMS)*time.Millisecond))
			}
		}
	}
	return fmt.Sprintf("the proxy has %d session(s) (%s)", len(sessions), strings.Join(said, "; "))
}

// askClient describes what the client has received.
func (l *Lane) askClient(ctx context.Context) string {
	st, err := l.driver.Status(ctx)
	switch {
	case err != nil:
		return "the client cannot be asked: " + err.Error()
	case !st.SPICEConnected:
		return "the client is not connected"
	}
	return fmt.Sprintf("the client has received %d messages", st.Messages)
}

// getJSON sends a GET request to a proxy's HTTP API and decodes the answer.
func getJSON(ctx context.Context, url, token string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}
