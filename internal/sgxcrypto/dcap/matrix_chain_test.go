package dcap_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// authorities are the certificates of a PCK chain with their issuers, by name.
func authorities(l *lab) map[string][2]*sgxsim.Authority {
	return map[string][2]*sgxsim.Authority{
		"leaf":         {l.p.PCK, l.p.CA()},
		"intermediate": {l.p.CA(), l.p.Root},
		"root":         {l.p.Root, l.p.Root},
	}
}

// certify changes one certificate of the PCK chain and signs it again. A changed root is trusted anew, where a verifier
// takes it.
func certify(which string, change func(*lab, *sgxsim.Certificate)) func(*lab) {
	return func(l *lab) {
		a := authorities(l)[which]
		change(l, a[0].Certificate)
		l.resign(a[0], a[1])
		if which == "root" {
			l.trust(l.p)
		}
	}
}

func chainRows() []row {
	return append(chainFormRows(), chainTrustRows()...)
}

func chainFormRows() []row {
	const format, missing = "pck_chain/format", "pck_chain/missing"
	markers := func(name, old, replacement string) attempt {
		return attempt{name: name, want: format, make: func(l *lab) { l.chain(text(l.p.PCKChain(), old, replacement)) }}
	}
	const begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
	order := func(name, want string, pick func(p *sgxsim.Platform) []*sgxsim.Authority) attempt {
		return attempt{name: name, want: want, make: func(l *lab) {
			var parts [][]byte
			for _, a := range pick(l.p) {
				parts = append(parts, a.PEM())
			}
			l.chain(parts...)
		}}
	}
	type list = []*sgxsim.Authority
	return []row{
		one(33, format, func(l *lab) { l.chain([]byte("no certificate here")) }),
		{id: 34, attempts: []attempt{
			markers("begin misspelt", begin, "-----BEGIN CERTIFICAT-----"),
			markers("begin with a dash less", begin, "----BEGIN CERTIFICATE-----"),
			markers("begin missing", begin+"\n", ""),
			markers("end misspelt", end, "-----END CERTIFICAT-----"),
			markers("end with a dash less", end, "-----END CERTIFICATE----"),
			markers("end missing", end+"\n", ""),
			{name: "inverted", want: format, make: func(l *lab) {
				l.chain(text(text(text(l.p.PCKChain(), begin, "-----X-----"), end, begin), "-----X-----", end))
			}},
			{name: "end of the last missing", want: format, make: func(l *lab) {
				l.chain(bytes.TrimSuffix(l.p.PCKChain(), []byte(end+"\n")))
			}},
			{name: "another type", want: format, make: func(l *lab) {
				l.chain(pemOf("TRUSTED CERTIFICATE", l.p.PCK.DER), l.p.CA().PEM(), l.p.Root.PEM())
			}},
			{name: "more than a chain can have", want: format, make: func(l *lab) { l.chain(bytes.Repeat(l.p.PCKChain(), 30)) }},
		}},
		{id: 35, attempts: []attempt{
			order("2", "pck_chain/count", func(p *sgxsim.Platform) list { return list{p.PCK, p.CA()} }),
			order("4", "pck_chain/count", func(p *sgxsim.Platform) list { return list{p.PCK, p.CA(), p.Root, p.Root} }),
			order("1", "pck_chain/count", func(p *sgxsim.Platform) list { return list{p.PCK} }),
		}},
		{id: 36, attempts: []attempt{
			{name: "text", want: format, make: func(l *lab) {
				l.chain(l.p.PCK.PEM(), pemOf("CERTIFICATE", []byte("not DER")), l.p.Root.PEM())
			}},
			{name: "a byte too many", want: format, make: func(l *lab) {
				l.chain(pemOf("CERTIFICATE", append(bytes.Clone(l.p.PCK.DER), 0)), l.p.CA().PEM(), l.p.Root.PEM())
			}},
		}},
		{id: 37, attempts: []attempt{
			order("root first", missing, func(p *sgxsim.Platform) list { return list{p.Root, p.CA(), p.PCK} }),
			order("intermediate first", missing, func(p *sgxsim.Platform) list { return list{p.CA(), p.PCK, p.Root} }),
		}},
		{id: 38, attempts: []attempt{
			order("the intermediate twice", missing, func(p *sgxsim.Platform) list { return list{p.PCK, p.CA(), p.CA()} }),
		}},
		{id: 39, attempts: []attempt{
			order("the leaf twice", missing, func(p *sgxsim.Platform) list { return list{p.PCK, p.PCK, p.Root} }),
			order("the root twice", missing, func(p *sgxsim.Platform) list { return list{p.PCK, p.Root, p.Root} }),
		}},
		{id: 40, attempts: []attempt{
			order("the intermediate twice", missing, func(p *sgxsim.Platform) list { return list{p.CA(), p.CA(), p.Root} }),
			order("the TCB signer instead", missing, func(p *sgxsim.Platform) list { return list{p.TCBSigner, p.CA(), p.Root} }),
		}},
		{id: 41, attempts: []attempt{
			{name: "leaf", want: "pck_chain/subject", make: certify("leaf", func(l *lab, c *sgxsim.Certificate) { c.Subject = l.name("Server") })},
			{name: "intermediate", want: "pck_chain/subject", make: func(l *lab) {
				l.p.CA().Certificate.Subject = l.name("CA")
				l.resign(l.p.CA(), l.p.Root)
			}},
			{name: "root", want: "pck_chain/subject", make: func(l *lab) {
				c := l.p.Root.Certificate
				c.Subject, c.Issuer = l.name("Root CA"), l.name("Root CA")
				l.resign(l.p.Root, l.p.Root)
			}},
		}},
		one(42, "pck_chain/issuer", certify("leaf", func(l *lab, c *sgxsim.Certificate) { c.Issuer = l.name(sgxsim.PlatformCAName + " 2") })),
	}
}

