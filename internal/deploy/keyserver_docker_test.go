package deploy

import (
	"context"
	crand "crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/remote"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
	"github.com/ccctl/terraform-provider-cc/internal/testfault"
	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

// dockerScratch holds what the tests of containers build once.
var dockerScratch string

func TestMain(m *testing.M) {
	var err error
	if dockerScratch, err = os.MkdirTemp("", "cc-deploy-test-"); err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dockerScratch) }()
	defer testhost.StopDocker()
	m.Run()
}

func buildProgram(name, pkg, source string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		path := filepath.Join(dockerScratch, name)
		if source != "" {
			pkg = path + ".go"
			if err := os.WriteFile(pkg, []byte(source), 0o600); err != nil {
				return "", err
			}
		}
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path, pkg)
		cmd.Dir = filepath.Join("..", "..")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", errors.New(string(out))
		}
		return path, nil
	})
}

var (
	releasedCcctl = buildProgram("ccctl", "./cmd/ccctl", "")
	brokenCcctl   = buildProgram("broken", "", "package main\n\nfunc main() { println(\"error: the dog ate it \\x1b[31m\"); panic(3) }\n")
)

func program(t *testing.T, build func() (string, error)) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// ownProgram is a released ccctl whose image nobody else has.
func ownProgram(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ccctl")
	data := append(readFile(t, program(t, releasedCcctl)), crand.Text()...) // after the last section
	writeFile(t, path, string(data), 0o700)
	return path
}

// simulatedCollateral is that of a platform which no test looks at closer.
func simulatedCollateral() (bundle, root []byte, err error) {
	platform, err := sgxsim.New(sgxsim.Options{})
	if err != nil {
		return nil, nil, err
	}
	bundle, err = platform.CollateralFile(time.Now())
	return bundle, platform.RootPEM(), err
}

// testContainer is a key server for the Docker of the tests on this machine.
func testContainer(t *testing.T) KeyServerContainer {
	t.Helper()
	testhost.DockerHost(t)
	k := KeyServerContainer{KeyServer: testKeyServer(t, "ccctl"), Name: "cc-test-" + strings.ToLower(crand.Text()[:8]), Host: remote.Local{}}
	k.Directory = filepath.Join(filepath.Dir(k.Directory), "host", "server")
	k.Program = program(t, releasedCcctl)
	k.Config.Listen = testhost.FreeAddress(t)
	k.Probe = k.Config.Listen
	// A server without collateral is not ready for long.
	bundle, root, err := simulatedCollateral()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(k.Config.TLS.Certificate)
	k.Config.Collateral = KeyServerCollateral{Bundle: filepath.Join(dir, "collateral.json")}
	k.Config.AllowTrustedRoot = filepath.Join(dir, "root.pem")
	writeFile(t, k.Config.Collateral.Bundle, string(bundle), 0o600)
	writeFile(t, k.Config.AllowTrustedRoot, string(root), 0o600)
	t.Cleanup(func() {
		for _, name := range []string{k.Name, k.trialName(), k.previousName()} {
			_ = exec.Command("docker", "rm", "-f", name).Run()
		}
	})
	return k
}

// containers names those of a server.
func containers(t *testing.T, k KeyServerContainer) string {
	t.Helper()
	return docker(t, "ps", "-a", "--filter", "label="+labelDirectory+"="+k.Directory, "--format", "{{.Names}}")
}

func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func applyContainer(t *testing.T, k KeyServerContainer) KeyServerRun {
	t.Helper()
	run, err := k.Apply(t.Context())
	if err != nil {
		t.Fatal(full(err))
	}
	if status := observeContainer(t, k, run); status != KeyServerRunning {
		t.Fatalf("after apply the status is %q", status)
	}
	return run
}

func observeContainer(t *testing.T, k KeyServerContainer, run KeyServerRun) string {
	t.Helper()
	o, err := k.Observe(t.Context(), run.ConfigSHA256)
	if err != nil {
		t.Fatal(full(err))
	}
	return o.Status
}

