package sgxsim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"time"
)

// Common names of the simulated authorities. Each contains what verifiers look for in Intel's.
const (
	RootName        = "CC SIMULATED SGX Root CA - NOT INTEL"
	PlatformCAName  = "CC SIMULATED SGX PCK Platform CA - NOT INTEL"
	ProcessorCAName = "CC SIMULATED SGX PCK Processor CA - NOT INTEL"
	PCKName         = "CC SIMULATED SGX PCK Certificate - NOT INTEL"
	TCBSigningName  = "CC SIMULATED SGX TCB Signing - NOT INTEL"
)

// crlURL is where the simulated CRLs are not: the name cannot be resolved (RFC 2606).
const crlURL = "https://simulated-sgx.invalid/root-ca.crl"

// Options say what platform to make.
type Options struct {
	// At is when it is made: its certificates are valid from before that time on. Zero means now.
	At time.Time
	// CA is who certifies the platform: "platform" (also when empty) or "processor".
	CA string
}

// Platform is a simulated machine together with the simulated Intel that vouches for it. Its methods may be called from
// several goroutines; its fields may be changed before, not meanwhile.
type Platform struct {
	Root, PlatformCA, ProcessorCA, TCBSigner, PCK *Authority

	Machine Machine
	QE      QuotingEnclave

	// RevokedByRoot and RevokedPCK are serial numbers for the root CA's and the PCK CA's revocation list.
	RevokedByRoot, RevokedPCK []*big.Int
	// Standard is what is in force, Early what will be after the grace period of a TCB recovery.
	Standard, Early TCBSet
}

// Machine is what the PCK certificate says of the hardware.
type Machine struct {
	FMSPC      HexBytes  `json:"fmspc"`
	PCEID      HexBytes  `json:"pce_id"`
	PPID       HexBytes  `json:"ppid"`
	CPUSVN     HexBytes  `json:"cpu_svn"` // raw, as in reports
	Components [16]int64 `json:"tcb_components"`
	PCESVN     uint16    `json:"pce_svn"`
	SGXType    int       `json:"sgx_type"`
	InstanceID HexBytes  `json:"instance_id"`
	CA         string    `json:"ca"` // "platform" or "processor"
}

// Extension returns the SGX extension that a PCK certificate of the machine has.
func (m *Machine) Extension() *SGXExtension {
	x := &SGXExtension{
		PPID: m.PPID, Components: m.Components, PCESVN: int64(m.PCESVN), PCEID: m.PCEID, FMSPC: m.FMSPC, SGXType: m.SGXType,
	}
	// In the certificate the components are the decoded form of CPUSVN, and Intel writes the same values in both.
	for _, svn := range m.Components {
		x.CPUSVN = append(x.CPUSVN, byte(svn))
	}
	if m.CA == CAPlatform {
		x.Platform = &SGXPlatform{InstanceID: m.InstanceID, DynamicPlatform: true, CachedKeys: true, SMTEnabled: true}
	}
	return x
}

// Who certifies a platform.
const (
	CAPlatform  = "platform"
	CAProcessor = "processor"
)

// New makes a platform in memory.
func New(opts Options) (*Platform, error) {
	if opts.At.IsZero() {
		opts.At = time.Now()
	}
	p := &Platform{}
	if err := p.init(opts); err != nil {
		return nil, fmt.Errorf("make simulated SGX platform: %w", err)
	}
	return p, nil
}

func (p *Platform) init(opts Options) error {
	var err error
	if p.Machine, err = newMachine(opts.CA); err != nil {
		return err
	}
	if p.QE, err = newQuotingEnclave(); err != nil {
		return err
	}
	p.Standard, p.Early = defaultTCBSets()
	return p.issue(opts.At.UTC().Truncate(time.Second))
}

func newMachine(ca string) (Machine, error) {
	m := Machine{
		FMSPC: HexBytes{0x00, 0x60, 0x6a, 0, 0, 0}, PCEID: HexBytes{0, 0},
		Components: [16]int64{12, 12, 3, 3, 255, 255, 1},
		PCESVN:     13,
		SGXType:    1,
		CA:         CAPlatform,
		// The report's CPUSVN is another encoding than the certificate's; on real machines they differ.
		CPUSVN: HexBytes{0x0c, 0x0c, 0x10, 0x0f, 0xff, 0xff, 0x01, 0x80, 0, 0, 0, 0, 0, 0, 0, 0},
	}
	switch ca {
	case "", CAPlatform:
	case CAProcessor:
		m.CA, m.SGXType = CAProcessor, 0
	default:
		return m, fmt.Errorf("choose PCK CA: found %q, want %q or %q", ca, CAPlatform, CAProcessor)
	}
	var err error
	if m.PPID, err = randomBytes(16); err != nil {
		return m, err
	}
	m.InstanceID, err = randomBytes(16)
	return m, err
}

