package resources_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/compare"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

const encryptedFileAddr = "cc_encrypted_file.model"

// efile is a folder with a source and a wrap key, and the configuration of a
// cc_encrypted_file of them.
type efile struct {
	t        *testing.T
	dir      string
	key      protectedfile.Key
	src, dst string
	keyFile  string
}

func newEFile(t *testing.T) *efile {
	t.Helper()
	dir := t.TempDir()
	f := &efile{
		t: t, dir: dir, key: newKey(t), src: filepath.Join(dir, "saved_model.pb"),
		dst: filepath.Join(dir, "out", "saved_model.pb"), keyFile: filepath.Join(dir, "wrap.key"),
	}
	mustWrite(t, f.src, bytes.Repeat([]byte("a model "), 1000), 0o640)
	mustWrite(t, f.keyFile, f.key[:], 0o600)
	return f
}

// config gives the resource; arguments replace the defaults of the same name.
func (f *efile) config(arguments ...string) string {
	set := map[string]string{
		"source": quote(f.src), "destination": quote(f.dst), "enclave_path": `"models/1/saved_model.pb"`, "wrap_key_file": quote(f.keyFile),
	}
	for _, a := range arguments {
		name, value, _ := strings.Cut(a, " = ")
		if set[name] = value; value == "" {
			delete(set, name)
		}
	}
	var b strings.Builder
	b.WriteString("resource \"cc_encrypted_file\" \"model\" {\n")
	for name, value := range set {
		fmt.Fprintf(&b, "  %s = %s\n", name, value)
	}
	return b.String() + "}\n"
}

// opens decrypts the destination and compares it with the source.
func (f *efile) opens(path string, key protectedfile.Key) resource.TestCheckFunc {
	return func(*terraform.State) error {
		raw := mustRead(f.t, f.dst)
		r, err := protectedfile.NewReader(bytes.NewReader(raw), int64(len(raw)), key, protectedfile.ReaderOptions{Path: path, Strict: true})
		if err != nil {
			return err
		}
		got := make([]byte, r.Size())
		if _, err := r.ReadAt(got, 0); err != nil && len(got) > 0 {
			return err
		}
		if !bytes.Equal(got, mustRead(f.t, f.src)) {
			return fmt.Errorf("%s decrypts to something else than the source", f.dst)
		}
		return nil
	}
}

func known(name string, value knownvalue.Check) statecheck.StateCheck {
	return statecheck.ExpectKnownValue(encryptedFileAddr, tfjsonpath.New(name), value)
}

