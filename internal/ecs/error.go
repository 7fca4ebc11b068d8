package ecs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Class says what kind of failure an [*Error] is, and with that whether trying
// again can help.
type Class uint8

// The classes of failure.
const (
	// ClassFinal is an answer that the same request will get again.
	ClassFinal Class = iota
	// ClassAuth is a refused identity, signature or permission.
	ClassAuth
	// ClassClock is a refused timestamp or nonce: signing again helps once.
	ClassClock
	// ClassThrottled asks to come back more slowly.
	ClassThrottled
	// ClassTransient is a failure of the service or of the way to it.
	ClassTransient
	// ClassProcessing is an earlier request with the same ClientToken at work.
	ClassProcessing
	// ClassState is a resource in a state that passes.
	ClassState
	// ClassDependency is a resource that others still use.
	ClassDependency
)

func (c Class) String() string {
	names := [...]string{"final", "auth", "clock", "throttled", "transient", "processing", "state", "dependency"}
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("class %d", uint8(c))
}

// Error is a failed call.
type Error struct {
	Action    string // as in the API reference: "RunInstances"
	Code      string // as in the API reference, or empty when no service answered
	Message   string // of the service, without secrets
	RequestID string // for Alibaba's support, may be empty
	Status    int    // of HTTP, 0 when there was no answer
	Class     Class
	Attempts  int    // how often the call was made
	Remedy    string // what to do, in whole sentences; may be empty
	Err       error  // the cause on this side: network, context, unreadable answer
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "call %s", e.Action)
	if e.Code != "" {
		fmt.Fprintf(&b, ": %s", e.Code)
	}
	if e.Message != "" {
		fmt.Fprintf(&b, ": %s", strings.TrimRight(e.Message, ". \n"))
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	var notes []string
	if e.Status != 0 {
		notes = append(notes, fmt.Sprintf("HTTP %d", e.Status))
	}
	if e.RequestID != "" {
		notes = append(notes, "request "+e.RequestID)
	}
	if e.Attempts > 1 {
		notes = append(notes, fmt.Sprintf("%d attempts", e.Attempts))
	}
	if len(notes) > 0 {
		fmt.Fprintf(&b, " (%s)", strings.Join(notes, ", "))
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// NotFoundError says that a resource does not exist in the client's region and
// account, on the word of the service itself.
type NotFoundError struct {
	Kind   string // "instance", "security group" ...
	ID     string
	Region string
}

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("find %s %s: it does not exist in region %s", e.Kind, e.ID, e.Region)
}

// IsNotFound tells that err is the absence of the resource that was asked for.
func IsNotFound(err error) bool {
	var e *NotFoundError
	return errors.As(err, &e)
}

// HasCode tells that err is an answer with one of the codes, in full.
func HasCode(err error, codes ...string) bool {
	var e *Error
	return errors.As(err, &e) && slices.Contains(codes, e.Code)
}

// ClassOf returns the class of err, [ClassFinal] for an error that is no
// [*Error].
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return ClassFinal
}

// RemedyOf returns what to do about err, or nothing.
func RemedyOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Remedy
	}
	var w *WaitError
	if errors.As(err, &w) {
		return w.Remedy
	}
	return ""
}

// WaitError says that a state did not come before the caller's time was up, or
// that the caller gave up.
type WaitError struct {
	What   string // "instance i-1 to run"
	Seen   string // the last state seen, or empty
	After  time.Duration
	Err    error // the context's
	Remedy string
}

func (e *WaitError) Error() string {
	seen := e.Seen
	if seen == "" {
		seen = "not seen at all"
	}
	return fmt.Sprintf("wait for %s: %v after %s, last state: %s", e.What, e.Err, e.After.Round(time.Millisecond), seen)
}

func (e *WaitError) Unwrap() error { return e.Err }

// errorBody is what the service sends beside a status of 400 and above. A proxy
// may answer in its place, so nothing is taken for granted.
type errorBody struct {
	Code, Message, RequestID text
}

