package main

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// isrgRootX1 is a public certification authority, valid from 2015 to 2035
// (https://letsencrypt.org/certs/isrgrootx1.pem).
const isrgRootX1 = "testdata/isrgrootx1.pem"

// TestPublicChainWithoutSystemRoots verifies a public certificate on a system
// without any, as the container image is one. The system's are read once a
// process, so it takes one of its own.
func TestPublicChainWithoutSystemRoots(t *testing.T) {
	if os.Getenv("CC_TEST_NO_SYSTEM_ROOTS") == "" {
		none := filepath.Join(t.TempDir(), "none")
		cmd := exec.Command(os.Args[0], "-test.run=^TestPublicChainWithoutSystemRoots$", "-test.v")
		cmd.Env = append(os.Environ(), "CC_TEST_NO_SYSTEM_ROOTS=1", "SSL_CERT_FILE="+none, "SSL_CERT_DIR="+none)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	data, err := os.ReadFile(isrgRootX1)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := certificate.Verify(x509.VerifyOptions{CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		t.Error(err)
	}
	// The test can fail: with no authorities at all it does.
	if _, err := certificate.Verify(x509.VerifyOptions{CurrentTime: at, Roots: x509.NewCertPool()}); err == nil {
		t.Error("verified by nobody")
	}
}
