package quote

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ccctl/terraform-provider-cc/internal/testshared"
)

// rawQuote lays a quote out by hand, without the package's own offsets: every byte of a field is the field's number.
func rawQuote(auth, certification int) []byte {
	le := binary.LittleEndian
	var b []byte
	fill := func(n int, v byte) { b = append(b, bytes.Repeat([]byte{v}, n)...) }
	b = le.AppendUint16(b, 3)
	b = le.AppendUint16(b, 2)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint16(b, 10) // QE SVN
	b = le.AppendUint16(b, 15) // PCE SVN
	b = append(b, 0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07)
	fill(20, 0x01)
	body := func(base byte) {
		fill(16, base)   // CPUSVN
		fill(4, base+1)  // MISCSELECT
		fill(12, base+2) // reserved
		fill(16, base+3) // ISVEXTPRODID
		fill(8, base+4)  // flags
		fill(8, base+5)  // XFRM
		fill(32, base+6) // MRENCLAVE
		fill(32, base+7)
		fill(32, base+8) // MRSIGNER
		fill(32, base+9)
		fill(64, base+10) // CONFIGID
		fill(2, base+11)  // ISVPRODID
		fill(2, base+12)  // ISVSVN
		fill(2, base+13)  // CONFIGSVN
		fill(42, base+14)
		fill(16, base+15) // ISVFAMILYID
		fill(64, base+16) // REPORTDATA
	}
	body(0x10)
	b = le.AppendUint32(b, uint32(64+64+384+64+2+auth+2+4+certification))
	fill(64, 0x02) // signature
	fill(64, 0x03) // attestation key
	body(0x40)
	fill(64, 0x04) // QE report signature
	b = le.AppendUint16(b, uint16(auth))
	fill(auth, 0x05)
	b = le.AppendUint16(b, 5)
	b = le.AppendUint32(b, uint32(certification))
	fill(certification, 0x06)
	return b
}

func filled(n int, v byte) []byte { return bytes.Repeat([]byte{v}, n) }

func wantBody(base byte) ReportBody {
	u16 := func(v byte) uint16 { return uint16(v)<<8 | uint16(v) }
	u64 := func(v byte) uint64 { return 0x0101010101010101 * uint64(v) }
	return ReportBody{
		CPUSVN:       [16]byte(filled(16, base)),
		MiscSelect:   0x01010101 * uint32(base+1),
		Reserved1:    [12]byte(filled(12, base+2)),
		ISVExtProdID: [16]byte(filled(16, base+3)),
		Attributes:   Attributes{Flags: u64(base + 4), XFRM: u64(base + 5)},
		MRENCLAVE:    [32]byte(filled(32, base+6)),
		Reserved2:    [32]byte(filled(32, base+7)),
		MRSIGNER:     [32]byte(filled(32, base+8)),
		Reserved3:    [32]byte(filled(32, base+9)),
		ConfigID:     [64]byte(filled(64, base+10)),
		ISVProdID:    u16(base + 11),
		ISVSVN:       u16(base + 12),
		ConfigSVN:    u16(base + 13),
		Reserved4:    [42]byte(filled(42, base+14)),
		ISVFamilyID:  [16]byte(filled(16, base+15)),
		ReportData:   [64]byte(filled(64, base+16)),
	}
}

func TestParseReadsEveryField(t *testing.T) {
	raw := rawQuote(32, 100)
	if len(raw) != 1020+132 {
		t.Fatalf("the test's quote has %d bytes", len(raw))
	}
	got, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	want := &Quote{
		Header: Header{
			Version: 3, AttestationKeyType: 2, QESVN: 10, PCESVN: 15,
			QEVendorID: IntelQEVendorID, UserData: [20]byte(filled(20, 1)),
		},
		Body:              wantBody(0x10),
		Signature:         [64]byte(filled(64, 2)),
		AttestationKey:    [64]byte(filled(64, 3)),
		QEReport:          wantBody(0x40),
		QEReportSignature: [64]byte(filled(64, 4)),
		QEAuthData:        filled(32, 5),
		CertificationType: CertPCKChain,
		CertificationData: filled(100, 6),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("parsed quote (-want +got):\n%s", diff)
	}
	if !bytes.Equal(got.SignedBytes(), raw[:432]) {
		t.Error("the signed bytes are not the first 432")
	}
	if !bytes.Equal(got.QEReport.Marshal(), raw[564:948]) {
		t.Error("the QE report is not the bytes 564 to 947")
	}
	back, err := got.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(back, raw) {
		t.Error("marshalling does not give the bytes back")
	}
}

