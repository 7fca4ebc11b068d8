package resources_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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

	"github.com/ccctl/terraform-provider-cc/internal/serving/savedmodel"
)

const savedModelAddr = "cc_saved_model.model"

// quickstartGraph is the frozen graph that the quickstart ships.
var quickstartGraph = filepath.Join("..", "..", "examples", "quickstart", "model", "digits.pb")

// smodel is a folder with a copy of the quickstart's graph, and the
// configuration of a cc_saved_model of it.
type smodel struct {
	t        *testing.T
	dir      string
	src      string
	exported string
}

func newSModel(t *testing.T) *smodel {
	t.Helper()
	dir := t.TempDir()
	f := &smodel{t: t, dir: dir, src: filepath.Join(dir, "graph.pb"), exported: filepath.Join(dir, "models", "digits")}
	mustWrite(t, f.src, mustRead(t, quickstartGraph), 0o640)
	return f
}

func (f *smodel) file(version string) string {
	return filepath.Join(f.exported, version, "saved_model.pb")
}

// config gives the resource; arguments replace the defaults of the same name.
func (f *smodel) config(arguments ...string) string {
	set := map[string]string{"source": quote(f.src), "export_dir": quote(f.exported)}
	for _, a := range arguments {
		name, value, _ := strings.Cut(a, " = ")
		set[name] = value
	}
	var lines []string
	for name, value := range set {
		lines = append(lines, "  "+name+" = "+value+"\n")
	}
	slices.Sort(lines)
	return "resource \"cc_saved_model\" \"model\" {\n" + strings.Join(lines, "") + "}\n"
}

// retrain makes the source another graph: one more field, which TensorFlow
// does not know and conversion keeps.
func (f *smodel) retrain() {
	mustWrite(f.t, f.src, append(mustRead(f.t, f.src), 0xfa, 0x3e, 0x01, 0x00), 0o640)
}

// converted checks that the published file is the conversion of the source.
func (f *smodel) converted(version string, opts savedmodel.Options) resource.TestCheckFunc {
	return func(*terraform.State) error {
		graph := mustRead(f.t, f.src)
		var want bytes.Buffer
		if _, err := savedmodel.Convert(&want, bytes.NewReader(graph), int64(len(graph)), opts); err != nil {
			return err
		}
		if !bytes.Equal(mustRead(f.t, f.file(version)), want.Bytes()) {
			return fmt.Errorf("%s is not what the source converts to", f.file(version))
		}
		return nil
	}
}

func modelHas(name string, value knownvalue.Check) statecheck.StateCheck {
	return statecheck.ExpectKnownValue(savedModelAddr, tfjsonpath.New(name), value)
}

func planKnows(name string, value knownvalue.Check) plancheck.PlanCheck {
	return plancheck.ExpectKnownValue(savedModelAddr, tfjsonpath.New(name), value)
}

func leavesOpen(name string) plancheck.PlanCheck {
	return plancheck.ExpectUnknownValue(savedModelAddr, tfjsonpath.New(name))
}

func before(checks ...plancheck.PlanCheck) resource.ConfigPlanChecks {
	return resource.ConfigPlanChecks{PreApply: checks}
}

func tensorCheck(key, tensor string, dims ...int64) knownvalue.Check {
	var shape []knownvalue.Check
	for _, d := range dims {
		shape = append(shape, knownvalue.Int64Exact(d))
	}
	return knownvalue.ObjectExact(map[string]knownvalue.Check{
		"key": knownvalue.StringExact(key), "tensor": knownvalue.StringExact(tensor), "dtype": knownvalue.StringExact("float32"),
		"shape": knownvalue.ListExact(shape),
	})
}

