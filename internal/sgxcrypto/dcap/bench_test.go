package dcap_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"math/big"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
)

// twoSignatures returns a function that verifies two ECDSA P-256 signatures, which is what no verification of a quote
// can do without.
func twoSignatures(tb testing.TB) func() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	sum := sha256.Sum256([]byte("quote"))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		tb.Fatal(err)
	}
	rb, sb := r.Bytes(), s.Bytes()
	return func() {
		for range 2 {
			if !ecdsa.Verify(&key.PublicKey, sum[:], new(big.Int).SetBytes(rb), new(big.Int).SetBytes(sb)) {
				tb.Fatal("signature")
			}
		}
	}
}

func BenchmarkTwoECDSAVerifications(b *testing.B) {
	verify := twoSignatures(b)
	for b.Loop() {
		verify()
	}
}

// BenchmarkVerifyCold is one verification from bytes, nothing remembered.
func BenchmarkVerifyCold(b *testing.B) {
	l := newLab(b, "")
	raw, c := l.raw(), l.collateral()
	for b.Loop() {
		q, err := quote.Parse(raw)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := dcap.Verify(q, c, dcap.VerifyOptions{At: labTime, Roots: l.roots}); err != nil {
			b.Fatal(err)
		}
	}
}

// warm returns a function that verifies the lab's quote from bytes with a verifier that knows platform and collateral.
func warm(tb testing.TB) func() {
	l := newLab(tb, "")
	raw, c, v := l.raw(), l.collateral(), l.verifier()
	return func() {
		q, err := quote.Parse(raw)
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := v.Verify(q, c, labTime); err != nil {
			tb.Fatal(err)
		}
	}
}

// warmInSteps is warm the way a server does it, which checks the evidence before it gets collateral.
func warmInSteps(tb testing.TB) func() {
	l := newLab(tb, "")
	raw, c, v := l.raw(), l.collateral(), l.verifier()
	return func() {
		q, err := quote.Parse(raw)
		if err != nil {
			tb.Fatal(err)
		}
		checked, err := v.CheckEvidence(q, labTime)
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := checked.Verify(c, labTime); err != nil {
			tb.Fatal(err)
		}
	}
}

func BenchmarkVerifyWarmInSteps(b *testing.B) {
	verify := warmInSteps(b)
	verify()
	for b.Loop() {
		verify()
	}
}

func BenchmarkVerifyWarm(b *testing.B) {
	verify := warm(b)
	verify()
	for b.Loop() {
		verify()
	}
}

// BenchmarkVerifyWarmParallel has 20 goroutines verify with one verifier. Beside the time of one verification, which is a
// single goroutine's divided by the cores if it scales, it reports how long they waited for locks in it.
func BenchmarkVerifyWarmParallel(b *testing.B) {
	verify := warm(b)
	verify()
	b.SetParallelism((20 + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
	before := lockWait()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			verify()
		}
	})
	b.ReportMetric(float64(lockWait()-before)/float64(b.N), "lockwait-ns/op")
}

// lockWait is how long all goroutines have waited for locks since the program began.
func lockWait() time.Duration {
	sample := []metrics.Sample{{Name: "/sync/mutex/wait/total:seconds"}}
	metrics.Read(sample)
	return time.Duration(sample[0].Value.Float64() * float64(time.Second))
}

func BenchmarkCheckEvidenceWarm(b *testing.B) {
	l := newLab(b, "")
	q, v := l.quote(), l.verifier()
	for b.Loop() {
		if _, err := v.CheckEvidence(q, labTime); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPolicy(b *testing.B) {
	v, p := wanted()
	for b.Loop() {
		if err := p.Check(v); err != nil {
			b.Fatal(err)
		}
	}
}

// TestWarmCost holds the cost of a warm verification, in one step and in two, against that of its two own signatures.
// They are timed in turn, and the best of several rounds counts: a machine that is busy with other things slows a round,
// never hastens it.
func TestWarmCost(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("timing means nothing here")
	}
	const limit, rounds, each = 1.5, 30, 40
	timed := func(f func()) time.Duration {
		start := time.Now()
		for range each {
			f()
		}
		return time.Since(start)
	}
	signatures := twoSignatures(t)
	for _, way := range []struct {
		name   string
		verify func()
	}{{"in one step", warm(t)}, {"in two steps", warmInSteps(t)}} {
		way.verify()
		fastestVerify, fastestSignatures := time.Hour, time.Hour
		for range rounds {
			fastestVerify = min(fastestVerify, timed(way.verify))
			fastestSignatures = min(fastestSignatures, timed(signatures))
		}
		ratio := float64(fastestVerify) / float64(fastestSignatures)
		t.Logf("warm verification %s %s, two signatures %s: %.2f times", way.name, fastestVerify/each, fastestSignatures/each, ratio)
		if ratio > limit {
			t.Errorf("a warm verification %s costs %.2f times its two signatures, want at most %.1f", way.name, ratio, limit)
		}
	}
}
