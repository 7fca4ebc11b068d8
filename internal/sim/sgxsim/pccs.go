package sgxsim

import (
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// PCCS answers as Intel's Provisioning Certificate Caching Service does for one platform, under
// /sgx/certification/v4/ and, with TCB info of version 2 and the header names of that time, under /sgx/certification/v3/.
// Everything is issued for the moment of the request.
type PCCS struct {
	Platform *Platform
	Now      func() time.Time
	// Fault, when not nil, may change every answer before it is sent. It may be called from several goroutines.
	Fault func(r *http.Request, a *Answer)
}

// Answer is what the service is about to send.
type Answer struct {
	Delay  time.Duration // before anything is sent
	Abort  bool          // close the connection instead of answering
	Status int
	Header http.Header
	Body   []byte
}

// Handler returns a PCCS that serves the platform by the machine's clock.
func (p *Platform) Handler() http.Handler { return &PCCS{Platform: p, Now: time.Now} }

// Messages of pccs_status_code.js.
const (
	messageInvalid = "Invalid request parameters."
	messageNoCache = "No cache data for this platform."
)

// Header names of issuer chains.
const (
	headerTCBChain      = "TCB-Info-Issuer-Chain"
	headerTCBChainV3    = "SGX-TCB-Info-Issuer-Chain"
	headerIdentityChain = "SGX-Enclave-Identity-Issuer-Chain"
	headerCRLChain      = "SGX-PCK-CRL-Issuer-Chain"
)

// ServeHTTP implements http.Handler.
func (s *PCCS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := s.answer(r)
	if s.Fault != nil {
		s.Fault(r, a)
	}
	if a.Delay > 0 {
		select {
		case <-time.After(a.Delay):
		case <-r.Context().Done():
			panic(http.ErrAbortHandler) // returning would answer 200 with nothing, which a client may still see
		}
	}
	if a.Abort {
		panic(http.ErrAbortHandler) // the documented way to drop a connection; not logged
	}
	maps.Copy(w.Header(), a.Header)
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body)
}

func (s *PCCS) answer(r *http.Request) *Answer {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return refuse(http.StatusMethodNotAllowed, "Method not allowed.")
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/sgx/certification/")
	version, item, slash := strings.Cut(path, "/")
	if !ok || !slash || version != "v3" && version != "v4" {
		return refuse(http.StatusNotFound, "Not found.")
	}
	at := s.Now()
	var a *Answer
	var err error
	switch query := r.URL.Query(); item {
	case "tcb":
		a, err = s.tcbInfo(at, version, query)
	case "qe/identity":
		a, err = s.qeIdentity(at, query)
	case "pckcrl":
		a, err = s.pckCRL(at, query)
	case "rootcacrl":
		a, err = s.rootCRL(at)
	default:
		return refuse(http.StatusNotFound, "Not found.")
	}
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	return a
}

func (s *PCCS) tcbInfo(at time.Time, version string, query url.Values) (*Answer, error) {
	fmspc := strings.ToUpper(query.Get("fmspc"))
	if !isFMSPC(fmspc) {
		return refuse(http.StatusBadRequest, messageInvalid), nil
	}
	set, refusal := s.set(query)
	if refusal != nil {
		return refusal, nil
	}
	if fmspc != s.Platform.Machine.FMSPC.String() {
		return refuse(http.StatusNotFound, messageNoCache), nil
	}
	info, header := s.Platform.TCBInfo(at, set), headerTCBChain
	if version == "v3" {
		info.Version, header = 2, headerTCBChainV3
	}
	body, err := info.Sign(s.Platform.TCBSigner)
	return accept("application/json", body, header, s.Platform.TCBSigningChain()), err
}

func isFMSPC(text string) bool {
	b, err := hex.DecodeString(text)
	return err == nil && len(b) == 6
}

func (s *PCCS) qeIdentity(at time.Time, query url.Values) (*Answer, error) {
	set, refusal := s.set(query)
	if refusal != nil {
		return refusal, nil
	}
	body, err := s.Platform.QEIdentity(at, set).Sign(s.Platform.TCBSigner)
	return accept("application/json", body, headerIdentityChain, s.Platform.TCBSigningChain()), err
}

// set picks the TCB set that a query asks for.
func (s *PCCS) set(query url.Values) (TCBSet, *Answer) {
	update, number := query.Get("update"), query.Get("tcbEvaluationDataNumber")
	switch {
	case update != "" && number != "":
		return TCBSet{}, refuse(http.StatusBadRequest, messageInvalid)
	case number != "":
		n, err := strconv.ParseUint(number, 10, 32)
		switch {
		case err != nil:
			return TCBSet{}, refuse(http.StatusBadRequest, messageInvalid)
		case uint32(n) == s.Platform.Standard.EvaluationNumber:
			return s.Platform.Standard, nil
		case uint32(n) == s.Platform.Early.EvaluationNumber:
			return s.Platform.Early, nil
		case uint32(n) < s.Platform.Standard.EvaluationNumber:
			return TCBSet{}, refuse(http.StatusGone, "TCB information for this evaluation number is no longer available.")
		}
		return TCBSet{}, refuse(http.StatusNotFound, messageNoCache)
	case update == "" || strings.EqualFold(update, "standard"):
		return s.Platform.Standard, nil
	case strings.EqualFold(update, "early"):
		return s.Platform.Early, nil
	}
	return TCBSet{}, refuse(http.StatusBadRequest, messageInvalid)
}

func (s *PCCS) pckCRL(at time.Time, query url.Values) (*Answer, error) {
	ca := strings.ToLower(query.Get("ca"))
	if ca != CAPlatform && ca != CAProcessor {
		return refuse(http.StatusBadRequest, messageInvalid), nil
	}
	der, err := s.Platform.pckCRL(at, ca)
	if err != nil {
		return nil, err
	}
	chain := s.Platform.PCKCRLChain(ca)
	switch strings.ToLower(query.Get("encoding")) {
	case "der":
		return accept("application/pkix-crl", der, headerCRLChain, chain), nil
	case "pem":
		text := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
		return accept("application/x-pem-file", text, headerCRLChain, chain), nil
	case "": // unlike Intel's own service, which then sends PEM
		return accept("application/x-pem-file", []byte(hex.EncodeToString(der)), headerCRLChain, chain), nil
	}
	return refuse(http.StatusBadRequest, messageInvalid), nil
}

// rootCRL is in hex whatever the content type says.
func (s *PCCS) rootCRL(at time.Time) (*Answer, error) {
	der, err := s.Platform.rootCRL(at)
	return accept("application/pkix-crl", []byte(hex.EncodeToString(der)), "", nil), err
}

func accept(contentType string, body []byte, chainHeader string, chain []byte) *Answer {
	a := &Answer{Status: http.StatusOK, Header: http.Header{}, Body: body}
	a.Header.Set("Content-Type", contentType)
	if chainHeader != "" {
		a.Header.Set(chainHeader, EscapeChain(chain))
	}
	return a
}

func refuse(status int, message string) *Answer {
	a := &Answer{Status: status, Header: http.Header{}, Body: []byte(message)}
	a.Header.Set("Content-Type", "text/html; charset=utf-8") // Express' default, although it is plain text
	return a
}

// EscapeChain writes PEM as the service's headers do: everything but unreserved characters as %XX.
func EscapeChain(chain []byte) string {
	return strings.ReplaceAll(url.QueryEscape(string(chain)), "+", "%20")
}

// BaseURL is what a PCCS client is configured with to reach the service at a listener's address.
func BaseURL(scheme, addr string) string {
	return fmt.Sprintf("%s://%s/sgx/certification/v4/", scheme, addr)
}