func TestSavedModelLife(t *testing.T) {
	t.Parallel()
	f := newSModel(t)
	update := plancheck.ExpectResourceAction(savedModelAddr, plancheck.ResourceActionUpdate)
	digestChanges, digestStays := statecheck.CompareValue(compare.ValuesDiffer()), statecheck.CompareValue(compare.ValuesSame())
	digest := tfjsonpath.New("digest")
	var first []byte
	accept(t,
		resource.TestStep{ // create: the path is known when it is planned
			Config: f.config(),
			ConfigPlanChecks: before(
				planKnows("saved_model_file", knownvalue.StringExact(f.file("1"))),
				planKnows("id", knownvalue.StringExact(filepath.Dir(f.file("1")))),
				planKnows("condition", knownvalue.StringExact("intact")),
				leavesOpen("digest"),
			),
			ConfigStateChecks: []statecheck.StateCheck{
				modelHas("size", knownvalue.Int64Exact(37410)),
				modelHas("signature", knownvalue.ObjectExact(map[string]knownvalue.Check{
					"inputs":  knownvalue.ListExact([]knownvalue.Check{tensorCheck("input", "input:0", -1, 8, 8, 1)}),
					"outputs": knownvalue.ListExact([]knownvalue.Check{tensorCheck("predict", "predict:0", -1, 10)}),
				})),
				modelHas("model_version", knownvalue.Int64Exact(1)),
				modelHas("inputs", knownvalue.ListExact([]knownvalue.Check{knownvalue.StringExact("input")})),
				modelHas("outputs", knownvalue.ListExact([]knownvalue.Check{knownvalue.StringExact("predict")})),
				modelHas("on_missing", knownvalue.StringExact("recreate")),
				modelHas("condition", knownvalue.StringExact("intact")),
				modelHas("digest", knownvalue.StringRegexp(regexp.MustCompile(`^hmac-sha256:[0-9a-f]{8}:[0-9a-f]{64}$`))),
				digestChanges.AddStateValue(savedModelAddr, digest),
			},
			Check: func(s *terraform.State) error {
				first = mustRead(t, f.file("1"))
				if info, err := os.Stat(f.file("1")); err != nil || info.Mode() != 0o640 {
					t.Errorf("mode %v, %v; want that of the source", info.Mode(), err)
				}
				return f.converted("1", savedmodel.Options{})(s)
			},
		},
		resource.TestStep{Config: f.config(), ConfigPlanChecks: emptyPlan()},
		resource.TestStep{ // the time stamp does not matter
			PreConfig: func() {
				if err := os.Chtimes(f.src, time.Now(), time.Now().Add(time.Hour)); err != nil {
					t.Fatal(err)
				}
			},
			Config: f.config(), ConfigPlanChecks: emptyPlan(),
		},
		resource.TestStep{ // nor does another spelling
			Config: f.config(`inputs = ["input=input:0"]`, `outputs = ["predict:0"]`, "export_dir = "+quote(f.dir+"/./models/digits/")), ConfigPlanChecks: emptyPlan(),
		},
		resource.TestStep{ // the content does
			PreConfig: f.retrain,
			Config:    f.config(),
			ConfigPlanChecks: before(update, leavesOpen("saved_model_file"), leavesOpen("digest"),
				leavesOpen("size"), planKnows("id", knownvalue.StringExact(filepath.Dir(f.file("1"))))),
			ConfigStateChecks: []statecheck.StateCheck{digestChanges.AddStateValue(savedModelAddr, digest), digestStays.AddStateValue(savedModelAddr, digest)},
			Check: func(s *terraform.State) error {
				if bytes.Equal(mustRead(t, f.file("1")), first) {
					t.Error("the file did not change")
				}
				return f.converted("1", savedmodel.Options{})(s)
			},
		},
		resource.TestStep{ // a source of another name and the same content
			PreConfig:         func() { rename(t, f.src, f.src+"2"); f.src += "2" },
			Config:            f.config("source = " + quote(f.src+"2")),
			ConfigPlanChecks:  before(update, planKnows("saved_model_file", knownvalue.StringExact(f.file("1")))),
			ConfigStateChecks: []statecheck.StateCheck{digestStays.AddStateValue(savedModelAddr, digest)},
		},
		resource.TestStep{ // another signature
			Config:           f.config("source = "+quote(f.src+"2"), `outputs = ["scores=predict", "pool@float32[-1,48]"]`),
			ConfigPlanChecks: before(update, leavesOpen("saved_model_file")),
			ConfigStateChecks: []statecheck.StateCheck{
				statecheck.ExpectKnownValue(savedModelAddr, tfjsonpath.New("signature").AtMapKey("outputs"),
					knownvalue.ListExact([]knownvalue.Check{tensorCheck("scores", "predict:0", -1, 10), tensorCheck("pool", "pool:0", -1, 48)})),
				digestChanges.AddStateValue(savedModelAddr, digest),
			},
		},
		resource.TestStep{ // another version: the new one is there before the old one goes
			Config: f.config("source = "+quote(f.src+"2"), "model_version = 2"),
			ConfigPlanChecks: before(update, planKnows("saved_model_file", knownvalue.StringExact(f.file("2"))),
				planKnows("id", knownvalue.StringExact(filepath.Dir(f.file("2"))))),
			Check: func(s *terraform.State) error {
				mustBeGone(t, filepath.Dir(f.file("1")))
				return f.converted("2", savedmodel.Options{})(s)
			},
		},
		resource.TestStep{Config: f.config("source = "+quote(f.src+"2"), "model_version = 2"), ConfigPlanChecks: emptyPlan()},
	)
	if entries, err := os.ReadDir(f.exported); err != nil || len(entries) != 0 {
		t.Errorf("destroy left %v, %v", entries, err)
	}
}