func chainTrustRows() []row {
	const trustedRoot = "config"
	window := func(which string, change func(c *sgxsim.Certificate), want string) attempt {
		return attempt{name: which, want: want, make: certify(which, func(_ *lab, c *sgxsim.Certificate) { change(c) })}
	}
	expire := func(c *sgxsim.Certificate) { c.NotAfter = labTime.Add(-time.Second) }
	future := func(c *sgxsim.Certificate) { c.NotBefore = labTime.Add(time.Second) }
	exact := func(c *sgxsim.Certificate) { c.NotAfter = labTime }
	start := func(c *sgxsim.Certificate) { c.NotBefore = labTime }
	return []row{
		one(43, "pck_chain/signature", func(l *lab) { l.resign(l.p.PCK, l.p.Root) }),
		one(44, "pck_chain/signature", func(l *lab) { l.resign(l.p.CA(), l.p.TCBSigner) }),
		one(45, "pck_chain/root", func(l *lab) { l.resign(l.p.Root, l.p.TCBSigner) }),
		{id: 46, attempts: []attempt{
			{name: "another simulated platform", want: "pck_chain/untrusted_root", make: func(l *lab) { l.trust(newLab(l.tb, "").p) }},
			{name: "only Intel trusted", want: "pck_chain/untrusted_root", make: func(l *lab) { l.roots = nil }},
			{name: "Intel's names", want: "pck_chain/untrusted_root", make: func(l *lab) { l.roots = nil; intelNames(l) }},
			{name: "the trusted key in a certificate that is not trusted", want: "pck_chain/untrusted_root", make: func(l *lab) {
				l.p.Root = l.reissuedRoot(func(c *sgxsim.Certificate) { c.NotAfter = c.NotAfter.Add(time.Hour) })
			}},
		}},
		{id: 47, attempts: []attempt{
			{name: "the intermediate", want: trustedRoot, make: func(l *lab) { l.roots = []*x509.Certificate{l.cert(l.p.CA())} }},
			{name: "the leaf", want: trustedRoot, make: func(l *lab) { l.roots = []*x509.Certificate{l.cert(l.p.PCK)} }},
			{name: "self-issued by another key", want: trustedRoot, make: func(l *lab) {
				l.resign(l.p.Root, l.p.TCBSigner)
				l.trust(l.p)
			}},
			{name: "not a CA", want: trustedRoot, make: func(l *lab) {
				l.p.Root.Certificate.Extension(sgxsim.OIDBasicConstraints).Value = []byte{0x30, 0}
				l.resign(l.p.Root, l.p.Root)
				l.trust(l.p)
			}},
			{name: "none", want: trustedRoot, make: func(l *lab) { l.roots = []*x509.Certificate{} }},
			{name: "nil", want: trustedRoot, make: func(l *lab) { l.roots = []*x509.Certificate{nil} }},
		}},
		{id: 48, run: func(t *testing.T) {
			l := newLab(t, "")
			for name, text := range map[string][]byte{
				"empty": nil, "text": []byte("root"), "not DER": pemOf("CERTIFICATE", []byte("x")), "a CRL": pemOf("X509 CRL", l.collateral().RootCACRL),
				"not a root": l.p.CA().PEM(), "DER": l.p.Root.DER,
			} {
				if roots, err := dcap.ParseRoots(text); code(err) != "config" || roots != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if roots, err := dcap.ParseRoots(l.p.RootPEM()); err != nil || len(roots) != 1 {
				t.Errorf("a root: %v", err)
			}
		}},
		{id: 49, attempts: []attempt{
			window("root", expire, "pck_chain/expired"),
			window("intermediate", expire, "pck_chain/expired"),
			window("leaf", expire, "pck_chain/expired"),
		}},
		{id: 50, attempts: []attempt{
			window("root", exact, "ok"),
			window("intermediate", exact, "ok"),
			window("leaf", exact, "ok"),
			{name: "notBefore", want: "ok", make: certify("leaf", func(_ *lab, c *sgxsim.Certificate) { start(c) })},
		}},
		{id: 51, attempts: []attempt{
			window("leaf", future, "pck_chain/not_yet_valid"),
			window("intermediate", future, "pck_chain/not_yet_valid"),
			window("root", future, "pck_chain/not_yet_valid"),
		}},
		{id: 52, attempts: withoutExtensions()},
		{id: 53, attempts: []attempt{
			{name: "leaf is a CA", want: "pck_chain/constraints", make: certify("leaf", func(l *lab, c *sgxsim.Certificate) {
				c.Extension(sgxsim.OIDBasicConstraints).Value = l.p.CA().Certificate.Extension(sgxsim.OIDBasicConstraints).Value
			})},
			{name: "intermediate is none", want: "pck_chain/constraints", make: certify("intermediate", func(_ *lab, c *sgxsim.Certificate) {
				c.Extension(sgxsim.OIDBasicConstraints).Value = []byte{0x30, 0}
			})},
			{name: "leaf must not sign", want: "pck_chain/constraints", make: certify("leaf", func(_ *lab, c *sgxsim.Certificate) {
				c.Extension(sgxsim.OIDKeyUsage).Value = []byte{3, 2, 5, 0x20} // key encipherment
			})},
			{name: "intermediate must not sign CRLs", want: "pck_chain/constraints", make: certify("intermediate", func(_ *lab, c *sgxsim.Certificate) {
				c.Extension(sgxsim.OIDKeyUsage).Value = []byte{3, 2, 2, 0x04}
			})},
			{name: "intermediate must not sign certificates", want: "pck_chain/constraints", make: certify("intermediate", func(_ *lab, c *sgxsim.Certificate) {
				c.Extension(sgxsim.OIDKeyUsage).Value = []byte{3, 2, 1, 0x02}
			})},
			{name: "path length", want: "config", make: certify("root", func(_ *lab, c *sgxsim.Certificate) {
				c.Extension(sgxsim.OIDBasicConstraints).Value = []byte{0x30, 6, 1, 1, 0xff, 2, 1, 0}
			})},
			{name: "path length of an untrusted root", want: "pck_chain/constraints", make: func(l *lab) {
				l.p.Root.Certificate.Extension(sgxsim.OIDBasicConstraints).Value = []byte{0x30, 6, 1, 1, 0xff, 2, 1, 0}
				l.resign(l.p.Root, l.p.Root)
			}},
			{name: "unknown critical extension", want: "pck_chain/extensions", make: certify("leaf", func(_ *lab, c *sgxsim.Certificate) {
				c.Extensions = critical(c.Extensions)
			})},
		}},
		{id: 54, attempts: otherKeys()},
		{id: 55, attempts: []attempt{
			{name: "off the curve", want: "pck_chain/key", make: certify("leaf", func(_ *lab, c *sgxsim.Certificate) {
				c.PublicKey = bytes.Clone(c.PublicKey)
				c.PublicKey[len(c.PublicKey)-1] ^= 1
			})},
			{name: "at infinity", want: "pck_chain/key", make: certify("leaf", func(_ *lab, c *sgxsim.Certificate) {
				c.PublicKey = append(bytes.Clone(c.PublicKey[:len(c.PublicKey)-65]), append([]byte{4}, make([]byte, 64)...)...)
			})},
		}},
		{id: 56, attempts: []attempt{
			{name: "leaf of the Processor CA", want: "pck_chain/issuer", make: func(l *lab) {
				l.p.PCK.Certificate.Issuer = l.p.ProcessorCA.Certificate.Subject
				l.resign(l.p.PCK, l.p.ProcessorCA)
			}},
			{name: "with the right name only", want: "pck_chain/signature", make: func(l *lab) { l.resign(l.p.PCK, l.p.ProcessorCA) }},
		}},
	}
}

// intelNames gives a simulated platform the names of Intel's certificates.
func intelNames(l *lab) {
	name := func(cn string) []byte { return l.name(cn) }
	root := name("Intel SGX Root CA")
	p := l.p
	p.Root.Certificate.Subject, p.Root.Certificate.Issuer = root, root
	p.PlatformCA.Certificate.Subject, p.PlatformCA.Certificate.Issuer = name("Intel SGX PCK Platform CA"), root
	p.TCBSigner.Certificate.Subject, p.TCBSigner.Certificate.Issuer = name("Intel SGX TCB Signing"), root
	p.PCK.Certificate.Subject, p.PCK.Certificate.Issuer = name("Intel SGX PCK Certificate"), name("Intel SGX PCK Platform CA")
	l.resign(p.Root, p.Root)
	l.resign(p.PlatformCA, p.Root)
	l.resign(p.TCBSigner, p.Root)
	l.resign(p.PCK, p.PlatformCA)
}

func withoutExtensions() []attempt {
	var all []attempt
	for name, id := range map[string]asn1.ObjectIdentifier{
		"AKI": sgxsim.OIDAuthorityKeyID, "SKI": sgxsim.OIDSubjectKeyID, "key usage": sgxsim.OIDKeyUsage,
		"basic constraints": sgxsim.OIDBasicConstraints, "CRL distribution points": sgxsim.OIDCRLDistribution,
	} {
		for _, which := range []string{"leaf", "intermediate"} {
			all = append(all, attempt{name: which + " without " + name, want: "pck_chain/extensions", make: certify(which, func(_ *lab, c *sgxsim.Certificate) {
				c.Remove(id)
			})})
		}
		all = append(all, attempt{name: "root without " + name, want: "pck_chain/extensions", make: func(l *lab) {
			l.p.Root.Certificate.Remove(id)
			l.resign(l.p.Root, l.p.Root)
		}})
	}
	return all
}

func otherKeys() []attempt {
	var all []attempt
	for _, which := range []string{"leaf", "intermediate", "root"} {
		all = append(all,
			attempt{name: which + " P-384", want: "pck_chain/key", make: func(l *lab) {
				a := authorities(l)[which]
				_, a[0].Certificate.PublicKey = l.otherKey(elliptic.P384())
				l.resign(a[0], a[1])
			}},
			attempt{name: which + " RSA", want: "pck_chain/key", make: func(l *lab) {
				key, err := rsa.GenerateKey(rand.Reader, 2048)
				l.must(err)
				a := authorities(l)[which]
				a[0].Certificate.PublicKey, err = x509.MarshalPKIXPublicKey(key.Public())
				l.must(err)
				l.resign(a[0], a[1])
			}},
		)
	}
	return all
}
