package resources_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
)

// sigstructVectors is where the .sig files made by Gramine's own code are.
var sigstructVectors = filepath.Join("..", "sgxcrypto", "sigstruct", "testdata")

const (
	releaseMRENCLAVE = "c5fdab96e816d4297c42de243d9e09d258ee0a0a2243c59736aab323b40eb027"
	vectorsMRSIGNER  = "7e399d344882e71414c1adf915299a5c2ad4c41abde409a29bce66622e863583"
)

// sigstructFile copies a vector into a directory of the test and may change a byte of it.
func sigstructFile(t *testing.T, name string, change func([]byte)) string {
	t.Helper()
	data := mustRead(t, filepath.Join(sigstructVectors, name))
	if change != nil {
		change(data)
	}
	file := filepath.Join(t.TempDir(), name)
	mustWrite(t, file, data, 0o600)
	return file
}

func sigstructConfig(file string) string {
	return "data \"cc_sigstruct\" \"e\" {\n  file = " + quote(file) + "\n}\n"
}

func TestSigstructDataSource(t *testing.T) {
	t.Parallel()
	const addr = "data.cc_sigstruct.e"
	check := func(values map[string]knownvalue.Check) []statecheck.StateCheck {
		var checks []statecheck.StateCheck
		for name, value := range values {
			checks = append(checks, statecheck.ExpectKnownValue(addr, tlsAttribute(name), value))
		}
		return checks
	}
	accept(t,
		resource.TestStep{
			Config: sigstructConfig(sigstructFile(t, "v19_release.sig", nil)),
			ConfigStateChecks: check(map[string]knownvalue.Check{
				"id":         knownvalue.StringExact(releaseMRENCLAVE),
				"mr_enclave": knownvalue.StringExact(releaseMRENCLAVE), "mr_signer": knownvalue.StringExact(vectorsMRSIGNER),
				"isv_prod_id": knownvalue.Int64Exact(0), "isv_svn": knownvalue.Int64Exact(0),
				"debug": knownvalue.Bool(false), "allows_debug": knownvalue.Bool(false),
				"xfrm": knownvalue.StringExact("0000000000000003"), "misc_select": knownvalue.StringExact("00000000"),
				"signed_on": knownvalue.StringExact("2024-05-31"), "warnings": knownvalue.ListSizeExact(0),
			}),
		},
		resource.TestStep{
			Config: sigstructConfig(sigstructFile(t, "v19_debug.sig", nil)),
			ConfigStateChecks: check(map[string]knownvalue.Check{
				"isv_prod_id": knownvalue.Int64Exact(7), "isv_svn": knownvalue.Int64Exact(2),
				"debug": knownvalue.Bool(true), "allows_debug": knownvalue.Bool(true), "warnings": knownvalue.ListSizeExact(1),
			}),
		},
		resource.TestStep{
			Config:            sigstructConfig(sigstructFile(t, "v14_binary_date.sig", nil)),
			ConfigStateChecks: check(map[string]knownvalue.Check{"signed_on": knownvalue.StringExact("2022-11-30"), "isv_prod_id": knownvalue.Int64Exact(65535)}),
		},
	)
}

func TestSigstructDataSourceRejects(t *testing.T) {
	t.Parallel()
	forged := sigstructFile(t, "v19_release.sig", func(b []byte) { b[960] ^= 1 })
	short := filepath.Join(t.TempDir(), "short.sig")
	mustWrite(t, short, mustRead(t, forged)[:1000], 0o600)
	long := filepath.Join(t.TempDir(), "long.sig")
	if err := os.WriteFile(long, make([]byte, 5<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	rejects(t, []rejection{
		{"forged", sigstructConfig(forged), "Error: SIGSTRUCT not genuine"},
		{"forged, in detail", sigstructConfig(forged), "Could not verify SIGSTRUCT: signature at offset 516: found one that does not verify"},
		{"short", sigstructConfig(short), "Could not parse SIGSTRUCT: SIGSTRUCT at offset 0: found 1000 bytes, want 1808 bytes."},
		{"long", sigstructConfig(long), "found 1809 bytes, want 1808 bytes."},
		{"missing", sigstructConfig(short + ".none"), "Could not read SIGSTRUCT: open"},
		{"directory", sigstructConfig(filepath.Dir(short)), "is a directory"},
		{"empty path", sigstructConfig(""), "value must be the path of a file"},
	})
}
