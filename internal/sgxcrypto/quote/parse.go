package quote

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// Parse reads one quote of version 3 that fills b completely. The error is an *Error. The result does not alias b.
func Parse(b []byte) (*Quote, error) {
	q, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("parse quote: %w", err)
	}
	return q, nil
}

func parse(b []byte) (*Quote, error) {
	if len(b) > MaxSize {
		return nil, &Error{TooLong, "quote", 0, fmt.Sprintf("at most %d bytes", MaxSize), fmt.Sprintf("%d bytes", len(b))}
	}
	if len(b) < HeaderSize {
		return nil, &Error{TooShort, "header", 0, fmt.Sprintf("%d bytes", HeaderSize), fmt.Sprintf("%d bytes", len(b))}
	}
	q := &Quote{Header: readHeader(b)}
	// The header comes before the length so that a quote of another version is named, not called short.
	if err := q.Header.check(); err != nil {
		return nil, err
	}
	if len(b) < MinSize {
		return nil, &Error{TooShort, "quote", 0, fmt.Sprintf("at least %d bytes", MinSize), fmt.Sprintf("%d bytes", len(b))}
	}
	q.Body = readReportBody(b[HeaderSize:])
	q.Signature = [SignatureSize]byte(b[signatureOffset:])
	q.AttestationKey = [PublicKeySize]byte(b[attestationKeyOffset:])
	q.QEReport = readReportBody(b[qeReportOffset:])
	q.QEReportSignature = [SignatureSize]byte(b[qeReportSignatureOffset:])
	if err := q.readVariable(b); err != nil {
		return nil, err
	}
	return q, nil
}

// readVariable reads the part after the QE report signature and holds the three lengths against each other. All
// arithmetic is in int64, so that no length field can overflow it.
func (q *Quote) readVariable(b []byte) error {
	section := int64(binary.LittleEndian.Uint32(b[signatureLengthOffset:]))
	rest := int64(len(b)) - signatureOffset
	sectionError := func(want string) error {
		return &Error{BadLength, "signature section length", signatureLengthOffset, want, fmt.Sprintf("%d", section)}
	}
	switch {
	case section < fixedSignatureData:
		return sectionError(fmt.Sprintf("at least %d", fixedSignatureData))
	case section > rest:
		return sectionError(fmt.Sprintf("at most the %d bytes that follow: it has been cut off", rest))
	}

	auth := int64(binary.LittleEndian.Uint16(b[qeAuthLengthOffset:]))
	if auth > section-fixedSignatureData {
		return &Error{
			BadLength, "QE authentication data length", qeAuthLengthOffset,
			fmt.Sprintf("at most %d in a signature section of %d", section-fixedSignatureData, section), fmt.Sprintf("%d", auth),
		}
	}
	typeAt := certificationTypeOffset + int(auth)
	// The length comes before the type: when it is wrong, what stands in the type's place is often another field.
	data := int64(binary.LittleEndian.Uint32(b[typeAt+2:]))
	if want := section - fixedSignatureData - auth; data != want {
		return &Error{
			BadLength, "certification data length", typeAt + 2,
			fmt.Sprintf("%d, the rest of the signature section", want), fmt.Sprintf("%d", data),
		}
	}
	q.CertificationType = CertificationType(binary.LittleEndian.Uint16(b[typeAt:]))
	if err := q.CertificationType.check(typeAt); err != nil {
		return err
	}
	if section < rest {
		return &Error{TrailingData, "end of quote", int(signatureOffset + section), "no more bytes", fmt.Sprintf("%d more", rest-section)}
	}
	q.QEAuthData = append([]byte(nil), b[qeAuthDataOffset:typeAt]...)
	q.CertificationData = append([]byte(nil), b[typeAt+6:]...)
	return nil
}

// check names the certification data that version 3 does not know. Types 1 to 5 parse; whether the data suffices for
// verification is the verifier's question.
func (t CertificationType) check(offset int) error {
	if t >= CertPPIDPlain && t <= CertPCKChain {
		return nil
	}
	return &Error{BadCertification, "certification data type", offset, "1 to 5 in a quote of version 3", t.String()}
}

func (h *Header) check() error {
	switch {
	case h.Version != Version3:
		return &Error{BadVersion, "version", 0, "3", describeVersion(h.Version)}
	case h.AttestationKeyType != KeyTypeECDSAP256:
		return &Error{BadKeyType, "attestation key type", 2, "2 (ECDSA P-256)", describeKeyType(h.AttestationKeyType)}
	case h.TEEType != TEETypeSGX:
		return &Error{BadTEEType, "TEE type", 4, "0 (SGX)", describeTEEType(h.TEEType)}
	case h.QEVendorID != IntelQEVendorID:
		return &Error{BadVendor, "QE vendor id", 12, hex.EncodeToString(IntelQEVendorID[:]) + " (Intel)", hex.EncodeToString(h.QEVendorID[:])}
	}
	return nil
}

func describeVersion(v uint16) string {
	switch v {
	case 1, 2:
		return fmt.Sprintf("%d (EPID, retired by Intel)", v)
	case 4, 5:
		return fmt.Sprintf("%d (a TDX quote, or SGX in the newer format)", v)
	default:
		return fmt.Sprintf("%d", v)
	}
}

func describeKeyType(t uint16) string {
	switch t {
	case 0, 1:
		return fmt.Sprintf("%d (EPID)", t)
	case 3:
		return "3 (ECDSA P-384, never put to use)"
	default:
		return fmt.Sprintf("%d", t)
	}
}

func describeTEEType(t uint32) string {
	if t == 0x81 {
		return "0x81 (TDX)"
	}
	return fmt.Sprintf("%#x", t)
}

func readHeader(b []byte) Header {
	le := binary.LittleEndian
	return Header{
		Version:            le.Uint16(b),
		AttestationKeyType: le.Uint16(b[2:]),
		TEEType:            le.Uint32(b[4:]),
		QESVN:              le.Uint16(b[8:]),
		PCESVN:             le.Uint16(b[10:]),
		QEVendorID:         [16]byte(b[12:]),
		UserData:           [20]byte(b[28:]),
	}
}

// ParseReportBody reads the 384 bytes of a report body. Every value is allowed. The error is an *Error.
func ParseReportBody(b []byte) (*ReportBody, error) {
	if len(b) != ReportBodySize {
		return nil, fmt.Errorf("parse report body: %w",
			&Error{BadLength, "report body", 0, fmt.Sprintf("%d bytes", ReportBodySize), fmt.Sprintf("%d bytes", len(b))})
	}
	body := readReportBody(b)
	return &body, nil
}

func readReportBody(b []byte) ReportBody {
	le := binary.LittleEndian
	return ReportBody{
		CPUSVN:       [16]byte(b),
		MiscSelect:   le.Uint32(b[16:]),
		Reserved1:    [12]byte(b[20:]),
		ISVExtProdID: [16]byte(b[32:]),
		Attributes:   Attributes{Flags: le.Uint64(b[48:]), XFRM: le.Uint64(b[56:])},
		MRENCLAVE:    [32]byte(b[64:]),
		Reserved2:    [32]byte(b[96:]),
		MRSIGNER:     [32]byte(b[128:]),
		Reserved3:    [32]byte(b[160:]),
		ConfigID:     [64]byte(b[192:]),
		ISVProdID:    le.Uint16(b[256:]),
		ISVSVN:       le.Uint16(b[258:]),
		ConfigSVN:    le.Uint16(b[260:]),
		Reserved4:    [42]byte(b[262:]),
		ISVFamilyID:  [16]byte(b[304:]),
		ReportData:   [64]byte(b[320:]),
	}
}
