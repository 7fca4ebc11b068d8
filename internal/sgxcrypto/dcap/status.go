package dcap

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
)

// Status is a TCB status, in Intel's words.
type Status string

// TCB statuses of Intel's Provisioning Certification Service.
const (
	StatusUpToDate                          Status = "UpToDate"
	StatusSWHardeningNeeded                 Status = "SWHardeningNeeded"
	StatusConfigurationNeeded               Status = "ConfigurationNeeded"
	StatusConfigurationAndSWHardeningNeeded Status = "ConfigurationAndSWHardeningNeeded"
	StatusOutOfDate                         Status = "OutOfDate"
	StatusOutOfDateConfigurationNeeded      Status = "OutOfDateConfigurationNeeded"
	StatusRevoked                           Status = "Revoked"
)

// Statuses lists every status a verdict can have, best first.
func Statuses() []Status {
	return []Status{
		StatusUpToDate, StatusSWHardeningNeeded, StatusConfigurationNeeded, StatusConfigurationAndSWHardeningNeeded,
		StatusOutOfDate, StatusOutOfDateConfigurationNeeded, StatusRevoked,
	}
}

// ParseStatus reads a status word in Intel's exact spelling.
func ParseStatus(s string) (Status, error) {
	words := make([]string, 0, len(Statuses()))
	for _, known := range Statuses() {
		if s == string(known) {
			return known, nil
		}
		words = append(words, string(known))
	}
	return "", fmt.Errorf("parse TCB status: found %q, want one of %s", s, strings.Join(words, ", "))
}

// qeStatuses are the words that a QE identity may use.
func isQEStatus(s Status) bool {
	switch s {
	case StatusUpToDate, StatusConfigurationNeeded, StatusOutOfDate, StatusOutOfDateConfigurationNeeded, StatusRevoked:
		return true
	case StatusSWHardeningNeeded, StatusConfigurationAndSWHardeningNeeded:
		return false
	default:
		return false
	}
}

// converge merges the platform's and the quoting enclave's status as TcbLevelCheck.cpp of Intel's quote verification
// library does. A QE status knows three outcomes there: up to date, revoked, and out of date for all else. It is not
// "the worse of the two": ConfigurationNeeded with an outdated QE is OutOfDateConfigurationNeeded.
func converge(platform, qe Status) Status {
	switch {
	case qe == StatusUpToDate, platform == StatusRevoked:
		return platform
	case qe == StatusRevoked:
		return StatusRevoked
	}
	switch platform {
	case StatusConfigurationNeeded, StatusConfigurationAndSWHardeningNeeded, StatusOutOfDateConfigurationNeeded:
		return StatusOutOfDateConfigurationNeeded
	case StatusUpToDate, StatusSWHardeningNeeded, StatusOutOfDate:
		return StatusOutOfDate
	case StatusRevoked:
	}
	return StatusRevoked // not reached with a parsed status; anything unknown is the worst
}

// FMSPC names a family of platforms that share their TCB info.
type FMSPC [6]byte

// String is 12 upper-case hex digits, as in Intel's documents.
func (f FMSPC) String() string { return strings.ToUpper(hex.EncodeToString(f[:])) }

// Kinds of PCK certification authority, as the "ca" argument of a PCK CRL request spells them.
const (
	CAPlatform  = "platform"  // multi-package servers: Ice Lake and later
	CAProcessor = "processor" // single-package machines
)

// Platform is what a quote's PCK certificate says of the machine: enough to ask for collateral.
type Platform struct {
	FMSPC     FMSPC
	PCEID     [2]byte
	CA        string // CAPlatform or CAProcessor
	Simulated bool   // the chain ends in a root other than Intel's
}

