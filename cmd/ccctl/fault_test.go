//go:build unix

package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/testfault"
	"github.com/ccctl/terraform-provider-cc/internal/testhost"
	"github.com/ccctl/terraform-provider-cc/internal/testshared"
)

// chaotic tells that there is time: see the target chaos of the GNUmakefile.
func chaotic() bool { return os.Getenv("CC_CHAOS") != "" }

// command is ccctl in a process of its own.
type command struct {
	t    *testing.T
	path string
	dir  string // where it runs
}

func newCommand(t *testing.T) *command {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &command{t: t, dir: t.TempDir()}
	c.path = filepath.Join(t.TempDir(), "ccctl") // the name makes the test binary the command, see TestMain
	if err := os.Symlink(self, c.path); err != nil {
		t.Fatal(err)
	}
	return c
}

// run returns the exit code and what it said.
func (c *command) run(args ...string) (code int, said string) {
	c.t.Helper()
	return c.result(exec.Command(c.path, args...))
}

func (c *command) result(cmd *exec.Cmd) (code int, said string) {
	c.t.Helper()
	var out bytes.Buffer
	cmd.Dir, cmd.Stderr = c.dir, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// must runs a command that succeeds.
func (c *command) must(args ...string) {
	c.t.Helper()
	if code, said := c.run(args...); code != exitOK {
		c.t.Fatalf("ccctl %s: exit code %d\n%s", strings.Join(args, " "), code, said)
	}
}

func (c *command) write(name string, data []byte) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, name), data, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// tree is every file below a directory with its digest.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() == "ballast" || path == dir {
			return err
		}
		name := strings.TrimPrefix(path, dir+string(filepath.Separator))
		all[name] = "directory"
		if d.Type().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			all[name] = fmt.Sprintf("%x", sha256.Sum256(data))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// model is the quickstart's frozen graph.
const model = "../../examples/quickstart/model/digits.pb"

// TestFaultDiskFull: on a full disk each command that writes ends with exit code 1 and leaves everything as it was; when
// there is room it does what it could not.
func TestFaultDiskFull(t *testing.T) {
	disk := testhost.NewDisk(t, 4<<20)
	c := newCommand(t)
	graph, err := os.ReadFile(model)
	if err != nil {
		t.Fatal(err)
	}
	c.write("graph.pb", graph)
	c.write("plain", bytes.Repeat([]byte("weights "), 64<<10))
	c.write("other", bytes.Repeat([]byte("changed "), 64<<10))
	c.must("pf", "gen-key", "-w", "key")
	c.must("pf", "gen-key", "-w", "new")
	c.must("pf", "encrypt", "-w", "key", "-i", "plain", "-o", "file", "--path", "p")
	c.must("pf", "encrypt", "-w", "key", "-i", "plain", "-o", disk.Path("old"), "--path", "p")
	c.must("pf", "encrypt", "-w", "key", "-i", "plain", "-o", disk.Path("wrapped"), "--path", "p")
	for _, name := range []string{"there", "models"} {
		if err := os.Mkdir(disk.Path(name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"pf", "gen-key", "-w", disk.Path("key")},
		{"pf", "encrypt", "-w", "key", "-i", "other", "-o", disk.Path("old"), "--path", "p"},
		{"pf", "encrypt", "-w", "key", "-i", "other", "-o", disk.Path("fresh"), "--path", "p"},
		{"pf", "decrypt", "-w", "key", "-i", "file", "-o", disk.Path("plain")},
		{"pf", "rewrap", "-w", "key", "--new-wrap-key", "new", disk.Path("wrapped")},
		{"pf", "rewrap", "--deep", "-w", "new", "--new-wrap-key", "key", disk.Path("wrapped")},
		{"tls", "generate", "--server-name", "a.example", "--one-way", "--out", disk.Path("tls")},
		{"tls", "generate", "--server-name", "a.example", "--one-way", "--out", disk.Path("there")},
		{"tls", "generate", "--force", "--server-name", "b.example", "--one-way", "--out", disk.Path("there")},
		{"model", "convert", "--import-path", "graph.pb", "--export-dir", disk.Path("models"), "--model-version", "1", "--inputs", "input", "--outputs", "predict"},
	} {
		name := strings.Join(args[:2], " ")
		disk.Fill()
		before := tree(t, disk.Dir)
		code, said := c.run(args...)
		if code != exitFailed {
			t.Errorf("%s: exit code %d\n%s", name, code, said)
		}
		testfault.Expect(t, "Disk full", testfault.Ccctl, said)
		if diff := cmp.Diff(before, tree(t, disk.Dir)); diff != "" {
			t.Errorf("%s: something is left or lost (-before +after)\n%s", name, diff)
		}
		disk.Free()
		c.must(args...)
	}
}

// TestFaultStandardOutputFull: a report that did not arrive is no success.
func TestFaultStandardOutputFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		testshared.Missing(t, fmt.Sprintf("there is no device that is always full: %v", err))
	}
	defer func() { _ = full.Close() }()
	c := newCommand(t)
	c.must("pf", "gen-key", "-w", "key")
	c.write("plain", []byte("x"))
	c.must("pf", "encrypt", "-w", "key", "-i", "plain", "-o", "file", "--path", "p")
	for _, args := range [][]string{
		{"pf", "inspect", "file"}, {"pf", "inspect", "--json", "file"}, {"wrap-key", "fingerprint", "key"}, {"pf", "verify", "-w", "key", "file"},
		{"bootstrap", "print"}, {"--version"}, {"completion", "bash"},
	} {
		cmd := exec.Command(c.path, args...)
		cmd.Stdout = full
		code, said := c.result(cmd)
		if code != exitFailed || !strings.Contains(said, "no space left on device") {
			t.Errorf("%v: exit code %d, %q", args, code, said)
		}
	}
}

