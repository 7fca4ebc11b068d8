package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/remote"
)

// commandPatience bounds what a command on a machine may take.
const commandPatience = 20 * time.Second

// oldestTerraform is the first version with write-only arguments.
var oldestTerraform = [2]int{1, 11}

// Local returns the checks of the machine that this program runs on: whether what Terraform and the containers need is
// there. Nothing of it is needed by ccctl itself, so what is missing is no failure.
func Local() []Check {
	m := &machine{Executor: remote.Local{}, elsewhere: "only the machine that is to run a key server's container needs it"}
	return []Check{
		{"Terraform", m.terraform},
		{"Docker", m.docker},
	}
}

// SSHConfig says how a machine is reached; see package remote.
type SSHConfig = remote.SSHConfig

// HostOptions name a machine that is to run a key server or is given files.
type HostOptions struct {
	SSH SSHConfig
	// Now is the clock; required.
	Now func() time.Time
}

// Host returns the checks of another machine: whether it is reached by SSH as the one it should be, and whether a key
// server's container can run there.
func Host(opts HostOptions) []Check {
	m := &machine{now: opts.Now}
	return []Check{
		{"host SSH", func(ctx context.Context) []Finding { return m.connect(ctx, opts.SSH) }},
		{"host system", m.system},
		{"host rights", m.rights},
		{"host clock", m.clock},
		{"host disk", m.disk},
		{"host Docker", m.docker},
		{"host SGX", m.sgx},
		{"host", m.leave},
	}
}

// machine is a machine that is examined; without an executor it was not reached.
type machine struct {
	remote.Executor

	// elsewhere says why Docker may be missing; empty: it may not.
	elsewhere string
	now       func() time.Time
}

func (m *machine) connect(ctx context.Context, conf SSHConfig) []Finding {
	conf.ConnectTimeout = commandPatience
	start := time.Now()
	x, err := remote.DialSSH(ctx, conf)
	if err == nil {
		m.Executor = x
		return []Finding{ok("%s, logged in after %s", x, period(time.Since(start)))}
	}
	f := fail("", "%v", err)
	switch text := err.Error(); {
	case strings.Contains(text, "check host key") && strings.Contains(text, "is another machine"), strings.Contains(text, "is revoked"):
		f.Remedy = "do not connect before you know why; if the machine was set up anew, remove its old key with ssh-keygen -R and add the new one"
		f.Err = fmt.Errorf("%w: %w", ErrNotGenuine, err)
	case strings.Contains(text, "check host key"), strings.Contains(text, "read known hosts"):
		f.Remedy = "compare the key with the one on the machine's console, and add it to the known_hosts file"
	case strings.Contains(text, "unable to authenticate"), strings.Contains(text, "nothing to authenticate with"):
		f.Remedy = "name the private key with --identity, or add it to the SSH agent (ssh-add), and its public half to the user's authorized_keys there"
	case strings.Contains(text, "read private key"), strings.Contains(text, "ask SSH agent"):
		f.Remedy = "give an unencrypted private key with --identity, or unset it and use the SSH agent"
	default:
		f.Remedy = "check the address and the port, that sshd runs there (systemctl status sshd), and that the security group lets this machine in"
		f.Err = fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return []Finding{f}
}

// leave ends the connection; it finds nothing.
func (m *machine) leave(context.Context) []Finding {
	if m.Executor != nil {
		_ = m.Close()
	}
	return nil
}

// output is what a command prints, without the white space around it.
func (m *machine) output(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandPatience)
	defer cancel()
	out, err := remote.Output(ctx, m.Executor, args...)
	return string(bytes.TrimSpace(out)), err
}

// missing tells that a program is not installed. A shell says so with its exit code, sudo in words.
func missing(err error) bool {
	code, known := remote.ExitCode(err)
	return known && (code == 127 || code != 0 && strings.Contains(err.Error(), "sudo: ") && strings.Contains(err.Error(), "command not found"))
}

func (m *machine) system(ctx context.Context) []Finding {
	if m.Executor == nil {
		return nil
	}
	kernel, err := m.output(ctx, "uname", "-sm")
	if err != nil {
		return []Finding{failed(err)}
	}
	name := kernel
	if release, err := m.output(ctx, "cat", "/etc/os-release"); err == nil {
		for line := range strings.Lines(release) {
			if value, is := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); is {
				name = strings.Trim(value, `"'`) + ", " + kernel
			}
		}
	}
	if kernel != "Linux x86_64" {
		return []Finding{fail("take a machine with Linux on x86_64: the container's program is for that", "%s", name)}
	}
	return []Finding{ok("%s", name)}
}

// rights says whether the user is root: files of a key server belong to another user.
func (m *machine) rights(ctx context.Context) []Finding {
	if m.Executor == nil {
		return nil
	}
	id, err := m.output(ctx, "id", "-u")
	switch {
	case err != nil:
		return []Finding{fail("let the user run everything by sudo without a password (NOPASSWD), or log in as root", "%v", err)}
	case id != "0":
		return []Finding{warn("log in as root or give --sudo: cc_key_server needs it for a container, cc_artifact_upload only for files of others", "user id %s, not root", id)}
	}
	return []Finding{ok("root")}
}