// Verdict is what a genuine quote proves. Whether that is wanted is for a Policy to say: a genuine enclave can be a
// debug enclave on a revoked platform.
type Verdict struct {
	At time.Time // the time the evidence was verified for

	// Status is the converged status; it has come about from PlatformStatus and QEStatus.
	Status         Status
	PlatformStatus Status
	QEStatus       Status
	// Advisories is the union, platform's first, without duplicates. Identifiers are opaque ("INTEL-SA-00615").
	Advisories         []string
	PlatformAdvisories []string
	QEAdvisories       []string
	TCBDate            time.Time // of the matched platform level
	QETCBDate          time.Time // of the matched QE level

	TCBInfoVersion int // 2 or 3; version 2 lists no advisories
	// EvaluationNumber is the smaller of the two tcbEvaluationDataNumbers, which count Intel's TCB recoveries.
	EvaluationNumber           uint32
	TCBInfoEvaluationNumber    uint32
	QEIdentityEvaluationNumber uint32
	TCBInfoIssued              time.Time
	QEIdentityIssued           time.Time
	RootCRLIssued              time.Time // thisUpdate; the only sign of a CRL rollback, Intel's CRL number is always 1
	PCKCRLIssued               time.Time
	EarliestExpiry             time.Time // the first second after this one, some piece of evidence has expired
	EarliestExpiryOf           string    // the name of that piece

	PCK    PCK
	Report quote.ReportBody // the attested enclave: MRENCLAVE, MRSIGNER, ISVPRODID, ISVSVN, attributes, report data
	QE     quote.ReportBody // the quoting enclave

	Simulated       bool     // the trust root is not Intel's: proves nothing about real hardware
	RootFingerprint [32]byte // SHA-256 of the root key's SubjectPublicKeyInfo
}

// Platform returns the part of the verdict that collateral is asked for by.
func (v *Verdict) Platform() Platform {
	return Platform{FMSPC: v.PCK.FMSPC, PCEID: v.PCK.PCEID, CA: v.PCK.CA, Simulated: v.Simulated}
}

func makeVerdict(ev *CheckedEvidence, at time.Time, rev *revocation, docs *documents, platform *tcbLevel, qe *qeLevel) *Verdict {
	e := ev.chain
	v := &Verdict{
		At:                 at,
		Status:             converge(platform.status, qe.status),
		PlatformStatus:     platform.status,
		QEStatus:           qe.status,
		PlatformAdvisories: slices.Clone(platform.advisories),
		QEAdvisories:       slices.Clone(qe.advisories),
		TCBDate:            platform.date,
		QETCBDate:          qe.date,

		TCBInfoVersion:             docs.tcb.version,
		EvaluationNumber:           min(docs.tcb.evaluation, docs.qe.evaluation),
		TCBInfoEvaluationNumber:    docs.tcb.evaluation,
		QEIdentityEvaluationNumber: docs.qe.evaluation,
		TCBInfoIssued:              docs.tcb.issued,
		QEIdentityIssued:           docs.qe.issued,
		RootCRLIssued:              rev.root.thisUpdate,
		PCKCRLIssued:               rev.pck.thisUpdate,

		PCK:             e.pck.clone(),
		Report:          ev.body,
		QE:              ev.qe,
		Simulated:       e.simulated(),
		RootFingerprint: keyFingerprint(e.chain.root()),
	}
	for _, id := range slices.Concat(platform.advisories, qe.advisories) {
		if !slices.Contains(v.Advisories, id) {
			v.Advisories = append(v.Advisories, id)
		}
	}
	v.expires(rev.root.what, rev.root.nextUpdate)
	v.expires(rev.pck.what, rev.pck.nextUpdate)
	v.expires(docs.tcb.spec.what, docs.tcb.nextUpdate)
	v.expires(docs.qe.spec.what, docs.qe.nextUpdate)
	for _, c := range []*chain{e.chain, rev.issuer, docs.tcb.chain, docs.qe.chain} {
		for _, cert := range c.certs {
			v.expires(c.spec.what, cert.NotAfter)
		}
	}
	return v
}

func (v *Verdict) expires(what string, at time.Time) {
	if v.EarliestExpiry.IsZero() || at.Before(v.EarliestExpiry) {
		v.EarliestExpiry, v.EarliestExpiryOf = at, what
	}
}
