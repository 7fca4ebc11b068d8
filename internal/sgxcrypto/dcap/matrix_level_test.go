package dcap_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// at checks the status that platform and QE have come to.
func at(status, platform, qe dcap.Status) func(*testing.T, *dcap.Verdict) {
	return func(t *testing.T, v *dcap.Verdict) {
		if v.Status != status || v.PlatformStatus != platform || v.QEStatus != qe {
			t.Errorf("status %s (%s, %s), want %s (%s, %s)", v.Status, v.PlatformStatus, v.QEStatus, status, platform, qe)
		}
	}
}

// levels replaces the platform's levels.
func levels(l *lab, all ...sgxsim.TCBLevel) { l.p.Standard.Levels = all }

func level(status dcap.Status, pcesvn int64, components ...int64) sgxsim.TCBLevel {
	var all [16]int64
	copy(all[:], components)
	return sgxsim.TCBLevel{Components: all, PCESVN: pcesvn, Date: labTime.AddDate(-1, 0, 0), Status: string(status)}
}

// having sets what the platform's certificate says.
func having(l *lab, pcesvn uint16, components ...int64) {
	l.p.Machine.PCESVN = pcesvn
	l.p.Machine.Components = [16]int64{}
	copy(l.p.Machine.Components[:], components)
	l.extension(marshalled(l))
}

func levelRows() []row {
	const (
		up      = dcap.StatusUpToDate
		conf    = dcap.StatusConfigurationNeeded
		old     = dcap.StatusOutOfDate
		revoked = dcap.StatusRevoked
	)
	three := []sgxsim.TCBLevel{level(up, 10, 5, 5, 5), level(conf, 9, 5, 4, 5), level(old, 8, 3, 3, 3)}
	on := func(name string, pcesvn uint16, status dcap.Status, components ...int64) attempt {
		return attempt{name: name, want: "ok", check: at(status, status, up), make: func(l *lab) {
			levels(l, three...)
			having(l, pcesvn, components...)
		}}
	}
	below := func(name string, pcesvn uint16, components ...int64) attempt {
		return attempt{name: name, want: "tcb_level/not_supported", make: func(l *lab) {
			levels(l, three...)
			having(l, pcesvn, components...)
		}}
	}
	return append([]row{
		{id: 170, attempts: []attempt{
			{name: "another family", want: "tcb_level/mismatch", make: func(l *lab) { l.tcbText("00606A000000", "00906ED50000") }},
			{name: "last digit", want: "tcb_level/mismatch", make: func(l *lab) { l.tcbText("00606A000000", "00606A000001") }},
		}},
		one(171, "tcb_level/mismatch", func(l *lab) { l.tcbText(`"pceId":"0000"`, `"pceId":"0001"`) }),
		{id: 172, attempts: []attempt{
			{name: "tdxModule", want: "tcb_level/mismatch", make: func(l *lab) { l.tcbText(`"id":"SGX",`, `"id":"TDX","tdxModule":{},`) }},
			{name: "tdxModuleIdentities", want: "tcb_level/mismatch", make: func(l *lab) { l.tcbText(`"id":"SGX",`, `"id":"TDX","tdxModuleIdentities":[],`) }},
		}},
		{id: 173, attempts: []attempt{below("components", 10, 3, 3, 2), below("PCESVN only", 7, 5, 5, 5), below("all", 0)}},
		{id: 174, attempts: []attempt{
			on("second lower", 10, conf, 9, 4, 9), on("first lower", 10, old, 4, 9, 9), on("third lower", 10, old, 9, 9, 4),
			on("a later component lower", 10, old, 9, 3, 3),
		}},
		{id: 175, attempts: []attempt{on("one lower", 9, conf, 5, 5, 5), on("two lower", 8, old, 5, 5, 5)}},
		{id: 176, attempts: []attempt{on("components", 10, up, 255, 255, 255, 255), on("PCESVN", 65535, up, 5, 5, 5), on("both", 11, up, 6, 6, 6, 1)}},
		{id: 177, attempts: []attempt{
			{name: "verdict", want: "ok", check: at(revoked, revoked, up), make: func(l *lab) {
				levels(l, level(up, 10, 5), level(revoked, 9, 4))
				having(l, 9, 4)
			}},
			{name: "no policy accepts it", want: "policy/tcb_status", make: func(l *lab) {
				levels(l, level(up, 10, 5), level(revoked, 9, 4))
				having(l, 9, 4)
				l.policy = acceptAll(l)
			}},
		}},
		{id: 178, attempts: []attempt{{want: "ok", check: at(up, up, up), make: func(l *lab) {
			levels(l, level(up, 10, 5), level(revoked, 9, 4))
			having(l, 10, 5)
		}}}},
		{id: 179, attempts: []attempt{
			{name: "reversed", want: "ok", check: at(conf, conf, up), make: func(l *lab) {
				reversed := slices.Clone(three)
				slices.Reverse(reversed)
				levels(l, reversed...)
				having(l, 10, 5, 4, 5)
			}},
			{name: "PCESVN decides among equal components", want: "ok", check: at(up, up, up), make: func(l *lab) {
				levels(l, level(old, 9, 5), level(up, 10, 5))
				having(l, 10, 5)
			}},
			{name: "components come before PCESVN", want: "ok", check: at(up, up, up), make: func(l *lab) {
				levels(l, level(old, 10, 4), level(up, 1, 5))
				having(l, 10, 5)
			}},
			{name: "earlier components before later", want: "ok", check: at(up, up, up), make: func(l *lab) {
				levels(l, level(old, 1, 4, 5), level(up, 1, 5, 4))
				having(l, 1, 5, 5)
			}},
		}},
		{id: 180, attempts: []attempt{{want: "ok", make: func(l *lab) {
			l.quote().Body.CPUSVN = [16]byte{}
			l.must(l.p.SignQuote(l.quote()))
		}, check: at(dcap.StatusSWHardeningNeeded, dcap.StatusSWHardeningNeeded, up)}}},
	}, convergenceRows()...)
}

