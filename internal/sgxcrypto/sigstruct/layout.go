package sigstruct

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// Sizes in bytes.
const (
	Size       = 1808 // of a SIGSTRUCT
	NumberSize = 384  // of modulus, signature, q1 and q2: 3072 bits
	SignedSize = 256  // of what is signed
)

// Offsets of the fields that are not next to the previous one in [layout].
const (
	offsetVendor     = 16
	offsetDate       = 20
	offsetHeader2    = 24
	offsetSWDefined  = 40
	offsetReserved1  = 44
	offsetModulus    = 128
	offsetExponent   = 512
	offsetSignature  = 516
	offsetMiscSelect = 900
	offsetEnd        = 1028 // of the second signed part
	offsetQ1         = 1040
	offsetQ2         = 1424
)

// The fields fill the structure exactly.
const (
	_ = uint(offsetExponent - offsetModulus - NumberSize)
	_ = uint(offsetMiscSelect - offsetSignature - NumberSize)
	_ = uint(offsetQ2 - offsetQ1 - NumberSize)
	_ = uint(Size - offsetQ2 - NumberSize)
	_ = uint(offsetModulus + offsetEnd - offsetMiscSelect - SignedSize)
)

// The constants of every SIGSTRUCT, and the exponent that EINIT demands.
var (
	header  = [16]byte{0: 6, 4: 0xe1, 10: 1}
	header2 = [16]byte{0: 1, 1: 1, 4: 0x60, 8: 0x60, 12: 1}
)

// Exponent is the only public exponent that the processor accepts.
const Exponent = 3

// VendorIntel marks Intel's own enclaves; all others have vendor 0.
const VendorIntel = 0x8086

// FlagDebug in the attributes lets a debugger read the enclave's memory.
const FlagDebug uint64 = 1 << 1

// Attributes are the 8 bytes of flags and 8 bytes of extended-feature mask (XFRM) of an enclave.
type Attributes struct {
	Flags uint64
	XFRM  uint64
}

// Sigstruct is a parsed SIGSTRUCT. Big numbers are kept as they are written, little-endian.
type Sigstruct struct {
	Vendor     uint32
	Date       [4]byte // see SignedOn
	SWDefined  uint32
	Reserved1  [84]byte
	Modulus    [NumberSize]byte
	Signature  [NumberSize]byte
	MiscSelect uint32
	MiscMask   uint32
	CET        uint8
	CETMask    uint8
	Reserved2  [2]byte
	FamilyID   [16]byte
	Attributes Attributes
	// AttributesMask says which of Attributes the processor compares with the enclave's.
	AttributesMask Attributes
	MRENCLAVE      [32]byte
	Reserved3      [16]byte
	ISVExtProdID   [16]byte
	ISVProdID      uint16
	ISVSVN         uint16
	Reserved4      [12]byte // not signed
	Q1, Q2         [NumberSize]byte
}

// MRSIGNER is the signer's identity: SHA-256 of the modulus as it is written.
func (s *Sigstruct) MRSIGNER() [32]byte { return sha256.Sum256(s.Modulus[:]) }

// Debug reports whether the enclave is meant to run with a debugger, which can read all its secrets.
func (s *Sigstruct) Debug() bool { return s.Attributes.Flags&FlagDebug != 0 }

// AllowsDebug reports whether the signature lets the enclave run with a debugger, whether it is meant to or not: the mask
// does not cover the flag.
func (s *Sigstruct) AllowsDebug() bool {
	return s.Debug() || s.AttributesMask.Flags&FlagDebug == 0
}

// DateEncoding is how a date is written.
type DateEncoding uint8

// The encodings of the package comment; the zero value is neither.
const (
	DateBCD    DateEncoding = iota + 1 // Gramine 1.5 and later, and the SDM
	DateBinary                         // Gramine 1.0 to 1.4
)

// String names the encoding.
func (e DateEncoding) String() string {
	switch e {
	case DateBCD:
		return "BCD"
	case DateBinary:
		return "binary"
	default:
		return "unknown"
	}
}

// SignedOn is the day that the signer states, at midnight UTC. The encoding is zero, and the time too, if the four bytes
// are a date in neither encoding. The processor does not look at it.
func (s *Sigstruct) SignedOn() (time.Time, DateEncoding) {
	d := s.Date
	if day, ok := calendarDay(bcd(d[3])*100+bcd(d[2]), bcd(d[1]), bcd(d[0])); ok {
		return day, DateBCD
	}
	if day, ok := calendarDay(int(binary.LittleEndian.Uint16(d[:])), int(d[2]), int(d[3])); ok {
		return day, DateBinary
	}
	return time.Time{}, 0
}

// bcd is far below any value that a date can make up for, if a digit is none.
func bcd(b byte) int {
	if b>>4 > 9 || b&0xf > 9 {
		return -100_000
	}
	return int(b>>4)*10 + int(b&0xf)
}

// calendarDay accepts days that exist, since SGX was announced.
func calendarDay(year, month, day int) (time.Time, bool) {
	if year < 2013 || year > 9999 || month < 1 || month > 12 || day < 1 || day > 31 {
		return time.Time{}, false
	}
	t := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	return t, t.Day() == day
}
