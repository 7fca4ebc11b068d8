package resources_test

import (
	"crypto/md5"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

func output(expression string) string {
	return "output \"o\" {\n  value     = " + expression + "\n  sensitive = true\n}\n"
}

// evaluates expects an expression to have a value.
func evaluates(t *testing.T, expression, want string) {
	t.Helper()
	accept(t, resource.TestStep{
		Config:            output(expression),
		ConfigStateChecks: []statecheck.StateCheck{statecheck.ExpectKnownOutputValue("o", knownvalue.StringExact(want))},
	})
}

func fileBase64(file string) string { return "filebase64(" + quote(file) + ")" }

func TestMeasurementFunctions(t *testing.T) {
	t.Parallel()
	file := sigstructFile(t, "v19_release.sig", nil)
	evaluates(t, "provider::cc::mrenclave("+fileBase64(file)+")", releaseMRENCLAVE)
	evaluates(t, "provider::cc::mrsigner("+fileBase64(file)+")", vectorsMRSIGNER)

	modulus := mustRead(t, file)[128:512]
	slices.Reverse(modulus)
	spki, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: 3})
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "signer.pem")
	mustWrite(t, key, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}), 0o600)
	evaluates(t, "provider::cc::mrsigner(file("+quote(key)+"))", vectorsMRSIGNER)
}

func TestMeasurementFunctionsReject(t *testing.T) {
	t.Parallel()
	forged := fileBase64(sigstructFile(t, "v19_release.sig", func(b []byte) { b[1100] ^= 1 }))
	rejects(t, []rejection{
		{"forged", output("provider::cc::mrenclave(" + forged + ")"), `Invalid value for "sigstruct" parameter: verify SIGSTRUCT: q1 at offset 1040: found another value`},
		{"forged signer", output("provider::cc::mrsigner(" + forged + ")"), `Invalid value for "source" parameter: verify SIGSTRUCT: q1`},
		{"not base64", output(`provider::cc::mrenclave("enclave.sig")`), "give the file as filebase64 reads it"},
		{"not a SIGSTRUCT", output(`provider::cc::mrenclave("AAAA")`), "parse SIGSTRUCT: SIGSTRUCT at offset 0: found 3 bytes, want 1808 bytes"},
		{"private key", output(`provider::cc::mrsigner("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n")`), "found the private key: give the public half"},
	})
}

