package dcap_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// crls names the two lists: how to change the signed fields, and where the bytes are.
type crls struct {
	stage string
	sign  func(*lab, func(*sgxsim.CRL))
	bytes func(*lab) *[]byte
}

func bothCRLs() []crls {
	return []crls{
		{"root_crl", (*lab).rootCRL, func(l *lab) *[]byte { return &l.collateral().RootCACRL }},
		{"pck_crl", (*lab).pckCRL, func(l *lab) *[]byte { return &l.collateral().PCKCRL }},
	}
}

// onBoth makes the same change to either list.
func onBoth(reason, name string, change func(*sgxsim.CRL)) []attempt {
	var all []attempt
	for _, c := range bothCRLs() {
		want := reason
		if want != "ok" {
			want = c.stage + "/" + reason
		}
		all = append(all, attempt{name: c.stage + " " + name, want: want, make: func(l *lab) { c.sign(l, change) }})
	}
	return all
}

// bytesOfBoth makes the same change to the bytes of either list.
func bytesOfBoth(reason, name string, change func([]byte) []byte) []attempt {
	var all []attempt
	for _, c := range bothCRLs() {
		want := reason
		if want != "ok" {
			want = c.stage + "/" + reason
		}
		all = append(all, attempt{name: c.stage + " " + name, want: want, make: func(l *lab) {
			data := c.bytes(l)
			*data = change(bytes.Clone(*data))
		}})
	}
	return all
}

func concat(groups ...[]attempt) []attempt {
	var all []attempt
	for _, g := range groups {
		all = append(all, g...)
	}
	return all
}

