package deploy

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
)

var tlsTestTime = time.Date(2026, 11, 23, 12, 30, 15, 0, time.UTC)

func tlsTestSpec(dir string) TLSSpec {
	return TLSSpec{
		Directory: dir, ServerNames: []string{"grpc.tf-serving.service.com", "10.0.0.1"}, ClientName: "client.tf-serving.service.com",
		FurtherClients: []string{"batch.example.com"}, Lifetime: tlsmaterials.DefaultLifetime, SSLConfig: true, RenewBefore: 720 * time.Hour,
	}
}

// createTLS makes a set and returns what a state would keep of it.
func createTLS(t *testing.T, spec TLSSpec) *tlsmaterials.Materials {
	t.Helper()
	m, err := CreateTLSMaterials(spec, tlsTestTime, false)
	if err != nil {
		t.Fatal(err)
	}
	return tlsRecord(m)
}

// tlsRecord forgets the private keys.
func tlsRecord(m *tlsmaterials.Materials) *tlsmaterials.Materials {
	r := *m
	r.Authority.Key, r.TrustedKey = tlsmaterials.PrivateKey{}, tlsmaterials.PrivateKey{}
	r.Leaves = slices.Clone(m.Leaves)
	for i := range r.Leaves {
		r.Leaves[i].Key = tlsmaterials.PrivateKey{}
	}
	return &r
}

// snapshot reads a tree: path to content.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		files[filepath.ToSlash(rel)] = string(data)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return files
}

