// Package testshared finds the reference vectors that are kept beside the
// repository and not in it, because they are other projects' files.
//
// It is for tests only; internal/archtest keeps it out of every binary.
package testshared

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Dir returns the path of a folder of the shared material, such as
// "vectors/pf". A test that asks for what is not there is skipped with the
// reason, or fails where CC_REQUIRE_ALL=1 says that nothing may be skipped.
func Dir(tb testing.TB, name string) string {
	tb.Helper()
	_, self, _, ok := runtime.Caller(0)
	if !ok {
		tb.Fatal("the location of package testshared is unknown")
	}
	dir := filepath.Join(filepath.Dir(self), "..", "..", "..", "shared", filepath.FromSlash(name))
	if _, err := os.Stat(dir); err != nil {
		Missing(tb, "reference material "+name+" is not beside this repository")
	}
	return dir
}

// Missing skips a test because something it needs is not on this machine, or
// fails it where CC_REQUIRE_ALL=1 promises that everything is.
func Missing(tb testing.TB, reason string) {
	tb.Helper()
	if os.Getenv("CC_REQUIRE_ALL") == "1" {
		tb.Fatal(reason + " (CC_REQUIRE_ALL=1 allows no skips)")
	}
	tb.Skip(reason)
}
