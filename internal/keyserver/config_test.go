package keyserver

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const (
	hexA = "7de5000000000000000000000000000000000000000000000000000000000001"
	hexB = "B11A000000000000000000000000000000000000000000000000000000000002"
)

// full uses every field there is.
const full = `
listen: ":4433"
tls: { certificate: server.pem, private_key: /etc/keys/server-key.pem }
collateral:
  region: cn-beijing
  network: vpc
  update: early
  cache_dir: cache
  max_age: 100h
secrets:
  - { name: resnet50, file: wrap-key, encoding: raw }
  - { name: old, file: ../wrap-key, encoding: hex, allow_readable_by_others: true }
  - { name: given, credential: wrap-key, form: hex }
  - { name: variable, environment: WRAP_KEY, form: base64 }
  - { name: printed, command: [/usr/bin/vault, read], form: base64, command_timeout: 5s, pass_environment: [VAULT_ADDR] }
rules:
  - name: tf-serving 2.6 on gramine
    mr_enclave: [` + hexA + `]
    mr_signer: [` + hexB + `]
    isv_prod_id: 0
    min_isv_svn: 65535
    server_name: [attestation.service.com, 192.0.2.7]
    tcb: { accept: [UpToDate, SWHardeningNeeded], accept_advisories: [INTEL-SA-00615], min_evaluation_number: 17 }
    allow_debug: true
    secret: resnet50
audit: { file: audit.log, checkpoint_key: audit.key, checkpoint_interval: 5m, checkpoint_file: ../checkpoint, rotate_size: 64MiB, copy_to_stdout: true }
admin: { listen: 127.0.0.1:9433 }
health: { listen: ":9434" }
limits: { unfinished_handshakes: 100, unfinished_per_address: 10, handshake_timeout: 1s, request_timeout: 2s, collateral_timeout: 3s, drain_timeout: 4s }
allow_trusted_root: root.pem
`

func ptr[T any](v T) *T { return &v }

func TestParseConfigReadsEveryField(t *testing.T) {
	got, err := ParseConfig([]byte(full), "/etc/cc")
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Listen:     ":4433",
		TLS:        TLSConfig{Certificate: "/etc/cc/server.pem", PrivateKey: "/etc/keys/server-key.pem"},
		Collateral: CollateralConfig{Region: "cn-beijing", Network: "vpc", Update: "early", CacheDir: "/etc/cc/cache", MaxAge: Duration(100 * time.Hour)},
		Secrets: []SecretConfig{
			{Name: "resnet50", File: "/etc/cc/wrap-key", Encoding: "raw"},
			{Name: "old", File: "/etc/wrap-key", Encoding: "hex", AllowReadableByOthers: true},
			{Name: "given", Credential: "wrap-key", Form: "hex", Encoding: "raw"},
			{Name: "variable", Environment: "WRAP_KEY", Form: "base64", Encoding: "raw"},
			{
				Name: "printed", Command: []string{"/usr/bin/vault", "read"}, Form: "base64", Encoding: "raw",
				CommandTimeout: Duration(5 * time.Second), PassEnvironment: []string{"VAULT_ADDR"},
			},
		},
		Rules: []RuleConfig{{
			Name: "tf-serving 2.6 on gramine", MREnclave: []string{hexA}, MRSigner: []string{hexB},
			ISVProdID: ptr[uint16](0), MinISVSVN: ptr[uint16](65535), ServerName: []string{"attestation.service.com", "192.0.2.7"},
			TCB:        TCBConfig{Accept: []string{"UpToDate", "SWHardeningNeeded"}, AcceptAdvisories: []string{"INTEL-SA-00615"}, MinEvaluationNumber: 17},
			AllowDebug: true, Secret: "resnet50",
		}},
		Audit:  &AuditConfig{File: "/etc/cc/audit.log", CheckpointKey: "/etc/cc/audit.key", CheckpointInterval: Duration(5 * time.Minute), CheckpointFile: "/etc/checkpoint", RotateSize: 64 << 20, CopyToStdout: true},
		Admin:  &AdminConfig{Listen: "127.0.0.1:9433"},
		Health: &HealthConfig{Listen: ":9434"},
		Limits: LimitsConfig{
			UnfinishedHandshakes: 100, UnfinishedPerAddress: 10, HandshakeTimeout: Duration(time.Second),
			RequestTimeout: Duration(2 * time.Second), CollateralTimeout: Duration(3 * time.Second), DrainTimeout: Duration(4 * time.Second),
		},
		AllowTrustedRoot: "/etc/cc/root.pem",
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Config{})); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	if len(got.Digest()) != 64 || got.Path() != "" {
		t.Errorf("digest %q, path %q", got.Digest(), got.Path())
	}
	wantWarnings := []string{
		"allow_trusted_root replaces Intel's root by /etc/cc/root.pem: quotes prove nothing about real hardware",
		`rule "tf-serving 2.6 on gramine" has allow_debug: the host of a debug enclave reads the key out of its memory`,
		`secret "old" has allow_readable_by_others: every user of this machine may read /etc/wrap-key`,
		`secret "old" is released by no rule`,
		`secret "given" is released by no rule`,
		`secret "variable" is released by no rule`,
		`secret "printed" is released by no rule`,
	}
	if diff := cmp.Diff(wantWarnings, got.Warnings()); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

