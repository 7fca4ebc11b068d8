package deploy

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
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
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return fmt.Errorf("probe key server: read %s: %w", p.Config.TLS.Certificate, err)
	}
	return serverProbe{address: p.Probe, certificate: certificate, names: p.serverNames(), patience: probeTime}.run(ctx)
}

// serverNames are the names that enclaves call the server by, as far as they
// are known: those that rules ask for, and that of the address it is probed at.
// An enclave refuses a certificate which is for another name.
func (p *preparedContainer) serverNames() []string {
	var names []string
	for _, r := range p.Config.Rules {
		names = append(names, r.ServerName...)
	}
	host, _, err := net.SplitHostPort(p.Probe)
	// An address is what it is reached at from here; enclaves may have a name for it.
	if err == nil && net.ParseIP(host) == nil && host != "localhost" {
		names = append(names, host)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// serverProbe is a handshake with whoever is at an address, up to the request
// for a client's certificate.
type serverProbe struct {
	address     string
	certificate *x509.Certificate // which it must show
	names       []string          // which the certificate must be for
	patience    time.Duration
}

func (s serverProbe) run(ctx context.Context) error {
	fail := func(err error, remedy string) error {
		return &Error{Summary: "Key server not reachable", Err: fmt.Errorf("probe key server at %s: %w", s.address, err), Remedy: remedy}
	}
	for _, name := range s.names {
		if s.certificate.VerifyHostname(name) != nil {
			return &Error{Summary: "Certificate for another name",
				Err:    fmt.Errorf("probe key server at %s: its certificate is for %s, not for %s", s.address, namesOf(s.certificate), name),
				Remedy: "An enclave refuses a server whose certificate is not for the name it asked for. Add the name to server_names of the certificate, or take it out of server_name of the rules."}
		}
	}
	limited, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(limited, "tcp", s.address)
	var dns *net.DNSError
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return fmt.Errorf("probe key server at %s: %w", s.address, context.Cause(ctx))
	case errors.As(err, &dns):
		return fail(err, "The name does not lead to an address from here: look at the DNS, or give the machine's address.")
	case errors.Is(err, syscall.ECONNREFUSED):
		return fail(err, "It runs, but the connection is refused: nobody listens at this address, or a firewall of the machine itself rejects it. "+
			"Is listen an address that the machine has, and that leads to it from here?")
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return fail(err, "It runs, but no way leads there from here: look at the routes, and whether the machine has a public address.")
	default:
		return fail(err, "It runs, but no answer comes from there: a security group or a firewall on the way drops connections to this port. "+
			"Open it for enclaves and for the machine that runs Terraform, or set probe = false if it is meant to be closed to the latter.")
	}
	defer func() { _ = raw.Close() }()
	return s.greet(limited, raw, fail)
}

// greet shakes hands. The certificate must be the very one that was deployed.
func (s serverProbe) greet(ctx context.Context, raw net.Conn, fail func(err error, remedy string) error) error {
	var shown []byte
	asked := false
	conn := tls.Client(raw, &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         append(slices.Clone(s.names), "")[0],
		InsecureSkipVerify: true, //nolint:gosec // It is compared with the very certificate that was deployed.
		VerifyConnection: func(cs tls.ConnectionState) error {
			shown = cs.PeerCertificates[0].Raw
			if !bytes.Equal(shown, s.certificate.Raw) {
				return errors.New("it shows another certificate")
			}
			return nil
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked = true
			return nil, errProbed
		},
	})
	err := conn.HandshakeContext(ctx)
	switch {
	case asked:
		return nil
	case shown != nil && !bytes.Equal(shown, s.certificate.Raw):
		what := "another certificate than tls.certificate"
		if c, err := x509.ParseCertificate(shown); err == nil {
			what += ": one for " + namesOf(c) + " by " + c.Issuer.String()
		}
		return fail(errors.New("it shows "+printable(what)), "Another server listens at this address, or something on the way ends TLS.")
	case err == nil:
		return fail(errors.New("it asks for no evidence"), "Another server listens at this address.")
	case errors.Is(err, context.DeadlineExceeded):
		return fail(fmt.Errorf("shake hands: %w", err), "It accepts connections and says nothing: something on the way (a load balancer, a proxy) takes them and does not pass them on.")
	default:
		return fail(fmt.Errorf("shake hands: %w", err), "It accepts connections and speaks no TLS: another server listens at this address, or something on the way interferes.")
	}
}

// namesOf lists what a certificate is for.
func namesOf(c *x509.Certificate) string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "no name"
	}
	return strings.Join(names, ", ")
}
