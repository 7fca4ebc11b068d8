package tlsmaterials

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestPrivateKeyRoundTrip(t *testing.T) {
	for _, algorithm := range []KeyAlgorithm{"", ECDSAP256, RSA3072} {
		key := must[PrivateKey](t)(GenerateKey(algorithm))
		again := must[PrivateKey](t)(ParsePrivateKey(key.PEM()))
		if !bytes.Equal(key.PEM(), again.PEM()) || key.Fingerprint() != again.Fingerprint() {
			t.Errorf("%s: the key changes when written and read", algorithm)
		}
		if len(key.Fingerprint()) != 64 {
			t.Errorf("fingerprint %q", key.Fingerprint())
		}
	}
}

func TestParsePrivateKeyTakesOpenSSLForms(t *testing.T) {
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1 := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: must[[]byte](t)(x509.MarshalECPrivateKey(signer))})
	if key := must[PrivateKey](t)(ParsePrivateKey(append([]byte("\r\n "), sec1...))); !signer.PublicKey.Equal(key.Public()) {
		t.Error("another key")
	}
	if key := must[PrivateKey](t)(ParsePrivateKey(tutorialFiles(t)[ServerKeyFile])); key.IsZero() {
		t.Error("no key")
	}
}

func TestParsePrivateKeyErrors(t *testing.T) {
	good := must[PrivateKey](t)(GenerateKey(ECDSAP256)).PEM()
	_, ed := edPair(t)
	block := func(kind string, headers map[string]string) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Headers: headers, Bytes: []byte{1, 2, 3}}))
	}
	dek := map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}
	for _, tt := range []struct{ name, in, want string }{
		{"empty", "", "found no PEM block"},
		{"space", " \n\t", "found no PEM block"},
		{"text before", "key:\n" + string(good), "PEM block 1: found other text where \"-----BEGIN\" should be"},
		{"text after", string(good) + "x", "PEM block 2: found other text"},
		{"two", string(good) + string(good), "found 2 PEM blocks, want one"},
		{"damaged", strings.Replace(string(good), "M", "!", 1), "PEM block 1 is damaged"},
		{"damaged, then good", strings.Replace(string(good), "M", "!", 1) + string(good), "PEM block 1 is damaged"},
		{"no end", strings.Replace(string(good), "-----END", "----END", 1), "PEM block 1 is damaged"},
		{"certificate", block("CERTIFICATE", nil), `found a PEM block "CERTIFICATE", want a private key`},
		{"encrypted PKCS 8", block("ENCRYPTED PRIVATE KEY", nil), "the key is encrypted with a passphrase"},
		{"encrypted RSA", block("RSA PRIVATE KEY", dek), "the key is encrypted with a passphrase"},
		{"encrypted EC", block("EC PRIVATE KEY", dek), "the key is encrypted with a passphrase"},
		{"garbage PKCS 8", block("PRIVATE KEY", nil), "parse private key: "},
		{"garbage RSA", block("RSA PRIVATE KEY", nil), "parse private key: "},
		{"garbage EC", block("EC PRIVATE KEY", nil), "parse private key: "},
		{"Ed25519", string(ed), "keys of type ed25519.PrivateKey are not supported: TLS peers here take ECDSA and RSA"},
	} {
		key, err := ParsePrivateKey([]byte(tt.in))
		if !key.IsZero() || !strings.Contains(errText(err), tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, errText(err), tt.want)
		}
	}
}

