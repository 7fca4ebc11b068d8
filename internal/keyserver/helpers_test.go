package keyserver

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/configsign"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/pccs"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// programs are what the test binary plays when its first argument names one: a command that prints a key, a server in a
// process of its own.
var programs = map[string]func(args []string) int{}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if play := programs[os.Args[1]]; play != nil {
			os.Exit(play(os.Args[2:])) //nolint:forbidigo // It is main here.
		}
	}
	goleak.VerifyTestMain(m)
}

// canary is the wrap key of all tests: what must not appear anywhere but at the enclave.
var canary = [wrapKeySize]byte{'c', 'a', 'n', 'a', 'r', 'y', '-', 'w', 'r', 'a', 'p', '-', 'k', 'e', 'y', '!'}

// world is everything a server needs around it: an SGX platform with its collateral service, a directory with
// certificate, key and wrap key, and a log.
type world struct {
	t        testing.TB
	dir      string
	platform *sgxsim.Platform
	pccs     *sgxsim.PCCS
	url      string // of the collateral service
	ca       []byte // PEM, what enclaves trust
	log      *logBuffer
	identity sgxsim.Identity
	fault    atomic.Pointer[func(r *http.Request, a *sgxsim.Answer)]
	interval time.Duration // at which a process looks at its files; 0: the default
	// configKeys are those by which configurations must be signed; nil: by none.
	configKeys *configsign.Verifier
	stdout     *logBuffer // receives audit entries; nil: there is none
	subject    string     // common name of the server's certificate
}

func newWorld(t testing.TB) *world {
	t.Helper()
	p, err := sgxsim.New(sgxsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: t.TempDir(), platform: p, log: &logBuffer{}}
	w.identity.MRENCLAVE[0], w.identity.MRSIGNER[0] = 0xe1, 0x51
	w.identity.ISVSVN = 3
	w.pccs = &sgxsim.PCCS{Platform: p, Now: time.Now, Fault: func(r *http.Request, a *sgxsim.Answer) {
		if f := w.fault.Load(); f != nil && *f != nil {
			(*f)(r, a)
		}
	}}
	service := httptest.NewServer(w.pccs)
	t.Cleanup(service.Close)
	w.url = service.URL
	w.write("root.pem", p.RootPEM())
	w.write("wrap-key", canary[:])
	w.issue("localhost", "127.0.0.1")
	return w
}

// setFault lets the collateral service misbehave from now on; nil ends it.
func (w *world) setFault(f func(r *http.Request, a *sgxsim.Answer)) { w.fault.Store(&f) }

// write makes a file only its owner can read.
func (w *world) write(name string, data []byte) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), data, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// issue makes the server's certificate and key under a new CA.
func (w *world) issue(dnsNames ...string) {
	w.t.Helper()
	w.issueUntil(time.Now().Add(30*24*time.Hour), dnsNames...)
}

