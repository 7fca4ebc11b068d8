package pccs

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
)

// Limits of what is read from a service, in bytes. TCB info of the largest platform family is about 30 KiB, Intel's
// largest CRL about 5 KiB.
const (
	maxJSON   = 512 << 10
	maxCRL    = 2 << 20
	maxHeader = 128 << 10
)

// Kinds of documents, as [DocumentStatus] and the names of cache files have them.
const (
	KindTCBInfo    = "tcb-info"
	KindQEIdentity = "qe-identity"
	KindPCKCRL     = "pck-crl"
	KindRootCACRL  = "root-ca-crl"
)

// docKind tells the four documents apart.
type docKind string

const (
	docTCBInfo    docKind = KindTCBInfo
	docQEIdentity docKind = KindQEIdentity
	docPCKCRL     docKind = KindPCKCRL
	docRootCACRL  docKind = KindRootCACRL
)

// docID names one document: key is the FMSPC in upper-case hex, the CA, or empty.
type docID struct {
	kind docKind
	key  string
}

// platformDocs are what it takes to verify a quote of platform p, in the order of dcap.Collateral.
func platformDocs(p *dcap.Platform) ([]docID, error) {
	if p == nil {
		return nil, errors.New("find collateral: no platform given")
	}
	if p.CA != dcap.CAPlatform && p.CA != dcap.CAProcessor {
		return nil, fmt.Errorf("find collateral: PCK CA is %q, want %q or %q", p.CA, dcap.CAPlatform, dcap.CAProcessor)
	}
	return []docID{{docTCBInfo, p.FMSPC.String()}, {docQEIdentity, ""}, {docPCKCRL, p.CA}, {docRootCACRL, ""}}, nil
}

// assemble makes collateral of what platformDocs names.
func assemble(docs []*document) *dcap.Collateral {
	tcb, qe, pck, root := docs[0], docs[1], docs[2], docs[3]
	return &dcap.Collateral{
		TCBInfo: bytes.Clone(tcb.Body), TCBInfoIssuerChain: bytes.Clone(tcb.Chain),
		QEIdentity: bytes.Clone(qe.Body), QEIdentityIssuerChain: bytes.Clone(qe.Chain),
		PCKCRL: bytes.Clone(pck.Body), PCKCRLIssuerChain: bytes.Clone(pck.Chain),
		RootCACRL: bytes.Clone(root.Body),
	}
}

// String names the document in messages.
func (id docID) String() string {
	switch id.kind {
	case docTCBInfo:
		return "TCB info of FMSPC " + id.key
	case docQEIdentity:
		return "QE identity"
	case docPCKCRL:
		return "CRL of the PCK " + id.key + " CA"
	case docRootCACRL:
		return "CRL of the root CA"
	default:
		return string(id.kind)
	}
}

// path is the request below the base URL.
func (id docID) path(levels levelSet) string {
	query := url.Values{}
	switch id.kind {
	case docTCBInfo:
		query.Set("fmspc", id.key)
		levels.set(query)
		return "tcb?" + query.Encode()
	case docQEIdentity:
		levels.set(query)
		if len(query) == 0 {
			return "qe/identity"
		}
		return "qe/identity?" + query.Encode()
	case docPCKCRL:
		return "pckcrl?ca=" + id.key + "&encoding=der"
	case docRootCACRL:
		return "rootcacrl"
	default:
		return ""
	}
}

// chainHeaders are the spellings under which the signing chain comes, the one of version 4 first.
func (id docID) chainHeaders() []string {
	switch id.kind {
	case docTCBInfo:
		return []string{"TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"}
	case docQEIdentity:
		return []string{"SGX-Enclave-Identity-Issuer-Chain", "Enclave-Identity-Issuer-Chain"}
	case docPCKCRL:
		return []string{"SGX-PCK-CRL-Issuer-Chain"}
	case docRootCACRL:
		return nil
	default:
		return nil
	}
}

// hasLevels reports whether the document is one of a set of TCB levels.
func (id docID) hasLevels() bool { return id.kind == docTCBInfo || id.kind == docQEIdentity }

func (id docID) limit() int64 {
	if id.hasLevels() {
		return maxJSON
	}
	return maxCRL
}

// document is one answer of a service.
type document struct {
	Body    []byte    // JSON as served; a CRL in DER
	Chain   []byte    // PEM; nil for the root CA CRL
	Issued  time.Time // issueDate or thisUpdate, as the document says
	Expires time.Time // nextUpdate, as the document says
	Fetched time.Time // when it was got

	number uint32 // tcbEvaluationDataNumber
}

