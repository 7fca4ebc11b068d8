package sgxsim_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/pccs"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

func clock() time.Time { return now }

// TestProductClient has the product's own client fetch from the simulated service.
func TestProductClient(t *testing.T) {
	p := newPlatform(t, sgxsim.Options{})
	service := &sgxsim.PCCS{Platform: p, Now: clock}
	server := httptest.NewServer(service)
	defer server.Close()
	q := makeQuote(t, p, identity)
	opts := dcap.VerifyOptions{At: now, Roots: roots(t, p)}
	platform := must(dcap.CheckEvidence(q, opts))(t).Platform()
	for _, update := range []pccs.Update{pccs.UpdateStandard, pccs.UpdateEarly} {
		client := must(pccs.NewClient(pccs.ClientOptions{URL: server.URL, Update: update}))(t)
		c := must(client.Collateral(t.Context(), platform))(t)
		v, err := dcap.Verify(q, c, opts)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[pccs.Update]uint32{pccs.UpdateStandard: 17, pccs.UpdateEarly: 18}[update]; v.EvaluationNumber != want {
			t.Errorf("%s: evaluation number %d, want %d", update, v.EvaluationNumber, want)
		}
	}
	other := *platform
	other.FMSPC = dcap.FMSPC{1}
	client := must(pccs.NewClient(pccs.ClientOptions{URL: server.URL}))(t)
	_, err := client.Collateral(t.Context(), &other)
	var e *pccs.Error
	if !errors.As(err, &e) || e.Status != http.StatusNotFound {
		t.Errorf("another platform: error %v, want status 404", err)
	}
}

func get(tb testing.TB, h http.Handler, target string) *httptest.ResponseRecorder {
	tb.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
	return w
}

func TestPCCSAnswers(t *testing.T) {
	p := newPlatform(t, sgxsim.Options{})
	service := &sgxsim.PCCS{Platform: p, Now: clock}
	c := must(p.Collateral(now))(t)
	chain := map[string]string{"tcb": string(p.TCBSigningChain()), "platform": string(p.PCKCRLChain("platform")), "processor": string(p.PCKCRLChain("processor"))}
	asIs := func(b []byte) []byte { return b }
	fromHex := func(b []byte) []byte { return must(hex.DecodeString(string(b)))(t) }
	fromPEM := func(b []byte) []byte { block, _ := pem.Decode(b); return block.Bytes }
	for _, tt := range []struct {
		target string
		header string // of the chain
		chain  string
		decode func([]byte) []byte
		want   []byte // nil: not compared
	}{
		{"/sgx/certification/v4/tcb?fmspc=00606A000000", "TCB-Info-Issuer-Chain", chain["tcb"], asIs, c.TCBInfo},
		{"/sgx/certification/v4/tcb?fmspc=00606a000000", "TCB-Info-Issuer-Chain", chain["tcb"], asIs, c.TCBInfo},
		{"/sgx/certification/v4/tcb?fmspc=00606A000000&update=standard", "TCB-Info-Issuer-Chain", chain["tcb"], asIs, c.TCBInfo},
		{"/sgx/certification/v4/tcb?fmspc=00606A000000&tcbEvaluationDataNumber=17", "TCB-Info-Issuer-Chain", chain["tcb"], asIs, c.TCBInfo},
		{"/sgx/certification/v4/tcb?fmspc=00606A000000&tcbEvaluationDataNumber=18", "TCB-Info-Issuer-Chain", chain["tcb"], asIs, nil},
		{"/sgx/certification/v3/tcb?fmspc=00606A000000", "SGX-TCB-Info-Issuer-Chain", chain["tcb"], asIs, nil},
		{"/sgx/certification/v4/qe/identity", "SGX-Enclave-Identity-Issuer-Chain", chain["tcb"], asIs, c.QEIdentity},
		{"/sgx/certification/v3/qe/identity", "SGX-Enclave-Identity-Issuer-Chain", chain["tcb"], asIs, c.QEIdentity},
		{"/sgx/certification/v4/pckcrl?ca=platform", "SGX-PCK-CRL-Issuer-Chain", chain["platform"], fromHex, c.PCKCRL},
		{"/sgx/certification/v4/pckcrl?ca=PLATFORM&encoding=DER", "SGX-PCK-CRL-Issuer-Chain", chain["platform"], asIs, c.PCKCRL},
		{"/sgx/certification/v4/pckcrl?ca=platform&encoding=pem", "SGX-PCK-CRL-Issuer-Chain", chain["platform"], fromPEM, c.PCKCRL},
		{"/sgx/certification/v4/pckcrl?ca=processor&encoding=der", "SGX-PCK-CRL-Issuer-Chain", chain["processor"], asIs, nil},
		{"/sgx/certification/v4/rootcacrl", "", "", fromHex, c.RootCACRL},
	} {
		r := get(t, service, tt.target)
		if r.Code != http.StatusOK {
			t.Errorf("%s: status %d", tt.target, r.Code)
			continue
		}
		if got := tt.decode(r.Body.Bytes()); tt.want != nil && !bytes.Equal(got, tt.want) {
			t.Errorf("%s: body %.60q, want %.60q", tt.target, got, tt.want)
		}
		if tt.header == "" {
			continue
		}
		escaped := r.Header().Get(tt.header)
		if strings.ContainsAny(escaped, "+= \n/") {
			t.Errorf("%s: header %.40q is not fully escaped", tt.target, escaped)
		}
		if got := must(url.PathUnescape(escaped))(t); got != tt.chain {
			t.Errorf("%s: chain %.60q, want %.60q", tt.target, got, tt.chain)
		}
	}
}

