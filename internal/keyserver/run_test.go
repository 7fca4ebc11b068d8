//go:build unix

package keyserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/audit"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver/configsign"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver/statefile"
	"github.com/ccctl/terraform-provider-cc/internal/keysource"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// process is a server as ccctl runs it.
type process struct {
	config, state string
	reload        chan os.Signal
	stop          func() error
}

// run starts Run in the background and waits until its state file says that it listens.
func (w *world) run(text string) *process {
	w.t.Helper()
	w.write("server.yaml", []byte(text))
	return w.runFile(filepath.Join(w.dir, "server.yaml"))
}

// runFile is run with a configuration that is there.
func (w *world) runFile(config string) *process {
	w.t.Helper()
	p := &process{config: config, state: filepath.Join(w.dir, "state.json"), reload: make(chan os.Signal, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, p.config, RunOptions{Options: w.options(), StateFile: p.state, Version: "v0", Reload: p.reload, WatchInterval: w.interval})
	}()
	p.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	w.t.Cleanup(func() {
		if err := p.stop(); err != nil {
			w.t.Errorf("run: %v", err)
		}
	})
	p.waitForState(w.t, func(s *State) bool { return s.PID != 0 })
	return p
}

func (p *process) waitForState(t testing.TB, ok func(s *State) bool) *State {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s, err := ReadState(p.state)
		if err == nil && s != nil && ok(s) {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("the state file says %+v, error %v", s, err)
		}
	}
}

func (w *world) ask(addr string) error {
	_, err := provision(w.t, &sgxsim.Enclave{Quoter: w.platform.Quoter(w.identity), Servers: addr, CA: w.ca})
	return err
}