func TestSavedModelImport(t *testing.T) {
	t.Parallel()
	f := newSModel(t)
	config := f.config(`outputs = ["scores=predict"]`)
	id, err := json.Marshal(map[string]any{"source": f.src, "export_dir": f.exported, "model_version": 1})
	if err != nil {
		t.Fatal(err)
	}
	graph := mustRead(t, f.src)
	var model bytes.Buffer
	if _, err := savedmodel.Convert(&model, bytes.NewReader(graph), int64(len(graph)),
		savedmodel.Options{Outputs: []savedmodel.TensorSpec{{Key: "scores", Node: "predict"}}}); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, f.file("1"), model.Bytes(), 0o600)
	imports := func(id string) resource.TestStep {
		return resource.TestStep{Config: config, ResourceName: savedModelAddr, ImportState: true, ImportStateId: id, ImportStatePersist: true}
	}
	failing := func(id, want string) resource.TestStep {
		s := imports(id)
		s.ExpectError = says(want)
		return s
	}
	accept(t,
		failing(f.src, "The import id of a cc_saved_model is a JSON object"),
		failing(`{"source": "x"}`, "source and export_dir are needed"),
		failing(fmt.Sprintf(`{"source": %q, "export_dir": %q, "model_version": 9}`, f.src, f.exported), "no such file or directory"),
		failing(fmt.Sprintf(`{"source": %q, "export_dir": %q}`, f.file("1"), f.exported), "this is a SavedModel already"),
		imports(string(id)),
		resource.TestStep{Config: config, ConfigPlanChecks: emptyPlan()},
		resource.TestStep{Config: config, ResourceName: savedModelAddr, ImportState: true, ImportStateId: string(id), ImportStateVerify: true},
	)
	mustBeGone(t, f.file("1"))
}

func TestSavedModelDrift(t *testing.T) {
	t.Parallel()
	f := newSModel(t)
	repaired := func(condition string, damage func()) resource.TestStep {
		return resource.TestStep{
			PreConfig: damage,
			Config:    f.config(),
			ConfigPlanChecks: before(plancheck.ExpectResourceAction(savedModelAddr, plancheck.ResourceActionUpdate),
				leavesOpen("saved_model_file"),
				beforeCheck{savedModelAddr, "condition", regexp.MustCompile("^" + condition + "$")}),
			Check: f.converted("1", savedmodel.Options{}),
		}
	}
	accept(t,
		resource.TestStep{Config: f.config()},
		repaired("missing", func() { remove(t, f.file("1")) }),
		repaired("missing", func() { removeAll(t, f.exported) }), // the digest key with it
		repaired("altered", func() { mustWrite(t, f.file("1"), []byte("another model"), 0o600) }),
		repaired("altered", func() { // without the key, compared with the source
			remove(t, filepath.Join(f.exported, ".digest-key"))
			mustWrite(t, f.file("1"), []byte("another model"), 0o600)
		}),
		resource.TestStep{ // the key alone is no drift: the file is what the source converts to
			PreConfig: func() { remove(t, filepath.Join(f.exported, ".digest-key")) },
			Config:    f.config(), ConfigPlanChecks: emptyPlan(),
		},
		repaired("unreadable", func() {
			remove(t, f.file("1"))
			if err := os.Symlink(f.file("1"), f.file("1")); err != nil { // unreadable for root too
				t.Fatal(err)
			}
		}),
	)
	mustBeGone(t, f.file("1"))
}

