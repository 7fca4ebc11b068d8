package testhost

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/testshared"
)

// Disk is a file system of a test's own that is soon full.
type Disk struct {
	Dir string

	tb testing.TB
}

// NewDisk mounts a file system of so many bytes, which goes with the test.
// Where that is not allowed the test is skipped.
func NewDisk(tb testing.TB, size int) *Disk {
	tb.Helper()
	if os.Geteuid() != 0 {
		testshared.Missing(tb, "mounting a file system that is soon full needs root")
	}
	dir := filepath.Join(tb.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	mount := exec.Command("mount", "-t", "tmpfs", "-o", "mode=0700,size="+strconv.Itoa(size), "none", dir) //nolint:gosec,noctx // A test's own.
	if out, err := mount.CombinedOutput(); err != nil {
		testshared.Missing(tb, "mounting a file system that is soon full is not allowed here: "+string(out))
	}
	tb.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil { //nolint:gosec,noctx // As above.
			tb.Errorf("unmount %s: %v: %s", dir, err, out)
		}
	})
	return &Disk{Dir: dir, tb: tb}
}

// Path is a file on it.
func (d *Disk) Path(names ...string) string {
	return filepath.Join(append([]string{d.Dir}, names...)...)
}

// ballast is the file that takes all the space.
const ballast = "ballast"

// Fill takes all the space there is.
func (d *Disk) Fill() {
	d.tb.Helper()
	f, err := os.OpenFile(d.Path(ballast), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		d.tb.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}

// Free gives the space back.
func (d *Disk) Free() {
	d.tb.Helper()
	if err := os.Remove(d.Path(ballast)); err != nil {
		d.tb.Fatal(err)
	}
}
