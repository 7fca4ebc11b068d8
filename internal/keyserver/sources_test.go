package keyserver

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/keysource"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

func init() {
	// A client of a secret manager: prints a file in base64, or complains about it in too many words.
	programs["print-key"] = func(args []string) int {
		raw, err := os.ReadFile(args[0])
		if err != nil {
			return 1
		}
		text := base64.StdEncoding.EncodeToString(raw)
		_, _ = fmt.Fprintln(os.Stdout, text)
		if len(raw) != wrapKeySize {
			_, _ = fmt.Fprintf(os.Stderr, "what a strange key %s\n", text)
			return 1
		}
		return 0
	}
}

// newKeyOf is a key that tells its generation.
func newKeyOf(generation byte) []byte {
	key := append([]byte(nil), canary[:]...)
	key[15] = generation
	return key
}

// askFor lets an enclave ask for the key by a server name.
func (w *world) askFor(s *running, name string) ([]byte, error) {
	e := &sgxsim.Enclave{Quoter: w.platform.Quoter(w.identity), CA: w.ca, Servers: name + ":4433", Dial: dialTo(s.addr)}
	d, err := provision(w.t, e)
	if err != nil {
		return nil, err
	}
	return d.Secret, nil
}

// TestSecretSources: each kind of source is read at the start and again at a reload, and nothing of any stays behind.
func TestSecretSources(t *testing.T) {
	w := newWorld(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// In this order, by the first letter of the key's last byte.
	kinds := []string{"file", "credential", "environment", "command"}
	keys := func(generation byte) {
		w.write("wrap-key", newKeyOf(generation))
		w.write("credential", newKeyOf(generation+1))
		w.write("printed", newKeyOf(generation+3))
	}
	keys('a')
	t.Setenv(keysource.CredentialsDirectory, w.dir)
	t.Setenv("CC_TEST_WRAP_KEY", hex.EncodeToString(newKeyOf('c')))
	text := strings.ReplaceAll(w.base(), "  - { name: model-hex, file: wrap-key, encoding: hex }\n", fmt.Sprintf(`  - { name: credential, credential: credential }
  - { name: environment, environment: CC_TEST_WRAP_KEY }
  - { name: command, command: [%q, print-key, %q], form: base64 }
`, self, filepath.Join(w.dir, "printed"))) + "rules:\n" + w.rule("file", "model", "server_name: [file.example.com]")
	for _, kind := range kinds[1:] {
		text += w.rule(kind, kind, "server_name: ["+kind+".example.com]")
	}
	w.issue("file.example.com", "credential.example.com", "environment.example.com", "command.example.com")
	s := w.start(text)
	check := func(when string, want string) {
		t.Helper()
		for i, kind := range kinds {
			got, err := w.askFor(s, kind+".example.com")
			if err != nil || len(got) != wrapKeySize || got[15] != want[i] {
				t.Errorf("%s: the key of the %s is another: %v", when, kind, err)
			}
		}
	}
	check("at the start", "abcd")
	if _, set := os.LookupEnv("CC_TEST_WRAP_KEY"); set {
		t.Error("the variable is still in the environment")
	}
	old := s.acquire()
	keys('A')
	if err := s.Reload(w.parse(text)); err != nil {
		t.Fatal(err)
	}
	check("after a reload", "ABcD")
	s.release(old)
	for name, secret := range old.secrets {
		if strings.Trim(string(secret.wire), "\x00") != "" {
			t.Errorf("the former key of %s is still in memory", name)
		}
	}

	// A bad one of any kind leaves all as they were, and the error shows no key.
	for name, bad := range map[string]string{"wrap-key": "secrets[0].file: ", "credential": "secrets[1].credential: ", "printed": "secrets[3].command: run "} {
		good := newKeyOf(map[string]byte{"wrap-key": 'A', "credential": 'B', "printed": 'D'}[name])
		w.write(name, append([]byte("longer than a key: "), canary[:]...))
		w.write("server.yaml", []byte(text))
		if err := s.reload(t.Context(), filepath.Join(w.dir, "server.yaml")); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", name, err)
		}
		w.write(name, good)
	}
	check("after bad reloads", "ABcD")

	// Without a rule for it the key of the environment is forgotten, and there is no way back.
	if err := s.Reload(w.parse(w.config())); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(w.parse(text)); err == nil || !strings.Contains(err.Error(), "secrets[2].environment: read wrap key from the environment: the variable CC_TEST_WRAP_KEY is not set") {
		t.Errorf("the variable once more: %v", err)
	}
	current := s.current.secrets
	s.stop()
	for name, secret := range current {
		if strings.Trim(string(secret.wire), "\x00") != "" {
			t.Errorf("the key of %s outlives the server", name)
		}
	}
	for _, text := range []string{w.log.String()} {
		for _, generation := range []byte("abcdABCD") {
			if key := newKeyOf(generation); strings.Contains(text, string(key)) || strings.Contains(text, hex.EncodeToString(key)) ||
				strings.Contains(text, strings.TrimRight(base64.StdEncoding.EncodeToString(key), "=")) {
				t.Errorf("the log shows a key")
			}
		}
		checkNoCanary(t, "the log", text)
	}
}

