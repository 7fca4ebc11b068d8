package dcap

import (
	"crypto/x509"
	"slices"
	"time"
)

// Inspection says what a set of collateral consists of.
type Inspection struct {
	Parts []Part
	// TCBInfo and QEIdentity are nil where the document was not given or is not genuine.
	TCBInfo    *TCBInfoSummary
	QEIdentity *QEIdentitySummary
}

// Part is a signed document of collateral, or the chain of certificates that signed it.
type Part struct {
	Name string // "TCB info", "TCB info signing chain", "root CA CRL" ...
	// Issued is the issue date, thisUpdate, or the latest notBefore of a chain; Expires the next update, or the earliest
	// notAfter of a chain. Both bounds are inclusive, and zero if Err is set.
	Issued, Expires time.Time
	// Err is why the part is not genuine, an *Error; nil if it is. Dates are not compared with anything.
	Err error
}

// TCBInfoSummary is what a genuine TCB info says.
type TCBInfoSummary struct {
	Version          int // 2 or 3
	FMSPC            FMSPC
	EvaluationNumber uint32
	Levels           []TCBLevel // highest first
}

// QEIdentitySummary is what a genuine QE identity says.
type QEIdentitySummary struct {
	EvaluationNumber uint32
	Levels           []TCBLevel // highest first
}

// TCBLevel is a level of a platform, which has components and PCESVN, or of a quoting enclave, which has ISVSVN.
type TCBLevel struct {
	Components [tcbComponents]uint8
	PCESVN     uint16
	ISVSVN     uint16
	Date       time.Time
	Status     Status
	Advisories []string
}

// InspectCollateral verifies the signatures of collateral, of what there is of it, for a person to look at: it takes no
// quote and no time, so that it can tell what has expired from what is forged. nil roots trust Intel only. The error is
// a *ConfigError; what is wrong with a part is in its Err.
func InspectCollateral(c *Collateral, roots []*x509.Certificate) (*Inspection, error) {
	v, err := NewVerifier(roots)
	if err != nil {
		return nil, err
	}
	i := &inspector{run: v.run(), c: c}
	i.tcbInfo()
	i.qeIdentity()
	i.revocation()
	return &i.Inspection, nil
}

type inspector struct {
	Inspection
	*run
	c       *Collateral
	root    *x509.Certificate
	signers []signer
}

// signer is a certificate below the root, to be looked up in the root CA CRL.
type signer struct {
	cert *x509.Certificate
	role role
	part int // the chain it came in
}

func (i *inspector) add(name string, issued, expires time.Time) {
	i.Parts = append(i.Parts, Part{Name: name, Issued: issued, Expires: expires})
}

func (i *inspector) fail(name string, err error) {
	i.Parts = append(i.Parts, Part{Name: name, Err: advise(err)})
}

func (i *inspector) addChain(c *chain) {
	issued, expires := c.leaf().NotBefore, c.leaf().NotAfter
	for _, cert := range c.certs {
		if cert.NotBefore.After(issued) {
			issued = cert.NotBefore
		}
		if cert.NotAfter.Before(expires) {
			expires = cert.NotAfter
		}
	}
	i.root = c.root()
	i.signers = append(i.signers, signer{c.leaf(), c.spec.roles[0], len(i.Parts)})
	i.add(c.spec.what, issued, expires)
}

func (i *inspector) tcbInfo() {
	if len(i.c.TCBInfo) == 0 {
		return
	}
	info, err := i.verifyTCBInfo(i.c)
	if err != nil {
		i.fail(tcbInfoSpec.what, err)
		return
	}
	i.add(tcbInfoSpec.what, info.issued, info.nextUpdate)
	i.addChain(info.chain)
	i.TCBInfo = &TCBInfoSummary{Version: info.version, FMSPC: info.fmspc, EvaluationNumber: info.evaluation}
	for _, l := range info.levels {
		i.TCBInfo.Levels = append(i.TCBInfo.Levels, TCBLevel{
			Components: l.components, PCESVN: l.pcesvn, Date: l.date, Status: l.status, Advisories: slices.Clone(l.advisories),
		})
	}
}

func (i *inspector) qeIdentity() {
	if len(i.c.QEIdentity) == 0 {
		return
	}
	id, err := i.verifyQEIdentity(i.c)
	if err != nil {
		i.fail(qeIdentitySpec.what, err)
		return
	}
	i.add(qeIdentitySpec.what, id.issued, id.nextUpdate)
	i.addChain(id.chain)
	i.QEIdentity = &QEIdentitySummary{EvaluationNumber: id.evaluation}
	for _, l := range id.levels {
		i.QEIdentity.Levels = append(i.QEIdentity.Levels, TCBLevel{
			ISVSVN: l.isvsvn, Date: l.date, Status: l.status, Advisories: slices.Clone(l.advisories),
		})
	}
}

// revocation inspects both CRLs, and looks all signers up in that of the root CA.
func (i *inspector) revocation() {
	if len(i.c.PCKCRL) > 0 {
		i.pckCRL()
	}
	if len(i.c.RootCACRL) == 0 {
		return
	}
	const what = "root CA CRL"
	if i.root == nil && len(i.Parts) > 0 {
		return // what else there is has failed, and says why
	}
	if i.root == nil {
		i.fail(what, &Error{
			Stage: StageRootCRL, Reason: ReasonUnknownIssuer, What: what, Got: "no genuine signing chain beside it", Want: "one, for the root's certificate",
		})
		return
	}
	list, err := verifyCRL(i.c.RootCACRL, i.root, StageRootCRL, what)
	if err != nil {
		i.fail(what, err)
		return
	}
	i.add(what, list.thisUpdate, list.nextUpdate)
	for _, s := range i.signers {
		if err := list.checkNotRevoked(s.cert, s.role, StageRootCRL); err != nil {
			i.Parts[s.part] = Part{Name: i.Parts[s.part].Name, Err: err}
		}
	}
}

func (i *inspector) pckCRL() {
	const what = "PCK CRL"
	issuer, err := i.verifyChain(i.c.PCKCRLIssuerChain, crlIssuerSpec)
	if err != nil {
		i.fail(crlIssuerSpec.what, asSigningChain(err))
		return
	}
	list, err := verifyCRL(i.c.PCKCRL, issuer.leaf(), StagePCKCRL, what)
	if err != nil {
		i.fail(what, err)
	} else {
		i.add(what, list.thisUpdate, list.nextUpdate)
	}
	i.addChain(issuer)
}
