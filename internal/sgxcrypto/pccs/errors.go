package pccs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// ErrorKind classifies why collateral could not be had.
type ErrorKind uint8

// Kinds of errors.
const (
	Unreachable ErrorKind = iota + 1 // no connection, no answer in time, or the service is broken (5xx, 429)
	NotFound                         // the service does not know the platform (404, 461)
	Refused                          // the service refuses the request (any other status)
	Malformed                        // the answer is not what was asked for
	Expired                          // what is at hand is past its next update and no newer one is to be had
)

// String is a short lower-case name.
func (k ErrorKind) String() string {
	switch k {
	case Unreachable:
		return "unreachable"
	case NotFound:
		return "not found"
	case Refused:
		return "refused"
	case Malformed:
		return "malformed"
	case Expired:
		return "expired"
	default:
		return fmt.Sprintf("kind %d", uint8(k))
	}
}

// Error says which document could not be had, from where, and what to do.
type Error struct {
	Kind     ErrorKind
	Document string // for example "TCB info of FMSPC 00606A000000"
	URL      string // what was asked; empty when nothing was
	Status   int    // HTTP status; 0 when there was none
	Remedy   string // what to do about it; may be empty
	Err      error  // cause; may be nil

	retryAfter time.Duration // what the service asks to wait
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("fetch " + e.Document)
	if e.URL != "" {
		b.WriteString(" from " + e.URL)
	}
	if e.Status != 0 {
		fmt.Fprintf(&b, ": HTTP status %d", e.Status)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	if e.Remedy != "" {
		b.WriteString("; " + e.Remedy)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// connectionRemedy is what to do about a connection that did not come about, or broke.
func connectionRemedy(err error) string {
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var dns *net.DNSError
	switch {
	case errors.As(err, &name):
		return "ask it by the name that its certificate is for"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "have the service's certificate renewed; if it is current, this machine's clock is wrong"
	case errors.As(err, &invalid):
		return "have the service's certificate replaced; verification cannot be turned off"
	case errors.As(err, &dns):
		return "check the host's name and this machine's name resolution"
	case strings.Contains(err.Error(), "redirects"):
		return "" // it says so itself
	default:
		return "check the URL, the name resolution, the proxy (HTTPS_PROXY) and that the firewall lets this machine out to it"
	}
}