// changedFiles lists what differs between two snapshots.
func changedFiles(before, after map[string]string) []string {
	var names []string
	for name := range before {
		if after[name] != before[name] {
			names = append(names, name)
		}
	}
	for name := range after {
		if _, ok := before[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func problemList(problems []TLSProblem) []string {
	var list []string
	for _, p := range problems {
		list = append(list, p.String())
	}
	return list
}

func deployErr(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

var allTLSFiles = []string{
	"ca_cert.pem", "ca_key.pem", "client/cert.pem", "client/key.pem", "clients/batch.example.com/cert.pem", "clients/batch.example.com/key.pem",
	"server/cert.pem", "server/key.pem", "ssl.cfg",
}

func TestCreateTLSMaterials(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "ssl_configure")
	record := createTLS(t, tlsTestSpec(dir))
	if diff := cmp.Diff(allTLSFiles, slices.Sorted(maps.Keys(snapshot(t, dir)))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		switch {
		case d.IsDir():
			want = 0o700
		case strings.HasSuffix(path, "cert.pem"):
			want = 0o644
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if rest := existing(filepath.Dir(dir), []string{"ssl_configure"}); len(rest) != 1 {
		t.Error("the directory is not there")
	}
	if entries, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(entries) != 1 {
		t.Errorf("%v remain beside the directory (%v)", entries, err)
	}

	o := ObserveTLSMaterials(dir, record)
	if diff := cmp.Diff([]string(nil), problemList(o.Problems)); diff != "" || o.Absent || len(o.Exposed) > 0 {
		t.Errorf("absent %t, exposed %v, problems (-want +got):\n%s", o.Absent, o.Exposed, diff)
	}
	read, findings, err := ReadTLSMaterials(dir)
	if err != nil {
		t.Fatal(err)
	}
	if findings = append(findings, read.Check(tlsTestTime)...); len(findings) > 0 {
		t.Errorf("findings: %v", findings)
	}
}

func TestCreateTLSMaterialsRefusesToOverwrite(t *testing.T) {
	dir := t.TempDir()
	spec := tlsTestSpec(dir)
	if err := os.WriteFile(filepath.Join(dir, "README"), []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	createTLS(t, spec) // beside other files
	before := snapshot(t, dir)

	_, err := CreateTLSMaterials(spec, tlsTestTime, false)
	if !errors.Is(err, fs.ErrExist) || !strings.Contains(deployErr(err), "create TLS materials in "+dir+": file already exists: ca_key.pem, ca_cert.pem, server/key.pem,") {
		t.Errorf("error %v", err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "server")); err != nil {
		t.Fatal(err)
	}
	if _, err = CreateTLSMaterials(spec, tlsTestTime, false); !errors.Is(err, fs.ErrExist) || strings.Contains(err.Error(), "server/") {
		t.Errorf("error %v", err)
	}
	delete(before, "server/key.pem")
	delete(before, "server/cert.pem")
	if changed := changedFiles(before, snapshot(t, dir)); len(changed) > 0 {
		t.Errorf("the refusals changed %v", changed)
	}

	m, err := CreateTLSMaterials(spec, tlsTestTime, true)
	if err != nil {
		t.Fatal(err)
	}
	if o := ObserveTLSMaterials(dir, tlsRecord(m)); len(o.Problems) > 0 {
		t.Errorf("problems after replacing: %v", o.Problems)
	}
	if snapshot(t, dir)["README"] != "mine" {
		t.Error("a foreign file was changed")
	}
}

// TestCreateTLSMaterialsLosesRaces has several processes create the same set: one wins, the others change nothing.
func TestCreateTLSMaterialsLosesRaces(t *testing.T) {
	for _, exists := range []bool{false, true} {
		parent := t.TempDir()
		dir := filepath.Join(parent, "tls")
		if exists {
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		var wg sync.WaitGroup
		results := make([]*tlsmaterials.Materials, 8)
		for i := range results {
			wg.Go(func() { results[i], _ = CreateTLSMaterials(tlsTestSpec(dir), tlsTestTime, false) })
		}
		wg.Wait()
		winners := slices.DeleteFunc(results, func(m *tlsmaterials.Materials) bool { return m == nil })
		if len(winners) != 1 {
			t.Fatalf("directory exists %t: %d winners", exists, len(winners))
		}
		if o := ObserveTLSMaterials(dir, tlsRecord(winners[0])); len(o.Problems) > 0 {
			t.Errorf("directory exists %t: problems %v", exists, o.Problems)
		}
		if entries, err := os.ReadDir(parent); err != nil || len(entries) != 1 {
			t.Errorf("directory exists %t: left over: %v (%v)", exists, entries, err)
		}
	}
}

func TestCreateTLSMaterialsAllOrNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "clients"), nil, 0o600); err != nil { // where a directory has to be
		t.Fatal(err)
	}
	for _, replace := range []bool{false, true} {
		if _, err := CreateTLSMaterials(tlsTestSpec(dir), tlsTestTime, replace); err == nil {
			t.Error("no error")
		}
		if diff := cmp.Diff(map[string]string{"clients": ""}, snapshot(t, dir)); diff != "" {
			t.Errorf("replace %t: left behind (-want +got):\n%s", replace, diff)
		}
	}
}

func TestTLSSpecErrors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*TLSSpec)
		want   string
	}{
		{"good", func(*TLSSpec) {}, ""},
		{"one-way", func(s *TLSSpec) { s.ClientName, s.FurtherClients = "", nil }, ""},
		{"further clients only", func(s *TLSSpec) { s.ClientName = "" }, ""},
		{"no directory", func(s *TLSSpec) { s.Directory = "" }, "no directory is given"},
		{"no names", func(s *TLSSpec) { s.ServerNames = nil }, "no server name: give the name by which clients reach the server"},
		{"bad client", func(s *TLSSpec) { s.ClientName = "a_b" }, `client name "a_b": an underscore is not allowed in a host name; use a hyphen`},
		{"bad further client", func(s *TLSSpec) { s.FurtherClients = []string{".."} }, `client name "..": names in certificates have no final dot: write ""`},
		{"client twice, wrongly", func(s *TLSSpec) { s.FurtherClients = []string{"_", "_"} }, "client name \"_\": an underscore is not allowed in a host name; use a hyphen\nclient name \"_\": an underscore is not allowed in a host name; use a hyphen\nclient name \"_\" is given twice"},
		{"client twice", func(s *TLSSpec) { s.FurtherClients = []string{"x", s.ClientName} }, `client name "client.tf-serving.service.com" is given twice`},
		{"further client twice", func(s *TLSSpec) { s.FurtherClients = []string{"x", "y", "x"} }, `client name "x" is given twice`},
		{"outlives", func(s *TLSSpec) { s.Lifetime, s.AuthorityLifetime = 48*time.Hour, 24*time.Hour }, "certificates valid for 48h would outlive their authority, which is valid for 24h\ncertificates valid for 48h cannot be renewed 720h before they end"},
		{"renewal", func(s *TLSSpec) { s.Lifetime = 90 * time.Minute; s.RenewBefore = 90 * time.Minute }, "certificates valid for 1h30m cannot be renewed 1h30m before they end"},
	} {
		spec := tlsTestSpec("d")
		tt.change(&spec)
		if got := deployErr(spec.Validate()); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	spec := tlsTestSpec(filepath.Join(t.TempDir(), "x"))
	spec.ServerNames = []string{"_"}
	if _, err := CreateTLSMaterials(spec, tlsTestTime, false); !strings.Contains(deployErr(err), `: server name "_": an underscore`) {
		t.Errorf("create: %v", err)
	}
	if _, err := os.Stat(spec.Directory); err == nil {
		t.Error("the directory was made for an invalid set")
	}
}

// TestUpdateTLSMaterials plans and carries out one change after another damage or wish, and looks at which files change,
// whether the result is sound, and whether the plan is empty afterwards.
func TestUpdateTLSMaterials(t *testing.T) {
	const month = 30 * 24 * time.Hour
	for _, tt := range []struct {
		name    string
		damage  func(t *testing.T, dir string)
		wish    func(*TLSSpec)
		after   time.Duration
		changed []string // files that differ at the end from what they were before the damage
		reasons []string
		repair  []string
	}{
		{name: "nothing"},
		{name: "further from its end than the window", after: tlsmaterials.DefaultLifetime - month - time.Minute},
		{
			name: "near its end", after: tlsmaterials.DefaultLifetime - month + time.Minute,
			changed: slices.DeleteFunc(slices.Clone(allTLSFiles), func(f string) bool { return strings.HasPrefix(f, "ca_") }),
			reasons: []string{
				"the server needs a certificate: the present one ends on 2027-11-23T12:30:15Z",
				"the client needs a certificate: the present one ends on 2027-11-23T12:30:15Z",
				"client batch.example.com needs a certificate: the present one ends on 2027-11-23T12:30:15Z",
			},
		},
		{
			name: "near its end, to be renewed elsewhere", after: tlsmaterials.DefaultLifetime - month + time.Minute,
			damage:  func(t *testing.T, dir string) { rm(t, dir, "ca_key.pem") },
			wish:    func(s *TLSSpec) { s.IgnoreMissing = true },
			changed: []string{"ca_key.pem"},
		},
		{
			name: "server names", wish: func(s *TLSSpec) { s.ServerNames = []string{"new.example.com"} },
			changed: []string{"server/cert.pem", "server/key.pem", "ssl.cfg"}, reasons: []string{"the server needs a certificate: its names change"},
		},
		{name: "server names in another order", wish: func(s *TLSSpec) { slices.Reverse(s.ServerNames) }},
		{
			name: "client name", wish: func(s *TLSSpec) { s.ClientName = "new.example.com" },
			changed: []string{"client/cert.pem", "client/key.pem"}, reasons: []string{"the client needs a certificate: its names change"},
		},
		{
			name: "another further client", wish: func(s *TLSSpec) { s.FurtherClients = []string{"z.example.com", "batch.example.com"} },
			changed: []string{"clients/z.example.com/cert.pem", "clients/z.example.com/key.pem"},
			reasons: []string{"client z.example.com needs a certificate: it is new"},
		},
		{
			name: "further client gone", wish: func(s *TLSSpec) { s.FurtherClients = nil },
			changed: []string{"clients/batch.example.com/cert.pem", "clients/batch.example.com/key.pem"},
		},
		{
			name: "one-way", wish: func(s *TLSSpec) { s.ClientName, s.FurtherClients = "", nil },
			changed: []string{"client/cert.pem", "client/key.pem", "clients/batch.example.com/cert.pem", "clients/batch.example.com/key.pem", "ssl.cfg"},
		},
		{name: "no ssl.cfg", wish: func(s *TLSSpec) { s.SSLConfig = false }, changed: []string{"ssl.cfg"}},
		{
			name: "lifetime", wish: func(s *TLSSpec) { s.Lifetime = 1000 * time.Hour },
			changed: slices.DeleteFunc(slices.Clone(allTLSFiles), func(f string) bool { return strings.HasPrefix(f, "ca_") }),
			reasons: []string{
				"the server needs a certificate: its lifetime changes", "the client needs a certificate: its lifetime changes",
				"client batch.example.com needs a certificate: its lifetime changes",
			},
		},
		{
			name: "server key missing", damage: func(t *testing.T, dir string) { rm(t, dir, "server/key.pem") },
			changed: []string{"server/cert.pem", "server/key.pem", "ssl.cfg"}, repair: []string{"server/key.pem: missing"},
			reasons: []string{"the server needs a certificate: server/key.pem is missing"},
		},
		{
			name: "client key is another", damage: func(t *testing.T, dir string) { cp(t, dir, "server/key.pem", "client/key.pem") },
			changed: []string{"client/cert.pem", "client/key.pem"}, repair: []string{"client/key.pem: changed: it is not the key of the certificate *"},
			reasons: []string{"the client needs a certificate: client/key.pem is changed"},
		},
		{
			name: "certificates missing", damage: func(t *testing.T, dir string) { rm(t, dir, "ca_cert.pem"); rm(t, dir, "server/cert.pem") },
			repair: []string{"ca_cert.pem: missing", "server/cert.pem: missing"},
		},
		{
			name: "certificate is another", damage: func(t *testing.T, dir string) { cp(t, dir, "client/cert.pem", "server/cert.pem") },
			repair: []string{"server/cert.pem: changed: it holds the certificate * until 2027-11-23T12:30:15Z, not the certificate * until 2027-11-23T12:30:15Z"},
		},
		{
			name: "authorities are others", damage: func(t *testing.T, dir string) { appendTo(t, dir, "ca_cert.pem", "client/cert.pem") },
			repair: []string{"ca_cert.pem: changed: it holds the certificate * and 1 more, not the certificate *"},
		},
		{
			name: "ssl.cfg damaged", damage: func(t *testing.T, dir string) { put(t, dir, "ssl.cfg", "server_key: 'x") },
			repair: []string{"ssl.cfg: changed: parse ssl.cfg: line 1: field server_key: the string has no closing quote"},
		},
		{
			name: "ssl.cfg empty", damage: func(t *testing.T, dir string) { put(t, dir, "ssl.cfg", "") },
			repair: []string{"ssl.cfg: changed: server_key: parse private key: found no PEM block"},
		},
		{
			name: "key empty", damage: func(t *testing.T, dir string) { put(t, dir, "clients/batch.example.com/key.pem", "") },
			changed: []string{"clients/batch.example.com/cert.pem", "clients/batch.example.com/key.pem"},
			repair:  []string{"clients/batch.example.com/key.pem: changed: parse private key: found no PEM block"},
			reasons: []string{"client batch.example.com needs a certificate: clients/batch.example.com/key.pem is changed"},
		},
		{
			name: "a renewal that crashed halfway", // new key, old certificate
			damage: func(t *testing.T, dir string) {
				key, err := tlsmaterials.GenerateKey(tlsmaterials.ECDSAP256)
				if err != nil {
					t.Fatal(err)
				}
				put(t, dir, "server/key.pem", string(key.PEM()))
			},
			changed: []string{"server/cert.pem", "server/key.pem", "ssl.cfg"}, repair: []string{"server/key.pem: changed: it is not the key of the certificate *"},
			reasons: []string{"the server needs a certificate: server/key.pem is changed"},
		},
		{
			name: "authority's key elsewhere, nothing to issue", damage: func(t *testing.T, dir string) { rm(t, dir, "ca_key.pem"); rm(t, dir, "ssl.cfg") },
			changed: []string{"ca_key.pem"}, repair: []string{"ssl.cfg: missing"},
		},
		{
			name: "missing files ignored", damage: func(t *testing.T, dir string) { rm(t, dir, "server/key.pem"); rm(t, dir, "client/cert.pem") },
			wish: func(s *TLSSpec) { s.IgnoreMissing = true }, changed: []string{"client/cert.pem", "server/key.pem"},
		},
		{
			name: "missing files ignored while another changes", damage: func(t *testing.T, dir string) { rm(t, dir, "server/key.pem"); rm(t, dir, "ssl.cfg") },
			wish:    func(s *TLSSpec) { s.IgnoreMissing = true; s.ClientName = "new.example.com" },
			changed: []string{"client/cert.pem", "client/key.pem", "server/key.pem", "ssl.cfg"},
			reasons: []string{"the client needs a certificate: its names change"},
		},
		{
			name: "ssl.cfg needs the missing key", damage: func(t *testing.T, dir string) { rm(t, dir, "server/key.pem") },
			wish: func(s *TLSSpec) { s.IgnoreMissing = true; s.ClientName, s.FurtherClients = "", nil },
			changed: []string{
				"client/cert.pem", "client/key.pem", "clients/batch.example.com/cert.pem", "clients/batch.example.com/key.pem",
				"server/cert.pem", "server/key.pem", "ssl.cfg",
			},
			reasons: []string{"the server needs a certificate: ssl.cfg has to be written, and server/key.pem is not here"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "tls")
			spec := tlsTestSpec(dir)
			record := createTLS(t, spec)
			before := snapshot(t, dir)
			if tt.damage != nil {
				tt.damage(t, dir)
			}
			if tt.wish != nil {
				tt.wish(&spec)
			}
			at := tlsTestTime.Add(tt.after)

			o := ObserveTLSMaterials(dir, record)
			c, err := PlanTLSMaterials(spec, tlsTestSpec(dir), o, at)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.reasons, c.Reasons); diff != "" {
				t.Errorf("reasons (-want +got):\n%s", diff)
			}
			matchLines(t, "problems", tt.repair, problemList(o.Repairable(spec.IgnoreMissing)))
			m, err := UpdateTLSMaterials(spec, c, o, at)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.changed, changedFiles(before, snapshot(t, dir))); diff != "" {
				t.Errorf("changed files (-want +got):\n%s", diff)
			}

			again := ObserveTLSMaterials(dir, tlsRecord(m))
			if left := again.Repairable(spec.IgnoreMissing); len(left) > 0 {
				t.Errorf("problems afterwards: %v", left)
			}
			for _, f := range c.Write {
				if !slices.Contains(tt.changed, f) && !slices.Contains(c.Repair, f) {
					t.Errorf("the plan announces %s, which did not change", f)
				}
			}
			for _, f := range tt.changed {
				if _, still := snapshot(t, dir)[f]; still && !slices.Contains(c.Write, f) {
					t.Errorf("%s changed, which the plan does not announce", f)
				}
			}
			if findings := again.Set.Check(at); len(findings) > 0 {
				t.Errorf("findings afterwards: %v", findings)
			}
			c, err = PlanTLSMaterials(spec, spec, again, at)
			if err != nil || !c.Empty() {
				t.Errorf("the next plan has %+v, %v", c, err)
			}
		})
	}
}

