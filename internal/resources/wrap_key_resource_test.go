package resources_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/compare"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

const wrapKeyAddr = "cc_wrap_key.model"

// wrapKeyConfig is a cc_wrap_key with further arguments, one a line.
func wrapKeyConfig(file string, arguments ...string) string {
	config := "resource \"cc_wrap_key\" \"model\" {\n  file = " + quote(file) + "\n"
	for _, a := range arguments {
		config += "  " + a + "\n"
	}
	return config + "}\n"
}

// checkKeyFile makes sure that a key file is what it should be.
func checkKeyFile(t *testing.T, file string) {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Error(err)
		return
	}
	if info.Mode() != 0o600 || info.Size() != protectedfile.KeySize {
		t.Errorf("%s has mode %v and %d bytes", file, info.Mode(), info.Size())
	}
}

func newKey(t *testing.T) protectedfile.Key {
	t.Helper()
	key, err := protectedfile.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func emptyPlan() resource.ConfigPlanChecks {
	return resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}}
}

func expectAction(addr string, action plancheck.ResourceActionType) resource.ConfigPlanChecks {
	return resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectResourceAction(addr, action)}}
}

func TestWrapKeyLife(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := filepath.Join(dir, "keys", "model.key") // a folder that does not exist yet
	second := filepath.Join(dir, "moved", "model.key")
	var content []byte
	same := statecheck.CompareValue(compare.ValuesSame())
	fingerprint := tfjsonpath.New("fingerprint")

	accept(t,
		resource.TestStep{ // create
			Config: wrapKeyConfig(first),
			ConfigStateChecks: []statecheck.StateCheck{
				same.AddStateValue(wrapKeyAddr, fingerprint),
				statecheck.ExpectKnownValue(wrapKeyAddr, fingerprint, knownvalue.StringRegexp(regexp.MustCompile(`^[0-9a-f]{16}$`))),
				statecheck.ExpectKnownValue(wrapKeyAddr, tfjsonpath.New("on_destroy"), knownvalue.StringExact("keep")),
				statecheck.ExpectKnownValue(wrapKeyAddr, tfjsonpath.New("on_missing"), knownvalue.StringExact("error")),
			},
			Check: func(s *terraform.State) error {
				checkKeyFile(t, first)
				content = mustRead(t, first)
				key, err := protectedfile.ParseKey(content)
				if err != nil {
					return err
				}
				if id := s.RootModule().Resources[wrapKeyAddr].Primary.ID; id != key.Fingerprint() {
					return fmt.Errorf("id is %s, the key's fingerprint %s", id, key.Fingerprint())
				}
				return nil
			},
		},
		resource.TestStep{Config: wrapKeyConfig(first), ConfigPlanChecks: emptyPlan()},
		resource.TestStep{ // moving keeps the key
			Config:            wrapKeyConfig(second, `on_destroy = "delete"`),
			ConfigPlanChecks:  expectAction(wrapKeyAddr, plancheck.ResourceActionUpdate),
			ConfigStateChecks: []statecheck.StateCheck{same.AddStateValue(wrapKeyAddr, fingerprint)},
			Check: func(*terraform.State) error {
				checkKeyFile(t, second)
				mustBeGone(t, first)
				if string(mustRead(t, second)) != string(content) {
					t.Error("moving changed the key")
				}
				return nil
			},
		},
		resource.TestStep{ // import adopts it
			ResourceName: wrapKeyAddr, ImportState: true, ImportStateId: second, ImportStateVerify: true,
			ImportStateVerifyIgnore: []string{"on_destroy"}, // a key is imported to be kept
		},
	)
	mustBeGone(t, second)
}

func TestWrapKeyIsKept(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "model.key")
	accept(t, resource.TestStep{Config: wrapKeyConfig(file)})
	checkKeyFile(t, file)
}

