package deploy

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
	"github.com/ccctl/terraform-provider-cc/internal/testshared"
)

// prepared returns a cloud whose machines are prepared by hand before their
// first command, and the folder of the machine that runs.
func prepared(t *testing.T, prepare func(root string)) (*cloud, string, string) {
	t.Helper()
	if _, err := exec.LookPath("flock"); err != nil {
		testshared.Missing(t, "the script needs flock, as Alibaba Cloud Linux has it")
	}
	dir := t.TempDir()
	c := newCloud(t, ecssim.Options{Latencies: lifelike, Runner: ecssim.DirectoryRunner{
		Dir: dir, Env: []string{"CC_RETRY_SECONDS=0"}, Prepare: func(m ecssim.Machine, root string) error {
			err := ecssim.AlibabaLinux3(m, root)
			if prepare != nil {
				prepare(root)
			}
			return err
		},
	}})
	id := c.running()
	return c, id, filepath.Join(dir, id)
}

func statuses(r *BootstrapReport) string {
	if r == nil {
		return "no report"
	}
	return r.summary()
}

const allDone = "system ok, base_packages ok, no_podman_docker ok, docker_repository ok, docker_ce ok, docker_service ok, docker_group ok"

func TestBootstrap(t *testing.T) {
	c, id, root := prepared(t, nil)
	report, err := Bootstrap(c.ctx(), c.client, id, "ecs-user")
	c.check(err)
	if statuses(report) != allDone || !report.Done() {
		t.Errorf("steps: %s", statuses(report))
	}
	if len(report.SSHHostKeys) != 1 || !strings.HasPrefix(report.SSHHostKeys[0], "ssh-ed25519 AAAA") || strings.Contains(report.SSHHostKeys[0], "root@") {
		t.Errorf("host keys: %q", report.SSHHostKeys)
	}
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(root, name))
		c.check(err)
		return string(data)
	}
	packages := strings.Fields(read("sim/packages"))
	for _, p := range []string{"wget", "git", "python3-pip", "docker-ce", "docker-ce-cli", "containerd.io", "dnf-plugin-releasever-adapter"} {
		if !strings.Contains(" "+strings.Join(packages, " ")+" ", " "+p+" ") {
			t.Errorf("%s is not installed: %v", p, packages)
		}
	}
	if users := read("sim/users"); !strings.Contains(users, "ecs-user ecs-user docker\n") {
		t.Errorf("users: %q", users)
	}
	if repo := read("etc/yum.repos.d/docker-ce.repo"); !strings.Contains(repo, "https://mirrors.aliyun.com/") || !strings.Contains(repo, "gpgcheck=1") {
		t.Errorf("repository: %q", repo)
	}
	// Again it finds its work done, and changes nothing.
	c.check(os.Truncate(filepath.Join(root, "sim/calls"), 0))
	report, err = Bootstrap(c.ctx(), c.client, id, "ecs-user")
	if err != nil || !report.Done() {
		t.Errorf("again: %s (%v)", statuses(report), err)
	}
	for line := range strings.Lines(read("sim/calls")) {
		if strings.HasPrefix(line, "dnf ") || strings.HasPrefix(line, "usermod ") || strings.HasPrefix(line, "wget ") {
			t.Errorf("the second run did: %s", line)
		}
	}
}

func TestBootstrapRemovesPodmanDocker(t *testing.T) {
	c, id, root := prepared(t, func(root string) {
		_ = os.WriteFile(filepath.Join(root, "sim/packages"), []byte("podman-docker\n"), 0o600)
	})
	report, err := Bootstrap(c.ctx(), c.client, id, "")
	if err != nil || statuses(report) != allDone {
		t.Errorf("%s (%v)", statuses(report), err)
	}
	if data, err := os.ReadFile(filepath.Join(root, "sim/packages")); err != nil || strings.Contains(string(data), "podman") {
		t.Errorf("packages: %q (%v)", data, err)
	}
}

// TestBootstrapTwiceAtOnce runs it as cloud-init and Cloud Assistant might: the
// second waits for the first, and finds its work done.
func TestBootstrapTwiceAtOnce(t *testing.T) {
	c, id, root := prepared(t, nil)
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if report, err := Bootstrap(c.ctx(), c.client, id, ""); err != nil || statuses(report) != allDone {
				t.Errorf("%s (%v)", statuses(report), err)
			}
		})
	}
	both.Wait()
	calls, err := os.ReadFile(filepath.Join(root, "sim/calls"))
	c.check(err)
	for command, want := range map[string]int{"install wget git python3-pip": 1, "install docker-ce docker-ce-cli": 1, "systemctl enable --now docker": 2} {
		if n := strings.Count(string(calls), command); n != want {
			t.Errorf("%q was done %d times, want %d:\n%s", command, n, want, calls)
		}
	}
}