// TestCheckConfigReadsEverySource: as 'ccctl keyserver check-config' does.
func TestCheckConfigReadsEverySource(t *testing.T) {
	w := newWorld(t)
	t.Setenv("CC_TEST_WRAP_KEY", "not a key at all")
	w.write("server.yaml", []byte(strings.Replace(w.config(), "name: model, file: wrap-key", "name: model, environment: CC_TEST_WRAP_KEY", 1)))
	_, _, err := CheckConfig(filepath.Join(w.dir, "server.yaml"), w.options())
	if err == nil || !strings.Contains(err.Error(), "secrets[0].environment: read wrap key from the environment variable CC_TEST_WRAP_KEY: found 16 characters, want 32 hex digits") {
		t.Errorf("%v", err)
	}
}

// TestKeyVersions rotates a key: the old generation is served to its name throughout, the new one to its own from the
// first reload on, and no enclave is refused until the second reload withdraws the old one.
func TestKeyVersions(t *testing.T) {
	w := newWorld(t)
	w.issue("v1.example.com", "v2.example.com")
	w.write("key-1", newKeyOf('1'))
	w.write("key-2", newKeyOf('2'))
	config := func(versions ...string) *Config {
		text, rules := strings.Replace(w.base(), "  - { name: model-hex, file: wrap-key, encoding: hex }\n", "", 1), "rules:\n"
		text = strings.Replace(text, "  - { name: model, file: wrap-key }\n", "", 1)
		for _, v := range versions {
			text += fmt.Sprintf("  - { name: model v%s, file: key-%s }\n", v, v)
			rules += w.rule("v"+v, "model v"+v, "server_name: [v"+v+".example.com]")
		}
		return w.parse(text + rules)
	}
	srv, err := New(config("1"), w.options())
	if err != nil {
		t.Fatal(err)
	}
	s := w.serve(srv)
	if _, err := w.askFor(s, "v2.example.com"); err == nil {
		t.Error("there is a second version before the reload")
	}
	var served [3]atomic.Int64
	stop := make(chan struct{})
	var enclaves sync.WaitGroup
	ask := func(version byte) {
		enclaves.Go(func() {
			for {
				got, err := w.askFor(s, fmt.Sprintf("v%c.example.com", version))
				if err != nil || got[15] != version {
					t.Errorf("an enclave of version %c: %v", version, err)
					return
				}
				served[version-'0'].Add(1)
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	ask('1')
	ask('1')
	waitUntil(t, "enclaves of the old version are served", func() bool { return served[1].Load() > 4 })
	if err := s.Reload(config("1", "2")); err != nil {
		t.Fatal(err)
	}
	before := served[1].Load()
	ask('2')
	waitUntil(t, "both versions are served side by side", func() bool { return served[1].Load() > before+4 && served[2].Load() > 4 })
	close(stop)
	enclaves.Wait()
	if err := s.Reload(config("2")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.askFor(s, "v1.example.com"); err == nil {
		t.Error("the old version is still released")
	}
	if got, err := w.askFor(s, "v2.example.com"); err != nil || got[15] != '2' {
		t.Errorf("the new version: %v", err)
	}
	if n := strings.Count(w.log.String(), "msg=refused"); n != 2 {
		t.Errorf("%d refusals, want one of each version out of its time", n)
	}

	// Two builds of one enclave tell the versions apart as well.
	other := w.identity
	other.MRENCLAVE[0]++
	text := strings.Replace(w.base(), "file: wrap-key }", "file: key-1 }", 1)
	text = strings.Replace(text, "model-hex, file: wrap-key, encoding: hex", "model v2, file: key-2", 1) + "rules:\n" + w.rule("build 1", "model")
	w.identity, other = other, w.identity
	text += w.rule("build 2", "model v2")
	if err := s.Reload(w.parse(text)); err != nil {
		t.Fatal(err)
	}
	for version, identity := range map[byte]sgxsim.Identity{'1': other, '2': w.identity} {
		w.identity = identity
		if got, err := w.askFor(s, "v1.example.com"); err != nil || got[15] != version {
			t.Errorf("build %c: %v", version, err)
		}
	}
}
