package dcap

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
)

// Policy says which genuine enclaves are wanted. The zero Policy rejects everything: it accepts no TCB status and
// names no enclave. A field that is left zero asks for nothing more, except where it says otherwise.
type Policy struct {
	// AcceptStatuses are the converged TCB statuses to accept. Revoked is refused even when it is listed.
	AcceptStatuses []Status
	// AcceptAdvisories are the advisories to put up with, whatever the status. An advisory that is not listed here or
	// in StatusAdvisories is refused, with UpToDate too.
	AcceptAdvisories []string
	// StatusAdvisories are advisories to put up with in combination with one status only.
	StatusAdvisories map[Status][]string
	// AllowTCBInfoV2 accepts TCB info of version 2, which lists no advisories at all.
	AllowTCBInfoV2 bool
	// MinEvaluationNumber is the least tcbEvaluationDataNumber, of TCB info and QE identity alike.
	MinEvaluationNumber uint32
	// MaxCollateralAge bounds the time since the issue date of TCB info and QE identity. Zero leaves it to their own
	// nextUpdate.
	MaxCollateralAge time.Duration
	// FMSPCs, if any, are the only platform families to accept; DenyFMSPCs are refused in any case.
	FMSPCs     []FMSPC
	DenyFMSPCs []FMSPC

	// MRENCLAVE and MRSIGNER list the accepted measurements. At least one of the two lists must not be empty.
	MRENCLAVE [][32]byte
	MRSIGNER  [][32]byte
	// ISVProdID and MinISVSVN are required unless MRENCLAVE is given: a signer's key signs many products, and its old
	// versions with them.
	ISVProdID *uint16
	MinISVSVN *uint16
	// KSS fields, compared if not nil.
	ConfigID     *[64]byte
	MinConfigSVN *uint16
	ISVExtProdID *[16]byte
	ISVFamilyID  *[16]byte
	// Attributes is compared under AttributesMask, and MiscSelect under MiscSelectMask.
	Attributes     quote.Attributes
	AttributesMask quote.Attributes
	MiscSelect     uint32
	MiscSelectMask uint32
	// ReportData, if not nil, is what the report data begins with; the rest of the 64 bytes must be zero.
	ReportData []byte
	// AllowDebug accepts an enclave whose memory a debugger may read. It keeps no secret.
	AllowDebug bool
}

// Finding is the outcome of one check of a policy.
type Finding struct {
	Check  string // "tcb_status", "mr_enclave" ...
	OK     bool
	Want   string
	Got    string
	Remedy string // what to do if the check failed
}

// Violation is a check that failed.
type Violation struct {
	Check  string
	Want   string
	Got    string
	Remedy string
}

// String is one line: the check, what was found and wanted, what to do.
func (v Violation) String() string {
	s := fmt.Sprintf("%s: found %s, want %s", v.Check, v.Got, v.Want)
	if v.Remedy != "" {
		s += "; " + v.Remedy
	}
	return s
}

// PolicyError says that a quote is genuine and not wanted, with every reason.
type PolicyError struct{ Violations []Violation }

// Error implements error.
func (e *PolicyError) Error() string {
	lines := make([]string, len(e.Violations))
	for i, v := range e.Violations {
		lines[i] = v.String()
	}
	return string(StagePolicy) + ": " + strings.Join(lines, "\n"+string(StagePolicy)+": ")
}

// Check holds a verdict against the policy. The error is a *PolicyError with every violation.
func (p Policy) Check(v *Verdict) error {
	var violations []Violation
	for _, f := range p.Explain(v) {
		if !f.OK {
			violations = append(violations, Violation{f.Check, f.Want, f.Got, f.Remedy})
		}
	}
	if len(violations) > 0 {
		return &PolicyError{violations}
	}
	return nil
}

// Explain returns the outcome of every check that the policy makes, passed or failed, in a fixed order.
func (p Policy) Explain(v *Verdict) []Finding {
	if v == nil {
		return []Finding{{Check: "verdict", Want: "a verified quote", Got: "none", Remedy: "verify the quote first"}}
	}
	x := &explanation{v: v}
	p.explainTCB(x)
	p.explainCollateral(x)
	p.explainIdentity(x)
	p.explainAttributes(x)
	return x.findings
}

type explanation struct {
	v        *Verdict
	findings []Finding
}

func (x *explanation) add(check string, ok bool, want, got, remedy string) {
	if ok {
		remedy = ""
	}
	x.findings = append(x.findings, Finding{check, ok, want, got, remedy})
}