// TestSecretsDoNotPrint prints everything that holds a key in every way and looks for the key's scalar.
func TestSecretsDoNotPrint(t *testing.T) {
	key := must[PrivateKey](t)(GenerateKey(ECDSAP256))
	signer, ok := key.Signer().(*ecdsa.PrivateKey)
	if !ok {
		t.Fatalf("%T", key.Signer())
	}
	raw := must[[]byte](t)(signer.Bytes())
	body := strings.Split(string(key.PEM()), "\n")[1]
	needles := map[string]string{
		"raw": string(raw), "hex": hex.EncodeToString(raw), "base64": base64.StdEncoding.EncodeToString(raw)[:40],
		"decimal": new(bigInt).SetBytes(raw).String(), "bytes": strings.Trim(fmt.Sprintf("%d", raw), "[]"),
		"PEM": body, "PEM in hex": hex.EncodeToString([]byte(body)), "PEM in bytes": strings.Trim(fmt.Sprintf("%d", []byte(body)), "[]"),
	}

	m := newTestMaterials(t)
	server(m).Key = key
	one := &Materials{Authority: m.Authority, SSLConfig: true}
	one.Set(ServerPlace, *certifyKey(t, &m.Authority, key))
	files := must[[]File](t)(one.Files())
	values := []any{
		key, &key, m, *m, server(m), m.Leaves, m.Leaves[0], []PrivateKey{key}, map[string]PrivateKey{"k": key},
		struct{ hidden PrivateKey }{key}, &struct{ hidden *PrivateKey }{&key},
		SSLConfig{ServerKey: string(key.PEM())}, &SSLConfig{ServerKey: string(key.PEM())}, files[0], files[2], files[len(files)-1],
	}
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			assertClean(t, fmt.Sprintf("%s of %T", verb, v), fmt.Sprintf(verb, v), needles)
		}
	}
	for _, v := range []any{key, &key, SSLConfig{ServerKey: string(key.PEM())}, server(m).Key, []PrivateKey{key}} {
		text := must[[]byte](t)(json.Marshal(v))
		assertClean(t, fmt.Sprintf("JSON of %T", v), string(text), needles)
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		assertClean(t, fmt.Sprintf("log of %T", v), log.String(), needles)
	}
	if got := fmt.Sprint(key); got != "[private key]" {
		t.Errorf("a key prints as %q", got)
	}
}

func assertClean(t *testing.T, what, text string, needles map[string]string) {
	t.Helper()
	for form, needle := range needles {
		if strings.Contains(text, needle) {
			t.Errorf("%s shows the private key (%s)", what, form)
		}
	}
}

func TestZeroPrivateKey(t *testing.T) {
	var key PrivateKey
	if !key.IsZero() || key.PEM() != nil || key.Signer() != nil || key.Public() != nil || key.Fingerprint() != "" {
		t.Error("the zero key is something")
	}
	if key.Matches(newTestAuthority(t).Certificate) {
		t.Error("the zero key matches a certificate")
	}
}

func TestKeyAlgorithms(t *testing.T) {
	if KeyAlgorithms()[0] != ECDSAP256 {
		t.Error("the default is not first")
	}
	for _, a := range KeyAlgorithms() {
		if got, err := ParseKeyAlgorithm(string(a)); err != nil || got != a {
			t.Errorf("%s: %v, %v", a, got, err)
		}
	}
	for _, name := range []string{"", "ECDSA-P256", "rsa-2048", "ed25519"} {
		if _, err := ParseKeyAlgorithm(name); !strings.Contains(errText(err), "is unknown: choose ecdsa-p256, rsa-3072, rsa-4096") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestParseCertificatesErrors(t *testing.T) {
	ca := newTestAuthority(t)
	good := string(ca.CertificatePEM())
	for _, tt := range []struct{ name, in, want string }{
		{"empty", "", "parse certificate: found no PEM block"},
		{"key", good + string(ca.Key.PEM()), `parse certificate: PEM block 2 is "PRIVATE KEY", want "CERTIFICATE"`},
		{"damaged second", good + strings.Replace(good, "\nM", "\n!", 1), "PEM block 2 is damaged"},
		{"not DER", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})), "parse certificate: PEM block 1: x509: malformed certificate"},
	} {
		certs, err := ParseCertificates([]byte(tt.in))
		if certs != nil || !strings.Contains(errText(err), tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, errText(err), tt.want)
		}
	}
	if certs := must[[]*x509.Certificate](t)(ParseCertificates([]byte(good + "\r\n" + good))); len(certs) != 2 {
		t.Errorf("%d certificates", len(certs))
	}
}
