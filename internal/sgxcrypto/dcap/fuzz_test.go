package dcap

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// seed adds the files that match patterns below testdata and below the reference vectors, where they are at hand, as
// cut makes seeds of them. A target without seeds fails: it would look like one that finds nothing.
func seed(f *testing.F, cut func([]byte) [][]byte, patterns ...string) {
	f.Helper()
	seeds := 0
	for _, dir := range []string{"testdata", filepath.Join("..", "..", "..", "..", "shared", "vectors")} {
		for _, pattern := range patterns {
			names, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(pattern)))
			if err != nil {
				f.Fatal(err)
			}
			for _, name := range names {
				data, err := os.ReadFile(name)
				if err != nil {
					f.Fatal(err)
				}
				for _, s := range cut(data) {
					f.Add(s)
					seeds++
				}
			}
		}
	}
	if seeds == 0 {
		f.Fatal("no seeds")
	}
}

func whole(b []byte) [][]byte { return [][]byte{b} }

// mustBeError fails unless err is an *Error of a stage with a reason.
func mustBeError(t *testing.T, err error, stages ...Stage) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Reason == "" || e.What == "" || !slices.Contains(stages, e.Stage) {
		t.Fatalf("error without particulars: %#v", err)
	}
}

// FuzzEnvelope: what is taken for the signed bytes stands in the text as it is, and encoding/json sees the same members.
func FuzzEnvelope(f *testing.F) {
	seed(f, whole, "tcbinfo.json", "qeidentity.json", "dcap-genuine/tcb/*.json", "dcap-genuine/qe/*.json")
	f.Add([]byte(`{"tcbInfo":{},"tcbInfo":{},"signature":""}`))
	f.Add([]byte(" {\n\"signature\" : \"\", \"tcbInfo\":{} }"))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, spec := range []documentSpec{tcbInfoSpec, qeIdentitySpec} {
			signed, signature, err := parseEnvelope(body, spec)
			if err != nil {
				mustBeError(t, err, spec.stage)
				continue
			}
			var members map[string]json.RawMessage
			var digits string
			if json.Unmarshal(body, &members) != nil || len(members) != 2 || json.Unmarshal(members["signature"], &digits) != nil {
				t.Fatalf("encoding/json does not read %q", body)
			}
			raw, err := hex.DecodeString(digits)
			if err != nil || !bytes.Equal(raw, signature[:]) {
				t.Errorf("signature %x of %q", signature, digits)
			}
			if !bytes.Equal(members[spec.member], signed) || bytes.Count(body, signed) == 0 || !json.Valid(signed) || signed[0] != '{' || signed[len(signed)-1] != '}' {
				t.Errorf("signed bytes %q", signed)
			}
		}
	})
}

// objects cuts the signed objects out of a document.
func objects(body []byte) [][]byte {
	members, err := rawMembers(body)
	if err != nil {
		return nil
	}
	return [][]byte{members["tcbInfo"], members["enclaveIdentity"]}
}

func FuzzTCBInfo(f *testing.F) {
	seed(f, objects, "tcbinfo.json", "dcap-genuine/tcb/*.json", "dcap/*/tcb*.json")
	f.Fuzz(func(t *testing.T, signed []byte) {
		r := &documentReader{spec: tcbInfoSpec}
		o, err := r.parse(signed)
		if err != nil {
			mustBeError(t, err, StageTCBInfo)
			return
		}
		info := &tcbInfo{document: document{spec: tcbInfoSpec}}
		info.read(o)
		if r.err != nil {
			mustBeError(t, r.err, StageTCBInfo, StageTCBLevel)
			return
		}
		if info.version != 2 && info.version != 3 || len(info.levels) == 0 || info.nextUpdate.Before(info.issued) || info.issued.IsZero() {
			t.Errorf("accepted %+v", info)
		}
		for i, l := range info.levels {
			if _, err := ParseStatus(string(l.status)); err != nil || l.date.IsZero() {
				t.Errorf("level %d: %+v", i, l)
			}
			if i > 0 {
				above := info.levels[i-1]
				if c := bytes.Compare(above.components[:], l.components[:]); c < 0 || c == 0 && above.pcesvn <= l.pcesvn {
					t.Errorf("level %d is not below the one before", i)
				}
			}
		}
		// Its own highest level is what a platform of just these versions is on.
		top := info.levels[0]
		if got, err := info.match(&PCK{Components: top.components, PCESVN: top.pcesvn}); err != nil || got.status != top.status {
			t.Errorf("the top level matches %+v, %v", got, err)
		}
	})
}

