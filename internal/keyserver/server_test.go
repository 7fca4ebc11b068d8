package keyserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/protocol"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/ratls"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

func TestEveryReleaseOfGramineGetsItsKey(t *testing.T) {
	w := newWorld(t)
	w.issue("127.0.0.1", "old.example.com")
	// Old clients want the key in hex; the server name tells which rule is theirs.
	s := w.start(w.base() + "rules:\n" +
		w.rule("old", "model-hex", "server_name: [old.example.com]") +
		w.rule("new", "model", "server_name: [127.0.0.1]"))
	for _, release := range sgxsim.Releases() {
		t.Run(release, func(t *testing.T) {
			e := w.enclave(s)
			e.Release = release
			g, rule := generationOf(t, release), "new"
			if g.hex {
				e.Servers, e.Dial = "old.example.com:4433", dialTo(s.addr)
				rule = "old"
			}
			w.log.reset()
			d, err := provision(t, e)
			if err != nil {
				t.Fatalf("%v\n%s", err, w.log.String())
			}
			line := w.log.waitFor(t, `level=INFO msg="secret sent"`, "rule="+rule)
			g.check(t, d, line)
			checkNoCanary(t, "the log", w.log.String())
			if strings.Contains(w.log.String(), "delivered") {
				t.Error("the log says delivered, which nobody here can know")
			}
			for _, word := range []string{"peer=127.0.0.1:", "key_fingerprint=fingerprint", "mr_enclave=e1", "tcb_status=SWHardeningNeeded", "fmspc=00606A000000", "simulated=true", "duration_ms="} {
				if !strings.Contains(line, word) {
					t.Errorf("the log line has no %s: %s", word, line)
				}
			}
		})
	}
}

