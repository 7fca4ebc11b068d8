package pccs

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// newBundle fetches a platform's collateral into a bundle.
func newBundle(t *testing.T) (*service, *Bundle) {
	t.Helper()
	s := newService(t)
	c, err := s.client(t, ClientOptions{}).Collateral(t.Context(), s.where())
	if err != nil {
		t.Fatal(err)
	}
	b := &Bundle{Source: s.URL, Fetched: time.Now().UTC().Truncate(time.Second)}
	if err := b.Add(s.where(), c); err != nil {
		t.Fatal(err)
	}
	return s, b
}

func TestBundleRoundTrip(t *testing.T) {
	s, b := newBundle(t)
	raw, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	read, err := ReadBundle(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c, err := read.Collateral(t.Context(), s.where())
	if err != nil {
		t.Fatal(err)
	}
	s.verify(t, c)
	again, err := read.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(raw, again) {
		t.Error("reading and writing changes the file")
	}
	if read.Source != s.URL || !read.Fetched.Equal(b.Fetched) {
		t.Errorf("source and time are %q, %v", read.Source, read.Fetched)
	}
	if diff := cmp.Diff([]string{"00606A000000"}, read.Platforms()); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
	var names []string
	for _, d := range read.Documents() {
		names = append(names, d.Kind)
	}
	if diff := cmp.Diff([]string{"root-ca-crl", "qe-identity", "pck-crl", "tcb-info"}, names); diff != "" {
		t.Errorf("documents (-want +got):\n%s", diff)
	}
	// Callers own what they get.
	clear(c.TCBInfo)
	if c, err = read.Collateral(t.Context(), s.where()); err != nil {
		t.Fatal(err)
	}
	s.verify(t, c)
}

func TestBundleWithoutThePlatform(t *testing.T) {
	s, b := newBundle(t)
	for _, tt := range []struct {
		p   dcap.Platform
		err string
	}{
		{dcap.Platform{FMSPC: dcap.FMSPC{1}, CA: dcap.CAPlatform}, "fetch TCB info of FMSPC 010000000000: the collateral file does not hold it; fetch collateral for this platform"},
		{dcap.Platform{FMSPC: s.where().FMSPC, CA: dcap.CAProcessor}, "fetch CRL of the PCK processor CA: the collateral file does not hold it"},
	} {
		_, err := b.Collateral(t.Context(), &tt.p)
		var failure *Error
		if !errors.As(err, &failure) || failure.Kind != NotFound || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("error is %v, want %q", err, tt.err)
		}
	}
	if _, err := (&Bundle{}).Collateral(t.Context(), s.where()); err == nil {
		t.Error("the empty bundle has collateral")
	}
	if _, err := (&Bundle{}).Marshal(); err == nil || err.Error() != "write collateral file: the bundle is empty" {
		t.Errorf("the empty bundle can be written: %v", err)
	}
	if _, err := b.Collateral(t.Context(), &dcap.Platform{}); err == nil {
		t.Error("a platform that is none has collateral")
	}
	if err := b.Add(&dcap.Platform{}, &dcap.Collateral{}); err == nil {
		t.Error("a platform that is none can be added")
	}
	if err := b.Add(s.where(), &dcap.Collateral{}); err == nil || !strings.HasPrefix(err.Error(), "add TCB info of FMSPC 00606A000000 to the bundle: ") {
		t.Errorf("empty collateral can be added: %v", err)
	}
}

