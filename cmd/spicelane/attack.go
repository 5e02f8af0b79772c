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
		timeout time.Duration
		asJSON  bool
	)
	cmd := &cobra.Command{
		Use:   "attack ADDR --vv FILE",
		Short: "Attack a SPICE proxy, anybody's, and say which answers are wrong",
		Long: `Attack the TLS port ADDR of a SPICE proxy: malformed links, tokens that must not
open anything, silent and slow clients, floods. After each case a well-behaved
client must still be served. The password, the CA and the host subject come from
a virt-viewer file; with --one-session it must be kept fresh, as the built-in
proxy does with --keep-vv. Attack only what is yours: the proxy will be busy.

A case that needs more than the proxy's ports (its console, its clock) is
skipped and says so; package spice/proxy/adversary runs those too.

Exit status: 0 every answer was right, 1 one was wrong, 2 no good client was
served to begin with.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t.TLSAddr = args[0]
			if vvFile == "" {
				return usage("attack needs --vv FILE")
			}
			file, err := vv.ReadFile(vvFile)
			if err != nil {
				return usage("%w", err)
			}
			if t.TLS, err = trustOf(file); err != nil {
				return usage("--vv %s: %w", vvFile, err)
			}
			freshTokens(&t, vvFile)
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), timeout, fmt.Errorf("the attack took longer than %v", timeout))
			defer cancel()
			if err := adversary.Serves(ctx, t); err != nil {
				return usage("a good client is not served at %s: %w", t.TLSAddr, err)
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
			switch {
			case ctx.Err() != nil:
				return usage("%w", context.Cause(ctx))
			case failed > 0:
				return &verdict.Error{Verdict: verdict.Product, Op: "attack", Err: fmt.Errorf("%d of %d answers were wrong", failed, ran)}
			}
			if !asJSON {
				fmt.Fprintf(out, "verdict: PASS, %d cases\n", ran)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&vvFile, "vv", "", "virt-viewer `FILE` that leads through the proxy")
	f.BoolVar(&t.OneSession, "one-session", false, "a password opens one session: a replayed or borrowed one must be refused")
	f.StringVar(&t.Addr, "plain", "", "`ADDR` of the plaintext port")
	f.StringVar(&t.APIAddr, "api", "", "`ADDR` of the HTTP API")
	f.DurationVar(&t.Patience, "patience", 15*time.Second, "how long the proxy may take to hang up on a silent client")
	f.DurationVar(&timeout, "timeout", 10*time.Minute, "bound of the whole attack")
	f.BoolVar(&asJSON, "json", false, "print one JSON object a case")
	return cmd
}

// freshTokens returns the passwords that stand in a file one after the other. If each
// opens one session it waits until there is one that has opened none.
func freshTokens(t *adversary.Target, path string) {
	var mu sync.Mutex
	spent := map[string]bool{}
	t.Spent = func(token string) {
		mu.Lock()
		defer mu.Unlock()
		spent[token] = true
	}
	t.Token = func(ctx context.Context) (string, error) {
		const pause = 20 * time.Millisecond // nothing tells that a file was replaced
		ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Second, fmt.Errorf("%s is not kept fresh", path))
		defer cancel()
		for {
			file, err := vv.ReadFile(path)
			mu.Lock()
			used := err == nil && spent[file.Password]
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

// trustOf returns how to check the certificate of the proxy that a file leads to.
func trustOf(file *vv.File) (*tls.Config, error) {
	var roots *x509.CertPool
	if file.CA != "" {
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(file.CA)) {
			return nil, errors.New("ca= holds no certificate in PEM form")
		}
	}
	return pki.ClientTLS(roots, file.Host, file.HostSubject), nil
}