// TestRefusals: whatever is wrong with an enclave, it gets nothing, and the log says what was found, what was wanted and
// what to do.
func TestRefusals(t *testing.T) {
	identity := func(f func(id *sgxsim.Identity)) func(*world, *sgxsim.Enclave) {
		return func(w *world, e *sgxsim.Enclave) {
			id := w.identity
			f(&id)
			e.Quoter = w.platform.Quoter(id)
		}
	}
	tampered := func(f func(q *quote.Quote)) func(*world, *sgxsim.Enclave) {
		return func(w *world, e *sgxsim.Enclave) {
			q := w.platform.Quoter(w.identity)
			q.Change = func(q *quote.Quote) error {
				f(q)
				return nil
			}
			e.Quoter = q
		}
	}
	service := func(item string, f func(a *sgxsim.Answer)) func(*world, *sgxsim.Enclave) {
		return func(w *world, _ *sgxsim.Enclave) {
			w.setFault(func(r *http.Request, a *sgxsim.Answer) {
				if strings.HasSuffix(r.URL.Path, "/"+item) {
					f(a)
				}
			})
		}
	}
	for _, tt := range []struct {
		name   string
		change func(w *world, e *sgxsim.Enclave)
		log    []string // in the line of the decision
	}{
		{"another MRENCLAVE", identity(func(id *sgxsim.Identity) { id.MRENCLAVE[5] = 1 }), []string{
			`rule \"the rule\": mr_enclave: got e100000000010000`, "wanted e1000000000000000", "read the wanted value from its SIGSTRUCT",
		}},
		{"debug", identity(func(id *sgxsim.Identity) { id.Debug = true }), []string{"debug=true", "debug: got a debug enclave, wanted a production enclave"}},
		{"another root", func(w *world, e *sgxsim.Enclave) {
			p, err := sgxsim.New(sgxsim.Options{})
			if err != nil {
				w.t.Fatal(err)
			}
			e.Quoter = p.Quoter(w.identity)
		}, []string{"verified=false", "pck_chain/untrusted_root"}},
		{"quote changed after signing", tampered(func(q *quote.Quote) { q.Body.ISVSVN++ }), []string{"verified=false", "quote_signature/signature"}},
		{"QE report changed", tampered(func(q *quote.Quote) { q.QEReport.ISVSVN++ }), []string{"verified=false", "qe_report/signature"}},
		{"PCK revoked", func(w *world, _ *sgxsim.Enclave) {
			w.platform.RevokedPCK = append(w.platform.RevokedPCK, w.platform.PCK.Certificate.Serial)
		}, []string{"verified=false", "pck_crl/revoked"}},
		{"PCK CA revoked", func(w *world, _ *sgxsim.Enclave) {
			w.platform.RevokedByRoot = append(w.platform.RevokedByRoot, w.platform.PlatformCA.Certificate.Serial)
		}, []string{"verified=false", "root_crl/revoked"}},
		{"platform out of date", func(w *world, _ *sgxsim.Enclave) { w.platform.Standard = w.platform.Early }, []string{
			"tcb_status=OutOfDate", "tcb_status: got OutOfDate (INTEL-SA-00615, INTEL-SA-01313), wanted SWHardeningNeeded", "tcb_advisories: got INTEL-SA-01313",
		}},
		{"platform revoked", func(w *world, _ *sgxsim.Enclave) { w.platform.Standard.Levels[0].Status = "Revoked" }, []string{
			"tcb_status: got Revoked", "do not use this platform",
		}},
		{"platform not known to the service", service("tcb", func(a *sgxsim.Answer) { a.Status = 404 }), []string{
			"verified=false", "collateral_missing: got fetch TCB info of FMSPC 00606A000000", "HTTP status 404", "wanted collateral for FMSPC 00606A000000, PCK platform CA",
			"nothing is known against the enclave: see to the collateral service",
		}},
		{"service down", service("rootcacrl", func(a *sgxsim.Answer) { a.Abort = true }), []string{"verified=false", "collateral_missing: got fetch CRL of the root CA", "EOF"}},
		{"service lies", service("tcb", func(a *sgxsim.Answer) { a.Body = bytes.Replace(a.Body, []byte("OutOfDate"), []byte("UpToDate "), 1) }), []string{"verified=false", "tcb_info/signature"}},
		{"collateral of last year", func(w *world, _ *sgxsim.Enclave) {
			w.pccs.Now = func() time.Time { return time.Now().Add(-20 * 24 * time.Hour) }
		}, []string{"collateral_age: got ", "wanted at most 168h0m0s", "fetch fresh collateral"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			e := &sgxsim.Enclave{Quoter: w.platform.Quoter(w.identity), CA: w.ca}
			tt.change(w, e)
			s := w.start(w.config())
			e.Servers = s.addr
			d, err := provision(t, e)
			var failure *sgxsim.EnclaveError
			if !errors.As(err, &failure) {
				t.Fatalf("the enclave got a secret of %d bytes, error %v", len(d.Secret), err)
			}
			line := w.log.waitFor(t, "level=WARN msg=refused")
			for _, word := range append(tt.log, "peer=127.0.0.1:", "mr_enclave=", "reasons=", `client="Gramine 1.8 or later"`) {
				if !strings.Contains(line, word) {
					t.Errorf("the log line has no %q:\n%s", word, line)
				}
			}
			if strings.Contains(w.log.String(), "secret sent") {
				t.Error("the log says that a secret was sent")
			}
			checkNoCanary(t, "the log", w.log.String())
		})
	}
}

// TestALyingServiceLocksNobodyOut: what does not verify is fetched again.
func TestALyingServiceLocksNobodyOut(t *testing.T) {
	w := newWorld(t)
	var lies atomic.Bool
	lies.Store(true)
	w.setFault(func(r *http.Request, a *sgxsim.Answer) {
		if lies.Load() && strings.HasSuffix(r.URL.Path, "/tcb") {
			a.Body = bytes.Replace(a.Body, []byte("OutOfDate"), []byte("UpToDate "), 1)
		}
	})
	var offset atomic.Int64
	opts := w.options()
	opts.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	srv, err := New(w.parse(w.config()), opts)
	if err != nil {
		t.Fatal(err)
	}
	s := w.serve(srv)
	if _, err := provision(t, w.enclave(s)); err == nil {
		t.Fatal("what a lying service serves is believed")
	}
	lies.Store(false)
	if _, err := provision(t, w.enclave(s)); err == nil {
		t.Fatal("the service is asked again within a minute")
	}
	offset.Store(int64(2 * time.Minute))
	if _, err := provision(t, w.enclave(s)); err != nil {
		t.Errorf("after the service came to its senses: %v", err)
	}
}