func TestReadBundleRefuses(t *testing.T) {
	_, b := newBundle(t)
	good, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	edit := func(f func(m map[string]any)) string {
		var m map[string]any
		if err := json.Unmarshal(good, &m); err != nil {
			t.Fatal(err)
		}
		f(m)
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	tcb := func(m map[string]any) map[string]any { return m["tcb_infos"].(map[string]any) }
	for _, tt := range []struct{ name, file, err string }{
		{"empty", "", "unexpected end of JSON input"},
		{"not JSON", "collateral", "invalid character"},
		{"a quote verification report", `{"type":"x"}`, `its type and version are "x" and 0, want "sgx-collateral" and 1`},
		{"a later version", edit(func(m map[string]any) { m["version"] = 2 }), `"sgx-collateral" and 2, want`},
		{"unknown member", edit(func(m map[string]any) { m["trusted"] = true }), `unknown field "trusted"`},
		{"two objects", string(good) + "{}", "after top-level value"},
		{"no root CRL", edit(func(m map[string]any) { delete(m, "root_ca_crl") }), "CRL of the root CA: the CRL is empty"},
		{"root CRL not base64", edit(func(m map[string]any) { m["root_ca_crl"] = "?" }), "CRL of the root CA: it is neither base64 nor PEM"},
		{"no identity", edit(func(m map[string]any) { delete(m, "qe_identity") }), "QE identity: unexpected end of JSON input"},
		{"unknown CA", edit(func(m map[string]any) { m["pck_crls"] = map[string]any{"Platform": map[string]any{"crl": ""}} }), `pck_crls has the member "Platform"`},
		{"bad PCK CRL", edit(func(m map[string]any) { m["pck_crls"] = map[string]any{"platform": map[string]any{"crl": "AAAA"}} }), "CRL of the PCK platform CA: parse CRL"},
		{"bad FMSPC", edit(func(m map[string]any) { tcb(m)["x"] = tcb(m)["00606A000000"] }), `tcb_infos: read FMSPC "x": want 12 hex digits`},
		{"one FMSPC in two spellings", edit(func(m map[string]any) { tcb(m)["00606a000000"] = tcb(m)["00606A000000"] }), "tcb_infos holds FMSPC 00606A000000 twice"},
		{"TCB info under another name", edit(func(m map[string]any) { tcb(m)["00906ED50000"] = tcb(m)["00606A000000"] }), `the document is for FMSPC "00606A000000"`},
		{"too long", strings.Repeat(" ", maxBundle+1), "it is longer than 67108864 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ReadBundle(strings.NewReader(tt.file))
			if err == nil || !strings.HasPrefix(err.Error(), "read collateral file: ") || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error is %v, want %q", err, tt.err)
			}
		})
	}
}

func TestBundleTakesPEM(t *testing.T) {
	s, b := newBundle(t)
	raw, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	der, err := base64.StdEncoding.DecodeString(m["root_ca_crl"].(string))
	if err != nil {
		t.Fatal(err)
	}
	m["root_ca_crl"] = string(pemCRL(der))
	if raw, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	read, err := ReadBundle(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c, err := read.Collateral(t.Context(), s.where())
	if err != nil {
		t.Fatal(err)
	}
	s.verify(t, c)
}

func FuzzReadBundle(f *testing.F) {
	p, err := sgxsim.New(sgxsim.Options{})
	if err != nil {
		f.Fatal(err)
	}
	c, err := p.Collateral(time.Now())
	if err != nil {
		f.Fatal(err)
	}
	var b Bundle
	where := &dcap.Platform{FMSPC: dcap.FMSPC(p.Machine.FMSPC), CA: dcap.CAPlatform}
	if err := b.Add(where, (*dcap.Collateral)(c)); err != nil {
		f.Fatal(err)
	}
	good, err := b.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"type":"sgx-collateral","version":1}`))
	f.Add([]byte(`{"type":"sgx-collateral","version":1,"root_ca_crl":"3082","qe_identity":{"body":"{}"}}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := ReadBundle(bytes.NewReader(raw))
		if err != nil {
			return
		}
		out, err := b.Marshal()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if _, err := ReadBundle(bytes.NewReader(out)); err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
	})
}

func FuzzDecodeCRL(f *testing.F) {
	f.Add([]byte("3082"))
	f.Add([]byte("-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"))
	f.Add([]byte{0x30, 0x82, 0, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		der, crl, err := decodeCRL(raw)
		if err == nil && (len(der) == 0 || crl == nil) {
			t.Fatal("a CRL without content")
		}
	})
}