func TestParseDoesNotAlias(t *testing.T) {
	raw := rawQuote(32, 100)
	q, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	clear(raw)
	if q.QEAuthData[0] != 5 || q.CertificationData[0] != 6 {
		t.Error("the quote changes with the buffer it was parsed from")
	}
}

func TestParseSizesOfVariableParts(t *testing.T) {
	for _, size := range []struct{ auth, certification int }{{0, 0}, {0, 1}, {1, 0}, {65535, 0}, {65535, 4096}, {32, MaxSize - MinSize - 32}} {
		raw := rawQuote(size.auth, size.certification)
		q, err := Parse(raw)
		if err != nil {
			t.Errorf("%+v: %v", size, err)
			continue
		}
		if len(q.QEAuthData) != size.auth || len(q.CertificationData) != size.certification {
			t.Errorf("%+v: parsed %d and %d bytes", size, len(q.QEAuthData), len(q.CertificationData))
		}
	}
}

func put16(at int, v uint16) func([]byte) []byte {
	return func(b []byte) []byte { binary.LittleEndian.PutUint16(b[at:], v); return b }
}

func put32(at int, v uint32) func([]byte) []byte {
	return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at:], v); return b }
}

func TestParseRefuses(t *testing.T) {
	const size = 1020 + 32 + 100 // of the base quote
	const typeAt, lengthAt = 1014 + 32, 1016 + 32
	for _, test := range []struct {
		name string
		edit func([]byte) []byte
		kind Kind
		at   int
		text string
	}{
		{"empty", func([]byte) []byte { return nil }, TooShort, 0, "header at offset 0: found 0 bytes, want 48 bytes"},
		{"header cut", func(b []byte) []byte { return b[:47] }, TooShort, 0, "header at offset 0: found 47 bytes, want 48 bytes"},
		{"fixed part cut", func(b []byte) []byte { return b[:1019] }, TooShort, 0, "quote at offset 0: found 1019 bytes, want at least 1020 bytes"},
		{"too long", func(b []byte) []byte { return append(b, make([]byte, MaxSize)...) }, TooLong, 0, "quote at offset 0: found 1049728 bytes, want at most 1048576 bytes"},
		{"last byte cut", func(b []byte) []byte { return b[:size-1] }, BadLength, 432, "signature section length at offset 432: found 716, want at most the 715 bytes that follow: it has been cut off; take the quote whole"},
		{"version 0", put16(0, 0), BadVersion, 0, "version at offset 0: found 0, want 3"},
		{"version 1", put16(0, 1), BadVersion, 0, "found 1 (EPID, retired by Intel), want 3"},
		{"version 2", put16(0, 2), BadVersion, 0, "found 2 (EPID, retired by Intel), want 3"},
		{"version 4", put16(0, 4), BadVersion, 0, "found 4 (a TDX quote, or SGX in the newer format), want 3"},
		{"version 5", put16(0, 5), BadVersion, 0, "found 5 (a TDX quote, or SGX in the newer format), want 3"},
		{"version 259", put16(0, 259), BadVersion, 0, "found 259, want 3"},
		{"a short quote of another version", func(b []byte) []byte { return put16(0, 4)(b[:48]) }, BadVersion, 0, "found 4 (a TDX"},
		{"key type 0", put16(2, 0), BadKeyType, 2, "attestation key type at offset 2: found 0 (EPID), want 2 (ECDSA P-256)"},
		{"key type 1", put16(2, 1), BadKeyType, 2, "found 1 (EPID)"},
		{"key type 3", put16(2, 3), BadKeyType, 2, "found 3 (ECDSA P-384, never put to use)"},
		{"key type 4", put16(2, 4), BadKeyType, 2, "found 4, want"},
		{"TDX", put32(4, 0x81), BadTEEType, 4, "TEE type at offset 4: found 0x81 (TDX), want 0 (SGX)"},
		{"TEE type 1", put32(4, 1), BadTEEType, 4, "found 0x1, want 0 (SGX)"},
		{"vendor", func(b []byte) []byte { b[12] ^= 1; return b }, BadVendor, 12, "QE vendor id at offset 12: found 929a7233f79c4ca9940a0db3957f0607, want 939a7233f79c4ca9940a0db3957f0607 (Intel)"},
		{"last byte of the vendor", func(b []byte) []byte { b[27] ^= 0x80; return b }, BadVendor, 12, "found 939a7233f79c4ca9940a0db3957f0687"},
		{"section one longer", put32(432, 717), BadLength, 432, "found 717, want at most the 716 bytes that follow"},
		{"section one shorter", put32(432, 715), BadLength, lengthAt, "certification data length at offset 1048: found 100, want 99, the rest of the signature section"},
		{"section empty", put32(432, 0), BadLength, 432, "found 0, want at least 584"},
		{"section just too small", put32(432, 583), BadLength, 432, "found 583, want at least 584"},
		{"section overflows", put32(432, 0xffffffff), BadLength, 432, "found 4294967295, want at most the 716"},
		{"auth data overflows", put16(1012, 0xffff), BadLength, 1012, "QE authentication data length at offset 1012: found 65535, want at most 132 in a signature section of 716"},
		{"auth data just too long", put16(1012, 133), BadLength, 1012, "found 133, want at most 132"},
		{"auth data one shorter", put16(1012, 31), BadLength, 1016 + 31, "certification data length at offset 1047: found 25600, want 101, the rest of the signature section"},
		{"auth data one longer", put16(1012, 33), BadLength, 1016 + 33, "certification data length at offset 1049: found 100663296, want 99, the rest of the signature section"},
		{"certification length one more", put32(lengthAt, 101), BadLength, lengthAt, "found 101, want 100"},
		{"certification length one less", put32(lengthAt, 99), BadLength, lengthAt, "found 99, want 100"},
		{"certification length 0", put32(lengthAt, 0), BadLength, lengthAt, "found 0, want 100"},
		{"certification length overflows", put32(lengthAt, 0xffffffff), BadLength, lengthAt, "found 4294967295, want 100"},
		{"a byte after the chain", func(b []byte) []byte { return put32(432, 717)(append(b, 0)) }, BadLength, lengthAt, "found 100, want 101"},
		{"a byte after the quote", func(b []byte) []byte { return append(b, 0) }, TrailingData, size, "end of quote at offset 1152: found 1 more, want no more bytes"},
		{"type 0", put16(typeAt, 0), BadCertification, typeAt, "found unknown certification data (type 0)"},
		{"type 6", put16(typeAt, 6), BadCertification, typeAt, "found QE report certification data (type 6)"},
		{"type 7", put16(typeAt, 7), BadCertification, typeAt, "found platform manifest (type 7)"},
		{"type 8", put16(typeAt, 8), BadCertification, typeAt, "found unknown certification data (type 8)"},
		{"hex text", func([]byte) []byte { return []byte("0300020000000000" + strings.Repeat("0", 1200)) }, BadVersion, 0, "found 13104"},
	} {
		t.Run(test.name, func(t *testing.T) {
			base := rawQuote(32, 100)
			if len(base) != size {
				t.Fatalf("base has %d bytes", len(base))
			}
			q, err := Parse(test.edit(base))
			if err == nil {
				t.Fatalf("accepted: %+v", q)
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%T is not an *Error", err)
			}
			if e.Kind != test.kind || e.Offset != test.at {
				t.Errorf("%v at %d, want %v at %d", e.Kind, e.Offset, test.kind, test.at)
			}
			if !strings.HasPrefix(err.Error(), "parse quote: ") || !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %q does not say %q", err, test.text)
			}
		})
	}
}

