//go:build unix

package keyserver

import (
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/audit"
)

func init() {
	// A server whose files cannot grow beyond 16 KiB, as on a device that is full.
	programs["full"] = func(args []string) int {
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 16 << 10, Max: 16 << 10}); err != nil {
			return fail(err)
		}
		return programs["server"](args)
	}
}

// TestFullDisk: a server whose audit log cannot grow releases nothing more, and what it has released is in the log.
func TestFullDisk(t *testing.T) {
	w := newWorld(t)
	c := w.spawn("full", w.audited())
	conf := w.clientConfig()
	released, refused := 0, 0
	for refused < 5 {
		if err := fetch(t.Context(), c.addr, conf); err == nil {
			released++
		} else {
			refused++
		}
		if refused > 0 && released == 0 || released > 1000 {
			t.Fatalf("%d released, %d not", released, refused)
		}
	}
	r, err := audit.VerifyFiles([]string{filepath.Join(w.dir, "audit.log")}, audit.VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n := r.Events["release"]; n < released || n > released+refused {
		t.Errorf("%d releases are in the log, and %d enclaves have their key", n, released)
	}
	t.Logf("%d released before the device was full, and none of %d after", released, refused)
}

// processTime is what this process has taken of the processors.
func processTime() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// openFiles is how many files this process may have open.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return limit.Cur
}