func TestRun(t *testing.T) {
	w := newWorld(t)
	p := w.run(w.config() + "admin: { listen: '127.0.0.1:0' }\n")
	s := p.waitForState(t, func(*State) bool { return true })
	cfg, err := LoadConfig(p.config)
	if err != nil {
		t.Fatal(err)
	}
	if s.PID != os.Getpid() || s.ConfigSHA256 != cfg.Digest() || s.Version != "v0" || time.Since(s.Started) > time.Minute {
		t.Errorf("state %+v", s)
	}
	if err := w.ask(s.Listen); err != nil {
		t.Error(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Admin+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("readyz: %s", resp.Status)
	}
	// A second server does not start, and says why.
	err = Run(t.Context(), p.config, RunOptions{StateFile: p.state})
	if !errors.Is(err, statefile.ErrInUse) {
		t.Errorf("a second server: %v", err)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if raw, err := os.ReadFile(p.state); err != nil || len(raw) != 0 {
		t.Errorf("after a clean end the state file holds %q, %v", raw, err)
	}
	var d net.Dialer
	if conn, err := d.DialContext(t.Context(), "tcp", s.Listen); err == nil {
		_ = conn.Close()
		t.Error("it still listens")
	}
	checkNoCanary(t, "the log", w.log.String())
}

// TestRunForAnOrchestrator: the health listener follows the server's readiness up to its end, and the audit log is on standard
// output too, release and all.
func TestRunForAnOrchestrator(t *testing.T) {
	w := newWorld(t)
	w.stdout = &logBuffer{}
	p := w.run(w.config() + "admin: { listen: '127.0.0.1:0' }\nhealth: { listen: '127.0.0.1:0' }\naudit: { file: audit.log, copy_to_stdout: true }\n")
	s := p.waitForState(t, func(s *State) bool { return s.Health != "" })
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ask := func(url string) string {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return err.Error()
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err.Error()
		}
		return resp.Status + " " + string(body)
	}
	ready := func() string { return ask("http://" + s.Health + "/readyz") }
	if got := ready(); got != "200 OK ok\n" {
		t.Errorf("a server that serves: %s", got)
	}
	if err := w.ask(s.Listen); err != nil {
		t.Error(err)
	}
	// A client that has connected and says nothing holds the end up for a moment, in which no other is to be sent here.
	var d net.Dialer
	slow, err := d.DialContext(t.Context(), "tcp", s.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = slow.Close() }()
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(ask("http://"+s.Admin+"/metrics"), "\ncc_keyserver_connections_open 1\n"); {
		if time.Now().After(deadline) {
			t.Fatal("the connection is not accepted")
		}
		time.Sleep(5 * time.Millisecond)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- p.stop() }()
	w.log.waitFor(t, "letting connections finish")
	if got := ready(); got != "503 Service Unavailable not ready\n" {
		t.Errorf("a server that is stopping: %s", got)
	}
	_ = slow.Close()
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if got := ready(); !strings.Contains(got, "refused") {
		t.Errorf("after its end: %s", got)
	}
	report, err := audit.Verify(strings.NewReader(w.stdout.String()), audit.VerifyOptions{})
	if err != nil || report.Events["release"] != 1 || report.Events["sent"] != 1 || report.Events["stop"] != 1 {
		t.Errorf("standard output as an audit log: %+v, %v\n%s", report, err, w.stdout.String())
	}
	checkNoCanary(t, "standard output", w.stdout.String())
}

func TestRunDoesNotStart(t *testing.T) {
	w := newWorld(t)
	occupied, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = occupied.Close() }()
	for _, tt := range []struct{ name, old, new, err string }{
		{"bad configuration", "listen:", "lisen:", "field lisen not found"},
		{"no certificate", "certificate: server.pem", "certificate: absent.pem", "tls: load server certificate " + w.dir + "/absent.pem: open file: "},
		{"key of another certificate", "private_key: server-key.pem", "private_key: root.pem", "with private key " + w.dir + "/root.pem"},
		{"no wrap key", "name: model, file: wrap-key", "name: model, file: absent", "secrets[0].file: open wrap key: open " + w.dir + "/absent: no such file or directory"},
		{"wrap key of another size", "name: model, file: wrap-key", "name: model, file: root.pem", "secrets[0].file: read wrap key " + w.dir + "/root.pem: it is longer than 16 bytes"},
		{"no root", "root.pem", "absent.pem", "allow_trusted_root: open file: "},
		{"root that is none", "allow_trusted_root: root.pem", "allow_trusted_root: wrap-key", "allow_trusted_root: read trust root"},
		{"no bundle", fmt.Sprintf("url: %q", w.url), "bundle: absent.json", "collateral: open collateral file: "},
		{"bundle that is none", fmt.Sprintf("url: %q", w.url), "bundle: wrap-key", "collateral: read collateral file: "},
		{"no CA for the collateral service", "collateral: { ", "collateral: { ca: wrap-key, ", "it holds no PEM certificate"},
		{"address in use", `"127.0.0.1:0"`, `"` + occupied.Addr().String() + `"`, "listen for enclaves: listen tcp " + occupied.Addr().String() + ": bind: address already in use"},
		{"health address in use", "rules:", "health: { listen: '" + occupied.Addr().String() + "' }\nrules:", "listen for health checks: listen tcp"},
		{"copy to nowhere", "rules:", "audit: { file: audit.log, copy_to_stdout: true }\nrules:", "copy audit log: this server has no standard output: leave out audit.copy_to_stdout"},
		{"admin address in use", "rules:", "admin: { listen: '" + occupied.Addr().String() + "' }\nrules:", "listen for administration: listen tcp"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(w.config(), tt.old, tt.new, 1)
			w.write("server.yaml", []byte(text))
			state := filepath.Join(w.dir, "state.json")
			err := Run(t.Context(), filepath.Join(w.dir, "server.yaml"), RunOptions{Options: w.options(), StateFile: state})
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error is %v, want %q", err, tt.err)
			}
			if s, err := ReadState(state); s != nil || err != nil {
				t.Errorf("it left state %+v, %v", s, err)
			}
		})
	}
	if err := Run(t.Context(), filepath.Join(w.dir, "absent.yaml"), RunOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no configuration: %v", err)
	}
}

func TestServerCertificates(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name  string
		issue func()
		err   string
	}{
		{"expired", func() { w.issueUntil(time.Now().Add(-time.Hour), "localhost") }, "it expired on "},
		{"without names", func() { w.issue() }, "it has no subject alternative name"},
		{"from tomorrow on", nil, "it is valid from "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opts := w.options()
			if tt.issue == nil {
				w.issue("localhost")
				opts.Now = func() time.Time { return time.Now().Add(-101 * 24 * time.Hour) }
			} else {
				tt.issue()
			}
			s, err := New(w.parse(w.config()), opts)
			if err == nil {
				s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error is %v, want %q", err, tt.err)
			}
		})
	}
	w.issueUntil(time.Now().Add(3*24*time.Hour), "localhost")
	s, err := New(w.parse(w.config()), w.options())
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	w.log.waitFor(t, "level=WARN", "the server's certificate expires on ")
}

