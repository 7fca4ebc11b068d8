package sgxsim_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/ratls"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

const request = "SECRET_PROVISION_RA_TLS_REQUEST_V1\x00"

// response is a right answer with a secret.
func response(secret []byte) []byte {
	b := []byte("SECRET_PROVISION_RA_TLS_RESPONSE_V1:\x00")
	return append(binary.BigEndian.AppendUint32(b, uint32(len(secret))), secret...)
}

// rawKey and hexKey are the same key in the forms for Gramine since 1.3 and before.
var (
	rawKey = []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	hexKey = []byte("000102030405060708090a0b0c0d0e0f\x00")
)

// keyServer is a server as small as can be: it judges nobody, and answers what a test wants.
type keyServer struct {
	net.Listener
	config *tls.Config
	ca     []byte
	// serve answers after the handshake; nil: reads the request and sends the raw key.
	serve func(conn *tls.Conn)
	// seen is what the last handshake looked like.
	seen chan tls.ConnectionState
}

// certified says what certificate a server has.
type certified struct {
	dns     []string
	ips     []net.IP
	cn      string
	key     crypto.Signer
	expired bool
	// trust: what the enclave's CA file holds. "" is the CA, "self" makes the certificate self-signed and puts itself
	// there, "leaf" puts a leaf there that the CA has signed.
	trust string
}

func ecKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(tb)
}

func (c certified) make(tb testing.TB) (cert tls.Certificate, caPEM []byte) {
	tb.Helper()
	caKey := ecKey(tb)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	}
	if c.key == nil {
		c.key = ecKey(tb)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: c.cn}, DNSNames: c.dns, IPAddresses: c.ips,
		KeyUsage: x509.KeyUsageDigitalSignature, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	}
	if c.expired {
		leaf.NotAfter = now.Add(-time.Second)
	}
	parent, parentKey := ca, crypto.Signer(caKey)
	if c.trust == "self" {
		parent, parentKey = leaf, c.key
	}
	der := must(x509.CreateCertificate(rand.Reader, leaf, parent, c.key.Public(), parentKey))(tb)
	anchor := must(x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey))(tb)
	if c.trust != "" {
		anchor = der
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: c.key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: anchor})
}

func startServer(tb testing.TB, c certified, serve func(*tls.Conn)) *keyServer {
	tb.Helper()
	if c.dns == nil && c.ips == nil && c.cn == "" {
		c.dns = []string{"localhost"}
	}
	cert, ca := c.make(tb)
	s := &keyServer{
		Listener: must(net.Listen("tcp", "127.0.0.1:0"))(tb), ca: ca, serve: serve, seen: make(chan tls.ConnectionState, 8),
		config: &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			raw, err := s.Accept()
			if err != nil {
				return
			}
			s.handle(raw)
		}
	}()
	tb.Cleanup(func() {
		s.Close()
		<-done
	})
	return s
}

func (s *keyServer) handle(raw net.Conn) {
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(20 * time.Second))
	conn := tls.Server(raw, s.config)
	if conn.Handshake() != nil {
		return
	}
	s.seen <- conn.ConnectionState()
	if s.serve != nil {
		s.serve(conn)
		return
	}
	if readRequest(conn) == nil {
		conn.Write(response(rawKey))
		conn.Close()
	}
}

func readRequest(conn io.Reader) error {
	got := make([]byte, len(request))
	if _, err := io.ReadFull(conn, got); err != nil {
		return err
	}
	if string(got) != request {
		return fmt.Errorf("request %q", got)
	}
	return nil
}

// enclave connects to the server under the name localhost.
func (s *keyServer) enclave(tb testing.TB, release string) *sgxsim.Enclave {
	tb.Helper()
	_, port, _ := net.SplitHostPort(s.Addr().String())
	return &sgxsim.Enclave{
		Quoter: newPlatform(tb, sgxsim.Options{}).Quoter(identity), Release: release,
		Servers: "localhost:" + port, CA: s.ca, Now: clock,
	}
}

func provision(tb testing.TB, e *sgxsim.Enclave) (*sgxsim.Delivery, error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 20*time.Second)
	defer cancel()
	return e.Provision(ctx)
}

