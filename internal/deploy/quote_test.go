package deploy_test

import (
	"context"
	"encoding/pem"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/pccs"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

var quoteTime = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

// quotePlace is a simulated platform's evidence in files.
type quotePlace struct {
	t   *testing.T
	dir string
	p   *sgxsim.Platform
}

func newQuotePlace(t *testing.T) *quotePlace {
	t.Helper()
	p, err := sgxsim.New(sgxsim.Options{At: quoteTime})
	if err != nil {
		t.Fatal(err)
	}
	f := &quotePlace{t, t.TempDir(), p}
	f.write("root.pem", p.RootPEM())
	q, err := p.NewQuote(sgxsim.Identity{MRENCLAVE: [32]byte{1}}, [64]byte{})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := q.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	f.write("quote.bin", raw)
	c, err := p.Collateral(quoteTime)
	if err != nil {
		t.Fatal(err)
	}
	bundle, converted := &pccs.Bundle{}, dcap.Collateral(*c)
	if err := bundle.Add(&dcap.Platform{FMSPC: dcap.FMSPC(p.Machine.FMSPC), CA: dcap.CAPlatform}, &converted); err != nil {
		t.Fatal(err)
	}
	data, err := bundle.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	f.write("collateral.json", data)
	f.write("text", []byte("none of these"))
	return f
}

func (f *quotePlace) path(name string) string { return filepath.Join(f.dir, name) }

func (f *quotePlace) write(name string, data []byte) {
	f.t.Helper()
	if err := os.WriteFile(f.path(name), data, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *quotePlace) options() dcap.VerifyOptions {
	f.t.Helper()
	roots, err := deploy.ReadTrustedRoots(f.path("root.pem"))
	if err != nil {
		f.t.Fatal(err)
	}
	return dcap.VerifyOptions{At: quoteTime, Roots: roots}
}

func TestVerifyQuote(t *testing.T) {
	f := newQuotePlace(t)
	server := httptest.NewTLSServer(&sgxsim.PCCS{Platform: f.p, Now: func() time.Time { return quoteTime }})
	defer server.Close()
	f.write("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	q, err := deploy.ReadQuote(f.path("quote.bin"))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		place deploy.CollateralPlace
		want  dcap.Status
	}{
		"bundle":  {deploy.CollateralPlace{Bundle: f.path("collateral.json")}, dcap.StatusSWHardeningNeeded},
		"service": {deploy.CollateralPlace{URL: server.URL, CA: f.path("ca.pem")}, dcap.StatusSWHardeningNeeded},
		"early":   {deploy.CollateralPlace{URL: server.URL, CA: f.path("ca.pem"), Update: "early"}, dcap.StatusOutOfDate},
	} {
		source, release, err := test.place.Open()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		v, err := deploy.VerifyQuote(t.Context(), q, source, f.options())
		release()
		if err != nil || v.Status != test.want || deploy.RefuseRevoked(v) != nil {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
	}
}

// TestForgeryCostsNoRequest: what is refused without collateral is refused before any is asked for.
func TestForgeryCostsNoRequest(t *testing.T) {
	f := newQuotePlace(t)
	var requests atomic.Int64 // documents are asked for side by side
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		w.WriteHeader(http.StatusNotFound)
	}))
	defer server.Close()
	source, release, err := deploy.CollateralPlace{URL: server.URL}.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	good, err := deploy.ReadQuote(f.path("quote.bin"))
	if err != nil {
		t.Fatal(err)
	}
	forged := *good
	forged.Body.MRENCLAVE[0]++
	var refusal *dcap.Error
	if _, err := deploy.VerifyQuote(t.Context(), &forged, source, f.options()); !errors.As(err, &refusal) || refusal.Stage != dcap.StageQuoteSignature || requests.Load() != 0 {
		t.Errorf("forged: %v after %d requests", err, requests.Load())
	}
	var missing *pccs.Error
	if _, err := deploy.VerifyQuote(t.Context(), good, source, f.options()); !errors.As(err, &missing) || missing.Kind != pccs.NotFound || requests.Load() == 0 {
		t.Errorf("genuine: %v after %d requests", err, requests.Load())
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := deploy.VerifyQuote(cancelled, good, source, f.options()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestQuoteInputsAreRefused(t *testing.T) {
	f := newQuotePlace(t)
	var format *quote.Error
	var file *fs.PathError
	var config *dcap.ConfigError
	var bundle *deploy.NotBundleError
	_, err := deploy.ReadQuote(f.path("text"))
	if !errors.As(err, &format) || !strings.Contains(err.Error(), "found 13 bytes, want 48 bytes") {
		t.Errorf("not a quote: %v", err)
	}
	f.write("long", make([]byte, quote.MaxSize+10))
	if _, err = deploy.ReadQuote(f.path("long")); !errors.As(err, &format) || format.Kind != quote.TooLong {
		t.Errorf("too long: %v", err)
	}
	if _, err = deploy.ReadQuote(f.path("none")); !errors.As(err, &file) || !strings.HasPrefix(err.Error(), "read quote: open") {
		t.Errorf("no quote: %v", err)
	}
	if roots, err := deploy.ReadTrustedRoots(""); roots != nil || err != nil {
		t.Errorf("Intel's root: %v, %v", roots, err)
	}
	if _, err = deploy.ReadTrustedRoots(f.path("text")); !errors.As(err, &config) || !strings.HasSuffix(err.Error(), "("+f.path("text")+")") {
		t.Errorf("not a root: %v", err)
	}
	if _, err = deploy.ReadTrustedRoots(f.path("none")); !errors.As(err, &file) || !strings.HasPrefix(err.Error(), "read trusted roots: open") {
		t.Errorf("no root: %v", err)
	}
	for name, test := range map[string]struct {
		place deploy.CollateralPlace
		as    any
		want  string
	}{
		"not a bundle":   {deploy.CollateralPlace{Bundle: f.path("text")}, &bundle, "read collateral file: "},
		"no bundle":      {deploy.CollateralPlace{Bundle: f.path("none")}, &file, "read collateral file: open"},
		"no authority":   {deploy.CollateralPlace{URL: "https://a.example", CA: f.path("none")}, &file, "read TLS authorities: open"},
		"bad authority":  {deploy.CollateralPlace{URL: "https://a.example", CA: f.path("text")}, nil, "text holds no PEM certificate"},
		"unknown region": {deploy.CollateralPlace{Region: "mars"}, nil, "mars"},
		"bad network":    {deploy.CollateralPlace{Region: "cn-beijing", Network: "lan"}, nil, "lan"},
		"bad URL":        {deploy.CollateralPlace{URL: "http://a.example"}, nil, "plain http is for loopback"},
		"bad update":     {deploy.CollateralPlace{URL: "https://a.example", Update: "soon"}, nil, `update is "soon"`},
		"nothing":        {deploy.CollateralPlace{}, nil, ""},
	} {
		source, release, err := test.place.Open()
		if err == nil || source != nil || release != nil || !strings.Contains(err.Error(), test.want) || test.as != nil && !errors.As(err, test.as) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, network := range []string{"", "public", "vpc"} {
		client, err := deploy.CollateralPlace{Region: "cn-beijing", Network: network}.Client()
		if err != nil || !strings.Contains(client.URL(), "cn-beijing.aliyuncs.com") || strings.Contains(client.URL(), "-vpc.") != (network == "vpc") {
			t.Errorf("network %q: %v, %v", network, client, err)
		}
	}
}

func TestRefuseRevoked(t *testing.T) {
	for _, status := range dcap.Statuses() {
		err := deploy.RefuseRevoked(&dcap.Verdict{Status: status})
		var known *deploy.Error
		if revoked := status == dcap.StatusRevoked; revoked != (err != nil) || revoked && (!errors.As(err, &known) || known.Summary != "Platform revoked" || known.Remedy == "") {
			t.Errorf("%s: %v", status, err)
		}
	}
}
