package sigstruct

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MRSIGNEROfKey is the identity under which enclaves run that the owner of a public key has signed. The key is in PEM, as
// "openssl rsa -pubout" prints it: SubjectPublicKeyInfo or PKCS #1. It must be one that SGX takes, with 3072 bits and
// exponent 3.
func MRSIGNEROfKey(text []byte) ([32]byte, error) {
	key, err := parsePublicKey(text)
	if err != nil {
		return [32]byte{}, fmt.Errorf("read signer's key: %w", err)
	}
	if bits := key.N.BitLen(); bits != 8*NumberSize || key.E != Exponent {
		return [32]byte{}, fmt.Errorf("read signer's key: found %d bits and exponent %d, want 3072 and 3: no enclave is signed with this key", bits, key.E)
	}
	modulus := key.N.FillBytes(make([]byte, NumberSize))
	slices.Reverse(modulus)
	return sha256.Sum256(modulus), nil
}

func parsePublicKey(text []byte) (*rsa.PublicKey, error) {
	block, rest := pem.Decode(text)
	if block == nil {
		return nil, errors.New("found no PEM block")
	}
	if len(strings.TrimSpace(string(rest))) > 0 {
		return nil, errors.New("found text after the PEM block")
	}
	switch {
	case block.Type == "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case block.Type == "PUBLIC KEY":
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		if key, ok := key.(*rsa.PublicKey); ok {
			return key, nil
		}
		return nil, fmt.Errorf("found a key of type %T, want RSA", key)
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		return nil, errors.New("found the private key: give the public half, which openssl rsa -pubout prints")
	default:
		return nil, fmt.Errorf("found a PEM block %q, want a public key", block.Type)
	}
}
