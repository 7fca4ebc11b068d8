package pccs

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

func certPool(s *httptest.Server) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return pool
}

func TestClientGetsWhatVerifies(t *testing.T) {
	for _, tt := range []struct {
		name  string
		start func(http.Handler) *httptest.Server
		fault func(r *http.Request, a *sgxsim.Answer)
	}{
		{name: "TLS", start: httptest.NewTLSServer},
		{name: "plain http on loopback", start: httptest.NewServer},
		{name: "old header name", start: httptest.NewServer, fault: func(_ *http.Request, a *sgxsim.Answer) {
			if v := a.Header.Get("TCB-Info-Issuer-Chain"); v != "" {
				a.Header.Del("TCB-Info-Issuer-Chain")
				a.Header.Set("SGX-TCB-Info-Issuer-Chain", v)
			}
		}},
		{name: "plus sign left raw in a header", start: httptest.NewServer, fault: func(_ *http.Request, a *sgxsim.Answer) {
			for name := range a.Header {
				a.Header.Set(name, strings.ReplaceAll(a.Header.Get(name), "%2B", "+"))
			}
		}},
		{name: "CRLs in PEM", start: httptest.NewServer, fault: func(r *http.Request, a *sgxsim.Answer) {
			if strings.HasSuffix(r.URL.Path, "/pckcrl") {
				a.Body = pemCRL(a.Body)
			}
			if strings.HasSuffix(r.URL.Path, "/rootcacrl") {
				der, err := hex.DecodeString(string(a.Body))
				if err != nil {
					panic(err)
				}
				a.Body = pemCRL(der)
			}
		}},
		{name: "CRLs in hex with a line end", start: httptest.NewServer, fault: func(r *http.Request, a *sgxsim.Answer) {
			if strings.HasSuffix(r.URL.Path, "/pckcrl") {
				a.Body = []byte(strings.ToUpper(hex.EncodeToString(a.Body)) + "\r\n")
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startService(t, tt.start)
			s.setFault(tt.fault)
			c, err := s.client(t, ClientOptions{}).Collateral(t.Context(), s.where())
			if err != nil {
				t.Fatal(err)
			}
			s.verify(t, c)
			if n := s.total(); n != 4 {
				t.Errorf("it took %d requests, want 4", n)
			}
		})
	}
}

func TestClientAsksForTheEarlySet(t *testing.T) {
	s := newService(t)
	var mu sync.Mutex
	var queries []string
	s.setFault(func(r *http.Request, _ *sgxsim.Answer) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Query().Has("update") {
			queries = append(queries, r.URL.Path+" "+r.URL.Query().Get("update"))
		}
	})
	c, err := s.client(t, ClientOptions{Update: UpdateEarly}).Collateral(t.Context(), s.where())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(c.TCBInfo), `"tcbEvaluationDataNumber":18`) || len(queries) != 2 {
		t.Errorf("asked %v and got %s", queries, c.TCBInfo)
	}
}

