package dcap

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
)

// PCK is what the SGX extension of a PCK certificate says of the platform. The PPID and the platform instance id,
// which identify one machine, are checked for form and left out.
type PCK struct {
	FMSPC FMSPC
	PCEID [2]byte
	CA    string // CAPlatform or CAProcessor
	// Components and PCESVN are what TCB levels are matched with. CPUSVN is the same in the processor's own encoding.
	Components [16]uint8
	PCESVN     uint16
	CPUSVN     [16]byte
	SGXType    SGXType
	// Configuration is nil under the Processor CA.
	Configuration *PCKConfiguration
}

func (p *PCK) clone() PCK {
	c := *p
	if p.Configuration != nil {
		conf := *p.Configuration
		c.Configuration = &conf
	}
	return c
}

// PCKConfiguration is how a multi-package platform was set up.
type PCKConfiguration struct {
	DynamicPlatform bool // packages may be added later
	CachedKeys      bool // Intel keeps the registration keys
	SMTEnabled      bool // simultaneous multithreading
}

// SGXType says how the platform's enclave memory is protected.
type SGXType uint8

// SGX types.
const (
	SGXStandard          SGXType = 0
	SGXScalable          SGXType = 1
	SGXScalableIntegrity SGXType = 2
)

// String is Intel's name of the type.
func (t SGXType) String() string {
	switch t {
	case SGXStandard:
		return "standard"
	case SGXScalable:
		return "scalable"
	case SGXScalableIntegrity:
		return "scalable with integrity"
	default:
		return fmt.Sprintf("type %d", uint8(t))
	}
}

// Last arcs below sgxExtension (Intel SGX PCK Certificate and CRL Profile Specification, section 1.3.5).
var sgxExtension = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}

func below(arc int) asn1.ObjectIdentifier { return append(slices.Clone(sgxExtension), arc) }

const (
	arcPPID          = 1
	arcTCB           = 2
	arcPCEID         = 3
	arcFMSPC         = 4
	arcSGXType       = 5
	arcInstanceID    = 6
	arcConfiguration = 7

	tcbComponents = 16
	arcPCESVN     = 17 // below arcTCB, after the components 1 to 16
	arcCPUSVN     = 18

	arcDynamicPlatform = 1 // below arcConfiguration
	arcCachedKeys      = 2
	arcSMTEnabled      = 3
)

// parsePCK reads the SGX extension of a PCK certificate issued by a CA of the given kind.
func parsePCK(cert *x509.Certificate, ca string) (*PCK, error) {
	for _, ext := range cert.Extensions {
		if ext.Id.Equal(sgxExtension) {
			r := &extensionReader{}
			pck := r.pck(ext.Value, ca)
			if r.err != nil {
				return nil, r.err
			}
			return pck, nil
		}
	}
	return nil, &Error{
		Stage: StagePCKExtensions, Reason: ReasonMissing, What: "PCK certificate",
		Got: "no SGX extension", Want: "the extension " + sgxExtension.String(),
	}
}

// ReadPCK reads what a quote's PCK chain says of the platform, without verifying anything: it is for looking into a
// quote, and for nothing that a decision rests on. The error is an *Error.
func ReadPCK(q *quote.Quote) (*PCK, []*x509.Certificate, error) {
	if err := checkForm(q); err != nil {
		return nil, nil, fmt.Errorf("read PCK chain: %w", advise(err))
	}
	certs, err := readCertificates(q.CertificationData, pckChainSpec.what)
	if err != nil {
		return nil, nil, fmt.Errorf("read PCK chain: %w", advise(err))
	}
	pck, err := parsePCK(certs[0], caOf(certs[0].Issuer.CommonName))
	if err != nil {
		return nil, certs, fmt.Errorf("read PCK certificate: %w", advise(err))
	}
	return pck, certs, nil
}

// caOf tells the kind of PCK CA from its common name.
func caOf(commonName string) string {
	if strings.Contains(commonName, "SGX PCK Platform CA") {
		return CAPlatform
	}
	return CAProcessor
}

// extensionReader keeps the first error, so that the fields can be read in a row.
type extensionReader struct{ err error }

func (r *extensionReader) fail(reason Reason, what, got, want string) {
	if r.err == nil {
		r.err = &Error{Stage: StagePCKExtensions, Reason: reason, What: what, Got: got, Want: want}
	}
}

func (r *extensionReader) pck(value []byte, ca string) *PCK {
	count := arcSGXType
	if ca == CAPlatform {
		count = arcConfiguration
	}
	fields := r.sequence(value, sgxExtension, "SGX extension", count)
	pck := &PCK{CA: ca}
	r.octets(fields, arcPPID, "PPID", make([]byte, 16))
	if tcb := r.take(fields, arcTCB, "TCB"); r.err == nil {
		r.tcb(tcb, pck)
	}
	r.octets(fields, arcPCEID, "PCE-ID", pck.PCEID[:])
	r.octets(fields, arcFMSPC, "FMSPC", pck.FMSPC[:])
	pck.SGXType = SGXType(r.number(fields, arcSGXType, "SGX type", asn1.TagEnum, int(SGXScalableIntegrity)))
	if ca == CAPlatform {
		r.octets(fields, arcInstanceID, "platform instance id", make([]byte, 16))
		if conf := r.take(fields, arcConfiguration, "configuration"); r.err == nil {
			pck.Configuration = r.configuration(conf)
		}
	}
	return pck
}

