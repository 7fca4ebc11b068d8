package dcap

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
)

// qeIdentity is a verified QE identity document: what Intel's quoting enclave looks like.
type qeIdentity struct {
	document
	miscSelect, miscSelectMask [4]byte // in the byte order of the report
	attributes, attributesMask [16]byte
	mrsigner                   [32]byte
	isvProdID                  uint16
	levels                     []qeLevel // highest first
}

type qeLevel struct {
	isvsvn     uint16
	date       time.Time
	status     Status
	advisories []string
}

var qeIdentitySpec = documentSpec{StageQEIdentity, "QE identity", "enclaveIdentity"}

// verifyQEIdentity verifies a QE identity of version 2.
func (r *run) verifyQEIdentity(c *Collateral) (*qeIdentity, error) {
	doc, o, err := r.verifyDocument(c.QEIdentity, c.QEIdentityIssuerChain, qeIdentitySpec)
	if err != nil {
		return nil, err
	}
	id := &qeIdentity{document: *doc}
	id.read(o)
	if o.r.err != nil {
		return nil, o.r.err
	}
	return id, nil
}

func (q *qeIdentity) read(o object) {
	switch o.text("id", ReasonID) {
	case "QE":
	case "TD_QE", "QVE", "QAE":
		o.wrong(ReasonMismatch, "id", `"QE", the SGX quoting enclave`)
	default:
		o.wrong(ReasonID, "id", `"QE"`)
	}
	if o.number("version", math.MaxUint32, ReasonVersion) != 2 {
		o.wrong(ReasonVersion, "version", "2")
	}
	q.readDates(o)
	o.hexBytes("miscselect", q.miscSelect[:])
	o.hexBytes("miscselectMask", q.miscSelectMask[:])
	o.hexBytes("attributes", q.attributes[:])
	o.hexBytes("attributesMask", q.attributesMask[:])
	o.hexBytes("mrsigner", q.mrsigner[:])
	q.isvProdID = uint16(o.number("isvprodid", 65535, ReasonFormat))
	for _, l := range o.list("tcbLevels", ReasonLevels) {
		q.levels = append(q.levels, qeLevel{
			isvsvn:     uint16(l.object("tcb", ReasonLevels).number("isvsvn", 65535, ReasonLevels)),
			date:       l.date("tcbDate"),
			status:     l.status("tcbStatus", isQEStatus),
			advisories: l.advisories(),
		})
	}
	order := func(a, b qeLevel) int { return cmp.Compare(b.isvsvn, a.isvsvn) }
	slices.SortStableFunc(q.levels, order)
	for i := 1; i < len(q.levels); i++ {
		if order(q.levels[i-1], q.levels[i]) == 0 {
			o.fail(ReasonDuplicate, "tcbLevels", fmt.Sprintf("two levels of isvsvn %d", q.levels[i].isvsvn), "each once")
		}
	}
}

// checkReport holds the QE's report against the identity. The identity's own values are not masked: one with bits
// outside its mask matches nothing, as in Intel's EnclaveReportVerifier.cpp.
func (q *qeIdentity) checkReport(report *quote.ReportBody) error {
	fail := func(reason Reason, field, got, want string) error {
		return &Error{
			Stage: StageQEReport, Reason: reason, What: "QE report: " + field, Got: got, Want: want,
			Remedy: "the quote was not made by Intel's quoting enclave: install the platform software anew",
		}
	}
	raw := report.Marshal()
	masked := func(offset int, mask []byte) []byte {
		out := make([]byte, len(mask))
		for i := range out {
			out[i] = raw[offset+i] & mask[i]
		}
		return out
	}
	// In the mask of every identity so far; a production QE must not depend on it staying there.
	if report.Attributes.Debug() {
		return fail(ReasonDebug, "ATTRIBUTES", "the DEBUG flag", "a production enclave")
	}
	if got := masked(16, q.miscSelectMask[:]); !bytes.Equal(got, q.miscSelect[:]) {
		return fail(ReasonIdentityMismatch, "MISCSELECT", hex.EncodeToString(got), hex.EncodeToString(q.miscSelect[:]))
	}
	if got := masked(48, q.attributesMask[:]); !bytes.Equal(got, q.attributes[:]) {
		return fail(ReasonIdentityMismatch, "ATTRIBUTES", hex.EncodeToString(got), hex.EncodeToString(q.attributes[:]))
	}
	if report.MRSIGNER != q.mrsigner {
		return fail(ReasonIdentityMismatch, "MRSIGNER", hex.EncodeToString(report.MRSIGNER[:]), hex.EncodeToString(q.mrsigner[:]))
	}
	if report.ISVProdID != q.isvProdID {
		return fail(ReasonIdentityMismatch, "ISVPRODID", fmt.Sprintf("%d", report.ISVProdID), fmt.Sprintf("%d", q.isvProdID))
	}
	return nil
}

// match finds the QE's level: the highest that its ISVSVN reaches.
func (q *qeIdentity) match(isvsvn uint16) (*qeLevel, error) {
	for i := range q.levels {
		if isvsvn >= q.levels[i].isvsvn {
			return &q.levels[i], nil
		}
	}
	return nil, &Error{
		Stage: StageTCBLevel, Reason: ReasonNotSupported, What: "quoting enclave",
		Got:    fmt.Sprintf("ISVSVN %d, below every level of the QE identity", isvsvn),
		Want:   fmt.Sprintf("at least %d", q.levels[len(q.levels)-1].isvsvn),
		Remedy: "update the platform software (quoting enclave) on the attested machine",
	}
}
