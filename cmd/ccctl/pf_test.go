package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
	"github.com/ccctl/terraform-provider-cc/internal/testshared"
)

// ccctl runs a command line in this process.
func ccctl(t *testing.T, in string, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(in), &o, &e)
	return code, o.String(), e.String()
}

// TestPFOpensGraminesFiles decrypts every file that Gramine's own tools made.
func TestPFOpensGraminesFiles(t *testing.T) {
	dirs := map[string]string{
		"testdata": filepath.Join("..", "..", "internal", "sgxcrypto", "protectedfile", "testdata", "vectors"),
		"shared":   "",
	}
	for name, dir := range dirs {
		t.Run(name, func(t *testing.T) {
			if dir == "" {
				dir = testshared.Dir(t, "vectors/pf")
			}
			var index struct {
				Vectors []struct {
					File   string               `json:"file"`
					Key    string               `json:"wrap_key_hex"`
					Path   string               `json:"embedded_path"`
					Size   int64                `json:"plaintext_size"`
					SHA256 string               `json:"plaintext_sha256"`
					Format protectedfile.Format `json:"format_version"`
				} `json:"vectors"`
			}
			raw, err := os.ReadFile(filepath.Join(dir, "index.json"))
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(raw, &index); err != nil || len(index.Vectors) == 0 {
				t.Fatalf("%d vectors, %v", len(index.Vectors), err)
			}
			for _, v := range index.Vectors {
				key, err := hex.DecodeString(v.Key)
				if err != nil {
					t.Fatal(err)
				}
				file, out := filepath.Join(dir, v.File), filepath.Join(t.TempDir(), "out")
				code, stdout, stderr := ccctl(t, string(key), "pf", "decrypt", "-w", "-", "-i", file, "-o", out, "--path", v.Path, "--strict", "--json")
				if code != exitOK || stderr != "" {
					t.Errorf("%s: exit code %d: %s", v.File, code, stderr)
					continue
				}
				plain, err := os.ReadFile(out)
				if err != nil {
					t.Fatal(err)
				}
				if sum := sha256.Sum256(plain); hex.EncodeToString(sum[:]) != v.SHA256 {
					t.Errorf("%s: the plaintext is another", v.File)
				}
				var report struct{ Files []pfResult }
				if err := json.Unmarshal([]byte(stdout), &report); err != nil || len(report.Files) != 1 {
					t.Fatalf("%s: report %s: %v", v.File, stdout, err)
				}
				if r := report.Files[0]; !r.OK || !*r.PathChecked || r.Path != v.Path || *r.PlaintextSize != v.Size || r.Format != v.Format {
					t.Errorf("%s: report %+v", v.File, r)
				}

				key[0] ^= 1
				if code, _, stderr := ccctl(t, string(key), "pf", "verify", "-w", "-", file); code != exitNotGenuine || !strings.Contains(stderr, "the wrap key is another one") {
					t.Errorf("%s, wrong key: exit code %d: %s", v.File, code, stderr)
				}
				key[0] ^= 1
				if code, _, stderr := ccctl(t, string(key), "pf", "verify", "-w", "-", "--path", v.Path+"x", file); code != exitNotGenuine || !strings.Contains(stderr, "it was encrypted for the path") {
					t.Errorf("%s, wrong path: exit code %d: %s", v.File, code, stderr)
				}
			}
		})
	}
}

// TestPFKeyNeverPrinted runs every command and looks for the key in what it
// prints.
func TestPFKeyNeverPrinted(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, data := range map[string]string{"old": "0123456789abcdeF", "new": "another key 16 b", "bad": "0123456789abcdeF\n", "plain": "x"} {
		if err := os.WriteFile(at(name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"pf", "encrypt", "-w", at("old"), "-i", at("plain"), "-o", at("x"), "--path", "x"},
		{"pf", "encrypt", "-w", at("bad"), "-i", at("plain"), "-o", at("x"), "--path", "x"},
		{"pf", "inspect", "-w", at("old"), at("x"), "--json"},
		{"pf", "verify", "-w", at("old"), at("x")},
		{"pf", "verify", "-w", at("new"), at("x")},
		{"pf", "rewrap", "-w", at("old"), "--new-wrap-key", at("new"), at("x"), "--json"},
		{"pf", "decrypt", "-w", at("new"), "-i", at("x"), "-o", at("y"), "--json"},
		{"pf", "gen-key", "-w", at("old")},
		{"wrap-key", "fingerprint", at("old")},
		{"wrap-key", "fingerprint", at("bad")},
	} {
		_, out, errOut := ccctl(t, "", args...)
		if out+errOut == "" {
			t.Errorf("%v prints nothing", args)
		}
		for _, secret := range []string{"0123456789abcde", "another key", "30313233343536", "616e6f74686572", "MDEyMzQ1Njc4", "YW5vdGhlci"} {
			if strings.Contains(out+errOut, secret) {
				t.Errorf("%v prints the key: %s%s", args, out, errOut)
			}
		}
	}
}
