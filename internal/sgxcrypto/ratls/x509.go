package ratls

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // A key identifier is a name, not a proof (RFC 5280, section 4.2.1.2).
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"time"
)

// The certificate is put together here and not by crypto/x509, which cannot write the extensions in Gramine's order
// nor the NULL parameters of some releases.

var (
	oidCommonName       = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidOrganization     = asn1.ObjectIdentifier{2, 5, 4, 10}
	oidCountry          = asn1.ObjectIdentifier{2, 5, 4, 6}
	oidSHA256WithRSA    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}
	oidECDSAWithSHA256  = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	oidSubjectKeyID     = asn1.ObjectIdentifier{2, 5, 29, 14}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidAuthorityKeyID   = asn1.ObjectIdentifier{2, 5, 29, 35}
)

type certificate struct {
	TBS       asn1.RawValue
	Algorithm pkix.AlgorithmIdentifier
	Signature asn1.BitString
}

type tbsCertificate struct {
	Version    int `asn1:"explicit,tag:0"`
	Serial     *big.Int
	Algorithm  pkix.AlgorithmIdentifier
	Issuer     []pkix.RelativeDistinguishedNameSET
	Validity   validity
	Subject    []pkix.RelativeDistinguishedNameSET
	PublicKey  asn1.RawValue
	Extensions []pkix.Extension `asn1:"explicit,tag:3"`
}

type validity struct{ NotBefore, NotAfter time.Time }

// signCertificate writes what ra_tls_attest.c writes: subject and issuer CN=RATLS, O=GramineDevelopers, C=US, serial
// number 1, basic constraints that say nothing, key identifiers, evidence.
func signCertificate(key crypto.Signer, spki []byte, evidence []pkix.Extension, opts CertificateOptions) ([]byte, error) {
	alg := pkix.AlgorithmIdentifier{Algorithm: oidECDSAWithSHA256}
	if _, ok := key.(*rsa.PrivateKey); ok {
		alg = pkix.AlgorithmIdentifier{Algorithm: oidSHA256WithRSA, Parameters: asn1.NullRawValue}
	} else if opts.NullParameters {
		alg.Parameters = asn1.NullRawValue
	}
	extensions, err := commonExtensions(spki)
	if err != nil {
		return nil, err
	}
	name := gramineName()
	tbs, err := asn1.Marshal(tbsCertificate{
		Version:    2, // that is X.509 v3
		Serial:     big.NewInt(1),
		Algorithm:  alg,
		Issuer:     name,
		Validity:   validity{opts.NotBefore.UTC(), opts.NotAfter.UTC()},
		Subject:    name,
		PublicKey:  asn1.RawValue{FullBytes: spki},
		Extensions: append(extensions, evidence...),
	})
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(tbs)
	sig, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(certificate{
		TBS:       asn1.RawValue{FullBytes: tbs},
		Algorithm: alg,
		Signature: asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)},
	})
}

func gramineName() []pkix.RelativeDistinguishedNameSET {
	attribute := func(id asn1.ObjectIdentifier, tag int, value string) pkix.RelativeDistinguishedNameSET {
		return pkix.RelativeDistinguishedNameSET{{Type: id, Value: asn1.RawValue{Tag: tag, Bytes: []byte(value)}}}
	}
	return []pkix.RelativeDistinguishedNameSET{
		attribute(oidCommonName, asn1.TagUTF8String, "RATLS"),
		attribute(oidOrganization, asn1.TagUTF8String, "GramineDevelopers"),
		attribute(oidCountry, asn1.TagPrintableString, "US"),
	}
}

func commonExtensions(spki []byte) ([]pkix.Extension, error) {
	var info struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(spki, &info); err != nil {
		return nil, err
	}
	id := sha1.Sum(info.Key.Bytes) //nolint:gosec // As above.
	subjectID, err := asn1.Marshal(id[:])
	if err != nil {
		return nil, err
	}
	authorityID, err := asn1.Marshal(struct {
		ID []byte `asn1:"tag:0"`
	}{id[:]})
	if err != nil {
		return nil, err
	}
	return []pkix.Extension{
		{Id: oidBasicConstraints, Value: []byte{asn1.TagSequence | 0x20, 0}},
		{Id: oidSubjectKeyID, Value: subjectID},
		{Id: oidAuthorityKeyID, Value: authorityID},
	}, nil
}