// TestReleases plays every release against a server, and looks at what the server sees.
func TestReleases(t *testing.T) {
	for _, release := range sgxsim.Releases() {
		t.Run(release, func(t *testing.T) {
			secret, version, form, key := rawKey, uint16(tls.VersionTLS12), ratls.Legacy, ratls.ECDSAP384
			switch release {
			case "1.0", "1.1", "1.2":
				secret, key = hexKey, ratls.RSA3072
			case "1.3", "1.3.1":
				key = ratls.RSA3072
			case "1.8", "1.9":
				version, form = tls.VersionTLS13, ratls.DICE
			}
			s := startServer(t, certified{}, func(conn *tls.Conn) {
				if readRequest(conn) == nil {
					conn.Write(response(secret))
				}
			})
			d, err := provision(t, s.enclave(t, release))
			if err != nil {
				t.Fatal(err)
			}
			if got := must(d.Key())(t); !bytes.Equal(got[:], rawKey) {
				t.Errorf("key %x, want %x", got, rawKey)
			}
			if !bytes.Equal(d.Secret, secret) || !strings.HasPrefix(d.Server, "localhost:") {
				t.Errorf("server %q or secret wrong", d.Server)
			}
			cs := <-s.seen
			if cs.Version != version || d.TLSVersion != version || cs.ServerName != "localhost" || len(cs.PeerCertificates) != 1 {
				t.Errorf("TLS %#x, server name %q, %d certificates", cs.Version, cs.ServerName, len(cs.PeerCertificates))
			}
			evidence := must(ratls.ParseCertificate(cs.PeerCertificates[0]))(t)
			if evidence.Form != form || evidence.KeyType != key {
				t.Errorf("evidence %v, %v; want %v, %v", evidence.Form, evidence.KeyType, form, key)
			}
		})
	}
}

// TestOtherCertificates: a release may be built with a libcbor that leaves rubbish in the evidence.
func TestOtherCertificates(t *testing.T) {
	s := startServer(t, certified{}, nil)
	e := s.enclave(t, "1.9")
	e.Certificate = func(o *ratls.CertificateOptions) { o.PaddedCBOR, o.Forms = true, ratls.DICE }
	if _, err := provision(t, e); err != nil {
		t.Fatal(err)
	}
	cert := (<-s.seen).PeerCertificates[0]
	if _, err := ratls.ParseCertificate(cert); err != nil {
		t.Error(err)
	}
	if n := len(cert.Extensions); n != 4 || len(cert.Extensions[3].Value) != ratls.MaxEvidence {
		t.Errorf("%d extensions, the last of %d bytes", n, len(cert.Extensions[n-1].Value))
	}
}

// TestSecretForms is the matrix of what a release takes for its key.
func TestSecretForms(t *testing.T) {
	for _, tt := range []struct {
		release string
		secret  []byte
		text    string
	}{
		{"1.2", hexKey, ""},
		{"1.2", bytes.ToUpper(hexKey), ""},
		{"1.2", rawKey, "provision secret: key: received a secret of 16 bytes, Gramine 1.2 wants 32 hex digits and a NUL"},
		{"1.2", hexKey[:32], "provision secret: key: received a secret of 32 bytes, Gramine 1.2 wants 32 hex digits and a NUL"},
		{"1.2", append(bytes.Repeat([]byte("z"), 32), 0), "provision secret: key: received a secret that is not hex, Gramine 1.2 wants 32 hex digits and a NUL"},
		{"1.2", append(hexKey[:32:32], 'f'), "provision secret: key: received a secret of 33 bytes, Gramine 1.2 wants 32 hex digits and a NUL"},
		{"1.3", rawKey, ""},
		{"1.9", rawKey, ""},
		{"1.9", hexKey, "provision secret: key: received a secret of 33 bytes, Gramine 1.9 wants 16 raw bytes"},
		{"1.9", nil, "provision secret: key: received a secret of 0 bytes, Gramine 1.9 wants 16 raw bytes"},
	} {
		s := startServer(t, certified{}, func(conn *tls.Conn) {
			if readRequest(conn) == nil {
				conn.Write(response(tt.secret))
			}
		})
		d, err := provision(t, s.enclave(t, tt.release))
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Key()
		if text := fmt.Sprint(err); tt.text == "" && err != nil || tt.text != "" && text != tt.text {
			t.Errorf("%s, %d bytes: error %v, want %q", tt.release, len(tt.secret), err, tt.text)
		}
	}
}