func (r *extensionReader) tcb(value asn1.RawValue, pck *PCK) {
	fields := r.sequence(value.FullBytes, below(arcTCB), "TCB", arcCPUSVN)
	for i := range tcbComponents {
		pck.Components[i] = uint8(r.number(fields, i+1, fmt.Sprintf("TCB component %02d", i+1), asn1.TagInteger, 255))
	}
	pck.PCESVN = uint16(r.number(fields, arcPCESVN, "PCESVN", asn1.TagInteger, 65535))
	r.octets(fields, arcCPUSVN, "CPUSVN", pck.CPUSVN[:])
}

func (r *extensionReader) configuration(value asn1.RawValue) *PCKConfiguration {
	fields := r.sequence(value.FullBytes, below(arcConfiguration), "configuration", arcSMTEnabled)
	return &PCKConfiguration{
		DynamicPlatform: r.flag(fields, arcDynamicPlatform, "dynamic platform"),
		CachedKeys:      r.flag(fields, arcCachedKeys, "cached keys"),
		SMTEnabled:      r.flag(fields, arcSMTEnabled, "SMT enabled"),
	}
}

// sequence reads a SEQUENCE of SEQUENCE { OID, value } and returns the values by the OID's last arc. It must have
// exactly count members: then a required OID that is found cannot hide a second value elsewhere.
func (r *extensionReader) sequence(der []byte, parent asn1.ObjectIdentifier, what string, count int) map[int]asn1.RawValue {
	if r.err != nil {
		return nil
	}
	members, ok := readSequence(der)
	if !ok {
		r.fail(ReasonFormat, what, "something else", "one DER SEQUENCE and nothing after it")
		return nil
	}
	if len(members) != count {
		r.fail(ReasonCount, what, fmt.Sprintf("%d entries", len(members)), fmt.Sprintf("%d", count))
		return nil
	}
	fields := make(map[int]asn1.RawValue, count)
	for i, member := range members {
		pair, ok := readSequence(member.FullBytes)
		var id asn1.ObjectIdentifier
		if ok && len(pair) == 2 {
			_, err := asn1.Unmarshal(pair[0].FullBytes, &id)
			ok = err == nil
		}
		if !ok || len(pair) != 2 {
			r.fail(ReasonFormat, fmt.Sprintf("%s: entry %d", what, i+1), "something else", "a SEQUENCE of an OID and a value")
			return nil
		}
		if len(id) != len(parent)+1 || !id[:len(parent)].Equal(parent) {
			continue // an unknown OID takes a known one's place, which will be missed
		}
		arc := id[len(parent)]
		if _, twice := fields[arc]; twice && parent.Equal(sgxExtension) {
			r.fail(ReasonDuplicate, what, fmt.Sprintf("%v twice", id), "each value once")
			return nil
		}
		fields[arc] = pair[1]
	}
	return fields
}

// readSequence returns the members of a DER SEQUENCE that fills der.
func readSequence(der []byte) ([]asn1.RawValue, bool) {
	var members []asn1.RawValue
	rest, err := asn1.Unmarshal(der, &members)
	return members, err == nil && len(rest) == 0
}

func (r *extensionReader) take(fields map[int]asn1.RawValue, arc int, what string) asn1.RawValue {
	value, ok := fields[arc]
	if !ok {
		r.fail(ReasonMissing, what, "nothing", "a value in the SGX extension")
	}
	return value
}

// typed takes a value of one universal, primitive ASN.1 type.
func (r *extensionReader) typed(fields map[int]asn1.RawValue, arc int, what string, tag int) []byte {
	value := r.take(fields, arc, what)
	if r.err != nil {
		return nil
	}
	if value.Class != asn1.ClassUniversal || value.IsCompound || value.Tag != tag {
		r.fail(ReasonType, what, fmt.Sprintf("ASN.1 class %d tag %d", value.Class, value.Tag), fmt.Sprintf("class 0 tag %d", tag))
		return nil
	}
	return value.FullBytes
}

// octets fills into from an OCTET STRING of the same length.
func (r *extensionReader) octets(fields map[int]asn1.RawValue, arc int, what string, into []byte) {
	der := r.typed(fields, arc, what, asn1.TagOctetString)
	if r.err != nil {
		return
	}
	var value []byte
	if _, err := asn1.Unmarshal(der, &value); err != nil || len(value) != len(into) {
		r.fail(ReasonLength, what, fmt.Sprintf("%d bytes", len(value)), fmt.Sprintf("%d", len(into)))
		return
	}
	copy(into, value)
}

// number reads an INTEGER or ENUMERATED from 0 to limit.
func (r *extensionReader) number(fields map[int]asn1.RawValue, arc int, what string, tag, limit int) int {
	der := r.typed(fields, arc, what, tag)
	if r.err != nil {
		return 0
	}
	var value *big.Int
	if tag == asn1.TagEnum {
		// ENUMERATED has INTEGER's encoding under another tag.
		der = append([]byte{asn1.TagInteger}, der[1:]...)
	}
	if _, err := asn1.Unmarshal(der, &value); err != nil {
		r.fail(ReasonFormat, what, "a damaged number", "a DER number")
		return 0
	}
	if value.Sign() < 0 || value.Cmp(big.NewInt(int64(limit))) > 0 {
		r.fail(ReasonRange, what, value.String(), fmt.Sprintf("0 to %d", limit))
		return 0
	}
	return int(value.Int64())
}

func (r *extensionReader) flag(fields map[int]asn1.RawValue, arc int, what string) bool {
	der := r.typed(fields, arc, what, asn1.TagBoolean)
	if r.err != nil {
		return false
	}
	var value bool
	if _, err := asn1.Unmarshal(der, &value); err != nil {
		r.fail(ReasonFormat, what, "a damaged BOOLEAN", "TRUE or FALSE in DER")
	}
	return value
}