func TestContainerLife(t *testing.T) {
	t.Parallel()
	k := testContainer(t)
	k.Program = ownProgram(t)
	run := applyContainer(t, k)
	if run.Address != k.Config.Listen || run.Version == "" || len(run.ConfigSHA256) != 64 {
		t.Errorf("run is %+v", run)
	}
	checkHardening(t, k)
	checkFiles(t, k)
	first := docker(t, "inspect", "-f", "{{.Id}}", k.Name)
	id := func() string { return docker(t, "inspect", "-f", "{{.Id}}", k.Name) }
	dir := filepath.Dir(filepath.Dir(k.Directory))

	applyContainer(t, k)
	k.Config.Rules[0].TCB.Accept = append(k.Config.Rules[0].TCB.Accept, "SWHardeningNeeded")
	next := applyContainer(t, k)
	if id() != first || next.ConfigSHA256 == run.ConfigSHA256 {
		t.Error("a rule was not reloaded")
	}
	writeCertificate(t, dir)
	if status := observeContainer(t, k, next); status != "changed: tls.certificate is another than the server has loaded" {
		t.Errorf("renewed certificate: %q", status)
	}
	applyContainer(t, k) // the probe sees the new one
	newTestKey(t, filepath.Join(dir, "wrap.key"))
	next = applyContainer(t, k)
	if id() != first {
		t.Error("a certificate or key was not reloaded")
	}
	checkFiles(t, k)

	// Another image and another port: another container.
	old := k.Config.Listen
	k.Config.Listen = testhost.FreeAddress(t)
	k.Probe = k.Config.Listen
	formerImage := docker(t, "inspect", "-f", "{{.Image}}", k.Name)
	k.Program = ownProgram(t)
	if status := observeContainer(t, k, next); !strings.Contains(status, "its image holds another program (SHA-256 ") || !strings.Contains(status, "; it publishes "+old+", not "+k.Probe) {
		t.Errorf("another program and port: %q", status)
	}
	run = applyContainer(t, k)
	if image := docker(t, "inspect", "-f", "{{.Image}}", k.Name); image == formerImage || docker(t, "images", "-q", "--no-trunc", "--filter", "reference="+formerImage) != "" {
		t.Errorf("the image is %s, was %s", image, formerImage)
	}
	if id() == first {
		t.Error("another port without another container")
	}
	if err := dial(t, old); err == nil {
		t.Error("the old port is still open")
	}
	if names := containers(t, k); names != k.Name {
		t.Errorf("containers: %s", names)
	}

	checkRollBack(t, k, run)

	p, err := k.prepare(t.Context())
	if err != nil {
		t.Fatal(full(err))
	}
	if err := k.Remove(t.Context()); err != nil {
		t.Fatal(full(err))
	}
	if left := containers(t, k) + docker(t, "images", "-q", p.image.Reference()); left != "" {
		t.Errorf("Docker has left: %s", left)
	}
	if _, err := os.Stat(k.Directory); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory is left: %v", err)
	}
	if o, err := k.Observe(t.Context(), run.ConfigSHA256); err != nil || o.Status != KeyServerStopped {
		t.Errorf("%v, %v", o, err)
	}
	if err := k.Remove(t.Context()); err != nil {
		t.Errorf("removing what is gone: %v", err)
	}
}