func TestBootstrapFailures(t *testing.T) {
	file := func(name, content string) func(string) {
		return func(root string) {
			path := filepath.Join(root, name)
			_ = os.MkdirAll(filepath.Dir(path), 0o700)
			_ = os.WriteFile(path, []byte(content), 0o600)
		}
	}
	for _, tt := range []struct {
		name, user string
		prepare    func(string)
		steps      string
		says       []string
	}{
		{"package manager", "", file("fail/dnf", "Error: Failed to download metadata for repo 'alinux3-os'\n"), "system ok, base_packages failed",
			[]string{"step base_packages failed with exit code 1", "Failed to download metadata", "attempt 4 of: dnf", "bootstrap_triggers"}},
		{"mirrors", "", file("fail/wget", "timed out\n"), "system ok, base_packages ok, no_podman_docker ok, docker_repository failed",
			[]string{"step docker_repository failed with exit code 69", "no answer from https://mirrors.aliyun.com", "no answer from http://mirrors.cloud.aliyuncs.com"}},
		{"daemon", "", file("fail/systemctl", "Job for docker.service failed\n"), "system ok, base_packages ok, no_podman_docker ok, docker_repository ok, docker_ce ok, docker_service failed",
			[]string{"Job for docker.service failed"}},
		{"podman without a package", "", file("sim/podman", ""), "system ok, base_packages ok, no_podman_docker failed",
			[]string{"step no_podman_docker failed with exit code 65", "still podman's"}},
		{"user", "nobody-here", nil, "system ok, base_packages ok, no_podman_docker ok, docker_repository ok, docker_ce ok, docker_service ok, docker_group failed",
			[]string{"exit code 67", "there is no user nobody-here"}},
		{"system", "", file("etc/os-release", "ID=ubuntu\nVERSION_ID=\"22.04\"\n"), "system failed",
			[]string{"exit code 64", "this is ubuntu 22.04; Alibaba Cloud Linux 3 is needed"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, id, _ := prepared(t, tt.prepare)
			report, err := Bootstrap(c.ctx(), c.client, id, tt.user)
			explained(t, err, "Bootstrap failed", append(tt.says, "bootstrap instance "+id)...)
			if statuses(report) != tt.steps || report.Done() {
				t.Errorf("steps: %s, want %s", statuses(report), tt.steps)
			}
		})
	}
}

func TestBootstrapWithoutAgent(t *testing.T) {
	c := newCloud(t, ecssim.Options{Latencies: ecssim.Latencies{Agent: time.Hour}})
	id := c.running()
	ctx, cancel := context.WithTimeout(c.ctx(), 40*time.Millisecond)
	defer cancel()
	_, err := Bootstrap(ctx, c.client, id, "")
	explained(t, err, "Bootstrap not completed", "wait for Cloud Assistant on instance "+id+" to report in", "egress rules")
	if _, err := Bootstrap(ctx, c.client, id, "a; rm -rf /"); err == nil || !strings.Contains(err.Error(), "is not the name of a user") {
		t.Errorf("user: %v", err)
	}
}

func TestBootstrapScript(t *testing.T) {
	for _, user := range []string{"", "ecs-user", "_svc", "a1"} {
		script, err := BootstrapScript(user)
		if err != nil || !strings.HasPrefix(script, "#!/bin/bash\n") {
			t.Errorf("%q: %v", user, err)
		}
		if got := strings.Contains(script, "CC_BOOTSTRAP_USER='"+user+"'\n"); got != (user != "") {
			t.Errorf("%q: assignment is there: %v", user, got)
		}
		if len(script) > ecs.SafeUserData || len(script)*4/3 > ecs.MaxCommand {
			t.Errorf("the script has %d bytes", len(script))
		}
	}
	for _, user := range []string{"Root", "a b", "a'b", "-a", "1a", strings.Repeat("a", 32), "a\n"} {
		if _, err := BootstrapScript(user); err == nil {
			t.Errorf("user %q was accepted", user)
		}
	}
	for _, step := range BootstrapSteps {
		if !strings.Contains(bootstrapScript, "step_"+step+"() {") {
			t.Errorf("the script has no step %s", step)
		}
	}
	if !strings.Contains(bootstrapScript, "for step in "+strings.Join(BootstrapSteps, " ")+"; do") {
		t.Error("the script does other steps than are reported")
	}
}