func TestReload(t *testing.T) {
	w := newWorld(t)
	p := w.run(w.config())
	s := p.waitForState(t, func(*State) bool { return true })
	first := s.ConfigSHA256
	reload := func(text string) {
		w.write("server.yaml", []byte(text))
		p.reload <- syscall.SIGHUP
	}

	// Another rule: the enclave is refused from now on.
	other := strings.Replace(w.config(), fmt.Sprintf("mr_enclave: [%x]", w.identity.MRENCLAVE), "mr_enclave: ["+hexA+"]", 1)
	reload(other)
	s = p.waitForState(t, func(s *State) bool { return s.ConfigSHA256 != first })
	if err := w.ask(s.Listen); err == nil {
		t.Error("the old rule is still in force")
	}

	// A bad one leaves that in force, and says so.
	second := s.ConfigSHA256
	reload(strings.Replace(other, "secret: model", "secret: modell", 1))
	w.log.waitFor(t, "level=ERROR", "the new configuration is not good; the old one stays in force", "modell", "config_sha256_in_force="+second)
	reload(strings.Replace(other, "127.0.0.1:0", "127.0.0.1:1", 1))
	w.log.waitFor(t, "level=ERROR", "listen: changed from 127.0.0.1:0 to 127.0.0.1:1; restart the server")
	reload(other + "admin: { listen: '127.0.0.1:0' }\n")
	w.log.waitFor(t, "level=ERROR", "admin: changed from none to 127.0.0.1:0; restart the server")
	reload(other + "health: { listen: '127.0.0.1:0' }\n")
	w.log.waitFor(t, "level=ERROR", "health: changed; restart the server")
	if s, err := ReadState(p.state); err != nil || s.ConfigSHA256 != second {
		t.Errorf("state %+v, error %v", s, err)
	}

	// A new certificate and key come with a reload too.
	w.issue("localhost", "127.0.0.1")
	reload(w.config())
	s = p.waitForState(t, func(s *State) bool { return s.ConfigSHA256 == first })
	if err := w.ask(s.Listen); err != nil {
		t.Error(err)
	}
}

func TestReloadStorm(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.config())
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := s.Reload(w.parse(w.config() + fmt.Sprintf("# %d\n", i))); err != nil {
				t.Errorf("reload: %v", err)
			}
		}
	})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for range 10 {
				if err := w.ask(s.addr); err != nil {
					t.Errorf("during reloads: %v", err)
				}
			}
		})
	}
	clients.Wait()
	close(stop)
	wg.Wait()
}

// TestSecretsAreWipedWhenNobodyNeedsThem: after a reload when the last connection of before has ended, else at the end.
func TestSecretsAreWipedWhenNobodyNeedsThem(t *testing.T) {
	w := newWorld(t)
	s, err := New(w.parse(w.config()), w.options())
	if err != nil {
		t.Fatal(err)
	}
	old := s.acquire() // a connection
	secret := old.secrets["model"]
	wiped := func() bool {
		for _, b := range secret.wire {
			if b != 0 {
				return false
			}
		}
		return true
	}
	if err := s.Reload(w.parse(w.config())); err != nil {
		t.Fatal(err)
	}
	if wiped() {
		t.Error("the key was wiped under a connection")
	}
	s.release(old)
	if !wiped() {
		t.Error("the key outlives its configuration")
	}
	secret = s.current.secrets["model"]
	if wiped() {
		t.Error("the new key was wiped")
	}
	s.Close()
	if !wiped() {
		t.Error("the key outlives the server")
	}
	s.Close()
}