func TestKeyAlgorithmChanges(t *testing.T) {
	spec := tlsTestSpec(filepath.Join(t.TempDir(), "tls"))
	spec.FurtherClients = nil
	o := ObserveTLSMaterials(spec.Directory, createTLS(t, spec))
	spec.KeyAlgorithm = tlsmaterials.RSA3072
	c, err := PlanTLSMaterials(spec, TLSSpec{}, o, tlsTestTime)
	if err != nil {
		t.Fatal(err)
	}
	m, err := UpdateTLSMaterials(spec, c, o, tlsTestTime)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range m.Leaves {
		if got := tlsmaterials.KeyAlgorithmOf(l.Certificate); got != "rsa-3072" {
			t.Errorf("%s has %s", l.Place, got)
		}
	}
	if got := tlsmaterials.KeyAlgorithmOf(m.Authority.Certificate); got != "ecdsa-p256" {
		t.Errorf("the authority has %s", got) // it keeps its key: peers trust it
	}
}

func TestRenewalStopsWithTheAuthority(t *testing.T) {
	spec := tlsTestSpec(filepath.Join(t.TempDir(), "tls"))
	spec.Lifetime, spec.AuthorityLifetime, spec.RenewBefore = 48*time.Hour, 48*time.Hour, time.Hour
	o := ObserveTLSMaterials(spec.Directory, createTLS(t, spec))
	at := tlsTestTime.Add(47*time.Hour + time.Minute)
	c, err := PlanTLSMaterials(spec, spec, o, at)
	if err != nil || !c.Empty() { // a new leaf would end with the authority, as the present one does
		t.Errorf("plan %+v, %v", c, err)
	}
	if TLSRenewalDue(o.Set, spec.RenewBefore, at) {
		t.Error("renewal is due although it gains nothing")
	}
}

