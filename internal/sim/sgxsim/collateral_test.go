package sgxsim_test

import (
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

var now = time.Date(2026, 7, 1, 15, 30, 0, 0, time.UTC)

func newPlatform(tb testing.TB, opts sgxsim.Options) *sgxsim.Platform {
	tb.Helper()
	if opts.At.IsZero() {
		opts.At = now
	}
	p, err := sgxsim.New(opts)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func roots(tb testing.TB, p *sgxsim.Platform) []*x509.Certificate {
	tb.Helper()
	block, _ := pem.Decode(p.RootPEM())
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		tb.Fatal(err)
	}
	return []*x509.Certificate{c}
}

var identity = sgxsim.Identity{MRENCLAVE: [32]byte{1, 2, 3}, MRSIGNER: [32]byte{4, 5, 6}, ISVProdID: 7, ISVSVN: 8}

func makeQuote(tb testing.TB, p *sgxsim.Platform, id sgxsim.Identity) *quote.Quote {
	tb.Helper()
	raw, err := p.Quoter(id).Quote(tb.Context(), [64]byte{9})
	if err != nil {
		tb.Fatal(err)
	}
	q, err := quote.Parse(raw)
	if err != nil {
		tb.Fatal(err)
	}
	return q
}

func TestVerifies(t *testing.T) {
	for _, ca := range []string{"platform", "processor"} {
		p := newPlatform(t, sgxsim.Options{CA: ca})
		q := makeQuote(t, p, identity)
		c, err := p.Collateral(now)
		if err != nil {
			t.Fatal(err)
		}
		v, err := dcap.Verify(q, (*dcap.Collateral)(c), dcap.VerifyOptions{At: now, Roots: roots(t, p)})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", v)
		_, err = dcap.Verify(q, (*dcap.Collateral)(c), dcap.VerifyOptions{At: now})
		t.Log(err)
		if err == nil {
			t.Fatal("trusted as Intel")
		}
	}
}
