package ratls

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
)

// checkError checks kind and beginning of an *Error.
func checkError(t *testing.T, err error, kind Kind, prefix string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v, want an *Error of kind %v", err, kind)
	}
	if e.Kind != kind {
		t.Errorf("kind %v, want %v", e.Kind, kind)
	}
	if !strings.HasPrefix(err.Error(), prefix) {
		t.Errorf("error %q, want it to begin with %q", err, prefix)
	}
}

// stubQuoter makes quotes that parse and that nobody has signed.
type stubQuoter struct {
	err    error
	size   int // of the certification data
	change func(*quote.Quote)
}

func (s stubQuoter) Quote(_ context.Context, reportData [64]byte) ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	q := quote.Quote{
		Header: quote.Header{Version: quote.Version3, AttestationKeyType: quote.KeyTypeECDSAP256, QEVendorID: quote.IntelQEVendorID},
		Body:   quote.ReportBody{ReportData: reportData}, CertificationType: quote.CertPCKChain, CertificationData: make([]byte, s.size),
	}
	if s.change != nil {
		s.change(&q)
	}
	return q.Marshal()
}

// selfSigned makes a certificate for a key with extensions of the caller's choice.
func selfSigned(tb testing.TB, key crypto.Signer, extensions ...pkix.Extension) *x509.Certificate {
	tb.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "RATLS"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), ExtraExtensions: extensions,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	return parseDER(tb, der)
}

// ecKey is one P-256 key for all tests that need any.
var ecKey = sync.OnceValue(func() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
})

func spkiOf(tb testing.TB, key crypto.Signer) []byte {
	tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

func stubQuote(tb testing.TB, reportData [64]byte) []byte {
	tb.Helper()
	raw, err := stubQuoter{}.Quote(tb.Context(), reportData)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}
