package keyserver

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// family is one metric as it is written.
type family struct {
	help, kind string
	samples    map[string]float64 // by name and labels
}

// parseMetrics reads the text format strictly: HELP, TYPE, then the samples of that name.
func parseMetrics(t *testing.T, text string) map[string]*family {
	t.Helper()
	sample := regexp.MustCompile(`^([a-z_:][a-z0-9_:]*)(\{[a-z_]+="(?:[^"\\]|\\.)*"\})? (\S+)$`)
	all := map[string]*family{}
	var name string
	var f *family
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if help, ok := strings.CutPrefix(line, "# HELP "); ok {
			name, help, _ = strings.Cut(help, " ")
			if all[name] != nil {
				t.Errorf("%s is written twice", name)
			}
			f = &family{help: help, samples: map[string]float64{}}
			all[name] = f
			continue
		}
		if kind, ok := strings.CutPrefix(line, "# TYPE "+name+" "); ok && f != nil && f.kind == "" {
			f.kind = kind
			continue
		}
		m := sample.FindStringSubmatch(line)
		if m == nil || f == nil || f.kind == "" {
			t.Fatalf("line %q does not belong there", line)
		}
		base := m[1]
		if f.kind == "histogram" {
			base = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(base, "_bucket"), "_sum"), "_count")
		}
		value, err := strconv.ParseFloat(m[3], 64)
		if _, twice := f.samples[m[1]+m[2]]; base != name || err != nil || twice {
			t.Errorf("line %q is not a sample of %s, or one again: %v", line, name, err)
		}
		f.samples[m[1]+m[2]] = value
	}
	return all
}

// TestMetricsAreWellNamed applies the rules of promlint (https://prometheus.io/docs/practices/naming/), and holds the table of
// the package comment against what is written.
func TestMetricsAreWellNamed(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.config())
	if _, err := provision(t, w.enclave(s)); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the platform is compared with the early set", func() bool { return s.early.Figures().Results["refused"] == 1 })
	var out bytes.Buffer
	if err := s.WriteMetrics(&out); err != nil {
		t.Fatal(err)
	}
	all := parseMetrics(t, out.String())
	if len(all) < 15 {
		t.Fatalf("%d metrics", len(all))
	}
	nonBase := regexp.MustCompile(`milli|micro|nano|minute|hour|_ms$|_ns$|kilo|mega|percent|_age`)
	for name, f := range all {
		switch {
		case !strings.HasPrefix(name, "cc_keyserver_"):
			t.Errorf("%s has another prefix", name)
		case !regexp.MustCompile(`^[a-z][a-z0-9_]*[a-z0-9]$`).MatchString(name) || strings.Contains(name, "__"):
			t.Errorf("%s is not in snake case", name)
		case (f.kind == "counter") != strings.HasSuffix(name, "_total"):
			t.Errorf("%s is a %s", name, f.kind)
		case strings.Contains(name, f.kind):
			t.Errorf("%s repeats its type", name)
		case strings.Contains(name, "timestamp") && !strings.HasSuffix(name, "_timestamp_seconds"):
			t.Errorf("%s has no unit", name)
		case f.kind == "histogram" && !strings.HasSuffix(name, "_seconds"):
			t.Errorf("%s has no unit", name)
		case nonBase.MatchString(name):
			t.Errorf("%s is not in base units", name)
		case len(f.help) < 10 || !strings.HasSuffix(f.help, "."):
			t.Errorf("%s has the help text %q", name, f.help)
		}
		if f.kind == "histogram" && f.samples[name+`_bucket{le="+Inf"}`] != f.samples[name+"_count"] {
			t.Errorf("%s does not add up", name)
		}
		if len(f.samples) == 0 && !strings.HasSuffix(name, "refusals_total") {
			t.Errorf("%s has no sample", name)
		}
	}
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^//\t([a-z_]+)(\{[a-z]+\})? +\S`).FindAllStringSubmatch(string(doc), -1) {
		documented["cc_keyserver_"+m[1]] = m[2]
	}
	if got, want := slices.Sorted(maps.Keys(documented)), slices.Sorted(maps.Keys(all)); !slices.Equal(got, want) {
		t.Errorf("documented are %q, written %q", got, want)
	}
	for name, label := range documented {
		for sample := range all[name].samples {
			if got := regexp.MustCompile(`\{([a-z_]+)=`).FindStringSubmatch(sample); all[name].kind != "histogram" && (label == "") != (got == nil) || got != nil && label != "" && "{"+got[1]+"}" != label {
				t.Errorf("%s is documented with %q", sample, label)
			}
		}
	}
}

