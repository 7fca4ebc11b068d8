package dcap

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ccctl/terraform-provider-cc/internal/testshared"
)

// TestConverge compares the whole truth table with what Intel's library gave for each pair.
func TestConverge(t *testing.T) {
	const (
		up, soft   = StatusUpToDate, StatusSWHardeningNeeded
		conf, both = StatusConfigurationNeeded, StatusConfigurationAndSWHardeningNeeded
		old, oldC  = StatusOutOfDate, StatusOutOfDateConfigurationNeeded
		revoked    = StatusRevoked
	)
	outdated := []Status{old, conf, oldC}
	table := map[Status][3]Status{ // with the QE UpToDate, outdated in any way, revoked
		up:      {up, old, revoked},
		soft:    {soft, old, revoked},
		conf:    {conf, oldC, revoked},
		both:    {both, oldC, revoked},
		old:     {old, old, revoked},
		oldC:    {oldC, oldC, revoked},
		revoked: {revoked, revoked, revoked},
	}
	if len(table) != len(Statuses()) {
		t.Fatal("the table lacks a status")
	}
	for platform, want := range table {
		pairs := map[Status]Status{up: want[0], revoked: want[2]}
		for _, qe := range outdated {
			pairs[qe] = want[1]
		}
		for qe, status := range pairs {
			if got := converge(platform, qe); got != status {
				t.Errorf("%s and %s: %s, want %s", platform, qe, got, status)
			}
		}
	}
	for _, unknown := range []Status{"", "Fine"} {
		if got := converge(unknown, old); got != revoked {
			t.Errorf("unknown status %q: %s", unknown, got)
		}
	}
}