// minimal is the shortest configuration there can be.
const minimal = `
listen: ":4433"
tls: { certificate: server.pem, private_key: server-key.pem }
collateral: { region: cn-beijing }
secrets: [{ name: model, file: wrap-key }]
rules: [{ name: r, mr_enclave: [` + hexA + `], tcb: { accept: [UpToDate] }, secret: model }]
`

func TestDefaultsAreStrict(t *testing.T) {
	got, err := ParseConfig([]byte(minimal), "/etc/cc")
	if err != nil {
		t.Fatal(err)
	}
	if got.Collateral.Network != "public" || time.Duration(got.Collateral.MaxAge) != 7*24*time.Hour || got.Secrets[0].Encoding != "raw" || got.Admin != nil {
		t.Errorf("defaults: %+v", got)
	}
	if diff := cmp.Diff(DefaultLimits(), got.Limits); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
	if w := got.Warnings(); len(w) != 0 {
		t.Errorf("the strict configuration is warned of: %q", w)
	}
	if r := got.Rules[0]; r.AllowDebug || got.AllowTrustedRoot != "" || got.Secrets[0].AllowReadableByOthers {
		t.Errorf("something is allowed by default: %+v", got)
	}
}

// TestMeasurementsOfDigitsAlone: YAML takes some strings of hex digits for numbers.
func TestMeasurementsOfDigitsAlone(t *testing.T) {
	for _, digits := range []string{
		strings.Repeat("1", 64), "0" + strings.Repeat("7", 63), strings.Repeat("1", 31) + "e" + strings.Repeat("2", 32), "0x" + strings.Repeat("1", 62),
	} {
		cfg, err := ParseConfig([]byte(strings.Replace(minimal, hexA, digits, 1)), "/")
		if strings.HasPrefix(digits, "0x") {
			if err == nil || !strings.Contains(err.Error(), "is not hexadecimal") {
				t.Errorf("%s: %v", digits, err)
			}
			continue
		}
		if err != nil || cfg.Rules[0].MREnclave[0] != digits {
			t.Errorf("%s is read as %v, error %v", digits, cfg, err)
		}
	}
}