func (p Policy) explainTCB(x *explanation) {
	v := x.v
	words := make([]string, len(p.AcceptStatuses))
	for i, s := range p.AcceptStatuses {
		words[i] = string(s)
	}
	got := string(v.Status)
	if len(v.Advisories) > 0 {
		got += " (" + strings.Join(v.Advisories, ", ") + ")"
	}
	remedy := "update the platform, or accept the status if you can live with its advisories"
	if v.Status == StatusRevoked {
		remedy = "do not use this platform: Intel has revoked its TCB level, and no policy accepts that"
	}
	x.add("tcb_status", v.Status != StatusRevoked && slices.Contains(p.AcceptStatuses, v.Status), oneOf(words), got, remedy)

	var unlisted []string
	accepted := slices.Concat(p.AcceptAdvisories, p.StatusAdvisories[v.Status])
	for _, id := range v.Advisories {
		if !slices.Contains(accepted, id) {
			unlisted = append(unlisted, id)
		}
	}
	want := "none"
	if len(accepted) > 0 {
		want = "none but " + oneOf(accepted)
	}
	x.add("tcb_advisories", len(unlisted) == 0, want, oneOf(unlisted),
		"read the advisory at https://www.intel.com/content/www/us/en/security-center and mitigate it, or accept it by its id")
	x.add("tcb_info_version", v.TCBInfoVersion >= 3 || p.AllowTCBInfoV2, "3, which lists advisories", fmt.Sprint(v.TCBInfoVersion),
		"fetch the collateral from API v4")
	if len(p.FMSPCs) > 0 || len(p.DenyFMSPCs) > 0 {
		allowed := len(p.FMSPCs) == 0 || slices.Contains(p.FMSPCs, v.PCK.FMSPC)
		x.add("fmspc", allowed && !slices.Contains(p.DenyFMSPCs, v.PCK.FMSPC),
			families(p.FMSPCs, p.DenyFMSPCs), v.PCK.FMSPC.String(), "use a platform of an allowed family")
	}
}

func (p Policy) explainCollateral(x *explanation) {
	v := x.v
	if p.MinEvaluationNumber > 0 {
		lowest := min(v.TCBInfoEvaluationNumber, v.QEIdentityEvaluationNumber)
		x.add("tcb_evaluation_data_number", lowest >= p.MinEvaluationNumber, fmt.Sprintf("at least %d", p.MinEvaluationNumber),
			fmt.Sprintf("TCB info %d, QE identity %d", v.TCBInfoEvaluationNumber, v.QEIdentityEvaluationNumber),
			"fetch newer collateral, or update the collateral service")
	}
	if p.MaxCollateralAge > 0 {
		age := v.At.Sub(v.TCBInfoIssued)
		if v.QEIdentityIssued.Before(v.TCBInfoIssued) {
			age = v.At.Sub(v.QEIdentityIssued)
		}
		x.add("collateral_age", age <= p.MaxCollateralAge, "at most "+p.MaxCollateralAge.String(), age.String(), "fetch fresh collateral")
	}
}

func (p Policy) explainIdentity(x *explanation) {
	r := &x.v.Report
	if len(p.MRENCLAVE) == 0 && len(p.MRSIGNER) == 0 {
		x.add("measurement", false, "nothing: the policy names neither MRENCLAVE nor MRSIGNER", "MRENCLAVE "+hex.EncodeToString(r.MRENCLAVE[:]),
			"name the enclave that is wanted")
	}
	if len(p.MRENCLAVE) > 0 {
		x.add("mr_enclave", slices.Contains(p.MRENCLAVE, r.MRENCLAVE), oneOf(hexList(p.MRENCLAVE)), hex.EncodeToString(r.MRENCLAVE[:]),
			"another build of the enclave or of its manifest: read the wanted value from its SIGSTRUCT")
	}
	if len(p.MRSIGNER) > 0 {
		x.add("mr_signer", slices.Contains(p.MRSIGNER, r.MRSIGNER), oneOf(hexList(p.MRSIGNER)), hex.EncodeToString(r.MRSIGNER[:]),
			"signed with another key: read the wanted value from the enclave's SIGSTRUCT")
	}
	bySigner := len(p.MRENCLAVE) == 0
	if p.ISVProdID != nil {
		x.add("isv_prod_id", r.ISVProdID == *p.ISVProdID, fmt.Sprint(*p.ISVProdID), fmt.Sprint(r.ISVProdID), "another product of the same signer")
	} else if bySigner {
		x.add("isv_prod_id", false, "a product id in the policy: a signer alone does not name an enclave", fmt.Sprint(r.ISVProdID), "set it")
	}
	if p.MinISVSVN != nil {
		x.add("isv_svn", r.ISVSVN >= *p.MinISVSVN, fmt.Sprintf("at least %d", *p.MinISVSVN), fmt.Sprint(r.ISVSVN), "deploy a newer version of the enclave")
	} else if bySigner {
		x.add("isv_svn", false, "a least ISVSVN in the policy: a signer alone accepts every old version", fmt.Sprint(r.ISVSVN), "set it")
	}
	p.explainKSS(x)
	if p.ReportData != nil {
		var want [64]byte
		fits := copy(want[:], p.ReportData) == len(p.ReportData)
		x.add("report_data", fits && r.ReportData == want, hex.EncodeToString(p.ReportData)+" and zeros", hex.EncodeToString(r.ReportData[:]),
			"the quote was made for something else")
	}
}

