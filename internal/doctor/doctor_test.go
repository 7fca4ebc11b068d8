package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/pccs"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// lines writes findings as "check status found".
func lines(findings []Finding) []string {
	all := []string{}
	for _, f := range findings {
		all = append(all, fmt.Sprintf("%s %s %s", f.Check, f.Status, f.Found))
	}
	return all
}

func TestRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	checks := []Check{
		{"one", func(context.Context) []Finding { return []Finding{ok("fine"), warn("do", "so so").named("part")} }},
		{"two", func(context.Context) []Finding { return nil }},
		{"three", func(context.Context) []Finding { return []Finding{skip("no"), fail("do", "bad")} }},
	}
	got, err := Run(ctx, checks)
	want := []string{"one ok fine", "part warn so so", "three skip no", "three fail bad"}
	if diff := cmp.Diff(want, lines(got)); diff != "" || err != nil {
		t.Errorf("error %v, (-want +got):\n%s", err, diff)
	}
	after := false
	checks = append(checks, Check{"stops", func(context.Context) []Finding { cancel(); return nil }},
		Check{"after", func(context.Context) []Finding { after = true; return nil }})
	if _, err := Run(ctx, checks); !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "check stops: ") || after {
		t.Errorf("error %v, went on: %t", err, after)
	}
}

func TestFailed(t *testing.T) {
	for _, tt := range []struct {
		err           error
		found, remedy string
	}{
		{&pccs.Error{Kind: pccs.NotFound, Document: "QE identity", Remedy: "do this"}, "fetch QE identity", "do this"},
		{fmt.Errorf("x: %w", &pccs.Error{Kind: pccs.Unreachable, Document: "QE identity"}), "fetch QE identity", serviceRemedies[pccs.Unreachable]},
		{&dcap.Error{Stage: "s", What: "w", Got: "g", Remedy: "do that"}, "s: w: found g", "do that"},
		{errors.New("plain"), "plain", ""},
	} {
		f := failed(tt.err)
		if f.Status != Fail || f.Found != tt.found || f.Remedy != tt.remedy || !errors.Is(f.Err, tt.err) {
			t.Errorf("%v: %+v", tt.err, f)
		}
	}
	for kind := pccs.Unreachable; kind <= pccs.Expired; kind++ {
		if serviceRemedies[kind] == "" {
			t.Errorf("nothing to do about %s", kind)
		}
	}
}

func TestClock(t *testing.T) {
	for _, tt := range []struct {
		skew, errs time.Duration
		status     Status
		found      string
	}{
		{0, 500 * time.Millisecond, OK, "as the service's, to within 500ms"},
		{-400 * time.Millisecond, 500 * time.Millisecond, OK, "as the service's, to within 500ms"},
		{10 * time.Second, time.Second, OK, "this machine's clock is 10s ahead of the service's"},
		{31 * time.Second, time.Second, Warn, "this machine's clock is 31s ahead of the service's"},
		{-4 * time.Minute, time.Second, Warn, "this machine's clock is 4m0s behind the service's"},
		{-6 * time.Minute, time.Second, Fail, "this machine's clock is 6m0s behind the service's"},
		{26 * time.Hour, time.Second, Fail, "this machine's clock is 26 hours ahead of the service's"},
		{-365 * 24 * time.Hour, time.Second, Fail, "this machine's clock is 365 days behind the service's"},
		// A slow answer leaves much open.
		{40 * time.Second, 40 * time.Second, OK, "this machine's clock is 40s ahead of the service's"},
	} {
		f := clock(&pccs.Greeting{Skew: tt.skew, SkewError: tt.errs})
		if f.Status != tt.status || f.Found != tt.found || (f.Remedy == "") != (f.Status == OK) {
			t.Errorf("%v ± %v: %+v", tt.skew, tt.errs, f)
		}
	}
	if f := clock(&pccs.Greeting{DateMissing: true}); f.Status != Skip {
		t.Errorf("no date: %+v", f)
	}
}

func level(component uint8, pcesvn uint16, status dcap.Status, advisories ...string) dcap.TCBLevel {
	return dcap.TCBLevel{Components: [16]uint8{component}, PCESVN: pcesvn, Status: status, Advisories: advisories}
}

