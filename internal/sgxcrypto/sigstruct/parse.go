package sigstruct

import (
	"encoding/binary"
	"fmt"
)

// Kind classifies what is wrong with a SIGSTRUCT.
type Kind uint8

// Kinds of errors. The first three say that the bytes are no SIGSTRUCT, the others that it is not genuine.
const (
	BadLength    Kind = iota + 1 // not 1808 bytes
	BadHeader                    // one of the constants is another
	BadExponent                  // not 3
	BadModulus                   // not an odd number of exactly 3072 bits
	BadSignature                 // the signature does not verify
	BadQuotient                  // q1 or q2 is not the value that follows from signature and modulus
)

// Format reports whether the bytes are no SIGSTRUCT at all, as opposed to one that is not genuine.
func (k Kind) Format() bool { return k >= BadLength && k <= BadExponent }

// Error says which field is wrong.
type Error struct {
	Kind   Kind
	Field  string
	Offset int // in bytes
	Want   string
	Got    string
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("%s at offset %d: found %s, want %s", e.Field, e.Offset, e.Got, e.Want)
}

// Parse reads a SIGSTRUCT that fills b completely. The error is an *Error. Every value that the format leaves open is
// accepted, reserved bytes included, and [Sigstruct.Marshal] gives back the same bytes.
func Parse(b []byte) (*Sigstruct, error) {
	s, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("parse SIGSTRUCT: %w", err)
	}
	return s, nil
}

func parse(b []byte) (*Sigstruct, error) {
	if len(b) != Size {
		return nil, &Error{BadLength, "SIGSTRUCT", 0, fmt.Sprintf("%d bytes", Size), fmt.Sprintf("%d bytes", len(b))}
	}
	if got := [16]byte(b); got != header {
		return nil, &Error{BadHeader, "header", 0, fmt.Sprintf("%x", header), fmt.Sprintf("%x", got)}
	}
	if got := [16]byte(b[offsetHeader2:]); got != header2 {
		return nil, &Error{BadHeader, "header 2", offsetHeader2, fmt.Sprintf("%x", header2), fmt.Sprintf("%x", got)}
	}
	le := binary.LittleEndian
	if e := le.Uint32(b[offsetExponent:]); e != Exponent {
		return nil, &Error{BadExponent, "exponent", offsetExponent, "3", fmt.Sprint(e)}
	}
	return &Sigstruct{
		Vendor:         le.Uint32(b[offsetVendor:]),
		Date:           [4]byte(b[offsetDate:]),
		SWDefined:      le.Uint32(b[offsetSWDefined:]),
		Reserved1:      [84]byte(b[offsetReserved1:]),
		Modulus:        [NumberSize]byte(b[offsetModulus:]),
		Signature:      [NumberSize]byte(b[offsetSignature:]),
		MiscSelect:     le.Uint32(b[900:]),
		MiscMask:       le.Uint32(b[904:]),
		CET:            b[908],
		CETMask:        b[909],
		Reserved2:      [2]byte(b[910:]),
		FamilyID:       [16]byte(b[912:]),
		Attributes:     Attributes{Flags: le.Uint64(b[928:]), XFRM: le.Uint64(b[936:])},
		AttributesMask: Attributes{Flags: le.Uint64(b[944:]), XFRM: le.Uint64(b[952:])},
		MRENCLAVE:      [32]byte(b[960:]),
		Reserved3:      [16]byte(b[992:]),
		ISVExtProdID:   [16]byte(b[1008:]),
		ISVProdID:      le.Uint16(b[1024:]),
		ISVSVN:         le.Uint16(b[1026:]),
		Reserved4:      [12]byte(b[offsetEnd:]),
		Q1:             [NumberSize]byte(b[offsetQ1:]),
		Q2:             [NumberSize]byte(b[offsetQ2:]),
	}, nil
}

// Marshal writes the 1808 bytes.
func (s *Sigstruct) Marshal() []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, Size)
	b = append(b, header[:]...)
	b = le.AppendUint32(b, s.Vendor)
	b = append(b, s.Date[:]...)
	b = append(b, header2[:]...)
	b = le.AppendUint32(b, s.SWDefined)
	b = append(b, s.Reserved1[:]...)
	b = append(b, s.Modulus[:]...)
	b = le.AppendUint32(b, Exponent)
	b = append(b, s.Signature[:]...)
	b = le.AppendUint32(b, s.MiscSelect)
	b = le.AppendUint32(b, s.MiscMask)
	b = append(b, s.CET, s.CETMask)
	b = append(b, s.Reserved2[:]...)
	b = append(b, s.FamilyID[:]...)
	for _, v := range []uint64{s.Attributes.Flags, s.Attributes.XFRM, s.AttributesMask.Flags, s.AttributesMask.XFRM} {
		b = le.AppendUint64(b, v)
	}
	b = append(b, s.MRENCLAVE[:]...)
	b = append(b, s.Reserved3[:]...)
	b = append(b, s.ISVExtProdID[:]...)
	b = le.AppendUint16(b, s.ISVProdID)
	b = le.AppendUint16(b, s.ISVSVN)
	b = append(b, s.Reserved4[:]...)
	b = append(b, s.Q1[:]...)
	return append(b, s.Q2[:]...)
}

// SignedBytes are the 256 bytes that the signature covers.
func (s *Sigstruct) SignedBytes() []byte {
	b := s.Marshal()
	return append(b[:offsetModulus:offsetModulus], b[offsetMiscSelect:offsetEnd]...)
}