// newDocument reads what a service or a file holds for id. It proves nothing about the signature.
func newDocument(id docID, body, chain []byte) (*document, error) {
	doc := &document{Body: body, Chain: chain}
	var err error
	switch id.kind {
	case docTCBInfo:
		var outer struct {
			TCBInfo *struct {
				FMSPC string `json:"fmspc"`
				dates
			} `json:"tcbInfo"`
		}
		if err = json.Unmarshal(body, &outer); err != nil {
			break
		}
		switch {
		case outer.TCBInfo == nil:
			err = errors.New("the document has no tcbInfo")
		case !strings.EqualFold(outer.TCBInfo.FMSPC, id.key):
			err = fmt.Errorf("the document is for FMSPC %q", outer.TCBInfo.FMSPC)
		default:
			doc.Issued, doc.Expires, doc.number = outer.TCBInfo.IssueDate, outer.TCBInfo.NextUpdate, outer.TCBInfo.Number
		}
	case docQEIdentity:
		var outer struct {
			Identity *struct {
				ID string `json:"id"`
				dates
			} `json:"enclaveIdentity"`
		}
		if err = json.Unmarshal(body, &outer); err != nil {
			break
		}
		switch {
		case outer.Identity == nil:
			err = errors.New("the document has no enclaveIdentity")
		case outer.Identity.ID != "QE":
			err = fmt.Errorf("the document is the identity of %q", outer.Identity.ID)
		default:
			doc.Issued, doc.Expires, doc.number = outer.Identity.IssueDate, outer.Identity.NextUpdate, outer.Identity.Number
		}
	case docPCKCRL, docRootCACRL:
		var crl *x509.RevocationList
		if doc.Body, crl, err = decodeCRL(body); err == nil {
			doc.Issued, doc.Expires = crl.ThisUpdate, crl.NextUpdate
		}
	}
	if err != nil {
		return nil, err
	}
	// A bundle keeps JSON documents as strings, byte for byte.
	if !utf8.Valid(doc.Chain) || id.limit() == maxJSON && !utf8.Valid(body) {
		return nil, errors.New("it is not UTF-8")
	}
	if doc.Expires.IsZero() {
		return nil, errors.New("the document does not say when the next one is due")
	}
	if id.chainHeaders() != nil {
		if block, _ := pem.Decode(chain); block == nil {
			return nil, errors.New("the chain that signed it is not PEM")
		}
	}
	return doc, nil
}

type dates struct {
	IssueDate  time.Time `json:"issueDate"`
	NextUpdate time.Time `json:"nextUpdate"`
	Number     uint32    `json:"tcbEvaluationDataNumber"`
}

// decodeCRL finds out in which of three ways a service encoded a CRL and returns the DER. What Intel's caching service
// labels application/pkix-crl may be hex digits, so the content decides and not the header.
func decodeCRL(body []byte) ([]byte, *x509.RevocationList, error) {
	text := bytes.TrimSpace(body)
	der := body
	switch {
	case len(text) == 0:
		return nil, nil, errors.New("the CRL is empty")
	case bytes.HasPrefix(text, []byte("-----BEGIN")):
		block, rest := pem.Decode(text)
		switch {
		case block == nil:
			return nil, nil, errors.New("the CRL begins like PEM and is not")
		case block.Type != "X509 CRL":
			return nil, nil, fmt.Errorf("the PEM block is a %q, want an X509 CRL", block.Type)
		case len(bytes.TrimSpace(rest)) != 0:
			return nil, nil, errors.New("something follows the PEM block of the CRL")
		}
		der = block.Bytes
	case isHex(text):
		der = make([]byte, hex.DecodedLen(len(text)))
		if _, err := hex.Decode(der, text); err != nil {
			return nil, nil, fmt.Errorf("decode hex of the CRL: %w", err)
		}
	}
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, nil, fmt.Errorf("parse CRL: %w", err)
	}
	return der, crl, nil
}

// isHex tells hex digits from DER, whose first byte, 0x30, is the digit 0 as well: its second byte is a length of two
// or three bytes, 0x82 or 0x83, and no digit.
func isHex(b []byte) bool {
	for _, c := range b {
		digit := '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
		if !digit {
			return false
		}
	}
	return true
}

// decodeChain undoes the percent-encoding of a chain header. A plus sign is base64's and stays.
func decodeChain(value string) ([]byte, error) {
	text, err := url.PathUnescape(value)
	if err != nil {
		return nil, fmt.Errorf("undo percent-encoding: %w", err)
	}
	return []byte(text), nil
}
