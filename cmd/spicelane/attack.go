package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/pki"
	"github.com/spicelane/spicelane/spice/proxy/adversary"
	"github.com/spicelane/spicelane/spice/vv"
)

func newAttack() *cobra.Command {
	var (
		t       adversary.Target
		vvFile  string
		foreign string
		life    time.Duration
		timeout time.Duration
		asJSON  bool
	)
	cmd := &cobra.Command{
		Use:   "attack ADDR --vv FILE",
		Short: "Attack any SPICE proxy and report wrong answers",
		Long: `Attack the TLS port ADDR of a SPICE proxy with malformed links, invalid tokens,
silent and slow clients, and floods. After each case the proxy must still serve a
well-behaved client. The virt-viewer FILE has the password, the CA and the host
subject. With --one-session, something must replace a used token in the file, as the
built-in proxy does with --keep-vv. Attack only your own proxies: the attack keeps them busy.

Some cases need more than the proxy's ports. They are skipped and say so, unless
--console, --token-lifetime and --foreign-vv give them what they need. Package
spice/proxy/adversary also runs those that choose the console's certificate.

Exit status: 0 every answer was right, 1 an answer was wrong, 2 the proxy did not
serve a well-behaved client even before the attack.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t.TLSAddr = args[0]
			if vvFile == "" {
				return usage("attack needs --vv FILE")
			}
			if cmd.Flags().Changed("websocket-path") && t.WebSocketAddr == "" {
				return usage("--websocket-path needs --websocket")
			}
			if life > 0 && untilExpired(life) >= timeout {
				return usage("--timeout %v: the attack waits for %v until a token has expired", timeout, untilExpired(life))
			}
			file, err := vv.ReadFile(vvFile)
			if err != nil {
				return usage("%w", err)
			}
			if t.TLS, err = trustOf(file); err != nil {
				return usage("--vv %s: %w", vvFile, err)
			}
			freshTokens(&t, vvFile)
			if foreign != "" {
				other, err := vv.ReadFile(foreign)
				if err != nil {
					return usage("--foreign-vv: %w", err)
				}
				t.Foreign = other.Password
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), timeout, fmt.Errorf("the attack took longer than %v", timeout))
			defer cancel()
			if life > 0 {
				t.Advance = func(time.Duration) { outlast(ctx, life) }
			}
			if err := adversary.Serves(ctx, t); err != nil {
				if over := attackError(cmd.Context(), ctx, 0, 0); over != nil {
					return over
				}
				return usage("%s does not serve a well-behaved client: %w", t.TLSAddr, err)
			}
			out := cmd.OutOrStdout()
			table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			var failed, ran int
			adversary.Run(ctx, t, func(r adversary.Result) {
				outcome := "PASS"
				switch {
				case r.Skipped != "":
					outcome = "SKIP"
				case r.Failed():
					outcome = "FAIL"
					failed++
				}
				if outcome != "SKIP" {
					ran++
				}
				after := ""
				if r.After != nil {
					after = r.After.Error()
				}
				if asJSON {
					_ = json.NewEncoder(out).Encode(map[string]string{"case": r.Case.Name, "outcome": outcome,
						"got": r.Got, "want": r.Case.Want, "needs": r.Skipped, "after": after})
					return
				}
				got := r.Got
				if r.Skipped != "" {
					got = "needs " + r.Skipped
				}
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", outcome, oneLine(r.Case.Name), oneLine(got), "want "+r.Case.Want, oneLine(after))
			})
			if !asJSON {
				_ = table.Flush()
			}
			if err := attackError(cmd.Context(), ctx, failed, ran); err != nil {
				return err
			}
			if !asJSON {
				fmt.Fprintf(out, "verdict: PASS, %d cases\n", ran)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&vvFile, "vv", "", "virt-viewer `FILE` of a console behind the proxy")
	f.BoolVar(&t.OneSession, "one-session", false, "each password opens only one session, so a replayed or borrowed one must be refused")
	f.StringVar(&foreign, "foreign-vv", "", "virt-viewer `FILE` of another proxy, whose token must be refused")
	f.DurationVar(&life, "token-lifetime", 0, "how long an unused token lives: the attack waits that long and then presents an expired one")
	f.StringVar(&t.ConsoleAddr, "console", "", "play the console at this `ADDR`, where the proxy expects it in plaintext with the ticket "+adversary.Ticket+": it refuses, hangs and dies, and the proxy must not answer OK")
	f.StringVar(&t.Addr, "plain", "", "`ADDR` of the plaintext port")
	f.StringVar(&t.APIAddr, "api", "", "`ADDR` of the HTTP API")
	f.StringVar(&t.WebSocketAddr, "websocket", "", "`ADDR` of the port for WebSockets in TLS")
	f.StringVar(&t.WebSocketPath, "websocket-path", "/websockify", "`PATH` of WebSockets")
	f.DurationVar(&t.Patience, "patience", 15*time.Second, "how long the proxy may take to disconnect a silent client")
	f.DurationVar(&timeout, "timeout", 10*time.Minute, "limit for the whole attack")
	f.BoolVar(&asJSON, "json", false, "print one JSON object per case")
	return cmd
}

// attackError returns why an attack has not passed. timed is the context that also ends when its
// time is up. The answers that were wrong before that are the proxy's.
func attackError(ctx, timed context.Context, failed, ran int) error {
	switch {
	case ctx.Err() != nil:
		return usage("interrupted")
	case failed > 0:
		return &verdict.Error{Verdict: verdict.Product, Op: "attack", Err: fmt.Errorf("%d of %d answers were wrong", failed, ran)}
	case timed.Err() != nil:
		return usage("%w", context.Cause(timed))
	}
	return nil
}

// freshTokens sets t.Token, which returns the password in the file at path. If each password opens
// only one session, it waits until the file has one that is not spent: for up to 10 s, or for 2 s
// if it is not certain that the password is spent.
func freshTokens(t *adversary.Target, path string) {
	var mu sync.Mutex
	const doubtTime = 2 * time.Second
	spent := map[string]time.Time{} // by password: until when to wait for a newer one
	until := func(wait time.Duration) func(token string) {
		return func(token string) {
			mu.Lock()
			defer mu.Unlock()
			if end := time.Now().Add(wait); end.After(spent[token]) {
				spent[token] = end
			}
		}
	}
	t.Spent, t.Doubtful = until(24*time.Hour), until(doubtTime)
	t.Token = func(ctx context.Context) (string, error) {
		const pause = 20 * time.Millisecond // nothing notifies of a replaced file
		ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Second, fmt.Errorf("nothing replaces %s after its token was used", path))
		defer cancel()
		for {
			file, err := vv.ReadFile(path)
			mu.Lock()
			used := err == nil && time.Now().Before(spent[file.Password])
			mu.Unlock()
			if err == nil && !(t.OneSession && used) {
				return file.Password, nil
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return "", context.Cause(ctx)
			}
		}
	}
}

// untilExpired returns the time after which a token with the lifetime life has surely expired.
func untilExpired(life time.Duration) time.Duration { return life + life/4 }

// outlast waits until a token that was issued just now has expired, or until ctx ends.
func outlast(ctx context.Context, life time.Duration) {
	over := time.NewTimer(untilExpired(life))
	defer over.Stop()
	select {
	case <-over.C:
	case <-ctx.Done():
	}
}

// trustOf returns the TLS configuration that checks the certificate of the proxy in a virt-viewer
// file.
func trustOf(file *vv.File) (*tls.Config, error) {
	var roots *x509.CertPool
	if file.CA != "" {
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(file.CA)) {
			return nil, errors.New("ca= has no certificate in PEM form")
		}
	}
	return pki.ClientTLS(roots, file.Host, file.HostSubject), nil
}