// CA returns the authority that certifies the platform.
func (p *Platform) CA() *Authority {
	if p.Machine.CA == CAProcessor {
		return p.ProcessorCA
	}
	return p.PlatformCA
}

// role is what the certificates of an authority have in common.
type role struct {
	name              string
	before, after     time.Duration // validity around the time of issue
	ca                bool
	pathLen           int
	criticalKeyUsages byte // first octet of the key usage bit string
}

const (
	day  = 24 * time.Hour
	year = 365 * day

	usageSign = 0xc0 // digitalSignature, nonRepudiation
	usageCA   = 0x06 // keyCertSign, cRLSign
)

// issue makes all keys and certificates, with lives like Intel's.
func (p *Platform) issue(at time.Time) error {
	var err error
	issue := func(issuer *Authority, r role) *Authority {
		if err != nil {
			return nil
		}
		var a *Authority
		if a, err = newAuthority(issuer, r, at); err != nil {
			err = fmt.Errorf("issue %s: %w", r.name, err)
		}
		return a
	}
	p.Root = issue(nil, role{RootName, 8 * year, 23 * year, true, 1, usageCA})
	p.PlatformCA = issue(p.Root, role{PlatformCAName, 8 * year, 7 * year, true, 0, usageCA})
	p.ProcessorCA = issue(p.Root, role{ProcessorCAName, 8 * year, 7 * year, true, 0, usageCA})
	p.TCBSigner = issue(p.Root, role{TCBSigningName, year, 6 * year, false, 0, usageSign})
	p.PCK = issue(p.CA(), role{PCKName, day, 7*year - 2*day, false, 0, usageSign})
	if err != nil {
		return err
	}
	value, err := p.Machine.Extension().Marshal()
	if err != nil {
		return err
	}
	p.PCK.Certificate.Extensions = append(p.PCK.Certificate.Extensions, pkix.Extension{Id: OIDSGX, Value: value})
	return p.PCK.Sign(p.CA())
}

// newAuthority makes a key and signs a certificate for it; a nil issuer means itself.
func newAuthority(issuer *Authority, r role, at time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	subject, err := Name(r.name)
	if err != nil {
		return nil, err
	}
	serial, err := randomBytes(20)
	if err != nil {
		return nil, err
	}
	serial[0] = serial[0]&0x7f | 0x40 // positive, and always 20 bytes
	a := &Authority{Key: key, Certificate: &Certificate{
		Serial: new(big.Int).SetBytes(serial), Issuer: subject, Subject: subject,
		NotBefore: at.Add(-r.before), NotAfter: at.Add(r.after), PublicKey: spki,
	}}
	if issuer == nil {
		issuer = a
	}
	a.Certificate.Issuer = issuer.Certificate.Subject
	if a.Certificate.Extensions, err = r.extensions(spki, issuer.Certificate.PublicKey); err != nil {
		return nil, err
	}
	return a, a.Sign(issuer)
}

// extensions are those of Intel's certificates, in their order.
func (r role) extensions(spki, issuerSPKI []byte) ([]pkix.Extension, error) {
	aki, err := authorityKeyID(issuerSPKI)
	if err != nil {
		return nil, err
	}
	id, err := keyID(spki)
	if err != nil {
		return nil, err
	}
	ski, err := asn1.Marshal(id)
	if err != nil {
		return nil, err
	}
	type distributionPoint struct {
		Name struct {
			FullName []asn1.RawValue `asn1:"optional,tag:0"`
		} `asn1:"optional,tag:0"`
	}
	var point distributionPoint
	point.Name.FullName = []asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(crlURL)}}
	cdp, err := asn1.Marshal([]distributionPoint{point})
	if err != nil {
		return nil, err
	}
	bits := 2
	if r.ca {
		bits = 7
	}
	usage, err := asn1.Marshal(asn1.BitString{Bytes: []byte{r.criticalKeyUsages}, BitLength: bits})
	if err != nil {
		return nil, err
	}
	var constraints []byte
	if r.ca {
		constraints, err = asn1.Marshal(struct {
			CA      bool
			PathLen int
		}{true, r.pathLen})
	} else {
		constraints, err = asn1.Marshal(struct{}{})
	}
	return []pkix.Extension{
		aki,
		{Id: OIDCRLDistribution, Value: cdp},
		{Id: OIDSubjectKeyID, Value: ski},
		{Id: OIDKeyUsage, Critical: true, Value: usage},
		{Id: OIDBasicConstraints, Critical: true, Value: constraints},
	}, err
}

func randomBytes(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := rand.Read(b)
	return b, err
}