// TestServerBehaviour is how Gramine's clients were seen to react.
func TestServerBehaviour(t *testing.T) {
	after := func(write func(*tls.Conn)) func(*tls.Conn) {
		return func(conn *tls.Conn) {
			if readRequest(conn) == nil {
				write(conn)
			}
		}
	}
	good := response(rawKey)
	tooLong := append([]byte(nil), good[:37]...)
	for _, tt := range []struct {
		name  string
		serve func(*tls.Conn)
		step  sgxsim.Step // empty: success
		code  int
	}{
		{"in one-byte records", after(func(c *tls.Conn) {
			for i := range good {
				c.Write(good[i : i+1])
			}
		}), "", 0},
		{"without close_notify", after(func(c *tls.Conn) {
			c.Write(good)
			c.NetConn().Close()
		}), "", 0},
		{"more data after the secret", after(func(c *tls.Conn) { c.Write(append(good, "more"...)) }), "", 0},
		{"wrong response", after(func(c *tls.Conn) { c.Write(bytes.ToLower(good)) }), sgxsim.StepResponse, -22},
		{"length with the highest bit", after(func(c *tls.Conn) { c.Write(append(tooLong, 0x80, 0, 0, 0)) }), sgxsim.StepResponse, -22},
		{"a length of 2 GiB and no more", after(func(c *tls.Conn) { c.Write(append(tooLong, 0x7f, 0xff, 0xff, 0xff, 1, 2)) }), sgxsim.StepSecret, -104},
		{"one byte short", after(func(c *tls.Conn) { c.Write(good[:len(good)-1]); c.Close() }), sgxsim.StepSecret, -104},
		{"close_notify in place of an answer", after(func(c *tls.Conn) { c.Close() }), sgxsim.StepResponse, -104},
		{"close_notify right after the handshake", func(c *tls.Conn) { c.Close() }, sgxsim.StepResponse, -104},
		{"TCP reset", func(c *tls.Conn) { c.NetConn().(*net.TCPConn).SetLinger(0); c.NetConn().Close() }, sgxsim.StepResponse, -104},
	} {
		for _, release := range []string{"1.5", "1.9"} {
			t.Run(tt.name+" "+release, func(t *testing.T) {
				s := startServer(t, certified{}, tt.serve)
				d, err := provision(t, s.enclave(t, release))
				if tt.step == "" {
					if err != nil || !bytes.Equal(d.Secret, rawKey) {
						t.Errorf("error %v", err)
					}
					return
				}
				// After a reset the request itself may fail.
				checkEnclaveError(t, err, tt.step, tt.code, sgxsim.StepRequest)
			})
		}
	}
}

func checkEnclaveError(t *testing.T, err error, step sgxsim.Step, code int, or ...sgxsim.Step) {
	t.Helper()
	var e *sgxsim.EnclaveError
	if !errors.As(err, &e) {
		t.Fatalf("error %v, want an *EnclaveError", err)
	}
	ok := e.Step == step
	for _, other := range or {
		ok = ok || e.Step == other
	}
	if !ok || e.Code != code {
		t.Errorf("error %v at step %s with code %d, want step %s, code %d", err, e.Step, e.Code, step, code)
	}
}

// TestRefusedByServer: with TLS 1.2 the handshake fails, with TLS 1.3 the first read.
func TestRefusedByServer(t *testing.T) {
	for release, step := range map[string]sgxsim.Step{"1.5": sgxsim.StepHandshake, "1.9": sgxsim.StepResponse} {
		s := startServer(t, certified{}, nil)
		s.config.VerifyConnection = func(tls.ConnectionState) error { return errors.New("not this one") }
		_, err := provision(t, s.enclave(t, release))
		checkEnclaveError(t, err, step, -30592, sgxsim.StepRequest)
	}
}

