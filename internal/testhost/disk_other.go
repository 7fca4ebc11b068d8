//go:build !linux

package testhost

import (
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/testshared"
)

// Disk is a file system of a test's own that is soon full.
type Disk struct{ Dir string }

// NewDisk skips the test: there is no such file system here.
func NewDisk(tb testing.TB, _ int) *Disk {
	tb.Helper()
	testshared.Missing(tb, "mounting a file system that is soon full needs Linux")
	return nil
}

// Path is a file on it.
func (d *Disk) Path(...string) string { return d.Dir }

// Fill does nothing.
func (d *Disk) Fill() {}

// Free does nothing.
func (d *Disk) Free() {}