// checkHardening reads each flag in Docker's own words.
func checkHardening(t *testing.T, k KeyServerContainer) {
	t.Helper()
	for format, want := range map[string]string{
		"{{.Config.User}}":                   "65532:65532",
		"{{.HostConfig.ReadonlyRootfs}}":     "true",
		"{{.HostConfig.Privileged}}":         "false",
		"{{.HostConfig.CapDrop}}":            "[ALL]",
		"{{.HostConfig.CapAdd}}":             "[]",
		"{{.HostConfig.SecurityOpt}}":        "[no-new-privileges]",
		"{{.HostConfig.Memory}}":             "268435456",
		"{{.HostConfig.MemorySwap}}":         "268435456",
		"{{.HostConfig.PidsLimit}}":          "256",
		"{{.HostConfig.RestartPolicy.Name}}": "unless-stopped",
		"{{.HostConfig.LogConfig.Type}} {{index .HostConfig.LogConfig.Config \"max-size\"}} {{index .HostConfig.LogConfig.Config \"max-file\"}}": "json-file 10m 3",
		"{{.HostConfig.PortBindings}}":                      fmt.Sprintf("map[4433/tcp:[{127.0.0.1 %s}]]", k.Config.Listen[strings.LastIndexByte(k.Config.Listen, ':')+1:]),
		"{{.Config.Healthcheck.Test}}":                      "[CMD /ccctl keyserver status --state-file /run/cc-key-server/state.json]",
		"{{.HostConfig.NetworkMode}}":                       "default",
		"{{len .Mounts}}":                                   "1",
		"{{len .Config.Env}}":                               "0",
		"{{.HostConfig.PidMode}}{{.HostConfig.UsernsMode}}": "",
	} {
		if got := docker(t, "inspect", "-f", format, k.Name); got != want {
			t.Errorf("%s is %q, want %q", format, got, want)
		}
	}
	pid := docker(t, "inspect", "-f", "{{.State.Pid}}", k.Name)
	status := string(readFile(t, "/proc/"+pid+"/status"))
	for _, want := range []string{"Uid:\t65532\t", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(status, want) {
			t.Errorf("the process has not %q:\n%s", want, status)
		}
	}
}

// checkFiles looks at who may read what, and that nothing of a former
// configuration is left.
func checkFiles(t *testing.T, k KeyServerContainer) {
	t.Helper()
	for name, want := range map[string]os.FileMode{k.Directory: 0o700, k.configDir(): 0o700, k.configFile(): 0o400} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	entries, err := os.ReadDir(k.configDir())
	if err != nil || len(entries) != 2 {
		t.Fatalf("in %s: %v, %v", k.configDir(), entries, err)
	}
	p, err := k.prepare(t.Context())
	if err != nil {
		t.Fatal(full(err))
	}
	if got := names(t, filepath.Join(k.configDir(), p.release)); got != "collateral.json secret-0 server-key.pem server.pem trusted-root.pem" {
		t.Errorf("files: %s", got)
	}
	_, text, ok := strings.Cut(string(readFile(t, k.configFile())), configHead)
	if !ok || strings.Contains(text, filepath.Dir(k.Config.TLS.Certificate)) || !strings.Contains(text, "/etc/cc-key-server/"+p.release+"/secret-0") {
		t.Errorf("configuration is\n%s", text)
	}
}

// checkRollBack has a new version that cannot work, before and after it is
// published.
func checkRollBack(t *testing.T, k KeyServerContainer, run KeyServerRun) {
	t.Helper()
	id := docker(t, "inspect", "-f", "{{.Id}}", k.Name)
	bad := k
	bad.Program = program(t, brokenCcctl)
	_, err := bad.Apply(t.Context())
	var known *Error
	if !errors.As(err, &known) || known.Summary != "Key server kept its former configuration" || !strings.Contains(known.Evidence, "the dog ate it ?[31m") {
		t.Errorf("broken program: %s", full(err))
	}
	if status := observeContainer(t, k, run); status != KeyServerRunning || docker(t, "inspect", "-f", "{{.Id}}", k.Name) != id {
		t.Errorf("after a broken program: %q", status)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	bad = k
	bad.Config.Listen = l.Addr().String()
	_, err = bad.Apply(t.Context())
	if err == nil || !strings.Contains(full(err), "address already in use") || !strings.Contains(full(err), "It has been started with its former version again.") {
		t.Errorf("port in use: %s", full(err))
	}
	for deadline := time.Now().Add(20 * time.Second); observeContainer(t, k, run) != KeyServerRunning; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after a port in use: %q", observeContainer(t, k, run))
		}
	}
	bad = k
	bad.Probe = testhost.FreeAddress(t)
	if _, err := bad.Apply(t.Context()); !errors.As(err, &known) || known.Summary != "Key server not reachable" {
		t.Errorf("nobody at the address: %s", full(err))
	}
}

