//go:build unix

package deploy

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestReadWrapKeyFromPipe would hang for ever if the pipe were opened.
func TestReadWrapKeyFromPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := OpenWrapKey(pipe)
	if err == nil || !strings.Contains(err.Error(), "not a regular file but p---------") {
		t.Errorf("%v", err)
	}
}
