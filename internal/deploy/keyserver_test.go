package deploy

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/statefile"
)

func asError(err error, target **Error) bool { return errors.As(err, target) }

func dial(t *testing.T, address string) error {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", address)
	if err == nil {
		_ = conn.Close()
	}
	return err
}

func TestKeyServerLife(t *testing.T) {
	k := testKeyServer(t, "ccctl")
	k.Config.Admin = &KeyServerAdmin{Listen: "127.0.0.1:0"}
	run := start(t, k)
	for _, address := range []string{run.Address, run.AdminAddress} {
		if err := dial(t, address); err != nil {
			t.Errorf("nobody listens: %v", err)
		}
	}
	if run.Version != "test" || len(run.ConfigSHA256) != 64 {
		t.Errorf("run is %+v", run)
	}
	files := KeyServerFilesIn(k.Directory)
	for _, name := range []string{files.Config, files.State, files.Log} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if info, err := os.Stat(k.Directory); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%s: %v, %v", k.Directory, info, err)
	}
	if o := observe(t, k, run); o.Status != KeyServerRunning {
		t.Errorf("status is %q", o.Status)
	}
	inputs := listedInputs(readFile(t, files.Config))
	if info, err := InspectWrapKey(k.Config.Secrets[0].File); err != nil || inputs["secrets.model"] != info.Fingerprint || len(inputs["tls.certificate"]) != 64 {
		t.Errorf("inputs are %v (%v)", inputs, err)
	}
	found, err := FindKeyServer(k.Directory)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(run, found); diff != "" {
		t.Errorf("found something else (-started +found):\n%s", diff)
	}
	if _, err := k.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "one runs there") {
		t.Errorf("starting a second one: %v", err)
	}

	config, err := ReadKeyServerConfig(k.Directory)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(k.Config, config, cmpopts.IgnoreUnexported(KeyServerConfig{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the configuration is another (-wished +written):\n%s", diff)
	}

	pid := pidOf(t, k)
	if err := RemoveKeyServer(t.Context(), k.Directory); err != nil {
		t.Fatal(full(err))
	}
	if commandLine(pid) != "" {
		t.Errorf("process %d is still there: %s", pid, commandLine(pid))
	}
	if _, err := os.Stat(k.Directory); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory is left: %v", err)
	}
	if err := RemoveKeyServer(t.Context(), k.Directory); err != nil {
		t.Errorf("removing what is gone: %v", err)
	}
	if _, err := FindKeyServer(k.Directory); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("finding what is gone: %v", err)
	}
}

// TestKeyServerIsDetached looks at what a started process shows of itself and
// shares with this one.
func TestKeyServerIsDetached(t *testing.T) {
	if _, err := os.Stat("/proc/self/environ"); err != nil {
		t.Skip("needs /proc")
	}
	t.Setenv("ALICLOUD_SECRET_KEY", "canary-in-environment")
	t.Setenv("HTTPS_PROXY", "http://user:canary@proxy.example")
	t.Setenv("no_proxy", "localhost")
	k := testKeyServer(t, "ccctl")
	start(t, k)
	proc := "/proc/" + strconv.Itoa(pidOf(t, k))
	environ := string(readFile(t, proc+"/environ"))
	if strings.Contains(environ, "canary") || !strings.Contains(environ, "no_proxy=localhost") {
		t.Errorf("environment is %q", environ)
	}
	for fd, want := range map[string]string{"0": os.DevNull, "1": KeyServerFilesIn(k.Directory).Log, "2": KeyServerFilesIn(k.Directory).Log} {
		if got, err := os.Readlink(proc + "/fd/" + fd); err != nil || got != want {
			t.Errorf("descriptor %s is %s (%v), want %s", fd, got, err, want)
		}
	}
	if cwd, err := os.Readlink(proc + "/cwd"); err != nil || cwd != k.Directory {
		t.Errorf("works in %s (%v)", cwd, err)
	}
	// Field 6 of stat is the session; its leader is the process itself.
	stat := string(readFile(t, proc+"/stat"))
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if fields[3] != strconv.Itoa(pidOf(t, k)) {
		t.Errorf("session %s is not its own", fields[3])
	}
}

