package deploy

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/remote"
)

func TestSystemRemedy(t *testing.T) {
	t.Parallel()
	of := func(err error) error {
		return fmt.Errorf("write model: %w", &fs.PathError{Op: "write", Path: "/x", Err: err})
	}
	for _, tt := range []struct {
		name string
		err  error
		want string // the beginning; empty: nothing
	}{
		{"none", nil, ""},
		{"not of the system", errors.New("bad magic"), ""},
		{"not there", of(syscall.ENOENT), ""},
		{"full", of(syscall.ENOSPC), "That file system is full."},
		{"full on another machine", &remote.ExitError{Command: "docker load", Host: "root@h:22", Code: 1, Stderr: "write /var/lib/docker/x: No space left on device"}, "That file system is full."},
		{"quota", of(syscall.EDQUOT), "The user's quota on that file system is used up."},
		{"limit", of(syscall.EFBIG), "This process may not write files that large"},
		{"read-only", of(syscall.EROFS), "That file system is mounted read-only"},
		{"cut", fmt.Errorf("put /x on h: %w: EOF", remote.ErrConnectionLost), "What arrived on the machine before is kept"},
	} {
		got := SystemRemedy(tt.err, "apply again")
		if (tt.want == "") != (got == "") || !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		if got != "" && !strings.Contains(got, "apply again") {
			t.Errorf("%s: it does not say how to go on: %q", tt.name, got)
		}
	}
}