func TestEncryptedFileLife(t *testing.T) {
	t.Parallel()
	f := newEFile(t)
	const path = "models/1/saved_model.pb"
	var first []byte
	updates := expectAction(encryptedFileAddr, plancheck.ResourceActionUpdate)
	other := newKey(t)

	accept(t,
		resource.TestStep{ // create
			Config: f.config(),
			Check: func(s *terraform.State) error {
				first = mustRead(t, f.dst)
				if info, err := os.Stat(f.dst); err != nil || info.Mode() != 0o640 {
					t.Errorf("mode %v, %v; want that of the source", info.Mode(), err)
				}
				return f.opens(path, f.key)(s)
			},
			ConfigStateChecks: []statecheck.StateCheck{
				known("id", knownvalue.StringExact(f.dst)),
				known("condition", knownvalue.StringExact("intact")),
				known("key_id", knownvalue.StringExact(f.key.Fingerprint())),
				known("format", knownvalue.Int64Exact(1)),
				known("reproducible", knownvalue.Bool(true)),
				known("on_missing", knownvalue.StringExact("recreate")),
				known("verify", knownvalue.StringExact("header")),
				known("plaintext_size", knownvalue.Int64Exact(8000)),
				known("encrypted_size", knownvalue.Int64Exact(16384)),
				known("data_nodes", knownvalue.Int64Exact(2)),
				known("hash_nodes", knownvalue.Int64Exact(1)),
				known("source_digest", knownvalue.StringRegexp(regexp.MustCompile(`^[0-9a-f]{64}$`))),
				known("header_sha256", knownvalue.StringRegexp(regexp.MustCompile(`^[0-9a-f]{64}$`))),
				known("wrap_key_wo", knownvalue.Null()),
			},
		},
		resource.TestStep{ // nothing to do, whatever the time stamp says
			PreConfig: func() {
				if err := os.Chtimes(f.src, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
					t.Fatal(err)
				}
			},
			Config: f.config(), ConfigPlanChecks: emptyPlan(),
		},
		resource.TestStep{ // nor for other words
			Config:           f.config(`enclave_path = "models//./1/saved_model.pb"`, "source = "+quote(f.dir+"/./saved_model.pb")),
			ConfigPlanChecks: emptyPlan(),
		},
		resource.TestStep{ // another place of the same content: no new file
			PreConfig: func() { mustWrite(t, f.src+".copy", mustRead(t, f.src), 0o640) },
			Config:    f.config("source = " + quote(f.src+".copy")), ConfigPlanChecks: updates,
			Check: func(*terraform.State) error {
				if !bytes.Equal(mustRead(t, f.dst), first) {
					t.Error("the file was made again")
				}
				return nil
			},
		},
		resource.TestStep{ // the source
			PreConfig: func() { mustWrite(t, f.src, []byte("another model"), 0o640) },
			Config:    f.config(), ConfigPlanChecks: updates, Check: f.opens(path, f.key),
			ConfigStateChecks: []statecheck.StateCheck{known("plaintext_size", knownvalue.Int64Exact(13)), known("encrypted_size", knownvalue.Int64Exact(4096))},
		},
		resource.TestStep{ // the path
			Config: f.config(`enclave_path = "/data/x"`), ConfigPlanChecks: updates, Check: f.opens("/data/x", f.key),
		},
		resource.TestStep{ // the format
			Config: f.config(`enclave_path = "/data/x"`, "format = 2"), ConfigPlanChecks: updates,
			Check: func(s *terraform.State) error {
				if v := mustRead(t, f.dst)[8]; v != 2 {
					t.Errorf("version %d, want 2", v)
				}
				return f.opens("/data/x", f.key)(s)
			},
		},
		resource.TestStep{ // the key
			PreConfig: func() { mustWrite(t, f.keyFile, other[:], 0o600) },
			Config:    f.config(), ConfigPlanChecks: updates, Check: f.opens(path, other),
			ConfigStateChecks: []statecheck.StateCheck{known("key_id", knownvalue.StringExact(other.Fingerprint()))},
		},
		resource.TestStep{ // an option that is none of the file's
			Config: f.config(`on_missing = "ignore"`, `verify = "full"`), ConfigPlanChecks: updates,
		},
		resource.TestStep{ // the destination
			Config:           f.config("destination = "+quote(f.dst+"2"), `on_missing = "ignore"`, `verify = "full"`),
			ConfigPlanChecks: expectAction(encryptedFileAddr, plancheck.ResourceActionDestroyBeforeCreate),
			Check:            func(*terraform.State) error { mustBeGone(t, f.dst); return nil },
		},
	)
	mustBeGone(t, f.dst+"2")
	mustRead(t, f.src) // the source stays
}

func TestEncryptedFileDrift(t *testing.T) {
	t.Parallel()
	for _, verify := range []string{"header", "full"} {
		t.Run(verify, func(t *testing.T) {
			f := newEFile(t)
			config := f.config("verify = " + quote(verify))
			var first []byte
			damaged := func(at int) func() {
				return func() {
					b := bytes.Clone(first)
					b[at] ^= 1
					mustWrite(t, f.dst, b, 0o640)
				}
			}
			same := func(s *terraform.State) error {
				if !bytes.Equal(mustRead(t, f.dst), first) {
					t.Error("repairing a reproducible file gives another one")
				}
				return nil
			}
			repairs := func(from string) resource.ConfigPlanChecks {
				return resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectResourceAction(encryptedFileAddr, plancheck.ResourceActionUpdate),
					plancheck.ExpectKnownValue(encryptedFileAddr, tfjsonpath.New("condition"), knownvalue.StringExact("intact")),
					plancheck.ExpectUnknownValue(encryptedFileAddr, tfjsonpath.New("header_sha256")),
					conditionBefore(from),
				}}
			}
			steps := []resource.TestStep{
				{Config: config, Check: func(*terraform.State) error { first = mustRead(t, f.dst); return nil }},
				{PreConfig: func() { remove(t, f.dst) }, Config: config, ConfigPlanChecks: repairs("missing"), Check: same},
				{PreConfig: damaged(100), Config: config, ConfigPlanChecks: repairs("altered"), Check: same},
				{PreConfig: func() { mustWrite(t, f.dst, []byte("not a protected file"), 0o640) }, Config: config, ConfigPlanChecks: repairs("altered"), Check: same},
				{PreConfig: func() { mustWrite(t, f.dst, first[:4096], 0o640) }, Config: config, ConfigPlanChecks: repairs("altered"), Check: same},
			}
			last := resource.TestStep{PreConfig: damaged(2*4096 + 7), Config: config, ConfigPlanChecks: emptyPlan()}
			if verify == "full" { // only this sees damage behind the header
				last.ConfigPlanChecks, last.Check = repairs("altered"), same
			}
			accept(t, append(steps, last)...)
		})
	}
}