// acceptAll is the loosest policy there is.
func acceptAll(l *lab) *dcap.Policy {
	return &dcap.Policy{
		AcceptStatuses: dcap.Statuses(), AcceptAdvisories: []string{"INTEL-SA-00615"}, AllowTCBInfoV2: true, AllowDebug: true,
		MRENCLAVE: [][32]byte{l.id.MRENCLAVE},
	}
}

// converging has the platform at one status and the QE at another.
func converging(platform, qe, want dcap.Status) attempt {
	return attempt{name: fmt.Sprintf("%s and %s", platform, qe), want: "ok", check: at(want, platform, qe), make: func(l *lab) {
		l.p.Standard.Levels[0].Status = string(platform)
		l.p.Standard.QELevels[0].Status = string(qe)
	}}
}

func convergenceRows() []row {
	const (
		up, soft   = dcap.StatusUpToDate, dcap.StatusSWHardeningNeeded
		conf, both = dcap.StatusConfigurationNeeded, dcap.StatusConfigurationAndSWHardeningNeeded
		old, oldC  = dcap.StatusOutOfDate, dcap.StatusOutOfDateConfigurationNeeded
		revoked    = dcap.StatusRevoked
	)
	var allRevoked, unmatched, same, asOld []attempt
	withOld := map[dcap.Status]dcap.Status{up: old, soft: old, conf: oldC, both: oldC, old: old, oldC: oldC, revoked: revoked}
	for _, platform := range dcap.Statuses() {
		allRevoked = append(allRevoked, converging(platform, revoked, revoked))
		same = append(same, converging(platform, up, platform))
		for _, qe := range []dcap.Status{conf, oldC} {
			asOld = append(asOld, converging(platform, qe, withOld[platform]))
		}
		unmatched = append(unmatched, attempt{name: string(platform), want: "tcb_level/not_supported", make: func(l *lab) {
			l.p.Standard.Levels[0].Status = string(platform)
			l.p.QE.ISVSVN = 5
		}})
	}
	svn := func(v uint16, qe, want dcap.Status) attempt {
		return attempt{name: fmt.Sprintf("ISVSVN %d", v), want: "ok", check: at(want, soft, qe), make: func(l *lab) { l.p.QE.ISVSVN = v }}
	}
	return []row{
		{id: 181, attempts: []attempt{converging(up, old, old)}},
		{id: 182, attempts: []attempt{converging(soft, old, old)}},
		{id: 183, attempts: []attempt{converging(conf, old, oldC)}},
		{id: 184, attempts: []attempt{converging(both, old, oldC)}},
		{id: 185, attempts: []attempt{converging(old, old, old), converging(oldC, old, oldC), converging(revoked, old, revoked)}},
		{id: 186, attempts: allRevoked},
		{id: 187, attempts: unmatched},
		{id: 188, attempts: asOld},
		{id: 189, attempts: same},
		{id: 190, attempts: []attempt{svn(9, up, soft), svn(8, up, soft), svn(7, old, old), svn(6, old, old), svn(65535, up, soft)}},
		{id: 191, attempts: []attempt{{want: "ok", make: func(l *lab) {
			l.p.Standard.Levels[0].Advisories = []string{"SA-3", "SA-1", "SA-3"}
			l.p.Standard.QELevels[0].Advisories = []string{"SA-2", "SA-1", "SA-0"}
		}, check: func(t *testing.T, v *dcap.Verdict) {
			want := [][]string{{"SA-3", "SA-1", "SA-2", "SA-0"}, {"SA-3", "SA-1", "SA-3"}, {"SA-2", "SA-1", "SA-0"}}
			if diff := cmp.Diff(want, [][]string{v.Advisories, v.PlatformAdvisories, v.QEAdvisories}); diff != "" {
				t.Error(diff)
			}
		}}}},
	}
}

