package doctor

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/ccctl/terraform-provider-cc/internal/remote"
	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

func TestMain(m *testing.M) {
	defer testhost.StopDocker()
	m.Run()
}

func errorIs(err, target error) bool {
	return err == nil && target == nil || target != nil && errors.Is(err, target)
}

// scripted is a machine that answers commands with texts. "!CODE TEXT" is a failure; a command that it does not know is not
// installed.
type scripted map[string]string

func (scripted) Close() error                           { return nil }
func (scripted) String() string                         { return "root@test:22" }
func (scripted) Put(context.Context, remote.File) error { return errors.ErrUnsupported }
func (scripted) Get(context.Context, string, int64) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

func (s scripted) Run(_ context.Context, c remote.Command) error {
	line := remote.Quote(c.Args)
	answer, known := s[line]
	switch {
	case !known:
		return &remote.ExitError{Command: line, Host: s.String(), Code: 127, Stderr: "not found"}
	case strings.HasPrefix(answer, "!"):
		return &remote.ExitError{Command: line, Host: s.String(), Code: 1, Stderr: answer[1:]}
	}
	_, err := io.WriteString(c.Stdout, answer+"\n")
	return err
}

func TestMachine(t *testing.T) {
	at := time.Unix(1_790_000_000, 0)
	const dockerVersion = "docker version --format '{{.Server.Version}}'"
	for _, tt := range []struct {
		name   string
		check  func(*machine, context.Context) []Finding
		says   scripted
		want   string
		remedy string
	}{
		{"system", (*machine).system, scripted{"uname -sm": "Linux x86_64", "cat /etc/os-release": "NAME=x\nPRETTY_NAME=\"Alibaba Cloud Linux 3\"\n"}, " ok Alibaba Cloud Linux 3, Linux x86_64", ""},
		{"system without a name", (*machine).system, scripted{"uname -sm": "Linux x86_64"}, " ok Linux x86_64", ""},
		{"another machine", (*machine).system, scripted{"uname -sm": "Linux aarch64"}, " fail Linux aarch64", "take a machine with Linux on x86_64"},
		{"root", (*machine).rights, scripted{"id -u": "0"}, " ok root", ""},
		{"not root", (*machine).rights, scripted{"id -u": "1000"}, " warn user id 1000, not root", "log in as root or give --sudo"},
		{"no sudo", (*machine).rights, scripted{"id -u": "!sudo: a password is required"}, " fail run id -u on root@test:22: exit code 1: sudo: a password is required", "NOPASSWD"},
		{"clock", (*machine).clock, scripted{"date +%s": "1790000000"}, " ok as the host's, to within 1s", ""},
		{"clock ahead", (*machine).clock, scripted{"date +%s": "1790000100"}, " warn this machine's clock is 1m40s behind the host's", "timedatectl"},
		{"clock far behind", (*machine).clock, scripted{"date +%s": "1789990000"}, " fail this machine's clock is 3 hours ahead of the host's", "the host's clock is wrong"},
		{"no clock", (*machine).clock, scripted{"date +%s": "soon"}, " skip it does not say what time it has: ", ""},
		{"disk", (*machine).disk, scripted{"df -Pk /var/lib": "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/vda1 41151808 1 31151808 1% /"}, " ok 29 GiB are free below /var/lib", ""},
		{"full disk", (*machine).disk, scripted{"df -Pk /var/lib": "Filesystem\n/dev/vda1 41151808 1 204800 99% /"}, " warn 200 MiB are free below /var/lib", "make room"},
		{"no df", (*machine).disk, scripted{"df -Pk /var/lib": "?"}, ` skip df says "?"`, ""},
		{"Docker", (*machine).docker, scripted{"docker --version": "Docker version 26.1", dockerVersion: "26.1.3"}, " ok server 26.1.3", ""},
		{"no Docker", (*machine).docker, scripted{}, " fail not installed", "ccctl bootstrap print"},
		{"no Docker for sudo", (*machine).docker, scripted{"docker --version": "!sudo: docker: command not found"}, " fail not installed", "ccctl bootstrap print"},
		{"podman", (*machine).docker, scripted{"docker --version": "podman version 4.9.4"}, " fail podman version 4.9.4: podman's imitation", "remove podman-docker"},
		{"no daemon", (*machine).docker, scripted{"docker --version": "Docker version 26.1", dockerVersion: "!Cannot connect to the Docker daemon"}, " fail run docker version", "systemctl enable --now docker"},
		{"enclaves", (*machine).sgx, scripted{"test -e /dev/sgx_enclave": "", "test -e /dev/sgx_provision": ""}, " ok /dev/sgx_enclave and /dev/sgx_provision are there", ""},
		{"enclaves without quotes", (*machine).sgx, scripted{"test -e /dev/sgx_enclave": "", "test -e /dev/sgx_provision": "!"}, " warn /dev/sgx_enclave is there", "load the provisioning device"},
		{"no enclaves", (*machine).sgx, scripted{"test -e /dev/sgx_enclave": "!"}, " skip no /dev/sgx_enclave", ""},
		{"Terraform", (*machine).terraform, scripted{"terraform version -json": `{"terraform_version": "1.11.4"}`}, " ok version 1.11.4", ""},
		{"newer Terraform", (*machine).terraform, scripted{"terraform version -json": `{"terraform_version": "2.0.0-beta1"}`}, " ok version 2.0.0-beta1", ""},
		{"older Terraform", (*machine).terraform, scripted{"terraform version -json": `{"terraform_version": "1.10.5"}`}, " fail version 1.10.5, and the provider needs 1.11", "install a newer one"},
		{"strange Terraform", (*machine).terraform, scripted{"terraform version -json": `{}`}, ` skip version "" is no version`, ""},
		{"no Terraform", (*machine).terraform, scripted{}, " skip not on PATH; only the provider needs it", ""},
	} {
		m := &machine{Executor: tt.says, now: func() time.Time { return at }}
		t.Run(tt.name, func(t *testing.T) { expect(t, tt.check(m, t.Context()), []string{tt.want}, tt.remedy, nil) })
	}
	for i, check := range []func(*machine, context.Context) []Finding{
		(*machine).system, (*machine).rights, (*machine).clock, (*machine).disk, (*machine).docker, (*machine).sgx, (*machine).leave,
	} {
		if found := check(&machine{}, t.Context()); found != nil {
			t.Errorf("check %d of a machine that was not reached finds %q", i, lines(found))
		}
	}
	// Where Docker is a matter of taste.
	local := &machine{elsewhere: "only there", Executor: scripted{}}
	expect(t, local.docker(t.Context()), []string{" skip not installed: only there"}, "", nil)
	local.Executor = scripted{"docker --version": "Docker version 26.1", dockerVersion: "!no"}
	expect(t, local.docker(t.Context()), []string{" warn run docker version"}, "start the daemon", nil)
}

