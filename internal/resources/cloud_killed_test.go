//go:build unix

package resources_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
)

// struckApply starts terraform apply and sends it, and the provider, a signal
// when the cloud has made the instance and has not answered yet.
func struckApply(t *testing.T, signal syscall.Signal) (*cloud, *workspace, string) {
	t.Helper()
	var target atomic.Int64
	c := newCloud(t, ecssim.Options{OnRequest: func(r ecssim.Request) {
		if pid := target.Swap(0); r.Action == "RunInstances" && pid != 0 {
			if err := syscall.Kill(-int(pid), signal); err != nil {
				t.Error(err)
			}
			time.Sleep(200 * time.Millisecond) // lets it arrive before the answer; either order must do
		} else {
			target.CompareAndSwap(0, pid)
		}
	}})
	w := newWorkspace(t, c.instanceConfig("bootstrap = false"))
	cmd := w.command("apply", "-auto-approve")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	target.Store(int64(cmd.Process.Pid))
	_ = cmd.Wait() // it fails or not, depending on how far it was
	return c, w, out.String()
}

// TestTerraformInterrupted presses Ctrl-C while RunInstances is on its way.
func TestTerraformInterrupted(t *testing.T) {
	t.Parallel()
	c, w, out := struckApply(t, syscall.SIGINT)
	state := string(mustRead(t, filepath.Join(w.dir, "terraform.tfstate")))
	if id := c.onlyInstance().ID; !strings.Contains(state, id) || !strings.Contains(out, "Interrupt received") {
		t.Errorf("the instance %s is not in the state:\n%s\n%s", id, state, out)
	}
	w.terraform("apply", "-auto-approve")
	if n := c.total("DescribeInstances"); n != 1 {
		t.Errorf("%d instances after the next apply", n)
	}
	w.terraform("destroy", "-auto-approve")
	if n := c.total("DescribeInstances") + c.total("DescribeSecurityGroups"); n != 0 {
		t.Errorf("%d instances and groups are left", n)
	}
}

// TestTerraformKilled kills Terraform and the provider with SIGKILL when the
// cloud has made the instance and nobody knows its id: the next apply names it
// and makes no second; imported, it is the one there is.
func TestTerraformKilled(t *testing.T) {
	t.Parallel()
	c, w, _ := struckApply(t, syscall.SIGKILL)
	id := c.onlyInstance().ID
	if state := string(readIfThere(filepath.Join(w.dir, "terraform.tfstate"))); strings.Contains(state, id) {
		t.Fatalf("Terraform was not killed in time: its state has the instance")
	}
	for range 2 { // however often
		stderr := strings.Join(strings.Fields(strings.ReplaceAll(w.fails("apply", "-auto-approve"), "│", "")), " ")
		for _, want := range []string{"Error: Instance of an interrupted run found", "there is already " + id + " (made ", "terraform import ADDRESS ID"} {
			if !strings.Contains(stderr, want) {
				t.Errorf("%q is not in:\n%s", want, stderr)
			}
		}
	}
	w.terraform("import", instanceAddr, id)
	expectOutput(t, w.terraform("apply", "-auto-approve"), "0 added, 1 changed, 0 destroyed") // bootstrap = false is not what an import assumes
	if got := c.onlyInstance(); got.ID != id || len(got.Tags) != 0 {
		t.Errorf("the instance is %s with tags %v, and was %s", got.ID, got.Tags, id)
	}
	w.terraform("destroy", "-auto-approve")
	if n := c.total("DescribeInstances") + c.total("DescribeSecurityGroups"); n != 0 {
		t.Errorf("%d instances and groups are left", n)
	}
}

func readIfThere(path string) []byte {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return data
}