// Types 1 to 4 are quotes too; verifying them is another matter.
func TestParseNamesCertificationTypes(t *testing.T) {
	for typ, name := range map[CertificationType]string{
		CertPPIDPlain:        "PPID in clear text (type 1)",
		CertPPIDRSA2048:      "PPID encrypted with RSA-2048 (type 2)",
		CertPPIDRSA3072:      "PPID encrypted with RSA-3072 (type 3)",
		CertPCKLeaf:          "PCK certificate without its chain (type 4)",
		CertPCKChain:         "PCK certificate chain (type 5)",
		CertQEReport:         "QE report certification data (type 6)",
		CertPlatformManifest: "platform manifest (type 7)",
		99:                   "unknown certification data (type 99)",
	} {
		if typ.String() != name {
			t.Errorf("type %d is called %q, want %q", uint16(typ), typ, name)
		}
		q, err := Parse(put16(1014+32, uint16(typ))(rawQuote(32, 100)))
		if known := typ >= 1 && typ <= 5; known != (err == nil) || known && q.CertificationType != typ {
			t.Errorf("%v: %v", typ, err)
		}
	}
}

func TestKindsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	unknown := (&Error{}).Remedy()
	for k := TooShort; k <= BadCertification; k++ {
		e := &Error{Kind: k, Field: "f", Offset: 7, Want: "w", Got: "g"}
		if e.Remedy() == "" || e.Remedy() == unknown || e.Error() != "f at offset 7: found g, want w; "+e.Remedy() {
			t.Errorf("kind %d: %v", k, e)
		}
		if name := k.String(); name == "" || strings.HasPrefix(name, "kind") || seen[name] {
			t.Errorf("kind %d is called %q", k, name)
		}
		seen[k.String()] = true
	}
	if Kind(0).String() != "kind 0" {
		t.Errorf("the zero kind is called %q", Kind(0))
	}
}

