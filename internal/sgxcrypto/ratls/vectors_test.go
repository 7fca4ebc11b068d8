package ratls

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// vector is one entry of testdata/gramine/index.json.
type vector struct {
	File   string `json:"file"`
	Client string `json:"client"`
	Expect string `json:"expect"`
	Env    string `json:"env"`
	SHA256 string `json:"sha256"`
}

func readVectors(tb testing.TB) []vector {
	tb.Helper()
	var index struct{ Vectors []vector }
	if err := json.Unmarshal(readFile(tb, "gramine/index.json"), &index); err != nil {
		tb.Fatal(err)
	}
	if len(index.Vectors) < 6 {
		tb.Fatalf("index.json lists %d certificates, want at least 6", len(index.Vectors))
	}
	return index.Vectors
}

func readFile(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", filepath.FromSlash(name)))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func (v vector) der(tb testing.TB) []byte {
	tb.Helper()
	b := readFile(tb, "gramine/"+v.File)
	sum := sha256.Sum256(b)
	if got := hex.EncodeToString(sum[:]); got != v.SHA256 {
		tb.Fatalf("%s has SHA-256 %s, the index says %s", v.File, got, v.SHA256)
	}
	return b
}

func (v vector) certificate(tb testing.TB) *x509.Certificate {
	tb.Helper()
	return parseDER(tb, v.der(tb))
}

func parseDER(tb testing.TB, der []byte) *x509.Certificate {
	tb.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}