func TestPlanTLSMaterialsErrors(t *testing.T) {
	for _, tt := range []struct {
		name, summary, want, remedy string
		damage                      func(t *testing.T, dir string)
		wish                        func(*TLSSpec)
		after                       time.Duration
	}{
		{
			name: "authority's key missing", damage: func(t *testing.T, dir string) { rm(t, dir, "ca_key.pem"); rm(t, dir, "server/key.pem") },
			summary: "Authority's private key missing",
			want:    "issue certificates in DIR: the authority's private key is not at hand (the server needs a certificate: server/key.pem is missing)",
			remedy:  "Restore ca_key.pem",
		},
		{
			name: "authority's key is another", damage: func(t *testing.T, dir string) { cp(t, dir, "client/key.pem", "ca_key.pem") },
			wish:    func(s *TLSSpec) { s.ServerNames = []string{"new.example.com"} },
			summary: "Authority's private key missing",
			want:    "issue certificates in DIR: the authority's private key is not at hand (the server needs a certificate: its names change)",
		},
		{
			name: "all gone", damage: func(t *testing.T, dir string) { rm(t, dir, "") },
			summary: "Authority's private key missing", want: "(the server needs a certificate: server/key.pem is missing; the client needs", remedy: "on_missing = \"ignore\"",
		},
		{
			name: "near its end", after: tlsmaterials.DefaultLifetime - time.Hour, damage: func(t *testing.T, dir string) { rm(t, dir, "ca_key.pem") },
			summary: "Authority's private key missing", want: "(the server needs a certificate: the present one ends on 2027-11-23T12:30:15Z; the client",
		},
		{
			name: "ended, to be renewed elsewhere", after: tlsmaterials.DefaultLifetime + time.Second, damage: func(t *testing.T, dir string) { rm(t, dir, "ca_key.pem") },
			wish:    func(s *TLSSpec) { s.IgnoreMissing = true },
			summary: "Authority's private key missing", want: "(the server needs a certificate: the present one ends on 2027-11-23T12:30:15Z; the client",
		},
		{
			name: "authority ended", after: tlsmaterials.DefaultAuthorityLifetime + time.Hour, wish: func(s *TLSSpec) { s.ServerNames = []string{"new.example.com"} },
			summary: "Certificate authority not usable", want: "issue certificates in DIR: the authority ended on 2031-11-22T12:30:15Z (", remedy: "hand out the new ca_cert.pem",
		},
		{
			name: "unreadable key in the way", damage: func(t *testing.T, dir string) { rm(t, dir, "server/key.pem"); mkdir(t, dir, "server/key.pem") },
			wish:    func(s *TLSSpec) { s.ServerNames = []string{"new.example.com"} },
			summary: "TLS materials unreadable", want: "read server/key.pem in DIR: not a regular file but d---------", remedy: "Make the file readable, or move it away.",
		},
		{
			name: "unreadable authority's key", damage: func(t *testing.T, dir string) { put(t, dir, "ca_key.pem", strings.Repeat("x", maxTLSFile+1)) },
			wish:    func(s *TLSSpec) { s.ServerNames = []string{"new.example.com"} },
			summary: "TLS materials unreadable", want: "read ca_key.pem in DIR: 1048577 bytes found, want at most 1048576",
		},
		{
			name: "unreadable ssl.cfg", damage: func(t *testing.T, dir string) { rm(t, dir, "ssl.cfg"); mkdir(t, dir, "ssl.cfg") },
			wish:    func(s *TLSSpec) { s.ServerNames = []string{"new.example.com"} },
			summary: "TLS materials unreadable", want: "read ssl.cfg in DIR: not a regular file",
		},
		{name: "bad wish", wish: func(s *TLSSpec) { s.ServerNames = nil }, want: "plan TLS materials in DIR: no server name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "tls")
			spec := tlsTestSpec(dir)
			record := createTLS(t, spec)
			if tt.damage != nil {
				tt.damage(t, dir)
			}
			if tt.wish != nil {
				tt.wish(&spec)
			}
			before := snapshot(t, dir)
			c, err := PlanTLSMaterials(spec, TLSSpec{}, ObserveTLSMaterials(dir, record), tlsTestTime.Add(tt.after))
			if c != nil || !strings.Contains(strings.ReplaceAll(deployErr(err), dir, "DIR"), tt.want) {
				t.Fatalf("%+v, %v, want %q", c, err, tt.want)
			}
			var known *Error
			if tt.summary != "" && (!errors.As(err, &known) || known.Summary != tt.summary || !strings.Contains(known.Remedy, tt.remedy)) {
				t.Errorf("summary %q, remedy %q", known.Summary, known.Remedy)
			}
			if changed := changedFiles(before, snapshot(t, dir)); len(changed) > 0 {
				t.Errorf("planning changed %v", changed)
			}
		})
	}
}

