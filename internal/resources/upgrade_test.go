package resources_test

import (
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

// Every release must open what the ones before have written. testdata/upgrade has, by release, states that Terraform wrote
// with its provider, the configurations that they are of and what was on disk and in the (simulated) cloud. Nothing in there
// is ever changed: a plan with the provider of today has to be empty. Before a release is made, its states are added:
//
//	go test ./internal/resources -run '^TestUpgrade' -upgrade.record v1.2
var upgradeRecord = flag.String("upgrade.record", "", "record the states of today's provider as those of a release, such as v1.2")

// Stand-ins in a recorded state for what is different wherever it is read.
const (
	recordedDir   = "@DIR@"
	recordedCcctl = "@CCCTL@"
)

// releases are those whose states of a kind are recorded.
func releases(t *testing.T, kind string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join("testdata", "upgrade", "*", kind))
	if err != nil || len(found) == 0 {
		t.Fatalf("no state of kind %s is recorded (%v)", kind, err)
	}
	return found
}

// recorded is a state of a release, and its world.
type recorded struct {
	t    *testing.T
	w    *workspace
	dir  string // in testdata
	swap *strings.Replacer
}

func openRecorded(t *testing.T, dir string) *recorded {
	t.Helper()
	w := newWorkspace(t, "")
	mustWrite(t, filepath.Join(w.dir, "main.tf"), mustRead(t, filepath.Join(dir, "main.tf")), 0o600)
	r := &recorded{t: t, w: w, dir: dir, swap: strings.NewReplacer(recordedDir, w.dir, recordedCcctl, ccctlPath(t))}
	world := filepath.Join(dir, "world")
	err := filepath.WalkDir(world, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(world, path)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o600) // git keeps no modes
		if strings.HasPrefix(rel, "serving"+string(filepath.Separator)) {
			mode = 0o644 // as cc_artifact_upload sets it
		}
		mustWrite(t, filepath.Join(w.dir, rel), mustRead(t, path), mode)
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return r
}

// use makes the recorded state that of the workspace. A value that is in now takes the place of the recorded one.
func (r *recorded) use(now map[string]any) {
	r.t.Helper()
	var state map[string]any
	text := r.swap.Replace(string(mustRead(r.t, filepath.Join(r.dir, "state.json"))))
	if err := json.Unmarshal([]byte(text), &state); err != nil {
		r.t.Fatal(err)
	}
	replaced := 0
	for _, attributes := range instances(r.t, state) {
		for name, value := range now {
			if _, there := attributes[name]; there {
				attributes[name] = value
				replaced++
			}
		}
	}
	if replaced != len(now) {
		r.t.Fatalf("%d of %d values are in the recorded state", replaced, len(now))
	}
	data, err := json.Marshal(state)
	if err != nil {
		r.t.Fatal(err)
	}
	mustWrite(r.t, filepath.Join(r.w.dir, "terraform.tfstate"), data, 0o600)
}

// instances are the attributes of everything in a state.
func instances(t *testing.T, state map[string]any) (all []map[string]any) {
	t.Helper()
	list, _ := state["resources"].([]any)
	for _, item := range list {
		resource, _ := item.(map[string]any)
		members, _ := resource["instances"].([]any)
		for _, m := range members {
			instance, _ := m.(map[string]any)
			attributes, ok := instance["attributes"].(map[string]any)
			if !ok {
				t.Fatalf("%v has no attributes", resource["type"])
			}
			all = append(all, attributes)
		}
	}
	if len(all) == 0 {
		t.Fatal("the state holds nothing")
	}
	return all
}

// plansNothing is what an upgrade is about.
func (r *recorded) plansNothing() {
	r.t.Helper()
	stdout, stderr, err := r.w.try("plan", "-detailed-exitcode")
	if err != nil {
		r.t.Errorf("the state of %s is not up to date with the provider of today: %v\n%s%s", r.dir, err, stdout, stderr)
	}
}

// record writes the state of a workspace as that of the release that is being recorded.
func record(t *testing.T, w *workspace, kind string, world ...string) {
	t.Helper()
	dir := filepath.Join("testdata", "upgrade", *upgradeRecord, kind)
	if _, err := os.Stat(dir); err == nil {
		t.Fatalf("%s is recorded already, and is not changed", dir)
	}
	text := strings.NewReplacer(w.dir, recordedDir, ccctlPath(t), recordedCcctl).Replace(string(mustRead(t, filepath.Join(w.dir, "terraform.tfstate"))))
	mustWrite(t, filepath.Join(dir, "state.json"), []byte(text), 0o644)
	mustWrite(t, filepath.Join(dir, "main.tf"), mustRead(t, filepath.Join(w.dir, "main.tf")), 0o644)
	for _, from := range world {
		if err := os.CopyFS(filepath.Join(dir, "world", from), os.DirFS(filepath.Join(w.dir, from))); err != nil {
			t.Fatal(err)
		}
	}
}

// localWorld has one of each resource that is made of files.
const localWorld = `
resource "cc_wrap_key" "key" {
  file = "keys/wrap-key"
}

resource "cc_tls_materials" "serving" {
  directory                = "tls"
  server_names             = ["grpc.example.com"]
  client_name              = "client.example.com"
  validity_period_hours    = 175200
  ca_validity_period_hours = 175200
}

resource "cc_saved_model" "model" {
  source     = "source/graph.pb"
  export_dir = "models/small"
  inputs     = ["input"]
  outputs    = ["output"]
}

resource "cc_encrypted_file" "model" {
  source        = cc_saved_model.model.saved_model_file
  destination   = "upload/saved_model.pb"
  enclave_path  = "models/small/1/saved_model.pb"
  wrap_key_file = cc_wrap_key.key.file
}

resource "cc_artifact_upload" "serving" {
  host      = { local = {} }
  directory = "${path.cwd}/serving"
  source    = "upload"
  triggers  = { model = cc_encrypted_file.model.header_sha256 }
}
`

