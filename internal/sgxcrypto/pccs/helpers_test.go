package pccs

import (
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is a simulated platform's collateral service that counts requests and can be told to misbehave.
type service struct {
	*httptest.Server

	platform *sgxsim.Platform
	pccs     *sgxsim.PCCS

	mu    sync.Mutex
	count map[string]int // by path
	fault func(r *http.Request, a *sgxsim.Answer)
}

func newPlatform(t *testing.T) *sgxsim.Platform {
	t.Helper()
	p, err := sgxsim.New(sgxsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newService starts a service over TLS.
func newService(t *testing.T) *service { return startService(t, httptest.NewTLSServer) }

func startService(t *testing.T, start func(http.Handler) *httptest.Server) *service {
	t.Helper()
	s := &service{platform: newPlatform(t), count: map[string]int{}}
	s.pccs = &sgxsim.PCCS{Platform: s.platform, Now: time.Now, Fault: func(r *http.Request, a *sgxsim.Answer) {
		s.mu.Lock()
		s.count[r.URL.Path]++
		fault := s.fault
		s.mu.Unlock()
		if fault != nil {
			fault(r, a)
		}
	}}
	s.Server = start(s.pccs)
	t.Cleanup(s.Close)
	return s
}

func (s *service) setFault(f func(r *http.Request, a *sgxsim.Answer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// requests is how often a document has been asked for.
func (s *service) requests(item string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count["/sgx/certification/v4/"+item]
}

func (s *service) total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, c := range s.count {
		n += c
	}
	return n
}

// client returns a client of the service that trusts its TLS certificate and does not wait between attempts.
func (s *service) client(t *testing.T, opts ClientOptions) *Client {
	t.Helper()
	opts.URL = s.URL
	if s.Certificate() != nil && opts.Roots == nil {
		opts.Roots = certPool(s.Server)
	}
	c, err := NewClient(opts)
	if err != nil {
		t.Fatal(err)
	}
	c.pause = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	t.Cleanup(c.Close)
	return c
}

// where is the simulated platform, as its quotes name it.
func (s *service) where() *dcap.Platform {
	return &dcap.Platform{FMSPC: dcap.FMSPC(s.platform.Machine.FMSPC), CA: dcap.CAPlatform, Simulated: true}
}

// verify checks that collateral serves its purpose: a quote of the platform verifies with it.
func (s *service) verify(t *testing.T, c *dcap.Collateral) {
	t.Helper()
	q, err := s.platform.NewQuote(sgxsim.Identity{}, [64]byte{})
	if err != nil {
		t.Fatal(err)
	}
	roots, err := dcap.ParseRoots(s.platform.RootPEM())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dcap.Verify(q, c, dcap.VerifyOptions{At: time.Now(), Roots: roots}); err != nil {
		t.Errorf("the collateral does not verify a quote: %v", err)
	}
}

func pemCRL(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}