// TestSavedModelOnMissing has a state that is shared with machines that have no
// model: what is missing there is no drift, a changed source is.
func TestSavedModelOnMissing(t *testing.T) {
	t.Parallel()
	f := newSModel(t)
	key := filepath.Join(f.dir, "wrap.key")
	mustWrite(t, key, bytes.Repeat([]byte{7}, 16), 0o600)
	shared := []string{"digest_key_file = " + quote(key), `on_missing = "ignore"`}
	away := filepath.Join(f.dir, "away")
	accept(t,
		resource.TestStep{Config: f.config(shared...), Check: func(*terraform.State) error {
			mustBeGone(t, filepath.Join(f.exported, ".digest-key"))
			return nil
		}},
		resource.TestStep{ // another machine: no model
			PreConfig: func() { removeAll(t, f.exported) },
			Config:    f.config(shared...), ConfigPlanChecks: emptyPlan(),
		},
		resource.TestStep{ // nor a graph
			PreConfig: func() { rename(t, f.src, away) },
			Config:    f.config(shared...), ConfigPlanChecks: emptyPlan(),
		},
		resource.TestStep{ // a new graph is published
			PreConfig:        func() { rename(t, away, f.src); f.retrain() },
			Config:           f.config(shared...),
			ConfigPlanChecks: expectAction(savedModelAddr, plancheck.ResourceActionUpdate),
			Check:            f.converted("1", savedmodel.Options{}),
		},
		resource.TestStep{ // another key changes the digest and not the file
			PreConfig:        func() { mustWrite(t, key+"2", bytes.Repeat([]byte{8}, 16), 0o600) },
			Config:           f.config("digest_key_file = "+quote(key+"2"), `on_missing = "ignore"`),
			ConfigPlanChecks: before(leavesOpen("digest"), planKnows("saved_model_file", knownvalue.StringExact(f.file("1")))),
		},
		resource.TestStep{Config: f.config("digest_key_file = "+quote(key+"2"), `on_missing = "ignore"`), ConfigPlanChecks: emptyPlan()},
	)
	mustBeGone(t, f.file("1"))
}

// TestSavedModelTwoMachines applies one state from two folders: they do not
// take each other's digest for drift.
func TestSavedModelTwoMachines(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, (&smodel{src: "graph.pb", exported: "models", t: t}).config())
	graph := mustRead(t, quickstartGraph)
	mustWrite(t, filepath.Join(w.dir, "graph.pb"), graph, 0o600)
	w.terraform("apply", "-auto-approve")
	here, there := filepath.Join(w.dir, "models"), filepath.Join(w.aside, "models")
	rename(t, here, there) // the other machine has none yet
	w.terraform("apply", "-auto-approve")
	second := mustRead(t, filepath.Join(here, ".digest-key"))
	removeAll(t, here)
	rename(t, there, here) // back on the first
	if bytes.Equal(mustRead(t, filepath.Join(here, ".digest-key")), second) {
		t.Fatal("both machines have one key")
	}
	expectOutput(t, w.terraform("plan", "-detailed-exitcode"), "No changes.")
	w.terraform("destroy", "-auto-approve")
	mustBeGone(t, filepath.Join(here, "1"))
}

