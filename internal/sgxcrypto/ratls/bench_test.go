package ratls_test

import (
	"crypto/x509"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/ratls"
)

// BenchmarkParseCertificate is what every connection costs twice.
func BenchmarkParseCertificate(b *testing.B) {
	for _, release := range []string{"1.0", "1.9"} {
		b.Run(release, func(b *testing.B) {
			leaf := newWorld(b).certificate(b, release).Leaf
			for b.Loop() {
				if _, err := ratls.ParseCertificate(leaf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkVerify is what an enclave on a known platform costs beyond its handshake.
func BenchmarkVerify(b *testing.B) {
	w := newWorld(b)
	leaf, err := x509.ParseCertificate(w.certificate(b, "1.9").Certificate[0])
	if err != nil {
		b.Fatal(err)
	}
	e, err := ratls.ParseCertificate(leaf)
	if err != nil {
		b.Fatal(err)
	}
	c, err := w.Collateral(b.Context(), nil)
	if err != nil {
		b.Fatal(err)
	}
	v := w.verifierWith(b, fixedSource{c})
	for b.Loop() {
		if _, err := v.Verify(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
}