func (p Policy) explainKSS(x *explanation) {
	r := &x.v.Report
	if p.ConfigID != nil {
		x.add("config_id", r.ConfigID == *p.ConfigID, hex.EncodeToString(p.ConfigID[:]), hex.EncodeToString(r.ConfigID[:]), "started with another configuration")
	}
	if p.MinConfigSVN != nil {
		x.add("config_svn", r.ConfigSVN >= *p.MinConfigSVN, fmt.Sprintf("at least %d", *p.MinConfigSVN), fmt.Sprint(r.ConfigSVN), "started with an old configuration")
	}
	if p.ISVExtProdID != nil {
		x.add("isv_ext_prod_id", r.ISVExtProdID == *p.ISVExtProdID, hex.EncodeToString(p.ISVExtProdID[:]), hex.EncodeToString(r.ISVExtProdID[:]), "another product")
	}
	if p.ISVFamilyID != nil {
		x.add("isv_family_id", r.ISVFamilyID == *p.ISVFamilyID, hex.EncodeToString(p.ISVFamilyID[:]), hex.EncodeToString(r.ISVFamilyID[:]), "another product family")
	}
}

// explainAttributes holds the enclave's flags against what Gramine's own verifier demands of every enclave
// (tools/sgx/common/quote.c, v1.9), and against the policy's masks.
func (p Policy) explainAttributes(x *explanation) {
	r := &x.v.Report
	flags := r.Attributes.Flags
	x.add("debug", !r.Attributes.Debug() || p.AllowDebug, "a production enclave", debugWord(r.Attributes.Debug()),
		"build it without sgx.debug, or allow debug enclaves for a test that keeps no secret")
	for _, c := range []struct {
		check  string
		flag   uint64
		set    bool
		remedy string
	}{
		{"attribute_init", quote.FlagInit, true, "the enclave had not been initialised"},
		{"attribute_mode64bit", quote.FlagMode64Bit, true, "use a 64-bit enclave"},
		{"attribute_provision_key", quote.FlagProvisionKey, false, "use an enclave without access to the provisioning key"},
		{"attribute_einittoken_key", quote.FlagEINITTokenKey, false, "use an enclave without access to the launch key"},
	} {
		x.add(c.check, flags&c.flag != 0 == c.set, setWord(c.set), setWord(flags&c.flag != 0), c.remedy)
	}
	if m := p.AttributesMask; m != (quote.Attributes{}) {
		got := quote.Attributes{Flags: flags & m.Flags, XFRM: r.Attributes.XFRM & m.XFRM}
		x.add("attributes", got == p.Attributes, attributesWord(p.Attributes, m), attributesWord(got, m), "build the enclave with the wanted attributes")
	} else if p.Attributes != (quote.Attributes{}) {
		x.add("attributes", false, attributesWord(p.Attributes, m), "a policy with attributes and no mask", "set the mask")
	}
	if p.MiscSelectMask != 0 || p.MiscSelect != 0 {
		got := r.MiscSelect & p.MiscSelectMask
		x.add("misc_select", got == p.MiscSelect, fmt.Sprintf("%08x under %08x", p.MiscSelect, p.MiscSelectMask), fmt.Sprintf("%08x", got), "build the enclave with the wanted MISCSELECT")
	}
}

// families says which are accepted. A denied one that is not among the allowed needs no mention.
func families(allowed, denied []FMSPC) string {
	var words []string
	if len(allowed) == 0 {
		for _, f := range denied {
			words = append(words, f.String())
		}
		return "any family but " + oneOf(words)
	}
	for _, f := range allowed {
		if !slices.Contains(denied, f) {
			words = append(words, f.String())
		}
	}
	return "one of " + oneOf(words)
}

func attributesWord(a, mask quote.Attributes) string {
	return fmt.Sprintf("flags %016x, XFRM %016x under %016x, %016x", a.Flags, a.XFRM, mask.Flags, mask.XFRM)
}

func debugWord(debug bool) string {
	if debug {
		return "a debug enclave"
	}
	return "a production enclave"
}

func setWord(set bool) string {
	if set {
		return "set"
	}
	return "clear"
}

func oneOf(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

func hexList(values [][32]byte) []string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = hex.EncodeToString(v[:])
	}
	return words
}