// conditionBefore checks what the refresh found.
type conditionBefore string

func (c conditionBefore) CheckPlan(_ context.Context, req plancheck.CheckPlanRequest, resp *plancheck.CheckPlanResponse) {
	for _, change := range req.Plan.ResourceChanges {
		if before, ok := change.Change.Before.(map[string]any); ok && change.Address == encryptedFileAddr {
			if before["condition"] != string(c) {
				resp.Error = fmt.Errorf("condition %v before the apply, want %q", before["condition"], string(c))
			}
			return
		}
	}
	resp.Error = fmt.Errorf("%s is not in the plan", encryptedFileAddr)
}

// TestEncryptedFileWarnings reads what Terraform prints about drift.
func TestEncryptedFileWarnings(t *testing.T) {
	t.Parallel()
	f := newEFile(t)
	w := newWorkspace(t, f.config(`verify = "full"`))
	w.terraform("apply", "-auto-approve")
	original := mustRead(t, f.dst)

	altered := bytes.Clone(original)
	altered[3*4096+1] ^= 1
	mustWrite(t, f.dst, altered, 0o640)
	expectOutput(t, w.terraform("plan"), "Warning: Encrypted file altered", "data node 1 (node 3)", `condition = "altered" -> "intact"`)
	remove(t, f.dst)
	expectOutput(t, w.terraform("plan"), "Warning: Encrypted file missing", `condition = "missing" -> "intact"`)
	mustWrite(t, filepath.Join(f.dst, "file"), nil, 0o600) // a folder in its place
	expectOutput(t, w.terraform("plan"), "Warning: Encrypted file unreadable", "not a regular file but a directory")
	if err := os.RemoveAll(f.dst); err != nil {
		t.Fatal(err)
	}

	// Another file in its place is not deleted.
	mustWrite(t, f.dst, []byte("somebody's"), 0o640)
	expectOutput(t, w.terraform("destroy", "-auto-approve"), "Warning: Encrypted file left in place", "Delete it by hand")
	if string(mustRead(t, f.dst)) != "somebody's" {
		t.Error("the other file was changed")
	}
}

// TestEncryptedFileElsewhere is a CI runner without the files.
func TestEncryptedFileElsewhere(t *testing.T) {
	t.Parallel()
	f := newEFile(t)
	config := f.config(`on_missing = "ignore"`)
	accept(t,
		resource.TestStep{Config: config},
		resource.TestStep{PreConfig: func() { remove(t, f.dst) }, Config: config, ConfigPlanChecks: emptyPlan()},
		resource.TestStep{PreConfig: func() { rename(t, f.src, f.src+".away") }, Config: config, ConfigPlanChecks: emptyPlan()},
		resource.TestStep{PreConfig: func() { rename(t, f.keyFile, f.keyFile+".away") }, Config: config, ConfigPlanChecks: emptyPlan()},
		resource.TestStep{ // what was asked for in the configuration is still a change
			Config: f.config(`on_missing = "ignore"`, "format = 2"), ExpectError: says("Could not read wrap key " + f.keyFile),
		},
		resource.TestStep{
			PreConfig: func() { rename(t, f.keyFile+".away", f.keyFile) },
			Config:    f.config(`on_missing = "ignore"`, "format = 2"), ExpectError: says("Source file missing"),
		},
		resource.TestStep{ // a source that is there counts
			PreConfig: func() { mustWrite(t, f.src, []byte("new"), 0o640) },
			Config:    config, ConfigPlanChecks: expectAction(encryptedFileAddr, plancheck.ResourceActionUpdate), Check: f.opens("models/1/saved_model.pb", f.key),
		},
	)
}

