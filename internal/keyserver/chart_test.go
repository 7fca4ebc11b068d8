//go:build unix

package keyserver

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/audit"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// render is what these tests read of a golden render of the Helm chart in deploy/cc-keyserver.
type render struct {
	config   string   // config.yaml; empty: the user has it elsewhere
	args     []string // of the server
	projects []string // files below the configuration's directory
	mounts   []string // directories
}

// renders reads the golden renders of deploy/charttest, by name.
func renders(t *testing.T) map[string]*render {
	t.Helper()
	files, err := filepath.Glob("../../deploy/charttest/testdata/*.golden.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("found %d renders of the chart, error %v", len(files), err)
	}
	all := map[string]*render{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r := &render{}
		for doc := range strings.SplitSeq("\n"+string(raw), "\n---") {
			r.read(t, doc)
		}
		all[strings.TrimSuffix(filepath.Base(file), ".golden.yaml")] = r
	}
	return all
}

func (r *render) read(t *testing.T, doc string) {
	t.Helper()
	var m struct {
		Kind string
		Data map[string]string
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct {
						Args         []string
						VolumeMounts []struct {
							MountPath string `yaml:"mountPath"`
						} `yaml:"volumeMounts"`
					}
					Volumes []struct {
						Projected struct {
							Sources []map[string]struct{ Items []struct{ Path string } }
						}
					}
				}
			}
		}
	}
	if err := yaml.Load([]byte(doc), &m); err != nil && strings.Contains(doc, "\nkind:") {
		t.Fatalf("%v in:\n%s", err, doc)
	}
	switch m.Kind {
	case "ConfigMap":
		r.config = m.Data["config.yaml"]
	case "Deployment":
		server := m.Spec.Template.Spec.Containers[0]
		r.args = server.Args
		for _, v := range server.VolumeMounts {
			r.mounts = append(r.mounts, v.MountPath)
		}
		for _, v := range m.Spec.Template.Spec.Volumes {
			for _, source := range v.Projected.Sources {
				for _, s := range source {
					for _, item := range s.Items {
						r.projects = append(r.projects, item.Path)
					}
				}
			}
		}
	}
}