func TestShellcheck(t *testing.T) {
	path, err := exec.LookPath("shellcheck")
	if err != nil {
		testshared.Missing(t, "shellcheck is not installed")
	}
	scripts, err := filepath.Glob("units/*.sh")
	if err != nil || len(scripts) < 2 {
		t.Fatalf("scripts %v (%v)", scripts, err)
	}
	if out, err := exec.Command(path, append(scripts, "../sim/ecssim/machine.sh")...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestParseBootstrapReport(t *testing.T) {
	const head, keys = "--- steps\n", "--- ssh host keys\n"
	good := head + "system\tok\t0\t1\nbase_packages\tfailed\t7\t12\n" + keys + "ssh-rsa AAAA+/== c\n\necdsa-sha2-nistp256 BBBB\r\n"
	r, err := parseBootstrapReport(good)
	if err != nil || statuses(r) != "system ok, base_packages failed" || r.Steps[1] != (BootstrapStep{"base_packages", "failed", 7, 12}) ||
		strings.Join(r.SSHHostKeys, ",") != "ssh-rsa AAAA+/==,ecdsa-sha2-nistp256 BBBB" {
		t.Errorf("%+v %v", r, err)
	}
	for output, want := range map[string]string{
		"":                                    "ends before its end",
		head:                                  "ends before its end",
		"hello\n" + good:                      `unexpected line "hello"`,
		head + "system ok 0 1\n" + keys:       "is not NAME, STATUS, EXIT CODE and SECONDS",
		head + "system\tgreat\t0\t1\n" + keys: "is not NAME",
		head + "system\tok\tx\t1\n" + keys:    "is not NAME",
		head + keys + "ssh-rsa A\x00B\n":      "is not a public key",
		head + keys + "@cert-authority x\n":   "is not a public key",
		head + keys + "-----BEGIN OPENSSH PRIVATE KEY-----": "is not a public key",
	} {
		if _, err := parseBootstrapReport(output); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", output, err, want)
		}
	}
	if empty, err := parseBootstrapReport(head + keys); err != nil || empty.Done() || empty.summary() != "no step was done" {
		t.Errorf("%+v %v", empty, err)
	}
}

// TestBootstrapInAContainer runs the script in a root of its own, where its
// paths are the real ones.
func TestBootstrapInAContainer(t *testing.T) {
	probe := exec.Command("unshare", "--mount", "--pid", "--fork", "sh", "-c", "mount -t tmpfs none /mnt")
	if out, err := probe.CombinedOutput(); err != nil {
		testshared.Missing(t, fmt.Sprintf("no container can be made here: %v %s", err, out))
	}
	root := t.TempDir()
	if err := ecssim.AlibabaLinux3(ecssim.Machine{}, root); err != nil {
		t.Fatal(err)
	}
	script, err := BootstrapScript("ecs-user")
	if err != nil {
		t.Fatal(err)
	}
	// The stand-ins keep their notes under CC_ROOT; in the container that is
	// /machine, while the script itself has no prefix.
	setup := `set -e
r=$1; mkdir -p "$r/usr" "$r/dev" "$r/tmp" "$r/proc" "$r/var/log" "$r/machine"
mount --rbind /usr "$r/usr"; mount --rbind /dev "$r/dev"; mount --bind "$r" "$r/machine"
for d in bin lib lib64 sbin; do [ -L "/$d" ] && [ ! -e "$r/$d" ] && ln -s "usr/$d" "$r/$d"; done
exec chroot "$r" /usr/bin/env -i PATH=/machine/standins:/usr/bin:/bin CC_RETRY_SECONDS=0 /usr/bin/bash -s`
	if err := os.Rename(filepath.Join(root, "bin"), filepath.Join(root, "standins")); err != nil {
		t.Fatal(err)
	}
	for _, e := range []string{"dnf", "rpm", "systemctl", "docker", "usermod", "id", "wget"} {
		path := filepath.Join(root, "standins", e)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data = []byte(strings.Replace(string(data), "set -u\n", "set -u\nCC_ROOT=\n", 1))
		if err := os.WriteFile(path, data, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "sh", "-c", setup, "sh", root)
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "cc-bootstrap: done\n") {
		t.Fatalf("%v\n%s", err, out)
	}
	status, err := os.ReadFile(filepath.Join(root, "var/lib/cc-bootstrap/status"))
	if err != nil || strings.Count(string(status), "\tok\t0\t") != len(BootstrapSteps) {
		t.Errorf("status %q (%v)", status, err)
	}
}