func TestContainerDrift(t *testing.T) {
	t.Parallel()
	k := testContainer(t)
	run := applyContainer(t, k)
	for _, tt := range []struct {
		name   string
		change func()
		status string
	}{
		{"stopped", func() { docker(t, "stop", k.Name) }, "stopped"},
		{"removed", func() { docker(t, "rm", "-f", k.Name) }, "stopped"},
		{"edited", func() { writeFile(t, k.configFile(), "listen: x", 0o600) }, "changed: the configuration file was edited"},
		{"configuration removed", func() { _ = os.Remove(k.configFile()) }, "changed: the configuration file is missing"},
		{"memory", func() { docker(t, "update", "--memory", "512m", "--memory-swap", "1g", k.Name) },
			"changed: its memory limit is 536870912 and with swap 1073741824, not 268435456 bytes"},
		{"restart policy", func() { docker(t, "update", "--restart", "no", k.Name) }, `changed: its restart policy is "no", not "unless-stopped"`},
	} {
		tt.change()
		if status := observeContainer(t, k, run); status != tt.status {
			t.Errorf("%s: status is %q", tt.name, status)
		}
		run = applyContainer(t, k)
	}
	// What this machine does not have it cannot compare.
	missing := k
	missing.Config.Secrets = append([]KeyServerSecret(nil), k.Config.Secrets...)
	missing.Config.Secrets[0].File += "-elsewhere"
	if status := observeContainer(t, missing, run); status != KeyServerRunning {
		t.Errorf("without the key: %q", status)
	}
	if _, err := missing.Apply(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("apply without the key: %v", err)
	}
	// Somebody else's container is not touched.
	other := k
	other.Directory += "2"
	_, err := other.Apply(t.Context())
	var known *Error
	if !errors.As(err, &known) || known.Summary != "Container of another one" {
		t.Errorf("of another server: %s", full(err))
	}
	if err := other.Remove(t.Context()); !errors.As(err, &known) || known.Summary != "Container of another one" {
		t.Errorf("removing another server: %v", err)
	}
}

func TestContainerCheck(t *testing.T) {
	base := KeyServerContainer{KeyServer: testKeyServer(t, "ccctl"), Name: "x", Host: remote.Local{}}
	base.Directory, base.Config.Listen = "/var/lib/x", ":4433"
	if err := base.Check(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func(k *KeyServerContainer)
		want   string
	}{
		{"port 0", func(k *KeyServerContainer) { k.Config.Listen = ":0" }, "listen: has port 0"},
		{"admin", func(k *KeyServerContainer) { k.Config.Admin = &KeyServerAdmin{Listen: "127.0.0.1:1"} }, "admin: does not go with a container"},
		{"cache", func(k *KeyServerContainer) { k.Config.Collateral.CacheDir = "/x" }, "collateral.cache_dir: does not go with a container"},
		{"relative", func(k *KeyServerContainer) { k.Directory = "x" }, "directory: \"x\" is not the absolute path"},
		{"top", func(k *KeyServerContainer) { k.Directory = "/etc" }, "directory: \"/etc\" is not the absolute path of a directory below another one"},
		{"dots", func(k *KeyServerContainer) { k.Directory = "/var/lib/../../etc" }, "is not the absolute path"},
		{"comma", func(k *KeyServerContainer) { k.Directory = "/var/lib/a,b" }, "which Docker cannot mount"},
		{"rules", func(k *KeyServerContainer) { k.Config.Rules = []KeyServerRule{{Name: "x"}} }, "has neither mr_enclave nor mr_signer"},
	} {
		k := base
		tt.change(&k)
		if err := k.Check(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestContainerWithoutDocker(t *testing.T) {
	k := KeyServerContainer{KeyServer: testKeyServer(t, "ccctl"), Name: "x", Host: remote.Local{}}
	k.Directory, k.Config.Listen, k.Program = "/var/lib/x/y", "127.0.0.1:1", program(t, releasedCcctl)
	t.Setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
	if _, err := exec.LookPath("docker"); err == nil {
		_, err := k.Apply(t.Context())
		testfault.Expect(t, "Docker daemon down", testfault.Provider, full(err))
		_, err = k.Observe(t.Context(), "") // it is not taken for stopped
		testfault.Expect(t, "Docker daemon down", testfault.Provider, full(err))
	}
	t.Setenv("PATH", t.TempDir())
	_, err := k.Apply(t.Context())
	testfault.Expect(t, "No Docker on the machine", testfault.Provider, full(err))
	k.Program = os.Args[0]
	if data := readFile(t, k.Program); !strings.Contains(string(data[:4096]), "ld-linux") {
		return // a statically linked test
	}
	if _, err := k.Apply(t.Context()); err == nil || !strings.Contains(full(err), "it is dynamically linked") {
		t.Errorf("test binary as program: %s", full(err))
	}
}

// TestContainerConnectionCut breaks the connection at random moments of an
// apply. The next one ends in the same state each time.
func TestContainerConnectionCut(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) { // two servers at a time: they wait more than they compute
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			cutConnections(t, seed, 5)
		})
	}
}