func TestMarshalRefuses(t *testing.T) {
	for _, test := range []struct {
		name string
		edit func(*Quote)
		text string
	}{
		{"zero value", func(q *Quote) { *q = Quote{} }, "version at offset 0: found 0, want 3"},
		{"key type", func(q *Quote) { q.Header.AttestationKeyType = 3 }, "attestation key type"},
		{"TEE type", func(q *Quote) { q.Header.TEEType = 0x81 }, "TEE type"},
		{"vendor", func(q *Quote) { q.Header.QEVendorID[3] = 0 }, "QE vendor id"},
		{"auth data", func(q *Quote) { q.QEAuthData = make([]byte, 65536) }, "QE authentication data length at offset 1012: found 65536, want at most 65535"},
		{"type", func(q *Quote) { q.CertificationType = 6 }, "certification data type at offset 1046: found QE report"},
		{"size", func(q *Quote) { q.CertificationData = make([]byte, MaxSize) }, "quote at offset 0: found 1049628 bytes, want at most 1048576 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			q, err := Parse(rawQuote(32, 0))
			if err != nil {
				t.Fatal(err)
			}
			test.edit(q)
			_, err = q.Marshal()
			var e *Error
			if !errors.As(err, &e) || !strings.HasPrefix(err.Error(), "marshal quote: ") || !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %v, want %q", err, test.text)
			}
		})
	}
}

