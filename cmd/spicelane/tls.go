package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/spicelane/spicelane/harness/verdict"
	"github.com/spicelane/spicelane/spice/pki"
)

func newTLS() *cobra.Command {
	var cfg pki.Config
	cmd := &cobra.Command{
		Use:   "tls DIR",
		Short: "Make a CA and a proxy certificate and key in DIR",
		Long: `Make a CA and a server certificate with its key (ECDSA P-256) in DIR: ca-cert.pem,
ca-key.pem, server-cert.pem, server-key.pem; keys have mode 0600. QEMU accepts the
same directory as x509-dir.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := pki.New(cfg)
			if err != nil {
				return usage("%w", err)
			}
			if err := b.WriteDir(args[0]); err != nil {
				return verdict.Classify("tls", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %s, %s, %s\nhost-subject: %s\n", args[0],
				pki.CACertFile, pki.CAKeyFile, pki.ServerCertFile, pki.ServerKeyFile, b.HostSubject)
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&cfg.Hosts, "host", nil, "another DNS `NAME` or IP address of the server, besides localhost, 127.0.0.1 and ::1; repeatable")
	cmd.Flags().StringVar(&cfg.CommonName, "cn", "", "the subject's common `NAME`; default: localhost")
	return cmd
}