// TestConfigProblems has a configuration with one mistake a row, and what is said of it.
func TestConfigProblems(t *testing.T) {
	const rule = "rules: [{ name: r, mr_enclave: [" + hexA + "], tcb: { accept: [UpToDate] }, secret: model }]"
	for _, tt := range []struct {
		name     string
		old, new string // replaced in minimal
		want     string // the problem
	}{
		{"no listen", `listen: ":4433"`, ``, `listen: is missing; write it as ":4433" or "192.0.2.7:4433"`},
		{"listen without port", `":4433"`, `"192.0.2.7"`, `listen: "192.0.2.7" is not host:port`},
		{"listen with a service name", `":4433"`, `":https"`, `listen: "https" is not a port number`},
		{"listen beyond ports", `":4433"`, `":65536"`, `listen: "65536" is not a port number`},
		{"no certificate", "certificate: server.pem, ", "", "tls.certificate: is missing; name the PEM file"},
		{"no private key", ", private_key: server-key.pem", "", "tls.private_key: is missing"},
		{"health checks without port", `listen: ":4433"`, "listen: \":4433\"\nhealth: { listen: 192.0.2.7 }", `health.listen: "192.0.2.7" is not host:port; write it as ":9434"`},
		{"health checks nowhere", `listen: ":4433"`, "listen: \":4433\"\nhealth: {}", `health.listen: is missing; write it as ":9434"`},
		{"no collateral", "collateral: { region: cn-beijing }", "", "collateral: has no source; give exactly one of region"},
		{"two sources", "region: cn-beijing", "region: cn-beijing, bundle: b.json", "collateral: has 2 sources; give exactly one of"},
		{"unknown region", "cn-beijing", "cn-bejing", `collateral.region: "cn-bejing" is not among ap-southeast-1`},
		{"unknown network", "region: cn-beijing", "region: cn-beijing, network: internet", `collateral.network: "internet" is not a network; write "public" or "vpc"`},
		{"network without region", "region: cn-beijing", "url: pccs.example.com, network: vpc", "collateral.network: goes with region only"},
		{"plain http", "region: cn-beijing", "url: http://pccs.example.com", "collateral.url: read collateral service URL"},
		{"old API", "region: cn-beijing", "url: https://pccs.example.com/sgx/certification/v3", "has been retired"},
		{"CA without URL", "region: cn-beijing", "region: cn-beijing, ca: ca.pem", "collateral.ca: goes with url only"},
		{"root CRL without URL", "region: cn-beijing", "region: cn-beijing, root_ca_crl_url: https://x/", "collateral.root_ca_crl_url: goes with url only"},
		{"unknown update", "region: cn-beijing", "region: cn-beijing, update: soon", `collateral.update: "soon" is not an update`},
		{"cache for a file", "region: cn-beijing", "bundle: b.json, cache_dir: c", "collateral.cache_dir: does not go with bundle"},
		{"bad duration", "region: cn-beijing", "region: cn-beijing, max_age: 7d", `line 4: "7d" is not a duration such as 10s, 5m or 168h`},
		{"negative duration", "region: cn-beijing", "region: cn-beijing, max_age: -1h", `duration "-1h" is not positive`},
		{"no secrets", "secrets: [{ name: model, file: wrap-key }]", "", "secrets: is empty"},
		{"secret without name", "{ name: model, file", "{ file", "secrets[0].name: is missing; give it a name"},
		{"secret with a strange name", "{ name: model, file", `{ name: "a\nb", file`, `secrets[0].name: "a\nb" is not a name`},
		{"secret without source", ", file: wrap-key", "", "secrets[0]: has no source; give exactly one of file, credential (systemd), environment, command"},
		{"secret with two sources", "file: wrap-key", "file: wrap-key, credential: wrap-key, environment: KEY", "secrets[0]: has 3 sources: file, credential, environment; give exactly one"},
		{"secret in an unknown form", "file: wrap-key", "file: wrap-key, form: pem", `secrets[0].form: "pem" is not a form of a key; write "raw" for 16 bytes`},
		{"credential with a path", "file: wrap-key", "credential: /run/wrap-key", `secrets[0].credential: "/run/wrap-key" is not a name of a credential`},
		{"key instead of a variable", "file: wrap-key", "environment: 63616e6172792d777261702d6b657921", "secrets[0].environment: is not a name of a variable; write the name of the variable and not its value"},
		{"raw in the environment", "file: wrap-key", "environment: KEY, form: raw", "secrets[0].form: cannot be raw in a variable"},
		{"command without path", "file: wrap-key", "command: [vault, read]", `secrets[0].command: "vault" is not an absolute path`},
		{"command in one string", "file: wrap-key", "command: /usr/bin/vault read", "line 5: "},
		{"timeout without command", "file: wrap-key", "file: wrap-key, command_timeout: 5s", "secrets[0].command_timeout: goes with command only"},
		{"variables without command", "file: wrap-key", "file: wrap-key, pass_environment: [A]", "secrets[0].pass_environment: goes with command only"},
		{"loosened command", "file: wrap-key", "command: [/bin/x], allow_readable_by_others: true", "secrets[0].allow_readable_by_others: goes with file only"},
		{"secret of no service", "file: wrap-key", "vault_kv: { path: a }", "secrets[0].vault_kv.mount: is missing"},
		{"wrapped secret without its file", "file: wrap-key", "vault_transit: { mount: transit, key: k }", "secrets[0].vault_transit.ciphertext_file: is missing"},
		{"secret of KMS without its file", "file: wrap-key", "alibaba_kms: {}", "secrets[0].alibaba_kms.ciphertext_file: is missing"},
		{"secret of two services", "file: wrap-key", "vault_kv: { mount: a, path: b }, alibaba_kms: { ciphertext_file: f }", "secrets[0]: has 2 sources: vault_kv, alibaba_kms; give exactly one"},
		{"form of a service's secret", "file: wrap-key", "form: hex, vault_kv: { mount: a, path: b }", "secrets[0].form: goes with file, credential, environment and command only; leave it out"},
		{"refresh of a file", "file: wrap-key", "file: wrap-key, refresh: 5m", "secrets[0].refresh: goes with command, vault_kv, vault_transit and alibaba_kms only"},
		{"refresh too often", "file: wrap-key", "vault_kv: { mount: a, path: b }, refresh: 10ms", "secrets[0].refresh: 10ms is too often; write 1s or more"},
		{"Vault for nobody", "rules:", "vault: { address: 'https://vault.example.com' }\nrules:", "vault: goes with vault_kv and vault_transit only; leave it out"},
		{"cloud for nobody", "rules:", "alibaba_cloud: { region: cn-beijing }\nrules:", "alibaba_cloud: goes with alibaba_kms only; leave it out"},
		{"secret in base64", "file: wrap-key", "file: wrap-key, encoding: base64", `secrets[0].encoding: "base64" is not an encoding; write "raw" for clients of Gramine 1.3 and later, "hex" for 1.0 to 1.2`},
		{"secret twice", "{ name: model, file: wrap-key }", "{ name: model, file: a }, { name: model, file: b }", `secrets[1].name: "model" is the name of secrets[0] too`},
		{"no rules", rule, "", "rules: is empty; add a rule; without one no enclave is ever given a key"},
		{"rule without name", "{ name: r, mr", "{ mr", "rules[0].name: is missing"},
		{"rule for everybody", "mr_enclave: [" + hexA + "], ", "", "rules[0]: has neither mr_enclave nor mr_signer, so it would release to anyone's enclave"},
		{"short measurement", hexA, hexA[:62], "rules[0].mr_enclave[0]: has 62 characters; write 64 hex digits"},
		{"status of advisories", "accept: [UpToDate]", "accept: [UpToDate], status_advisories: { Revoked: [INTEL-SA-00615] }",
			`rules[0].tcb.status_advisories.Revoked: "Revoked" cannot be accepted; remove it; no setting accepts a revoked platform`},
		{"advisory of a status", "accept: [UpToDate]", "accept: [UpToDate], status_advisories: { UpToDate: [SA-1] }",
			`rules[0].tcb.status_advisories.UpToDate[0]: "SA-1" is not an advisory; write it as INTEL-SA-00615`},
		{"family", "accept: [UpToDate]", "accept: [UpToDate], fmspc: [6A]", `rules[0].tcb.fmspc[0]: "6A" is not a family of platforms; write 12 hex digits`},
		{"denied family", "accept: [UpToDate]", "accept: [UpToDate], deny_fmspc: [6A]", `rules[0].tcb.deny_fmspc[0]: "6A" is not a family of platforms`},
		{"configuration", "name: r,", "name: r, config_id: abcd,", `rules[0].config_id: "abcd" is not that; write 128 hex digits`},
		{"product", "name: r,", "name: r, isv_ext_prod_id: abcd,", `rules[0].isv_ext_prod_id: "abcd" is not that; write 32 hex digits`},
		{"product family", "name: r,", "name: r, isv_family_id: zz,", `rules[0].isv_family_id: "zz" is not that; write 32 hex digits`},
		{"flags beyond the mask", "name: r,", "name: r, attributes: { flags: 7, flags_mask: 5 },",
			"rules[0].attributes.flags: 0x7 has bits that its mask, 0x5, leaves out, so that no enclave would match; set them in the mask too, or clear them"},
		{"XFRM beyond the mask", "name: r,", "name: r, attributes: { xfrm: 1 },", "rules[0].attributes.xfrm: 0x1 has bits that its mask, 0x0, leaves out"},
		{"MISCSELECT beyond the mask", "name: r,", "name: r, misc_select: { value: 1 },", "rules[0].misc_select.value: 0x1 has bits that its mask, 0x0, leaves out"},
		{"measurement not hex", hexA, "x" + hexA[1:], "is not hexadecimal; write 64 hex digits"},
		{"measurement of zeros", hexA, strings.Repeat("0", 64), "rules[0].mr_enclave[0]: is all zeros, which no enclave has"},
		{"measurement twice", "[" + hexA + "]", "[" + hexA + ", " + strings.ToUpper(hexA) + "]", "rules[0].mr_enclave[1]: is the same as mr_enclave[0]; remove one"},
		{"signer alone", "mr_enclave: [" + hexA + "]", "mr_signer: [" + hexB + "], min_isv_svn: 1", "rules[0].isv_prod_id: is missing; a signer's key signs many enclaves"},
		{"signer without SVN", "mr_enclave: [" + hexA + "]", "mr_signer: [" + hexB + "], isv_prod_id: 1", "rules[0].min_isv_svn: is missing"},
		{"product id too large", "mr_enclave:", "isv_prod_id: 65536, mr_enclave:", "cannot construct !!int `65536` into uint16"},
		{"product id of text", "mr_enclave:", "isv_prod_id: one, mr_enclave:", "cannot construct !!str `one` into uint16"},
		{"server name with port", "mr_enclave:", "server_name: ['a.example.com:4433'], mr_enclave:", `rules[0].server_name[0]: "a.example.com:4433" is not a host name; write one host name as`},
		{"server name pattern", "mr_enclave:", "server_name: ['*.example.com'], mr_enclave:", `"*.example.com" is not a host name`},
		{"no statuses", "tcb: { accept: [UpToDate] }, ", "", "rules[0].tcb.accept: is empty; list statuses, for example [UpToDate, SWHardeningNeeded]; the Ice Lake machines of Alibaba Cloud's g7t"},
		{"unknown status", "[UpToDate]", "[uptodate]", `rules[0].tcb.accept[0]: "uptodate" is not a TCB status; write one of UpToDate, SWHardeningNeeded, ConfigurationNeeded`},
		{"revoked", "[UpToDate]", "[UpToDate, Revoked]", `rules[0].tcb.accept[1]: "Revoked" cannot be accepted; remove it; no setting accepts a revoked platform`},
		{"status twice", "[UpToDate]", "[UpToDate, UpToDate]", `rules[0].tcb.accept[1]: "UpToDate" is listed twice`},
		{"unknown advisory", "accept: [UpToDate]", "accept: [UpToDate], accept_advisories: [SA-00615]", `rules[0].tcb.accept_advisories[0]: "SA-00615" is not an advisory; write it as INTEL-SA-00615`},
		{"no secret", ", secret: model }", " }", "rules[0].secret: is missing; name one of secrets"},
		{"unknown secret", "secret: model", "secret: Model", `rules[0].secret: "Model" is not among secrets`},
		{"audit without file", "secrets:", "audit: {}\nsecrets:", "audit.file: is missing; name the file of the audit log"},
		{"checkpoint file without key", "secrets:", "audit: { file: a, checkpoint_file: c }\nsecrets:", "audit.checkpoint_file: does nothing without checkpoint_key"},
		{"tiny files", "secrets:", "audit: { file: a, rotate_size: 1KiB }\nsecrets:", "audit.rotate_size: would make too many files; write 64KiB or more"},
		{"size without unit", "secrets:", "audit: { file: a, rotate_size: 1000000 }\nsecrets:", `"1000000" is not a size such as 512KiB, 64MiB or 1GiB`},
		{"size with another unit", "secrets:", "audit: { file: a, rotate_size: 64MB }\nsecrets:", `"64MB" is not a size`},
		{"checkpoints without key", "secrets:", "audit: { file: a, checkpoint_interval: 1h }\nsecrets:", "audit.checkpoint_interval: does nothing without checkpoint_key"},
		{"admin for the world", "secrets:", "admin: { listen: ':9433' }\nsecrets:", `admin.listen: "" is not a loopback address; write it as "127.0.0.1:9433"`},
		{"admin without port", "secrets:", "admin: { listen: '127.0.0.1' }\nsecrets:", `admin.listen: "127.0.0.1" is not host:port`},
		{"admin on an address", "secrets:", "admin: { listen: '192.0.2.7:9433' }\nsecrets:", `admin.listen: "192.0.2.7" is not a loopback address`},
		{"admin with half of TLS", "secrets:", "admin: { listen: ':9433', tls: { certificate: a, private_key: b } }\nsecrets:", "admin.tls.client_ca: is missing; name the PEM file of the CA whose clients may look"},
		{"admin with a pattern for names", "secrets:", "admin: { listen: '127.0.0.1:9433', server_names: ['*.example.com'] }\nsecrets:", `admin.server_names[0]: "*.example.com" is not a host name; write one host name, without port`},
		{"negative limit", "secrets:", "limits: { unfinished_handshakes: -1 }\nsecrets:", "limits.unfinished_handshakes: -1 is not between 1 and 1048576"},
		{"limit for one above limit for all", "secrets:", "limits: { unfinished_handshakes: 5, unfinished_per_address: 6 }\nsecrets:", "limits.unfinished_per_address: 6 is not between 1 and unfinished_handshakes, which is 5"},
		{"unknown key", "secrets:", "allow_everything: true\nsecrets:", "line 5: field allow_everything not found"},
		{"unknown key deep down", "accept: [UpToDate]", "accept: [UpToDate], allow_outdated: true", "field allow_outdated not found"},
		{"repeated key", "secrets:", "listen: ':1'\nsecrets:", "mapping key \"listen\" already defined"},
		{"repeated key deep down", "mr_enclave:", "allow_debug: false, allow_debug: true, mr_enclave:", "mapping key \"allow_debug\" already defined"},
		{"text for a switch", "mr_enclave:", "allow_debug: 'false', mr_enclave:", "into bool"},
		{"not YAML", "listen:", "listen: [", "did not find expected"},
		{"two documents", "secrets:", "---\nsecrets:", "expected single document"},
		{"empty", minimal, " \n", "the file is empty"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(minimal, tt.old, tt.new, 1)
			if text == minimal {
				t.Fatalf("%q is not in the configuration", tt.old)
			}
			cfg, err := ParseConfig([]byte(text), "/etc/cc")
			var problems *ConfigError
			if cfg != nil || !errors.As(err, &problems) {
				t.Fatalf("configuration %v, error %v", cfg, err)
			}
			// A secret without its name leads to a rule without its secret.
			if len(problems.Problems) > 1 && problems.Problems[1].Field == "rules[0].secret" && problems.Problems[0].Field == "secrets[0].name" {
				problems.Problems = problems.Problems[:1]
			}
			if len(problems.Problems) != 1 || !strings.Contains(problems.Problems[0].String(), tt.want) {
				t.Errorf("problems:\n%v\nwant:\n%s", err, tt.want)
			}
		})
	}
}

