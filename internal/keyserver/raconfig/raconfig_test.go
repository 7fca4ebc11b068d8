package raconfig

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
)

var (
	enclave = "7de5" + strings.Repeat("1", 60)
	signer  = "B11A" + strings.Repeat("2", 60)
)

// sample is as the tutorial has it: numbers are strings.
var sample = `{ "verify_mr_enclave": "on", "verify_mr_signer": "on", "verify_isv_prod_id": "on", "verify_isv_svn": "on",
  "mrs": [ { "mr_enclave": "` + enclave + `", "mr_signer": "` + signer + `", "isv_prod_id": "0", "isv_svn": "0" } ] }`

// accepted checks that the YAML is a part of a good configuration, and returns its rules.
func accepted(t *testing.T, r *Result) []keyserver.RuleConfig {
	t.Helper()
	text, err := r.YAML()
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := keyserver.ParseConfig(append([]byte(`
listen: ":4433"
tls: { certificate: server.pem, private_key: server-key.pem }
collateral: { region: cn-beijing }
secrets: [{ name: model, file: wrap-key }]
`), text...), "/")
	if err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return cfg.Rules
}

func TestImport(t *testing.T) {
	const always = 3 // warnings that every import has, with isv_svn on
	edit := func(from, to string) string { return strings.Replace(sample, from, to, 1) }
	off := func(names ...string) string {
		text := sample
		for _, name := range names {
			text = strings.Replace(text, `"`+name+`": "on"`, `"`+name+`": "off"`, 1)
		}
		return text
	}
	for _, tt := range []struct {
		name, file string
		rule       string // of the one rule
		warning    string // beside those of every import
	}{
		{"the sample", sample, "enclave signer prod 0 svn 0", ""},
		{"enclave alone", off("verify_mr_signer", "verify_isv_prod_id", "verify_isv_svn"), "enclave", ""},
		{"signer alone", off("verify_mr_enclave"), "signer prod 0 svn 0", ""},
		{"numbers", edit(`"isv_prod_id": "0"`, `"isv_prod_id": 7`), "enclave signer prod 7 svn 0", ""},
		{"numbers in strings", edit(`"isv_prod_id": "0"`, `"isv_prod_id": "7"`), "enclave signer prod 7 svn 0", "mrs[0].isv_prod_id is a string, which the old server read as 0: the rule says 7"},
		{"signer without product", strings.Replace(off("verify_mr_enclave", "verify_isv_prod_id"), `"isv_prod_id": "0"`, `"isv_prod_id": 3`, 1), "signer prod 3 svn 0", "mrs[0].isv_prod_id was not checked, and a signer alone vouches for all it ever signed: the rule says 3"},
		{"true", edit(`"verify_mr_signer": "on"`, `"verify_mr_signer": true`), "enclave signer prod 0 svn 0", "verify_mr_signer is true, which the old server took as off: taken as on"},
		{"ON", edit(`"verify_mr_signer": "on"`, `"verify_mr_signer": "ON"`), "enclave signer prod 0 svn 0", `verify_mr_signer is "ON", which the old server took as off: taken as on`},
		{"empty", edit(`"verify_mr_signer": "on"`, `"verify_mr_signer": ""`), "enclave signer prod 0 svn 0", `verify_mr_signer is "", which the old server took as on: taken as on`},
		{"one", edit(`"verify_mr_signer": "on"`, `"verify_mr_signer": "once"`), "enclave signer prod 0 svn 0", `verify_mr_signer is "once", which the old server took as on: taken as on`},
		{"missing switch", edit(`"verify_mr_signer": "on",`, ``), "enclave signer prod 0 svn 0", "verify_mr_signer is missing, on which the old server crashed: taken as on"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Import([]byte(tt.file), "model")
			if err != nil {
				t.Fatal(err)
			}
			rules := accepted(t, r)
			if len(rules) != 1 {
				t.Fatalf("%d rules", len(rules))
			}
			var got []string
			if rule := rules[0]; len(rule.MREnclave) == 1 && rule.MREnclave[0] == enclave {
				got = append(got, "enclave")
			}
			rule := rules[0]
			if len(rule.MRSigner) == 1 && rule.MRSigner[0] == strings.ToLower(signer) {
				got = append(got, "signer")
			}
			if rule.ISVProdID != nil {
				got = append(got, fmt.Sprintf("prod %d", *rule.ISVProdID))
			}
			if rule.MinISVSVN != nil {
				got = append(got, fmt.Sprintf("svn %d", *rule.MinISVSVN))
			}
			if s := strings.Join(got, " "); s != tt.rule {
				t.Errorf("the rule wants %s, want %s", s, tt.rule)
			}
			if rule.AllowDebug || rule.Secret != "model" {
				t.Errorf("rule %+v", rule)
			}
			all := strings.Join(r.Warnings, "\n")
			if !strings.Contains(all, tt.warning) || !strings.Contains(all, "debug enclaves") || !strings.Contains(all, "one key for everybody") {
				t.Errorf("warnings:\n%s\nwant %q", all, tt.warning)
			}
			if tt.warning == "" && len(r.Warnings) > always {
				t.Errorf("%d warnings:\n%s", len(r.Warnings), all)
			}
		})
	}
}

