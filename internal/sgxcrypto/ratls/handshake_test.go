package ratls_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/ratls"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

var now = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// world is a simulated platform with a verifier that trusts it.
type world struct {
	platform *sgxsim.Platform
	verifier *ratls.Verifier
	asked    int // how often collateral was fetched
	config   *tls.Config
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	p, err := sgxsim.New(sgxsim.Options{At: now})
	if err != nil {
		tb.Fatal(err)
	}
	w := &world{platform: p}
	w.verifier = w.verifierWith(tb, w)
	w.config = w.verifier.ServerConfig(serverCertificate(tb))
	return w
}

// verifierWith makes a verifier that trusts the platform and asks a source.
func (w *world) verifierWith(tb testing.TB, source ratls.CollateralSource) *ratls.Verifier {
	tb.Helper()
	block, _ := pem.Decode(w.platform.RootPEM())
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		tb.Fatal(err)
	}
	v, err := ratls.NewVerifier(ratls.VerifierOptions{Collateral: source, Roots: []*x509.Certificate{root}, Now: func() time.Time { return now }})
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// fixedSource always has the same collateral.
type fixedSource struct{ collateral *dcap.Collateral }

func (s fixedSource) Collateral(context.Context, *dcap.Platform) (*dcap.Collateral, error) {
	return s.collateral, nil
}

func (w *world) Collateral(context.Context, *dcap.Platform) (*dcap.Collateral, error) {
	w.asked++
	c, err := w.platform.Collateral(now)
	return (*dcap.Collateral)(c), err
}

var identity = sgxsim.Identity{MRENCLAVE: [32]byte{0xab}, MRSIGNER: [32]byte{0xcd}}

func (w *world) certificate(tb testing.TB, release string) tls.Certificate {
	tb.Helper()
	opts, err := ratls.GramineOptions(release)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := ratls.NewCertificate(tb.Context(), w.platform.Quoter(identity), opts)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

func serverCertificate(tb testing.TB) tls.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return plainCertificate(tb, key)
}

func plainCertificate(tb testing.TB, key crypto.Signer) tls.Certificate {
	tb.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, NotAfter: time.Unix(1<<33, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// meet lets a client with the given configuration meet the verifier over a real socket.
func (w *world) meet(tb testing.TB, client *tls.Config) (peer *ratls.Peer, serverErr, clientErr error) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(tb.Context(), 20*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		var raw net.Conn
		if raw, clientErr = net.Dial("tcp", l.Addr().String()); clientErr != nil {
			return
		}
		defer raw.Close()
		conn := tls.Client(raw, client)
		if clientErr = conn.HandshakeContext(ctx); clientErr == nil {
			// Under TLS 1.3 the server's refusal arrives only now.
			_, clientErr = conn.Read(make([]byte, 1))
		}
	}()
	raw, err := l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	conn := tls.Server(raw, w.config)
	peer, serverErr = w.verifier.Handshake(ctx, conn)
	conn.Close()
	<-done
	return peer, serverErr, clientErr
}

func clientConfig(cert tls.Certificate, maxVersion uint16) *tls.Config {
	return &tls.Config{
		ServerName: "attestation.service.com", InsecureSkipVerify: true, MaxVersion: maxVersion,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
	}
}

func TestHandshake(t *testing.T) {
	for _, tt := range []struct {
		release string
		version uint16
		form    ratls.Form
	}{
		{"1.0", tls.VersionTLS12, ratls.Legacy},
		{"1.5", tls.VersionTLS12, ratls.Legacy},
		{"1.8", tls.VersionTLS13, ratls.DICE},
		{"1.9", tls.VersionTLS13, ratls.DICE},
	} {
		t.Run(tt.release, func(t *testing.T) {
			w := newWorld(t)
			peer, err, clientErr := w.meet(t, clientConfig(w.certificate(t, tt.release), tt.version))
			if err != nil {
				t.Fatalf("server: %v; client: %v", err, clientErr)
			}
			if peer.ServerName != "attestation.service.com" || peer.TLSVersion != tt.version || peer.Evidence.Form != tt.form {
				t.Errorf("server name %q, TLS %#x, form %v", peer.ServerName, peer.TLSVersion, peer.Evidence.Form)
			}
			if peer.Verdict.Report.MRENCLAVE != identity.MRENCLAVE || peer.Verdict.Status != dcap.StatusSWHardeningNeeded {
				t.Errorf("MRENCLAVE %x, status %v", peer.Verdict.Report.MRENCLAVE, peer.Verdict.Status)
			}
			if !errors.Is(clientErr, io.EOF) {
				t.Errorf("client: %v, want EOF after the server has closed", clientErr)
			}
		})
	}
}

func TestHandshakeRefuses(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	forged := func(w *world) tls.Certificate {
		q := w.platform.Quoter(identity)
		q.Change = func(q *quote.Quote) error { q.Body.MRENCLAVE[0] ^= 1; return nil }
		cert, err := ratls.NewCertificate(t.Context(), q, ratls.CertificateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	for _, tt := range []struct {
		name   string
		cert   func(w *world) tls.Certificate
		server string // beginning of the server's error
		client string // part of the client's error
		known  bool   // the refusal knows whom it concerns
	}{
		{
			name: "no certificate", cert: func(*world) tls.Certificate { return tls.Certificate{} },
			server: "shake hands: tls: client didn't provide a certificate", client: "remote error: tls: ",
		},
		{
			name: "ordinary certificate", cert: func(*world) tls.Certificate { return plainCertificate(t, key) },
			server: "shake hands: read RA-TLS certificate: found no attestation evidence", client: "bad certificate",
		},
		{
			name: "evidence for another key", cert: func(w *world) tls.Certificate {
				mine, theirs := plainCertificate(t, key), w.certificate(t, "1.9")
				template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(1<<33, 0), ExtraExtensions: theirs.Leaf.Extensions[3:]}
				if mine.Certificate[0], err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key); err != nil {
					t.Fatal(err)
				}
				return mine
			},
			server: "shake hands: read RA-TLS certificate: DICE extension: claim pubkey-hash is ", client: "bad certificate",
		},
		{
			name: "certificate of another enclave, without its key", cert: func(w *world) tls.Certificate {
				stolen := w.certificate(t, "1.9")
				stolen.PrivateKey = key
				return stolen
			},
			server: "shake hands: tls: invalid signature by the client certificate", client: "",
		},
		{
			name: "two certificates", cert: func(w *world) tls.Certificate {
				cert := w.certificate(t, "1.9")
				cert.Certificate = append(cert.Certificate, cert.Certificate[0])
				return cert
			},
			server: "shake hands: read RA-TLS certificate: found 2 certificates, want one", client: "bad certificate",
		},
		{
			name: "forged quote", cert: forged, known: true,
			server: "verify RA-TLS evidence: check evidence: quote_signature: ", client: "EOF",
		},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(tt.name+" "+tls.VersionName(version), func(t *testing.T) {
				w := newWorld(t)
				peer, serverErr, clientErr := w.meet(t, clientConfig(tt.cert(w), version))
				if serverErr == nil || !strings.HasPrefix(serverErr.Error(), tt.server) {
					t.Errorf("server: %v, want prefix %q", serverErr, tt.server)
				}
				if clientErr == nil || !strings.Contains(clientErr.Error(), tt.client) {
					t.Errorf("client: %v, want %q", clientErr, tt.client)
				}
				if (peer != nil) != tt.known || peer != nil && (peer.Verdict != nil || peer.Evidence == nil) {
					t.Errorf("peer %+v, want known: %v", peer, tt.known)
				}
				if w.asked != 0 {
					t.Errorf("collateral was fetched %d times for a stranger", w.asked)
				}
			})
		}
	}
}

