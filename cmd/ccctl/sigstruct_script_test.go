package main

import (
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdCopySigstructs is the script command "copy-sigstructs". It puts the vectors of package sigstruct into the script's
// directory, and forged.sig, in which a byte of the measurement differs.
func cmdCopySigstructs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: copy-sigstructs")
	}
	vectors := filepath.Join(repository, "internal", "sgxcrypto", "sigstruct", "testdata")
	for _, name := range []string{"v19_release.sig", "v19_debug.sig", "v14_binary_date.sig"} {
		data, err := os.ReadFile(filepath.Join(vectors, name))
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(name), data, 0o600))
		if name == "v19_release.sig" {
			data[960] ^= 1
			ts.Check(os.WriteFile(ts.MkAbs("forged.sig"), data, 0o600))
		}
	}
}