func TestImportRefuses(t *testing.T) {
	edit := func(from, to string) string { return strings.ReplaceAll(sample, from, to) }
	for _, tt := range []struct{ name, file, err string }{
		{"not JSON", "verify_mr_enclave: on", "read ra_config.json: invalid character"},
		{"empty", "", "read ra_config.json: EOF"},
		{"another file", `{"listen": ":4433"}`, `unknown field "listen"`},
		{"two objects", sample + sample, "something follows the JSON object"},
		{"no entries", edit(`"mrs"`, `"mrs2"`), `unknown field "mrs2"`},
		{"no list", `{"verify_mr_enclave": "on"}`, "it has no list mrs"},
		{"all off", edit(`"on"`, `"off"`), "all four switches are off, which released the key to every enclave of anybody"},
		{"numbers alone", strings.Replace(strings.Replace(sample, `"verify_mr_enclave": "on"`, `"verify_mr_enclave": "off"`, 1), `"verify_mr_signer": "on"`, `"verify_mr_signer": "off"`, 1), "a product id or version says nothing without a signer"},
		{"empty list", `{"verify_mr_enclave": "on", "mrs": []}`, "no rule can be made of it"},
		{"short measurement", edit(enclave, enclave[2:]), "mrs[0].mr_enclave is not 64 hex digits, of which the old server made another measurement"},
		{"long measurement", edit(enclave, enclave+enclave), "mrs[0].mr_enclave is not 64 hex digits"},
		{"zeros", edit(enclave, strings.Repeat("0", 64)), "mrs[0].mr_enclave is all zeros"},
		{"number too large", edit(`"isv_svn": "0"`, `"isv_svn": 65536`), "mrs[0].isv_svn is 65536, want a number from 0 to 65535"},
		{"no number", edit(`, "isv_svn": "0"`, ""), "mrs[0].isv_svn is missing, want a number"},
		{"negative number", edit(`"isv_svn": "0"`, `"isv_svn": -1`), "mrs[0].isv_svn is -1, want a number"},
	} {
		r, err := Import([]byte(tt.file), "model")
		if err == nil || r != nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.err)
		}
	}
}

func TestManyEntries(t *testing.T) {
	entry := `{ "mr_enclave": "%064x", "mr_signer": "` + signer + `", "isv_prod_id": 0, "isv_svn": 0 }`
	var entries []string
	for i := range 150 {
		entries = append(entries, fmt.Sprintf(entry, i)) // the first is all zeros
	}
	text := `{ "verify_mr_enclave": "on", "verify_mr_signer": "on", "verify_isv_prod_id": "on", "verify_isv_svn": "on", "mrs": [` + strings.Join(entries, ",") + "]}"
	r, err := Import([]byte(text), "model")
	if err != nil {
		t.Fatal(err)
	}
	if rules := accepted(t, r); len(rules) != 149 || rules[0].Name != "imported 2" {
		t.Errorf("%d rules", len(rules))
	}
	all := strings.Join(r.Warnings, "\n")
	if !strings.Contains(all, "the file has 150 entries, and the old server used the first 100 only") || !strings.Contains(all, "mrs[0].mr_enclave is all zeros") {
		t.Errorf("warnings:\n%s", all)
	}
}

func FuzzImport(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte(`{"verify_mr_enclave": t, "mrs": [{}]}`))
	f.Add([]byte(`{"verify_mr_enclave": 1, "mrs": [{"isv_svn": {}}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := Import(raw, "model")
		if err == nil {
			accepted(t, r)
		}
	})
}