func TestWrapKeyImportThenEmptyPlan(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "model.key")
	key := newKey(t)
	mustWrite(t, file, key[:], 0o600)
	accept(t,
		resource.TestStep{
			Config:       wrapKeyConfig(file),
			ResourceName: wrapKeyAddr, ImportState: true, ImportStateId: file, ImportStatePersist: true,
		},
		resource.TestStep{Config: wrapKeyConfig(file), ConfigPlanChecks: emptyPlan(),
			ConfigStateChecks: []statecheck.StateCheck{
				statecheck.ExpectKnownValue(wrapKeyAddr, tfjsonpath.New("fingerprint"), knownvalue.StringExact(key.Fingerprint())),
			}},
		resource.TestStep{Config: wrapKeyConfig(filepath.Dir(file) + "/./no/../model.key"), ConfigPlanChecks: emptyPlan()},
	)
	if string(mustRead(t, file)) != string(key[:]) {
		t.Error("import or destroy changed the key")
	}
}

func TestWrapKeyNeverOverwrites(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	occupied, free := filepath.Join(dir, "occupied.key"), filepath.Join(dir, "free.key")
	other := newKey(t)
	mustWrite(t, occupied, other[:], 0o600)
	accept(t,
		resource.TestStep{Config: wrapKeyConfig(occupied), ExpectError: says("Wrap key file exists already")},
		resource.TestStep{Config: wrapKeyConfig(occupied), ExpectError: says("import it (terraform import cc_wrap_key.NAME PATH)")},
		resource.TestStep{Config: wrapKeyConfig(free, `on_destroy = "delete"`)},
		resource.TestStep{Config: wrapKeyConfig(occupied, `on_destroy = "delete"`), PlanOnly: true, // a move is refused by the plan
			ExpectError: says("Could not move wrap key to " + occupied)},
	)
	if string(mustRead(t, occupied)) != string(other[:]) {
		t.Error("the key in the way was changed")
	}
	mustBeGone(t, free)
}

func TestWrapKeyDrift(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, away := filepath.Join(dir, "model.key"), filepath.Join(dir, "away.key")
	config := wrapKeyConfig(file)
	accept(t,
		resource.TestStep{Config: config},
		resource.TestStep{ // missing
			PreConfig:   func() { rename(t, file, away) },
			Config:      config,
			ExpectError: says("Error: Wrap key file missing"),
		},
		resource.TestStep{Config: config, ExpectError: says("remove the resource from the state (terraform state rm cc_wrap_key.NAME)")},
		resource.TestStep{ // kept on another machine: nothing to do here
			Config: wrapKeyConfig(file, `on_missing = "ignore"`),
		},
		resource.TestStep{Config: wrapKeyConfig(file, `on_missing = "ignore"`), ConfigPlanChecks: emptyPlan()},
		resource.TestStep{ // but it cannot be moved from here
			Config: wrapKeyConfig(file+"2", `on_missing = "ignore"`), ExpectError: says("leave file as it is"),
		},
		resource.TestStep{ // another key
			PreConfig: func() {
				other := newKey(t)
				mustWrite(t, file, other[:], 0o600)
			},
			Config:      wrapKeyConfig(file, `on_missing = "ignore"`),
			ExpectError: says("Error: Wrap key file holds another key"),
		},
		resource.TestStep{ // no key at all
			PreConfig:   func() { mustWrite(t, file, []byte("0123456789abcdef0123456789abcdef"), 0o600) },
			Config:      config,
			ExpectError: says("32 bytes found, want exactly 16 raw bytes"),
		},
		resource.TestStep{ // restored
			PreConfig:        func() { rename(t, away, file) },
			Config:           wrapKeyConfig(file, `on_missing = "ignore"`),
			ConfigPlanChecks: emptyPlan(),
		},
		resource.TestStep{ // moved by hand: the plan adopts what was done
			PreConfig: func() { rename(t, file, away) },
			Config:    wrapKeyConfig(away),
			Check:     func(*terraform.State) error { checkKeyFile(t, away); mustBeGone(t, file); return nil },
		},
	)
}