func TestPCCSRefuses(t *testing.T) {
	service := &sgxsim.PCCS{Platform: newPlatform(t, sgxsim.Options{}), Now: clock}
	const base = "/sgx/certification/v4/"
	for _, tt := range []struct {
		target string
		status int
		text   string
	}{
		{base + "tcb", 400, "Invalid request parameters."},
		{base + "tcb?fmspc=00606A0000", 400, "Invalid request parameters."},
		{base + "tcb?fmspc=00606A0000000", 400, "Invalid request parameters."},
		{base + "tcb?fmspc=00606A00000G", 400, "Invalid request parameters."},
		{base + "tcb?fmspc=00906ED50000", 404, "No cache data for this platform."},
		{base + "tcb?fmspc=00606A000000&update=late", 400, "Invalid request parameters."},
		{base + "tcb?fmspc=00606A000000&update=early&tcbEvaluationDataNumber=17", 400, "Invalid request parameters."},
		{base + "tcb?fmspc=00606A000000&tcbEvaluationDataNumber=x", 400, "Invalid request parameters."},
		{base + "tcb?fmspc=00606A000000&tcbEvaluationDataNumber=16", 410, "TCB information for this evaluation number is no longer available."},
		{base + "tcb?fmspc=00606A000000&tcbEvaluationDataNumber=19", 404, "No cache data for this platform."},
		{base + "qe/identity?update=late", 400, "Invalid request parameters."},
		{base + "pckcrl", 400, "Invalid request parameters."},
		{base + "pckcrl?ca=root", 400, "Invalid request parameters."},
		{base + "pckcrl?ca=platform&encoding=base64", 400, "Invalid request parameters."},
		{base + "pckcert", 404, "Not found."},
		{"/sgx/certification/v5/rootcacrl", 404, "Not found."},
		{"/sgx/certification/v4", 404, "Not found."},
		{"/tdx/certification/v4/tcb", 404, "Not found."},
		{"/", 404, "Not found."},
	} {
		r := get(t, service, tt.target)
		if got := r.Body.String(); r.Code != tt.status || got != tt.text {
			t.Errorf("%s: %d %q, want %d %q", tt.target, r.Code, got, tt.status, tt.text)
		}
	}
	w := httptest.NewRecorder()
	service.ServeHTTP(w, httptest.NewRequest(http.MethodPut, base+"rootcacrl", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("PUT: status %d", w.Code)
	}
}

func TestPCCSFaults(t *testing.T) {
	p := newPlatform(t, sgxsim.Options{})
	fault := func(change func(*sgxsim.Answer)) http.Handler {
		return &sgxsim.PCCS{Platform: p, Now: clock, Fault: func(r *http.Request, a *sgxsim.Answer) {
			if strings.HasSuffix(r.URL.Path, "/rootcacrl") {
				change(a)
			}
		}}
	}
	const target = "/sgx/certification/v4/rootcacrl"
	r := get(t, fault(func(a *sgxsim.Answer) { a.Status, a.Body = 503, []byte("later") }), target)
	if got := r.Body.String(); r.Code != 503 || got != "later" {
		t.Errorf("%d %q, want 503 later", r.Code, got)
	}
	r = get(t, fault(func(a *sgxsim.Answer) { a.Header.Set("Retry-After", "7") }), target)
	if got := r.Header().Get("Retry-After"); got != "7" {
		t.Errorf("Retry-After %q, want 7", got)
	}
	r = get(t, fault(func(a *sgxsim.Answer) { a.Status = 500 }), "/sgx/certification/v4/qe/identity")
	if r.Code != 200 {
		t.Errorf("another endpoint: %d, want 200", r.Code)
	}

	server := httptest.NewServer(fault(func(a *sgxsim.Answer) { a.Abort = true }))
	defer server.Close()
	if r, err := http.Get(server.URL + target); err == nil {
		r.Body.Close()
		t.Errorf("abort: status %d, want a broken connection", r.StatusCode)
	}
	start := time.Now()
	get(t, fault(func(a *sgxsim.Answer) { a.Delay = 30 * time.Millisecond }), target)
	if d := time.Since(start); d < 30*time.Millisecond {
		t.Errorf("delay: answered after %v", d)
	}
	// A client that gives up does not leave the handler waiting.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	request := httptest.NewRequest(http.MethodGet, target, nil).WithContext(ctx)
	defer func() {
		if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) {
			t.Error("answered a client that had left")
		}
	}()
	fault(func(a *sgxsim.Answer) { a.Delay = time.Hour }).ServeHTTP(httptest.NewRecorder(), request)
}

// TestHandlerUsesTheClock: what is served now is valid now.
func TestHandlerUsesTheClock(t *testing.T) {
	p := must(sgxsim.New(sgxsim.Options{}))(t)
	served := get(t, p.Handler(), "/sgx/certification/v4/qe/identity").Body.Bytes()
	today := time.Now().UTC()
	yesterday := today.Add(-24 * time.Hour) // should midnight pass in between
	if !bytes.Contains(served, []byte(today.Format("2006-01-02"))) && !bytes.Contains(served, []byte(yesterday.Format("2006-01-02"))) {
		t.Errorf("QE identity %.120s is not of today", served)
	}
}

func TestBaseURL(t *testing.T) {
	if diff := cmp.Diff("http://127.0.0.1:8081/sgx/certification/v4/", sgxsim.BaseURL("http", "127.0.0.1:8081")); diff != "" {
		t.Error(diff)
	}
}