// TestUnreadableIsNotMissing: what nobody needs to touch may stay as it is, and is reported.
func TestUnreadableIsNotMissing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	spec := tlsTestSpec(dir)
	record := createTLS(t, spec)
	rm(t, dir, "client/key.pem")
	mkdir(t, dir, "client/key.pem")
	o := ObserveTLSMaterials(dir, record)
	if diff := cmp.Diff([]string{"client/key.pem: unreadable: not a regular file but d---------"}, problemList(o.Problems)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if c, err := PlanTLSMaterials(spec, TLSSpec{}, o, tlsTestTime); err != nil || !c.Empty() {
		t.Errorf("plan %+v, %v", c, err)
	}
}

func TestObserveExposedKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	record := createTLS(t, tlsTestSpec(dir))
	for _, f := range []string{"server/key.pem", "ssl.cfg", "server/cert.pem"} {
		if err := os.Chmod(filepath.Join(dir, f), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"server/key.pem", "ssl.cfg"}, ObserveTLSMaterials(dir, record).Exposed); diff != "" {
		t.Errorf("exposed (-want +got):\n%s", diff)
	}
}

// TestReplaceIsPrepared makes one of the files impossible to write and expects that none changes.
func TestReplaceIsPrepared(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	spec := tlsTestSpec(dir)
	record := createTLS(t, spec)
	rm(t, dir, "client")
	put(t, dir, "client", "a file where a directory has to be")
	before := snapshot(t, dir)
	o := ObserveTLSMaterials(dir, record)
	o.Problems = nil // as if it had happened just now
	spec.ServerNames, spec.ClientName = []string{"new.example.com"}, "new.example.com"
	c, err := PlanTLSMaterials(spec, TLSSpec{}, o, tlsTestTime)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := UpdateTLSMaterials(spec, c, o, tlsTestTime); !strings.Contains(deployErr(err), "update TLS materials in "+dir+": ") {
		t.Errorf("error %v", err)
	}
	if changed := changedFiles(before, snapshot(t, dir)); len(changed) > 0 {
		t.Errorf("changed %v", changed)
	}
}