func TestAllProblemsAreToldAtOnce(t *testing.T) {
	_, err := ParseConfig([]byte("listen: x\nrules: [{}]\n"), "/")
	want := `check configuration: 10 problems
  listen: "x" is not host:port; write it as ":4433" or "192.0.2.7:4433"
  tls.certificate: is missing; name the PEM file of the server's certificate chain
  tls.private_key: is missing; name the PEM file of the server's private key
  collateral: has no source; give exactly one of region (Alibaba Cloud), url (any PCS or PCCS), bundle (a file)
  secrets: is empty; name a secret and where its wrap key is
  rules[0].name: is missing; give it a name; the log will use it
  rules[0]: has neither mr_enclave nor mr_signer, so it would release to anyone's enclave; give mr_enclave, mr_signer, or both ('ccctl sigstruct inspect FILE --as-policy' reads them from Gramine's .sig file)
  rules[0].tcb.accept: is empty; list statuses, for example [UpToDate, SWHardeningNeeded]; the Ice Lake machines of Alibaba Cloud's g7t, c7t and r7t families are at best SWHardeningNeeded with INTEL-SA-00615
  rules[0].secret: is missing; name one of secrets`
	want = strings.Replace(want, "10 problems", "9 problems", 1)
	if err == nil || err.Error() != want {
		t.Errorf("error:\n%v\nwant:\n%s", err, want)
	}
	_, err = ParseConfig([]byte("a: 1\nb: 2\nlisten: [x]\n"), "/")
	var problems *ConfigError
	if !errors.As(err, &problems) || len(problems.Problems) != 3 || problems.Problems[2].Line != 3 {
		t.Errorf("what the parser finds: %v", err)
	}
}