// TestClientErrors covers every way a service can fail, with the message that a person will read.
func TestClientErrors(t *testing.T) {
	only := func(item string, f func(a *sgxsim.Answer)) func(*http.Request, *sgxsim.Answer) {
		return func(r *http.Request, a *sgxsim.Answer) {
			if strings.HasSuffix(r.URL.Path, "/"+item) {
				f(a)
			}
		}
	}
	status := func(code int) func(*sgxsim.Answer) {
		return func(a *sgxsim.Answer) { a.Status, a.Body = code, []byte("<html>") }
	}
	body := func(text string) func(*sgxsim.Answer) {
		return func(a *sgxsim.Answer) { a.Body = []byte(text) }
	}
	for _, tt := range []struct {
		name     string
		item     string
		fault    func(a *sgxsim.Answer)
		kind     ErrorKind
		err      string
		attempts int
	}{
		{"not found", "tcb", status(404), NotFound, "fetch TCB info of FMSPC 00606A000000 from https://", 1},
		{"platform unknown", "tcb", status(461), NotFound, "HTTP status 461: the service has no such document; check that the platform is an SGX platform", 1},
		{"bad request", "tcb", status(400), Refused, "HTTP status 400", 1},
		{"bad request, explained", "tcb", func(a *sgxsim.Answer) {
			a.Status = 400
			a.Header.Set("Error-Message", "Invalid \"fmspc\"")
		}, Refused, `HTTP status 400: the service says "Invalid \"fmspc\""`, 1},
		{"not found, explained", "tcb", func(a *sgxsim.Answer) {
			a.Status = 404
			a.Header.Set("Error-Message", strings.Repeat("x", 300))
		}, NotFound, "HTTP status 404: the service has no such document, and the service says \"" + strings.Repeat("x", 200) + "\"", 1},
		{"not authorised", "qe/identity", status(401), Refused, "fetch QE identity from", 1},
		{"gone", "tcb", status(410), Refused, "the document has been withdrawn", 1},
		{"too many requests", "tcb", status(429), Unreachable, "HTTP status 429", 3},
		{"server error", "pckcrl", status(500), Unreachable, "fetch CRL of the PCK platform CA from", 3},
		{"upstream", "rootcacrl", status(502), Unreachable, "fetch CRL of the root CA from", 3},
		{"cut off", "tcb", func(a *sgxsim.Answer) { a.Abort = true }, Unreachable, "EOF", 3},
		{"stalls", "tcb", func(a *sgxsim.Answer) { a.Delay = time.Minute }, Unreachable, "no answer within 150ms", 3},
		{"web page", "tcb", body("<html>Welcome</html>"), Malformed, "invalid character '<'", 1},
		{"wrong JSON", "tcb", body("{}"), Malformed, "the document has no tcbInfo; check that the URL is a PCCS of API version 4", 1},
		{"another platform", "tcb", body(`{"tcbInfo":{"fmspc":"00906ED50000","nextUpdate":"2030-01-01T00:00:00Z"}}`), Malformed, `the document is for FMSPC "00906ED50000"`, 1},
		{"no date", "tcb", body(`{"tcbInfo":{"fmspc":"00606A000000"}}`), Malformed, "does not say when the next one is due", 1},
		{"not UTF-8", "tcb", body("{\"tcbInfo\":{\"fmspc\":\"00606A000000\",\"nextUpdate\":\"2030-01-01T00:00:00Z\"},\"x\":\"\xff\"}"), Malformed, "it is not UTF-8", 1},
		{"no identity", "qe/identity", body(`{}`), Malformed, "the document has no enclaveIdentity", 1},
		{"QvE identity", "qe/identity", body(`{"enclaveIdentity":{"id":"QVE","nextUpdate":"2030-01-01T00:00:00Z"}}`), Malformed, `the document is the identity of "QVE"`, 1},
		{"no chain", "tcb", func(a *sgxsim.Answer) { a.Header.Del("TCB-Info-Issuer-Chain") }, Malformed, "the answer has no header TCB-Info-Issuer-Chain or SGX-TCB-Info-Issuer-Chain", 1},
		{"chain not PEM", "pckcrl", func(a *sgxsim.Answer) { a.Header.Set("SGX-PCK-CRL-Issuer-Chain", "x") }, Malformed, "the chain that signed it is not PEM", 1},
		{"chain badly escaped", "pckcrl", func(a *sgxsim.Answer) { a.Header.Set("SGX-PCK-CRL-Issuer-Chain", "%zz") }, Malformed, "undo percent-encoding", 1},
		{"empty CRL", "rootcacrl", body(""), Malformed, "the CRL is empty", 1},
		{"not a CRL", "rootcacrl", body("3082"), Malformed, "parse CRL", 1},
		{"odd hex", "rootcacrl", body("308"), Malformed, "decode hex of the CRL", 1},
		{"certificate instead of CRL", "rootcacrl", body("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), Malformed, `the PEM block is a "CERTIFICATE", want an X509 CRL`, 1},
		{"broken PEM", "rootcacrl", body("-----BEGIN X509 CRL-----\n"), Malformed, "the CRL begins like PEM and is not", 1},
		{"two CRLs", "rootcacrl", func(a *sgxsim.Answer) {
			der, _ := hex.DecodeString(string(a.Body))
			a.Body = append(pemCRL(der), pemCRL(der)...)
		}, Malformed, "something follows the PEM block", 1},
		{"huge JSON", "tcb", body(strings.Repeat(" ", maxJSON+1)), Malformed, "the answer is longer than 524288 bytes", 1},
		{"huge CRL", "rootcacrl", body(strings.Repeat("0", maxCRL+1)), Malformed, "the answer is longer than 2097152 bytes", 1},
		{"huge header", "tcb", func(a *sgxsim.Answer) { a.Header.Set("X", strings.Repeat("x", maxHeader+4096)) }, Unreachable, "fetch TCB info", 3},
		{"redirect elsewhere", "tcb", func(a *sgxsim.Answer) {
			a.Status = 302
			a.Header.Set("Location", "https://elsewhere.example.com/sgx/certification/v4/tcb")
		}, Refused, "it redirects to another host, elsewhere.example.com; give that URL if it is meant", 1},
		{"redirect to plain http", "tcb", func(a *sgxsim.Answer) {
			a.Status = 302
			a.Header.Set("Location", "http://127.0.0.1/tcb")
		}, Refused, "it redirects to another host", 1},
		{"redirect in circles", "tcb", func(a *sgxsim.Answer) {
			a.Status = 302
			a.Header.Set("Location", "tcb?fmspc=00606A000000")
		}, Refused, "it redirects in circles", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newService(t)
			s.setFault(only(tt.item, tt.fault))
			c := s.client(t, ClientOptions{Timeout: time.Minute})
			if tt.name == "stalls" {
				c.timeout = 150 * time.Millisecond
			}
			// One document alone, so that the count of requests is exact.
			ids := map[string]docID{
				"tcb": {docTCBInfo, "00606A000000"}, "qe/identity": {docQEIdentity, ""},
				"pckcrl": {docPCKCRL, "platform"}, "rootcacrl": {docRootCACRL, ""},
			}
			doc, err := c.fetch(t.Context(), ids[tt.item])
			var failure *Error
			if !errors.As(err, &failure) {
				t.Fatalf("got document %v, error %v", doc, err)
			}
			if failure.Kind != tt.kind {
				t.Errorf("kind is %v, want %v", failure.Kind, tt.kind)
			}
			if !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error is %q, want %q in it", err, tt.err)
			}
			if n := s.requests(tt.item); tt.name != "redirect in circles" && n != tt.attempts {
				t.Errorf("asked %d times, want %d", n, tt.attempts)
			}
			if _, err := c.Collateral(t.Context(), s.where()); !errors.As(err, &failure) || failure.Kind != tt.kind {
				t.Errorf("all together: %v", err)
			}
		})
	}
}