func TestRemoveTLSMaterials(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	record := createTLS(t, tlsTestSpec(dir))
	left, err := RemoveTLSMaterials(dir, ObserveTLSMaterials(dir, record))
	if err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory is still there (%v)", err)
	}
	if left, err = RemoveTLSMaterials(dir, ObserveTLSMaterials(dir, record)); err != nil || len(left) > 0 {
		t.Errorf("removing twice: left %v, %v", left, err)
	}
}

func TestRemoveTLSMaterialsLeavesForeignFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	record := createTLS(t, tlsTestSpec(dir))
	put(t, dir, "server/notes.txt", "mine")
	cp(t, dir, "server/key.pem", "client/key.pem")
	put(t, dir, "ssl.cfg", "# mine")
	left, err := RemoveTLSMaterials(dir, ObserveTLSMaterials(dir, record))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"ssl.cfg", "client/key.pem"}, left); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"client/key.pem", "server/notes.txt", "ssl.cfg"}, slices.Sorted(maps.Keys(snapshot(t, dir)))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if existing := existing(dir, []string{"clients"}); len(existing) > 0 {
		t.Error("an empty directory stays")
	}
}

func TestMoveTLSMaterials(t *testing.T) {
	from := filepath.Join(t.TempDir(), "tls")
	to := filepath.Join(t.TempDir(), "deep", "tls")
	record := createTLS(t, tlsTestSpec(from))
	before := snapshot(t, from)

	mkdir(t, to, "server")
	put(t, to, "server/key.pem", "in the way")
	if err := MoveTLSMaterials(from, to, ObserveTLSMaterials(from, record)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff(map[string]string{"server/key.pem": "in the way"}, snapshot(t, to)); diff != "" {
		t.Errorf("the refused move left (-want +got):\n%s", diff)
	}
	rm(t, to, "")
	if err := MoveTLSMaterials(from, to, ObserveTLSMaterials(from, record)); err != nil {
		t.Fatal(err)
	}
	if changed := changedFiles(before, snapshot(t, to)); len(changed) > 0 {
		t.Errorf("moving changed %v", changed)
	}
	if _, err := os.Stat(from); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old directory is still there (%v)", err)
	}
	rm(t, to, "server/key.pem")
	if err := MoveTLSMaterials(to, from, ObserveTLSMaterials(to, record)); !strings.Contains(deployErr(err), "the set is not complete: server/key.pem: missing") {
		t.Errorf("error %v", err)
	}
}