func (w *world) issueUntil(notAfter time.Time, dnsNames ...string) {
	w.t.Helper()
	caKey, caTemplate := newKey(w.t), &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-365 * 24 * time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, caTemplate, caTemplate, caKey.Public(), caKey)
	if err != nil {
		w.t.Fatal(err)
	}
	key, template := newKey(w.t), &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "key server" + w.subject}, DNSNames: dnsNames,
		NotBefore: time.Now().Add(-100 * 24 * time.Hour), NotAfter: notAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, caTemplate, key.Public(), caKey)
	if err != nil {
		w.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		w.t.Fatal(err)
	}
	w.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
	w.write("ca.pem", w.ca)
	w.write("server.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	w.write("server-key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// base is a configuration without rules; more YAML follows it.
func (w *world) base() string {
	return fmt.Sprintf(`listen: "127.0.0.1:0"
tls: { certificate: server.pem, private_key: server-key.pem }
collateral: { url: %q }
allow_trusted_root: root.pem
secrets:
  - { name: model, file: wrap-key }
  - { name: model-hex, file: wrap-key, encoding: hex }
`, w.url)
}

// rule is a rule for the world's enclave; more conditions follow it.
func (w *world) rule(name, secret string, more ...string) string {
	text := fmt.Sprintf(`  - name: %s
    mr_enclave: [%x]
    tcb: { accept: [SWHardeningNeeded], accept_advisories: [INTEL-SA-00615] }
    secret: %s
`, name, w.identity.MRENCLAVE, secret)
	for _, m := range more {
		text += "    " + m + "\n"
	}
	return text
}

// config is what most tests run with.
func (w *world) config() string { return w.base() + "rules:\n" + w.rule("the rule", "model") }

func (w *world) parse(text string) *Config {
	w.t.Helper()
	cfg, err := ParseConfig([]byte(text), w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	return cfg
}

func (w *world) options() Options {
	opts := Options{
		ConfigKeys:  w.configKeys,
		Log:         slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Fingerprint: func([wrapKeySize]byte) string { return "fingerprint" },
	}
	if w.stdout != nil {
		opts.Stdout = w.stdout
	}
	return opts
}

// bundle is the platform's collateral of now.
func (w *world) bundle() *pccs.Bundle {
	w.t.Helper()
	c, err := w.platform.Collateral(time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	var b pccs.Bundle
	where := &dcap.Platform{FMSPC: dcap.FMSPC(w.platform.Machine.FMSPC), CA: w.platform.Machine.CA}
	if err := b.Add(where, (*dcap.Collateral)(c)); err != nil {
		w.t.Fatal(err)
	}
	return &b
}

// writeBundle keeps it in a file.
func (w *world) writeBundle(name string) {
	w.t.Helper()
	raw, err := w.bundle().Marshal()
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(name, raw)
}

// running is a server that runs.
type running struct {
	*Server

	addr string
	stop func() // stops it and waits
}

// start runs a server until the test ends.
func (w *world) start(text string) *running {
	w.t.Helper()
	s, err := New(w.parse(text), w.options())
	if err != nil {
		w.t.Fatal(err)
	}
	return w.serve(s)
}

// serve runs a server until the test ends.
func (w *world) serve(s *Server) *running {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	return w.serveOn(s, l)
}

// serveOn runs a server on a listener until the test ends.
func (w *world) serveOn(s *Server, l net.Listener) *running {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	r := &running{Server: s, addr: l.Addr().String()}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			w.t.Errorf("serve: %v", err)
		}
		s.Close()
	})
	w.t.Cleanup(r.stop)
	return r
}

// enclave is the world's enclave, about to ask a server.
func (w *world) enclave(r *running) *sgxsim.Enclave {
	return &sgxsim.Enclave{Quoter: w.platform.Quoter(w.identity), Servers: r.addr, CA: w.ca}
}

// provision lets an enclave ask for its key.
func provision(t testing.TB, e *sgxsim.Enclave) (*sgxsim.Delivery, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return e.Provision(ctx)
}

// logBuffer is a log that goroutines write to.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// waitFor returns the first log line with all of the words; a decision is logged after the client knows it.
func (b *logBuffer) waitFor(t *testing.T, words ...string) string {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
	lines:
		for line := range strings.Lines(b.String()) {
			for _, word := range words {
				if !strings.Contains(line, word) {
					continue lines
				}
			}
			return line
		}
		if time.Now().After(deadline) {
			t.Fatalf("no log line with %q in:\n%s", words, b.String())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// checkNoCanary fails when text shows the wrap key in any of the usual ways.
func checkNoCanary(t testing.TB, where, text string) {
	t.Helper()
	for _, form := range []string{
		string(canary[:]), hex.EncodeToString(canary[:]), strings.ToUpper(hex.EncodeToString(canary[:])),
		"Y2FuYXJ5LXdyYXAta2V5IQ", fmt.Sprintf("%d", canary), fmt.Sprintf("%#v", canary[:]), "canary-wrap",
	} {
		if strings.Contains(text, form) {
			t.Errorf("%s shows the wrap key", where)
		}
	}
}

// dialTo dials addr whatever name an enclave uses for its server.
func dialTo(addr string) func(ctx context.Context, network, _ string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}
}