// TestSessionTicket: mbedTLS 3.6.0 takes one for a read error, after the server has sent the secret.
func TestSessionTicket(t *testing.T) {
	for release, fails := range map[string]bool{"1.5": false, "1.8": true, "1.9": false} {
		s := startServer(t, certified{}, nil)
		s.config.SessionTicketsDisabled = false
		_, err := provision(t, s.enclave(t, release))
		switch {
		case fails:
			checkEnclaveError(t, err, sgxsim.StepResponse, -31488)
		case err != nil:
			t.Errorf("%s: %v", release, err)
		}
	}
}

// TestServerCertificate is the table of what mbedTLS accepts, as measured with Gramine's libraries.
func TestServerCertificate(t *testing.T) {
	loopback := []net.IP{net.IPv4(127, 0, 0, 1)}
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name     string
		cert     certified
		host     string // default localhost
		old, new bool   // 1.0 to 1.7; 1.8 and 1.9
	}{
		{"dNSName", certified{dns: []string{"localhost"}}, "", true, true},
		{"dNSName in capitals", certified{dns: []string{"LOCALHOST"}}, "", true, true},
		{"second dNSName", certified{dns: []string{"other", "localhost"}}, "", true, true},
		{"dNSName differs, CN equal", certified{dns: []string{"other"}, cn: "localhost"}, "", false, false},
		{"no SAN, CN equal", certified{cn: "localhost"}, "", true, true},
		{"no SAN, CN differs", certified{cn: "other"}, "", false, false},
		{"address, iPAddress", certified{ips: loopback}, "127.0.0.1", false, true},
		{"address, iPAddress, CN equal", certified{ips: loopback, cn: "127.0.0.1"}, "127.0.0.1", false, true},
		{"address, dNSName", certified{dns: []string{"127.0.0.1"}}, "127.0.0.1", true, true},
		{"address, both", certified{dns: []string{"127.0.0.1"}, ips: loopback}, "127.0.0.1", true, true},
		{"address, no SAN, CN equal", certified{cn: "127.0.0.1"}, "127.0.0.1", true, true},
		{"name, iPAddress, CN equal", certified{ips: loopback, cn: "localhost"}, "", false, false},
		{"CA file is the self-signed certificate", certified{dns: []string{"localhost"}, trust: "self"}, "", true, true},
		{"CA file is the leaf", certified{dns: []string{"localhost"}, trust: "leaf"}, "", false, false},
		{"expired", certified{dns: []string{"localhost"}, expired: true}, "", false, false},
		{"P-384", certified{dns: []string{"localhost"}, key: must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))(t)}, "", true, true},
		{"RSA-2048", certified{dns: []string{"localhost"}, key: rsaKey}, "", true, true},
		{"Ed25519", certified{dns: []string{"localhost"}, key: edKey}, "", false, false},
	} {
		for release, want := range map[string]bool{"1.5": tt.old, "1.8": tt.new, "1.9": tt.new} {
			t.Run(tt.name+" "+release, func(t *testing.T) {
				s := startServer(t, tt.cert, nil)
				e := s.enclave(t, release)
				host := "localhost"
				if tt.host != "" {
					host = tt.host
					e.Servers = strings.Replace(e.Servers, "localhost", host, 1)
				}
				_, err := provision(t, e)
				if !want {
					checkEnclaveError(t, err, sgxsim.StepHandshake, -9984)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				// Gramine sends an address as server name, too.
				if got := (<-s.seen).ServerName; got != host {
					t.Errorf("server name %q, want %q", got, host)
				}
			})
		}
	}
}