func crlRows() []row {
	hexOf := func(b []byte) []byte { return []byte(hex.EncodeToString(b)) }
	pemCRL := func(b []byte) []byte { return pemOf("X509 CRL", b) }
	return []row{
		one(57, "collateral_missing/root_ca_crl", func(l *lab) { l.collateral().RootCACRL = nil }),
		one(58, "collateral_missing/pck_crl", func(l *lab) { l.collateral().PCKCRL = nil }),
		{id: 59, attempts: damaged("root_crl")},
		{id: 60, attempts: damaged("pck_crl")},
		{id: 61, attempts: concat(
			bytesOfBoth("ok", "PEM", pemCRL),
			bytesOfBoth("ok", "PEM with CRLF", func(b []byte) []byte { return crlf(pemCRL(b)) }),
			bytesOfBoth("ok", "hex", hexOf),
			[]attempt{{name: "mixed", want: "ok", make: func(l *lab) {
				l.collateral().RootCACRL = hexOf(l.collateral().RootCACRL)
				l.collateral().PCKCRL = pemCRL(l.collateral().PCKCRL)
			}}},
		)},
		{id: 62, attempts: []attempt{
			{name: "CRL and chain", want: "pck_crl/unknown_issuer", make: func(l *lab) {
				otherCA(l, l.p)
				l.collateral().PCKCRLIssuerChain = l.p.PCKCRLChain(sgxsim.CAProcessor)
			}},
			{name: "CRL only", want: "pck_crl/unknown_issuer", make: func(l *lab) { otherCA(l, l.p) }},
			{name: "chain only", want: "pck_crl/unknown_issuer", make: func(l *lab) {
				l.collateral().PCKCRLIssuerChain = l.p.PCKCRLChain(sgxsim.CAProcessor)
			}},
			{name: "chain under another root", want: "pck_crl/untrusted_root", make: func(l *lab) {
				l.collateral().PCKCRLIssuerChain = newLab(l.tb, "").p.PCKCRLChain(sgxsim.CAPlatform)
			}},
			{name: "chain of the TCB signer", want: "pck_crl/signing_chain", make: func(l *lab) {
				l.collateral().PCKCRLIssuerChain = l.p.TCBSigningChain()
			}},
			{name: "same key, other name", want: "pck_crl/unknown_issuer", make: func(l *lab) {
				twinCA(l, func(c *sgxsim.Certificate) { c.Subject = l.name(sgxsim.ProcessorCAName) })
			}},
			{name: "same name, other key", want: "pck_crl/unknown_issuer", make: func(l *lab) {
				// A second PCK CA of the same name, whose CRL nobody asked for.
				ca := *l.p.CA().Certificate
				_, ca.PublicKey = l.otherKey(l.p.CA().Key.Curve)
				twin := &sgxsim.Authority{Certificate: &ca}
				l.resign(twin, l.p.Root)
				l.collateral().PCKCRLIssuerChain = append(twin.PEM(), l.p.RootPEM()...)
			}},
		}},
		{id: 63, attempts: []attempt{
			{name: "root CRL as PCK CRL", want: "pck_crl/unknown_issuer", make: func(l *lab) { l.collateral().PCKCRL = l.collateral().RootCACRL }},
			{name: "PCK CRL as root CRL", want: "root_crl/unknown_issuer", make: func(l *lab) { l.collateral().RootCACRL = l.collateral().PCKCRL }},
		}},
		{id: 64, attempts: concat(
			bytesOfBoth("signature", "last bit", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }),
			[]attempt{
				{name: "another key of the same name", want: "pck_crl/signature", make: func(l *lab) {
					crl, err := l.p.PCKCRL(labTime, l.p.Machine.CA)
					l.must(err)
					key, _ := l.otherKey(l.p.CA().Key.Curve)
					l.collateral().PCKCRL, err = crl.DER(key)
					l.must(err)
				}},
				{name: "the root for the PCK CA", want: "pck_crl/signature", make: func(l *lab) {
					crl, err := l.p.PCKCRL(labTime, l.p.Machine.CA)
					l.must(err)
					l.collateral().PCKCRL, err = crl.DER(l.p.Root.Key)
					l.must(err)
				}},
			},
		)},
		{id: 65, attempts: concat(
			onBoth("extensions", "without number", func(c *sgxsim.CRL) { c.Remove(sgxsim.OIDCRLNumber) }),
			onBoth("extensions", "without AKI", func(c *sgxsim.CRL) { c.Remove(sgxsim.OIDAuthorityKeyID) }),
		)},
		one(66, "pck_crl/revoked", func(l *lab) { l.p.RevokedPCK = revoked(l.p.PCK) }),
		{id: 67, attempts: []attempt{
			{name: "the CA", want: "root_crl/revoked", make: func(l *lab) { l.p.RevokedByRoot = revoked(l.p.CA()) }},
			{name: "the quote's certificate of the CA, the CRL's is another", want: "root_crl/revoked", make: func(l *lab) {
				l.quote()
				twinCA(l, func(*sgxsim.Certificate) {})
				l.p.RevokedByRoot = revoked(l.p.CA())
				l.rootCRL(func(c *sgxsim.CRL) { c.Revoked = l.p.RevokedByRoot })
			}},
			{name: "the CRL's certificate of the CA, the quote's is another", want: "root_crl/revoked", make: func(l *lab) {
				twin := twinCA(l, func(*sgxsim.Certificate) {})
				l.rootCRL(func(c *sgxsim.CRL) { c.Revoked = revoked(twin) })
			}},
			{name: "neither of two certificates", want: "ok", make: func(l *lab) { twinCA(l, func(*sgxsim.Certificate) {}) }},
		}},
		one(68, "tcb_info/revoked", func(l *lab) { l.p.RevokedByRoot = revoked(l.p.TCBSigner) }),
		{id: 69, attempts: []attempt{
			{name: "high bit", want: "pck_crl/revoked", make: revokedSerial(new(big.Int).Lsh(big.NewInt(0xff), 152))},
			{name: "one", want: "pck_crl/revoked", make: revokedSerial(big.NewInt(1))},
			{name: "0x80", want: "pck_crl/revoked", make: revokedSerial(big.NewInt(0x80))},
			{name: "among others", want: "pck_crl/revoked", make: func(l *lab) {
				for i := range int64(500) {
					l.p.RevokedPCK = append(l.p.RevokedPCK, big.NewInt(i+1))
				}
				l.p.RevokedPCK = append(l.p.RevokedPCK, revoked(l.p.PCK)...)
			}},
			{name: "a neighbour", want: "ok", make: func(l *lab) {
				l.p.RevokedPCK = []*big.Int{new(big.Int).Add(l.p.PCK.Certificate.Serial, big.NewInt(1))}
			}},
		}},
		one(70, "pck_crl/revoked", func(l *lab) {
			l.p.RevokedPCK = revoked(l.p.PCK)
			l.pckCRL(func(c *sgxsim.CRL) { c.RevokedAt = labTime.AddDate(1, 0, 0) })
		}),
		one(71, "root_crl/expired", func(l *lab) { l.rootCRL(func(c *sgxsim.CRL) { c.NextUpdate = labTime.Add(-time.Second) }) }),
		one(72, "pck_crl/expired", func(l *lab) { l.pckCRL(func(c *sgxsim.CRL) { c.NextUpdate = labTime.Add(-time.Second) }) }),
		{id: 73, attempts: concat(
			onBoth("not_yet_valid", "before thisUpdate", func(c *sgxsim.CRL) { c.ThisUpdate = labTime.Add(time.Second) }),
			onBoth("ok", "at thisUpdate", func(c *sgxsim.CRL) { c.ThisUpdate = labTime }),
			onBoth("ok", "at nextUpdate", func(c *sgxsim.CRL) { c.NextUpdate = labTime }),
		)},
		{id: 74, attempts: concat(
			onBoth("date", "between the two", func(c *sgxsim.CRL) { c.ThisUpdate, c.NextUpdate = labTime.Add(time.Hour), labTime.Add(-time.Hour) }),
			onBoth("date", "in the past", func(c *sgxsim.CRL) { c.NextUpdate = c.ThisUpdate.Add(-time.Second) }),
			onBoth("ok", "the same second", func(c *sgxsim.CRL) { c.ThisUpdate, c.NextUpdate = labTime, labTime }),
		)},
		{id: 75, attempts: onBoth("date", "without nextUpdate", func(c *sgxsim.CRL) { c.NoNextUpdate = true })},
		{id: 76, attempts: concat(
			onBoth("extensions", "unknown critical", func(c *sgxsim.CRL) { c.Extensions = critical(c.Extensions) }),
			onBoth("extensions", "delta", func(c *sgxsim.CRL) {
				c.Extensions = append(c.Extensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Value: []byte{2, 1, 1}})
			}),
			onBoth("extensions", "indirect", func(c *sgxsim.CRL) {
				c.Extensions = append(c.Extensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Value: []byte{0x30, 3, 0x84, 1, 0xff}})
			}),
			onBoth("ok", "unknown and not critical", func(c *sgxsim.CRL) {
				c.Extensions = append(c.Extensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Value: []byte{5, 0}})
			}),
			onBoth("ok", "number critical", func(c *sgxsim.CRL) { c.Extension(sgxsim.OIDCRLNumber).Critical = true }),
			onBoth("format", "AKI critical", func(c *sgxsim.CRL) { c.Extension(sgxsim.OIDAuthorityKeyID).Critical = true }),
			entryExtensions(),
		)},
	}
}

