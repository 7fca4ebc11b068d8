package deploy

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// probeTime bounds a connection from here to the server.
const probeTime = 10 * time.Second

var errProbed = errors.New("asked for evidence")

// probe connects to the server from here as an enclave would, up to the point
// where the enclave shows its evidence. It says what is in the way otherwise.
func (p *preparedContainer) probe(ctx context.Context) error {
	if p.Probe == "" {
		return nil
	}
	data, err := readSmallFile(p.absolute().TLS.Certificate)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(data)
	for block != nil && block.Type != "CERTIFICATE" {
		block, data = pem.Decode(data)
	}
	if block == nil {
		return fmt.Errorf("probe key server: %s holds no certificate", p.Config.TLS.Certificate)
	}
	return probeKeyServer(ctx, p.Probe, block.Bytes)
}

// probeKeyServer shakes hands with whoever is at address, up to the request
// for a certificate. It must show the given certificate, in DER.
func probeKeyServer(ctx context.Context, address string, certificate []byte) error {
	fail := func(err error, remedy string) error {
		return &Error{Summary: "Key server not reachable", Err: fmt.Errorf("probe key server at %s: %w", address, err), Remedy: remedy}
	}
	limited, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(limited, "tcp", address)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return fmt.Errorf("probe key server at %s: %w", address, context.Cause(ctx))
	case errors.Is(err, syscall.ECONNREFUSED):
		return fail(err, "It runs, but nobody listens at this address: is listen an address that the machine has, and that leads to it from here?")
	default:
		return fail(err, "It runs, but no answer comes from there: a security group or a firewall on the way drops connections to this port. "+
			"Open it for enclaves and for the machine that runs Terraform, or set probe = false if it is meant to be closed to the latter.")
	}
	defer func() { _ = raw.Close() }()
	var shown []byte
	asked := false
	conn := tls.Client(raw, &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // It is compared with the very certificate that was deployed.
		VerifyConnection: func(cs tls.ConnectionState) error {
			shown = cs.PeerCertificates[0].Raw
			if !bytes.Equal(shown, certificate) {
				return errors.New("it shows another certificate")
			}
			return nil
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked = true
			return nil, errProbed
		},
	})
	err = conn.HandshakeContext(limited)
	switch {
	case asked:
		return nil
	case shown != nil && !bytes.Equal(shown, certificate):
		return fail(errors.New("it shows another certificate than tls.certificate"), "Another server listens at this address, or something on the way ends TLS.")
	case err == nil:
		return fail(errors.New("it asks for no evidence"), "Another server listens at this address.")
	default:
		return fail(fmt.Errorf("shake hands: %w", err), "It accepts connections and speaks no TLS: another server listens at this address, or something on the way interferes.")
	}
}
