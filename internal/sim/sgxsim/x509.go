package sgxsim

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha1" //nolint:gosec // A key identifier is a name, not a proof (RFC 5280, section 4.2.1.2).
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// Certificates and revocation lists are put together here and not by crypto/x509, which rightly refuses to make
// many of those that a verifier has to refuse.

// OIDs of extensions, for [Certificate.Extension] and [CRL.Extension].
var (
	OIDSubjectKeyID     = asn1.ObjectIdentifier{2, 5, 29, 14}
	OIDKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	OIDBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	OIDCRLNumber        = asn1.ObjectIdentifier{2, 5, 29, 20}
	OIDCRLDistribution  = asn1.ObjectIdentifier{2, 5, 29, 31}
	OIDAuthorityKeyID   = asn1.ObjectIdentifier{2, 5, 29, 35}
	OIDSGX              = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}

	oidECDSAWithSHA256 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
)

// Certificate is an X.509 certificate before it is signed.
type Certificate struct {
	Serial              *big.Int
	Issuer, Subject     []byte // DER; see Name
	NotBefore, NotAfter time.Time
	PublicKey           []byte // DER of the SubjectPublicKeyInfo
	Extensions          []pkix.Extension
}

// Extension returns the extension with an OID to be changed in place; nil when there is none.
func (c *Certificate) Extension(id asn1.ObjectIdentifier) *pkix.Extension {
	return find(c.Extensions, id)
}

// Remove takes the extension with an OID away.
func (c *Certificate) Remove(id asn1.ObjectIdentifier) { c.Extensions = remove(c.Extensions, id) }

// DER signs the certificate.
func (c *Certificate) DER(key *ecdsa.PrivateKey) ([]byte, error) {
	alg := pkix.AlgorithmIdentifier{Algorithm: oidECDSAWithSHA256}
	return signDER(key, alg, struct {
		Version    int `asn1:"explicit,tag:0"`
		Serial     *big.Int
		Algorithm  pkix.AlgorithmIdentifier
		Issuer     asn1.RawValue
		Validity   struct{ NotBefore, NotAfter time.Time }
		Subject    asn1.RawValue
		PublicKey  asn1.RawValue
		Extensions []pkix.Extension `asn1:"optional,explicit,tag:3,omitempty"`
	}{
		Version: 2, Serial: c.Serial, Algorithm: alg,
		Issuer:     asn1.RawValue{FullBytes: c.Issuer},
		Validity:   struct{ NotBefore, NotAfter time.Time }{c.NotBefore.UTC(), c.NotAfter.UTC()},
		Subject:    asn1.RawValue{FullBytes: c.Subject},
		PublicKey:  asn1.RawValue{FullBytes: c.PublicKey},
		Extensions: c.Extensions,
	})
}

// CRL is a certificate revocation list before it is signed.
type CRL struct {
	Issuer                 []byte // DER
	ThisUpdate, NextUpdate time.Time
	NoNextUpdate           bool
	Revoked                []*big.Int
	RevokedAt              time.Time        // revocation date of all entries
	EntryExtensions        []pkix.Extension // of all entries
	Extensions             []pkix.Extension
}

// Extension returns the extension with an OID to be changed in place; nil when there is none.
func (c *CRL) Extension(id asn1.ObjectIdentifier) *pkix.Extension { return find(c.Extensions, id) }

// Remove takes the extension with an OID away.
func (c *CRL) Remove(id asn1.ObjectIdentifier) { c.Extensions = remove(c.Extensions, id) }

type revokedSerial struct {
	Serial     *big.Int
	At         time.Time
	Extensions []pkix.Extension `asn1:"optional,omitempty"`
}

// DER signs the list.
func (c *CRL) DER(key *ecdsa.PrivateKey) ([]byte, error) {
	alg := pkix.AlgorithmIdentifier{Algorithm: oidECDSAWithSHA256}
	var revoked []revokedSerial
	for _, serial := range c.Revoked {
		revoked = append(revoked, revokedSerial{serial, c.RevokedAt.UTC(), c.EntryExtensions})
	}
	var next asn1.RawValue // left out when empty
	if !c.NoNextUpdate {
		der, err := asn1.Marshal(c.NextUpdate.UTC())
		if err != nil {
			return nil, err
		}
		next.FullBytes = der
	}
	return signDER(key, alg, struct {
		Version    int
		Algorithm  pkix.AlgorithmIdentifier
		Issuer     asn1.RawValue
		ThisUpdate time.Time
		NextUpdate asn1.RawValue    `asn1:"optional"`
		Revoked    []revokedSerial  `asn1:"optional,omitempty"`
		Extensions []pkix.Extension `asn1:"optional,explicit,tag:0,omitempty"`
	}{
		Version: 1, Algorithm: alg,
		Issuer:     asn1.RawValue{FullBytes: c.Issuer},
		ThisUpdate: c.ThisUpdate.UTC(),
		NextUpdate: next,
		Revoked:    revoked,
		Extensions: c.Extensions,
	})
}

