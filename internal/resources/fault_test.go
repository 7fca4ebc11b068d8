//go:build unix

package resources_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"

	"github.com/ccctl/terraform-provider-cc/internal/provider"
	"github.com/ccctl/terraform-provider-cc/internal/testfault"
	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

// chaotic tells that there is time: see the target chaos of the GNUmakefile.
func chaotic() bool { return os.Getenv("CC_CHAOS") != "" }

// artefacts is a configuration of everything that is made on this machine, below one directory.
func artefacts(t *testing.T, dir, version, source string) string {
	t.Helper()
	graph, err := filepath.Abs("../../examples/quickstart/model/digits.pb")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`
resource "cc_wrap_key" "model" {
  file       = "%[1]s/wrap.key"
  on_destroy = "delete"
}
resource "cc_tls_materials" "tls" {
  directory    = "%[1]s/tls"
  server_names = ["%[3]s.example"]
  client_name  = "client.example"
  on_destroy   = "delete"
}
resource "cc_saved_model" "model" {
  source     = "%[2]s"
  export_dir = "%[1]s/models"
  model_version = %[4]s
  inputs     = ["input"]
  outputs    = ["predict"]
}
resource "cc_encrypted_file" "model" {
  source        = "%[5]s"
  destination   = "%[1]s/encrypted/model"
  enclave_path  = "model"
  wrap_key_file = cc_wrap_key.model.file
}
`, dir, graph, "v"+version, version, source)
}

// files is every file below a directory that is not of the test's own, with its size.
func files(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	all := map[string]int64{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "ballast" {
			return err
		}
		info, err := d.Info()
		all[strings.TrimPrefix(path, dir+"/")] = info.Size()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestFaultDiskFull applies on a full disk: each resource says so, nothing is half there, and when there is room the
// same apply makes all of it; so does one that is to change what is there.
func TestFaultDiskFull(t *testing.T) {
	t.Parallel()
	disk := testhost.NewDisk(t, 4<<20)
	source := filepath.Join(t.TempDir(), "plain")
	mustWrite(t, source, bytes.Repeat([]byte("weights "), 32<<10), 0o600)
	w := newWorkspace(t, artefacts(t, disk.Dir, "1", source))
	w.env = []string{"TF_LOG="}
	disk.Fill()
	said := w.fails("apply", "-auto-approve")
	testfault.Expect(t, "Disk full", testfault.Provider, said)
	if n := strings.Count(said, "That file system is full."); n < 3 {
		t.Errorf("%d resources say that the disk is full:\n%s", n, said)
	}
	if left := files(t, disk.Dir); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
	disk.Free()
	w.terraform("apply", "-auto-approve")

	before := regularFiles(t, disk.Dir)
	mustWrite(t, source, bytes.Repeat([]byte("changed "), 32<<10), 0o600)
	mustWrite(t, filepath.Join(w.dir, "main.tf"), []byte(terraformBlock+artefacts(t, disk.Dir, "2", source)), 0o600)
	disk.Fill()
	said = w.fails("apply", "-auto-approve")
	testfault.Expect(t, "Disk full", testfault.Provider, said)
	after := regularFiles(t, disk.Dir)
	delete(after, "ballast")
	for name, data := range before {
		if strings.HasPrefix(name, "models/1/") { // a version is replaced by another one: it may have gone first
			continue
		}
		if !bytes.Equal(after[name], data) {
			t.Errorf("%s is not what it was", name)
		}
	}
	disk.Free()
	w.terraform("apply", "-auto-approve")
	expectOutput(t, w.terraform("plan"), "No changes")
	w.terraform("destroy", "-auto-approve")
	if left := files(t, disk.Dir); len(left) > 0 {
		t.Errorf("destroyed, it left %v", left)
	}
}

// importAdvice finds what an error says is to be imported.
var importAdvice = regexp.MustCompile(`terraform import (cc_[a-z_]+)\.NAME (PATH|DIRECTORY)`)

// TestFaultKilled kills Terraform and the provider at random moments of an apply of what is made on this machine. What
// is there is whole, and applying again, after what the messages say, ends where an undisturbed apply ends.
func TestFaultKilled(t *testing.T) {
	t.Parallel()
	rounds := 3
	if chaotic() {
		rounds = 8
	}
	dir := t.TempDir()
	source := filepath.Join(t.TempDir(), "plain")
	mustWrite(t, source, bytes.Repeat([]byte("weights "), 1<<20), 0o600)
	w := newWorkspace(t, artefacts(t, dir, "1", source))
	w.env = []string{"TF_LOG="}
	start := time.Now()
	w.terraform("apply", "-auto-approve")
	took := time.Since(start)
	names := func() []string {
		var all []string
		for name := range files(t, dir) {
			all = append(all, name)
		}
		return all
	}
	want := len(names())
	w.terraform("destroy", "-auto-approve")
	hit := 0
	for round := range rounds {
		cmd := w.command("apply", "-auto-approve")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), took/3+rand.N(2*took/3)) // Terraform takes a while to begin
		<-ctx.Done()
		cancel()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if cmd.Wait() != nil {
			hit++
		}
		_ = os.Remove(filepath.Join(w.dir, ".terraform.tfstate.lock.info"))
		for attempt := 0; ; attempt++ {
			_, said, err := w.try("apply", "-auto-approve")
			if err == nil {
				break
			}
			advice := importAdvice.FindAllStringSubmatch(strings.Join(strings.Fields(strings.ReplaceAll(said, "│", "")), " "), -1)
			if attempt == 3 || len(advice) == 0 {
				t.Fatalf("round %d: the message leads no further:\n%s", round, said)
			}
			for _, a := range advice {
				switch a[1] {
				case "cc_wrap_key":
					w.terraform("import", "cc_wrap_key.model", filepath.Join(dir, "wrap.key"))
				case "cc_tls_materials":
					w.terraform("import", "cc_tls_materials.tls", filepath.Join(dir, "tls"))
				default:
					t.Fatalf("round %d: %s", round, said)
				}
			}
		}
		expectOutput(t, w.terraform("plan"), "No changes")
		whole := 0
		for _, name := range names() {
			if !strings.Contains(name, ".cc-tmp-") && !strings.Contains(name, ".tmp-") {
				whole++
			}
		}
		if whole != want {
			t.Errorf("round %d: %d files instead of %d: %v", round, whole, want, names())
		}
		w.terraform("destroy", "-auto-approve")
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of %d applies were killed before they ended", hit, rounds)
}

// TestFaultKilledKnows is what an apply says that finds what a killed one has made: how to take it over.
func TestFaultKilledKnows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source := filepath.Join(t.TempDir(), "plain")
	mustWrite(t, source, []byte("weights"), 0o600)
	w := newWorkspace(t, artefacts(t, dir, "1", source))
	w.env = []string{"TF_LOG="}
	w.terraform("apply", "-auto-approve")
	before := regularFiles(t, dir)
	// Nothing of it has reached the state.
	if err := os.Remove(filepath.Join(w.dir, "terraform.tfstate")); err != nil {
		t.Fatal(err)
	}
	testfault.Expect(t, "Killed", testfault.Provider, w.fails("apply", "-auto-approve"))
	w.terraform("import", "cc_wrap_key.model", filepath.Join(dir, "wrap.key"))
	w.terraform("import", "cc_tls_materials.tls", filepath.Join(dir, "tls"))
	w.terraform("apply", "-auto-approve")
	expectOutput(t, w.terraform("plan"), "No changes")
	if diff := cmp.Diff(before, regularFiles(t, dir)); diff != "" {
		t.Errorf("taken over, it is not what it was (-before +after)\n%s", diff)
	}
}

