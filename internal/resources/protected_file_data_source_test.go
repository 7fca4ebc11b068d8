package resources_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

const protectedFileAddr = "data.cc_protected_file.f"

func protectedFileConfig(file string, arguments ...string) string {
	config := "data \"cc_protected_file\" \"f\" {\n  file = " + quote(file) + "\n"
	for _, a := range arguments {
		config += "  " + a + "\n"
	}
	return config + "}\n"
}

func reads(name string, value knownvalue.Check) statecheck.StateCheck {
	return statecheck.ExpectKnownValue(protectedFileAddr, tfjsonpath.New(name), value)
}

func TestProtectedFileDataSource(t *testing.T) {
	t.Parallel()
	f := newEFile(t)
	f.make(protectedfile.FormatV2, false)
	key := "wrap_key_file = " + quote(f.keyFile)
	header := []statecheck.StateCheck{
		reads("id", knownvalue.StringExact(f.dst)),
		reads("format", knownvalue.Int64Exact(2)),
		reads("minor_version", knownvalue.Int64Exact(0)),
		reads("pending", knownvalue.Bool(false)),
		reads("encrypted_size", knownvalue.Int64Exact(16384)),
		reads("min_plaintext_size", knownvalue.Int64Exact(3072+4096+1)),
		reads("max_plaintext_size", knownvalue.Int64Exact(3072+2*4096)),
		reads("header_sha256", knownvalue.StringRegexp(regexp.MustCompile(`^[0-9a-f]{64}$`))),
		reads("warnings", knownvalue.ListSizeExact(0)),
	}
	with := func(checks ...statecheck.StateCheck) []statecheck.StateCheck { return append(checks, header...) }
	metadata := func(authenticated string) []statecheck.StateCheck {
		return with(
			reads("authenticated", knownvalue.StringExact(authenticated)),
			reads("path", knownvalue.StringExact("models/1/saved_model.pb")),
			reads("key_id", knownvalue.StringExact(f.key.Fingerprint())),
			reads("plaintext_size", knownvalue.Int64Exact(8000)),
			reads("data_nodes", knownvalue.Int64Exact(2)),
			reads("hash_nodes", knownvalue.Int64Exact(1)),
		)
	}
	raw := mustRead(t, f.dst)
	accept(t,
		resource.TestStep{Config: protectedFileConfig(f.dst), ConfigStateChecks: with(
			reads("authenticated", knownvalue.StringExact("nothing")), reads("path", knownvalue.Null()),
			reads("key_id", knownvalue.Null()), reads("plaintext_size", knownvalue.Null()),
		)},
		resource.TestStep{Config: protectedFileConfig(f.dst, key), ConfigStateChecks: metadata("metadata")},
		resource.TestStep{Config: protectedFileConfig(f.dst, key, `enclave_path = "./models/1//saved_model.pb"`), ConfigStateChecks: metadata("metadata")},
		resource.TestStep{Config: protectedFileConfig(f.dst, key, `verify = "full"`), ConfigStateChecks: metadata("everything")},
		resource.TestStep{ // what is not authenticated is told of
			PreConfig: func() {
				odd := append([]byte(nil), raw...)
				odd[9] = 7
				mustWrite(t, f.dst, append(odd, make([]byte, 4096)...), 0o600)
			},
			Config: protectedFileConfig(f.dst, key),
			ConfigStateChecks: []statecheck.StateCheck{
				reads("minor_version", knownvalue.Int64Exact(7)),
				reads("warnings", knownvalue.ListExact([]knownvalue.Check{
					knownvalue.StringRegexp(regexp.MustCompile(`the minor version is 7`)), knownvalue.StringRegexp(regexp.MustCompile(`1 unused nodes follow`)),
				})),
			},
		},
		resource.TestStep{ // damage behind the metadata shows with "full" alone
			PreConfig: func() {
				bad := append([]byte(nil), raw...)
				bad[len(bad)-1] ^= 1
				mustWrite(t, f.dst, bad, 0o600)
			},
			Config: protectedFileConfig(f.dst, key), ConfigStateChecks: metadata("metadata"),
		},
		resource.TestStep{Config: protectedFileConfig(f.dst, key, `verify = "full"`), ExpectError: says("data node 1 (node 3) at offset 12288: the authentication tag does not match")},
	)
	other := newKey(t)
	otherKey := filepath.Join(f.dir, "other.key")
	mustWrite(t, otherKey, other[:], 0o600)
	rejects(t, []rejection{
		{"missing", protectedFileConfig(f.dst + "x"), "Could not inspect " + f.dst + "x: no such file"},
		{"plaintext", protectedFileConfig(f.src), "bad magic: it does not start with GRAFS_PF"},
		{"no key", protectedFileConfig(f.dst, `wrap_key_file = "none.key"`), "Could not read wrap key none.key: no such file"},
		{"other key", protectedFileConfig(f.dst, "wrap_key_file = "+quote(otherKey)), "the wrap key is another one than the file was encrypted with"},
		{"other path", protectedFileConfig(f.dst, key, `enclave_path = "models/2/saved_model.pb"`), `it was encrypted for the path "models/1/saved_model.pb", not`},
		{"path without key", protectedFileConfig(f.dst, `enclave_path = "x"`), `Attribute "wrap_key_file" must be specified when "enclave_path" is specified`},
		{"verify without key", protectedFileConfig(f.dst, `verify = "full"`), `Attribute "wrap_key_file" must be specified when "verify" is specified`},
		{"verify", protectedFileConfig(f.dst, key, `verify = "none"`), `value must be one of "metadata", "full"`},
	})
}