func FuzzQEIdentity(f *testing.F) {
	seed(f, objects, "qeidentity.json", "dcap-genuine/qe/*.json", "dcap/*/qe*.json")
	f.Fuzz(func(t *testing.T, signed []byte) {
		r := &documentReader{spec: qeIdentitySpec}
		o, err := r.parse(signed)
		if err != nil {
			mustBeError(t, err, StageQEIdentity)
			return
		}
		id := &qeIdentity{document: document{spec: qeIdentitySpec}}
		id.read(o)
		if r.err != nil {
			mustBeError(t, r.err, StageQEIdentity)
			return
		}
		if len(id.levels) == 0 || id.nextUpdate.Before(id.issued) || id.issued.IsZero() {
			t.Errorf("accepted %+v", id)
		}
		for i, l := range id.levels {
			if !isQEStatus(l.status) || l.date.IsZero() || i > 0 && id.levels[i-1].isvsvn <= l.isvsvn {
				t.Errorf("level %d: %+v", i, l)
			}
			if got, err := id.match(l.isvsvn); err != nil || got.isvsvn != l.isvsvn {
				t.Errorf("level %d matches %+v, %v", i, got, err)
			}
		}
	})
}

func FuzzCRL(f *testing.F) {
	issuers := map[string]*x509.Certificate{}
	for _, name := range []string{"root.pem", "pck_crl_chain.pem"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		certs, err := readCertificates(text, name)
		if err != nil {
			f.Fatal(err)
		}
		issuers[string(certs[0].RawSubject)] = certs[0]
	}
	seed(f, func(b []byte) [][]byte { return [][]byte{b, pemCRL(b), []byte(hex.EncodeToString(b))} }, "*crl.der", "dcap-genuine/crl/*.der")
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, issuer := range issuers {
			list, err := verifyCRL(data, issuer, StagePCKCRL, "CRL")
			if err != nil {
				mustBeError(t, err, StagePCKCRL)
				continue
			}
			// Nothing can be added to a signed list: its DER is one of the two in testdata.
			der, err := crlDER(data)
			if err != nil {
				t.Fatal(err)
			}
			if !known(t, der, "rootcrl.der", "pckcrl.der") {
				t.Errorf("accepted another list: %x (%+v)", der, list)
			}
		}
	})
}

func pemCRL(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// known reports whether der has the signed part of one of the files. The signature after it is ECDSA's and so has a twin.
func known(t *testing.T, der []byte, names ...string) bool {
	t.Helper()
	for _, name := range names {
		file, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		var want, got []asn1.RawValue
		if _, err := asn1.Unmarshal(file, &want); err != nil {
			t.Fatal(err)
		}
		if rest, err := asn1.Unmarshal(der, &got); err == nil && len(rest) == 0 && len(got) == 3 && bytes.Equal(got[0].FullBytes, want[0].FullBytes) {
			return true
		}
	}
	return false
}

func FuzzPCKExtension(f *testing.F) {
	seed(f, func(text []byte) [][]byte {
		var values [][]byte
		if i := bytes.Index(text, []byte(pemBegin)); i >= 0 {
			certs, err := readCertificates(text[i:], "chain")
			if err == nil {
				for _, e := range certs[0].Extensions {
					if e.Id.Equal(sgxExtension) {
						values = append(values, e.Value)
					}
				}
			}
		}
		return values
	}, "pck_chain.pem", "dcap-genuine/quotes/*.bin")
	f.Fuzz(func(t *testing.T, value []byte) {
		for _, ca := range []string{CAProcessor, CAPlatform} {
			r := &extensionReader{}
			pck := r.pck(value, ca)
			if r.err != nil {
				mustBeError(t, r.err, StagePCKExtensions)
				continue
			}
			if pck.CA != ca || (pck.Configuration != nil) != (ca == CAPlatform) || pck.SGXType > SGXScalableIntegrity {
				t.Errorf("accepted %+v", pck)
			}
			// encoding/asn1 must agree that there is one value and nothing after it.
			var raw asn1.RawValue
			if rest, err := asn1.Unmarshal(value, &raw); err != nil || len(rest) != 0 {
				t.Errorf("accepted %x", value)
			}
		}
	})
}

func FuzzCertificates(f *testing.F) {
	seed(f, func(text []byte) [][]byte {
		if i := bytes.Index(text, []byte(pemBegin)); i >= 0 {
			return [][]byte{text[i:]}
		}
		return nil
	}, "*.pem", "dcap-genuine/quotes/*.bin", "dcap-genuine/chain/*.pem")
	f.Fuzz(func(t *testing.T, text []byte) {
		certs, err := readCertificates(text, "chain")
		if err != nil {
			mustBeError(t, err, StagePCKChain)
			return
		}
		if len(certs) == 0 || bytes.Count(text, []byte(pemBeginMark)) != len(certs) {
			t.Errorf("%d certificates of %q", len(certs), text)
		}
	})
}
