package sigstruct

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
)

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func TestMRSIGNEROfKey(t *testing.T) {
	s := parsed(t, "v19_release.sig")
	key := &rsa.PublicKey{N: number(s.Modulus), E: Exponent}
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for form, text := range map[string][]byte{
		"SubjectPublicKeyInfo": encodePEM("PUBLIC KEY", spki),
		"PKCS #1":              encodePEM("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(key)),
	} {
		if got, err := MRSIGNEROfKey(append(text, "\n \n"...)); err != nil || got != s.MRSIGNER() {
			t.Errorf("%s: %x, %v, want %x", form, got, err, s.MRSIGNER())
		}
	}
}

func TestMRSIGNEROfKeyErrors(t *testing.T) {
	spki := func(key any) []byte {
		t.Helper()
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return encodePEM("PUBLIC KEY", der)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	odd := new(big.Int).SetBit(big.NewInt(1), 3071, 1)
	for _, tt := range []struct {
		name string
		in   []byte
		want string
	}{
		{"empty", nil, "read signer's key: found no PEM block"},
		{"two", append(spki(&ec.PublicKey), spki(&ec.PublicKey)...), "read signer's key: found text after the PEM block"},
		{"private", encodePEM("RSA PRIVATE KEY", []byte{1}), "found the private key: give the public half, which openssl rsa -pubout prints"},
		{"certificate", encodePEM("CERTIFICATE", []byte{1}), `found a PEM block "CERTIFICATE", want a public key`},
		{"garbage", encodePEM("PUBLIC KEY", []byte{1}), "read signer's key: asn1: "},
		{"garbage PKCS #1", encodePEM("RSA PUBLIC KEY", []byte{1}), "read signer's key: asn1: "},
		{"ECDSA", spki(&ec.PublicKey), "found a key of type *ecdsa.PublicKey, want RSA"},
		{"exponent", spki(&rsa.PublicKey{N: odd, E: 65537}), "read signer's key: found 3072 bits and exponent 65537, want 3072 and 3: no enclave is signed with this key"},
		{"size", spki(&rsa.PublicKey{N: new(big.Int).Rsh(odd, 1024), E: 3}), "found 2048 bits and exponent 3"},
	} {
		if got, err := MRSIGNEROfKey(tt.in); err == nil || !strings.Contains(err.Error(), tt.want) || got != [32]byte{} {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}