// mount lays the render's files out as the kubelet does: in a directory of their own, to which links lead that are exchanged
// together. It returns the configuration's path. Directories of the container are below w.dir; changes are made to the text first.
func (r *render) mount(w *world, version string, key []byte, changes ...string) string {
	w.t.Helper()
	dir := filepath.Join(w.dir, "etc", "..version"+version)
	text := strings.NewReplacer(append(changes, "/run/cc-keys", w.dir+"/run/cc-keys", "/var/lib/", w.dir+"/var/lib/")...).Replace(r.config)
	forms := map[string]string{}
	var config struct {
		Secrets []struct{ Name, File, Form string }
	}
	if err := yaml.Load([]byte(text), &config); err != nil {
		w.t.Fatal(err)
	}
	for _, s := range config.Secrets {
		forms[s.File] = s.Form
	}
	write := func(path string, data []byte) {
		w.t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o440); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, m := range r.mounts {
		if name, found := strings.CutPrefix(m, "/run/cc-keys/"); found {
			write(filepath.Join(w.dir, "run/cc-keys", name, "wrap-key"), key)
		} else if strings.HasPrefix(m, "/var/lib/") {
			if err := os.MkdirAll(filepath.Join(w.dir, m), 0o700); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	read := func(name string) []byte {
		raw, err := os.ReadFile(filepath.Join(w.dir, name))
		if err != nil {
			w.t.Fatal(err)
		}
		return raw
	}
	for _, path := range r.projects {
		var data []byte
		switch top, name := filepath.Split(path); {
		case path == "config.yaml":
			data = []byte(text)
		case name == "tls.crt":
			data = read("server.pem")
		case name == "tls.key":
			data = read("server-key.pem")
		case name == "client-ca.crt", name == "collateral-ca.pem":
			data = w.ca
		case name == "trusted-root.pem":
			data = read("root.pem")
		case name == "collateral.json":
			w.writeBundle("collateral.json")
			data = read("collateral.json")
		case name == "checkpoint.key":
			signer, _, err := audit.GenerateKey("keys.example.com")
			if err != nil {
				w.t.Fatal(err)
			}
			data = []byte(signer)
		case top == "keys/" && forms[path] == "hex":
			data = []byte(hex.EncodeToString(key))
		case top == "keys/":
			data = key
		default:
			w.t.Fatalf("the chart mounts %s: what is in it?", path)
		}
		write(filepath.Join(dir, path), data)
	}
	link := func(target, path string) {
		w.t.Helper()
		if err := os.Symlink(target, path+".new"); err != nil {
			w.t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			w.t.Fatal(err)
		}
	}
	link(filepath.Base(dir), filepath.Join(w.dir, "etc", "..data"))
	entries, err := os.ReadDir(dir)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		link("..data/"+e.Name(), filepath.Join(w.dir, "etc", e.Name()))
	}
	return filepath.Join(w.dir, "etc", "config.yaml")
}

// TestChartConfigurations: the server takes every configuration that the chart makes, and every file that it names is one that
// the chart mounts.
func TestChartConfigurations(t *testing.T) {
	checked := 0
	for name, r := range renders(t) {
		t.Run(name, func(t *testing.T) {
			if r.config == "" {
				if !slices.ContainsFunc(r.args, func(a string) bool { return strings.HasPrefix(a, "--verify-key=") }) {
					t.Error("it has no configuration, and does not expect a signed one")
				}
				return
			}
			checked++
			w := newWorld(t)
			cfg, _, err := CheckConfig(r.mount(w, "1", canary[:]), w.options())
			if err != nil {
				t.Fatalf("%v\n%s", err, r.config)
			}
			if cfg.Health == nil || cfg.Audit == nil || cfg.Admin == nil || cfg.Admin.TLS == nil && !strings.HasPrefix(cfg.Admin.Listen, "127.0.0.1:") {
				t.Errorf("health %v, audit %v, admin %v", cfg.Health, cfg.Audit, cfg.Admin)
			}
			for _, dir := range []string{filepath.Dir(cfg.Audit.File), cfg.Collateral.CacheDir} {
				if in := strings.TrimPrefix(dir, w.dir); dir != "" && !slices.Contains(r.mounts, in) {
					t.Errorf("%s is nowhere mounted; the root file system is read-only: %q", in, r.mounts)
				}
			}
			if !slices.Contains(r.args, "--config=/etc/cc-key-server/config.yaml") || !slices.Contains(r.mounts, "/etc/cc-key-server") || !slices.Contains(r.mounts, "/run/cc-key-server") {
				t.Errorf("arguments %q, mounted is %q", r.args, r.mounts)
			}
		})
	}
	if checked < 4 {
		t.Errorf("only %d renders have a configuration", checked)
	}
}

// TestChartReload runs a server with what the chart makes, as the kubelet mounts it: an enclave is given its key, and another key
// and rule that take the place of those are in force without a restart.
func TestChartReload(t *testing.T) {
	r := renders(t)["stdout"]
	if r == nil || r.config == "" {
		t.Fatal("there is no render with its audit log on standard output")
	}
	w := newWorld(t)
	w.interval, w.stdout = 10*time.Millisecond, &logBuffer{}
	changes := []string{
		":4433", "127.0.0.1:0", "127.0.0.1:9433", "127.0.0.1:0", ":9434", "127.0.0.1:0",
		"https://pccs.simulation.svc:8081", w.url, "7de5000000000000000000000000000000000000000000000000000000000001", hex.EncodeToString(w.identity.MRENCLAVE[:]),
	}
	p := w.runFile(r.mount(w, "1", canary[:], changes...))
	s := p.waitForState(t, func(s *State) bool { return s.Health != "" })
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, path := range []string{"/healthz", "/readyz"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Health+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	key := func() ([]byte, error) {
		d, err := provision(t, &sgxsim.Enclave{Quoter: w.platform.Quoter(w.identity), Servers: s.Listen, CA: w.ca})
		if err != nil {
			return nil, err
		}
		return d.Secret, nil
	}
	if got, err := key(); err != nil || !bytes.Equal(got, canary[:]) {
		t.Fatalf("the enclave is given %x, %v", got, err)
	}
	other := []byte("another wrap key")
	r.mount(w, "2", other, changes...)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if got, err := key(); err == nil && bytes.Equal(got, other) {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("after another key was mounted the enclave is given %x, %v", got, err)
		}
	}
	r.mount(w, "3", other, append([]string{"allow_debug: true", "allow_debug: false"}, changes...)...)
	again := p.waitForState(t, func(now *State) bool { return now.ConfigSHA256 != s.ConfigSHA256 })
	if again.PID != s.PID || !again.Started.Equal(s.Started) || again.Listen != s.Listen {
		t.Errorf("it was restarted: %+v, before %+v", again, s)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if report, err := audit.Verify(strings.NewReader(w.stdout.String()), audit.VerifyOptions{}); err != nil || report.Events["release"] < 2 || report.Events["config"] < 3 {
		t.Errorf("standard output as an audit log: %+v, %v", report, err)
	}
	checkNoCanary(t, "standard output", w.stdout.String()+w.log.String())
}

// TestChartKnowsTheConfiguration: what a user may write under config in the chart's values is what the server reads, no more and
// no less, beside what the chart writes itself. Who adds a field to the configuration decides here where it goes.
func TestChartKnowsTheConfiguration(t *testing.T) {
	raw, err := os.ReadFile("../../deploy/cc-keyserver/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	type schema struct {
		Properties map[string]schema
		Items      *schema
		Enum       []string
	}
	var root schema
	if err := json.Unmarshal(raw, &root); err != nil {
		t.Fatal(err)
	}
	config := root.Properties["config"]
	rule := config.Properties["rules"].Items
	if rule == nil {
		t.Fatal("the schema has no rules")
	}
	for _, tt := range []struct {
		what   string
		fields any
		at     schema
		own    []string // written by the chart, or not offered by it
	}{
		// Keys of Vault and KMS come by a CSI driver there: the server has no identity of its own in the cluster.
		{"the configuration", Config{}, config, []string{"listen", "tls", "secrets", "audit", "admin", "health", "allow_trusted_root", "vault", "alibaba_cloud"}},
		{"collateral", CollateralConfig{}, config.Properties["collateral"], []string{"ca", "bundle", "cache_dir"}},
		{"a rule", RuleConfig{}, *rule, nil},
		{"tcb", TCBConfig{}, rule.Properties["tcb"], nil},
		{"attributes", AttributesConfig{}, rule.Properties["attributes"], nil},
		{"misc_select", MiscSelectConfig{}, rule.Properties["misc_select"], nil},
		{"limits", LimitsConfig{}, config.Properties["limits"], []string{"drain_timeout"}},
	} {
		var want []string
		for field := range reflect.TypeOf(tt.fields).Fields() {
			if name, _, _ := strings.Cut(field.Tag.Get("yaml"), ","); name != "" && !slices.Contains(tt.own, name) {
				want = append(want, name)
			}
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(tt.at.Properties))); diff != "" {
			t.Errorf("fields of %s (-server +chart):\n%s", tt.what, diff)
		}
	}
	var statuses []string
	for _, s := range dcap.Statuses() {
		if s != dcap.StatusRevoked {
			statuses = append(statuses, string(s))
		}
	}
	got := slices.Clone(rule.Properties["tcb"].Properties["accept"].Items.Enum)
	slices.Sort(got)
	slices.Sort(statuses)
	if diff := cmp.Diff(statuses, got); diff != "" {
		t.Errorf("statuses that can be accepted (-server +chart):\n%s", diff)
	}
	if want := fmt.Sprint(EncodingRaw, " ", EncodingHex); strings.Join(root.Properties["secrets"].Items.Properties["encoding"].Enum, " ") != want {
		t.Errorf("encodings are not %s", want)
	}
}
