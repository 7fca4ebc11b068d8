package pccs

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

func TestGreet(t *testing.T) {
	hour := func(a *sgxsim.Answer, d time.Duration) {
		a.Header.Set("Date", time.Now().UTC().Add(d).Format(http.TimeFormat))
	}
	for _, tt := range []struct {
		name    string
		fault   func(r *http.Request, a *sgxsim.Answer)
		version int
		skew    time.Duration
		missing bool
		warning string
	}{
		{name: "as it should be", version: 4},
		{name: "service behind", version: 4, skew: 3 * time.Hour, fault: func(_ *http.Request, a *sgxsim.Answer) { hour(a, -3*time.Hour) }},
		{name: "service ahead", version: 4, skew: -2 * time.Hour, fault: func(_ *http.Request, a *sgxsim.Answer) { hour(a, 2*time.Hour) }},
		{name: "from a proxy's cache", version: 4, fault: func(_ *http.Request, a *sgxsim.Answer) {
			hour(a, -3*time.Hour)
			a.Header.Set("Age", "10800")
		}},
		{name: "no date", version: 4, missing: true, fault: func(_ *http.Request, a *sgxsim.Answer) { a.Header.Set("Date", "yesterday") }},
		{name: "version 3 only", version: 3, fault: func(r *http.Request, a *sgxsim.Answer) {
			if strings.Contains(r.URL.Path, "/v4/") {
				a.Status = http.StatusNotFound
			}
		}},
		{name: "warning", version: 4, warning: `299 - "deprecated"`, fault: func(_ *http.Request, a *sgxsim.Answer) { a.Header.Set("Warning", `299 - "deprecated"`) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newService(t)
			s.setFault(tt.fault)
			g, err := s.client(t, ClientOptions{}).Greet(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if g.APIVersion != tt.version || g.DateMissing != tt.missing || g.Warning != tt.warning || g.TLSExpires.IsZero() {
				t.Errorf("%+v", g)
			}
			// The error is half a round trip more than half a second; the test's own clock readings add little.
			if off := (g.Skew - tt.skew).Abs(); off > g.SkewError+time.Second {
				t.Errorf("skew %v ± %v, want %v", g.Skew, g.SkewError, tt.skew)
			}
			if want := "/v4/qe/identity"; tt.version == 4 && !strings.HasSuffix(g.URL, want) || tt.version == 3 && !strings.HasSuffix(g.URL, "/v3/qe/identity") {
				t.Errorf("asked %s", g.URL)
			}
		})
	}
}

func TestGreetPlain(t *testing.T) {
	s := startService(t, httptest.NewServer)
	client, err := NewClient(ClientOptions{URL: s.URL + "/sgx/certification/v3", AllowAPIv3: true})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	g, err := client.Greet(t.Context())
	if err != nil || g.APIVersion != 3 || !g.TLSExpires.IsZero() {
		t.Errorf("%+v, %v", g, err)
	}
}

func TestGreetFails(t *testing.T) {
	s := newService(t)
	s.setFault(func(_ *http.Request, a *sgxsim.Answer) { a.Status = http.StatusNotFound })
	var failure *Error
	if _, err := s.client(t, ClientOptions{}).Greet(t.Context()); !errors.As(err, &failure) || failure.Status != 404 || !strings.Contains(failure.URL, "/v4/") {
		t.Errorf("neither version: %v", err)
	}
	if n := s.total(); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
	s.setFault(func(_ *http.Request, a *sgxsim.Answer) { a.Status = http.StatusBadGateway })
	if _, err := s.client(t, ClientOptions{}).Greet(t.Context()); !errors.As(err, &failure) || failure.Kind != Unreachable {
		t.Errorf("broken: %v", err)
	}
	if n := s.total(); n != 3 {
		t.Errorf("%d requests: a broken service is asked once", n)
	}
}

func TestAvailable(t *testing.T) {
	s := newService(t)
	fmspc := s.where().FMSPC
	all, errs := s.client(t, ClientOptions{}).Available(t.Context(), &fmspc, "platform")
	if len(errs) != 0 {
		t.Fatal(errs)
	}
	s.verify(t, all)
	s.setFault(func(r *http.Request, a *sgxsim.Answer) {
		if strings.HasSuffix(r.URL.Path, "/tcb") || strings.HasSuffix(r.URL.Path, "/rootcacrl") {
			a.Status = http.StatusNotFound
		}
	})
	some, errs := s.client(t, ClientOptions{}).Available(t.Context(), &fmspc, "platform")
	var failure *Error
	if len(errs) != 2 || !errors.As(errs[0], &failure) || failure.Kind != NotFound || !strings.Contains(errs[1].Error(), "CRL of the root CA") {
		t.Errorf("errors %v", errs)
	}
	if some.TCBInfo != nil || some.TCBInfoIssuerChain != nil || some.RootCACRL != nil || some.QEIdentity == nil || some.PCKCRL == nil {
		t.Errorf("got %d, %d, %d, %d bytes", len(some.TCBInfo), len(some.RootCACRL), len(some.QEIdentity), len(some.PCKCRL))
	}
	before := s.requests("tcb")
	if c, errs := s.client(t, ClientOptions{}).Available(t.Context(), nil, "processor"); c.TCBInfo != nil || len(errs) != 1 || s.requests("tcb") != before {
		t.Errorf("without a family: errors %v", errs)
	}
	if _, errs := s.client(t, ClientOptions{}).Available(t.Context(), nil, "intel"); len(errs) != 1 {
		t.Errorf("unknown CA: errors %v", errs)
	}
}