// TestStrangersCannotMakeItFetch: nothing is asked of the service for a quote that is not genuine as far as can be told
// without it.
func TestStrangersCannotMakeItFetch(t *testing.T) {
	w := newWorld(t)
	var requests atomic.Int32
	w.setFault(func(r *http.Request, _ *sgxsim.Answer) {
		// The others are fetched at the start, for every platform.
		if strings.HasSuffix(r.URL.Path, "/tcb") || strings.HasSuffix(r.URL.Path, "/pckcrl") {
			requests.Add(1)
		}
	})
	s := w.start(w.config())
	stranger, err := sgxsim.New(sgxsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	e := w.enclave(s)
	e.Quoter = stranger.Quoter(w.identity)
	if _, err := provision(t, e); err == nil {
		t.Fatal("a stranger got the key")
	}
	// Someone who has seen an enclave's certificate and lacks its key.
	genuine, err := ratls.NewCertificate(t.Context(), w.platform.Quoter(w.identity), ratls.CertificateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		thief := genuine
		key, err := ratls.NewCertificate(t.Context(), w.platform.Quoter(w.identity), ratls.CertificateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		thief.PrivateKey = key.PrivateKey
		if got, err := w.talk(s, version, protocol.Request, thief); err == nil && len(got) > 0 {
			t.Errorf("the thief received %d bytes", len(got))
		}
		w.log.waitFor(t, `msg="no secret sent"`, "the client does not hold the key of the certificate it showed")
	}
	if n := requests.Load(); n != 0 {
		t.Errorf("strangers caused %d requests", n)
	}
}

// talk connects with some certificates, sends something and returns what comes back.
func (w *world) talk(s *running, version uint16, send string, certs ...tls.Certificate) ([]byte, error) {
	w.t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.ca)
	d := tls.Dialer{Config: &tls.Config{
		RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12, MaxVersion: version,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if len(certs) == 0 {
				return &tls.Certificate{}, nil
			}
			return &certs[0], nil
		},
	}}
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, send); err != nil {
		return nil, err
	}
	return io.ReadAll(conn)
}

func (w *world) certificate(opts ratls.CertificateOptions) tls.Certificate {
	w.t.Helper()
	c, err := ratls.NewCertificate(w.t.Context(), w.platform.Quoter(w.identity), opts)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func TestCertificatesThatAreNoEvidence(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.config())
	plain := func() tls.Certificate {
		key := newKey(t)
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotAfter: time.Now().Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	two := w.certificate(ratls.CertificateOptions{})
	two.Certificate = append(two.Certificate, plain().Certificate[0])
	for _, tt := range []struct {
		name  string
		certs []tls.Certificate
		log   []string
	}{
		{"none", nil, []string{`msg="no secret sent"`, "client didn't provide a certificate"}},
		{"an ordinary one", []tls.Certificate{plain()}, []string{"msg=refused", "certificate/no_evidence", "not the certificate of an RA-TLS client"}},
		{"two", []tls.Certificate{two}, []string{"msg=refused", "certificate/no_certificate", "found 2 certificates, want one"}},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			got, err := w.talk(s, version, protocol.Request, tt.certs...)
			if err == nil {
				t.Errorf("%s: received %q and no error", tt.name, got)
			}
			w.log.waitFor(t, tt.log...)
		}
	}
	if strings.Contains(w.log.String(), "secret sent\"") && !strings.Contains(w.log.String(), "no secret sent") {
		t.Error("a secret was sent")
	}
}

func TestRequestsThatAreNone(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.config())
	cert := w.certificate(ratls.CertificateOptions{})
	for _, tt := range []struct{ name, send, log string }{
		{"HTTP", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "it is not Gramine's secret provisioning request of version 1"},
		{"version 2", strings.Replace(protocol.Request, "V1", "V2", 1), "it is not Gramine's secret provisioning request of version 1"},
	} {
		got, _ := w.talk(s, tls.VersionTLS13, tt.send, cert)
		if len(got) != 0 {
			t.Errorf("%s: received %d bytes", tt.name, len(got))
		}
		w.log.waitFor(t, `level=WARN msg="no secret sent"`, tt.log, "mr_enclave=e1")
	}
	// More than the request does no harm: the protocol has no more to say.
	got, err := w.talk(s, tls.VersionTLS13, protocol.Request+"and more", cert)
	if err != nil || !bytes.HasSuffix(got, canary[:]) || len(got) != 41+16 {
		t.Errorf("received %d bytes, error %v", len(got), err)
	}
}

func TestNoSessionTickets(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.config())
	cache := &ticketCounter{}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.ca)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		conn, err := (&tls.Dialer{Config: &tls.Config{
			RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12, MaxVersion: version, ClientSessionCache: cache,
			Certificates: []tls.Certificate{w.certificate(ratls.CertificateOptions{})},
		}}).DialContext(t.Context(), "tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, protocol.Request); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(conn); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
	if cache.puts != 0 {
		t.Errorf("the server sent %d session tickets", cache.puts)
	}
}