// TestFaultFileLimit: a limit on the size of files (ulimit -f) is an error like any other, and no crash.
func TestFaultFileLimit(t *testing.T) {
	c := newCommand(t)
	c.write("plain", bytes.Repeat([]byte("weights "), 64<<10))
	c.must("pf", "gen-key", "-w", "key")
	before := tree(t, c.dir)
	code, said := c.result(exec.Command("sh", "-c", `ulimit -f 8; exec "$@"`, "sh", c.path, "pf", "encrypt", "-w", "key", "-i", "plain", "-o", "x", "--path", "p"))
	if code != exitFailed {
		t.Errorf("exit code %d\n%s", code, said)
	}
	testfault.Expect(t, "File larger than a limit", testfault.Ccctl, said)
	if diff := cmp.Diff(before, tree(t, c.dir)); diff != "" {
		t.Errorf("something is left or lost (-before +after)\n%s", diff)
	}
	c.must("pf", "encrypt", "-w", "key", "-i", "plain", "-o", "x", "--path", "p")
}

// kill runs a command and kills it at a random moment of the time that it takes; it tells whether that came in time.
func (c *command) kill(took time.Duration, args ...string) bool {
	c.t.Helper()
	cmd := exec.Command(c.path, args...)
	cmd.Dir = c.dir
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	time.Sleep(rand.N(took))
	_ = cmd.Process.Kill()
	return cmd.Wait() != nil
}

// TestFaultKilled kills commands at random moments. What has its final name is whole, and the same command once more
// does what it was to do.
func TestFaultKilled(t *testing.T) {
	rounds := 12
	if chaotic() {
		rounds = 60
	}
	c := newCommand(t)
	graph, err := os.ReadFile(model)
	if err != nil {
		t.Fatal(err)
	}
	c.write("graph.pb", graph)
	convert := []string{"model", "convert", "--import-path", "graph.pb", "--export-dir", "models", "--model-version", "1", "--inputs", "input", "--outputs", "predict"}
	generate := []string{"tls", "generate", "--server-name", "a.example", "--client-name", "b", "--client-name", "c", "--out", "tls"}
	at := func(name string) string { return filepath.Join(c.dir, name) }
	clean := func() {
		for _, name := range []string{"models", "tls"} {
			if err := os.RemoveAll(at(name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	start := time.Now()
	c.must(convert...)
	want := tree(t, at("models"))["1/saved_model.pb"]
	took := time.Since(start)
	hit := 0
	for round := range rounds {
		clean()
		hits := func(ok bool) {
			if ok {
				hit++
			}
		}
		hits(c.kill(took, convert...))
		if got, there := tree(t, filepath.Join(c.dir, "."))["models/1/saved_model.pb"]; there && got != want {
			t.Errorf("round %d: half a model", round)
		}
		c.must(convert...)
		if got := tree(t, at("models"))["1/saved_model.pb"]; got != want {
			t.Errorf("round %d: another model", round)
		}
		if round%2 == 1 { // where a directory is there already, with something in it
			if err := os.Mkdir(at("tls"), 0o700); err != nil {
				t.Fatal(err)
			}
			c.write("tls/mine", []byte("mine"))
		}
		hits(c.kill(took, generate...))
		code, said := c.run(generate...)
		if code != exitOK && (code != exitFailed || !strings.Contains(said, "file already exists")) {
			t.Errorf("round %d: exit code %d\n%s", round, code, said)
		}
		// Either it has made a set now, or the one it found is whole.
		if code, said := c.run("tls", "inspect", "tls"); code != exitOK {
			t.Errorf("round %d: a set that is not whole: exit code %d\n%s", round, code, said)
		}
		if _, err := os.Stat(at("tls/clients/c/key.pem")); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		if round%2 == 1 {
			if mine, err := os.ReadFile(at("tls/mine")); string(mine) != "mine" {
				t.Errorf("round %d: a file of somebody else is lost: %v", round, err)
			}
		}
		for name := range tree(t, at("tls")) {
			if strings.HasPrefix(filepath.Base(name), ".cc-tmp-") && code == exitOK {
				t.Errorf("round %d: %s was left behind", round, name)
			}
		}
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	code, said := c.run(generate...)
	if code != exitFailed {
		t.Errorf("where everything is there: exit code %d", code)
	}
	testfault.Expect(t, "Killed", testfault.Ccctl, said)
	if hit < rounds/3 {
		t.Errorf("%d of %d runs were killed before they ended: too few to mean anything", hit, 2*rounds)
	}
	t.Logf("%d of %d runs were killed before they ended", hit, 2*rounds)
}