func TestKeyServerDrift(t *testing.T) {
	k := testKeyServer(t, "ccctl")
	dir := filepath.Dir(k.Directory)
	files := KeyServerFilesIn(k.Directory)
	run := start(t, k)
	for _, tt := range []struct {
		name   string
		change func()
		status string
	}{
		{"certificate renewed", func() { writeCertificate(t, dir) }, "changed: tls.certificate has changed since the last apply"},
		{"key replaced", func() { newTestKey(t, filepath.Join(dir, "wrap.key")) }, "changed: secrets.model has changed since the last apply"},
		{"configuration edited", func() { writeFile(t, files.Config, string(readFile(t, files.Config))+"# x\n", 0o600) },
			"changed: the configuration file was edited"},
		{"configuration removed", func() { _ = os.Remove(files.Config) }, "changed: the configuration file is missing"},
	} {
		tt.change()
		if o := observe(t, k, run); o.Status != tt.status {
			t.Errorf("%s: status is %q", tt.name, o.Status)
		}
		var err error
		if run, err = k.Apply(t.Context(), false); err != nil {
			t.Fatalf("%s: %s", tt.name, full(err))
		}
		if o := observe(t, k, run); o.Status != KeyServerRunning {
			t.Errorf("%s: after apply the status is %q", tt.name, o.Status)
		}
	}

	if err := os.Remove(filepath.Join(dir, "wrap.key")); err != nil {
		t.Fatal(err)
	}
	o := observe(t, k, run)
	if !strings.HasPrefix(o.Status, `changed: read secret "model": read wrap key `) || !strings.HasSuffix(o.Status, "no such file or directory") {
		t.Errorf("missing key: status is %q", o.Status)
	}
	pid := pidOf(t, k)
	if _, err := k.Apply(t.Context(), true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("apply without the key: %v", err)
	}
	if pidOf(t, k) != pid {
		t.Error("an apply that cannot work out stopped the server")
	}

	killKeyServer(t, k.Directory)
	if o := observe(t, k, run); o.Status != KeyServerStopped || !strings.Contains(o.Log, "listening for enclaves") {
		t.Errorf("killed: %+v", o)
	}
}

// TestKeyServerReloadsOrRestarts tells the two apart by the process id.
func TestKeyServerReloadsOrRestarts(t *testing.T) {
	k := testKeyServer(t, "ccctl")
	run := start(t, k)
	pid := pidOf(t, k)
	apply := func(name string, restart, wantNew bool) {
		t.Helper()
		next, err := k.Apply(t.Context(), restart)
		if err != nil {
			t.Fatalf("%s: %s", name, full(err))
		}
		now := pidOf(t, k)
		if (now != pid) != wantNew {
			t.Errorf("%s: process %d, was %d", name, now, pid)
		}
		if o := observe(t, k, next); o.Status != KeyServerRunning {
			t.Errorf("%s: status is %q", name, o.Status)
		}
		run, pid = next, now
	}
	apply("nothing", false, false)
	before := run
	k.Config.Rules[0].TCB.Accept = append(k.Config.Rules[0].TCB.Accept, "SWHardeningNeeded")
	apply("rule", false, false)
	if run.ConfigSHA256 == before.ConfigSHA256 || run.Address != before.Address {
		t.Errorf("after a reload: %+v, before %+v", run, before)
	}
	apply("asked to", true, true)
	k.Config.Admin = &KeyServerAdmin{Listen: "127.0.0.1:0"}
	apply("admin listener", false, true)
	if run.AdminAddress == "" {
		t.Error("no admin listener")
	}
	writeFile(t, KeyServerFilesIn(k.Directory).Config, "no: yaml: at all", 0o600)
	apply("unreadable configuration", false, true)
	killKeyServer(t, k.Directory)
	apply("dead", false, true)
}