func TestLoadConfig(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "server.yaml")
	if _, err := LoadConfig(file); !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "read configuration: open ") {
		t.Errorf("missing file: %v", err)
	}
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(minimal)
	cfg, err := LoadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Path() != file || cfg.TLS.Certificate != filepath.Join(dir, "server.pem") {
		t.Errorf("path %q, certificate %q", cfg.Path(), cfg.TLS.Certificate)
	}
	write("listen: x\n")
	if _, err := LoadConfig(file); err == nil || !strings.HasPrefix(err.Error(), "check configuration "+file+": 6 problems\n") {
		t.Errorf("bad file: %v", err)
	}
	write(strings.Repeat("#", maxConfig+1))
	if _, err := LoadConfig(file); err == nil || !strings.Contains(err.Error(), "it is longer than 4194304 bytes") {
		t.Errorf("huge file: %v", err)
	}
	// Relative paths are relative to the file, not to the working directory.
	t.Chdir(dir)
	write(minimal)
	if cfg, err = LoadConfig("server.yaml"); err != nil || cfg.TLS.Certificate != filepath.Join(dir, "server.pem") {
		t.Errorf("from its own directory: %v, error %v", cfg, err)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(minimal))
	f.Add([]byte("listen: x\nrules: [{}]\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		cfg, err := ParseConfig(raw, "/etc/cc")
		if (cfg == nil) == (err == nil) {
			t.Fatalf("configuration %v, error %v", cfg, err)
		}
		if err != nil {
			_ = err.Error()
			return
		}
		if _, err := NewRules(cfg); err != nil {
			t.Fatalf("a good configuration does not compile: %v", err)
		}
	})
}
