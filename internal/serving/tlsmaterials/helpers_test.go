package tlsmaterials

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// testTime is when the tests' certificates are issued.
var testTime = time.Date(2026, 11, 23, 12, 30, 15, 500, time.UTC)

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newTestAuthority(t testing.TB) *KeyPair {
	t.Helper()
	return must[*KeyPair](t)(NewAuthority(AuthorityRequest{At: testTime}))
}

func issueServer(t testing.TB, ca *KeyPair, names ...string) *KeyPair {
	t.Helper()
	return must[*KeyPair](t)(ca.Issue(LeafRequest{Usage: Server, Names: names, At: testTime}))
}

func issueClient(t testing.TB, ca *KeyPair, name string) *KeyPair {
	t.Helper()
	return must[*KeyPair](t)(ca.Issue(LeafRequest{Usage: Client, Names: []string{name}, At: testTime}))
}

// newTestMaterials is a complete set with two clients.
func newTestMaterials(t testing.TB) *Materials {
	t.Helper()
	ca := newTestAuthority(t)
	m := &Materials{Authority: *ca, SSLConfig: true}
	m.Set(FurtherClientPlace("batch.example.com"), *issueClient(t, ca, "batch.example.com"))
	m.Set(ClientPlace, *issueClient(t, ca, "client.tf-serving.service.com"))
	m.Set(ServerPlace, *issueServer(t, ca, "grpc.tf-serving.service.com"))
	return m
}

// server and client are the leaves of a set that has them.
func server(m *Materials) *KeyPair { return &m.Leaf(ServerPlace).KeyPair }
func client(m *Materials) *KeyPair { return &m.Leaf(ClientPlace).KeyPair }

// fileMap encodes a set as ParseFiles takes it.
func fileMap(t testing.TB, m *Materials) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, f := range must[[]File](t)(m.Files()) {
		files[f.Path] = f.Data
	}
	return files
}

// certify makes a certificate that Issue would refuse to make.
func certify(t testing.TB, ca *KeyPair, template *x509.Certificate) *KeyPair {
	t.Helper()
	key := must[PrivateKey](t)(GenerateKey(ECDSAP256))
	if template.SerialNumber == nil {
		template.SerialNumber = big.NewInt(99)
	}
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = testTime, testTime.Add(time.Hour)
	}
	parent, parentKey := template, key
	if ca != nil {
		parent, parentKey = ca.Certificate, ca.Key
	}
	return must[*KeyPair](t)(sign(template, parent, key, parentKey))
}

// edPair is a certificate with a key of a kind that the package does not make.
func edPair(t testing.TB) (certificate, key []byte) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "ed"}, DNSNames: []string{"ed.example.com"},
		NotBefore: testTime, NotAfter: testTime.Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, public, private))
	pkcs8 := must[[]byte](t)(x509.MarshalPKCS8PrivateKey(private))
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// tutorialFiles reads the set that the tutorial's script made.
func tutorialFiles(t testing.TB) map[string][]byte {
	t.Helper()
	root := filepath.Join("testdata", "tutorial")
	files := map[string][]byte{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		files[filepath.ToSlash(rel)] = data
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// errText makes a nil error comparable with a wanted text.
func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

type bigInt = big.Int

// certifyKey certifies a given key.
func certifyKey(t testing.TB, ca *KeyPair, key PrivateKey) *KeyPair {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: newSerial(), DNSNames: []string{"a.example.com"}, NotBefore: testTime, NotAfter: testTime.Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	return must[*KeyPair](t)(sign(template, ca.Certificate, key, ca.Key))
}