// TestEarlyWarning: a platform that is accepted today and will be refused is told by log, page, status and metric, and gets its key.
func TestEarlyWarning(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.config() + "admin: { listen: '127.0.0.1:0' }\n")
	address := w.admin(s)
	if _, err := provision(t, w.enclave(s)); err != nil {
		t.Fatal(err)
	}
	w.log.waitFor(t, "level=WARN", "TCB early warning: accepted today, refused under the early TCB set", "fmspc=00606A000000", `rule="the rule"`,
		"tcb_evaluation_data_number=18", "tcb_status=OutOfDate", "INTEL-SA-01313")
	status := s.Status()
	if len(status.EarlyTCB.Platforms) != 1 || !status.EarlyTCB.Platforms[0].Refused || status.EarlyTCB.Platforms[0].Reasons[0].Rule != "the rule" ||
		!slices.ContainsFunc(status.Warnings, func(s string) bool { return strings.HasPrefix(s, "TCB early warning: platforms of FMSPC 00606A000000") }) {
		t.Errorf("status: %+v", status)
	}
	page := fetchText(t, address+"/")
	for _, want := range []string{"TCB early warning", "INTEL-SA-01313", `<span class="bad">refused</span>`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	figures := fetchText(t, address+"/metrics")
	for _, want := range []string{
		`cc_keyserver_tcb_early_refused_platforms{fmspc="00606A000000"} 1`, `cc_keyserver_tcb_early_evaluation_number{fmspc="00606A000000"} 18`,
		`cc_keyserver_tcb_early_comparisons_total{result="refused"} 1`, `cc_keyserver_releases_total{rule="the rule"} 1`,
	} {
		if !strings.Contains(figures, want) {
			t.Errorf("the metrics do not say %s", want)
		}
	}
	// Rules that put up with it end the warning, which a reload does not forget.
	if err := s.Reload(w.parse(strings.Replace(w.config(), "accept: [SWHardeningNeeded], accept_advisories: [INTEL-SA-00615]",
		"accept: [SWHardeningNeeded, OutOfDate], accept_advisories: [INTEL-SA-00615, INTEL-SA-01313]", 1) + "admin: { listen: '127.0.0.1:0' }\n")); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the new rules are compared", func() bool {
		p := s.Status().EarlyTCB.Platforms
		return len(p) == 1 && !p[0].Refused && !p[0].Checked.IsZero()
	})
}

// TestEarlySetUnreachable: its failure is shown and keeps no enclave from its key.
func TestEarlySetUnreachable(t *testing.T) {
	w := newWorld(t)
	w.setFault(func(r *http.Request, a *sgxsim.Answer) {
		if r.URL.Query().Get("update") != "" {
			a.Status = 503
		}
	})
	s := w.start(w.config())
	for range 3 {
		if _, err := provision(t, w.enclave(s)); err != nil {
			t.Fatal(err)
		}
	}
	waitUntil(t, "the failure shows", func() bool {
		return strings.Contains(s.Status().EarlyTCB.Error, "get early collateral of FMSPC 00606A000000")
	})
	if status := s.Status(); !status.Ready || status.EarlyTCB.Platforms[0].Refused || !status.EarlyTCB.Platforms[0].Checked.IsZero() {
		t.Errorf("status: %+v", status)
	}
}

func TestEarlyWarningIsOff(t *testing.T) {
	w := newWorld(t)
	w.writeBundle("collateral.json")
	for _, tt := range []struct{ from, to, want string }{
		{"url: ", "update: early, url: ", "the early set is in force: nothing stricter is known (collateral.update)"},
		{fmt.Sprintf("url: %q", w.url), "bundle: collateral.json", "no early set is at hand: collateral comes from a file"},
	} {
		s, err := New(w.parse(strings.Replace(w.config(), tt.from, tt.to, 1)), w.options())
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Status().EarlyTCB.State; got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
		s.Close()
	}
}