type ticketCounter struct{ puts int }

func (*ticketCounter) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (c *ticketCounter) Put(_ string, s *tls.ClientSessionState) {
	if s != nil {
		c.puts++
	}
}

// TestStalledClients: whoever stops talking at any point is dropped at the deadline and costs the others nothing.
func TestStalledClients(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.config() + "limits: { handshake_timeout: 400ms, request_timeout: 400ms }\n")
	cert := w.certificate(ratls.CertificateOptions{})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.ca)
	stalls := map[string]func(conn net.Conn) error{
		"says nothing":              func(net.Conn) error { return nil },
		"half a record":             func(c net.Conn) error { _, err := c.Write([]byte{22, 3, 1, 2}); return err },
		"does not finish handshake": func(c net.Conn) error { _, err := c.Write([]byte{22, 3, 1, 0, 5, 1, 0, 10, 0, 3}); return err },
		"no request": func(c net.Conn) error {
			return tls.Client(c, &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}).HandshakeContext(t.Context())
		},
		"half a request": func(c net.Conn) error {
			conn := tls.Client(c, &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}})
			_, err := conn.Write([]byte(protocol.Request[:10]))
			return err
		},
	}
	for name, stall := range stalls {
		t.Run(name, func(t *testing.T) {
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if err := stall(conn); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if _, err := provision(t, w.enclave(s)); err != nil {
				t.Errorf("beside a stalled client: %v", err)
			}
			_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := io.Copy(io.Discard, conn); err != nil {
				t.Errorf("the connection is not closed: %v", err)
			}
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("dropped after %v", took)
			}
		})
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if open, _ := s.gate.Count(); open == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("connections stay counted")
		}
	}
	w.log.waitFor(t, `level=DEBUG msg="no secret sent"`, "the client did not go on in time")
	w.log.waitFor(t, `level=WARN msg="no secret sent"`, "the client did not go on in time", "mr_enclave=e1")
}

// TestSlowCollateralIsNotTheClientsFault: the handshake deadline does not run while the server waits for others.
func TestSlowCollateralIsNotTheClientsFault(t *testing.T) {
	w := newWorld(t)
	w.setFault(func(_ *http.Request, a *sgxsim.Answer) { a.Delay = 600 * time.Millisecond })
	s := w.start(w.config() + "limits: { handshake_timeout: 300ms, request_timeout: 300ms }\n")
	if _, err := provision(t, w.enclave(s)); err != nil {
		t.Errorf("%v\n%s", err, w.log.String())
	}
}

func TestCollateralTimeout(t *testing.T) {
	w := newWorld(t)
	w.setFault(func(_ *http.Request, a *sgxsim.Answer) { a.Delay = time.Minute })
	s := w.start(w.config() + "limits: { collateral_timeout: 200ms }\n")
	if _, err := provision(t, w.enclave(s)); err == nil {
		t.Fatal("released without collateral")
	}
	w.log.waitFor(t, "msg=refused", "collateral_missing", "context deadline exceeded (limits.collateral_timeout is 200ms)", "nothing is known against the enclave")
}

func TestFloodMakesRoomForNewcomers(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.config() + "limits: { unfinished_handshakes: 8, unfinished_per_address: 8 }\n")
	for range 40 {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	if _, err := provision(t, w.enclave(s)); err != nil {
		t.Errorf("%v\n%s", err, w.log.String())
	}
	w.log.waitFor(t, "level=WARN", "connection closed to make room for newer ones")
	if open, evicted := s.gate.Count(); open > 8 || evicted < 30 {
		t.Errorf("%d open, %d evicted", open, evicted)
	}
}

func TestDrain(t *testing.T) {
	w := newWorld(t)
	slow := make(chan struct{})
	var once sync.Once
	arrived := make(chan struct{})
	w.setFault(func(r *http.Request, _ *sgxsim.Answer) {
		if strings.HasSuffix(r.URL.Path, "/tcb") { // the others are asked for without any enclave
			once.Do(func() { close(arrived) })
			<-slow
		}
	})
	release := sync.OnceFunc(func() { close(slow) })
	defer release()
	s := w.start(w.config())
	done := make(chan error, 1)
	go func() {
		_, err := provision(t, w.enclave(s))
		done <- err
	}()
	<-arrived
	stopped := make(chan struct{})
	go func() {
		s.stop()
		close(stopped)
	}()
	w.log.waitFor(t, "stopped listening, letting connections finish", "connections=1")
	if err := s.Ready(); err == nil || err.Error() != "the server is stopping" {
		t.Errorf("readiness while draining: %v", err)
	}
	// Gramine's client tries its next server only when the connection is refused.
	if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.addr); err == nil {
		_ = conn.Close()
		t.Error("it still listens while it drains")
	}
	release()
	if err := <-done; err != nil {
		t.Errorf("the running connection was not served: %v", err)
	}
	<-stopped
}

