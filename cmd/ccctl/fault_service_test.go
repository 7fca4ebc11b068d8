package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
	"github.com/ccctl/terraform-provider-cc/internal/testfault"
)

// TestFaultCollateralService: whatever the service does, a quote of a genuine platform is not called anything but
// unverified, and when the service is well it is verified.
func TestFaultCollateralService(t *testing.T) {
	dir := t.TempDir()
	p, err := sgxsim.New(sgxsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	q, err := p.NewQuote(sgxsim.Identity{MRENCLAVE: simulatedMeasurement("MRENCLAVE")}, [64]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := q.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	quoteFile, root := write("quote.bin", raw), write("root.pem", p.RootPEM())

	var fault atomic.Pointer[func(*http.Request, *sgxsim.Answer)]
	var age atomic.Int64
	handler := &sgxsim.PCCS{Platform: p, Now: func() time.Time { return time.Now().Add(-time.Duration(age.Load())) }, Fault: func(r *http.Request, a *sgxsim.Answer) {
		if f := fault.Load(); f != nil {
			(*f)(r, a)
		}
	}}
	service := httptest.NewServer(handler)
	defer service.Close()
	secure, certificate := serveUntil(t, handler, time.Now().Add(time.Hour))
	authority := write("ca.pem", certificate)
	expired, certificate := serveUntil(t, handler, time.Now().Add(-time.Hour))
	expiredCA := write("expired.pem", certificate)

	verify := func(args ...string) (int, string) {
		var out, errs bytes.Buffer
		code := run(t.Context(), append([]string{"quote", "verify", quoteFile, "--trusted-root", root}, args...), strings.NewReader(""), &out, &errs)
		return code, errs.String()
	}
	for _, tt := range []struct {
		fault string
		slow  bool // takes half a minute
		do    func(*http.Request, *sgxsim.Answer)
		age   time.Duration
		args  []string
		code  int
	}{
		{fault: "Collateral service down", args: []string{"--pccs", "http://127.0.0.1:1"}, code: exitUnreachable},
		{fault: "Collateral service slow", slow: true, do: func(_ *http.Request, a *sgxsim.Answer) { a.Delay = time.Minute }, args: []string{"--pccs", service.URL}, code: exitUnreachable},
		{fault: "Collateral service gives wrong answers", do: func(_ *http.Request, a *sgxsim.Answer) { a.Body = []byte("<html>Welcome</html>") }, args: []string{"--pccs", service.URL}, code: exitUnreachable},
		{fault: "Collateral altered on its way", do: func(r *http.Request, a *sgxsim.Answer) {
			if strings.HasSuffix(r.URL.Path, "/tcb") {
				a.Body = bytes.Replace(a.Body, []byte("SWHardeningNeeded"), []byte("UpToDate"), 1)
			}
		}, args: []string{"--pccs", service.URL}, code: exitNotGenuine},
		{fault: "Collateral service with a certificate that nobody vouches for", args: []string{"--pccs", secure}, code: exitUnreachable},
		{fault: "Collateral service with an expired certificate", args: []string{"--pccs", expired, "--pccs-ca", expiredCA}, code: exitUnreachable},
		{fault: "Collateral service stale", age: 60 * 24 * time.Hour, args: []string{"--pccs", service.URL}, code: exitNotGenuine},
		{fault: "Clock ahead", args: []string{"--pccs", service.URL, "--at", time.Now().AddDate(1, 0, 0).UTC().Format(time.RFC3339)}, code: exitNotGenuine},
		{fault: "Clock behind", args: []string{"--pccs", service.URL, "--at", time.Now().AddDate(-1, 0, 0).UTC().Format(time.RFC3339)}, code: exitNotGenuine},
	} {
		if tt.slow && !chaotic() {
			continue
		}
		if tt.do != nil {
			fault.Store(&tt.do)
		}
		age.Store(int64(tt.age))
		code, said := verify(tt.args...)
		if code != tt.code {
			t.Errorf("%s: exit code %d, want %d\n%s", tt.fault, code, tt.code, said)
		}
		testfault.Expect(t, tt.fault, testfault.Ccctl, said)
		fault.Store(nil)
		age.Store(0)
		for _, args := range [][]string{{"--pccs", service.URL}, {"--pccs", secure, "--pccs-ca", authority}} {
			if code, said := verify(args...); code != exitOK {
				t.Errorf("after %s: exit code %d\n%s", tt.fault, code, said)
			}
		}
	}
}

// serveUntil serves with a certificate of its own that is valid until a time. It returns the URL and the certificate.
func serveUntil(t *testing.T, h http.Handler, until time.Time) (url string, certificate []byte) {
	t.Helper()
	key := newTestKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: until.Add(-48 * time.Hour), NotAfter: until, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func newTestKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