// TestFaultClock: certificates that were issued by a clock that was ahead are named when it is right, and what is said
// about them helps.
func TestFaultClock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() + "/tls"
	var elapsed atomic.Int64
	config := tlsConfig(dir, "validity_period_hours = 1000", "early_renewal_hours = 100")
	acceptWith(t, []provider.Option{provider.WithClock(func() time.Time { return time.Now().Add(time.Duration(elapsed.Load())) })},
		resource.TestStep{Config: config},
		resource.TestStep{PreConfig: func() { elapsed.Store(int64(901 * time.Hour)) }, Config: config}, // renews
	)
	w := newWorkspace(t, config)
	w.env = []string{"TF_LOG="}
	w.terraform("import", tlsAddr, dir)
	plan := w.terraform("plan")
	testfault.Expect(t, "Clock was ahead", testfault.Provider, plan)
	if strings.Contains(plan, "ca_cert.pem") && strings.Contains(plan, "ca_cert.pem in") {
		t.Errorf("the authority is named, which is as old as it was:\n%s", plan)
	}
	for _, name := range []string{"server/cert.pem", "server/key.pem", "client/cert.pem", "client/key.pem"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	w.terraform("apply", "-auto-approve")
	if plan := w.terraform("plan"); !strings.Contains(plan, "No changes") || strings.Contains(plan, "not valid yet") {
		t.Errorf("afterwards:\n%s", plan)
	}
	soundTLS(t, dir)
}

// TestFaultStateDisk: Terraform has made what it was to make and cannot write its state. It keeps that in a file of its own,
// and with it nothing is lost.
func TestFaultStateDisk(t *testing.T) {
	t.Parallel()
	disk := testhost.NewDisk(t, 256<<10)
	dir, source := t.TempDir(), filepath.Join(t.TempDir(), "plain")
	mustWrite(t, source, []byte("weights"), 0o600)
	w := newWorkspace(t, artefacts(t, dir, "1", source))
	w.env = []string{"TF_LOG="}
	if err := os.Symlink(disk.Path("terraform.tfstate"), filepath.Join(w.dir, "terraform.tfstate")); err != nil {
		t.Fatal(err)
	}
	disk.Fill() // up to less than a state takes
	if info, err := os.Stat(disk.Path("ballast")); err != nil || os.Truncate(disk.Path("ballast"), info.Size()-4096) != nil {
		t.Fatal(err)
	}
	said := w.fails("apply", "-auto-approve")
	testfault.Expect(t, "Disk full while Terraform writes its state", testfault.Provider, said)
	before := regularFiles(t, dir)
	disk.Free()
	mustWrite(t, filepath.Join(w.dir, "terraform.tfstate"), mustRead(t, filepath.Join(w.dir, "errored.tfstate")), 0o600)
	expectOutput(t, w.terraform("apply", "-auto-approve"), "Apply complete!")
	if diff := cmp.Diff(before, regularFiles(t, dir)); diff != "" {
		t.Errorf("it was made again (-before +after)\n%s", diff)
	}
	w.terraform("destroy", "-auto-approve")
}