func TestEncryptedFileWriteOnlyKey(t *testing.T) {
	t.Parallel()
	f := newEFile(t)
	other := newKey(t)
	config := func(key protectedfile.Key, version int, arguments ...string) string {
		return f.config(append(arguments, "wrap_key_file = ", "wrap_key_wo = "+quote(hex.EncodeToString(key[:])), fmt.Sprintf("wrap_key_wo_version = %d", version))...)
	}
	same, differ := statecheck.CompareValue(compare.ValuesSame()), statecheck.CompareValue(compare.ValuesDiffer())
	header := tfjsonpath.New("header_sha256")
	updates := expectAction(encryptedFileAddr, plancheck.ResourceActionUpdate)
	var first []byte
	accept(t,
		resource.TestStep{
			Config: config(f.key, 1), Check: f.opens("models/1/saved_model.pb", f.key),
			ConfigStateChecks: []statecheck.StateCheck{
				known("wrap_key_wo", knownvalue.Null()), known("key_id", knownvalue.StringExact(f.key.Fingerprint())),
				same.AddStateValue(encryptedFileAddr, header), differ.AddStateValue(encryptedFileAddr, header),
			},
		},
		resource.TestStep{Config: config(f.key, 1), ConfigPlanChecks: emptyPlan()},
		resource.TestStep{Config: config(other, 1), ExpectError: says("Wrap key changed without its version")},
		resource.TestStep{ // the same key under another version: the same file
			Config: config(f.key, 2), ConfigPlanChecks: updates, ConfigStateChecks: []statecheck.StateCheck{same.AddStateValue(encryptedFileAddr, header)},
		},
		resource.TestStep{
			Config: config(other, 3), ConfigPlanChecks: updates, Check: f.opens("models/1/saved_model.pb", other),
			ConfigStateChecks: []statecheck.StateCheck{differ.AddStateValue(encryptedFileAddr, header)},
		},
		resource.TestStep{ // the source is compared with the key of the configuration
			PreConfig: func() { mustWrite(t, f.src, []byte("changed"), 0o640) },
			Config:    config(other, 3), ConfigPlanChecks: updates, Check: f.opens("models/1/saved_model.pb", other),
		},
		resource.TestStep{Config: config(other, 3, `verify = "full"`), Check: func(*terraform.State) error { first = mustRead(t, f.dst); return nil }},
		resource.TestStep{Config: config(other, 3, `verify = "full"`), ConfigPlanChecks: emptyPlan()},
		resource.TestStep{ // a file of one node: damage everywhere shows in the header
			PreConfig: func() {
				b := bytes.Clone(first)
				b[4000] ^= 1
				mustWrite(t, f.dst, b, 0o640)
			},
			Config: config(other, 3, `verify = "full"`), ConfigPlanChecks: updates,
		},
	)
}

// TestEncryptedFileWriteOnlyVerify damages a node behind the header: a refresh
// has no key to see it, the plan has.
func TestEncryptedFileWriteOnlyVerify(t *testing.T) {
	t.Parallel()
	f := newEFile(t)
	config := f.config("wrap_key_file = ", "wrap_key_wo = "+quote(hex.EncodeToString(f.key[:])), "wrap_key_wo_version = 1", `verify = "full"`)
	accept(t,
		resource.TestStep{Config: config},
		resource.TestStep{
			PreConfig: func() {
				b := mustRead(t, f.dst)
				b[2*4096] ^= 1
				mustWrite(t, f.dst, b, 0o640)
			},
			Config: config, ConfigPlanChecks: expectAction(encryptedFileAddr, plancheck.ResourceActionUpdate), Check: f.opens("models/1/saved_model.pb", f.key),
		},
	)
}

