package quote

import "fmt"

// Sizes and offsets of a version 3 quote, in bytes.
const (
	HeaderSize     = 48
	ReportBodySize = 384
	SignatureSize  = 64 // r and s of an ECDSA P-256 signature, 32 bytes each, big-endian
	PublicKeySize  = 64 // x and y of a P-256 point, 32 bytes each, big-endian, no 0x04 tag

	// SignedSize is the length of the part that the attestation key signs: header and report body.
	SignedSize = HeaderSize + ReportBodySize
	// MinSize is the length of a quote whose QE authentication data and certification data are empty.
	MinSize = certificationDataOffset
	// MaxSize bounds what Parse looks at. Quotes with a PCK chain are under 5 KiB; Gramine's buffer is 8 KiB.
	MaxSize = 1 << 20

	signatureLengthOffset   = SignedSize                      // 432
	signatureOffset         = signatureLengthOffset + 4       // 436
	attestationKeyOffset    = signatureOffset + SignatureSize // 500
	qeReportOffset          = attestationKeyOffset + 64       // 564
	qeReportSignatureOffset = qeReportOffset + ReportBodySize // 948
	qeAuthLengthOffset      = qeReportSignatureOffset + 64    // 1012
	qeAuthDataOffset        = qeAuthLengthOffset + 2          // 1014
	certificationTypeOffset = qeAuthDataOffset                // 1014, plus A
	certificationDataOffset = certificationTypeOffset + 2 + 4 // 1020, plus A
	fixedSignatureData      = certificationDataOffset - 436   // 584
)

// Values of the header that a version 3 quote must have.
const (
	Version3         uint16 = 3
	KeyTypeECDSAP256 uint16 = 2
	TEETypeSGX       uint32 = 0
)

// IntelQEVendorID is the vendor id of Intel's quoting enclave, 939A7233-F79C-4CA9-940A-0DB3957F0607.
var IntelQEVendorID = [16]byte{0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07}

// Header is the first 48 bytes of a quote.
type Header struct {
	Version            uint16 // always Version3
	AttestationKeyType uint16 // always KeyTypeECDSAP256
	TEEType            uint32 // always TEETypeSGX; reserved in version 3
	// QESVN and PCESVN are the versions running when the quote was made. They are signed but informative: TCB
	// matching uses the PCK certificate's PCESVN and the QE report's ISVSVN.
	QESVN      uint16
	PCESVN     uint16
	QEVendorID [16]byte // always IntelQEVendorID
	UserData   [20]byte // first 16 bytes: the QE id under which a PCCS knows the platform
}

// Attribute flags of an enclave (SECS.ATTRIBUTES, Intel SDM volume 3D, table 36-3).
const (
	FlagInit          uint64 = 1 << 0 // EINIT has run
	FlagDebug         uint64 = 1 << 1 // a debugger may read the enclave's memory
	FlagMode64Bit     uint64 = 1 << 2
	FlagProvisionKey  uint64 = 1 << 4
	FlagEINITTokenKey uint64 = 1 << 5
	FlagCET           uint64 = 1 << 6
	FlagKSS           uint64 = 1 << 7 // key separation and sharing: CONFIGID and friends are meaningful
	FlagAEXNotify     uint64 = 1 << 10
)

// Attributes are an enclave's 8 bytes of flags and 8 bytes of extended-feature mask.
type Attributes struct {
	Flags uint64
	XFRM  uint64
}

// Debug reports whether the enclave can be read by a debugger, that is, keeps no secret.
func (a Attributes) Debug() bool { return a.Flags&FlagDebug != 0 }

// ReportBody is what the hardware says of an enclave (384 bytes). The reserved fields are kept: they are signed, and
// newer processors may give them a meaning.
type ReportBody struct {
	CPUSVN       [16]byte // raw; another encoding than the PCK certificate's, never compare the two
	MiscSelect   uint32
	Reserved1    [12]byte
	ISVExtProdID [16]byte // KSS
	Attributes   Attributes
	MRENCLAVE    [32]byte
	Reserved2    [32]byte
	MRSIGNER     [32]byte
	Reserved3    [32]byte
	ConfigID     [64]byte // KSS
	ISVProdID    uint16
	ISVSVN       uint16
	ConfigSVN    uint16 // KSS
	Reserved4    [42]byte
	ISVFamilyID  [16]byte // KSS
	ReportData   [64]byte
}

// Quote is a version 3 ECDSA quote. The zero value is not a quote; make one with Parse, or fill every field.
type Quote struct {
	Header            Header
	Body              ReportBody          // the attested enclave
	Signature         [SignatureSize]byte // by the attestation key over SignedBytes
	AttestationKey    [PublicKeySize]byte
	QEReport          ReportBody
	QEReportSignature [SignatureSize]byte // by the PCK key over the 384 bytes of QEReport
	QEAuthData        []byte              // at most 65535 bytes; 32 in every quote Intel's QE makes
	CertificationType CertificationType
	CertificationData []byte // for CertPCKChain PEM text, leaf first, often with one NUL at its end
}

// CertificationType says what the certification data is.
type CertificationType uint16

// Certification data types (CERTIFICATION DATA, Intel SGX ECDSA QuoteGenReference API, table A-9 and later additions).
const (
	CertPPIDPlain        CertificationType = 1 // PPID, CPUSVN, PCESVN, PCEID
	CertPPIDRSA2048      CertificationType = 2 // the same with the PPID encrypted under RSA-2048
	CertPPIDRSA3072      CertificationType = 3 // the same with the PPID encrypted under RSA-3072
	CertPCKLeaf          CertificationType = 4 // PCK certificate alone
	CertPCKChain         CertificationType = 5 // PCK certificate, intermediate CA, root CA as PEM
	CertQEReport         CertificationType = 6 // nested QE report; versions 4 and 5 only
	CertPlatformManifest CertificationType = 7 // platform manifest; versions 4 and 5 only
)

// String names the type as Intel's documents do.
func (t CertificationType) String() string {
	switch t {
	case CertPPIDPlain:
		return "PPID in clear text (type 1)"
	case CertPPIDRSA2048:
		return "PPID encrypted with RSA-2048 (type 2)"
	case CertPPIDRSA3072:
		return "PPID encrypted with RSA-3072 (type 3)"
	case CertPCKLeaf:
		return "PCK certificate without its chain (type 4)"
	case CertPCKChain:
		return "PCK certificate chain (type 5)"
	case CertQEReport:
		return "QE report certification data (type 6)"
	case CertPlatformManifest:
		return "platform manifest (type 7)"
	default:
		return fmt.Sprintf("unknown certification data (type %d)", uint16(t))
	}
}
