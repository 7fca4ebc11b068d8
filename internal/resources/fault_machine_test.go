//go:build unix

package resources_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/testfault"
	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

// uploadTo is an upload of a file to a directory of a machine at an address.
type uploadTo struct {
	t       *testing.T
	ssh     *testhost.SSHD
	dir     string // with the files that are uploaded
	serving string // where to
	w       *workspace
}

func newUploadTo(t *testing.T, ssh *testhost.SSHD, address, serving string, size int) *uploadTo {
	t.Helper()
	u := &uploadTo{t: t, ssh: ssh, dir: t.TempDir(), serving: serving}
	mustWrite(t, u.dir+"/wrap-key", []byte("0123456789abcdef"), 0o600)
	mustWrite(t, u.dir+"/upload/none", nil, 0o600)
	u.encrypt(bytes.Repeat([]byte("weights "), size/8))
	u.w = newWorkspace(t, fmt.Sprintf(`
resource "cc_artifact_upload" "test" {
  host      = { ssh = { address = %s, user = %s, host_keys = [%s], private_key_file = %s } }
  directory = %s
  files     = { "model" = %s }
}
`, quote(address), quote(ssh.User), quote(ssh.HostKey), quote(ssh.KeyFile), quote(serving), quote(u.dir+"/upload/model")))
	u.w.env = []string{"TF_LOG="}
	return u
}

// encrypt makes the file that is uploaded.
func (u *uploadTo) encrypt(plain []byte) {
	u.t.Helper()
	mustWrite(u.t, u.dir+"/plain", plain, 0o600)
	cmd := exec.Command(ccctlPath(u.t), "pf", "encrypt", "--force", "-w", u.dir+"/wrap-key", "-i", u.dir+"/plain", "-o", u.dir+"/upload/model", "--path", "model")
	if text, err := cmd.CombinedOutput(); err != nil {
		u.t.Fatalf("%v: %s", err, text)
	}
}

// arrived tells that the machine has the file as it is here.
func (u *uploadTo) arrived() {
	u.t.Helper()
	if !bytes.Equal(mustRead(u.t, u.serving+"/model"), mustRead(u.t, u.dir+"/upload/model")) {
		u.t.Error("the machine has another file")
	}
	for name := range regularFiles(u.t, u.serving) {
		if name != "model" && name != ".cc-upload.json" {
			u.t.Errorf("%s is left on the machine", name)
		}
	}
}

// TestFaultMachine: a machine that is not there, is another one, does not let us in, or goes away in the middle, and
// comes back.
func TestFaultMachine(t *testing.T) {
	t.Parallel()
	ssh, other := testhost.StartSSHD(t), testhost.StartSSHD(t)
	line := newCable(t, ssh.Address)
	u := newUploadTo(t, ssh, line.address, t.TempDir()+"/serving", 6<<20)

	line.away()
	testfault.Expect(t, "SSH connection refused", testfault.Provider, u.w.fails("apply", "-auto-approve"))
	line.back()
	line.leadTo(other.Address)
	testfault.Expect(t, "Host key changed", testfault.Provider, u.w.fails("apply", "-auto-approve"))
	line.leadTo(ssh.Address)
	line.mend(3 << 20)
	testfault.Expect(t, "SSH connection cut", testfault.Provider, u.w.fails("apply", "-auto-approve"))

	// The machine boots: it answers nothing for a while, and has what it had.
	testfault.Expect(t, "Machine rebooting", testfault.Provider, u.w.fails("apply", "-auto-approve"))
	line.mend(0)
	u.w.terraform("apply", "-auto-approve")
	u.arrived()
	expectOutput(t, u.w.terraform("plan"), "No changes")

	// While it is away, a refresh takes nothing for deleted.
	line.away()
	testfault.Expect(t, "SSH connection refused", testfault.Provider, u.w.fails("plan"))
	line.back()
	expectOutput(t, u.w.terraform("plan"), "No changes")
	mustWrite(t, ssh.KeyFile, mustRead(t, other.KeyFile), 0o600)
	testfault.Expect(t, "SSH login refused", testfault.Provider, u.w.fails("plan"))
}

// TestFaultMachineDiskFull: a machine without room keeps the file that it has, and gets the new one when there is room.
func TestFaultMachineDiskFull(t *testing.T) {
	t.Parallel()
	disk := testhost.NewDisk(t, 4<<20)
	ssh := testhost.StartSSHD(t)
	u := newUploadTo(t, ssh, ssh.Address, disk.Path("serving"), 256<<10)
	u.w.terraform("apply", "-auto-approve")
	before := mustRead(t, disk.Path("serving", "model"))
	u.encrypt(bytes.Repeat([]byte("changed "), 32<<10))
	disk.Fill()
	testfault.Expect(t, "Disk of the machine full", testfault.Provider, u.w.fails("apply", "-auto-approve"))
	if !bytes.Equal(mustRead(t, disk.Path("serving", "model")), before) {
		t.Error("the machine has lost the file it had")
	}
	disk.Free()
	u.w.terraform("apply", "-auto-approve")
	u.arrived()
}