func TestReadTLSMaterialsErrors(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ name, dir, want string }{
		{"absent", filepath.Join(dir, "none"), "none: no such file or directory"},
		{"empty", dir, ": none of the files is there (ca_cert.pem, server/cert.pem, ...)"},
	} {
		if _, _, err := ReadTLSMaterials(tt.dir); !strings.Contains(deployErr(err), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	mkdir(t, dir, "ssl.cfg")
	if _, _, err := ReadTLSMaterials(dir); !strings.HasSuffix(deployErr(err), ": ssl.cfg: not a regular file but d---------") {
		t.Errorf("directory: %v", err)
	}
}

func rm(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := atomicfile.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func cp(t *testing.T, dir, from, to string) {
	t.Helper()
	put(t, dir, to, get(t, dir, from))
}

func appendTo(t *testing.T, dir, to, from string) {
	t.Helper()
	put(t, dir, to, get(t, dir, to)+get(t, dir, from))
}

// matchLines compares lines, in which "*" of want stands for anything.
func matchLines(t *testing.T, what string, want, got []string) {
	t.Helper()
	if len(want) != len(got) {
		t.Errorf("%s: got %q, want %q", what, got, want)
		return
	}
	for i := range want {
		rest := got[i]
		for j, part := range strings.Split(want[i], "*") {
			k := strings.Index(rest, part)
			if k < 0 || j == 0 && k != 0 {
				t.Errorf("%s: got %q, want %q", what, got[i], want[i])
				break
			}
			rest = rest[k+len(part):]
		}
	}
}
