package sgxsim

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// Collateral is everything that a verifier needs beside a quote. The fields are those of package dcap's type of the same
// name, so that one converts into the other.
type Collateral struct {
	TCBInfo               []byte
	TCBInfoIssuerChain    []byte
	QEIdentity            []byte
	QEIdentityIssuerChain []byte
	PCKCRL                []byte
	PCKCRLIssuerChain     []byte
	RootCACRL             []byte
}

// Collateral issues a complete set for a time: standard TCB info of version 3 and CRLs in DER.
func (p *Platform) Collateral(at time.Time) (*Collateral, error) {
	c := &Collateral{
		TCBInfoIssuerChain:    p.TCBSigningChain(),
		QEIdentityIssuerChain: p.TCBSigningChain(),
		PCKCRLIssuerChain:     p.PCKCRLChain(p.Machine.CA),
	}
	var err error
	if c.TCBInfo, err = p.TCBInfo(at, p.Standard).Sign(p.TCBSigner); err != nil {
		return nil, err
	}
	if c.QEIdentity, err = p.QEIdentity(at, p.Standard).Sign(p.TCBSigner); err != nil {
		return nil, err
	}
	if c.PCKCRL, err = p.pckCRL(at, p.Machine.CA); err != nil {
		return nil, err
	}
	if c.RootCACRL, err = p.rootCRL(at); err != nil {
		return nil, err
	}
	return c, nil
}

// PCKChain is the certification data of a quote: PCK certificate, PCK CA, root, as PEM.
func (p *Platform) PCKChain() []byte { return chain(p.PCK, p.CA(), p.Root) }

// TCBSigningChain is the issuer chain of TCB info and QE identity, as PEM.
func (p *Platform) TCBSigningChain() []byte { return chain(p.TCBSigner, p.Root) }

// PCKCRLChain is the issuer chain of a PCK CRL, as PEM.
func (p *Platform) PCKCRLChain(ca string) []byte { return chain(p.pckCA(ca), p.Root) }

// RootPEM is the root certificate, the trust anchor for everything the platform makes.
func (p *Platform) RootPEM() []byte { return p.Root.PEM() }

func chain(authorities ...*Authority) []byte {
	var pem []byte
	for _, a := range authorities {
		pem = append(pem, a.PEM()...)
	}
	return pem
}

func (p *Platform) pckCA(ca string) *Authority {
	if ca == CAProcessor {
		return p.ProcessorCA
	}
	return p.PlatformCA
}

// issueDate is the beginning of the day, so that whoever asks twice a day gets the same document.
func issueDate(at time.Time) time.Time { return at.UTC().Truncate(day) }

// Lifetimes as Intel's: 30 days for TCB info, QE identity and the PCK CRLs, a year for the root CRL.
const (
	documentLife = 30 * day
	rootCRLLife  = year
)

// RootCRL returns the root CA's revocation list for a time, to be signed by Root.
func (p *Platform) RootCRL(at time.Time) (*CRL, error) {
	crl, err := newCRL(p.Root, at, rootCRLLife)
	if err != nil {
		return nil, fmt.Errorf("make root CRL: %w", err)
	}
	crl.Revoked = p.RevokedByRoot
	return crl, nil
}

// PCKCRL returns the revocation list of a PCK CA for a time, to be signed by that CA. Only the CA that certifies the
// platform has revoked anything.
func (p *Platform) PCKCRL(at time.Time, ca string) (*CRL, error) {
	crl, err := newCRL(p.pckCA(ca), at, documentLife)
	if err != nil {
		return nil, fmt.Errorf("make PCK CRL: %w", err)
	}
	if ca == p.Machine.CA {
		crl.Revoked = p.RevokedPCK
	}
	return crl, nil
}

func (p *Platform) rootCRL(at time.Time) ([]byte, error) {
	crl, err := p.RootCRL(at)
	if err != nil {
		return nil, err
	}
	return crl.DER(p.Root.Key)
}

func (p *Platform) pckCRL(at time.Time, ca string) ([]byte, error) {
	crl, err := p.PCKCRL(at, ca)
	if err != nil {
		return nil, err
	}
	return crl.DER(p.pckCA(ca).Key)
}

// newCRL makes an empty list of an issuer. Every genuine list of Intel's has the CRL number 1.
func newCRL(issuer *Authority, at time.Time, life time.Duration) (*CRL, error) {
	aki, err := authorityKeyID(issuer.Certificate.PublicKey)
	if err != nil {
		return nil, err
	}
	number, err := asn1.Marshal(big.NewInt(1))
	if err != nil {
		return nil, err
	}
	issued := issueDate(at)
	return &CRL{
		Issuer: issuer.Certificate.Subject, ThisUpdate: issued, NextUpdate: issued.Add(life), RevokedAt: issued,
		Extensions: []pkix.Extension{{Id: OIDCRLNumber, Value: number}, aki},
	}, nil
}

// CollateralFile issues a complete set for a time in the file format of package pccs, for verification without a
// service.
func (p *Platform) CollateralFile(at time.Time) ([]byte, error) {
	c, err := p.Collateral(at)
	if err != nil {
		return nil, err
	}
	type signed struct {
		Body        string `json:"body"`
		IssuerChain string `json:"issuer_chain"`
	}
	type crl struct {
		CRL         []byte `json:"crl"` // base64 of DER
		IssuerChain string `json:"issuer_chain"`
	}
	data, err := json.MarshalIndent(struct {
		Type       string            `json:"type"`
		Version    int               `json:"version"`
		Source     string            `json:"source"`
		Fetched    time.Time         `json:"fetched"`
		RootCACRL  []byte            `json:"root_ca_crl"`
		QEIdentity signed            `json:"qe_identity"`
		PCKCRLs    map[string]crl    `json:"pck_crls"`
		TCBInfos   map[string]signed `json:"tcb_infos"`
	}{
		"sgx-collateral", 1, "simulated platform", at.UTC(), c.RootCACRL,
		signed{string(c.QEIdentity), string(c.QEIdentityIssuerChain)},
		map[string]crl{p.Machine.CA: {c.PCKCRL, string(c.PCKCRLIssuerChain)}},
		map[string]signed{p.Machine.FMSPC.String(): {string(c.TCBInfo), string(c.TCBInfoIssuerChain)}},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode collateral: %w", err)
	}
	return append(data, '\n'), nil
}

// HexBytes are bytes that JSON shows in hex.
type HexBytes []byte

// MarshalText implements encoding.TextMarshaler.
func (h HexBytes) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *HexBytes) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*h = b
	return err
}

// String is in upper case, as Intel writes it.
func (h HexBytes) String() string { return strings.ToUpper(hex.EncodeToString(h)) }
