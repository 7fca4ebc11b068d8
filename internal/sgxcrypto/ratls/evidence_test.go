package ratls

import (
	"bytes"
	"testing"
)

// TestParseGramineCertificates reads certificates that Gramine's own libraries made.
func TestParseGramineCertificates(t *testing.T) {
	want := map[string]struct {
		form   Form
		key    KeyType
		client string
	}{
		"v1.0": {Legacy, RSA3072, "Gramine 1.0 to 1.3.1"},
		"v1.5": {Legacy, ECDSAP384, "Gramine 1.4 to 1.7"},
		"v1.8": {DICE, ECDSAP384, "Gramine 1.8 or later"},
		"v1.9": {DICE, ECDSAP384, "Gramine 1.8 or later"},
	}
	for _, v := range readVectors(t) {
		t.Run(v.File, func(t *testing.T) {
			e, err := ParseCertificate(v.certificate(t))
			if v.Env == "FAKE_TAMPER=wrong-report-data" {
				checkError(t, err, NotBound, "read RA-TLS certificate: DICE extension: report data begins with ")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			w := want[v.Client]
			if e.Form != w.form || e.KeyType != w.key || e.Client() != w.client {
				t.Errorf("found %v, %v, %s; want %v, %v, %s", e.Form, e.KeyType, e.Client(), w.form, w.key, w.client)
			}
			if len(e.Claims) != 0 {
				t.Errorf("claims %q, want none", e.Claims)
			}
			if got, want := e.Quote.Body.MRENCLAVE[:], bytes.Repeat([]byte{0xab}, 32); !bytes.Equal(got, want) {
				t.Errorf("MRENCLAVE %x, want %x", got, want)
			}
			if got, want := e.Quote.Body.Attributes.Debug(), v.Env == "FAKE_DEBUG=1"; got != want {
				t.Errorf("debug %v, want %v", got, want)
			}
		})
	}
}
