package dcap_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"math/big"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// order is the order of P-256.
var order = elliptic.P256().Params().N

// badSignatures are values of r and s that no signature has.
func badSignatures(want string, of func(*lab) *[64]byte) []attempt {
	set := func(name string, change func(r, s *big.Int)) attempt {
		return attempt{name: name, want: want, make: func(l *lab) {
			sig := of(l)
			r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
			change(r, s)
			r.FillBytes(sig[:32])
			s.FillBytes(sig[32:])
		}}
	}
	ones := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))
	return []attempt{
		set("r + 1", func(r, _ *big.Int) { r.Add(r, big.NewInt(1)).Mod(r, order) }),
		set("s + 1", func(_, s *big.Int) { s.Add(s, big.NewInt(1)).Mod(s, order) }),
		set("zero", func(r, s *big.Int) { r.SetInt64(0); s.SetInt64(0) }),
		set("r = 0", func(r, _ *big.Int) { r.SetInt64(0) }),
		set("s = 0", func(_, s *big.Int) { s.SetInt64(0) }),
		set("r = n", func(r, _ *big.Int) { r.Set(order) }),
		set("s = n", func(_, s *big.Int) { s.Set(order) }),
		set("r all ones", func(r, _ *big.Int) { r.Set(ones) }),
		set("s all ones", func(_, s *big.Int) { s.Set(ones) }),
		set("swapped", func(r, s *big.Int) { t := new(big.Int).Set(r); r.Set(s); s.Set(t) }),
	}
}

func highS(of func(*lab) *[64]byte) func(*lab) {
	return func(l *lab) {
		sig := of(l)
		s := new(big.Int).SetBytes(sig[32:])
		s.Sub(order, s).FillBytes(sig[32:])
	}
}

