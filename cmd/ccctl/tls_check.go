package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
)

// tlsCheck holds the flags of tls check.
type tlsCheck struct {
	ca, certificate, key, serverName string
	timeout                          time.Duration
}

func newTLSCheckCommand(u *ui) *cobra.Command {
	var c tlsCheck
	cmd := &cobra.Command{
		Use:   "check HOST:PORT --ca FILE [--cert FILE --key FILE]",
		Short: "Connect to a server as its clients do, and say what is wrong",
		Long: `check connects to a TensorFlow Serving gRPC port, or any other TLS server,
verifies its certificate against the authorities in --ca and the host's name,
and shows what it found. With --cert and --key it shows a client certificate and
reports whether the server accepts it.

Exit code 4 means that the server's certificate does not verify, 5 that the
server refuses this client, 6 that there is no answer, 3 that the answer is not
TLS.`,
		Example: `  ccctl tls check grpc.tf-serving.service.com:8500 --ca ssl_configure/ca_cert.pem \
      --cert ssl_configure/client/cert.pem --key ssl_configure/client/key.pem
  ccctl tls check 192.0.2.7:8500 --ca ssl_configure/ca_cert.pem --server-name grpc.tf-serving.service.com`,
		Args: args("HOST:PORT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			// 8500 is TensorFlow Serving's port for gRPC.
			host, err := splitAddress(cmd, "", args[0], "8500")
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), c.timeout)
			defer cancel()
			return c.run(ctx, u, host, args[0])
		},
	}
	cmd.Flags().StringVar(&c.ca, "ca", "", "PEM `FILE` with the authorities to trust, such as ca_cert.pem")
	cmd.Flags().StringVar(&c.certificate, "cert", "", "PEM `FILE` with the client's certificate")
	cmd.Flags().StringVar(&c.key, "key", "", "PEM `FILE` with the client's private key")
	cmd.Flags().StringVar(&c.serverName, "server-name", "", "`NAME` to expect in the certificate (default: HOST)")
	cmd.Flags().DurationVar(&c.timeout, "timeout", 10*time.Second, "give up after this `TIME`")
	require(cmd, "ca")
	u.jsonFlag(cmd)
	return cmd
}

// tlsChecked is what tls check found.
type tlsChecked struct {
	Address           string                    `json:"address"`
	ServerName        string                    `json:"server_name"`
	TLSVersion        string                    `json:"tls_version"`
	CipherSuite       string                    `json:"cipher_suite"`
	Protocol          string                    `json:"protocol"` // as negotiated with ALPN; "h2" for gRPC
	Certificate       *tlsmaterials.Description `json:"certificate"`
	ClientCertificate string                    `json:"client_certificate"` // "not asked for", "not shown" or "accepted"
}

func (c *tlsCheck) run(ctx context.Context, u *ui, host, addr string) error {
	if (c.certificate == "") != (c.key == "") {
		return usagef("--cert and --key go together")
	}
	if c.serverName == "" {
		c.serverName = host
	}
	conf, err := c.config()
	if err != nil {
		return err
	}
	asked := false
	conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked = true
		if len(conf.Certificates) == 0 {
			return new(tls.Certificate), nil
		}
		return &conf.Certificates[0], nil
	}
	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return withCode(exitUnreachable, fmt.Errorf("check %s: %w", addr, err))
	}
	defer raw.Close()
	conn := tls.Client(raw, conf)
	if err := conn.HandshakeContext(ctx); err != nil {
		return c.explain(ctx, addr, asked, fmt.Errorf("check %s: %w", addr, err))
	}
	if err := awaitVerdict(ctx, conn); err != nil {
		return c.explain(ctx, addr, asked, fmt.Errorf("check %s: %w", addr, err))
	}
	state := conn.ConnectionState()
	leaf := tlsmaterials.Describe(state.PeerCertificates[0])
	found := &tlsChecked{
		Address: addr, ServerName: c.serverName, TLSVersion: tls.VersionName(state.Version), CipherSuite: tls.CipherSuiteName(state.CipherSuite),
		Protocol: state.NegotiatedProtocol, Certificate: &leaf, ClientCertificate: clientVerdict(asked, c.certificate != ""),
	}
	c.advise(u, state.PeerCertificates[0])
	return u.report(found, found.text)
}

func (c *tlsCheck) config() (*tls.Config, error) {
	data, err := os.ReadFile(c.ca)
	if err != nil {
		return nil, fmt.Errorf("read authorities: %w", err)
	}
	authorities, err := tlsmaterials.ParseCertificates(data)
	if err != nil {
		return nil, withCode(exitFormat, fmt.Errorf("read authorities %s: %w", c.ca, err))
	}
	conf := &tls.Config{
		RootCAs: x509.NewCertPool(), ServerName: c.serverName, MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2"}, // gRPC servers hang up on a client that does not offer it
	}
	for _, a := range authorities {
		conf.RootCAs.AddCert(a)
	}
	if c.certificate == "" {
		return conf, nil
	}
	pair, err := tls.LoadX509KeyPair(c.certificate, c.key)
	if err != nil {
		return nil, withCode(exitNotGenuine, fmt.Errorf("read client certificate %s and key %s: %w", c.certificate, c.key, err))
	}
	conf.Certificates = []tls.Certificate{pair}
	return conf, nil
}

