package dcap

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
)

// Collateral is what a verifier needs beside the quote. Every field is required. Nothing in it is trusted by where it
// came from: all of it is signed.
type Collateral struct {
	TCBInfo               []byte // JSON body as served, byte for byte: the signature covers its inner object
	TCBInfoIssuerChain    []byte // PEM: TCB signing certificate, root
	QEIdentity            []byte // JSON body as served
	QEIdentityIssuerChain []byte // PEM: TCB signing certificate, root
	PCKCRL                []byte // DER, PEM, or hex of DER
	PCKCRLIssuerChain     []byte // PEM: PCK Platform CA or PCK Processor CA, root
	RootCACRL             []byte // DER, PEM, or hex of DER
}

// VerifyOptions say for when and under whom evidence is verified.
type VerifyOptions struct {
	// At is the time to verify for. It is required: the zero time is an error.
	At time.Time
	// Roots are the trusted root certificates; nil trusts Intel only.
	Roots []*x509.Certificate
}

// CheckEvidence verifies everything about a quote that needs no collateral: PCK chain to a trusted root with its
// validity, SGX extension, QE report signature, binding of the attestation key, quote signature. It is there to refuse
// a forgery before anything is fetched for it, and to learn what to fetch. It is not a verification: revocation, the
// QE's identity and the TCB level are left to [CheckedEvidence.Verify].
func CheckEvidence(q *quote.Quote, opts VerifyOptions) (*CheckedEvidence, error) {
	v, err := NewVerifier(opts.Roots)
	if err != nil {
		return nil, err
	}
	return v.CheckEvidence(q, opts.At)
}

// Verify verifies that a quote is genuine: signed by an enclave on real hardware under the trusted root, as of opts.At.
// The error is an *Error that names the first failed step, or a *ConfigError. A nil error does not mean that the
// enclave is the wanted one or its platform up to date: give the verdict to a Policy.
func Verify(q *quote.Quote, c *Collateral, opts VerifyOptions) (*Verdict, error) {
	v, err := NewVerifier(opts.Roots)
	if err != nil {
		return nil, err
	}
	return v.Verify(q, c, opts.At)
}

// Verifier verifies many quotes under the same roots. It remembers which certificate chains and collateral it has
// verified, by their SHA-256, so that another quote of the same platform costs its two own signatures; dates and
// revocation are checked anew each time. It may be used by several goroutines.
type Verifier struct {
	anchors    anchors
	platforms  cache[*evidenceChain]
	revocation cache[*revocation]
	documents  cache[*documents]
}

// NewVerifier makes a Verifier. nil roots trust Intel only; otherwise only the given root certificates are trusted.
// The error is a *ConfigError.
func NewVerifier(roots []*x509.Certificate) (*Verifier, error) {
	a, err := newAnchors(roots)
	if err != nil {
		return nil, fmt.Errorf("make verifier: %w", err)
	}
	return &Verifier{anchors: a}, nil
}

// Sizes of the caches, in entries: a platform has some 10 KiB, collateral some 30 KiB parsed.
const (
	maxPlatforms  = 1024
	maxCollateral = 64
)

// run is one verification.
type run struct {
	*Verifier
	links map[string]bool // issued certificates whose signature has been verified
}

func (v *Verifier) run() *run { return &run{Verifier: v, links: map[string]bool{}} }

// CheckEvidence is like the function of that name.
func (v *Verifier) CheckEvidence(q *quote.Quote, at time.Time) (*CheckedEvidence, error) {
	e, err := v.run().evidence(q, at, nil)
	if err != nil {
		return nil, fmt.Errorf("check evidence: %w", advise(err))
	}
	if err := e.checkSignatures(q, nil); err != nil {
		return nil, fmt.Errorf("check evidence: %w", advise(err))
	}
	return &CheckedEvidence{verifier: v, chain: e, body: q.Body, qe: q.QEReport}, nil
}

// CheckedEvidence is a quote whose signatures and PCK chain have been verified, and nothing that takes collateral. Only
// CheckEvidence makes one that Verify accepts. It holds copies: changing the quote later changes nothing here.
type CheckedEvidence struct {
	verifier *Verifier
	chain    *evidenceChain
	body, qe quote.ReportBody
}