// TestChangedFilesAreNoticed without a signal: the configuration itself, and what it names, also behind the symbolic
// links with which Kubernetes mounts files.
func TestChangedFilesAreNoticed(t *testing.T) {
	w := newWorld(t)
	w.interval = 10 * time.Millisecond
	mount := func(version string, key []byte) {
		w.t.Helper()
		if err := os.Mkdir(filepath.Join(w.dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		w.write(filepath.Join(version, "wrap-key"), key)
		link := filepath.Join(w.dir, "..data_tmp")
		if err := os.Symlink(version, link); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link, filepath.Join(w.dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	other := [wrapKeySize]byte{1, 2, 3}
	mount("v1", canary[:])
	if err := os.Remove(filepath.Join(w.dir, "wrap-key")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..data/wrap-key", filepath.Join(w.dir, "wrap-key")); err != nil {
		t.Fatal(err)
	}
	p := w.run(w.config())
	s := p.waitForState(t, func(*State) bool { return true })
	first := s.ConfigSHA256
	key := func() [16]byte {
		t.Helper()
		d, err := provision(t, &sgxsim.Enclave{Quoter: w.platform.Quoter(w.identity), Servers: s.Listen, CA: w.ca})
		if err != nil {
			t.Fatal(err)
		}
		return [16]byte(d.Secret)
	}
	if key() != canary {
		t.Fatal("another key")
	}
	mount("v2", other[:])
	for deadline := time.Now().Add(10 * time.Second); key() != other; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the new key is not released")
		}
	}
	w.write("server.yaml", []byte(w.config()+"# changed\n"))
	p.waitForState(t, func(s *State) bool { return s.ConfigSHA256 != first })
	// A bad one is reported once, and the good one comes back.
	w.write("server.yaml", []byte("listen: x\n"))
	w.log.waitFor(t, "level=ERROR", "the new configuration is not good")
	time.Sleep(100 * time.Millisecond)
	if n := strings.Count(w.log.String(), "the new configuration is not good"); n != 1 {
		t.Errorf("a bad configuration is reported %d times", n)
	}
	w.write("server.yaml", []byte(w.config()))
	p.waitForState(t, func(s *State) bool { return s.ConfigSHA256 == first })
}

func TestWatchWaitsUntilFilesSettle(t *testing.T) {
	w := watch{seen: "a"}
	for i, step := range []struct {
		now  string
		want bool
	}{{"a", false}, {"b", false}, {"c", false}, {"c", true}, {"c", false}, {"d", false}, {"c", false}, {"e", false}, {"e", true}} {
		if got := w.changed(step.now); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
}

// TestSignedConfiguration: a server that was given a key starts with a signed configuration only, and goes on with the
// good one when an unsigned one comes. Changing the signature is a change like any other.
func TestSignedConfiguration(t *testing.T) {
	w := newWorld(t)
	w.interval = 10 * time.Millisecond
	keys := map[string]note.Signer{}
	var public []string
	for _, name := range []string{"alice", "bob", "stranger"} {
		secret, key, err := configsign.GenerateKey(name)
		if err != nil {
			t.Fatal(err)
		}
		if keys[name], err = configsign.ParseSigner(secret); err != nil {
			t.Fatal(err)
		}
		if name != "stranger" {
			public = append(public, key)
		}
	}
	var err error
	if w.configKeys, err = configsign.NewVerifier(public...); err != nil {
		t.Fatal(err)
	}
	// Whole, so that the server does not see half of it and refuse that as well.
	replace := func(name string, content []byte) {
		t.Helper()
		w.write("new", content)
		if err := os.Rename(filepath.Join(w.dir, "new"), filepath.Join(w.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	sign := func(text, by string) {
		t.Helper()
		signed, err := configsign.Sign([]byte(text), keys[by], time.Now())
		if err != nil {
			t.Fatal(err)
		}
		replace("server.yaml.sig", signed)
	}
	text := w.audited()
	fails := func(want string) {
		t.Helper()
		w.write("server.yaml", []byte(text))
		path := filepath.Join(w.dir, "server.yaml")
		err := Run(t.Context(), path, RunOptions{Options: w.options()})
		if !errors.Is(err, configsign.ErrNotSigned) || !strings.Contains(err.Error(), want) {
			t.Errorf("start: %v, want %q", err, want)
		}
		if _, _, err := CheckConfig(path, w.options()); !errors.Is(err, configsign.ErrNotSigned) {
			t.Errorf("check: %v", err)
		}
	}
	fails("server.yaml.sig: no such file or directory")
	sign(text, "stranger")
	fails("it is signed by stranger (key ")
	sign(text+"\n", "alice")
	fails("is of another version of it")
	w.write("server.yaml.sig", bytes.Repeat([]byte("x"), configsign.MaxSize+1))
	fails("it is longer than 16384 bytes")

	sign(text, "alice")
	p := w.run(text)
	s := p.waitForState(t, func(*State) bool { return true })
	first := s.ConfigSHA256
	w.log.waitFor(t, "the configuration is signed", "by=alice")

	// The file alone, then its signature too.
	changed := text + "# changed\n"
	replace("server.yaml", []byte(changed))
	w.log.waitFor(t, "level=ERROR", "the new configuration is not good", "is of another version of it")
	if err := w.ask(s.Listen); err != nil {
		t.Errorf("with the good configuration: %v", err)
	}
	if s, err := ReadState(p.state); err != nil || s.ConfigSHA256 != first {
		t.Errorf("another configuration is in force: %v", err)
	}
	sign(changed, "bob")
	p.waitForState(t, func(s *State) bool { return s.ConfigSHA256 != first })
	w.log.waitFor(t, "the configuration is signed", "by=bob")
	if err := os.Remove(filepath.Join(w.dir, "server.yaml.sig")); err != nil {
		t.Fatal(err)
	}
	w.log.waitFor(t, "level=ERROR", "the new configuration is not good", "no such file")
	if err := w.ask(s.Listen); err != nil {
		t.Errorf("with the good configuration: %v", err)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	all := w.entries()
	if got := events(all); got != "begin config config_refused release sent config config_refused release sent stop" {
		t.Fatalf("events are %s", got)
	}
	if all[1].Data["signed_by"] != "alice" || all[5].Data["signed_by"] != "bob" || all[5].Data["signed_at"] == nil ||
		!strings.Contains(fmt.Sprint(all[2].Data["refused"]), "is of another version of it") {
		t.Errorf("entries %v, %v, %v", all[1], all[2], all[5])
	}
}

// TestCredentialsAreWatched as files are.
func TestCredentialsAreWatched(t *testing.T) {
	w := newWorld(t)
	w.interval = 10 * time.Millisecond
	t.Setenv(keysource.CredentialsDirectory, w.dir)
	w.write("given", newKeyOf('1'))
	p := w.run(strings.Replace(w.config(), "name: model, file: wrap-key", "name: model, credential: given", 1))
	s := p.waitForState(t, func(*State) bool { return true })
	w.write("given", newKeyOf('2'))
	w.log.waitFor(t, "the configuration, or a file that it names, has changed")
	waitUntil(t, "the new key is released", func() bool {
		d, err := provision(t, &sgxsim.Enclave{Quoter: w.platform.Quoter(w.identity), Servers: s.Listen, CA: w.ca})
		return err == nil && d.Secret[15] == '2'
	})
}

// TestAChangeDuringTheStart: what changes while it is read for the first time is read again.
func TestAChangeDuringTheStart(t *testing.T) {
	w := newWorld(t)
	w.write("server.yaml", []byte(w.config()))
	opts := RunOptions{Options: w.options(), StateFile: filepath.Join(w.dir, "state.json"), WatchInterval: 10 * time.Millisecond}
	w.write("next", newKeyOf('2'))
	later := time.Now().Add(time.Second) // clocks of file systems are coarse
	if err := os.Chtimes(filepath.Join(w.dir, "next"), later, later); err != nil {
		t.Fatal(err)
	}
	renew := sync.OnceFunc(func() { // whole, for others may be reading it
		if err := os.Rename(filepath.Join(w.dir, "next"), filepath.Join(w.dir, "wrap-key")); err != nil {
			t.Error(err)
		}
	})
	opts.Fingerprint = func([wrapKeySize]byte) string {
		renew() // the first secret has been read
		return "fingerprint"
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, filepath.Join(w.dir, "server.yaml"), opts) }()
	p := &process{state: opts.StateFile}
	s := p.waitForState(t, func(s *State) bool { return s.PID != 0 })
	waitUntil(t, "the new key is released", func() bool {
		d, err := provision(t, &sgxsim.Enclave{Quoter: w.platform.Quoter(w.identity), Servers: s.Listen, CA: w.ca})
		return err == nil && d.Secret[15] == '2'
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