// TestServerList is about SECRET_PROVISION_SERVERS.
func TestServerList(t *testing.T) {
	good := startServer(t, certified{}, nil)
	_, port, _ := net.SplitHostPort(good.Addr().String())
	closed := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	_, dead, _ := net.SplitHostPort(closed.Addr().String())
	closed.Close()
	hangsUp := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer hangsUp.Close()
	go func() {
		for {
			conn, err := hangsUp.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	_, rude, _ := net.SplitHostPort(hangsUp.Addr().String())
	for _, tt := range []struct {
		list string
		step sgxsim.Step // empty: success
		code int
	}{
		{"localhost:" + port, "", 0},
		{"localhost:" + dead + ",localhost:" + port, "", 0},
		{"localhost:" + dead + ";localhost:" + port + " localhost:" + rude, "", 0},
		{"  ,; localhost:" + port + " ;", "", 0},
		{"localhost,localhost:" + port, "", 0},          // no port: skipped
		{"localhost:" + port + ":ignored", "", 0},       // what follows the port is
		{"localhost:" + dead, sgxsim.StepConnect, -111}, //
		{"localhost", sgxsim.StepConnect, -111},
		{" ", sgxsim.StepConnect, -111},
		// A server that accepts and fails is final.
		{"localhost:" + rude + ",localhost:" + port, sgxsim.StepHandshake, -104},
	} {
		e := good.enclave(t, "1.9")
		e.Servers = tt.list
		_, err := provision(t, e)
		if tt.step == "" {
			if err != nil {
				t.Errorf("%q: %v", tt.list, err)
			}
			continue
		}
		checkEnclaveError(t, err, tt.step, tt.code)
	}
}

// TestDefaultServer is Gramine's: localhost:4433.
func TestDefaultServer(t *testing.T) {
	e := &sgxsim.Enclave{CA: startServer(t, certified{}, nil).ca}
	e.Dial = func(_ context.Context, network, addr string) (net.Conn, error) {
		return nil, errors.New(network + " " + addr)
	}
	_, err := provision(t, e)
	const want = "provision secret: connect: tcp localhost:4433 (Gramine's code -111)"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
}

// TestStalledServer waits as Gramine does, but not for ever.
func TestStalledServer(t *testing.T) {
	release := make(chan struct{})
	s := startServer(t, certified{}, func(*tls.Conn) { <-release })
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := s.enclave(t, "1.9").Provision(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want %v", err, context.DeadlineExceeded)
	}
	checkEnclaveError(t, err, sgxsim.StepResponse, 0)
}

func TestEnclaveConfiguration(t *testing.T) {
	ca := startServer(t, certified{}, nil).ca
	for _, tt := range []struct {
		enclave sgxsim.Enclave
		text    string
	}{
		{sgxsim.Enclave{Release: "2.0", CA: ca}, `provision secret: configure: find Gramine release: found "2.0", want one of 1.0, `},
		{sgxsim.Enclave{}, "provision secret: configure: read CA certificates: no PEM certificate found"},
		{sgxsim.Enclave{CA: []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")}, "provision secret: configure: read CA certificates: x509: "},
	} {
		_, err := provision(t, &tt.enclave)
		if err == nil || !strings.HasPrefix(err.Error(), tt.text) {
			t.Errorf("error %v, want prefix %q", err, tt.text)
		}
	}
}

// TestQuoteFails: the enclave has connected by then.
func TestQuoteFails(t *testing.T) {
	s := startServer(t, certified{}, nil)
	e := s.enclave(t, "1.9")
	e.Quoter = brokenQuoter{}
	_, err := provision(t, e)
	checkEnclaveError(t, err, sgxsim.StepQuote, 0)
}

type brokenQuoter struct{}

func (brokenQuoter) Quote(context.Context, [64]byte) ([]byte, error) {
	return nil, errors.New("no device")
}

// TestSecretHides prints a secret in every way there is.
func TestSecretHides(t *testing.T) {
	secret := sgxsim.Secret("canary")
	d := &sgxsim.Delivery{Secret: secret}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", secret, "delivery", d)
	encoded := must(json.Marshal(d))(t)
	all := log.String() + string(encoded)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%U", "%t"} {
		all += fmt.Sprintf(verb+verb+verb, secret, d, []any{secret})
	}
	for _, canary := range []string{"canary", "63616e617279", "63616E617279", "Y2FuYXJ5", "99 97 110", "143 141 156", "U+0063"} {
		if strings.Contains(all, canary) {
			t.Errorf("the secret shows as %s", canary)
		}
	}
	if !strings.Contains(all, "REDACTED") {
		t.Error("nothing shows that a secret is hidden")
	}
}