// Platform says what to ask for collateral by.
func (e *CheckedEvidence) Platform() *Platform {
	if e == nil || e.chain == nil {
		return nil
	}
	pck := e.chain.pck
	return &Platform{FMSPC: pck.FMSPC, PCEID: pck.PCEID, CA: pck.CA, Simulated: e.chain.simulated()}
}

// Verify is [Verifier.Verify] of the quote, under the same roots and with the same outcome, without verifying its
// signatures again. Dates are compared with at, those of the PCK chain too: fetching collateral takes time.
func (e *CheckedEvidence) Verify(c *Collateral, at time.Time) (*Verdict, error) {
	verdict, err := e.verify(c, at)
	if err != nil {
		return nil, fmt.Errorf("verify quote: %w", advise(err))
	}
	return verdict, nil
}

func (e *CheckedEvidence) verify(c *Collateral, at time.Time) (*Verdict, error) {
	switch {
	case e == nil || e.chain == nil:
		return nil, &ConfigError{"evidence that has not been checked: get it from CheckEvidence"}
	case at.IsZero():
		return nil, &ConfigError{noTime}
	}
	if err := c.checkComplete(); err != nil {
		return nil, err
	}
	if err := e.chain.chain.checkDates(at); err != nil {
		return nil, err
	}
	return e.verifier.run().conclude(e, c, at, func(identity *qeIdentity) error { return identity.checkReport(&e.qe) })
}

// Verify is like the function of that name.
func (v *Verifier) Verify(q *quote.Quote, c *Collateral, at time.Time) (*Verdict, error) {
	verdict, err := v.verify(q, c, at)
	if err != nil {
		return nil, fmt.Errorf("verify quote: %w", advise(err))
	}
	return verdict, nil
}

// verify goes through the steps in the order of Intel's library. The TCB level comes last, after every signature: a
// status of an unauthenticated report would be a claim.
func (v *Verifier) verify(q *quote.Quote, c *Collateral, at time.Time) (*Verdict, error) {
	r := v.run()
	e, err := r.evidence(q, at, c.checkComplete)
	if err != nil {
		return nil, err
	}
	checked := &CheckedEvidence{verifier: v, chain: e, body: q.Body, qe: q.QEReport}
	return r.conclude(checked, c, at, func(identity *qeIdentity) error { return e.checkSignatures(q, identity) })
}

// conclude verifies the collateral, then with signatures what the quote is signed with, and rates the platform.
func (r *run) conclude(ev *CheckedEvidence, c *Collateral, at time.Time, signatures func(*qeIdentity) error) (*Verdict, error) {
	rev, err := r.checkRevocation(ev.chain, c, at)
	if err != nil {
		return nil, err
	}
	docs, err := r.checkDocuments(ev.chain, c, rev, at)
	if err != nil {
		return nil, err
	}
	return ev.rate(rev, docs, at, signatures)
}

// rate holds the evidence against collateral that has been verified.
func (e *CheckedEvidence) rate(rev *revocation, docs *documents, at time.Time, signatures func(*qeIdentity) error) (*Verdict, error) {
	if err := docs.tcb.checkPlatform(e.chain.pck); err != nil {
		return nil, err
	}
	if err := signatures(docs.qe); err != nil {
		return nil, err
	}
	platform, err := docs.tcb.match(e.chain.pck)
	if err != nil {
		return nil, err
	}
	qe, err := docs.qe.match(e.qe.ISVSVN)
	if err != nil {
		return nil, err
	}
	return makeVerdict(e, at, rev, docs, platform, qe), nil
}

