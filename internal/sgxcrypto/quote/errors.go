package quote

import "fmt"

// Kind classifies what makes bytes not a quote.
type Kind uint8

// Kinds of format errors.
const (
	TooShort         Kind = iota + 1 // fewer bytes than the fixed part
	TooLong                          // more bytes than MaxSize
	BadVersion                       // not version 3
	BadKeyType                       // attestation key is not ECDSA P-256
	BadTEEType                       // not SGX
	BadVendor                        // quoting enclave is not Intel's
	BadLength                        // a length field disagrees with the bytes present
	TrailingData                     // bytes after the signature section
	BadCertification                 // certification data type not allowed in version 3
)

// String is a short lower-case name.
func (k Kind) String() string {
	switch k {
	case TooShort:
		return "too short"
	case TooLong:
		return "too long"
	case BadVersion:
		return "version"
	case BadKeyType:
		return "attestation key type"
	case BadTEEType:
		return "TEE type"
	case BadVendor:
		return "QE vendor"
	case BadLength:
		return "length"
	case TrailingData:
		return "trailing data"
	case BadCertification:
		return "certification type"
	default:
		return fmt.Sprintf("kind %d", uint8(k))
	}
}

// Error says which field of a quote is wrong.
type Error struct {
	Kind   Kind
	Field  string // the field's name as in the package comment
	Offset int    // of the field, in bytes from the start of what was parsed
	Want   string
	Got    string
}

// Error implements error: the field, what was found, what was wanted, what to do.
func (e *Error) Error() string {
	return fmt.Sprintf("%s at offset %d: found %s, want %s; %s", e.Field, e.Offset, e.Got, e.Want, e.Remedy())
}

// Remedy says what to do about the error.
func (e *Error) Remedy() string {
	switch e.Kind {
	case BadVersion, BadKeyType, BadTEEType:
		return "take a DCAP quote of an SGX enclave in version 3, as binary data"
	case BadVendor:
		return "take a quote of Intel's quoting enclave"
	case BadCertification:
		return "configure the platform's quote provider for PCK certificate chains"
	case TooShort, TooLong, BadLength, TrailingData:
		return "take the quote whole and by itself, as /dev/attestation/quote gives it"
	default:
		return "take a new quote"
	}
}