func TestUpgradeLocal(t *testing.T) {
	t.Parallel()
	if *upgradeRecord != "" {
		w := newWorkspace(t, localWorld)
		mustWrite(t, filepath.Join(w.dir, "source", "graph.pb"), smallGraph(), 0o600)
		w.terraform("apply", "-auto-approve")
		record(t, w, "local", "keys", "tls", "source", "models", "upload", "serving")
	}
	for _, dir := range releases(t, "local") {
		r := openRecorded(t, dir)
		r.use(nil)
		r.plansNothing()
		// The plan was of these files and no others.
		if err := os.Remove(filepath.Join(r.w.dir, "tls", "client", "cert.pem")); err != nil {
			t.Fatal(err)
		}
		expectOutput(t, r.w.terraform("plan"), "cc_tls_materials.serving will be updated in-place")
	}
}

// smallGraph is a frozen graph of two nodes: a placeholder "input" of floats, and "output", which is the same. Field numbers
// are those of graph.proto, node_def.proto and attr_value.proto of TensorFlow.
func smallGraph() []byte {
	field := func(number byte, data ...byte) []byte { return append([]byte{number<<3 | 2, byte(len(data))}, data...) }
	dtype := func(key string) []byte { // attr { key: KEY value { type: DT_FLOAT } }
		return field(5, slices.Concat(field(1, []byte(key)...), field(2, 6<<3, 1))...)
	}
	input := slices.Concat(field(1, []byte("input")...), field(2, []byte("Placeholder")...), dtype("dtype"))
	output := slices.Concat(field(1, []byte("output")...), field(2, []byte("Identity")...), field(3, []byte("input")...), dtype("T"))
	return slices.Concat(field(1, input...), field(1, output...))
}

func TestUpgradeCloud(t *testing.T) {
	t.Parallel()
	if *upgradeRecord != "" {
		w := newWorkspace(t, "")
		c := newCloud(t, ecssim.Options{Dir: filepath.Join(w.dir, "cloud")})
		w.env = c.environment()
		mustWrite(t, filepath.Join(w.dir, "main.tf"), []byte(terraformBlock+`
resource "cc_security_group" "client" {
  vpc_id           = "`+c.vpc+`"
  name             = "recorded"
  key_server_cidrs = ["192.0.2.0/24"]
  ssh_cidrs        = ["203.0.113.17/32"]
  ingress_rules    = [{ port_range = "8500/8501", source = "198.51.100.0/24", description = "TensorFlow Serving" }]
  tags             = { project = "upgrade" }
}

resource "cc_client_instance" "client" {
  vswitch_id         = "`+c.vswitch+`"
  security_group_ids = [cc_security_group.client.id]
  name               = "recorded"
  bootstrap          = false
  tags               = { project = "upgrade" }
}
`), 0o600)
		w.terraform("apply", "-auto-approve")
		record(t, w, "cloud", "cloud")
	}
	for _, dir := range releases(t, "cloud") {
		r := openRecorded(t, dir)
		c := newCloud(t, ecssim.Options{Dir: filepath.Join(r.w.dir, "cloud")})
		r.w.env = c.environment()
		r.use(nil)
		r.plansNothing()
		if c.calls("DescribeInstances") == 0 {
			t.Error("the cloud was not asked")
		}
	}
}

// TestUpgradeKeyServer holds a recorded state against a server that runs now: where it listens and which files it has are not
// those of another day.
func TestUpgradeKeyServer(t *testing.T) {
	t.Parallel()
	f := newKeyServerFixture(t)
	if *upgradeRecord != "" {
		w := newWorkspace(t, f.config())
		w.terraform("apply", "-auto-approve")
		text := strings.ReplaceAll(string(mustRead(t, filepath.Join(w.dir, "terraform.tfstate"))), f.dir, w.dir)
		mustWrite(t, filepath.Join(w.dir, "terraform.tfstate"), []byte(text), 0o600)
		text = strings.NewReplacer(f.dir, recordedDir, ccctlPath(t), recordedCcctl).Replace(string(mustRead(t, filepath.Join(w.dir, "main.tf"))))
		mustWrite(t, filepath.Join(w.dir, "main.tf"), []byte(text), 0o600)
		record(t, w, "key_server")
		f.kill()
	}
	for _, dir := range releases(t, "key_server") {
		f := newKeyServerFixture(t)
		w := newWorkspace(t, "")
		r := &recorded{t: t, w: w, dir: dir, swap: strings.NewReplacer(recordedDir, f.dir, recordedCcctl, ccctlPath(t))}
		mustWrite(t, filepath.Join(w.dir, "main.tf"), []byte(r.swap.Replace(string(mustRead(t, filepath.Join(dir, "main.tf"))))), 0o600)
		w.terraform("apply", "-auto-approve")
		var state map[string]any
		if err := json.Unmarshal(mustRead(t, filepath.Join(w.dir, "terraform.tfstate")), &state); err != nil {
			t.Fatal(err)
		}
		attributes := instances(t, state)[0]
		now := map[string]any{}
		for _, name := range []string{"address", "config_sha256"} {
			now[name] = attributes[name]
		}
		r.use(now)
		r.plansNothing()
		w.terraform("destroy", "-auto-approve")
	}
}