// checkComplete refuses collateral with anything missing.
func (c *Collateral) checkComplete() error {
	if c == nil {
		c = &Collateral{}
	}
	for _, piece := range []struct {
		name string
		data []byte
	}{
		{"tcb_info", c.TCBInfo},
		{"tcb_info_issuer_chain", c.TCBInfoIssuerChain},
		{"qe_identity", c.QEIdentity},
		{"qe_identity_issuer_chain", c.QEIdentityIssuerChain},
		{"root_ca_crl", c.RootCACRL},
		{"pck_crl", c.PCKCRL},
		{"pck_crl_issuer_chain", c.PCKCRLIssuerChain},
	} {
		if len(piece.data) == 0 {
			return &Error{
				Stage: StageCollateralMissing, Reason: Reason(piece.name), What: "collateral", Got: "no " + piece.name,
				Want: "all seven pieces", Remedy: "fetch the collateral of the platform's FMSPC from a PCCS or from Intel",
			}
		}
	}
	return nil
}

const noTime = "no time to verify for: set At"

// evidenceChain is the verified certificate chain of a quote and what its leaf says.
type evidenceChain struct {
	chain *chain
	pck   *PCK
}

func (e *evidenceChain) simulated() bool { return !isIntelKey(e.chain.root()) }

var pckChainSpec = chainSpec{StagePCKChain, "PCK chain", []role{rolePCK, rolePCKCA, roleRoot}}

// evidence checks the quote's form and its certificate chain. next runs between the two, where Intel's library looks
// whether all inputs are there.
func (r *run) evidence(q *quote.Quote, at time.Time, next func() error) (*evidenceChain, error) {
	if at.IsZero() {
		return nil, &ConfigError{noTime}
	}
	if err := checkForm(q); err != nil {
		return nil, err
	}
	if next != nil {
		if err := next(); err != nil {
			return nil, err
		}
	}
	ders, err := splitPEM(q.CertificationData, pckChainSpec.stage, pckChainSpec.what)
	if err != nil {
		return nil, err
	}
	// The key is the certificates and not the text: a chain can be written with white space in endless ways, and each
	// would take the place of another platform.
	e, err := r.platforms.get(digest(ders...), maxPlatforms, func() (*evidenceChain, error) {
		return r.verifyPCKChain(ders)
	})
	if err != nil {
		return nil, err
	}
	return e, e.chain.checkDates(at)
}

func checkForm(q *quote.Quote) error {
	if q == nil {
		return &Error{Stage: StageQuoteFormat, Reason: ReasonMissing, What: "quote", Got: "none", Want: "a quote of version 3"}
	}
	if err := q.Validate(); err != nil {
		return &Error{Stage: StageQuoteFormat, Reason: ReasonFormat, What: "quote", Err: err}
	}
	if q.CertificationType != quote.CertPCKChain {
		return &Error{
			Stage: StageQuoteFormat, Reason: ReasonCertificationType, What: "certification data",
			Got: q.CertificationType.String(), Want: quote.CertPCKChain.String(),
			Remedy: "let the platform's quote provider library reach a PCCS, so that it can put the PCK chain into quotes",
		}
	}
	return nil
}

func (r *run) verifyPCKChain(ders [][]byte) (*evidenceChain, error) {
	c, err := r.verifyCertificates(ders, pckChainSpec)
	if err != nil {
		return nil, err
	}
	pck, err := parsePCK(c.leaf(), caOf(c.certs[1].Subject.CommonName))
	if err != nil {
		return nil, err
	}
	return &evidenceChain{c, pck}, nil
}

// documents are the verified TCB info and QE identity.
type documents struct {
	tcb *tcbInfo
	qe  *qeIdentity
}

// checkDocuments verifies TCB info, then QE identity: both under the root of the quote's own chain, for with several
// trusted roots one must not vouch for the other's platforms.
func (r *run) checkDocuments(e *evidenceChain, c *Collateral, rev *revocation, at time.Time) (*documents, error) {
	root := e.chain.root()
	key := digest(c.TCBInfo, c.TCBInfoIssuerChain, c.QEIdentity, c.QEIdentityIssuerChain)
	docs, err := r.documents.get(key, maxCollateral, func() (*documents, error) {
		tcb, err := r.verifyTCBInfo(c)
		if err != nil {
			return nil, err
		}
		if err := tcb.check(root, rev, at); err != nil {
			return nil, err
		}
		qe, err := r.verifyQEIdentity(c)
		if err != nil {
			return nil, err
		}
		return &documents{tcb, qe}, nil
	})
	if err != nil {
		return nil, err
	}
	// What follows depends on the quote's root, the CRL and the time, and is not remembered.
	if err := docs.tcb.check(root, rev, at); err != nil {
		return nil, err
	}
	return docs, docs.qe.check(root, rev, at)
}