func TestSavedModelExistingVersion(t *testing.T) {
	t.Parallel()
	f := newSModel(t)
	mustWrite(t, f.file("1"), []byte("somebody's model"), 0o600)
	accept(t,
		resource.TestStep{Config: f.config(), ExpectError: says("Error: Model version exists already")},
		resource.TestStep{Config: f.config(), ExpectError: says("A version that a server may have loaded is never overwritten.")},
		resource.TestStep{Config: f.config("model_version = 2")},
		resource.TestStep{Config: f.config("model_version = 1"), ExpectError: says("Error: Model version exists already")},
		resource.TestStep{Config: f.config("model_version = 2"), ConfigPlanChecks: emptyPlan()},
	)
	if string(mustRead(t, f.file("1"))) != "somebody's model" {
		t.Error("the model in the way was changed")
	}
}

// TestSavedModelDestroyLeavesOthers does not delete what it did not make.
func TestSavedModelDestroyLeavesOthers(t *testing.T) {
	t.Parallel()
	f := newSModel(t)
	w := newWorkspace(t, f.config())
	w.terraform("apply", "-auto-approve")
	mustWrite(t, f.file("1"), []byte("somebody's model"), 0o600)
	mustWrite(t, filepath.Join(f.exported, "1", "assets.extra", "x"), nil, 0o600)
	expectOutput(t, w.terraform("destroy", "-auto-approve"), "Warning: SavedModel left in place", "it is not the model that was published")
	if string(mustRead(t, f.file("1"))) != "somebody's model" {
		t.Error("the model was changed")
	}
}

func TestSavedModelRejects(t *testing.T) {
	t.Parallel()
	f := newSModel(t)
	const wrong = "0000000000000000000000000000000000000000000000000000000000000000"
	rejects(t, []rejection{
		{"empty source", f.config(`source = ""`), "value must be the path of a file"},
		{"plain http", f.config(`source = "http://127.0.0.1/x"`, "source_sha256 = "+quote(wrong)), `the scheme is "http", want https or file`},
		{"password in URL", f.config(`source = "https://u:p@127.0.0.1/x"`, "source_sha256 = "+quote(wrong)), "the URL has a user name or password"},
		{"URL without digest", f.config(`source = "https://127.0.0.1/x"`), "Error: Source without digest"},
		{"empty export_dir", f.config(`export_dir = ""`), "value must be the path of a directory"},
		{"version", f.config("model_version = -1"), "value must be at least 0"},
		{"no inputs", f.config("inputs = []"), "list must contain at least 1 elements"},
		{"tensor", f.config(`outputs = ["a b"]`), `parse tensor "a b": "a b" is not a node's name`},
		{"dtype", f.config(`outputs = ["a@float"]`), `parse dtype "float": TensorFlow has`},
		{"digest form", f.config(`source_sha256 = "ABC"`), "value must be 64 lower-case hex digits"},
		{"on_missing", f.config(`on_missing = "error"`), `value must be one of "recreate", "ignore", got: error`},
		{"computed", f.config(`digest = "x"`), "Cannot set value for this attribute"},
		{"other file", f.config("source_sha256 = " + quote(wrong)), "Error: Source is another file"},
		{"no such output", f.config(`outputs = ["none"]`), `output "none": the graph has no node "none"; nodes that nobody consumes are predict`},
		{"forgotten input", f.config(`inputs = ["pool"]`, `outputs = ["conv1/Relu"]`), `node "input": an output depends on this placeholder, which no request could fill`},
		{"not a graph", f.config("source = " + quote("saved_model_resource_test.go")), "neither a frozen graph nor a SavedModel"},
		{"folder", f.config("source = " + quote(f.dir)), "the directory has no saved_model.pb"},
	})
	accept(t,
		resource.TestStep{Config: f.config("source = " + quote(f.src+".none")), ExpectError: says("Error: Source file missing")},
		resource.TestStep{Config: f.config("digest_key_file = " + quote(f.src+".none")), ExpectError: says("read digest key")},
		resource.TestStep{Config: f.config("source = "+quote("file://"+f.src), "source_sha256 = "+quote(wrong)), ExpectError: says("Error: Source is another file")},
	)
	mustBeGone(t, f.file("1"))
}