// twinCA puts another certificate of the PCK CA's key into the CRL's issuer chain.
func twinCA(l *lab, change func(*sgxsim.Certificate)) *sgxsim.Authority {
	c := *l.p.CA().Certificate
	c.Serial = big.NewInt(4242)
	change(&c)
	twin := &sgxsim.Authority{Certificate: &c, Key: l.p.CA().Key}
	l.resign(twin, l.p.Root)
	l.collateral().PCKCRLIssuerChain = append(twin.PEM(), l.p.RootPEM()...)
	return twin
}

func revoked(a *sgxsim.Authority) []*big.Int { return []*big.Int{a.Certificate.Serial} }

func revokedSerial(serial *big.Int) func(*lab) {
	return func(l *lab) {
		l.p.PCK.Certificate.Serial = serial
		l.resign(l.p.PCK, l.p.CA())
		l.p.RevokedPCK = []*big.Int{serial}
	}
}

// otherCA puts the CRL of the Processor CA into a Platform CA's collateral.
func otherCA(l *lab, p *sgxsim.Platform) {
	crl, err := p.PCKCRL(labTime, sgxsim.CAProcessor)
	l.must(err)
	l.collateral().PCKCRL, err = crl.DER(p.ProcessorCA.Key)
	l.must(err)
}