func TestLocal(t *testing.T) {
	found, err := Run(t.Context(), Local())
	if err != nil || len(found) != 2 || found[0].Check != "Terraform" || found[1].Check != "Docker" {
		t.Errorf("%q, %v", lines(found), err)
	}
	for _, f := range found {
		if f.Status == Fail && f.Check == "Docker" {
			t.Errorf("%+v: nothing of this machine's is needed", f)
		}
	}
}

// TestHost examines this machine by way of sshd, with the tests' own Docker.
func TestHost(t *testing.T) {
	docker := testhost.DockerHost(t)
	sshd := testhost.StartSSHD(t, "DOCKER_HOST="+docker)
	conf := SSHConfig{Address: sshd.Address, User: sshd.User, HostKeys: []string{sshd.HostKey}, PrivateKeyFile: sshd.KeyFile}
	found, err := Run(t.Context(), Host(HostOptions{SSH: conf, Now: time.Now}))
	if err != nil {
		t.Fatal(err)
	}
	checks := map[string]Finding{}
	for _, f := range found {
		checks[f.Check] = f
	}
	for check, want := range map[string]string{
		"host SSH": sshd.User + "@" + sshd.Address + ", logged in after ", "host system": "", "host rights": "root", "host clock": "as the host's",
		"host Docker": "server ", "host disk": "", "host SGX": "",
	} {
		f, done := checks[check]
		if !done || !strings.HasPrefix(f.Found, want) || want != "" && f.Status != OK || f.Status == Fail {
			t.Errorf("%s: %+v", check, f)
		}
	}
	if len(checks) != 7 {
		t.Errorf("%q", lines(found))
	}
}

func TestHostOutOfReach(t *testing.T) {
	sshd := testhost.StartSSHD(t)
	dir := t.TempDir()
	known := func(name, hostKey string) string {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(hostKey))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(knownhosts.Line([]string{sshd.Address}, key)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	right, wrong := known("right", sshd.HostKey), known("wrong", testhost.NewKey(t, filepath.Join(dir, "other")))
	good := SSHConfig{Address: sshd.Address, User: sshd.User, KnownHosts: right, PrivateKeyFile: sshd.KeyFile}
	for _, tt := range []struct {
		name         string
		change       func(*SSHConfig)
		want, remedy string
		err          error
	}{
		{"another machine", func(c *SSHConfig) { c.KnownHosts = wrong }, "it is another machine, or one in between listens", "do not connect before you know why", ErrNotGenuine},
		{"not known", func(c *SSHConfig) { c.KnownHosts = empty }, "has no key for this host", "compare the key", nil},
		{"no known hosts", func(c *SSHConfig) { c.KnownHosts = filepath.Join(dir, "none") }, "read known hosts: ", "add it to the known_hosts file", nil},
		{"another key", func(c *SSHConfig) { c.PrivateKeyFile = filepath.Join(dir, "other") }, "unable to authenticate", "authorized_keys", nil},
		{"no key", func(c *SSHConfig) { c.PrivateKeyFile = "" }, "nothing to authenticate with", "--identity", nil},
		{"a file that is no key", func(c *SSHConfig) { c.PrivateKeyFile = empty }, "it is not a private key", "unencrypted private key", nil},
		{"nobody there", func(c *SSHConfig) { c.Address = testhost.FreeAddress(t) }, "connection refused", "security group", ErrUnreachable},
	} {
		conf := good
		tt.change(&conf)
		found, err := Run(t.Context(), Host(HostOptions{SSH: conf, Now: time.Now}))
		if err != nil || len(found) != 1 || found[0].Check != "host SSH" || found[0].Status != Fail ||
			!strings.Contains(found[0].Found, tt.want) || !strings.Contains(found[0].Remedy, tt.remedy) || !errorIs(found[0].Err, tt.err) {
			t.Errorf("%s: %+v, %v", tt.name, found, err)
		}
	}
	found, err := Run(t.Context(), Host(HostOptions{SSH: good, Now: time.Now}))
	if err != nil || len(found) < 2 || found[0].Status != OK {
		t.Errorf("%q, %v", lines(found), err)
	}
}
