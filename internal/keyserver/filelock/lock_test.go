//go:build unix

package filelock

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestTry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	open := func() *os.File {
		t.Helper()
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	owner, other := open(), open()
	if err := Try(owner, true); err != nil {
		t.Fatal(err)
	}
	for _, exclusive := range []bool{true, false} {
		if err := Try(other, exclusive); !errors.Is(err, ErrHeld) {
			t.Errorf("exclusive %v: %v", exclusive, err)
		}
	}
	if err := owner.Close(); err != nil {
		t.Fatal(err)
	}
	third := open()
	if err := Try(other, false); err != nil {
		t.Errorf("after its owner has closed it: %v", err)
	}
	if err := Try(third, false); err != nil {
		t.Errorf("two that only look: %v", err)
	}
	if err := Try(owner, true); err == nil || errors.Is(err, ErrHeld) {
		t.Errorf("a closed file: %v", err)
	}
}