// check holds a verified document against the root in use, the root's CRL and the time.
func (d *document) check(root *x509.Certificate, rev *revocation, at time.Time) error {
	if keyFingerprint(d.chain.root()) != keyFingerprint(root) {
		return &Error{
			Stage: d.spec.stage, Reason: ReasonUntrustedRoot, What: d.chain.spec.what,
			Got: "root key " + shortKey(d.chain.root()), Want: shortKey(root) + ", the root of the PCK chain",
		}
	}
	if err := rev.root.checkNotRevoked(d.chain.leaf(), roleTCBSigner, d.spec.stage); err != nil {
		return err
	}
	return d.checkDates(at)
}

// checkSignatures verifies what the quote itself is signed with. Without an identity, the QE's is left unchecked.
func (e *evidenceChain) checkSignatures(q *quote.Quote, identity *qeIdentity) error {
	if !verifySignature(e.chain.leaf(), q.QEReport.Marshal(), q.QEReportSignature) {
		return &Error{
			Stage: StageQEReport, Reason: ReasonSignature, What: "QE report",
			Got: "a signature that the PCK key did not make over this report",
		}
	}
	if err := checkBinding(q); err != nil {
		return err
	}
	if identity != nil {
		if err := identity.checkReport(&q.QEReport); err != nil {
			return err
		}
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, q.AttestationKey[:]...))
	if err != nil {
		return &Error{Stage: StageQuoteSignature, Reason: ReasonKey, What: "attestation key", Want: "a point on P-256", Err: err}
	}
	if !verifyRaw(key, q.SignedBytes(), q.Signature) {
		return &Error{
			Stage: StageQuoteSignature, Reason: ReasonSignature, What: "quote",
			Got: "a signature that the attestation key did not make over header and report",
		}
	}
	return nil
}

// checkBinding holds the attestation key against what the QE vouches for: the first half of its report data is the
// hash of the key and the QE's authentication data, the second half is zero.
func checkBinding(q *quote.Quote) error {
	sum := sha256.Sum256(append(slices.Clone(q.AttestationKey[:]), q.QEAuthData...))
	var want [64]byte
	copy(want[:], sum[:])
	if subtle.ConstantTimeCompare(want[:], q.QEReport.ReportData[:]) != 1 {
		return &Error{
			Stage: StageBinding, Reason: ReasonReportData, What: "QE report data",
			Got:  hex.EncodeToString(q.QEReport.ReportData[:]),
			Want: hex.EncodeToString(want[:]) + ", the hash of attestation key and QE authentication data",
		}
	}
	return nil
}

// cache remembers what has been verified, by the hash of all that the verification depended on.
type cache[V any] struct {
	mu      sync.RWMutex
	entries map[[sha256.Size]byte]V
}

// get returns the entry of a key, making it if there is none. A failure is not kept. When the cache is full some
// entry goes; only what has been verified under a trusted root gets in, so nobody else can push entries out.
func (c *cache[V]) get(key [sha256.Size]byte, limit int, fill func() (V, error)) (V, error) {
	c.mu.RLock()
	v, ok := c.entries[key]
	c.mu.RUnlock()
	if ok {
		return v, nil
	}
	v, err := fill()
	if err != nil {
		return v, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = map[[sha256.Size]byte]V{}
	}
	if len(c.entries) >= limit {
		for victim := range c.entries {
			delete(c.entries, victim)
			break
		}
	}
	c.entries[key] = v
	return v, nil
}

// digest hashes parts so that no two lists of parts collide.
func digest(parts ...[]byte) [sha256.Size]byte {
	h := sha256.New()
	for _, p := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		h.Write(p)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
