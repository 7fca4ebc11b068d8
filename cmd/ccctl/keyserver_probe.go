package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func newKeyserverProbeCommand(u *ui) *cobra.Command {
	var caFile, serverName string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "probe HOST:PORT --ca FILE",
		Short: "Connect as an enclave does, up to its evidence",
		Long: `probe checks what an enclave checks before it attests: that the server answers,
that its certificate leads to a CA in FILE and is for the name the enclave uses,
and that it asks for a client certificate. No evidence is shown and no key
released; the server logs an aborted handshake.`,
		Example: `  ccctl keyserver probe attestation.service.com:4433 --ca ca_cert.pem
  ccctl keyserver probe 192.0.2.7:4433 --ca ca_cert.pem --server-name attestation.service.com --timeout 3s`,
		Args: args("HOST:PORT"),
		RunE: func(cmd *cobra.Command, a []string) error {
			if err := needFlag(cmd, "ca"); err != nil {
				return err
			}
			if _, err := splitAddress(cmd, "", a[0], "4433"); err != nil {
				return err
			}
			roots, err := readCertPool(caFile)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			result, err := probe(ctx, a[0], serverName, roots)
			var refused *probeError
			switch {
			case err == nil:
			case errors.As(err, &refused):
				err = withCode(exitNotGenuine, err)
				if result != nil {
					return withHint(err, "the certificate is for %s, issued by %s, and expires on %s",
						strings.Join(result.Names, ", "), result.Issuer, result.NotAfter.Format(time.RFC3339))
				}
				return err
			default:
				return withCode(exitUnreachable, err)
			}
			if net.ParseIP(result.ServerName) != nil {
				u.note("note: clients before Gramine 1.8 accept an address only where the certificate has it as a DNS name too")
			}
			return u.report(result, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "address\t%s\nserver name\t%s\nTLS\t%s\ncertificate for\t%s\nissued by\t%s\nexpires\t%s\nasks for evidence\tyes\n",
					result.Address, result.ServerName, result.TLSVersion, strings.Join(result.Names, ", "), result.Issuer, result.NotAfter.Format(time.RFC3339))
				return err
			})
		},
	}
	cmd.Flags().StringVar(&caFile, "ca", "", "PEM `FILE` with the CA that the enclave trusts")
	cmd.Flags().StringVar(&serverName, "server-name", "", "`NAME` that the enclave uses (default: HOST)")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Second, "give up after this `TIME`")
	u.jsonFlag(cmd)
	return cmd
}

// probeResult is what a server shows to anybody who connects.
type probeResult struct {
	Address    string    `json:"address"`
	ServerName string    `json:"server_name"`
	TLSVersion string    `json:"tls_version"`
	Subject    string    `json:"subject"`
	Issuer     string    `json:"issuer"`
	Names      []string  `json:"names"`
	NotAfter   time.Time `json:"not_after"`
	// AsksForEvidence: the server wants a client certificate, as an attestation server does.
	AsksForEvidence bool `json:"asks_for_evidence"`
}

// probeError says that a server answered and that an enclave would not accept what it showed.
type probeError struct {
	Address string
	Err     error
}

// Error implements error.
func (e *probeError) Error() string {
	return fmt.Sprintf("probe %s: an enclave would refuse this server: %v", e.Address, e.Err)
}

// Unwrap returns the cause.
func (e *probeError) Unwrap() error { return e.Err }

var errProbed = errors.New("probed")

// probe connects to an attestation server as an enclave does, up to the point where the enclave would show its
// evidence, and hangs up. serverName is what the enclave calls the server; empty is the host of addr. roots are what the
// enclave has in its CA file.
func probe(ctx context.Context, addr, serverName string, roots *x509.CertPool) (*probeResult, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("probe %q: it is not of the form host:port: %w", addr, err)
	}
	if serverName == "" {
		serverName = host
	}
	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("probe %s: %w", addr, err)
	}
	defer func() { _ = raw.Close() }()
	asked := false
	result := &probeResult{Address: addr, ServerName: serverName}
	conn := tls.Client(raw, &tls.Config{
		RootCAs: roots, ServerName: serverName, MinVersion: tls.VersionTLS12,
		VerifyConnection: func(cs tls.ConnectionState) error {
			result.describe(&cs)
			return nil
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked = true
			return nil, errProbed
		},
	})
	err = conn.HandshakeContext(ctx)
	var untrusted *tls.CertificateVerificationError
	switch {
	case asked:
		result.AsksForEvidence = true
		return result, nil
	case err == nil:
		return result, &probeError{Address: addr, Err: errors.New("it asks for no client certificate, so it attests nobody: not an attestation server")}
	case errors.As(err, &untrusted):
		if len(untrusted.UnverifiedCertificates) > 0 {
			result.describe(&tls.ConnectionState{PeerCertificates: untrusted.UnverifiedCertificates})
		}
		return result, &probeError{Address: addr, Err: untrusted.Err}
	default:
		return nil, fmt.Errorf("probe %s: shake hands: %w", addr, err)
	}
}

func (p *probeResult) describe(cs *tls.ConnectionState) {
	leaf := cs.PeerCertificates[0]
	p.Subject, p.Issuer, p.NotAfter = leaf.Subject.String(), leaf.Issuer.String(), leaf.NotAfter.UTC()
	p.Names = append([]string(nil), leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		// For old clients an address is there as a DNS name too.
		if name := ip.String(); !slices.Contains(p.Names, name) {
			p.Names = append(p.Names, name)
		}
	}
	if cs.Version != 0 {
		p.TLSVersion = tls.VersionName(cs.Version)
	}
}