func signDER(key *ecdsa.PrivateKey, alg pkix.AlgorithmIdentifier, content any) ([]byte, error) {
	tbs, err := asn1.Marshal(content)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(tbs)
	sig, err := signASN1(key, digest[:])
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: tbs}, alg, asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)}})
}

// signASN1 signs deterministically (RFC 6979), so that what is issued twice has the same bytes.
func signASN1(key *ecdsa.PrivateKey, digest []byte) ([]byte, error) {
	return key.Sign(nil, digest, crypto.SHA256)
}

// signRaw is signASN1 in the encoding of quotes and TCB info: r and s, 32 bytes each, big-endian.
func signRaw(key *ecdsa.PrivateKey, data []byte) ([64]byte, error) {
	digest := sha256.Sum256(data)
	der, err := signASN1(key, digest[:])
	if err != nil {
		return [64]byte{}, err
	}
	var sig struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &sig); err != nil {
		return [64]byte{}, err
	}
	var raw [64]byte
	sig.R.FillBytes(raw[:32])
	sig.S.FillBytes(raw[32:])
	return raw, nil
}

// Authority is a key with its certificate.
type Authority struct {
	Certificate *Certificate // what DER was signed from
	DER         []byte
	Key         *ecdsa.PrivateKey
}

// Sign makes a new DER from Certificate, which may have been changed. Issuer name and authority key identifier are left
// as they are.
func (a *Authority) Sign(issuer *Authority) error {
	der, err := a.Certificate.DER(issuer.Key)
	if err != nil {
		return fmt.Errorf("sign certificate: %w", err)
	}
	a.DER = der
	return nil
}

// PEM returns the certificate as PEM.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.DER})
}

// SignJSON signs a JSON object as Intel's service does and wraps it as the given member ("tcbInfo" or
// "enclaveIdentity") beside its signature. The signature covers the bytes of object as they are.
func (a *Authority) SignJSON(member string, object []byte) ([]byte, error) {
	sig, err := signRaw(a.Key, object)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", member, err)
	}
	return fmt.Appendf(nil, `{"%s":%s,"signature":"%x"}`, member, object, sig), nil
}

// Name encodes a distinguished name with the given common name under the simulator's organisation.
func Name(commonName string) ([]byte, error) {
	var name []pkix.RelativeDistinguishedNameSET
	for _, a := range []struct {
		id    asn1.ObjectIdentifier
		value string
	}{
		{asn1.ObjectIdentifier{2, 5, 4, 3}, commonName},
		{asn1.ObjectIdentifier{2, 5, 4, 10}, "CC Simulator - NOT INTEL"},
		{asn1.ObjectIdentifier{2, 5, 4, 11}, "for tests and demonstrations"},
	} {
		name = append(name, pkix.RelativeDistinguishedNameSET{{Type: a.id, Value: asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(a.value)}}})
	}
	der, err := asn1.Marshal(name)
	if err != nil {
		return nil, fmt.Errorf("encode name %q: %w", commonName, err)
	}
	return der, nil
}

// parseAuthority takes a stored certificate apart, so that it can be changed and signed again.
func parseAuthority(der []byte, key *ecdsa.PrivateKey) (*Authority, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(c.PublicKey) {
		return nil, fmt.Errorf("certificate %v is not the key's", c.Subject)
	}
	return &Authority{
		Certificate: &Certificate{
			Serial: c.SerialNumber, Issuer: c.RawIssuer, Subject: c.RawSubject,
			NotBefore: c.NotBefore, NotAfter: c.NotAfter, PublicKey: c.RawSubjectPublicKeyInfo, Extensions: c.Extensions,
		},
		DER: der,
		Key: key,
	}, nil
}

// keyID is the SHA-1 of the key's bit string.
func keyID(spki []byte) ([]byte, error) {
	var info struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(spki, &info); err != nil {
		return nil, fmt.Errorf("read public key: %w", err)
	}
	id := sha1.Sum(info.Key.Bytes) //nolint:gosec // As above.
	return id[:], nil
}

func authorityKeyID(issuerSPKI []byte) (pkix.Extension, error) {
	id, err := keyID(issuerSPKI)
	if err != nil {
		return pkix.Extension{}, err
	}
	der, err := asn1.Marshal(struct {
		ID []byte `asn1:"tag:0"`
	}{id})
	return pkix.Extension{Id: OIDAuthorityKeyID, Value: der}, err
}

func find(all []pkix.Extension, id asn1.ObjectIdentifier) *pkix.Extension {
	for i := range all {
		if all[i].Id.Equal(id) {
			return &all[i]
		}
	}
	return nil
}

func remove(all []pkix.Extension, id asn1.ObjectIdentifier) []pkix.Extension {
	return slices.DeleteFunc(slices.Clone(all), func(e pkix.Extension) bool { return e.Id.Equal(id) })
}
