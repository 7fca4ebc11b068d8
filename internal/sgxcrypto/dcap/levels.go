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

// tcbInfo is a verified TCB info document: which versions of the platform's parts Intel thinks what of.
type tcbInfo struct {
	document
	version int
	fmspc   FMSPC
	pceID   [2]byte
	levels  []tcbLevel // highest first
}

// tcbLevel is one line of it. A platform is on the first level that it has nothing below.
type tcbLevel struct {
	components [tcbComponents]uint8
	pcesvn     uint16
	date       time.Time
	status     Status
	advisories []string
}

var tcbInfoSpec = documentSpec{StageTCBInfo, "TCB info", "tcbInfo"}

// verifyTCBInfo verifies a TCB info of version 2 (API v3) or 3 (API v4).
func (r *run) verifyTCBInfo(c *Collateral) (*tcbInfo, error) {
	doc, o, err := r.verifyDocument(c.TCBInfo, c.TCBInfoIssuerChain, tcbInfoSpec)
	if err != nil {
		return nil, err
	}
	info := &tcbInfo{document: *doc}
	info.read(o)
	if o.r.err != nil {
		return nil, o.r.err
	}
	return info, nil
}

func (t *tcbInfo) read(o object) {
	switch o.number("version", math.MaxUint32, ReasonVersion) {
	case 3:
		t.version = 3
		t.readID(o)
	case 2:
		t.version = 2
	default:
		o.wrong(ReasonVersion, "version", "2 or 3")
	}
	t.readDates(o)
	o.hexBytes("fmspc", t.fmspc[:])
	o.hexBytes("pceId", t.pceID[:])
	if o.number("tcbType", math.MaxUint32, ReasonType) != 0 {
		o.wrong(ReasonType, "tcbType", "0")
	}
	for _, l := range o.list("tcbLevels", ReasonLevels) {
		t.levels = append(t.levels, t.readLevel(l))
	}
	if o.r.err == nil {
		t.sortLevels(o)
	}
}

// readID tells a TDX document, which is a well-formed answer to another question, from a malformed one.
func (t *tcbInfo) readID(o object) {
	id := o.text("id", ReasonID)
	tdx := o.has("tdxModule") || o.has("tdxModuleIdentities")
	switch {
	case id == "TDX" && tdx:
		if o.r.err == nil {
			o.r.err = &Error{
				Stage: StageTCBLevel, Reason: ReasonMismatch, What: "TCB info", Got: "a document for TDX",
				Want: "one for SGX", Remedy: "fetch it from /sgx/certification/v4/tcb",
			}
		}
	case id != "SGX":
		o.wrong(ReasonID, "id", `"SGX"`)
	case tdx:
		o.fail(ReasonFormat, "tdxModule", "a TDX module", "none in an SGX document")
	}
}

func (t *tcbInfo) readLevel(o object) tcbLevel {
	tcb := o.object("tcb", ReasonLevels)
	l := tcbLevel{
		pcesvn:     uint16(tcb.number("pcesvn", 65535, ReasonLevels)),
		date:       o.date("tcbDate"),
		status:     o.status("tcbStatus", func(Status) bool { return true }),
		advisories: o.advisories(),
	}
	if t.version == 2 {
		for i := range l.components {
			l.components[i] = uint8(tcb.number(fmt.Sprintf("sgxtcbcomp%02dsvn", i+1), 255, ReasonLevels))
		}
		return l
	}
	components := tcb.list("sgxtcbcomponents", ReasonLevels)
	if len(components) != tcbComponents {
		tcb.fail(ReasonLevels, "sgxtcbcomponents", fmt.Sprintf("%d components", len(components)), fmt.Sprintf("%d", tcbComponents))
		return l
	}
	for i, c := range components {
		l.components[i] = uint8(c.number("svn", 255, ReasonLevels))
	}
	return l
}

// sortLevels puts the highest level first, as Intel's library does (TcbLevel.cpp), so that the order of the document
// decides nothing; two levels of the same versions would leave it open which one counts.
func (t *tcbInfo) sortLevels(o object) {
	order := func(a, b tcbLevel) int {
		return cmp.Or(slices.Compare(b.components[:], a.components[:]), cmp.Compare(b.pcesvn, a.pcesvn))
	}
	slices.SortStableFunc(t.levels, order)
	for i := 1; i < len(t.levels); i++ {
		if order(t.levels[i-1], t.levels[i]) == 0 {
			o.fail(ReasonDuplicate, "tcbLevels", "two levels with the same versions", "each once")
		}
	}
}

// checkPlatform refuses a TCB info that is about other platforms.
func (t *tcbInfo) checkPlatform(pck *PCK) error {
	e := &Error{Stage: StageTCBLevel, Reason: ReasonMismatch, Remedy: "fetch the TCB info for the FMSPC of this quote"}
	switch {
	case t.fmspc != pck.FMSPC:
		e.What, e.Got, e.Want = "TCB info: fmspc", t.fmspc.String(), pck.FMSPC.String()+" of the PCK certificate"
	case t.pceID != pck.PCEID:
		e.What, e.Got, e.Want = "TCB info: pceId", fmt.Sprintf("%X", t.pceID), fmt.Sprintf("%X of the PCK certificate", pck.PCEID)
	default:
		return nil
	}
	return e
}

// match finds the platform's level: the first of which every component and the PCESVN are at most the platform's.
func (t *tcbInfo) match(pck *PCK) (*tcbLevel, error) {
	for i := range t.levels {
		if t.levels[i].reached(pck) {
			return &t.levels[i], nil
		}
	}
	return nil, &Error{
		Stage: StageTCBLevel, Reason: ReasonNotSupported, What: "platform",
		Got:    fmt.Sprintf("components %v, PCESVN %d, below every TCB level", pck.Components, pck.PCESVN),
		Want:   "at least the lowest level of the TCB info",
		Remedy: "update the platform's BIOS and microcode",
	}
}

func (l *tcbLevel) reached(pck *PCK) bool {
	for i, svn := range l.components {
		if pck.Components[i] < svn {
			return false
		}
	}
	return pck.PCESVN >= l.pcesvn
}

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
