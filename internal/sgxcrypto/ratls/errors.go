package ratls

import "fmt"

// Kind classifies why a certificate is no evidence.
type Kind uint8

// Kinds of errors.
const (
	NoCertificate  Kind = iota + 1 // the peer sent none, or more than one
	BadCertificate                 // unknown critical extensions
	BadKey                         // key type not allowed
	NoEvidence                     // neither extension is present
	BadEvidence                    // size or encoding of the extension
	BadQuote                       // the quote does not parse; the cause is a *quote.Error
	NotBound                       // the quote is about another key
)

// String is a short lower-case name, fit for a metric's label.
func (k Kind) String() string {
	switch k {
	case NoCertificate:
		return "no_certificate"
	case BadCertificate:
		return "bad_certificate"
	case BadKey:
		return "bad_key"
	case NoEvidence:
		return "no_evidence"
	case BadEvidence:
		return "bad_evidence"
	case BadQuote:
		return "bad_quote"
	case NotBound:
		return "not_bound"
	default:
		return fmt.Sprintf("kind_%d", uint8(k))
	}
}

// Error says why a certificate is no evidence.
type Error struct {
	Kind Kind
	Form Form // the form that was read; 0 before one was found
	Err  error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Form == 0 {
		return e.Err.Error()
	}
	return fmt.Sprintf("%s extension: %v", e.Form, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func fail(kind Kind, form Form, format string, a ...any) error {
	return &Error{Kind: kind, Form: form, Err: fmt.Errorf(format, a...)}
}