// TestWrapKeyDestroyWithoutKey shows that a lost key does not keep anybody
// from destroying, and that another key is not deleted in its place.
func TestWrapKeyDestroyWithoutKey(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, wrapKeyConfig("model.key", `on_destroy = "delete"`))
	file := filepath.Join(w.dir, "model.key")
	w.terraform("apply", "-auto-approve")
	other := newKey(t)
	mustWrite(t, file, other[:], 0o600)
	for _, command := range [][]string{{"destroy", "-auto-approve"}, {"destroy", "-auto-approve", "-refresh=false"}} {
		expectOutput(t, w.fails(command...), "Error: Wrap key file holds another key", "its fingerprint is "+other.Fingerprint())
	}
	checkKeyFile(t, file)
	remove(t, file)
	expectOutput(t, w.fails("destroy", "-auto-approve"), "Error: Wrap key file missing", "terraform state rm cc_wrap_key.NAME")
	w.terraform("destroy", "-auto-approve", "-refresh=false")
}

func TestWrapKeyRejects(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rejects(t, []rejection{
		{"empty path", wrapKeyConfig(""), "value must be the path of a file"},
		{"folder", wrapKeyConfig(dir + "/"), "value must be the path of a file: not empty, not ending in a slash"},
		{"on_destroy", wrapKeyConfig("k", `on_destroy = "shred"`), `value must be one of "keep", "delete", got: shred`},
		{"on_missing", wrapKeyConfig("k", `on_missing = "create"`), `value must be one of "error", "ignore", got: create`},
		{"fingerprint", wrapKeyConfig("k", `fingerprint = "00"`), "Cannot set value for this attribute"},
	})
	accept(t, resource.TestStep{
		ResourceName: wrapKeyAddr, ImportState: true, ImportStateId: filepath.Join(dir, "none.key"),
		Config: wrapKeyConfig("k"), ExpectError: says("The import id of a cc_wrap_key is the path of a file"),
	})
}

// TestWrapKeyUnknownPath plans with a path that only apply knows.
func TestWrapKeyUnknownPath(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "model.key")
	config := fmt.Sprintf(`
resource "terraform_data" "path" { input = %s }
resource "cc_wrap_key" "model" { file = terraform_data.path.output }
`, quote(file))
	accept(t,
		resource.TestStep{Config: config, ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
			plancheck.ExpectUnknownValue(wrapKeyAddr, tfjsonpath.New("file")),
		}}},
		resource.TestStep{Config: config, ConfigPlanChecks: emptyPlan()},
	)
	checkKeyFile(t, file)
}

func TestWrapKeyCanary(t *testing.T) {
	t.Parallel()
	canary{
		Config:  wrapKeyConfig("keys/planted.key", `on_destroy = "delete"`),
		Planted: "keys/planted.key",
		Secrets: func(t *testing.T, dir string) map[string][]byte {
			return map[string][]byte{"wrap key": mustRead(t, filepath.Join(dir, "keys", "planted.key"))}
		},
	}.hunt(t)
}

// TestWrapKeyWarnings reads what Terraform prints: plugin-testing does not
// show warnings.
func TestWrapKeyWarnings(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, wrapKeyConfig("model.key"))
	w.terraform("apply", "-auto-approve")
	file := filepath.Join(w.dir, "model.key")
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	expectOutput(t, w.terraform("plan"), "Warning: Wrap key file open to others", "its mode is 0644", "chmod 600")
	rename(t, file, file+".away")
	expectOutput(t, w.terraform("plan", "-refresh-only"), "Warning: Wrap key not usable", "Could not read wrap key model.key: no such file")
	rename(t, file+".away", file)
	expectOutput(t, w.terraform("destroy", "-auto-approve"), "Warning: Wrap key file kept", "stays in model.key")
}

func expectOutput(t *testing.T, output string, sentences ...string) {
	t.Helper()
	for _, s := range sentences {
		if !says(s).MatchString(output) {
			t.Errorf("%q is not in the output:\n%s", s, output)
		}
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