func TestClientRecoversFromPassingFaults(t *testing.T) {
	s := newService(t)
	var n atomic.Int32
	s.setFault(func(r *http.Request, a *sgxsim.Answer) {
		if strings.HasSuffix(r.URL.Path, "/tcb") && n.Add(1) < 3 {
			a.Status = 503
			a.Header.Set("Retry-After", "7")
		}
	})
	c := s.client(t, ClientOptions{})
	var pauses []time.Duration
	c.pause = func(_ context.Context, d time.Duration) error {
		pauses = append(pauses, d)
		return nil
	}
	got, err := c.Collateral(t.Context(), s.where())
	if err != nil {
		t.Fatal(err)
	}
	s.verify(t, got)
	if len(pauses) != 2 || pauses[0] != 7*time.Second || pauses[1] != 7*time.Second {
		t.Errorf("waited %v, want twice the 7s that the service asked for", pauses)
	}
}

func TestClientStopsWithItsCaller(t *testing.T) {
	s := newService(t)
	s.setFault(func(_ *http.Request, a *sgxsim.Answer) { a.Delay = time.Minute })
	c := s.client(t, ClientOptions{})
	c.pause = pause
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := c.Collateral(ctx, s.where())
	var failure *Error
	if !errors.Is(err, context.DeadlineExceeded) || errors.As(err, &failure) {
		t.Errorf("error is %v, want the caller's deadline and no fault of the service", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	// Between two attempts too.
	s.setFault(func(_ *http.Request, a *sgxsim.Answer) {
		a.Status = 503
		a.Header.Set("Retry-After", "3600")
	})
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.Collateral(ctx, s.where()); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "HTTP status 503") {
		t.Errorf("error is %v, want the deadline and what the service said", err)
	}
}

func TestTLSIsAlwaysVerified(t *testing.T) {
	s := newService(t)
	c, err := NewClient(ClientOptions{URL: s.URL}) // the system's authorities do not know it
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.pause = func(context.Context, time.Duration) error { return nil }
	_, err = c.Collateral(t.Context(), s.where())
	var failure *Error
	if !errors.As(err, &failure) || failure.Kind != Refused ||
		!strings.Contains(err.Error(), "if the service has a private CA, give its certificate; verification cannot be turned off") {
		t.Errorf("error is %v", err)
	}
	if n := s.total(); n != 0 {
		t.Errorf("the service received %d requests over an unverified connection", n)
	}
}

func TestPlainHTTPStaysOnThisMachine(t *testing.T) {
	// What a resolver says of localhost is not believed.
	ctx := context.WithValue(t.Context(), plainHTTP{}, true)
	conn, err := transport(nil).DialContext(ctx, "tcp", "192.0.2.1:80")
	if err == nil {
		_ = conn.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "plain http to 192.0.2.1:80, which is not a loopback address") {
		t.Errorf("error is %v", err)
	}
}

func TestClientRefusesANonsensePlatform(t *testing.T) {
	s := newService(t)
	c := s.client(t, ClientOptions{})
	for _, p := range []*dcap.Platform{nil, {}, {CA: "Platform"}, {CA: "platform&x=1"}} {
		if _, err := c.Collateral(t.Context(), p); err == nil || !strings.HasPrefix(err.Error(), "find collateral: ") {
			t.Errorf("platform %v: error %v", p, err)
		}
	}
	if n := s.total(); n != 0 {
		t.Errorf("the service received %d requests", n)
	}
}

func TestErrorKinds(t *testing.T) {
	for kind, want := range map[ErrorKind]string{
		Unreachable: "unreachable", NotFound: "not found", Refused: "refused", Malformed: "malformed", Expired: "expired", 99: "kind 99",
	} {
		if got := kind.String(); got != want {
			t.Errorf("kind %d is %q, want %q", kind, got, want)
		}
	}
}