func damaged(stage string) []attempt {
	var all []attempt
	for _, d := range []struct {
		name   string
		change func([]byte) []byte
	}{
		{"text", func([]byte) []byte { return []byte("no CRL") }},
		{"cut DER", func(b []byte) []byte { return b[:len(b)-1] }},
		{"a byte after DER", func(b []byte) []byte { return append(b, 0) }},
		{"an element after the signature", func(b []byte) []byte {
			var parts []asn1.RawValue
			if _, err := asn1.Unmarshal(b, &parts); err != nil {
				return nil
			}
			der, _ := asn1.Marshal(append(parts, asn1.NullRawValue))
			return der
		}},
		{"DER of something else", func([]byte) []byte { return []byte{0x30, 3, 2, 1, 1} }},
		{"a list of three other things", func([]byte) []byte { return []byte{0x30, 9, 2, 1, 1, 2, 1, 1, 2, 1, 1} }},
		{"cut PEM", func(b []byte) []byte { p := pemOf("X509 CRL", b); return p[:len(p)-10] }},
		{"PEM of a certificate", func(b []byte) []byte { return pemOf("CERTIFICATE", b) }},
		{"two PEM blocks", func(b []byte) []byte { return bytes.Repeat(pemOf("X509 CRL", b), 2) }},
		{"damaged, then whole PEM", func(b []byte) []byte {
			return append([]byte("-----BEGIN X509 CRL-----\n!!!\n"), pemOf("X509 CRL", b)...)
		}},
		{"text after PEM", func(b []byte) []byte { return append(pemOf("X509 CRL", b), "x"...) }},
		{"odd hex", func(b []byte) []byte { return []byte(hex.EncodeToString(b)[1:]) }},
		{"hex with an X", func(b []byte) []byte { return []byte(strings.Replace(hex.EncodeToString(b), "0", "X", 1)) }},
		{"white space", func([]byte) []byte { return []byte(" \n") }},
		{"enormous", func(b []byte) []byte { return append(b, make([]byte, 3<<20)...) }},
	} {
		for _, a := range bytesOfBoth("format", d.name, d.change) {
			if strings.HasPrefix(a.name, stage) {
				all = append(all, a)
			}
		}
	}
	return all
}

// entryExtensions lists a neighbour of the PCK certificate, with an extension that only matters to it.
func entryExtensions() []attempt {
	build := func(ext pkix.Extension) func(*lab) {
		return func(l *lab) {
			der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
				Number: big.NewInt(1), ThisUpdate: labTime.Add(-time.Hour), NextUpdate: labTime.Add(time.Hour),
				SignatureAlgorithm: x509.ECDSAWithSHA256,
				RevokedCertificateEntries: []x509.RevocationListEntry{{
					SerialNumber: big.NewInt(5), RevocationTime: labTime, ExtraExtensions: []pkix.Extension{ext},
				}},
			}, l.cert(l.p.CA()), l.p.CA().Key)
			l.must(err)
			l.collateral().PCKCRL = der
		}
	}
	return []attempt{
		{name: "critical in an entry", want: "pck_crl/extensions", make: build(pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})},
		{name: "certificate issuer in an entry", want: "pck_crl/extensions", make: build(pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Value: []byte{0x30, 0}})},
		{name: "not critical in an entry", want: "ok", make: build(pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: []byte{5, 0}})},
	}
}