func reportRows() []row {
	quoteSignature := func(l *lab) *[64]byte { return &l.quote().Signature }
	reportSignature := func(l *lab) *[64]byte { return &l.quote().QEReportSignature }
	const badReport, mismatch, badQuote = "qe_report/signature", "qe_report/identity_mismatch", "quote_signature/signature"
	qe := func(name, want string, change func(*sgxsim.QuotingEnclave)) attempt {
		return attempt{name: name, want: want, make: func(l *lab) { change(&l.p.QE) }}
	}
	identity := func(name, want string, change func(*sgxsim.QEIdentity)) attempt {
		return attempt{name: name, want: want, make: func(l *lab) { l.qeIdentity(change) }}
	}
	return []row{
		{id: 151, run: flipEach(564, 948, badReport)},
		{id: 152, attempts: concat(badSignatures(badReport, reportSignature), []attempt{
			{name: "by another key", want: badReport, make: func(l *lab) { l.p.PCK.Key, _ = l.otherKey(elliptic.P256()) }},
		})},
		{id: 153, attempts: []attempt{
			{name: "zero", want: "binding/report_data", make: func(l *lab) { l.quote().AttestationKey = [64]byte{} }},
			{name: "another key, signing", want: "binding/report_data", make: func(l *lab) {
				l.quote()
				l.p.QE.Key, _ = l.otherKey(elliptic.P256())
				l.must(l.p.SignQuote(l.quote()))
				copy(l.quote().AttestationKey[:], publicKey(l, l.p.QE.Key))
			}},
			{name: "negated", want: "binding/report_data", make: func(l *lab) {
				y := new(big.Int).SetBytes(l.quote().AttestationKey[32:])
				y.Sub(elliptic.P256().Params().P, y).FillBytes(l.quote().AttestationKey[32:])
			}},
		}},
		{id: 154, attempts: []attempt{
			{name: "a byte", want: "binding/report_data", make: func(l *lab) { l.quote().QEAuthData[31] ^= 1 }},
			{name: "cut", want: "binding/report_data", make: func(l *lab) { l.quote().QEAuthData = l.quote().QEAuthData[:31] }},
			{name: "longer", want: "binding/report_data", make: func(l *lab) { l.quote().QEAuthData = append(l.quote().QEAuthData, 0) }},
		}},
		{id: 155, attempts: each([]int{32, 47, 63}, func(l *lab, i int) {
			l.quote().QEReport.ReportData[i] = 1
			l.signReport()
		}, "binding/report_data")},
		{id: 156, attempts: []attempt{
			qe("in the report", mismatch, func(q *sgxsim.QuotingEnclave) { q.MiscSelect = 1 }),
			identity("in the identity", mismatch, func(q *sgxsim.QEIdentity) { q.MiscSelect[3] = 0x80 }),
		}},
		{id: 157, attempts: []attempt{
			{name: "bit 0 masked", want: "ok", make: func(l *lab) {
				l.p.QE.MiscSelect = 1
				l.qeIdentity(func(q *sgxsim.QEIdentity) { q.MiscSelectMask[0] = 0xfe })
			}},
			{name: "byte order is the report's", want: mismatch, make: func(l *lab) {
				l.p.QE.MiscSelect = 1
				l.qeIdentity(func(q *sgxsim.QEIdentity) { q.MiscSelectMask[3] = 0xfe })
			}},
		}},
		{id: 158, attempts: []attempt{
			qe("KSS under the mask", mismatch, func(q *sgxsim.QuotingEnclave) { q.Flags |= quote.FlagKSS }),
			qe("without PROVISION_KEY", mismatch, func(q *sgxsim.QuotingEnclave) { q.Flags &^= quote.FlagProvisionKey }),
			qe("the highest flag", mismatch, func(q *sgxsim.QuotingEnclave) { q.Flags |= 1 << 63 }),
			qe("MODE64BIT outside the mask", "ok", func(q *sgxsim.QuotingEnclave) { q.Flags &^= quote.FlagMode64Bit }),
			qe("XFRM outside the mask", "ok", func(q *sgxsim.QuotingEnclave) { q.XFRM = 0x3 }),
			identity("XFRM under the mask", mismatch, func(q *sgxsim.QEIdentity) { q.AttributesMask[8] = 0xff }),
		}},
		{id: 159, attempts: []attempt{
			identity("attributes", mismatch, func(q *sgxsim.QEIdentity) { q.Attributes[0] |= 4 }),
			identity("MISCSELECT", mismatch, func(q *sgxsim.QEIdentity) { q.MiscSelect[0], q.MiscSelectMask[0] = 1, 0xfe }),
		}},
		{id: 160, attempts: []attempt{
			{name: "report", want: mismatch, make: func(l *lab) { l.quote().QEReport.MRSIGNER[31] ^= 1; l.signReport() }},
			identity("identity", mismatch, func(q *sgxsim.QEIdentity) { q.MRSIGNER = make(sgxsim.HexBytes, 32) }),
		}},
		{id: 161, attempts: []attempt{
			{name: "report", want: mismatch, make: func(l *lab) { l.quote().QEReport.ISVProdID = 2; l.signReport() }},
			identity("identity", mismatch, func(q *sgxsim.QEIdentity) { q.ISVProdID = 257 }),
		}},
		{id: 162, attempts: []attempt{
			qe("under the mask", "qe_report/debug", func(q *sgxsim.QuotingEnclave) { q.Flags |= quote.FlagDebug }),
			{name: "outside the mask", want: "qe_report/debug", make: func(l *lab) {
				l.p.QE.Flags |= quote.FlagDebug
				l.qeIdentity(func(q *sgxsim.QEIdentity) { q.AttributesMask[0] &^= 2 })
			}},
		}},
		{id: 163, attempts: []attempt{identity("empty", "qe_identity/format", func(q *sgxsim.QEIdentity) { q.MRSIGNER = nil })}},

		{id: 164, attempts: each([]int{8, 9, 10, 11, 28, 43, 44, 47}, func(l *lab, at int) {
			l.edit(func(b []byte) []byte { b[at] ^= 1; return b })
		}, badQuote)},
		{id: 165, run: flipEach(48, 432, badQuote), attempts: []attempt{
			{name: "DEBUG cleared", want: badQuote, make: func(l *lab) {
				l.id.Debug = true
				l.quote().Body.Attributes.Flags &^= quote.FlagDebug
			}},
			{name: "another enclave's report", want: badQuote, make: func(l *lab) {
				l.id.MRENCLAVE[0]++
				other := *l.quote()
				l.q = nil
				l.id.MRENCLAVE[0]--
				l.quote().Body = other.Body
			}},
		}},
		{id: 166, attempts: badSignatures(badQuote, quoteSignature)},
		{id: 167, attempts: []attempt{
			{name: "quote", want: "ok", make: highS(quoteSignature)},
			{name: "QE report", want: "ok", make: highS(reportSignature)},
		}},
		one(168, badQuote, func(l *lab) {
			sum := sha256.Sum256(l.quote().SignedBytes())
			der, err := ecdsa.SignASN1(nil, l.p.QE.Key, sum[:])
			l.must(err)
			l.quote().Signature = [64]byte(der)
		}),
		{id: 169, attempts: []attempt{
			{name: "off the curve", want: "quote_signature/key", make: attestationKey(func(k *[64]byte) { k[63] ^= 1 })},
			{name: "zero", want: "quote_signature/key", make: attestationKey(func(k *[64]byte) { *k = [64]byte{} })},
			{name: "coordinates too large", want: "quote_signature/key", make: attestationKey(func(k *[64]byte) {
				for i := range k {
					k[i] = 0xff
				}
			})},
			{name: "another point", want: badQuote, make: attestationKey(func(k *[64]byte) {
				y := new(big.Int).SetBytes(k[32:])
				y.Sub(elliptic.P256().Params().P, y).FillBytes(k[32:])
			})},
		}},
	}
}

// attestationKey changes the key and lets the QE vouch for it.
func attestationKey(change func(*[64]byte)) func(*lab) {
	return func(l *lab) {
		change(&l.quote().AttestationKey)
		l.p.BindAttestationKey(l.quote())
		l.must(l.p.SignQEReport(l.quote()))
	}
}

func publicKey(l *lab, key *ecdsa.PrivateKey) []byte {
	raw, err := key.PublicKey.Bytes()
	l.must(err)
	return raw[1:]
}

// flipEach changes each byte of a range of the quote in turn.
func flipEach(from, to int, want string) func(*testing.T) {
	return func(t *testing.T) {
		l := newLab(t, "")
		v, err := dcap.NewVerifier(l.roots)
		if err != nil {
			t.Fatal(err)
		}
		for at := from; at < to; at++ {
			l.bytes = []func([]byte) []byte{func(b []byte) []byte { b[at] ^= 1 << (at % 8); return b }}
			if _, err := l.verify(v); code(err) != want {
				t.Fatalf("byte %d: %s, want %s", at, code(err), want)
			}
		}
		l.bytes = nil
		if _, err := l.verify(v); err != nil {
			t.Fatal(err)
		}
	}
}