// verdictDelay is how long a server that does not speak first may take to refuse a client after the handshake.
const verdictDelay = 500 * time.Millisecond

var errHungUp = errors.New("the server hung up after the handshake")

// awaitVerdict finds out whether the server lets the client in. With TLS 1.3 the client has finished before the server has
// looked at its certificate, so a refusal comes afterwards: as an alert, or, from gRPC, as the end of the connection
// without one. A gRPC server that accepts the client sends its settings at once; others say nothing.
func awaitVerdict(ctx context.Context, conn *tls.Conn) error {
	deadline := time.Now().Add(verdictDelay)
	speaksFirst := conn.ConnectionState().NegotiatedProtocol == "h2"
	if end, ok := ctx.Deadline(); ok && speaksFirst {
		deadline = end
	}
	if err := conn.SetReadDeadline(deadline); err != nil {
		return err
	}
	_, err := conn.Read(make([]byte, 1))
	var timeout net.Error
	switch {
	case errors.Is(err, io.EOF):
		return errHungUp
	case errors.As(err, &timeout) && timeout.Timeout() && !speaksFirst:
		return nil
	default:
		return err
	}
}

// explain gives a failed connection its exit code and a guess at the mistake.
func (c *tlsCheck) explain(ctx context.Context, addr string, asked bool, err error) error {
	var untrusted *tls.CertificateVerificationError
	var notTLS tls.RecordHeaderError
	var remote *net.OpError
	refused := asked && (errors.As(err, &remote) && remote.Op == "remote error" || errors.Is(err, errHungUp) || errors.Is(err, syscall.ECONNRESET))
	switch {
	case errors.As(err, &untrusted):
		return c.explainUntrusted(untrusted, withCode(exitNotGenuine, err))
	case errors.As(err, &notTLS):
		return withHint(withCode(exitFormat, err), "the server does not speak TLS on this port: TensorFlow Serving's ssl.cfg covers the gRPC port only")
	case refused && c.certificate == "":
		return withHint(withCode(exitRefused, err), "the server requires a client certificate: give --cert and --key")
	case refused:
		return withHint(withCode(exitRefused, err), "the server does not accept %s: was it issued by an authority in the server's custom_ca?", c.certificate)
	case ctx.Err() != nil:
		return withCode(exitUnreachable, fmt.Errorf("check %s: no answer within %s", addr, c.timeout))
	default:
		return withCode(exitUnreachable, err)
	}
}

func (c *tlsCheck) explainUntrusted(untrusted *tls.CertificateVerificationError, err error) error {
	var unknown x509.UnknownAuthorityError
	if len(untrusted.UnverifiedCertificates) == 0 {
		return err
	}
	leaf := tlsmaterials.Describe(untrusted.UnverifiedCertificates[0])
	if errors.As(untrusted.Err, &unknown) {
		return withHint(err, "the certificate was issued by %q, and no authority in %s has signed it", leaf.Issuer, c.ca)
	}
	return withHint(err, "the certificate is for %s, from %s until %s", strings.Join(leaf.Names, ", "),
		leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339))
}

// advise notes what works here and may not with other clients.
func (c *tlsCheck) advise(u *ui, leaf *x509.Certificate) {
	if net.ParseIP(c.serverName) != nil && leaf.VerifyHostname(c.serverName) == nil && !slices.Contains(leaf.DNSNames, c.serverName) {
		u.note("clients before Gramine 1.8 accept an address only where the certificate has it as a DNS name too; this one has not")
	}
}

func clientVerdict(asked, shown bool) string {
	switch {
	case !asked:
		return "not asked for"
	case !shown:
		return "not shown"
	default:
		return "accepted"
	}
}

func (f *tlsChecked) text(w io.Writer) error {
	_, err := fmt.Fprintf(w, "address\t%s\nserver name\t%s\nTLS\t%s, %s\nprotocol\t%s\ncertificate for\t%s\nissued by\t%s\nexpires\t%s\nclient certificate\t%s\n",
		f.Address, f.ServerName, f.TLSVersion, f.CipherSuite, shownProtocol(f.Protocol), strings.Join(f.Certificate.Names, ", "), f.Certificate.Issuer,
		f.Certificate.NotAfter.Format(time.RFC3339), f.ClientCertificate)
	return err
}

func shownProtocol(s string) string {
	if s == "" {
		return "none negotiated"
	}
	return s
}