func TestParseStatus(t *testing.T) {
	for _, s := range Statuses() {
		if got, err := ParseStatus(string(s)); err != nil || got != s {
			t.Errorf("%s: %s, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "uptodate", "UpToDate ", "TDRelaunchAdvised", "NotSupported"} {
		_, err := ParseStatus(s)
		if want := fmt.Sprintf("parse TCB status: found %q, want one of UpToDate, SWHardeningNeeded, ", s); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestIsQEStatus(t *testing.T) {
	var accepted []Status
	for _, s := range append(Statuses(), "", "Fine") {
		if isQEStatus(s) {
			accepted = append(accepted, s)
		}
	}
	want := []Status{StatusUpToDate, StatusConfigurationNeeded, StatusOutOfDate, StatusOutOfDateConfigurationNeeded, StatusRevoked}
	if !slices.Equal(accepted, want) {
		t.Errorf("accepted %v, want %v", accepted, want)
	}
}

func TestNames(t *testing.T) {
	for typ, want := range map[SGXType]string{SGXStandard: "standard", SGXScalable: "scalable", SGXScalableIntegrity: "scalable with integrity", 9: "type 9"} {
		if typ.String() != want {
			t.Errorf("SGX type %d is %q", typ, typ)
		}
	}
	if got := role(9).String(); got != "certificate" || role(9).commonNames() != nil || role(9).named("Intel SGX Root CA", true) {
		t.Errorf("an unknown role is %q", got)
	}
	if got := (FMSPC{0, 0x60, 0x6a, 0, 0xff}).String(); got != "00606A00FF00" {
		t.Error(got)
	}
}

// TestRoleNames: under Intel's root the names are exact; another root's must contain them.
func TestRoleNames(t *testing.T) {
	for _, test := range []struct {
		role              role
		name              string
		underIntel, else_ bool
	}{
		{rolePCK, "Intel SGX PCK Certificate", true, true},
		{rolePCK, "Intel SGX PCK Certificate 2", false, true},
		{rolePCK, "CC SIMULATED SGX PCK Certificate - NOT INTEL", false, true},
		{rolePCK, "SGX PCK Certificate", false, true},
		{rolePCK, "Intel SGX TCB Signing", false, false},
		{rolePCKCA, "Intel SGX PCK Platform CA", true, true},
		{rolePCKCA, "Intel SGX PCK Processor CA", true, true},
		{rolePCKCA, "Intel SGX PCK CA", false, false},
		{roleRoot, "Intel SGX Root CA", true, true},
		{roleTCBSigner, "Intel SGX TCB Signing", true, true},
		{roleTCBSigner, "intel SGX TCB Signing", false, true},
		{roleTCBSigner, "", false, false},
	} {
		if got := test.role.named(test.name, true); got != test.underIntel {
			t.Errorf("%s %q under Intel's root: %t", test.role, test.name, got)
		}
		if got := test.role.named(test.name, false); got != test.else_ {
			t.Errorf("%s %q under another root: %t", test.role, test.name, got)
		}
	}
}

// TestIntelRoot holds the pinned key against both certificates that Intel has issued for it.
func TestIntelRoot(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(testshared.Dir(t, "vectors/dcap"), "intel_sgx_root_ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots, err := ParseRoots(text)
	if err != nil {
		t.Fatal(err)
	}
	root := roots[0]
	if !isIntelKey(root) || root.Subject.CommonName != intelRootName || !(anchors{}).trusts(root) {
		t.Errorf("%s is not recognised", root.Subject)
	}
	older := *root
	older.Raw = append([]byte("another certificate"), root.Raw...)
	if !(anchors{}).trusts(&older) {
		t.Error("another certificate of Intel's key is not trusted")
	}
	if (anchors{given: roots}).trusts(&older) {
		t.Error("another certificate is taken for the given one")
	}
	renamed := *root
	renamed.Subject.CommonName = "Another Root"
	if (anchors{}).trusts(&renamed) {
		t.Error("another name under Intel's key is trusted")
	}
	other := *root
	other.RawSubjectPublicKeyInfo = bytes.Clone(root.RawSubjectPublicKeyInfo)
	other.RawSubjectPublicKeyInfo[40] ^= 1
	if (anchors{}).trusts(&other) {
		t.Error("another key is trusted")
	}
	if block, _ := pem.Decode(text); sha256.Sum256(block.Bytes) != sha256.Sum256(root.Raw) {
		t.Error("the certificate is not the file's")
	}
}

// TestLevelMatching compares the matching with its definition: of the levels that the platform has nothing below, the
// highest by components, then PCESVN.
func TestLevelMatching(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		info := &tcbInfo{}
		for i := range rapid.IntRange(1, 8).Draw(t, "levels") {
			l := tcbLevel{status: Status(fmt.Sprint(i)), pcesvn: rapid.Uint16Range(0, 3).Draw(t, "pcesvn")}
			for j := range 3 {
				l.components[j*7] = rapid.Uint8Range(0, 3).Draw(t, "component")
			}
			info.levels = append(info.levels, l)
		}
		pck := &PCK{PCESVN: rapid.Uint16Range(0, 3).Draw(t, "platform's pcesvn")}
		for j := range 3 {
			pck.Components[j*7] = rapid.Uint8Range(0, 3).Draw(t, "platform's component")
		}
		var best *tcbLevel
		twins := map[string]bool{}
		duplicate := false
		for i, l := range info.levels {
			key := fmt.Sprint(l.components, l.pcesvn)
			duplicate = duplicate || twins[key]
			twins[key] = true
			reached := l.pcesvn <= pck.PCESVN
			for j := range l.components {
				reached = reached && l.components[j] <= pck.Components[j]
			}
			higher := best == nil || cmp.Or(bytes.Compare(l.components[:], best.components[:]), cmp.Compare(l.pcesvn, best.pcesvn)) > 0
			if reached && higher {
				best = &info.levels[i]
			}
		}
		var want Status
		if best != nil {
			want = best.status
		}
		r := &documentReader{spec: tcbInfoSpec}
		info.sortLevels(object{r: r})
		if duplicate != (r.err != nil) {
			t.Fatalf("duplicate %t, error %v", duplicate, r.err)
		}
		if duplicate {
			return
		}
		got, err := info.match(pck)
		if (err != nil) != (want == "") || err == nil && got.status != want {
			t.Fatalf("matched %v (%v), want level %q", got, err, want)
		}
	})
}

// TestCacheForgets has more to remember than fits.
func TestCacheForgets(t *testing.T) {
	var c cache[int]
	key := func(i int) [32]byte { return digest([]byte{byte(i)}) }
	made := 0
	get := func(i int) {
		v, err := c.get(key(i), 3, func() (int, error) { made++; return i, nil })
		if err != nil || v != i {
			t.Fatalf("%d: %d, %v", i, v, err)
		}
	}
	for i := range 10 {
		get(i)
		get(i)
		if len(c.entries) > 3 {
			t.Fatalf("%d entries", len(c.entries))
		}
	}
	if made != 10 {
		t.Errorf("made %d times, want 10", made)
	}
	failure := errors.New("failure")
	for range 2 {
		if _, err := c.get(key(99), 3, func() (int, error) { made++; return 0, failure }); !errors.Is(err, failure) {
			t.Errorf("error %v", err)
		}
	}
	if made != 12 {
		t.Error("a failure is remembered")
	}
}

// TestDigestSeparatesParts: moving a byte from one part to the next is another list of parts.
func TestDigestSeparatesParts(t *testing.T) {
	lists := [][]string{{"ab", "c"}, {"a", "bc"}, {"abc"}, {"abc", ""}, {"", "abc"}, {"a", "b", "c"}}
	seen := map[[32]byte]bool{}
	for _, list := range lists {
		parts := make([][]byte, len(list))
		for i, s := range list {
			parts[i] = []byte(s)
		}
		if d := digest(parts...); seen[d] {
			t.Errorf("%q collides", list)
		} else {
			seen[d] = true
		}
	}
}

// TestReadValue compares the strict reader with encoding/json, which it must agree with but for repeated members.
func TestReadValue(t *testing.T) {
	for _, text := range []string{`{}`, `[]`, `{"a":{"b":[1,"x",null,true,{"c":[]}]},"d":-1.5e3}`, `"x"`, `7`, `null`} {
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		got, err := readValue(dec)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		back, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if json.Unmarshal(back, &a) != nil || json.Unmarshal([]byte(text), &b) != nil || fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("%s: read %s", text, back)
		}
	}
	for _, text := range []string{``, `{`, `[`, `{"a":1,"a":2}`, `[{"a":{"b":1,"b":1}}]`, `{"a"`, `{"a":`, `{"a":}`, `{"a":1,}`, `[1,]`, `[1`, `{1:2}`, `{"a":1`, `[[1}`} {
		if got, err := readValue(json.NewDecoder(strings.NewReader(text))); err == nil {
			t.Errorf("%s: read %v", text, got)
		}
	}
}

func TestOtherErrorsAreNotFolded(t *testing.T) {
	cause := errors.New("cause")
	if got := asSigningChain(cause); got != cause { //nolint:errorlint // identity is the point
		t.Errorf("%v", got)
	}
}

// TestBadKey: a damaged certificate is not blamed on its key.
func TestBadKey(t *testing.T) {
	for _, der := range [][]byte{nil, {1, 2, 3}, {0x30, 0}} {
		if _, err := x509.ParseCertificate(der); err == nil || badKey(der) {
			t.Errorf("%x: %v", der, err)
		}
	}
}
