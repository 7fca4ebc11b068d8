//go:build unix

package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// killed is a folder with files that ccctl works on until it is killed.
type killed struct {
	t        *testing.T
	ccctl    string
	dir      string
	took     time.Duration // of an undisturbed run
	hit, ran int
}

func (k *killed) at(name string) string { return filepath.Join(k.dir, name) }

func (k *killed) command(args ...string) *exec.Cmd {
	cmd := exec.Command(k.ccctl, args...)
	cmd.Dir = k.dir
	return cmd
}

func (k *killed) run(args ...string) {
	k.t.Helper()
	if out, err := k.command(args...).CombinedOutput(); err != nil {
		k.t.Fatalf("ccctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// kill runs a command and kills it at a random moment.
func (k *killed) kill(args ...string) {
	k.t.Helper()
	cmd := k.command(args...)
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	time.Sleep(rand.N(k.took + k.took/10))
	_ = cmd.Process.Kill()
	k.ran++
	if cmd.Wait() != nil {
		k.hit++
	}
}

func (k *killed) write(name string, data []byte) {
	k.t.Helper()
	if err := os.WriteFile(k.at(name), data, 0o600); err != nil {
		k.t.Fatal(err)
	}
}

func (k *killed) read(name string) []byte {
	k.t.Helper()
	data, err := os.ReadFile(k.at(name))
	if err != nil {
		k.t.Fatal(err)
	}
	return data
}

// TestPFKilled kills ccctl at 100 random moments. Under the final name there
// must always be the old file or the new one, whole.
func TestPFKilled(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	k := &killed{t: t, dir: t.TempDir()}
	k.ccctl = k.at("ccctl") // the name makes the test binary the command, see TestMain
	if err := os.Symlink(self, k.ccctl); err != nil {
		t.Fatal(err)
	}
	const size = 24 << 20
	plain := map[string][]byte{"one": bytes.Repeat([]byte("one "), size/4), "two": bytes.Repeat([]byte("two "), size/4)}
	for name, data := range plain {
		k.write(name, data)
	}
	k.run("pf", "gen-key", "-w", "key")
	k.run("pf", "gen-key", "-w", "new")
	start := time.Now()
	k.run("pf", "encrypt", "-w", "key", "-i", "one", "-o", "x", "--path", "p")
	k.took = time.Since(start)

	for i := range 100 {
		k.tidy()
		switch i % 5 {
		case 0: // over the file of the other source
			k.run("pf", "encrypt", "-w", "key", "-i", "one", "-o", "x", "--path", "p")
			k.kill("pf", "encrypt", "-w", "key", "-i", "two", "-o", "x", "--path", "p")
			k.run("pf", "decrypt", "-w", "key", "-i", "x", "-o", "back", "--path", "p")
			k.isOneOf("back", plain["one"], plain["two"])
		case 1: // where there was none
			_ = os.Remove(k.at("fresh"))
			k.kill("pf", "encrypt", "-w", "key", "-i", "two", "-o", "fresh", "--path", "p", "--reproducible")
			if _, err := os.Stat(k.at("fresh")); err == nil {
				k.run("pf", "decrypt", "-w", "key", "-i", "fresh", "-o", "back", "--path", "p")
				k.isOneOf("back", plain["two"])
			}
		case 2: // decrypting over something old
			k.run("pf", "encrypt", "-w", "key", "-i", "two", "-o", "x", "--path", "p")
			k.write("out", []byte("old"))
			k.kill("pf", "decrypt", "-w", "key", "-i", "x", "-o", "out")
			k.isOneOf("out", []byte("old"), plain["two"])
		case 3: // re-encrypting in place
			k.run("pf", "encrypt", "-w", "key", "-i", "one", "-o", "x", "--path", "p")
			k.kill("pf", "rewrap", "--deep", "-w", "key", "--new-wrap-key", "new", "x")
			k.run("pf", "rewrap", "--deep", "-w", "key", "--new-wrap-key", "new", "x")
			k.run("pf", "verify", "-w", "new", "--path", "p", "x")
		case 4: // rewrapping in place
			k.run("pf", "encrypt", "-w", "key", "-i", "one", "-o", "x", "--path", "p")
			took := k.took
			k.took = 30 * time.Millisecond // it is over that fast
			k.kill("pf", "rewrap", "-w", "key", "--new-wrap-key", "new", "x")
			k.took = took
			k.run("pf", "rewrap", "-w", "key", "--new-wrap-key", "new", "x")
			k.run("pf", "verify", "-w", "new", "--path", "p", "x")
		}
		if t.Failed() {
			t.Fatalf("in round %d", i)
		}
	}
	if k.ran != 100 || k.hit < 30 {
		t.Errorf("%d of %d runs were killed before they ended: too few to mean anything", k.hit, k.ran)
	}
	t.Logf("%d of %d runs were killed before they ended", k.hit, k.ran)
}

func (k *killed) isOneOf(name string, allowed ...[]byte) {
	k.t.Helper()
	got := k.read(name)
	for _, a := range allowed {
		if bytes.Equal(got, a) {
			return
		}
	}
	k.t.Errorf("%s has %d bytes that are neither the old nor the new file", name, len(got))
}

// tidy removes the temporary files of killed runs, and finds nothing else.
func (k *killed) tidy() {
	k.t.Helper()
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		k.t.Fatal(err)
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case strings.HasPrefix(name, ".cc-tmp-"):
			_ = os.Remove(k.at(name))
		case !strings.Contains(" ccctl one two key new x fresh back out ", " "+name+" "):
			k.t.Errorf("%s was left behind", name)
		}
	}
}
