package quote

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Marshal writes the quote. It refuses, with an *Error, what Parse would refuse; the lengths are computed.
func (q *Quote) Marshal() ([]byte, error) {
	if err := q.Validate(); err != nil {
		return nil, fmt.Errorf("marshal quote: %w", err)
	}
	le := binary.LittleEndian
	b := make([]byte, 0, MinSize+len(q.QEAuthData)+len(q.CertificationData))
	b = append(b, q.SignedBytes()...)
	b = le.AppendUint32(b, uint32(fixedSignatureData+len(q.QEAuthData)+len(q.CertificationData)))
	b = append(b, q.Signature[:]...)
	b = append(b, q.AttestationKey[:]...)
	b = q.QEReport.append(b)
	b = append(b, q.QEReportSignature[:]...)
	b = le.AppendUint16(b, uint16(len(q.QEAuthData)))
	b = append(b, q.QEAuthData...)
	b = le.AppendUint16(b, uint16(q.CertificationType))
	b = le.AppendUint32(b, uint32(len(q.CertificationData)))
	return append(b, q.CertificationData...), nil
}

// Validate refuses, with an *Error, a quote that has no encoding that Parse accepts. A parsed quote is always valid.
func (q *Quote) Validate() error {
	if err := q.Header.check(); err != nil {
		return err
	}
	if n := len(q.QEAuthData); n > math.MaxUint16 {
		return &Error{BadLength, "QE authentication data length", qeAuthLengthOffset, "at most 65535", fmt.Sprintf("%d", n)}
	}
	if err := q.CertificationType.check(certificationTypeOffset + len(q.QEAuthData)); err != nil {
		return err
	}
	if n := MinSize + len(q.QEAuthData) + len(q.CertificationData); n > MaxSize {
		return &Error{TooLong, "quote", 0, fmt.Sprintf("at most %d bytes", MaxSize), fmt.Sprintf("%d bytes", n)}
	}
	return nil
}

// SignedBytes returns the 432 bytes that the attestation key signs: header and report body.
func (q *Quote) SignedBytes() []byte {
	return q.Body.append(q.Header.append(make([]byte, 0, SignedSize)))
}

// Marshal returns the 384 bytes of the report body, for the QE report also what the PCK key signs.
func (r *ReportBody) Marshal() []byte {
	return r.append(make([]byte, 0, ReportBodySize))
}

func (h *Header) append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint16(b, h.Version)
	b = le.AppendUint16(b, h.AttestationKeyType)
	b = le.AppendUint32(b, h.TEEType)
	b = le.AppendUint16(b, h.QESVN)
	b = le.AppendUint16(b, h.PCESVN)
	b = append(b, h.QEVendorID[:]...)
	return append(b, h.UserData[:]...)
}

func (r *ReportBody) append(b []byte) []byte {
	le := binary.LittleEndian
	b = append(b, r.CPUSVN[:]...)
	b = le.AppendUint32(b, r.MiscSelect)
	b = append(b, r.Reserved1[:]...)
	b = append(b, r.ISVExtProdID[:]...)
	b = r.Attributes.append(b)
	b = append(b, r.MRENCLAVE[:]...)
	b = append(b, r.Reserved2[:]...)
	b = append(b, r.MRSIGNER[:]...)
	b = append(b, r.Reserved3[:]...)
	b = append(b, r.ConfigID[:]...)
	b = le.AppendUint16(b, r.ISVProdID)
	b = le.AppendUint16(b, r.ISVSVN)
	b = le.AppendUint16(b, r.ConfigSVN)
	b = append(b, r.Reserved4[:]...)
	b = append(b, r.ISVFamilyID[:]...)
	return append(b, r.ReportData[:]...)
}

// Marshal returns the attributes as in a report: flags, then XFRM.
func (a Attributes) Marshal() [16]byte {
	return [16]byte(a.append(make([]byte, 0, 16)))
}

func (a Attributes) append(b []byte) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, a.Flags), a.XFRM)
}