// TestEncryptedFileSourceOfAnotherResource has the source, the key and their
// paths appear in the same apply.
func TestEncryptedFileSourceOfAnotherResource(t *testing.T) {
	t.Parallel()
	f := newEFile(t)
	remove(t, f.src)
	remove(t, f.keyFile)
	config := func(content string) string {
		return fmt.Sprintf(`
resource "cc_wrap_key" "k" {
  file       = %s
  on_destroy = "delete"
}
resource "terraform_data" "source" {
  input            = %s
  triggers_replace = [%[2]s]
  provisioner "local-exec" {
    command     = "printf %%s \"$CONTENT\" > \"$FILE\""
    environment = { CONTENT = %[2]s, FILE = %[3]s }
  }
}
`, quote(f.keyFile), quote(content), quote(f.src)) +
			f.config("source = terraform_data.source.output == \"\" ? \"\" : "+quote(f.src), "wrap_key_file = cc_wrap_key.k.file")
	}
	opens := func(s *terraform.State) error {
		key, err := protectedfile.ParseKey(mustRead(t, f.keyFile))
		if err != nil {
			return err
		}
		return f.opens("models/1/saved_model.pb", key)(s)
	}
	accept(t,
		resource.TestStep{Config: config("one"), Check: opens},
		resource.TestStep{Config: config("one"), ConfigPlanChecks: emptyPlan()},
		resource.TestStep{
			Config: config("another"), Check: opens, ConfigStateChecks: []statecheck.StateCheck{known("plaintext_size", knownvalue.Int64Exact(7))},
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				plancheck.ExpectUnknownValue(encryptedFileAddr, tfjsonpath.New("source_digest")),
				plancheck.ExpectKnownValue(encryptedFileAddr, tfjsonpath.New("key_id"), knownvalue.NotNull()),
			}},
		},
	)
}

func TestEncryptedFileImport(t *testing.T) {
	t.Parallel()
	f := newEFile(t)
	for _, format := range []protectedfile.Format{protectedfile.FormatV1, protectedfile.FormatV2} {
		for _, reproducible := range []bool{true, false} {
			t.Run(fmt.Sprintf("format %d, reproducible %v", format, reproducible), func(t *testing.T) {
				f.make(format, reproducible)
				id := fmt.Sprintf(`{"destination": %q, "source": %q, "wrap_key_file": %q}`, f.dst, f.src, f.keyFile)
				config := f.config(fmt.Sprintf("format = %d", format), fmt.Sprintf("reproducible = %v", reproducible))
				accept(t,
					resource.TestStep{Config: config, ResourceName: encryptedFileAddr, ImportState: true, ImportStateId: id, ImportStatePersist: true},
					resource.TestStep{Config: config, ConfigPlanChecks: emptyPlan()},
				)
				mustBeGone(t, f.dst)
			})
		}
	}
	for _, tc := range []struct{ name, id, want string }{
		{"not JSON", f.dst, "The import id of a cc_encrypted_file is a JSON object"},
		{"other names", `{"file": "x"}`, `unknown field "file"`},
		{"incomplete", `{"destination": "x"}`, "destination, source and wrap_key_file are needed"},
		{"no key", fmt.Sprintf(`{"destination": %q, "source": "x", "wrap_key_file": "none"}`, f.dst), "Could not read wrap key none: no such file"},
		{"no file", fmt.Sprintf(`{"destination": "none", "source": "x", "wrap_key_file": %q}`, f.keyFile), "Could not open encrypted file none: no such file"},
		{"not encrypted", fmt.Sprintf(`{"destination": %q, "source": "x", "wrap_key_file": %q}`, f.src, f.keyFile), "bad magic"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			accept(t, resource.TestStep{Config: f.config(), ResourceName: encryptedFileAddr, ImportState: true, ImportStateId: tc.id, ExpectError: says(tc.want)})
		})
	}
}

