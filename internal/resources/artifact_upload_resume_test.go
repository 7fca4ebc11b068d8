package resources_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

// TestArtifactUploadResumes cuts the connection in the middle of a first
// upload. The next apply creates the resource, and does not replace it, which
// would begin with removing what was sent; and it sends what was missing.
func TestArtifactUploadResumes(t *testing.T) {
	t.Parallel()
	const size = 12 << 20
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
	mustWrite(t, path("wrap-key"), []byte("0123456789abcdef"), 0o600)
	mustWrite(t, path("model"), bytes.Repeat([]byte("weights\n"), size/8), 0o600)
	if err := os.Mkdir(path("upload"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.pb", "b.pb"} {
		cmd := exec.Command(ccctlPath(t), "pf", "encrypt", "-w", path("wrap-key"), "-i", path("model"), "-o", path("upload/"+name), "--path", name)
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
	ssh := testhost.StartSSHD(t)
	line := newCable(t, ssh.Address)
	w := newWorkspace(t, fmt.Sprintf(`
resource "cc_artifact_upload" "test" {
  host      = { ssh = { address = %s, user = %s, host_keys = [%s], private_key_file = %s } }
  directory = %s
  source    = %s
}
`, quote(line.address), quote(ssh.User), quote(ssh.HostKey), quote(ssh.KeyFile), quote(path("serving")), quote(path("upload"))))
	w.env = []string{"TF_LOG="}

	// The first file whole, and more than half of the second.
	line.mend(2*size - size/4)
	if said := w.fails("apply", "-auto-approve"); !strings.Contains(said, "Upload interrupted") || !strings.Contains(said, "Apply again") {
		t.Errorf("the error does not say what to do:\n%s", said)
	}
	if _, broken := line.state(); !broken {
		t.Fatal("the connection has not broken")
	}
	line.mend(0)
	if out := w.terraform("apply", "-auto-approve"); !strings.Contains(out, "1 added, 0 changed, 0 destroyed") {
		t.Errorf("it is not simply created:\n%s", out)
	}
	if passed, _ := line.state(); passed > size/2 {
		t.Errorf("%d bytes were sent to complete what lacked %d", passed, size/4)
	}
	want, got := regularFiles(t, path("upload")), regularFiles(t, path("serving"))
	delete(got, ".cc-upload.json")
	for name, data := range got {
		if !bytes.Equal(data, want[name]) {
			t.Errorf("%s is not the file that it is here", name)
		}
	}
	if len(got) != len(want) {
		t.Errorf("there are %d files and not %d", len(got), len(want))
	}
	w.terraform("destroy", "-auto-approve")
	mustBeGone(t, path("serving"))
}
