package sigstruct

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// vector is an entry of testdata/index.json.
type vector struct {
	File            string `json:"file"`
	MRENCLAVE       string `json:"mrenclave"`
	MRSIGNER        string `json:"mrsigner"`
	ISVProdID       uint16 `json:"isv_prod_id"`
	ISVSVN          uint16 `json:"isv_svn"`
	AttributesFlags uint64 `json:"attributes_flags"`
	Debug           bool   `json:"debug"`
	XFRM            uint64 `json:"xfrm"`
	Date            string `json:"date"`
	DateEncoding    string `json:"date_encoding"`
}

func vectors(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/*.sig")
	if err != nil || len(files) < 3 {
		t.Fatalf("%d vectors, %v", len(files), err)
	}
	all := map[string][]byte{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(f)] = data
	}
	return all
}

func index(t testing.TB) []vector {
	t.Helper()
	data, err := os.ReadFile("testdata/index.json")
	if err != nil {
		t.Fatal(err)
	}
	var list struct{ Vectors []vector }
	if err := json.Unmarshal(data, &list); err != nil || len(list.Vectors) < 3 {
		t.Fatalf("%d entries, %v", len(list.Vectors), err)
	}
	return list.Vectors
}

func parsed(t testing.TB, name string) *Sigstruct {
	t.Helper()
	s, err := Parse(vectors(t)[name])
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestVectors(t *testing.T) {
	for _, want := range index(t) {
		s := parsed(t, want.File)
		if err := s.Verify(); err != nil {
			t.Errorf("%s: %v", want.File, err)
		}
		day, encoding := s.SignedOn()
		got := vector{
			File: want.File, MRENCLAVE: hex.EncodeToString(s.MRENCLAVE[:]), MRSIGNER: fmt.Sprintf("%x", s.MRSIGNER()),
			ISVProdID: s.ISVProdID, ISVSVN: s.ISVSVN, AttributesFlags: s.Attributes.Flags, Debug: s.Debug(), XFRM: s.Attributes.XFRM,
			Date: day.Format(time.DateOnly), DateEncoding: want.DateEncoding,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", want.File, diff)
		}
		if !strings.HasPrefix(want.DateEncoding, encoding.String()) {
			t.Errorf("%s: date encoding %s, want %s", want.File, encoding, want.DateEncoding)
		}
		if !bytes.Equal(s.Marshal(), vectors(t)[want.File]) {
			t.Errorf("%s: parsing and writing changes it", want.File)
		}
		if n := len(s.SignedBytes()); n != SignedSize {
			t.Errorf("%s: %d signed bytes", want.File, n)
		}
		debugWarning := strings.Contains(strings.Join(s.Warnings(), "\n"), "debugger")
		if debugWarning != want.Debug || len(s.Warnings()) > 1 {
			t.Errorf("%s: warnings %q", want.File, s.Warnings())
		}
	}
}

// TestEveryBitCounts flips a bit of each byte and expects that no field can be changed unnoticed: those outside the
// signature by value, and the last reserved bytes, which the format protects in no way, by a warning.
func TestEveryBitCounts(t *testing.T) {
	good := vectors(t)["v19_release.sig"]
	for i := range good {
		b := bytes.Clone(good)
		b[i] ^= 1 << (i % 8)
		s, err := Parse(b)
		var want Kind
		switch {
		case i < 16 || i >= offsetHeader2 && i < offsetSWDefined:
			want = BadHeader
		case i >= offsetExponent && i < offsetSignature:
			want = BadExponent
		case i >= offsetQ1:
			want = BadQuotient
		case i >= offsetEnd:
			want = 0
		default:
			want = BadSignature
		}
		if err == nil {
			if !bytes.Equal(s.Marshal(), b) {
				t.Fatalf("offset %d: parsing and writing changes it", i)
			}
			err = s.Verify()
		}
		var known *Error
		var got Kind
		if errors.As(err, &known) {
			got = known.Kind
		}
		if got == BadModulus && i >= offsetModulus && i < offsetExponent { // the flip hit its lowest or highest bit
			got = BadSignature
		}
		if got != want {
			t.Errorf("offset %d: %v, want kind %d", i, err, want)
		}
		if want == 0 && (s == nil || len(s.Warnings()) == 0) {
			t.Errorf("offset %d: changed without a warning", i)
		}
	}
}

func TestParseErrors(t *testing.T) {
	good := vectors(t)["v19_release.sig"]
	change := func(offset int, value byte) []byte {
		b := bytes.Clone(good)
		b[offset] = value
		return b
	}
	for _, tt := range []struct {
		name string
		in   []byte
		want string
	}{
		{"empty", nil, "parse SIGSTRUCT: SIGSTRUCT at offset 0: found 0 bytes, want 1808 bytes"},
		{"short", good[:1807], "found 1807 bytes"},
		{"long", append(bytes.Clone(good), 0), "found 1809 bytes"},
		{"header", change(0, 7), "parse SIGSTRUCT: header at offset 0: found 07000000e10000000000010000000000, want 06000000e10000000000010000000000"},
		{"header 2", change(24, 2), "parse SIGSTRUCT: header 2 at offset 24: found 02010000600000006000000001000000, want 01010000600000006000000001000000"},
		{"exponent", change(514, 1), "parse SIGSTRUCT: exponent at offset 512: found 65539, want 3"},
	} {
		s, err := Parse(tt.in)
		var known *Error
		if s != nil || !errors.As(err, &known) || !known.Kind.Format() || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestVerifyErrors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Sigstruct)
		kind   Kind
		want   string
	}{
		{"measurement", func(s *Sigstruct) { s.MRENCLAVE[0] ^= 1 }, BadSignature, "verify SIGSTRUCT: signature at offset 516: found one that does not verify, want RSASSA-PKCS1-v1_5 of the signed bytes by the key in the file"},
		{"modulus even", func(s *Sigstruct) { s.Modulus[0] &^= 1 }, BadModulus, "verify SIGSTRUCT: modulus at offset 128: found an even number of 3072 bits, want an odd number of 3072 bits"},
		{"modulus small", func(s *Sigstruct) { s.Modulus[383] = 0x7f }, BadModulus, "found an odd number of 3071 bits"},
		{"modulus zero", func(s *Sigstruct) { s.Modulus = [NumberSize]byte{} }, BadModulus, "found an even number of 0 bits"},
		{"signature large", func(s *Sigstruct) { s.Signature = s.Modulus }, BadSignature, "verify SIGSTRUCT: signature at offset 516: found an odd number of 3072 bits, want a number below the modulus"},
		{"signature zero", func(s *Sigstruct) { s.Signature = [NumberSize]byte{} }, BadSignature, "found one that does not verify"},
		{"q1", func(s *Sigstruct) { s.Q1[0] ^= 1 }, BadQuotient, "verify SIGSTRUCT: q1 at offset 1040: found another value, want signature squared, divided by the modulus"},
		{"q2", func(s *Sigstruct) { s.Q2[383] ^= 0x80 }, BadQuotient, "verify SIGSTRUCT: q2 at offset 1424: found another value"},
		{"q1 and q2 swapped", func(s *Sigstruct) { s.Q1, s.Q2 = s.Q2, s.Q1 }, BadQuotient, "q1 at offset 1040"},
	} {
		s := parsed(t, "v19_release.sig")
		tt.change(s)
		err := s.Verify()
		var known *Error
		if !errors.As(err, &known) || known.Kind != tt.kind || known.Kind.Format() || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestSignedOn(t *testing.T) {
	for _, tt := range []struct {
		bytes [4]byte
		want  string
	}{
		{[4]byte{0x14, 0x04, 0x23, 0x20}, "2023-04-14 BCD"},
		{[4]byte{0x29, 0x02, 0x24, 0x20}, "2024-02-29 BCD"},
		{[4]byte{0xe6, 0x07, 0x0b, 0x1e}, "2022-11-30 binary"},
		{[4]byte{0xe8, 0x07, 0x02, 0x1d}, "2024-02-29 binary"},
		{[4]byte{}, "none"},
		{[4]byte{0x29, 0x02, 0x23, 0x20}, "none"}, // no leap year
		{[4]byte{0xe7, 0x07, 0x02, 0x1d}, "none"},
		{[4]byte{0x31, 0x04, 0x23, 0x20}, "none"}, // 31 April
		{[4]byte{0x14, 0x13, 0x23, 0x20}, "none"}, // month 13
		{[4]byte{0x1a, 0x04, 0x23, 0x20}, "none"}, // no digit
		{[4]byte{0x14, 0x04, 0x12, 0x20}, "none"}, // before SGX
		{[4]byte{0xff, 0xff, 0xff, 0xff}, "none"},
	} {
		day, encoding := (&Sigstruct{Date: tt.bytes}).SignedOn()
		got := day.Format(time.DateOnly) + " " + encoding.String()
		if encoding == 0 {
			got = "none"
		}
		if got != tt.want {
			t.Errorf("%x: %s, want %s", tt.bytes, got, tt.want)
		}
		if encoding == 0 && !day.IsZero() {
			t.Errorf("%x: %s without an encoding", tt.bytes, day)
		}
	}
}

// TestDateEncodingsDoNotOverlap goes through every day of the binary encoding in the years that matter.
func TestDateEncodingsDoNotOverlap(t *testing.T) {
	for day := time.Date(2013, 1, 1, 0, 0, 0, 0, time.UTC); day.Year() < 2050; day = day.AddDate(0, 0, 1) {
		y, m, d := day.Date()
		s := &Sigstruct{Date: [4]byte{byte(y), byte(y >> 8), byte(m), byte(d)}}
		if got, encoding := s.SignedOn(); encoding != DateBinary || !got.Equal(day) {
			t.Fatalf("%s in binary reads as %s, %s", day, got, encoding)
		}
		digits := func(n int) byte { return byte(n/10<<4 | n%10) }
		s = &Sigstruct{Date: [4]byte{digits(d), digits(int(m)), digits(y % 100), digits(y / 100)}}
		if got, encoding := s.SignedOn(); encoding != DateBCD || !got.Equal(day) {
			t.Fatalf("%s in BCD reads as %s, %s", day, got, encoding)
		}
	}
}

func TestWarnings(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Sigstruct)
		want   []string
	}{
		{"none", func(*Sigstruct) {}, nil},
		{"Intel's vendor", func(s *Sigstruct) { s.Vendor = VendorIntel }, nil},
		{"vendor", func(s *Sigstruct) { s.Vendor = 1 }, []string{"the vendor is 0x1, which is neither 0 nor Intel's"}},
		{"debug", func(s *Sigstruct) { s.Attributes.Flags |= FlagDebug }, []string{"the enclave is signed to run with a debugger, which can read everything it is given"}},
		{"debug allowed", func(s *Sigstruct) { s.AttributesMask.Flags &^= FlagDebug }, []string{
			"the signature also lets the enclave run with a debugger: its attribute mask leaves the debug flag open",
		}},
		{"date", func(s *Sigstruct) { s.Date = [4]byte{1, 2, 3, 4} }, []string{"the date 01020304 is none"}},
		{"reserved", func(s *Sigstruct) { s.Reserved1[83], s.Reserved2[0], s.Reserved3[1], s.Reserved4[11] = 1, 1, 1, 1 }, []string{
			"reserved bytes at offset 44 are not zero: the processor refuses the enclave, or knows more than this program",
			"reserved bytes at offset 910 are not zero: the processor refuses the enclave, or knows more than this program",
			"reserved bytes at offset 992 are not zero: the processor refuses the enclave, or knows more than this program",
			"reserved bytes at offset 1028 are not zero: the processor refuses the enclave, or knows more than this program",
		}},
	} {
		s := parsed(t, "v19_release.sig")
		tt.change(s)
		if diff := cmp.Diff(tt.want, s.Warnings()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestAllowsDebug(t *testing.T) {
	for _, tt := range []struct {
		flags, mask uint64
		want        bool
	}{
		{4, ^uint64(0), false}, {6, ^uint64(0), true}, {4, ^FlagDebug, true}, {6, 0, true}, {4, FlagDebug, false},
	} {
		s := &Sigstruct{Attributes: Attributes{Flags: tt.flags}, AttributesMask: Attributes{Flags: tt.mask}}
		if s.AllowsDebug() != tt.want {
			t.Errorf("flags %x, mask %x: %t", tt.flags, tt.mask, s.AllowsDebug())
		}
	}
}

func ExampleParse() {
	file, err := os.ReadFile("testdata/v19_release.sig")
	if err != nil {
		panic(err)
	}
	s, err := Parse(file)
	if err != nil {
		panic(err)
	}
	if err := s.Verify(); err != nil {
		panic(err)
	}
	fmt.Printf("MRENCLAVE %x\nMRSIGNER  %x\n", s.MRENCLAVE, s.MRSIGNER())
	// Output:
	// MRENCLAVE c5fdab96e816d4297c42de243d9e09d258ee0a0a2243c59736aab323b40eb027
	// MRSIGNER  7e399d344882e71414c1adf915299a5c2ad4c41abde409a29bce66622e863583
}

// FuzzMalleability: what parses is written back to the same bytes, and no change of them verifies.
func FuzzMalleability(f *testing.F) {
	for _, data := range vectors(f) {
		f.Add(data)
		f.Add(data[:1000])
	}
	genuine := map[string]bool{}
	for _, data := range vectors(f) {
		genuine[string(data[:offsetEnd])+string(data[offsetQ1:])] = true
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse(data)
		if err != nil {
			if s != nil {
				t.Error("a value comes with the error")
			}
			return
		}
		if !bytes.Equal(s.Marshal(), data) {
			t.Error("parsing and writing changes it")
		}
		s.Warnings()
		if s.Verify() == nil && !genuine[string(data[:offsetEnd])+string(data[offsetQ1:])] {
			t.Error("a forged SIGSTRUCT verifies")
		}
	})
}