// make writes the destination as ccctl would.
func (f *efile) make(format protectedfile.Format, reproducible bool) {
	f.t.Helper()
	plain := mustRead(f.t, f.src)
	mustWrite(f.t, f.dst, nil, 0o640)
	out, err := os.OpenFile(f.dst, os.O_RDWR, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	opts := protectedfile.WriterOptions{Path: "models/1/saved_model.pb", Format: format}
	if reproducible {
		_, err = protectedfile.EncryptReproducible(f.t.Context(), out, bytes.NewReader(plain), int64(len(plain)), f.key, opts)
	} else {
		_, err = protectedfile.Encrypt(f.t.Context(), out, bytes.NewReader(plain), f.key, opts)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

func TestEncryptedFileRejects(t *testing.T) {
	t.Parallel()
	f := newEFile(t)
	bad := filepath.Join(f.dir, "bad.key")
	mustWrite(t, bad, []byte("00112233445566778899aabbccddeeff\n"), 0o600)
	rejects(t, []rejection{
		{"no key", f.config("wrap_key_file = "), "Exactly one of these attributes must be configured"},
		{"two keys", f.config(`wrap_key_wo = "00"`, "wrap_key_wo_version = 1"), "Exactly one of these attributes must be configured"},
		{"no version", f.config("wrap_key_file = ", `wrap_key_wo = "00"`), `Attribute "wrap_key_wo_version" must be specified when "wrap_key_wo" is specified`},
		{"version alone", f.config("wrap_key_wo_version = 1"), `Attribute "wrap_key_wo" must be specified when "wrap_key_wo_version" is specified`},
		{"no hex", f.config("wrap_key_file = ", `wrap_key_wo = "00"`, "wrap_key_wo_version = 1"), "2 characters found, want exactly 32 hex digits"},
		{"hex key file", f.config("wrap_key_file = " + quote(bad)), "these are 32 hex digits, the form of old manifests"},
		{"format", f.config("format = 3"), "value must be one of"},
		{"path", f.config(`enclave_path = "a/.."`), "value must be a path that names a file, of at most 771 bytes"},
		{"long path", f.config("enclave_path = " + quote(strings.Repeat("x", 772))), "a protected file holds a path of at most 771"},
		{"on_missing", f.config(`on_missing = "error"`), `value must be one of "recreate", "ignore"`},
		{"verify", f.config(`verify = "none"`), `value must be one of "header", "full"`},
		{"directory", f.config("source = " + quote(f.dir)), "use for_each for a directory"},
	})
	accept(t,
		resource.TestStep{Config: f.config("source = " + quote(f.src+".none")), ExpectError: says("Error: Source file missing")},
		resource.TestStep{Config: f.config("destination = " + quote(f.src)), ExpectError: says("Error: Destination is the source")},
		resource.TestStep{Config: f.config("wrap_key_file = " + quote(f.keyFile+".none")), ExpectError: says("Error: Wrap key not usable")},
	)
	mustBeGone(t, f.dst)
}

// TestEncryptedFileCanary looks for the key, and for a digest of the plaintext
// that would confirm a guess.
func TestEncryptedFileCanary(t *testing.T) {
	t.Parallel()
	plaintext := bytes.Repeat([]byte("the secret weights "), 300)
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "weights.bin"), plaintext, 0o600)
	canary{
		Config: `
resource "cc_wrap_key" "k" {
  file       = "planted.key"
  on_destroy = "delete"
}
resource "cc_encrypted_file" "file" {
  source        = ` + inDir(dir, "weights.bin") + `
  destination   = "out/planted.pf"
  enclave_path  = "planted/weights.bin"
  wrap_key_file = cc_wrap_key.k.file
  verify        = "full"
}
`,
		Planted: "out/planted.pf",
		Secrets: func(t *testing.T, ws string) map[string][]byte {
			secrets := map[string][]byte{"wrap key": mustRead(t, filepath.Join(ws, "planted.key")), "plaintext": []byte("the secret weights the secret weights")}
			for name, sum := range digests(plaintext) {
				secrets[name] = sum
			}
			return secrets
		},
	}.hunt(t)
}

// TestEncryptedFileCanaryWriteOnly gives the key as a write-only argument.
func TestEncryptedFileCanaryWriteOnly(t *testing.T) {
	t.Parallel()
	f := newEFile(t)
	mustWrite(t, filepath.Join(f.dir, "key.hex"), []byte(hex.EncodeToString(f.key[:])), 0o600)
	canary{
		// An ephemeral variable has to be given again for a saved plan; a
		// file is read each time.
		Config:  f.config("wrap_key_file = ", "wrap_key_wo = file("+inDir(f.dir, "key.hex")+")", "wrap_key_wo_version = 1"),
		Planted: f.dst,
		Secrets: func(*testing.T, string) map[string][]byte { return map[string][]byte{"wrap key": f.key[:]} },
	}.hunt(t)
}

// digests are what somebody would compare a guess with.
func digests(plaintext []byte) map[string][]byte {
	sha1Sum, sha256Sum, sha512Sum, md5Sum := sha1.Sum(plaintext), sha256.Sum256(plaintext), sha512.Sum512(plaintext), md5.Sum(plaintext)
	return map[string][]byte{"SHA-1": sha1Sum[:], "SHA-256": sha256Sum[:], "SHA-512": sha512Sum[:], "MD5": md5Sum[:]}
}