func cutConnections(t *testing.T, seed uint64, rounds int) {
	t.Helper()
	k := testContainer(t)
	d := testhost.StartSSHD(t, "DOCKER_HOST="+os.Getenv("DOCKER_HOST"))
	proxy := newCuttingProxy(t, d.Address)
	config := remote.SSHConfig{Address: proxy.address, User: d.User, HostKeys: []string{d.HostKey}, PrivateKeyFile: d.KeyFile}
	apply := func() (KeyServerRun, error) {
		x, err := remote.DialSSH(t.Context(), config)
		if err != nil {
			return KeyServerRun{}, err
		}
		defer func() { _ = x.Close() }()
		k.Host = x
		return k.Apply(t.Context())
	}
	change := func(i int) {
		if i%2 == 0 { // another container
			k.Config.Listen = testhost.FreeAddress(t)
			k.Probe = k.Config.Listen
		}
		k.Config.Rules[0].Name = fmt.Sprintf("rule %d", i)
	}
	// Once, so that the image is there, and once for each kind, to see how long it takes.
	var whole [2]time.Duration
	for i := range 3 {
		change(i + 1)
		begun := time.Now()
		if _, err := apply(); err != nil {
			t.Fatal(full(err))
		}
		whole[(i+1)%2] = time.Since(begun)
	}
	random := rand.New(rand.NewPCG(1, seed))
	cuts := 0
	for i := range rounds {
		change(i)
		at := time.Duration(random.Int64N(int64(whole[i%2])))
		begun := time.Now()
		timer := time.AfterFunc(at, proxy.cut)
		_, cutErr := apply()
		timer.Stop()
		if cutErr != nil {
			cuts++
		}
		run, err := apply()
		if err != nil {
			t.Fatalf("cut %d, then applied again: %s", i, full(err))
		}
		t.Logf("cut %d after %v of %v: %v; all of it took %v", i, at, whole[i%2], cutErr, time.Since(begun))
		k.Host = remote.Local{}
		if status := observeContainer(t, k, run); status != KeyServerRunning {
			t.Errorf("cut %d: status is %q", i, status)
		}
		if names := containers(t, k); names != k.Name {
			t.Errorf("cut %d: containers: %s", i, names)
		}
		checkFiles(t, k)
	}
	if cuts == 0 {
		t.Errorf("none of %d cuts hit", rounds)
	}
	k.Host = remote.Local{}
	if err := k.Remove(t.Context()); err != nil {
		t.Fatal(full(err))
	}
}

// cuttingProxy forwards connections until they are cut.
type cuttingProxy struct {
	address string

	mu    sync.Mutex
	conns []net.Conn
}

