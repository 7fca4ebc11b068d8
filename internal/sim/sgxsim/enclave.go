package sgxsim

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/ratls"
)

// Messages of the secret provisioning protocol (tools/sgx/ra-tls/secret_prov.h), NUL included.
const (
	provisionRequest  = "SECRET_PROVISION_RA_TLS_REQUEST_V1\x00"
	provisionResponse = "SECRET_PROVISION_RA_TLS_RESPONSE_V1:\x00"
)

// Enclave is a Gramine enclave as far as its secret provisioning goes (libsecret_prov_attest.so). It shares no code with
// the server that it is there to test.
type Enclave struct {
	// Quoter is the enclave's attestation device; required.
	Quoter ratls.Quoter
	// Release is the release of Gramine to play; empty means 1.9.
	Release string
	// Servers is SECRET_PROVISION_SERVERS: HOST:PORT, several separated by comma, semicolon or space; empty means
	// localhost:4433. IPv6 literals cannot be written.
	Servers string
	// CA is the content of SECRET_PROVISION_CA_CHAIN_PATH, PEM; required.
	CA []byte
	// Dial replaces net.Dialer.DialContext.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Certificate, when not nil, may change what kind of certificate the release makes: Gramine linked with another libcbor,
	// or evidence in one form only.
	Certificate func(*ratls.CertificateOptions)
	// Now replaces time.Now for the dates of the server's certificate.
	Now func() time.Time
}

// Step says how far an enclave got.
type Step string

// Steps of provisioning.
const (
	StepConfigure Step = "configure"
	StepConnect   Step = "connect"
	StepQuote     Step = "quote"
	StepHandshake Step = "handshake"
	StepRequest   Step = "request"
	StepResponse  Step = "response"
	StepSecret    Step = "secret"
	StepKey       Step = "key"
)

// Codes that Gramine's library returns: negative errno values of Linux and error codes of mbedTLS.
const (
	codeReset       = -104   // ECONNRESET
	codeRefused     = -111   // ECONNREFUSED
	codeInvalid     = -22    // EINVAL
	codeAlert       = -30592 // MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE, -0x7780
	codeTicket      = -31488 // MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET, -0x7B00
	codeCertificate = -9984  // MBEDTLS_ERR_X509_CERT_VERIFY_FAILED, -0x2700
)

// EnclaveError says why an enclave has no secret.
type EnclaveError struct {
	Step Step
	Code int // what Gramine's library returns; 0 where nothing was observed
	Err  error
}

// Error implements error.
func (e *EnclaveError) Error() string {
	if e.Code == 0 {
		return fmt.Sprintf("provision secret: %s: %v", e.Step, e.Err)
	}
	return fmt.Sprintf("provision secret: %s: %v (Gramine's code %d)", e.Step, e.Err, e.Code)
}

// Unwrap returns the cause.
func (e *EnclaveError) Unwrap() error { return e.Err }

// Secret is what a server has sent. It does not show itself.
type Secret []byte

const redacted = "REDACTED"

// String implements fmt.Stringer.
func (Secret) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return redacted }

// Format implements fmt.Formatter, for all verbs.
func (Secret) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// MarshalText implements encoding.TextMarshaler.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Delivery is a received secret.
type Delivery struct {
	Secret     Secret
	Server     string // the one of the list that was reached
	TLSVersion uint16

	release release
}

// Key returns the protected files key that the secret is, if the release takes it for one.
func (d *Delivery) Key() ([16]byte, error) {
	key, err := d.release.key(d.Secret)
	if err != nil {
		return key, &EnclaveError{Step: StepKey, Err: err}
	}
	return key, nil
}

// Provision fetches the secret: the first server that accepts a TCP connection is asked, and whatever it says is final. Gramine
// waits for ever; here ctx ends the waiting. The error is an *EnclaveError.
func (e *Enclave) Provision(ctx context.Context) (*Delivery, error) {
	name := e.Release
	if name == "" {
		name = "1.9"
	}
	r, err := findRelease(name)
	if err != nil {
		return nil, &EnclaveError{Step: StepConfigure, Err: err}
	}
	cas, err := parseCAs(e.CA)
	if err != nil {
		return nil, &EnclaveError{Step: StepConfigure, Err: err}
	}
	conn, server, err := e.connect(ctx)
	if err != nil {
		return nil, &EnclaveError{Step: StepConnect, Code: codeRefused, Err: err}
	}
	defer func() { _ = conn.Close() }()
	// Gramine connects first and makes key and quotes then, so that the server waits for them.
	if e.Certificate != nil {
		e.Certificate(&r.certificate)
	}
	cert, err := ratls.NewCertificate(ctx, e.Quoter, r.certificate)
	if err != nil {
		return nil, &EnclaveError{Step: StepQuote, Err: err}
	}
	s := session{release: r, host: server.host, cas: cas, now: e.Now}
	if s.now == nil {
		s.now = time.Now
	}
	secret, failure := s.run(ctx, conn, cert)
	if failure != nil {
		if ctx.Err() != nil {
			failure.Code, failure.Err = 0, fmt.Errorf("gave up where Gramine would wait: %w", ctx.Err())
		}
		return nil, failure
	}
	return &Delivery{Secret: secret, Server: server.String(), TLSVersion: s.version, release: r}, nil
}