func (m *machine) clock(ctx context.Context) []Finding {
	if m.Executor == nil {
		return nil
	}
	before := m.now()
	out, err := m.output(ctx, "date", "+%s")
	after := m.now()
	seconds, notANumber := strconv.ParseInt(out, 10, 64)
	if err != nil || notANumber != nil {
		return []Finding{skip("it does not say what time it has: %v", errors.Join(err, notANumber))}
	}
	// It was read somewhere in between, and is cut to a second.
	return []Finding{judgeSkew(before.Sub(time.Unix(seconds, 0)), after.Sub(before)+time.Second, "the host")}
}

// neededDisk is what the image and a few of its predecessors take, in KiB.
const neededDisk = 1 << 20

func (m *machine) disk(ctx context.Context) []Finding {
	if m.Executor == nil {
		return nil
	}
	out, err := m.output(ctx, "df", "-Pk", "/var/lib")
	if err != nil {
		return []Finding{skip("%v", err)}
	}
	lines := strings.Split(out, "\n")
	fields := strings.Fields(lines[len(lines)-1])
	if len(fields) < 6 {
		return []Finding{skip("df says %q", out)}
	}
	free, err := strconv.ParseInt(fields[3], 10, 64)
	switch {
	case err != nil:
		return []Finding{skip("df says %q", out)}
	case free < neededDisk:
		return []Finding{warn("make room: docker system prune, or a larger disk", "%d MiB are free below /var/lib", free>>10)}
	}
	return []Finding{ok("%d GiB are free below /var/lib", free>>20)}
}

// docker looks for Docker, whose imitation by podman is none: it has no daemon that starts a key server again.
func (m *machine) docker(ctx context.Context) []Finding {
	if m.Executor == nil {
		return nil
	}
	client, err := m.output(ctx, "docker", "--version")
	switch {
	case missing(err) && m.elsewhere != "":
		return []Finding{skip("not installed: %s", m.elsewhere)}
	case missing(err):
		return []Finding{fail("install Docker: 'ccctl bootstrap print' prints a script for Alibaba Cloud Linux", "not installed")}
	case err != nil:
		return []Finding{failed(err)}
	case strings.Contains(strings.ToLower(client), "podman"):
		return []Finding{fail("remove podman-docker and install Docker: 'ccctl bootstrap print' prints a script for Alibaba Cloud Linux", "%s: podman's imitation", client)}
	}
	server, err := m.output(ctx, "docker", "version", "--format", "{{.Server.Version}}")
	if err != nil {
		report := fail
		if m.elsewhere != "" {
			report = warn
		}
		return []Finding{report("start the daemon (systemctl enable --now docker), and let the user talk to it: root, --sudo, or the group docker", "%v", err)}
	}
	return []Finding{ok("server %s", server)}
}

// sgx looks for the device of enclaves. A key server needs none, and a client's host does.
func (m *machine) sgx(ctx context.Context) []Finding {
	if m.Executor == nil {
		return nil
	}
	if _, err := m.output(ctx, "test", "-e", "/dev/sgx_enclave"); err != nil {
		return []Finding{skip("no /dev/sgx_enclave: enclaves do not run here, a key server does")}
	}
	if _, err := m.output(ctx, "test", "-e", "/dev/sgx_provision"); err != nil {
		return []Finding{warn("load the provisioning device: enclaves cannot be quoted without it", "/dev/sgx_enclave is there, /dev/sgx_provision is not")}
	}
	return []Finding{ok("/dev/sgx_enclave and /dev/sgx_provision are there")}
}

func (m *machine) terraform(ctx context.Context) []Finding {
	out, err := m.output(ctx, "terraform", "version", "-json")
	switch {
	case missing(err):
		return []Finding{skip("not on PATH; only the provider needs it")}
	case err != nil:
		return []Finding{failed(err)}
	}
	var said struct {
		Version string `json:"terraform_version"`
	}
	if err := json.Unmarshal([]byte(out), &said); err != nil {
		return []Finding{skip("it does not say which version it is")}
	}
	return []Finding{judgeTerraform(said.Version)}
}

func judgeTerraform(version string) Finding {
	numbers := strings.SplitN(version, ".", 3)
	if len(numbers) < 3 {
		return skip("version %q is no version", version)
	}
	major, err := strconv.Atoi(numbers[0])
	minor, errMinor := strconv.Atoi(numbers[1])
	switch {
	case err != nil || errMinor != nil:
		return skip("version %q is no version", version)
	case major < oldestTerraform[0] || major == oldestTerraform[0] && minor < oldestTerraform[1]:
		return fail("install a newer one", "version %s, and the provider needs %d.%d", version, oldestTerraform[0], oldestTerraform[1])
	}
	return ok("version %s", version)
}