// TestHandshakeKeepsTheKindOfRefusal is for callers that count refusals by kind.
func TestHandshakeKeepsTheKindOfRefusal(t *testing.T) {
	w := newWorld(t)
	_, err, _ := w.meet(t, clientConfig(serverCertificate(t), 0))
	var e *ratls.Error
	if !errors.As(err, &e) || e.Kind != ratls.NoEvidence {
		t.Errorf("error %v, want kind %v", err, ratls.NoEvidence)
	}
}

// TestHandshakeRefusesResumption turns session tickets on, against ServerConfig's advice: the resumed session shows a certificate,
// but nothing has been proved anew.
func TestHandshakeRefusesResumption(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		w := newWorld(t)
		client := clientConfig(w.certificate(t, "1.9"), version)
		client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		if _, err, clientErr := w.meet(t, client); err != nil {
			t.Fatalf("first: %v, %v", err, clientErr)
		}
		w.config.SessionTicketsDisabled = false
		for range 2 { // the first one obtains a ticket, the second uses it
			_, err, _ := w.meet(t, client)
			if err != nil && strings.Contains(err.Error(), "the session was resumed") {
				w = nil
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if w != nil {
			t.Errorf("%s: a resumed session was accepted", tls.VersionName(version))
		}
	}
}

// TestServerConfigSendsNoTicket: Gramine 1.8 fails on one.
func TestServerConfigSendsNoTicket(t *testing.T) {
	w := newWorld(t)
	client := clientConfig(w.certificate(t, "1.8"), tls.VersionTLS13)
	cache := tls.NewLRUClientSessionCache(1)
	client.ClientSessionCache = cache
	if _, err, _ := w.meet(t, client); err != nil {
		t.Fatal(err)
	}
	if s, ok := cache.Get("attestation.service.com"); ok || s != nil {
		t.Error("the server sent a session ticket")
	}
}

func TestServerConfigNegotiates(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name   string
		change func(*tls.Config)
		ok     bool
	}{
		{"TLS 1.1", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, false},
		{"CBC", func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		}, false},
		{"P-521 alone", func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP521} }, false},
		{"P-521 and P-256", func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP521, tls.CurveP256} }, true},
		{"hybrid", func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519MLKEM768} }, true},
	} {
		client := clientConfig(w.certificate(t, "1.9"), 0)
		tt.change(client)
		if _, err, _ := w.meet(t, client); (err == nil) != tt.ok {
			t.Errorf("%s: error %v, want success: %v", tt.name, err, tt.ok)
		}
	}
}

// TestHandshakeIsBoundByItsContext has a client that connects and says nothing.
func TestHandshakeIsBoundByItsContext(t *testing.T) {
	w := newWorld(t)
	server, client := net.Pipe()
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := w.verifier.Handshake(ctx, tls.Server(server, w.config)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want %v", err, context.DeadlineExceeded)
	}
}