func TestKeyServerStartErrors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(k *KeyServer)
		want   string
	}{
		{"no program", func(k *KeyServer) { k.Program = "/nonexistent/ccctl" }, "find ccctl at /nonexistent/ccctl: no such file or directory"},
		{"not a program", func(k *KeyServer) { k.Program = k.Config.TLS.Certificate }, "permission denied"},
		{"no certificate", func(k *KeyServer) { k.Config.TLS.Certificate += "x" }, "configure key server: read tls.certificate: "},
		{"a key for a certificate", func(k *KeyServer) { k.Config.TLS.Certificate = k.Config.TLS.PrivateKey }, "no PEM certificate in it"},
		{"no key", func(k *KeyServer) { k.Config.Secrets[0].File += "x" }, `configure key server: read secret "model": read wrap key `},
		{"bad rule", func(k *KeyServer) { k.Config.Rules[0].MRSigner = []string{"00"} }, "rules[0].mr_signer[0]: has 2 characters; write 64 hex digits"},
		{"wrong private key", func(k *KeyServer) {
			dir := filepath.Join(filepath.Dir(k.Directory), "other")
			_ = os.Mkdir(dir, 0o700)
			writeCertificate(t, dir)
			k.Config.TLS.PrivateKey = filepath.Join(dir, "server-key.pem")
		}, "tls: load server certificate"},
		{"open directory", func(k *KeyServer) {
			_ = os.Mkdir(k.Directory, 0o700)
			_ = os.Chmod(k.Directory, 0o777)
		}, "its mode is 0777"},
		{"program fails", func(k *KeyServer) { k.Program = fakeCcctl(t, "ccctl-fails") },
			"wait for key server: it ended at once: exit status 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := testKeyServer(t, "ccctl")
			tt.change(&k)
			_, err := k.Start(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error is %v", err)
			}
			if _, err := serverState(KeyServerFilesIn(k.Directory).State); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestKeyServerErrorShowsTheLog(t *testing.T) {
	k := testKeyServer(t, "ccctl-fails")
	_, err := k.Start(t.Context())
	var known *Error
	if !errors.As(err, &known) || known.Evidence != "error: the dog ate it ?[31m" {
		t.Fatalf("%#v", err)
	}
	// A port that is taken is found out by the server itself.
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	k.Program = fakeCcctl(t, "ccctl")
	k.Config.Listen = l.Addr().String()
	_, err = k.Start(t.Context())
	if !errors.As(err, &known) || !strings.Contains(known.Evidence, "address already in use") || strings.Contains(known.Evidence, "dog") {
		t.Errorf("%s", full(err))
	}
}

// TestKeyServerRestartGoesBack has a listener in the way of the new address.
func TestKeyServerRestartGoesBack(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	k := testKeyServer(t, "ccctl")
	run := start(t, k)
	good := k.Config.Listen
	k.Config.Listen = l.Addr().String()
	_, err = k.Apply(t.Context(), false)
	if err == nil || !strings.Contains(full(err), "It has been started with its former configuration again.") {
		t.Fatal(full(err))
	}
	if o := observe(t, k, run); o.Status != KeyServerRunning {
		t.Errorf("status is %q", o.Status)
	}
	k.Config.Listen = good
}

// TestKeyServerStartEnds makes sure that nothing is left of a start that does
// not come to an end.
func TestKeyServerStartEnds(t *testing.T) {
	k := testKeyServer(t, "ccctl-mute")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err := k.Start(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > 10*time.Second {
		t.Errorf("after %v: %v", time.Since(begun), err)
	}
	if state, err := serverState(KeyServerFilesIn(k.Directory).State); err != nil || state != nil {
		t.Errorf("a process is left: %v, %v", state, err)
	}
}

func TestStopKillsWhatDoesNotStop(t *testing.T) {
	k := testKeyServer(t, "ccctl-deaf")
	start(t, k)
	pid := pidOf(t, k)

	canceled, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	if err := StopKeyServer(canceled, k.Directory); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if pidOf(t, k) != pid {
		t.Error("an interrupted stop killed the server")
	}
	limited, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := StopKeyServer(limited, k.Directory); err != nil {
		t.Errorf("at the deadline: %v", err)
	}
	if commandLine(pid) != "" {
		t.Error("the process is still there")
	}
}

func TestReloadThatIsNotTakenOver(t *testing.T) {
	k := testKeyServer(t, "ccctl-deaf")
	run := start(t, k)
	k.Config.Rules[0].Name = "other"
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := k.Apply(ctx, false)
	var known *Error
	if !errors.As(err, &known) || known.Summary != "Key server kept its former configuration" {
		t.Errorf("%s", full(err))
	}
	if o := observe(t, k, run); o.Status != KeyServerRunning {
		t.Errorf("the old configuration is not in place: %q", o.Status)
	}
}

// TestNothingIsSignalledOnAGuess has a state file that is held, with the id of
// a process that is not a key server: this one.
func TestNothingIsSignalledOnAGuess(t *testing.T) {
	k := testKeyServer(t, "ccctl")
	if err := os.Mkdir(k.Directory, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := statefile.Create(KeyServerFilesIn(k.Directory).State)
	if err != nil {
		t.Fatal(err)
	}
	if err := StopKeyServer(t.Context(), k.Directory); err == nil || !strings.Contains(err.Error(), "it is just starting or ending") {
		t.Errorf("not ready: %v", err)
	}
	if err := f.Write(statefile.State{PID: os.Getpid(), Started: time.Now(), Listen: "127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	if err := StopKeyServer(t.Context(), k.Directory); err == nil || !strings.Contains(err.Error(), "it is not a key server of this directory") {
		t.Errorf("another process: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := StopKeyServer(t.Context(), k.Directory); err != nil {
		t.Errorf("stale: %v", err)
	}
}

func TestRemoveKeepsWhatIsNotOurs(t *testing.T) {
	k := testKeyServer(t, "ccctl")
	start(t, k)
	writeFile(t, filepath.Join(k.Directory, "notes"), "mine", 0o600)
	if err := RemoveKeyServer(t.Context(), k.Directory); err != nil {
		t.Fatal(err)
	}
	if got := names(t, k.Directory); got != "notes" {
		t.Errorf("left: %s", got)
	}
}

func TestReachable(t *testing.T) {
	for listener, want := range map[string]string{
		"127.0.0.1:4433": "127.0.0.1:4433", "0.0.0.0:1": "127.0.0.1:1", "[::]:4433": "127.0.0.1:4433", ":7": "127.0.0.1:7",
		"[::1]:5": "[::1]:5", "": "",
	} {
		if got := reachable(listener); got != want {
			t.Errorf("reachable(%q) = %q, want %q", listener, got, want)
		}
	}
}

func TestFindCcctl(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if _, err := FindCcctl(""); err == nil || !strings.Contains(err.Error(), "find ccctl: neither "+filepath.Dir(os.Args[0])) {
		t.Errorf("nowhere: %v", err)
	}
	program := filepath.Join(dir, "ccctl")
	writeFile(t, program, "#!/bin/sh\n", 0o755)
	if got, err := FindCcctl(""); err != nil || got != program {
		t.Errorf("on PATH: %s, %v", got, err)
	}
	t.Chdir(dir)
	if got, err := FindCcctl("./ccctl"); err != nil || got != program {
		t.Errorf("relative: %s, %v", got, err)
	}
}