type server struct{ host, port string }

func (s server) String() string { return net.JoinHostPort(s.host, s.port) }

// parseServers cuts the list as strtok_r would: empty tokens vanish, and so do tokens without a port.
func parseServers(list string) []server {
	if list == "" {
		list = "localhost:4433"
	}
	var all []server
	for _, token := range strings.FieldsFunc(list, func(c rune) bool { return strings.ContainsRune(",; ", c) }) {
		if parts := strings.FieldsFunc(token, func(c rune) bool { return c == ':' }); len(parts) >= 2 {
			all = append(all, server{parts[0], parts[1]})
		}
	}
	return all
}

// connect returns a connection to the first server that accepts one.
func (e *Enclave) connect(ctx context.Context) (net.Conn, server, error) {
	dial := e.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	err := errors.New("no server in the list has a host and a port")
	for _, s := range parseServers(e.Servers) {
		var conn net.Conn
		if conn, err = dial(ctx, "tcp", s.String()); err == nil {
			return conn, s, nil
		}
	}
	return nil, server{}, err
}

// session is one TLS connection.
type session struct {
	release release
	host    string
	cas     []*x509.Certificate
	now     func() time.Time

	version uint16
	tickets ticketTrap
}

func (s *session) run(ctx context.Context, raw net.Conn, cert tls.Certificate) (Secret, *EnclaveError) {
	conn := tls.Client(raw, s.config(cert))
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, &EnclaveError{Step: StepHandshake, Code: code(err), Err: err}
	}
	s.version = conn.ConnectionState().Version
	// Whatever comes, the enclave says that it is done and does not wait for an answer.
	defer func() { _ = conn.CloseWrite() }()
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(conn, provisionRequest); err != nil {
		return nil, &EnclaveError{Step: StepRequest, Code: code(err), Err: err}
	}
	return s.receive(conn)
}

func (s *session) receive(conn io.Reader) (Secret, *EnclaveError) {
	header := make([]byte, len(provisionResponse)+4)
	if err := s.read(conn, header); err != nil {
		return nil, &EnclaveError{Step: StepResponse, Code: code(err), Err: err}
	}
	if !bytes.HasPrefix(header, []byte(provisionResponse)) {
		return nil, &EnclaveError{Step: StepResponse, Code: codeInvalid, Err: errors.New("the server's answer is not a response of the protocol")}
	}
	size := binary.BigEndian.Uint32(header[len(provisionResponse):])
	if size > math.MaxInt32 {
		return nil, &EnclaveError{Step: StepResponse, Code: codeInvalid, Err: fmt.Errorf("the server announces a secret of %d bytes, want at most %d", size, math.MaxInt32)}
	}
	// Grown as it arrives: a length alone costs nothing.
	var secret bytes.Buffer
	for left := int(size); left > 0; {
		chunk := make([]byte, min(left, 64<<10))
		if err := s.read(conn, chunk); err != nil {
			return nil, &EnclaveError{Step: StepSecret, Code: code(err), Err: err}
		}
		secret.Write(chunk)
		left -= len(chunk)
	}
	return secret.Bytes(), nil
}

// read fills b. A session ticket that arrived meanwhile is an error for the release that takes it for one.
func (s *session) read(conn io.Reader, b []byte) error {
	_, err := io.ReadFull(conn, b)
	if s.release.fatalTickets && s.version == tls.VersionTLS13 && s.tickets.sprung {
		return errTicket
	}
	return err
}

func (s *session) config(cert tls.Certificate) *tls.Config {
	name := s.host
	if net.ParseIP(name) != nil {
		// Gramine sends an address as server name too; crypto/tls leaves out what looks like one, and drops the dot.
		name += "."
	}
	return &tls.Config{
		ServerName:       name,
		MinVersion:       tls.VersionTLS12,
		MaxVersion:       s.release.maxTLS,
		CurvePreferences: s.release.curves,
		// Sent whatever the server's CertificateRequest says.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
		ClientSessionCache:   &s.tickets,
		InsecureSkipVerify:   true, //nolint:gosec // verifyServer replaces it: mbedTLS matches other names than crypto/x509.
		VerifyConnection: func(cs tls.ConnectionState) error {
			if err := s.release.verifyServer(cs.PeerCertificates, s.cas, s.host, s.now()); err != nil {
				return &serverError{err}
			}
			return nil
		},
	}
}

// serverError marks an error as the enclave's refusal of the server.
type serverError struct{ err error }

func (e *serverError) Error() string { return "refuse the server's certificate: " + e.err.Error() }
func (e *serverError) Unwrap() error { return e.err }

// code translates an error of a connection into what mbedTLS or Gramine returns for it.
func code(err error) int {
	var refused *serverError
	var alert *net.OpError // crypto/tls reports the peer's alert as "remote error"
	switch {
	case errors.Is(err, errTicket):
		return codeTicket
	case errors.As(err, &refused):
		return codeCertificate
	case errors.As(err, &alert) && alert.Op == "remote error":
		return codeAlert
	default:
		return codeReset
	}
}

func parseCAs(text []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read CA certificates: %w", err)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("read CA certificates: no PEM certificate found")
	}
	return all, nil
}