// tlsParts writes a set's parts to files and returns their expressions.
func tlsParts(t *testing.T) (m *tlsmaterials.Materials, key, certificate, ca string) {
	t.Helper()
	authority, err := tlsmaterials.NewAuthority(tlsmaterials.AuthorityRequest{At: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	m = &tlsmaterials.Materials{Authority: *authority, SSLConfig: true}
	for place, name := range map[tlsmaterials.Place]string{tlsmaterials.ServerPlace: "a.example.com", tlsmaterials.ClientPlace: "b.example.com"} {
		pair, err := authority.Issue(tlsmaterials.LeafRequest{Usage: place.Usage, Names: []string{name}, At: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		m.Set(place, *pair)
	}
	dir := t.TempDir()
	files, err := m.Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		mustWrite(t, tlsFile(dir, f.Path), f.Data, 0o600)
	}
	read := func(name string) string { return "file(" + inDir(dir, name) + ")" }
	return m, read(tlsmaterials.ServerKeyFile), read(tlsmaterials.ServerCertificateFile), read(tlsmaterials.AuthorityCertificateFile)
}

func TestSSLConfigFunction(t *testing.T) {
	t.Parallel()
	m, key, certificate, ca := tlsParts(t)
	twoWay, err := m.MarshalSSLConfig()
	if err != nil {
		t.Fatal(err)
	}
	m.Leaves = m.Leaves[:1]
	oneWay, err := m.MarshalSSLConfig()
	if err != nil {
		t.Fatal(err)
	}
	call := func(last string) string {
		return fmt.Sprintf("provider::cc::ssl_config(%s, %s, %s)", key, certificate, last)
	}
	evaluates(t, call(ca), string(twoWay))
	evaluates(t, call("null"), string(oneWay))
	evaluates(t, call(`""`), string(oneWay))
}

func TestSSLConfigFunctionRejects(t *testing.T) {
	t.Parallel()
	_, key, certificate, ca := tlsParts(t)
	_, otherKey, _, _ := tlsParts(t)
	call := func(args ...string) string {
		return output("provider::cc::ssl_config(" + strings.Join(args, ", ") + ")")
	}
	rejects(t, []rejection{
		{"keys swapped", call(otherKey, certificate, ca), "write ssl.cfg: server_key is not the private key of server_cert"},
		{"path for content", call(key, `"server/cert.pem"`, ca), "server_cert: parse certificate: PEM block 1: found other text"},
		{"leaf for authority", call(key, certificate, certificate), "custom_ca: CN=a.example.com is not a certificate authority"},
	})
}

// TestFunctionsOfEphemeralValues gives every function an ephemeral value and its result to a write-only argument: the
// digest of each result is the wrap key of a file, which then has to open under it. State and plan have neither.
func TestFunctionsOfEphemeralValues(t *testing.T) {
	t.Parallel()
	m, key, certificate, ca := tlsParts(t)
	config, err := m.MarshalSSLConfig()
	if err != nil {
		t.Fatal(err)
	}
	q, f := newQuoteFixture(t, nil), newEFile(t)
	f.make(protectedfile.FormatV1, true)
	header, err := deploy.InspectEncryptedFile(f.dst)
	if err != nil {
		t.Fatal(err)
	}
	mrenclave := make([]byte, 32)
	mrenclave[0] = 0xab
	inputs := map[string][]byte{
		"sigstruct": mustRead(t, sigstructFile(t, "v19_release.sig", nil)), "quote": mustRead(t, q.path("quote.bin")), "file": mustRead(t, f.dst), "key": mustRead(t, strings.Trim(strings.TrimPrefix(key, "file("), `")`)),
	}
	functions := map[string]struct{ call, want string }{
		"mrenclave":  {"provider::cc::mrenclave(var.sigstruct)", releaseMRENCLAVE},
		"mrsigner":   {"provider::cc::mrsigner(var.sigstruct)", vectorsMRSIGNER},
		"quote_info": {"provider::cc::quote_info(var.quote).mr_enclave", hex.EncodeToString(mrenclave)},
		"pf_info":    {"provider::cc::pf_info(var.file).header_sha256", hex.EncodeToString(header.Digest[:])},
		"ssl_config": {fmt.Sprintf("provider::cc::ssl_config(base64decode(var.key), %s, %s)", certificate, ca), string(config)},
	}
	var text strings.Builder
	for name, value := range inputs {
		fmt.Fprintf(&text, "variable %q {\n  type      = string\n  ephemeral = true\n  default   = %q\n}\n", name, base64.StdEncoding.EncodeToString(value))
	}
	for name, f := range functions {
		fmt.Fprintf(&text, `
resource "cc_encrypted_file" %[1]q {
  source              = %[2]s
  destination         = %[3]s
  enclave_path        = %[1]q
  wrap_key_wo         = md5(%[4]s)
  wrap_key_wo_version = 1
}
`, name, quote(q.path("quote.bin")), quote(q.path(name+".pf")), f.call)
	}
	accept(t,
		resource.TestStep{Config: text.String(), Check: func(s *terraform.State) error {
			for name, f := range functions {
				key := protectedfile.Key(md5.Sum([]byte(f.want)))
				if _, err := deploy.OpenFile(q.path(name+".pf"), key, protectedfile.ReaderOptions{Path: name}); err != nil {
					t.Errorf("%s has another value: %v", name, err)
				}
				if form := findSecret([]byte(s.String()), key[:]); form != "" {
					t.Errorf("what came of %s is in the state, as %s", name, form)
				}
			}
			return nil
		}},
		resource.TestStep{Config: text.String(), ConfigPlanChecks: emptyPlan()},
	)
	// What would keep the result is refused by Terraform itself.
	text.WriteString("output \"o\" { value = " + functions["ssl_config"].call + " }\n")
	rejects(t, []rejection{{"output", text.String(), "Error: Ephemeral value not allowed"}})
}