// TestSavedModelUnknown plans with values that only apply knows.
func TestSavedModelUnknown(t *testing.T) {
	t.Parallel()
	f := newSModel(t)
	config := func(output string) string {
		return fmt.Sprintf("resource \"terraform_data\" \"is\" { input = { source = %s, dir = %s, output = %q } }\n", quote(f.src), quote(f.exported), output) +
			f.config("source = terraform_data.is.output.source", "export_dir = terraform_data.is.output.dir", "outputs = [terraform_data.is.output.output]")
	}
	accept(t,
		resource.TestStep{Config: config("a b"), ExpectError: says(`parse tensor "a b"`)}, // unknown when it was validated
		resource.TestStep{Config: config("predict"), ConfigPlanChecks: before(leavesOpen("saved_model_file")), Check: f.converted("1", savedmodel.Options{})},
		resource.TestStep{Config: config("predict"), ConfigPlanChecks: emptyPlan()},
	)
}

// TestSavedModelChain encrypts a model in the apply that makes it, and again in
// the apply that changes it.
func TestSavedModelChain(t *testing.T) {
	t.Parallel()
	f := newSModel(t)
	key := newKey(t)
	keyFile, out := filepath.Join(f.dir, "wrap.key"), filepath.Join(f.dir, "upload", "saved_model.pb")
	mustWrite(t, keyFile, key[:], 0o600)
	config := f.config() + fmt.Sprintf(`
resource "cc_encrypted_file" "model" {
  source        = cc_saved_model.model.saved_model_file
  destination   = %s
  enclave_path  = "models/1/saved_model.pb"
  wrap_key_file = %s
}
`, quote(out), quote(keyFile))
	encrypted := (&efile{t: t, src: f.file("1"), dst: out}).opens("models/1/saved_model.pb", key)
	accept(t,
		resource.TestStep{Config: config, Check: encrypted},
		resource.TestStep{Config: config, ConfigPlanChecks: emptyPlan()},
		resource.TestStep{
			PreConfig: f.retrain, Config: config, Check: encrypted,
			ConfigPlanChecks: expectAction(encryptedFileAddr, plancheck.ResourceActionUpdate),
		},
		resource.TestStep{Config: config, ConfigPlanChecks: emptyPlan()},
	)
}

// TestSavedModelURL makes a model of a URL: it is fetched to be published, and
// not for a plan or a refresh.
func TestSavedModelURL(t *testing.T) {
	t.Parallel()
	f := newSModel(t)
	sum := func() string { return fmt.Sprintf("source_sha256 = \"%x\"", digests(mustRead(t, f.src))["SHA-256"]) }
	url := "source = " + quote("file://"+f.src)
	pin := sum()
	away := f.src + ".away"
	accept(t,
		resource.TestStep{Config: f.config(url, pin), Check: f.converted("1", savedmodel.Options{})},
		resource.TestStep{ // the server is gone, which nobody needs to notice
			PreConfig: func() { rename(t, f.src, away) },
			Config:    f.config(url, pin), ConfigPlanChecks: emptyPlan(),
		},
		resource.TestStep{ // a lost key: the graph inside the model is the pinned one
			PreConfig: func() { remove(t, filepath.Join(f.exported, ".digest-key")) },
			Config:    f.config(url, pin), ConfigPlanChecks: emptyPlan(),
		},
		resource.TestStep{ // but it has to be there again to repair the model
			PreConfig: func() { remove(t, f.file("1")) },
			Config:    f.config(url, pin), ExpectError: says("Error: Source file missing"),
		},
		resource.TestStep{
			PreConfig: func() { rename(t, away, f.src) },
			Config:    f.config(url, pin), Check: f.converted("1", savedmodel.Options{}),
			ConfigPlanChecks: before(expectBefore(savedModelAddr, "condition", "^missing$")),
		},
	)
	f.retrain()
	accept(t,
		resource.TestStep{Config: f.config(url, pin), ExpectError: says("Error: Source is another file")},
		resource.TestStep{Config: f.config(url, sum()), Check: f.converted("1", savedmodel.Options{})},
		resource.TestStep{
			Config:       f.config(url, sum()),
			ResourceName: savedModelAddr, ImportState: true, ImportStateVerify: true,
			ImportStateId: fmt.Sprintf(`{"source": "file://%s", "source_sha256": "%x", "export_dir": %q}`, f.src, digests(mustRead(t, f.src))["SHA-256"], f.exported),
		},
		resource.TestStep{ // another digest is another model
			PreConfig: f.retrain,
			Config:    f.config(url, fmt.Sprintf("source_sha256 = \"%x\"", digests(append(mustRead(t, f.src), 0xfa, 0x3e, 0x01, 0x00))["SHA-256"])),
			ConfigPlanChecks: before(plancheck.ExpectResourceAction(savedModelAddr, plancheck.ResourceActionUpdate),
				leavesOpen("saved_model_file")),
			Check: f.converted("1", savedmodel.Options{}),
		},
	)
}