func TestCompare(t *testing.T) {
	qe := []dcap.TCBLevel{{ISVSVN: 6, Status: dcap.StatusUpToDate}, {ISVSVN: 5, Status: dcap.StatusOutOfDate}}
	set := func(number uint32, qe []dcap.TCBLevel, platform ...dcap.TCBLevel) *dcap.Inspection {
		return &dcap.Inspection{
			TCBInfo:    &dcap.TCBInfoSummary{EvaluationNumber: number, Levels: platform},
			QEIdentity: &dcap.QEIdentitySummary{EvaluationNumber: number, Levels: qe},
		}
	}
	standard := set(17, qe, level(2, 13, dcap.StatusUpToDate), level(1, 13, dcap.StatusOutOfDate, "A"))
	for _, tt := range []struct {
		name    string
		early   *dcap.Inspection
		status  Status
		found   string
		details []string
	}{
		{"the same", standard, OK, "the same as the standard ones, evaluation number 17; or the service ignores the argument, as old ones do", nil},
		{"another number", set(18, qe, level(2, 13, dcap.StatusUpToDate), level(1, 13, dcap.StatusOutOfDate, "A")), OK, "evaluation number 18 after 17, with the same statuses", nil},
		{"a new level on top", set(18, qe, level(3, 13, dcap.StatusUpToDate), level(2, 13, dcap.StatusOutOfDate, "B"), level(1, 13, dcap.StatusOutOfDate, "A")),
			Warn, "evaluation number 18 after 17: 1 levels change", []string{"platform at components [2 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0], PCESVN 13: UpToDate becomes OutOfDate (B)"}},
		{"an advisory more, a level less", set(18, qe, level(2, 13, dcap.StatusUpToDate, "B")),
			Warn, "evaluation number 18 after 17: 2 levels change", []string{
				"platform at components [2 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0], PCESVN 13: UpToDate becomes UpToDate (B)",
				"platform at components [1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0], PCESVN 13: OutOfDate (A) becomes below every level",
			}},
		{"a PCE level and a quoting enclave", set(18, []dcap.TCBLevel{{ISVSVN: 7, Status: dcap.StatusUpToDate}, {ISVSVN: 5, Status: dcap.StatusOutOfDate}}, level(1, 14, dcap.StatusUpToDate), level(1, 13, dcap.StatusOutOfDate, "A")),
			Warn, "evaluation number 18 after 17: 2 levels change", []string{
				"platform at components [2 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0], PCESVN 13: UpToDate becomes OutOfDate (A)",
				"quoting enclave at ISVSVN 6: UpToDate becomes OutOfDate",
			}},
	} {
		f := compare(standard, tt.early)
		if f.Status != tt.status || f.Found != tt.found {
			t.Errorf("%s: %+v", tt.name, f)
		}
		if diff := cmp.Diff(tt.details, f.Details); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// world is a simulated platform's service and a visit to it.
type world struct {
	platform *sgxsim.Platform
	service  *sgxsim.PCCS
	opts     Options
	now      time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	now := time.Now()
	p, err := sgxsim.New(sgxsim.Options{At: now})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{platform: p, now: now}
	w.service = &sgxsim.PCCS{Platform: p, Now: func() time.Time { return now }}
	server := httptest.NewServer(w.service)
	t.Cleanup(server.Close)
	fmspc := dcap.FMSPC(p.Machine.FMSPC)
	w.opts = Options{
		Place: &deploy.CollateralPlace{URL: server.URL}, Origin: "the test", FMSPC: &fmspc, Now: func() time.Time { return w.now },
	}
	w.opts.Roots, err = dcap.ParseRoots(p.RootPEM())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// examine returns the findings of one status.
func (w *world) examine(t *testing.T, status Status) []string {
	t.Helper()
	all, err := Run(t.Context(), Installation(w.opts))
	if err != nil {
		t.Fatal(err)
	}
	if status == "" {
		return lines(all)
	}
	return lines(slices.DeleteFunc(all, func(f Finding) bool { return f.Status != status }))
}

// TestServices has services with one fault each; what the fault does not touch must not fail.
func TestServices(t *testing.T) {
	only := func(item string, change func(*sgxsim.Answer)) func(*world) {
		return func(w *world) {
			w.service.Fault = func(r *http.Request, a *sgxsim.Answer) {
				if strings.HasSuffix(r.URL.Path, item) || strings.HasSuffix(r.URL.RequestURI(), item) {
					change(a)
				}
			}
		}
	}
	gone := func(a *sgxsim.Answer) { a.Status = http.StatusNotFound }
	for _, tt := range []struct {
		name   string
		change func(*world)
		status Status
		want   []string // prefixes, or the whole of a line
	}{
		{"good", nil, Fail, nil},
		{"good, but for the early set", nil, Warn, []string{"early TCB levels warn evaluation number 18 after 17: 2 levels change"}},
		{"no early set", only("update=early", gone), Fail, []string{"early TCB levels fail fetch TCB info of FMSPC 00606A000000"}},
		{"no standard set", only("/tcb?fmspc=00606A000000", gone), Skip, []string{"early TCB levels skip the standard set could not be had"}},
		{"no CRL of the processor CA", only("ca=processor&encoding=der", gone), Fail, nil},
		{"no CRL of the processor CA: a warning", only("ca=processor&encoding=der", gone), Warn,
			[]string{"CRL of the PCK processor CA warn fetch CRL of the PCK processor CA", "early TCB levels warn"}},
		{"no root CRL", only("/rootcacrl", gone), Fail, []string{"CRL of the root CA fail fetch CRL of the root CA"}},
		{"web page", only("/qe/identity", func(a *sgxsim.Answer) { a.Body = []byte("<html>") }), Fail,
			[]string{"QE identity fail fetch QE identity from http://"}},
		{"clock behind", func(w *world) { w.now = w.now.AddDate(0, 0, -2) }, Fail, []string{
			"TCB info fail issued on", "QE identity fail issued on", "PCK platform CRL fail issued on", "root CA CRL fail issued on", "PCK processor CRL fail issued on",
		}},
		{"clock far ahead", func(w *world) { w.now = w.now.AddDate(20, 0, 0) }, Fail, []string{
			"TCB info fail issued on", "TCB info signing chain fail issued on", "QE identity fail issued on", "QE identity signing chain fail issued on",
			"PCK platform CRL fail issued on", "PCK platform CRL issuer chain fail issued on", "root CA CRL fail issued on",
			"PCK processor CRL fail issued on", "PCK processor CRL issuer chain fail issued on",
		}},
		{"warns", only("/qe/identity", func(a *sgxsim.Answer) { a.Header.Set("Warning", `299 - "ends soon"`) }), Warn,
			[]string{`API version warn the service warns: 299 - "ends soon"`, "early TCB levels warn"}},
		{"one number", func(w *world) { w.opts.Place.EvaluationNumber = 17 }, Skip, []string{"early TCB levels skip one set of TCB levels was asked for"}},
		{"no URL", func(w *world) { w.opts.Place.URL = "ftp://x" }, Fail, []string{`collateral source fail read collateral service URL "ftp://x"`}},
		{"no file", func(w *world) { w.opts.Place = &deploy.CollateralPlace{Bundle: "missing"} }, Fail, []string{"collateral source fail read collateral file: open missing"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if tt.change != nil {
				tt.change(w)
			}
			got := w.examine(t, tt.status)
			if len(got) != len(tt.want) {
				t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			for i := range got {
				if !strings.HasPrefix(got[i], tt.want[i]) {
					t.Errorf("got  %s\nwant %s", got[i], tt.want[i])
				}
			}
		})
	}
}

// TestLasting draws the lines between ok, warn and fail.
func TestLasting(t *testing.T) {
	now := time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)
	v := &visit{Options: Options{Now: func() time.Time { return now }}}
	day := 24 * time.Hour
	for _, tt := range []struct {
		name    string
		expires time.Duration
		want    Status
		found   string
	}{
		{"QE identity", 4 * day, OK, "issued on 2026-11-01T00:00:00Z, expires on 2026-11-06T00:00:00Z, in 4 days"},
		{"QE identity", 3 * day, OK, ""},
		{"QE identity", 3*day - time.Second, Warn, ""},
		{"QE identity", 0, Warn, "issued on 2026-11-01T00:00:00Z, expires on 2026-11-02T00:00:00Z, in 0s"},
		{"QE identity", -time.Second, Fail, "issued on 2026-11-01T00:00:00Z, expired on 2026-11-01T23:59:59Z, 1s ago"},
		{"TCB info signing chain", 31 * day, OK, ""},
		{"TCB info signing chain", 29 * day, Warn, ""},
	} {
		f := v.part(dcap.Part{Name: tt.name, Issued: now.Add(-day), Expires: now.Add(tt.expires)})
		if f.Status != tt.want || tt.found != "" && f.Found != tt.found || (f.Remedy == "") != (f.Status == OK) {
			t.Errorf("%s, %v: %+v", tt.name, tt.expires, f)
		}
	}
}

// TestBundles looks into collateral files.
func TestBundles(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "collateral.json")
	data, err := w.platform.CollateralFile(w.now)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	w.opts.Place = &deploy.CollateralPlace{Bundle: file}
	for _, named := range []bool{true, false} {
		if !named {
			w.opts.FMSPC = nil
		}
		got := w.examine(t, OK)
		if len(got) < 8 || len(w.examine(t, Fail)) != 0 || !strings.HasPrefix(got[1], "TCB info ok issued on") {
			t.Errorf("family named %t:\n%s", named, strings.Join(w.examine(t, ""), "\n"))
		}
	}
	w.opts.FMSPC = &dcap.FMSPC{1}
	if got := w.examine(t, Fail); len(got) != 1 || !strings.Contains(got[0], "the collateral file does not hold it") {
		t.Errorf("another family: %v", got)
	}
	w.opts.FMSPC = nil
	var members map[string]any
	if err := json.Unmarshal(data, &members); err != nil {
		t.Fatal(err)
	}
	delete(members, "tcb_infos")
	if data, err = json.Marshal(members); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := w.examine(t, Fail); len(got) != 1 || got[0] != "collateral fail the file holds no TCB info" {
		t.Errorf("empty file: %v", got)
	}
}

func TestRules(t *testing.T) {
	now := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	in := &dcap.Inspection{
		Parts: []dcap.Part{{Name: "TCB info", Issued: now.AddDate(0, 0, -9)}, {Name: "QE identity", Issued: now.AddDate(0, 0, -2)}, {Name: "root CA CRL"}},
		TCBInfo: &dcap.TCBInfoSummary{EvaluationNumber: 18, Levels: []dcap.TCBLevel{
			level(2, 13, dcap.StatusSWHardeningNeeded, "INTEL-SA-00615"), level(1, 13, dcap.StatusOutOfDate, "INTEL-SA-00615", "INTEL-SA-00960"),
		}},
		QEIdentity: &dcap.QEIdentitySummary{EvaluationNumber: 17},
	}
	const nobody = `rule "r" can be fulfilled by no platform of FMSPC 000000000000: the best status there is SWHardeningNeeded (INTEL-SA-00615)`
	for _, tt := range []struct {
		name string
		tcb  keyserver.TCBConfig
		age  time.Duration
		want []string
	}{
		{"good", keyserver.TCBConfig{Accept: []string{"SWHardeningNeeded"}, AcceptAdvisories: []string{"INTEL-SA-00615"}, MinEvaluationNumber: 17}, 9 * 24 * time.Hour,
			[]string{" ok what the service has can fulfil them"}},
		{"only the lower level", keyserver.TCBConfig{Accept: []string{"OutOfDate"}, AcceptAdvisories: []string{"INTEL-SA-00960", "INTEL-SA-00615"}}, 0,
			[]string{" ok what the service has can fulfil them"}},
		{"advisory of its status", keyserver.TCBConfig{Accept: []string{"SWHardeningNeeded"}, StatusAdvisories: map[string][]string{"SWHardeningNeeded": {"INTEL-SA-00615"}}}, 0,
			[]string{" ok what the service has can fulfil them"}},
		{"advisory of another status", keyserver.TCBConfig{Accept: []string{"SWHardeningNeeded"}, StatusAdvisories: map[string][]string{"UpToDate": {"INTEL-SA-00615"}}}, 0, []string{" fail " + nobody}},
		{"another family", keyserver.TCBConfig{Accept: []string{"UpToDate"}, FMSPC: []string{"00606A000000"}}, 0, []string{` skip rule "r" is not for FMSPC 000000000000`}},
		{"a denied family", keyserver.TCBConfig{Accept: []string{"UpToDate"}, DenyFMSPC: []string{"000000000000"}}, 0, []string{` skip rule "r" is not for FMSPC 000000000000`}},
		{"no advisory", keyserver.TCBConfig{Accept: []string{"UpToDate", "SWHardeningNeeded"}}, 0, []string{" fail " + nobody}},
		{"no status", keyserver.TCBConfig{Accept: []string{"UpToDate"}, AcceptAdvisories: []string{"INTEL-SA-00615"}}, 0, []string{" fail " + nobody}},
		{"number of one", keyserver.TCBConfig{Accept: []string{"SWHardeningNeeded"}, AcceptAdvisories: []string{"INTEL-SA-00615"}, MinEvaluationNumber: 18}, 0,
			[]string{` fail rule "r" wants min_evaluation_number 18, and the QE identity has 17: every enclave is refused`}},
		{"number of both", keyserver.TCBConfig{Accept: []string{"SWHardeningNeeded"}, AcceptAdvisories: []string{"INTEL-SA-00615"}, MinEvaluationNumber: 19}, 0, []string{
			` fail rule "r" wants min_evaluation_number 19, and the QE identity has 17: every enclave is refused`,
			` fail rule "r" wants min_evaluation_number 19, and the TCB info has 18: every enclave is refused`,
		}},
		{"too old", keyserver.TCBConfig{Accept: []string{"SWHardeningNeeded"}, AcceptAdvisories: []string{"INTEL-SA-00615"}}, 7 * 24 * time.Hour,
			[]string{" fail the TCB info is 9 days old, and collateral.max_age is 7 days: every enclave is refused"}},
	} {
		v := &visit{Options: Options{Now: func() time.Time { return now }}, seen: []*dcap.Inspection{in}, cfg: &keyserver.Config{
			Rules: []keyserver.RuleConfig{{Name: "r", MREnclave: []string{strings.Repeat("e1", 32)}, TCB: tt.tcb}}, Collateral: keyserver.CollateralConfig{MaxAge: keyserver.Duration(tt.age)},
		}}
		if diff := cmp.Diff(tt.want, lines(v.rules(t.Context()))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing on this system")
	}
	for _, tt := range []struct {
		name string
		file string
		mode os.FileMode
		want []string // without the directory
	}{
		{"good", "config", 0o644, []string{" ok the modes of 6 files keep others out"}},
		{"configuration for the group", "config", 0o664, []string{" warn configuration DIR/config has mode 0664: its group may change what is released to whom"}},
		{"configuration for all", "config", 0o646, []string{" fail configuration DIR/config has mode 0646: every user of this machine may change what is released to whom"}},
		{"key for all", "key", 0o604, []string{" fail private key DIR/key has mode 0604: every user of this machine may pass for this server"}},
		{"key for the group", "key", 0o640, []string{" ok the modes of 6 files keep others out"}},
		{"key changed by the group", "key", 0o620, []string{" warn private key DIR/key has mode 0620: its group may pass for this server"}},
		{"checkpoint key", "checkpoint", 0o640, []string{" warn checkpoint key DIR/checkpoint has mode 0640: its group may sign checkpoints"}},
		{"directory", ".", 0o777, []string{" fail directory DIR has mode 0777: every user of this machine may change what is released to whom"}},
		{"sticky directory", ".", 0o777 | os.ModeSticky, []string{" ok the modes of 6 files keep others out"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := func(name string) string { return filepath.Join(dir, name) }
			for _, name := range []string{"config", "key", "cert", "audit", "checkpoint"} {
				if err := os.WriteFile(path(name), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(path(tt.file), tt.mode)); err != nil {
				t.Fatal(err)
			}
			v := &visit{Options: Options{Config: path("config")}, cfg: &keyserver.Config{
				TLS:   keyserver.TLSConfig{Certificate: path("cert"), PrivateKey: path("key")},
				Audit: &keyserver.AuditConfig{File: path("audit"), CheckpointKey: path("checkpoint")},
			}}
			v.cfg.Collateral.CA = path("missing")
			got := lines(v.files(t.Context()))
			for i := range got {
				got[i] = strings.ReplaceAll(got[i], dir, "DIR")
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
