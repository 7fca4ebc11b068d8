// Package testshared finds this module's folder, and the reference vectors that
// are kept beside it and not in it, because they are other projects' files.
//
// It is for tests only; internal/archtest keeps it out of every binary.
package testshared

import (
	"os"
	"path/filepath"
	"testing"
)

// moduleRoot is found before a test can go elsewhere: where the tests of a
// package begin, its folder is the working directory.
var moduleRoot = findModule()

func findModule() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

// Root returns the folder of this module.
func Root(tb testing.TB) string {
	tb.Helper()
	if moduleRoot == "" {
		tb.Fatal("the tests were not started in a folder of the module")
	}
	return moduleRoot
}

// Dir returns the path of a folder of the shared material, such as
// "vectors/pf". A test that asks for what is not there is skipped with the
// reason, or fails where CC_REQUIRE_ALL=1 says that nothing may be skipped.
func Dir(tb testing.TB, name string) string {
	tb.Helper()
	dir := filepath.Join(Root(tb), "..", "shared", filepath.FromSlash(name))
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