// TestSavedModelStalePlan applies a saved plan after the source has changed:
// what is there then is published, unless the source is pinned.
func TestSavedModelStalePlan(t *testing.T) {
	t.Parallel()
	f := newSModel(t)
	w := newWorkspace(t, f.config())
	w.terraform("plan", "-out=saved.tfplan")
	f.retrain()
	w.terraform("apply", "saved.tfplan")
	if err := f.converted("1", savedmodel.Options{})(nil); err != nil {
		t.Error(err)
	}
	w.terraform("destroy", "-auto-approve")

	pinned := newSModel(t)
	sum := digests(mustRead(t, pinned.src))["SHA-256"]
	w = newWorkspace(t, pinned.config(fmt.Sprintf("source_sha256 = \"%x\"", sum)))
	w.terraform("plan", "-out=saved.tfplan")
	pinned.retrain()
	expectOutput(t, w.fails("apply", "saved.tfplan"), "Error: Source is another file", "it is not the pinned file: its SHA-256 is")
	mustBeGone(t, pinned.exported)
}

// TestSavedModelWarnings reads what Terraform prints: plugin-testing does not
// show warnings.
func TestSavedModelWarnings(t *testing.T) {
	t.Parallel()
	f := newSModel(t)
	w := newWorkspace(t, f.config(`inputs = ["input", "pool"]`, `outputs = ["conv1/Relu"]`))
	expectOutput(t, w.terraform("plan"), "Warning: SavedModel perhaps not what was meant", `no output depends on input "pool" (pool:0).`)
	w.terraform("apply", "-auto-approve")
	remove(t, f.file("1"))
	expectOutput(t, w.terraform("plan"), "Warning: SavedModel missing", "Could not read saved model "+f.file("1")+": no such file or directory.",
		`~ condition = "missing" -> "intact"`)
	mustWrite(t, f.file("1"), []byte("x"), 0o600)
	expectOutput(t, w.terraform("plan"), "Warning: SavedModel altered", "it is not the model that was published.", `~ condition = "altered" -> "intact"`)
	w.terraform("apply", "-auto-approve")
	w.terraform("destroy", "-auto-approve")
}

// TestSavedModelCanary looks for the model, its digests and the key of the
// digest that the state keeps.
func TestSavedModelCanary(t *testing.T) {
	t.Parallel()
	graph := mustRead(t, quickstartGraph)
	config := func(dir string) string {
		return (&smodel{t: t, src: dir + "/digits.pb", exported: "planted/models"}).config()
	}
	canary{
		Config:  config(quoteless(t)),
		Planted: "planted/models",
		Secrets: func(t *testing.T, dir string) map[string][]byte {
			model := mustRead(t, filepath.Join(dir, "planted", "models", "1", "saved_model.pb"))
			secrets := map[string][]byte{
				"digest key": mustRead(t, filepath.Join(dir, "planted", "models", ".digest-key")),
				"weights":    graph[200:232],
			}
			for name, plain := range map[string][]byte{"graph": graph, "model": model} {
				for hash, sum := range digests(plain) {
					secrets[hash+" of the "+name] = sum
				}
			}
			return secrets
		},
	}.hunt(t)
}

// quoteless is the quickstart's model folder as an absolute path.
func quoteless(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Dir(quickstartGraph))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func removeAll(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}