func newCuttingProxy(t *testing.T, to string) *cuttingProxy {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	p := &cuttingProxy{address: l.Addr().String()}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, in, out)
			p.mu.Unlock()
			go pump(in, out)
			go pump(out, in)
		}
	}()
	return p
}

func pump(dst, src net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			_ = dst.Close()
			return
		}
	}
}

func (p *cuttingProxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

func TestContainerInspectIsRead(t *testing.T) {
	var c containerInfo
	if err := json.Unmarshal([]byte(`{"HostConfig":{"PortBindings":{"4433/tcp":[{"HostIp":"::","HostPort":"1"}]},"PidsLimit":null}}`), &c); err != nil {
		t.Fatal(err)
	}
	p := &preparedContainer{publish: "0.0.0.0:4433"}
	got := strings.Join(p.differences(&c), "\n")
	for _, want := range []string{"it publishes [::]:1, not 0.0.0.0:4433", "its root file system can be written to", "it has capabilities",
		"it may gain privileges", "its limit of processes is another", `its restart policy is ""`, "its log is not rotated", `it runs as user ""`} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not among\n%s", want, got)
		}
	}
}

// answering is a machine whose answers are given.
type answering struct {
	remote.Executor
	answer func(args string) (out string, err error)
}

func (s answering) Run(_ context.Context, c remote.Command) error {
	out, err := s.answer(strings.Join(c.Args, " "))
	if c.Stdout != nil {
		_, _ = c.Stdout.Write([]byte(out))
	}
	return err
}

func (answering) String() string { return "a machine" }

// TestContainerImageDropped has another server drop the image after it was
// found there. It is sent again, and not looked for in a registry.
func TestContainerImageDropped(t *testing.T) {
	t.Parallel()
	k := testContainer(t)
	k.Program = ownProgram(t)
	p, err := k.prepare(t.Context())
	if err != nil {
		t.Fatal(full(err))
	}
	if err := errors.Join(p.load(t.Context()), p.place(t.Context()), p.put(t.Context(), p.configFile(), p.text)); err != nil {
		t.Fatal(full(err))
	}
	docker(t, "image", "rm", p.image.Reference())
	if log, err := p.start(t.Context()); err != nil {
		t.Fatal(full(err), log)
	}
	if err := k.Remove(t.Context()); err != nil {
		t.Fatal(full(err))
	}
}

// TestContainerAwaitSaysWhy has servers that do not get ready.
func TestContainerAwaitSaysWhy(t *testing.T) {
	t.Parallel()
	failed := func(code int) error { return &remote.ExitError{Command: "docker", Host: "a machine", Code: code} }
	running := `[{"Config":{"Labels":{"` + labelDirectory + `":"/d/e"}},"State":{"Running":true}}]`
	for _, tt := range []struct {
		name, status string
		err          error
		inspect      string
		want         string
	}{
		{"not ready", `{"config_sha256":"0a","ready":"the TCB info expired\non Monday\u001b[31m"}`, failed(1), running,
			"wait for key server: it is not ready: the TCB info expired on Monday?[31m: context deadline exceeded"},
		{"old configuration", `{"config_sha256":"0b","ready":"yes"}`, nil, running, "another configuration is in force"},
		{"no answer", "", failed(6), running, "wait for key server: it has not answered: context deadline exceeded"},
		{"no sense", "x", nil, running, "read its answer"},
		{"ended", "", failed(1), strings.Replace(running, "true", `false,"ExitCode":7`, 1), "it ended at once with exit code 7"},
		{"lost", "", remote.ErrConnectionLost, running, "connection lost"},
	} {
		p := &preparedContainer{digest: "0a", KeyServerContainer: KeyServerContainer{Name: "x", KeyServer: KeyServer{Directory: "/d/e"}, Host: answering{answer: func(args string) (string, error) {
			if strings.Contains(args, " exec ") {
				return tt.status, tt.err
			}
			return tt.inspect, nil
		}}}}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if err := p.await(ctx, "x"); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
		cancel()
	}
}