func (b *errorBody) UnmarshalJSON(data []byte) error {
	var raw struct {
		Code      text `json:"Code"`
		Message   text `json:"Message"`
		RequestID text `json:"RequestId"`
	}
	err := json.Unmarshal(data, &raw)
	b.Code, b.Message, b.RequestID = raw.Code, raw.Message, raw.RequestID
	return err
}

// replyError makes an error of an answer with a status other than 2xx.
func replyError(a *action, status int, body []byte, s *scrubber) *Error {
	e := &Error{Action: a.name, Status: status}
	var parsed errorBody
	if err := json.Unmarshal(body, &parsed); err == nil && parsed.Code != "" {
		e.Code, e.RequestID = s.clean(string(parsed.Code)), s.clean(string(parsed.RequestID))
		e.Message = s.clean(withoutStringToSign(string(parsed.Message)))
	} else {
		e.Message = "an answer that is not the service's" + a.beginning(", starting with ", body, s)
		e.Remedy = "Something between here and Alibaba Cloud answered in its place: look at the proxy and the endpoints setting."
	}
	e.Class = a.classify(e.Code, status)
	if advice := a.adviceFor(e.Code); advice != "" {
		e.Remedy = advice
	}
	return e
}

// beginning shows how an unexpected answer starts, unless a key may be in it.
func (a *action) beginning(joint string, body []byte, s *scrubber) string {
	if a.secretReply {
		return ""
	}
	return fmt.Sprintf("%s%q", joint, s.clean(clip(string(body), 80)))
}

// withoutStringToSign drops what the service believes to have been signed: it
// repeats every argument of the call.
func withoutStringToSign(message string) string {
	before, _, found := strings.Cut(message, "server string to sign is:")
	if found {
		return strings.TrimRight(before, " ,;:") + " (the string to sign is left out)"
	}
	return message
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}

// transportError makes an error of a request that got no answer.
func transportError(a *action, err error, s *scrubber) *Error {
	// *url.Error prints the whole URL, signature and token included.
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	e := &Error{Action: a.name, Class: ClassTransient, Err: s.wrap(err)}
	switch {
	case isExpired(err):
		e.Class = ClassFinal
		e.Remedy = "By this machine's clock the endpoint's certificate is not valid now. Set the clock right (NTP)."
	case isCertificateError(err):
		e.Class = ClassFinal
		e.Remedy = "The endpoint's certificate is not trusted here. If a proxy inspects TLS, add its root to the system's certificates."
	}
	return e
}

func isCertificateError(err error) bool {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verify *tls.CertificateVerificationError
	return errors.As(err, &unknown) || errors.As(err, &host) || errors.As(err, &invalid) || errors.As(err, &verify)
}

// isExpired tells that a certificate is not valid at the time that this machine
// believes it is.
func isExpired(err error) bool {
	var invalid x509.CertificateInvalidError
	return errors.As(err, &invalid) && invalid.Reason == x509.Expired
}

// scrubber cuts secrets out of texts.
type scrubber struct{ secrets []string }

// shortestSecret is the length from which a value is cut out wherever it
// occurs; shorter ones would take words apart, and no credential is shorter.
const shortestSecret = 6

func (s *scrubber) add(secrets ...string) {
	for _, v := range secrets {
		if len(v) < shortestSecret {
			continue
		}
		for _, form := range []string{v, url.QueryEscape(v), url.QueryEscape(url.QueryEscape(v))} {
			if !slices.Contains(s.secrets, form) {
				s.secrets = append(s.secrets, form)
			}
		}
	}
}

func (s *scrubber) clean(text string) string {
	for _, secret := range s.secrets {
		text = strings.ReplaceAll(text, secret, "(redacted)")
	}
	return text
}

// wrap returns err, or where its text has a secret, an error that keeps only
// the chain for errors.Is.
func (s *scrubber) wrap(err error) error {
	if clean := s.clean(err.Error()); clean != err.Error() {
		return &scrubbedError{text: clean, err: err}
	}
	return err
}

type scrubbedError struct {
	text string
	err  error
}

func (e *scrubbedError) Error() string        { return e.text }
func (e *scrubbedError) Is(target error) bool { return errors.Is(e.err, target) }