func TestProtectedFileCanary(t *testing.T) {
	t.Parallel()
	f := newEFile(t)
	f.make(protectedfile.FormatV1, true)
	canary{
		Config: protectedFileConfig(f.dst, "wrap_key_file = "+quote(f.keyFile), `verify = "full"`) + `
resource "terraform_data" "use" { input = data.cc_protected_file.f.path }
`,
		Planted: "models/1/saved_model.pb",
		Secrets: func(t *testing.T, _ string) map[string][]byte {
			secrets := map[string][]byte{"wrap key": f.key[:], "plaintext": []byte("a model a model a model")}
			for name, sum := range digests(mustRead(t, f.src)) {
				secrets[name] = sum
			}
			return secrets
		},
	}.hunt(t)
}

func TestPFInfoFunction(t *testing.T) {
	t.Parallel()
	f := newEFile(t)
	f.make(protectedfile.FormatV2, false)
	config := func(file string) string {
		return fmt.Sprintf("output \"info\" { value = provider::cc::pf_info(filebase64(%s)) }\n", quote(file))
	}
	marked := filepath.Join(f.dir, "marked.pf")
	raw := mustRead(t, f.dst)
	raw[58] = 0x81
	mustWrite(t, marked, raw, 0o600)
	info := func(name string, value knownvalue.Check) statecheck.StateCheck {
		return statecheck.ExpectKnownOutputValueAtPath("info", tfjsonpath.New(name), value)
	}
	accept(t,
		resource.TestStep{Config: config(f.dst), ConfigStateChecks: []statecheck.StateCheck{
			info("format", knownvalue.Int64Exact(2)), info("minor_version", knownvalue.Int64Exact(0)), info("pending", knownvalue.Bool(false)),
			info("encrypted_size", knownvalue.Int64Exact(16384)), info("nodes", knownvalue.Int64Exact(4)),
			info("min_plaintext_size", knownvalue.Int64Exact(7169)), info("max_plaintext_size", knownvalue.Int64Exact(11264)),
			info("header_sha256", knownvalue.StringRegexp(regexp.MustCompile(`^[0-9a-f]{64}$`))), info("warnings", knownvalue.ListSizeExact(0)),
		}},
		resource.TestStep{Config: config(marked), ConfigStateChecks: []statecheck.StateCheck{
			info("pending", knownvalue.Bool(true)), info("warnings", knownvalue.ListSizeExact(1)),
		}},
		resource.TestStep{Config: config(f.src), ExpectError: says("read protected file: header at offset 0: bad magic")},
		resource.TestStep{Config: `output "info" { value = provider::cc::pf_info("no base64!") }`, ExpectError: says(`not base64; use filebase64("FILE")`)},
	)
	if err := os.Truncate(f.dst, 5000); err != nil {
		t.Fatal(err)
	}
	accept(t, resource.TestStep{Config: config(f.dst), ExpectError: says("the last 904 of 5000 bytes are no whole node of 4096")})
}
