package dcap_test

import (
	"bytes"
	"encoding/pem"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
)

// FuzzVerify changes the bytes of a good quote. What is still accepted must say the same of the same enclave: only the
// PEM armour, which nothing signs, and the signatures, which have a twin each, can differ.
func FuzzVerify(f *testing.F) {
	l := newLab(f, "")
	good := l.raw()
	want, err := l.verify(nil)
	if err != nil {
		f.Fatal(err)
	}
	v := l.verifier()
	c := l.collateral()
	f.Add(0, byte(0), 0, []byte{})
	for at := 0; at < len(good); at += 97 {
		f.Add(at, byte(1), 0, []byte{})
	}
	for _, at := range []int{432, 436, 500, 948, 1012, 1046, 1048, 1052, len(good)} {
		f.Add(at, byte(0), 1, []byte{})
		f.Add(at, byte(0), 0, []byte{0})
		f.Add(at, byte(0xff), 3, []byte("\r\n "))
	}
	f.Fuzz(func(t *testing.T, at int, flip byte, remove int, insert []byte) {
		if at < 0 || at > len(good) || remove < 0 || remove > len(good)-at || len(insert) > 4096 {
			return
		}
		raw := append(append(bytes.Clone(good[:at]), insert...), good[at+remove:]...)
		if at < len(raw) {
			raw[at] ^= flip
		}
		q, err := quote.Parse(raw)
		if err != nil {
			return
		}
		got, err := v.Verify(q, c, labTime)
		if err != nil {
			if code(err)[:4] == "uncl" {
				t.Errorf("unclassified error %v", err)
			}
			return
		}
		if got.Report != want.Report || got.QE != want.QE || got.Status != want.Status || got.PCK.FMSPC != want.PCK.FMSPC {
			t.Errorf("another verdict is accepted: %+v", got)
		}
		original, err := quote.Parse(good)
		if err != nil {
			t.Fatal(err)
		}
		if q.AttestationKey != original.AttestationKey || !bytes.Equal(q.QEAuthData, original.QEAuthData) || q.Header != original.Header {
			t.Error("an unsigned field has changed")
		}
		if !bytes.Equal(ders(q.CertificationData), ders(original.CertificationData)) {
			t.Error("another chain is accepted")
		}
	})
}

// ders joins the certificates of a chain.
func ders(text []byte) []byte {
	var all []byte
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		all = append(all, block.Bytes...)
	}
	return all
}

// TestOneByteOfCollateral changes one byte after the other of each piece of collateral. All but the armour of PEM and the letter case
// of hex digits is covered by a signature.
func TestOneByteOfCollateral(t *testing.T) {
	l := newLab(t, "")
	good := *l.collateral()
	v := l.verifier() // so that only what has changed is verified anew
	want, err := l.verify(v)
	l.must(err)
	for _, piece := range []struct {
		name string
		of   func(*dcap.Collateral) *[]byte
		all  bool // not one byte may be changed
	}{
		{"TCB info", func(c *dcap.Collateral) *[]byte { return &c.TCBInfo }, false},
		{"TCB info chain", func(c *dcap.Collateral) *[]byte { return &c.TCBInfoIssuerChain }, false},
		{"QE identity", func(c *dcap.Collateral) *[]byte { return &c.QEIdentity }, false},
		{"QE identity chain", func(c *dcap.Collateral) *[]byte { return &c.QEIdentityIssuerChain }, false},
		{"PCK CRL", func(c *dcap.Collateral) *[]byte { return &c.PCKCRL }, true},
		{"PCK CRL chain", func(c *dcap.Collateral) *[]byte { return &c.PCKCRLIssuerChain }, false},
		{"root CRL", func(c *dcap.Collateral) *[]byte { return &c.RootCACRL }, true},
	} {
		t.Run(piece.name, func(t *testing.T) {
			refused, step := 0, 3
			if piece.all {
				step = 1
			}
			for at := 0; at < len(*piece.of(&good)); at += step {
				c := good
				changed := bytes.Clone(*piece.of(&good))
				changed[at] ^= 1
				*piece.of(&c) = changed
				l.c = &c
				got, err := l.verify(v)
				if err != nil {
					refused++
					continue
				}
				if got.Status != want.Status || got.EarliestExpiry != want.EarliestExpiry || got.EvaluationNumber != want.EvaluationNumber {
					t.Errorf("byte %d changes the verdict", at)
				}
				if !bytes.Equal(ders(changed), ders(*piece.of(&good))) {
					t.Errorf("byte %d (%q) changes a certificate and is accepted", at, changed[at])
				}
				if piece.all {
					t.Errorf("byte %d of the CRL is not covered", at)
				}
			}
			if refused == 0 {
				t.Error("nothing was refused")
			}
		})
	}
}