func TestReportBody(t *testing.T) {
	raw := rawQuote(0, 0)[48:432]
	body, err := ParseReportBody(raw)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantBody(0x10), *body); diff != "" {
		t.Errorf("report body (-want +got):\n%s", diff)
	}
	if !bytes.Equal(body.Marshal(), raw) {
		t.Error("marshalling does not give the bytes back")
	}
	for _, n := range []int{0, 383, 385, 432} {
		_, err := ParseReportBody(make([]byte, n))
		var e *Error
		if !errors.As(err, &e) || e.Kind != BadLength || !strings.Contains(err.Error(), "want 384 bytes") {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestAttributes(t *testing.T) {
	a := Attributes{Flags: FlagInit | FlagDebug | FlagMode64Bit, XFRM: 0xe7}
	if got := a.Marshal(); got != [16]byte{0: 7, 8: 0xe7} {
		t.Errorf("marshalled %x", got)
	}
	if !a.Debug() || (Attributes{Flags: ^FlagDebug}).Debug() {
		t.Error("Debug looks at another flag")
	}
}

// Property: what Marshal writes, Parse reads back unchanged.
func TestMarshalParse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q, err := Parse(rawQuote(0, 0))
		if err != nil {
			t.Fatal(err)
		}
		body := rapid.SliceOfN(rapid.Byte(), 384, 384)
		q.Body = readReportBody(body.Draw(t, "body"))
		q.QEReport = readReportBody(body.Draw(t, "QE report"))
		q.Header.QESVN = rapid.Uint16().Draw(t, "QE SVN")
		q.Signature = [64]byte(rapid.SliceOfN(rapid.Byte(), 64, 64).Draw(t, "signature"))
		q.QEAuthData = append([]byte(nil), rapid.SliceOfN(rapid.Byte(), 0, 70).Draw(t, "auth data")...)
		q.CertificationData = append([]byte(nil), rapid.SliceOfN(rapid.Byte(), 0, 70).Draw(t, "certification data")...)
		q.CertificationType = CertificationType(rapid.Uint16Range(1, 5).Draw(t, "type"))
		raw, err := q.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		back, err := Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(q, back); diff != "" {
			t.Fatalf("after marshal and parse (-want +got):\n%s", diff)
		}
	})
}

// realQuotes are the quotes of the reference vectors.
func realQuotes(tb testing.TB) map[string][]byte {
	quotes := map[string][]byte{}
	for _, pattern := range []string{"dcap/*/quote.*", "dcap-genuine/quotes/*.bin"} {
		names, err := filepath.Glob(filepath.Join(testshared.Dir(tb, "vectors"), filepath.FromSlash(pattern)))
		if err != nil {
			tb.Fatal(err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				tb.Fatal(err)
			}
			quotes[filepath.Base(filepath.Dir(name))+"/"+filepath.Base(name)] = data
		}
	}
	return quotes
}

func TestRealQuotes(t *testing.T) {
	parsed := 0
	for name, raw := range realQuotes(t) {
		q, err := Parse(raw)
		if err != nil {
			continue // many were damaged on purpose; the verifier's tests know which
		}
		parsed++
		back, err := q.Marshal()
		if err != nil || !bytes.Equal(back, raw) {
			t.Errorf("%s: marshalling does not give the bytes back (%v)", name, err)
		}
	}
	if parsed < 40 {
		t.Errorf("only %d quotes parsed", parsed)
	}
}

func FuzzParse(f *testing.F) {
	seeds := 0
	seed := func(b []byte) { f.Add(b); seeds++ }
	for _, size := range [][2]int{{0, 0}, {32, 0}, {32, 100}, {65535, 1}} {
		raw := rawQuote(size[0], size[1])
		seed(raw)
		seed(raw[:len(raw)-1])
		seed(put32(432, 0xffffffff)(rawQuote(size[0], size[1])))
	}
	if dir := filepath.Join("..", "..", "..", "..", "shared", "vectors"); dirExists(dir) {
		for _, raw := range realQuotes(f) {
			seed(raw)
		}
	}
	if seeds == 0 {
		f.Fatal("no seeds")
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := Parse(b)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Field == "" || e.Want == "" || e.Got == "" || e.Offset < 0 || e.Offset > len(b) {
				t.Errorf("error without particulars: %#v", err)
			}
			return
		}
		back, err := q.Marshal()
		if err != nil {
			t.Fatalf("what was parsed does not marshal: %v", err)
		}
		// One encoding only: there are no two byte strings for one quote.
		if !bytes.Equal(back, b) {
			t.Errorf("parse then marshal changes %d bytes to %d", len(b), len(back))
		}
	})
}

func dirExists(dir string) bool {
	info, err := os.Stat(dir)
	return err == nil && info.IsDir()
}
