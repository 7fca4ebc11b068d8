package keyserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"
)

// ProbeResult is what a server shows to anybody who connects.
type ProbeResult struct {
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

// ProbeError says that a server answered and that an enclave would not accept what it showed.
type ProbeError struct {
	Address string
	Err     error
}

// Error implements error.
func (e *ProbeError) Error() string {
	return fmt.Sprintf("probe %s: an enclave would refuse this server: %v", e.Address, e.Err)
}

// Unwrap returns the cause.
func (e *ProbeError) Unwrap() error { return e.Err }

var errProbed = errors.New("probed")

// Probe connects to an attestation server as an enclave does, up to the point where the enclave would show its
// evidence, and hangs up. serverName is what the enclave calls the server; empty is the host of addr. roots are what the
// enclave has in its CA file.
func Probe(ctx context.Context, addr, serverName string, roots *x509.CertPool) (*ProbeResult, error) {
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
	result := &ProbeResult{Address: addr, ServerName: serverName}
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
		return result, &ProbeError{Address: addr, Err: errors.New("it asks for no client certificate, so it attests nobody: not an attestation server")}
	case errors.As(err, &untrusted):
		if len(untrusted.UnverifiedCertificates) > 0 {
			result.describe(&tls.ConnectionState{PeerCertificates: untrusted.UnverifiedCertificates})
		}
		return result, &ProbeError{Address: addr, Err: untrusted.Err}
	default:
		return nil, fmt.Errorf("probe %s: shake hands: %w", addr, err)
	}
}

func (p *ProbeResult) describe(cs *tls.ConnectionState) {
	leaf := cs.PeerCertificates[0]
	p.Subject, p.Issuer, p.Names, p.NotAfter = leaf.Subject.String(), leaf.Issuer.String(), names(leaf), leaf.NotAfter.UTC()
	if cs.Version != 0 {
		p.TLSVersion = tls.VersionName(cs.Version)
	}
}