// otherRows are about times and policies.
func otherRows() []row {
	policy := func(name, want string, change func(*lab, *dcap.Policy)) attempt {
		return attempt{name: name, want: want, make: func(l *lab) {
			l.policy = acceptAll(l)
			change(l, l.policy)
		}}
	}
	number := func(tcb, qe, least uint32, want string) attempt {
		return attempt{name: fmt.Sprintf("%d and %d, at least %d", tcb, qe, least), want: want, make: func(l *lab) {
			l.tcbInfo(func(t *sgxsim.TCBInfo) { t.EvaluationNumber = tcb })
			l.qeIdentity(func(q *sgxsim.QEIdentity) { q.EvaluationNumber = qe })
			l.policy = acceptAll(l)
			l.policy.MinEvaluationNumber = least
		}, check: func(t *testing.T, v *dcap.Verdict) {
			if v.EvaluationNumber != min(tcb, qe) || v.TCBInfoEvaluationNumber != tcb || v.QEIdentityEvaluationNumber != qe {
				t.Errorf("evaluation numbers %d, %d, %d", v.EvaluationNumber, v.TCBInfoEvaluationNumber, v.QEIdentityEvaluationNumber)
			}
		}}
	}
	const family, data = "policy/fmspc", "policy/report_data"
	mine := dcap.FMSPC{0x00, 0x60, 0x6a}
	other := dcap.FMSPC{0x00, 0x90, 0x6e, 0xd5}
	two := uint16(2)
	seven, eight, nine := uint16(7), uint16(8), uint16(9)
	return []row{
		{id: 192, attempts: []attempt{{want: "config", make: func(l *lab) { l.at = time.Time{} }}}, run: noTimeForEvidence},
		{id: 193, attempts: []attempt{
			{name: "CRL to 2060", want: "ok", make: func(l *lab) { l.pckCRL(func(c *sgxsim.CRL) { c.NextUpdate = labTime.AddDate(34, 0, 0) }) }},
			{name: "certificate to 9999", want: "ok", make: certify("leaf", func(_ *lab, c *sgxsim.Certificate) {
				c.NotAfter = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
			})},
			{name: "TCB info to 2100", want: "ok", make: func(l *lab) {
				l.tcbInfo(func(t *sgxsim.TCBInfo) { t.NextUpdate = time.Date(2100, 2, 28, 0, 0, 0, 0, time.UTC) })
			}},
			{name: "29 February 2100", want: "tcb_info/date", make: func(l *lab) { l.tcbText(`"nextUpdate":"2026-04-09`, `"nextUpdate":"2100-02-29`) }},
			{name: "leap second", want: "tcb_info/date", make: func(l *lab) { l.tcbText(`"nextUpdate":"2026-04-09T00:00:00Z`, `"nextUpdate":"2026-12-31T23:59:60Z`) }},
			{name: "verified in 2060", want: "pck_chain/expired", make: func(l *lab) { l.at = labTime.AddDate(34, 0, 0) }},
			{name: "a fraction after nextUpdate", want: "pck_crl/expired", make: func(l *lab) {
				l.at = labTime.Truncate(24 * time.Hour).Add(30*24*time.Hour + time.Nanosecond)
			}},
			{name: "in another time zone", want: "ok", make: func(l *lab) { l.at = labTime.In(time.FixedZone("UTC+14", 14*3600)) }},
		}},
		{id: 194, attempts: []attempt{number(17, 16, 0, "ok"), number(16, 17, 0, "ok"), number(0, 4294967295, 0, "ok")}},
		{id: 195, attempts: []attempt{
			number(17, 16, 17, "policy/tcb_evaluation_data_number"), number(16, 17, 17, "policy/tcb_evaluation_data_number"),
			number(16, 16, 17, "policy/tcb_evaluation_data_number"), number(17, 17, 17, "ok"), number(18, 17, 17, "ok"),
		}},
		{id: 196, attempts: []attempt{
			policy("not allowed", family, func(_ *lab, p *dcap.Policy) { p.FMSPCs = []dcap.FMSPC{other} }),
			policy("allowed", "ok", func(_ *lab, p *dcap.Policy) { p.FMSPCs = []dcap.FMSPC{other, mine} }),
			policy("denied", family, func(_ *lab, p *dcap.Policy) { p.DenyFMSPCs = []dcap.FMSPC{mine} }),
			policy("another denied", "ok", func(_ *lab, p *dcap.Policy) { p.DenyFMSPCs = []dcap.FMSPC{other} }),
			policy("allowed and denied", family, func(_ *lab, p *dcap.Policy) { p.FMSPCs, p.DenyFMSPCs = []dcap.FMSPC{mine}, []dcap.FMSPC{mine} }),
		}},
		{id: 197, attempts: []attempt{policy("debug", "policy/debug", func(l *lab, p *dcap.Policy) { l.id.Debug, p.AllowDebug = true, false })}},
		{id: 198, attempts: []attempt{{want: "ok", make: func(l *lab) { l.id.Debug = true; l.policy = acceptAll(l) }, check: func(t *testing.T, v *dcap.Verdict) {
			if !v.Report.Attributes.Debug() {
				t.Error("the verdict hides the debug flag")
			}
		}}}},
		{id: 199, attempts: []attempt{policy("status", "policy/tcb_status", func(_ *lab, p *dcap.Policy) { p.AcceptStatuses = []dcap.Status{dcap.StatusUpToDate} })}, run: statusInText},
		{id: 200, attempts: []attempt{
			policy("MRENCLAVE", "policy/mr_enclave", func(_ *lab, p *dcap.Policy) { p.MRENCLAVE = [][32]byte{{1}, {2}} }),
			policy("MRSIGNER", "policy/mr_signer", func(_ *lab, p *dcap.Policy) { p.MRSIGNER = [][32]byte{{1}} }),
			policy("MRSIGNER besides MRENCLAVE", "ok", func(l *lab, p *dcap.Policy) { p.MRSIGNER = [][32]byte{{1}, l.id.MRSIGNER} }),
			policy("product", "policy/isv_prod_id", func(_ *lab, p *dcap.Policy) { p.ISVProdID = &two }),
			policy("version", "policy/isv_svn", func(_ *lab, p *dcap.Policy) { p.MinISVSVN = &nine }),
			policy("version just enough", "ok", func(_ *lab, p *dcap.Policy) { p.MinISVSVN = &eight }),
			policy("signer without product", "policy/isv_prod_id", func(l *lab, p *dcap.Policy) {
				p.MRENCLAVE, p.MRSIGNER, p.MinISVSVN = nil, [][32]byte{l.id.MRSIGNER}, &eight
			}),
			policy("signer without version", "policy/isv_svn", func(l *lab, p *dcap.Policy) {
				p.MRENCLAVE, p.MRSIGNER, p.ISVProdID = nil, [][32]byte{l.id.MRSIGNER}, &seven
			}),
			policy("signer, product and version", "ok", func(l *lab, p *dcap.Policy) {
				p.MRENCLAVE, p.MRSIGNER, p.ISVProdID, p.MinISVSVN = nil, [][32]byte{l.id.MRSIGNER}, &seven, &two
			}),
			policy("neither", "policy/measurement", func(_ *lab, p *dcap.Policy) { p.MRENCLAVE = nil }),
		}},
		{id: 201, attempts: []attempt{
			policy("prefix", "ok", func(_ *lab, p *dcap.Policy) { p.ReportData = []byte{9, 9, 9} }),
			policy("prefix with its zeros", "ok", func(_ *lab, p *dcap.Policy) { p.ReportData = append([]byte{9, 9, 9}, make([]byte, 61)...) }),
			policy("shorter, the rest is not zero", data, func(_ *lab, p *dcap.Policy) { p.ReportData = []byte{9, 9} }),
			policy("another", data, func(_ *lab, p *dcap.Policy) { p.ReportData = []byte{9, 9, 8} }),
			policy("empty and not nil: all zero", data, func(_ *lab, p *dcap.Policy) { p.ReportData = []byte{} }),
			policy("too long", data, func(_ *lab, p *dcap.Policy) { p.ReportData = append([]byte{9, 9, 9}, make([]byte, 62)...) }),
		}},
	}
}

func noTimeForEvidence(t *testing.T) {
	l := newLab(t, "")
	if _, err := dcap.CheckEvidence(l.quote(), dcap.VerifyOptions{Roots: l.roots}); code(err) != "config" {
		t.Errorf("CheckEvidence without a time: %v", err)
	}
}

func statusInText(t *testing.T) {
	l := newLab(t, "")
	l.policy = &dcap.Policy{}
	_, err := l.verify(nil)
	for _, want := range []string{"SWHardeningNeeded", "INTEL-SA-00615"} {
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte(want)) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}
