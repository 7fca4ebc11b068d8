package resources_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/ccctl/terraform-provider-cc/internal/serving/savedmodel"
)

// variablesIndex has what the end of every checkpoint's index has.
var variablesIndex = append(make([]byte, 48), "\x57\xfb\x80\x8b\x24\x75\x47\xdb"...)

// newSModelDir is a SavedModel's directory, with variables and assets.
func newSModelDir(t *testing.T) *smodel {
	t.Helper()
	f := newSModel(t)
	graph := mustRead(t, f.src)
	var model bytes.Buffer
	if _, err := savedmodel.Convert(&model, bytes.NewReader(graph), int64(len(graph)), savedmodel.Options{}); err != nil {
		t.Fatal(err)
	}
	f.src = filepath.Join(f.dir, "source", "7")
	for name, data := range map[string][]byte{
		"saved_model.pb": model.Bytes(), "variables/variables.index": variablesIndex, "variables/variables.data-00000-of-00001": []byte("values"),
		"assets/words.txt": []byte("one\ntwo\n"),
	} {
		mustWrite(t, filepath.Join(f.src, filepath.FromSlash(name)), data, 0o644)
	}
	return f
}

// TestSavedModelDirectory publishes a SavedModel with variables and assets as it
// is, and encrypts each of its files in the same apply.
func TestSavedModelDirectory(t *testing.T) {
	t.Parallel()
	f := newSModelDir(t)
	key := newKey(t)
	keyFile, upload := filepath.Join(f.dir, "wrap.key"), filepath.Join(f.dir, "upload")
	mustWrite(t, keyFile, key[:], 0o600)
	plain := f.config("model_version = 3")
	config := plain + fmt.Sprintf(`
resource "cc_encrypted_file" "model" {
  for_each      = cc_saved_model.model.files
  source        = each.value
  destination   = "%[1]s/models/digits/3/${each.key}"
  enclave_path  = "models/digits/3/${each.key}"
  wrap_key_file = %[2]s
}
`, upload, quote(keyFile))
	names := []string{"saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001", "assets/words.txt"}
	at := func(dir, name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
	version := filepath.Join(f.exported, "3")
	everything := []statecheck.StateCheck{fileCheck(func() error {
		for _, name := range names {
			if !bytes.Equal(mustRead(t, at(version, name)), mustRead(t, at(f.src, name))) {
				return fmt.Errorf("%s is not a copy", name)
			}
			e := &efile{t: t, src: at(version, name), dst: at(filepath.Join(upload, "models", "digits", "3"), name)}
			if err := e.opens("models/digits/3/"+name, key)(nil); err != nil {
				return err
			}
		}
		return nil
	})}
	paths := func() knownvalue.Check {
		all := map[string]knownvalue.Check{}
		for _, name := range names {
			all[name] = knownvalue.StringExact(at(version, name))
		}
		return knownvalue.MapExact(all)
	}
	encrypted := func(name string) string { return fmt.Sprintf("cc_encrypted_file.model[%q]", name) }
	words := at(f.src, "assets/words.txt")
	accept(t,
		resource.TestStep{
			Config:            config,
			ConfigPlanChecks:  before(planKnows("files", paths()), planKnows("saved_model_file", knownvalue.StringExact(at(version, "saved_model.pb")))),
			ConfigStateChecks: []statecheck.StateCheck{everything[0], modelHas("files", paths()), modelHas("optimization", knownvalue.Null())},
		},
		resource.TestStep{Config: config, ConfigPlanChecks: emptyPlan()},
		resource.TestStep{ // another asset: the file is encrypted again
			PreConfig: func() { mustWrite(t, words, []byte("three\n"), 0o644) },
			Config:    config, ConfigStateChecks: everything,
			ConfigPlanChecks: before(plancheck.ExpectResourceAction(savedModelAddr, plancheck.ResourceActionUpdate),
				plancheck.ExpectResourceAction(encrypted("assets/words.txt"), plancheck.ResourceActionUpdate),
				plancheck.ExpectUnknownValue(savedModelAddr, tfjsonpath.New("files").AtMapKey("assets/words.txt"))),
		},
		resource.TestStep{ // one more and one less
			PreConfig: func() {
				remove(t, words)
				mustWrite(t, at(f.src, "assets.extra/tf_serving_warmup_requests"), []byte("warm"), 0o644)
				names = append(names[:3:3], "assets.extra/tf_serving_warmup_requests")
			},
			Config: config,
			ConfigPlanChecks: before(plancheck.ExpectResourceAction(encrypted("assets/words.txt"), plancheck.ResourceActionDestroy),
				plancheck.ExpectResourceAction(encrypted("assets.extra/tf_serving_warmup_requests"), plancheck.ResourceActionCreate)),
			ConfigStateChecks: []statecheck.StateCheck{everything[0], fileCheck(func() error {
				mustBeGone(t, at(version, "assets/words.txt"))
				return nil
			})},
		},
		resource.TestStep{Config: config, ConfigPlanChecks: emptyPlan()},
		resource.TestStep{ // drift of a file that is not saved_model.pb
			PreConfig:         func() { mustWrite(t, at(version, "variables/variables.index"), []byte("theirs"), 0o644) },
			Config:            config,
			ConfigPlanChecks:  before(expectBefore(savedModelAddr, "condition", "^altered$")),
			ConfigStateChecks: everything,
		},
		resource.TestStep{Config: plain}, // the test framework can neither import nor destroy beside for_each
		resource.TestStep{
			Config: plain, ResourceName: savedModelAddr, ImportState: true, ImportStateVerify: true,
			ImportStateId: fmt.Sprintf(`{"source": %q, "export_dir": %q, "model_version": 3}`, f.src, f.exported),
		},
	)
	if entries, err := os.ReadDir(f.exported); err != nil || len(entries) != 0 {
		t.Errorf("destroy left %v, %v", entries, err)
	}
}

// fileCheck looks at files where the test framework cannot read the state for a
// Check, because of for_each.
type fileCheck func() error

func (c fileCheck) CheckState(_ context.Context, _ statecheck.CheckStateRequest, resp *statecheck.CheckStateResponse) {
	resp.Error = c()
}

// TestSavedModelDirectoryRejects names what does not fit, and what is incomplete.
func TestSavedModelDirectoryRejects(t *testing.T) {
	t.Parallel()
	f, cut := newSModelDir(t), newSModelDir(t)
	remove(t, filepath.Join(cut.src, "variables", "variables.index"))
	rejects(t, []rejection{
		{"optimised", f.config("optimize = true"), "it is a SavedModel, and only a frozen graph is optimised"},
		{"inputs", f.config(`inputs = ["image"]`), "it is a SavedModel, whose signatures stay as they are"},
		{"digest", f.config(`source_sha256 = "0000000000000000000000000000000000000000000000000000000000000000"`), "it is a directory, which has no SHA-256 of its own"},
		{"cut", cut.config(), "variables/variables.index is missing, without which"},
	})
}

// TestSavedModelOptimize makes an optimised model, of a path and of a URL.
func TestSavedModelOptimize(t *testing.T) {
	t.Parallel()
	f := newSModel(t)
	optimized := f.converted("1", savedmodel.Options{Optimize: true})
	report := knownvalue.ObjectExact(map[string]knownvalue.Check{
		"nodes_before": knownvalue.Int64Exact(65), "nodes_after": knownvalue.Int64Exact(28), "bytes_before": knownvalue.Int64Exact(37247),
		"bytes_after": knownvalue.Int64Exact(31590), "batch_norms_folded": knownvalue.Int64Exact(4), "left": knownvalue.ListExact(nil),
	})
	url := []string{"optimize = true", "source = " + quote("file://"+f.src), fmt.Sprintf("source_sha256 = \"%x\"", digests(mustRead(t, f.src))["SHA-256"])}
	away := f.src + ".away"
	accept(t,
		resource.TestStep{Config: f.config(), Check: f.converted("1", savedmodel.Options{}), ConfigStateChecks: []statecheck.StateCheck{modelHas("optimization", knownvalue.Null())}},
		resource.TestStep{
			Config: f.config("optimize = true"), Check: optimized, ConfigStateChecks: []statecheck.StateCheck{modelHas("optimization", report)},
			ConfigPlanChecks: before(plancheck.ExpectResourceAction(savedModelAddr, plancheck.ResourceActionUpdate), leavesOpen("saved_model_file"), leavesOpen("optimization")),
		},
		resource.TestStep{Config: f.config("optimize = true"), ConfigPlanChecks: emptyPlan()},
		resource.TestStep{
			Config: f.config("optimize = true"), ResourceName: savedModelAddr, ImportState: true, ImportStateVerify: true,
			ImportStateId: fmt.Sprintf(`{"source": %q, "export_dir": %q, "optimize": true}`, f.src, f.exported),
		},
		resource.TestStep{Config: f.config(url...), Check: optimized},
		resource.TestStep{ // the server is gone, which nobody needs to notice
			PreConfig: func() { rename(t, f.src, away) },
			Config:    f.config(url...), ConfigPlanChecks: emptyPlan(),
		},
		resource.TestStep{ // but an altered model is noticed, and fetched again
			PreConfig: func() { mustWrite(t, f.file("1"), []byte("another"), 0o600); rename(t, away, f.src) },
			Config:    f.config(url...), Check: optimized,
			ConfigPlanChecks: before(expectBefore(savedModelAddr, "condition", "^altered$")),
		},
	)
	mustBeGone(t, f.file("1"))
}