func TestDrainHasAnEnd(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.config() + "limits: { drain_timeout: 100ms }\n")
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if open, _ := s.gate.Count(); open == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the connection does not arrive")
		}
	}
	start := time.Now()
	s.stop()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v to stop", took)
	}
	w.log.waitFor(t, "level=WARN", "closing connections that did not finish in time", "connections=1")
}

func TestManyEnclavesAtOnce(t *testing.T) {
	w := newWorld(t)
	var requests atomic.Int32
	w.setFault(func(r *http.Request, _ *sgxsim.Answer) {
		if r.URL.Query().Get("update") == "" { // not of the early warning, which is in no hurry
			requests.Add(1)
		}
	})
	s := w.start(w.config())
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			e := w.enclave(s)
			wanted := i%3 != 0
			if !wanted {
				id := w.identity
				id.MRENCLAVE[1] = byte(i) | 1
				e.Quoter = w.platform.Quoter(id)
			}
			d, err := provision(t, e)
			if (err == nil) != wanted {
				t.Errorf("enclave %d: %v", i, err)
			}
			if err == nil && !bytes.Equal(d.Secret, canary[:]) {
				t.Errorf("enclave %d received something else", i)
			}
		})
	}
	wg.Wait()
	if n := requests.Load(); n != 4 {
		t.Errorf("60 enclaves of one platform caused %d requests, want 4", n)
	}
	for deadline := time.Now().Add(5 * time.Second); strings.Count(w.log.String(), "msg=\"secret sent\"") != 40 || strings.Count(w.log.String(), "msg=refused") != 20; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the log has %d secrets sent and %d refusals", strings.Count(w.log.String(), "msg=\"secret sent\""), strings.Count(w.log.String(), "msg=refused"))
		}
	}
}

func TestBundleInsteadOfService(t *testing.T) {
	w := newWorld(t)
	w.writeBundle("collateral.json")
	s := w.start(strings.Replace(w.config(), fmt.Sprintf("url: %q", w.url), "bundle: collateral.json", 1))
	w.setFault(func(*http.Request, *sgxsim.Answer) { t.Error("the service was asked") })
	if _, err := provision(t, w.enclave(s)); err != nil {
		t.Error(err)
	}
}

func TestClientsThatRefuseTheServer(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.config())
	old := w.ca
	w.issue("localhost") // another CA
	for _, release := range []string{"1.5", "1.9"} {
		e := w.enclave(s)
		e.Release = release
		if _, err := provision(t, e); err == nil {
			t.Fatal("the enclave believes a server of another CA")
		}
		w.log.waitFor(t, `level=WARN msg="no secret sent"`, "the client refused this server's certificate, or aborted: compare its CA file and host name with the certificate's")
	}
	w.ca = old
	if _, err := provision(t, w.enclave(s)); err != nil {
		t.Error(err)
	}
}

// TestClientsThatSendTooMuch: memory for a client that stalls is bounded by what any enclave ever sends.
func TestClientsThatSendTooMuch(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.config())
	conf := w.clientConfig()
	// Padding in an extension: the evidence in it is good.
	key := newKey(t)
	huge := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotAfter: time.Now().Add(time.Hour),
		ExtraExtensions: []pkix.Extension{{Id: []int{1, 2, 3, 4}, Value: make([]byte, 2*maxFromClient)}},
	}
	der, err := x509.CreateCertificate(rand.Reader, huge, huge, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	conf.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	if err := fetch(t.Context(), s.addr, conf); err == nil {
		t.Error("it was given a key")
	}
	w.log.waitFor(t, "the client sent more than 64 KiB, which no enclave does")
	// The largest that an enclave sends: two quotes of 8,192 bytes, with CBOR as an old libcbor pads it.
	if err := fetch(t.Context(), s.addr, w.clientConfig()); err != nil {
		t.Errorf("an enclave: %v", err)
	}
}
