package dcap

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
	"github.com/ccctl/terraform-provider-cc/internal/testshared"
)

// readFile reads a file of a vector folder; an empty name is an absent piece.
func readFile(t *testing.T, dir, name string) []byte {
	t.Helper()
	if name == "" {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func readIndex(t *testing.T, dir string, into any) {
	t.Helper()
	if err := json.Unmarshal(readFile(t, dir, "index.json"), into); err != nil {
		t.Fatal(err)
	}
}

func readRoots(t *testing.T, dir, name string) ([]*x509.Certificate, error) {
	t.Helper()
	return ParseRoots(readFile(t, dir, name))
}

// stageOf returns the stage of a refusal; a quote that does not parse is one too.
func stageOf(err error) Stage {
	var e *Error
	var q *quote.Error
	var p *PolicyError
	switch {
	case errors.As(err, &q):
		return StageQuoteFormat
	case errors.As(err, &e):
		return e.Stage
	case errors.As(err, &p):
		return StagePolicy
	default:
		return Stage(fmt.Sprintf("no stage: %v", err))
	}
}

func reasonOf(err error) Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}

type mixedCase struct {
	ID          string
	Group       string
	Quote       string
	TrustedRoot string            `json:"trusted_root"`
	Collateral  map[string]string `json:"collateral"`
	VerifyAt    time.Time         `json:"verify_at"`
	Optional    bool
	Options     struct {
		RequireCRL      *bool    `json:"require_crl"`
		AllowedStatuses []Status `json:"allowed_statuses"`
		MinEvaluation   uint32   `json:"min_tcb_evaluation_data_number"`
	}
	Expect struct {
		Status     Status
		Advisories []string
		QEStatus   Status    `json:"qe_status"`
		TCBDate    time.Time `json:"tcb_date"`
		Evaluation uint32    `json:"tcb_evaluation_data_number"`
		PCEID      string    `json:"pce_id"`
		PCESVN     uint16
		SGXType    string `json:"sgx_type"`
		FMSPC      string
		MRENCLAVE  string
		MRSIGNER   string
		ISVProdID  uint16
		ISVSVN     uint16
		Debug      bool
		Error      *struct {
			Stage       Stage
			Code        string
			AnyOfStages []Stage `json:"any_of_stages"`
		}
	}
}

// TestMixedVectors runs the cases of vectors/dcap: real evidence with times chosen, files left out and swapped.
func TestMixedVectors(t *testing.T) {
	dir := testshared.Dir(t, "vectors/dcap")
	var index struct {
		CaseCount int `json:"case_count"`
		Cases     []mixedCase
	}
	readIndex(t, dir, &index)
	ran := 0
	for _, c := range index.Cases {
		ran++
		t.Run(c.ID, func(t *testing.T) { runMixed(t, dir, c) })
	}
	LogRoutes(t)
	if ran != 62 || ran != index.CaseCount {
		t.Fatalf("ran %d cases, want 62", ran)
	}
}

func runMixed(t *testing.T, dir string, c mixedCase) {
	roots, err := readRoots(t, dir, c.TrustedRoot)
	if err != nil {
		t.Fatal(err)
	}
	col := &Collateral{
		TCBInfo:               readFile(t, dir, c.Collateral["tcb_info"]),
		TCBInfoIssuerChain:    readFile(t, dir, c.Collateral["tcb_info_issuer_chain"]),
		QEIdentity:            readFile(t, dir, c.Collateral["qe_identity"]),
		QEIdentityIssuerChain: readFile(t, dir, c.Collateral["qe_identity_issuer_chain"]),
		PCKCRL:                readFile(t, dir, c.Collateral["pck_crl"]),
		PCKCRLIssuerChain:     readFile(t, dir, c.Collateral["pck_crl_issuer_chain"]),
		RootCACRL:             readFile(t, dir, c.Collateral["root_ca_crl"]),
	}
	withoutCRL := c.Options.RequireCRL != nil && !*c.Options.RequireCRL
	q, err := quote.Parse(readFile(t, dir, c.Quote))
	var verdict *Verdict
	if err == nil {
		if len(col.PCKCRL) > 0 && !c.Optional {
			// Some sets came with a CRL and without its issuer chain: the CAs are those of the quote.
			if len(col.PCKCRLIssuerChain) == 0 {
				col.PCKCRLIssuerChain = casOf(q)
			}
		}
		verdict, err = VerifyBothWays(t, nil, q, col, VerifyOptions{At: c.VerifyAt, Roots: roots})
		if withoutCRL && stageOf(err) == StageCollateralMissing && len(col.TCBInfo)*len(col.QEIdentity)*len(col.TCBInfoIssuerChain) > 0 {
			// This project has no switch for it: what is expected of a verifier without CRLs is asked of the steps.
			verdict, err = verifyWithoutCRLs(q, col, VerifyOptions{At: c.VerifyAt, Roots: roots})
		}
	}
	if err == nil {
		accept := c.Options.AllowedStatuses
		if accept == nil {
			accept = Statuses()
		}
		err = Policy{
			AcceptStatuses: accept, AcceptAdvisories: verdict.Advisories, AllowTCBInfoV2: true,
			MinEvaluationNumber: c.Options.MinEvaluation, MRENCLAVE: [][32]byte{verdict.Report.MRENCLAVE}, AllowDebug: true,
		}.Check(verdict)
	}
	want := c.Expect
	if want.Error != nil {
		stages := append(want.Error.AnyOfStages, want.Error.Stage)
		if err == nil {
			t.Fatalf("accepted with %s, want a refusal in %v", verdict.Status, stages)
		}
		if got := stageOf(err); !slices.Contains(stages, got) {
			t.Fatalf("refused in %s (%v), want %v", got, err, stages)
		}
		checkCode(t, err, want.Error.Stage, want.Error.Code)
		return
	}
	if c.Optional {
		// Both cases need something that is no part of this design: a chain from outside, or no issuer chain.
		if got := stageOf(err); got != StageCollateralMissing && got != StageQuoteFormat {
			t.Fatalf("optional case: got %s (%v)", got, err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	type facts struct {
		Status, QEStatus                           Status
		Advisories                                 []string
		TCBDate                                    time.Time
		Evaluation                                 uint32
		PCEID, SGXType, FMSPC, MRENCLAVE, MRSIGNER string
		PCESVN, ISVProdID, ISVSVN                  uint16
		Debug, Simulated                           bool
	}
	got := facts{
		verdict.Status, verdict.QEStatus, verdict.Advisories, verdict.TCBDate, verdict.EvaluationNumber,
		hex.EncodeToString(verdict.PCK.PCEID[:]), verdict.PCK.SGXType.String(), verdict.PCK.FMSPC.String(),
		hex.EncodeToString(verdict.Report.MRENCLAVE[:]), hex.EncodeToString(verdict.Report.MRSIGNER[:]),
		verdict.PCK.PCESVN, verdict.Report.ISVProdID, verdict.Report.ISVSVN, verdict.Report.Attributes.Debug(), verdict.Simulated,
	}
	expected := facts{
		want.Status, want.QEStatus, want.Advisories, want.TCBDate, want.Evaluation,
		want.PCEID, want.SGXType, want.FMSPC, want.MRENCLAVE, want.MRSIGNER,
		want.PCESVN, want.ISVProdID, want.ISVSVN, want.Debug, false,
	}
	if diff := cmp.Diff(expected, got); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
}

// casOf returns the PEM text of a quote's chain without its leaf.
func casOf(q *quote.Quote) []byte {
	text := string(q.CertificationData)
	if i := strings.LastIndex(text, pemBegin); i > 0 {
		if j := strings.LastIndex(text[:i], pemBegin); j > 0 {
			return []byte(text[j:])
		}
	}
	return nil
}

// checkCode compares the reason where the refusal came in the first of the allowed stages.
func checkCode(t *testing.T, err error, stage Stage, code string) {
	t.Helper()
	if stageOf(err) != stage {
		return
	}
	words := map[string]string{"unsupported_certification_data_type": string(ReasonCertificationType)}
	if w, ok := words[code]; ok {
		code = w
	}
	var policy *PolicyError
	if errors.As(err, &policy) {
		if policy.Violations[0].Check != code {
			t.Errorf("violation %s, want %s", policy.Violations[0].Check, code)
		}
		return
	}
	if string(reasonOf(err)) != code {
		t.Errorf("reason %q (%v), want %q", reasonOf(err), err, code)
	}
}

// verifyWithoutCRLs is Verify with CRLs that list nothing and never end.
func verifyWithoutCRLs(q *quote.Quote, c *Collateral, opts VerifyOptions) (*Verdict, error) {
	v, err := NewVerifier(opts.Roots)
	if err != nil {
		return nil, err
	}
	r := v.run()
	e, err := r.evidence(q, opts.At, nil)
	if err != nil {
		return nil, err
	}
	nothing := &revocationList{nextUpdate: e.chain.root().NotAfter}
	rev := &revocation{root: nothing, pck: nothing, issuer: e.chain}
	docs, err := r.checkDocuments(e, c, rev, opts.At)
	if err != nil {
		return nil, err
	}
	checked := &CheckedEvidence{verifier: v, chain: e, body: q.Body, qe: q.QEReport}
	return checked.rate(rev, docs, opts.At, func(identity *qeIdentity) error { return e.checkSignatures(q, identity) })
}

type genuineCase struct {
	ID                    string
	Kind                  string
	Quote                 string
	TCBInfo               string    `json:"tcb_info"`
	QEIdentity            string    `json:"qe_identity"`
	RootCACRL             string    `json:"root_ca_crl"`
	PCKCRL                string    `json:"pck_crl"`
	TCBInfoIssuerChain    string    `json:"tcb_info_issuer_chain"`
	QEIdentityIssuerChain string    `json:"qe_identity_issuer_chain"`
	PCKCRLIssuerChain     string    `json:"pck_crl_issuer_chain"`
	TrustedRoot           string    `json:"trusted_root"`
	VerifyAt              time.Time `json:"verify_at"`
	Expected              struct {
		Outcome        string
		Reason         string
		Status         Status    `json:"tcb_status"`
		PlatformStatus Status    `json:"platform_tcb_status"`
		QEStatus       Status    `json:"qe_tcb_status"`
		Advisories     []string  `json:"advisories"`
		QEAdvisories   []string  `json:"qe_advisories"`
		AllAdvisories  []string  `json:"all_advisories"`
		TCBDate        time.Time `json:"tcb_date"`
		QETCBDate      time.Time `json:"qe_tcb_date"`
		TCBInfoVersion int       `json:"tcb_info_version"`
		Evaluation     uint32    `json:"tcb_evaluation_data_number"`
		QEEvaluation   uint32    `json:"qe_tcb_evaluation_data_number"`
	}
	// What the four calls of Intel's library say. They are independent of each other, and a case can have more faults
	// than the one it was made for: TCB info that has expired comes with a CRL that has, too.
	Intel struct {
		PCK        string
		TCBInfo    string `json:"tcb_info"`
		QEIdentity string `json:"qe_identity"`
		Quote      string
	} `json:"oracle_intel_qvl"`
	FMSPC      string
	CA         string `json:"pck_ca"`
	SGXType    uint8  `json:"pck_sgx_type"`
	Components []int  `json:"pck_tcb_components"`
	PCESVN     uint16 `json:"pck_pcesvn"`
	CPUSVN     string `json:"pck_cpusvn"`
	MRENCLAVE  string
	Attributes string
	ReportData string `json:"report_data"`
}

// stagesOfReason maps the reasons of the index to the stages that may name them.
var stagesOfReason = map[string][]Stage{
	"quote-format":                            {StageQuoteFormat},
	"certification-data-type":                 {StageQuoteFormat},
	"quote-signature":                         {StageQuoteSignature},
	"attestation-key":                         {StageBinding, StageQuoteSignature},
	"qe-report-signature":                     {StageQEReport},
	"qe-report":                               {StageQEReport},
	"qe-report-data":                          {StageBinding},
	"qe-identity-mismatch":                    {StageQEReport, StageQEIdentity},
	"pck-chain":                               {StagePCKChain, StageQuoteFormat},
	"pck-chain-untrusted-root":                {StagePCKChain},
	"root-ca-certificate-differs-from-pinned": {StagePCKChain},
	"trusted-root-invalid":                    {StagePCKChain},
	"pck-certificate-expired":                 {StagePCKChain},
	"pck-certificate-not-yet-valid":           {StagePCKChain},
	"crl-signature":                           {StageRootCRL, StagePCKCRL},
	"crl-format":                              {StageRootCRL, StagePCKCRL},
	"crl-issuer-mismatch":                     {StageRootCRL, StagePCKCRL},
	"root-ca-crl-expired":                     {StageRootCRL},
	"root-ca-crl-missing":                     {StageCollateralMissing},
	"pck-crl-expired":                         {StagePCKCRL},
	"pck-crl-not-yet-valid":                   {StagePCKCRL},
	"pck-crl-issuer-mismatch":                 {StagePCKCRL},
	"pck-crl-missing":                         {StageCollateralMissing},
	"tcb-info-format":                         {StageTCBInfo},
	"tcb-info-signature":                      {StageTCBInfo},
	"tcb-info-expired":                        {StageTCBInfo},
	"tcb-info-not-yet-valid":                  {StageTCBInfo},
	"tcb-info-mismatch":                       {StageTCBLevel, StageTCBInfo},
	"fmspc-mismatch":                          {StageTCBLevel},
	"tcb-signing-chain":                       {StageTCBInfo, StageQEIdentity},
	"tcb-signing-chain-untrusted":             {StageTCBInfo, StageQEIdentity},
	"tcb-signing-certificate-expired":         {StageTCBInfo, StageQEIdentity},
	"tcb-signing-certificate-not-yet-valid":   {StageTCBInfo, StageQEIdentity},
	"qe-identity-signature":                   {StageQEIdentity},
	"qe-identity-expired":                     {StageQEIdentity},
	"qe-identity-missing":                     {StageCollateralMissing},
}

// TestGenuineVectors runs the cases of vectors/dcap-genuine.
func TestGenuineVectors(t *testing.T) {
	dir := testshared.Dir(t, "vectors/dcap-genuine")
	var index struct{ Cases []genuineCase }
	readIndex(t, dir, &index)
	ran := 0
	for _, c := range index.Cases {
		ran++
		t.Run(c.ID, func(t *testing.T) { runGenuine(t, dir, c) })
	}
	LogRoutes(t)
	if ran != 399 {
		t.Fatalf("ran %d cases, want 399", ran)
	}
}

func (c genuineCase) verify(t *testing.T, dir string, roots []*x509.Certificate) (*Verdict, error) {
	t.Helper()
	q, err := quote.Parse(readFile(t, dir, c.Quote))
	if err != nil {
		return nil, err
	}
	return VerifyBothWays(t, nil, q, &Collateral{
		TCBInfo:               readFile(t, dir, c.TCBInfo),
		TCBInfoIssuerChain:    readFile(t, dir, c.TCBInfoIssuerChain),
		QEIdentity:            readFile(t, dir, c.QEIdentity),
		QEIdentityIssuerChain: readFile(t, dir, c.QEIdentityIssuerChain),
		PCKCRL:                readFile(t, dir, c.PCKCRL),
		PCKCRLIssuerChain:     readFile(t, dir, c.PCKCRLIssuerChain),
		RootCACRL:             readFile(t, dir, c.RootCACRL),
	}, VerifyOptions{At: c.VerifyAt, Roots: roots})
}

func runGenuine(t *testing.T, dir string, c genuineCase) {
	roots, rootErr := readRoots(t, dir, c.TrustedRoot)
	if rootErr != nil {
		if c.Expected.Reason != "trusted-root-invalid" {
			t.Fatal(rootErr)
		}
		return
	}
	verdict, err := c.verify(t, dir, roots)
	switch c.Expected.Outcome {
	case "ok":
		if err != nil {
			t.Fatal(err)
		}
		c.compare(t, verdict)
	case "reject":
		if err == nil {
			t.Fatalf("accepted with %s, want a refusal for %s", verdict.Status, c.Expected.Reason)
		}
		stages, ok := stagesOfReason[c.Expected.Reason]
		if !ok {
			t.Fatalf("unknown reason %q in the index", c.Expected.Reason)
		}
		stages = append(slices.Clone(stages), c.alsoFaulty()...)
		if got := stageOf(err); !slices.Contains(stages, got) {
			t.Fatalf("refused in %s (%v), want %v for %s", got, err, stages, c.Expected.Reason)
		}
	case "ok-or-reject":
		// Repeated members, bytes after the quote, a chain that is not leaf first: refused here.
		if err == nil {
			t.Fatalf("accepted with %s, want a refusal for %s", verdict.Status, c.Expected.Reason)
		}
	default:
		t.Fatalf("unknown outcome %q", c.Expected.Outcome)
	}
	if c.Kind == "old-root" {
		// Refused under the one certificate that was given; Intel's key has signed both certificates.
		verdict, err := c.verify(t, dir, nil)
		if err != nil {
			t.Fatalf("under Intel's root key: %v", err)
		}
		c.compare(t, verdict)
	}
}

// alsoFaulty returns the stages at which Intel's library refuses the case.
func (c genuineCase) alsoFaulty() []Stage {
	faulty := map[string][]Stage{
		"SGX_CRL_EXPIRED":              {StageRootCRL, StagePCKCRL},
		"SGX_TCB_INFO_EXPIRED":         {StageTCBInfo},
		"SGX_ENCLAVE_IDENTITY_EXPIRED": {StageQEIdentity},
		"TCB_INFO_MISMATCH":            {StageTCBLevel},
		"INVALID_QE_REPORT_DATA":       {StageBinding},
	}
	var all []Stage
	for _, word := range []string{c.Intel.PCK, c.Intel.TCBInfo, c.Intel.QEIdentity, c.Intel.Quote} {
		all = append(all, faulty[word]...)
	}
	return all
}

func (c genuineCase) compare(t *testing.T, v *Verdict) {
	t.Helper()
	type facts struct {
		Status, PlatformStatus, QEStatus Status
		Advisories, QEAdvisories, All    []string
		TCBDate, QETCBDate               time.Time
		Version                          int
		Evaluation, QEEvaluation         uint32
	}
	want := c.Expected
	expected := facts{
		want.Status, want.PlatformStatus, want.QEStatus, want.Advisories, want.QEAdvisories, want.AllAdvisories,
		want.TCBDate, want.QETCBDate, want.TCBInfoVersion, want.Evaluation, want.QEEvaluation,
	}
	got := facts{
		v.Status, v.PlatformStatus, v.QEStatus, v.PlatformAdvisories, v.QEAdvisories, v.Advisories,
		v.TCBDate, v.QETCBDate, v.TCBInfoVersion, v.TCBInfoEvaluationNumber, v.QEIdentityEvaluationNumber,
	}
	if want.PlatformStatus == "" { // only the status is given
		expected, got = facts{Status: want.Status}, facts{Status: v.Status}
	}
	// The index keeps its lists sorted; the order within a level is compared by TestMixedVectors.
	sameList := cmp.Transformer("list", func(l []string) string { return strings.Join(slices.Sorted(slices.Values(l)), " ") })
	if diff := cmp.Diff(expected, got, sameList); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
	if c.FMSPC == "" {
		return
	}
	attributes := v.Report.Attributes.Marshal()
	components := make([]int, len(v.PCK.Components))
	for i, svn := range v.PCK.Components {
		components[i] = int(svn)
	}
	for _, f := range []struct {
		name      string
		got, want any
	}{
		{"FMSPC", v.PCK.FMSPC.String(), strings.ToUpper(c.FMSPC)},
		{"CA", v.PCK.CA, c.CA},
		{"SGX type", v.PCK.SGXType, SGXType(c.SGXType)},
		{"components", fmt.Sprint(components), fmt.Sprint(c.Components)},
		{"PCESVN", v.PCK.PCESVN, c.PCESVN},
		{"CPUSVN", hex.EncodeToString(v.PCK.CPUSVN[:]), c.CPUSVN},
		{"MRENCLAVE", hex.EncodeToString(v.Report.MRENCLAVE[:]), c.MRENCLAVE},
		{"attributes", hex.EncodeToString(attributes[:]), c.Attributes},
		{"report data", hex.EncodeToString(v.Report.ReportData[:]), c.ReportData},
		{"simulated", v.Simulated, false},
	} {
		if f.got != f.want {
			t.Errorf("%s is %v, want %v", f.name, f.got, f.want)
		}
	}
}
