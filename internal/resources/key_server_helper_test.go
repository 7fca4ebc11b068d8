package resources_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
)

const keyServerAddr = "cc_key_server.test"

// keyServerFixture is what a cc_key_server needs, in a folder of its own.
type keyServerFixture struct {
	t   *testing.T
	dir string
	// Arguments that a test may change.
	listen, rule, further string
}

func newKeyServerFixture(t *testing.T) *keyServerFixture {
	t.Helper()
	if err := deploy.KeyServerSupported(); err != nil {
		t.Skip(err)
	}
	f := &keyServerFixture{t: t, dir: t.TempDir(), listen: "127.0.0.1:0", rule: "first"}
	f.writeCertificate()
	f.writeKey()
	t.Cleanup(f.kill)
	return f
}

func (f *keyServerFixture) path(names ...string) string {
	return filepath.Join(append([]string{f.dir}, names...)...)
}

func (f *keyServerFixture) server() string { return f.path("server") }

// config is the resource. Its paths are those of the folder.
func (f *keyServerFixture) config() string { return f.configIn(f.dir) }

// configIn is the resource with paths that start with a prefix.
func (f *keyServerFixture) configIn(prefix string) string {
	p := func(name string) string { return quote(prefix + "/" + name) }
	return fmt.Sprintf(`
resource "cc_key_server" "test" {
  host       = { local = {} }
  runtime    = "process"
  directory  = %s
  ccctl_path = %s
  listen     = %s
  tls        = { certificate = %s, private_key = %s }
  collateral = { url = "https://127.0.0.1:1/", max_age = "24h" }
  secrets    = [{ name = "model", file = %s }]
  rules = [{
    name       = %s
    mr_enclave = [%s]
    tcb        = { accept = ["UpToDate"], accept_advisories = ["INTEL-SA-00615"] }
    secret     = "model"
  }]
%s
}
`, p("server"), quote(ccctlPath(f.t)), quote(f.listen), p("server.pem"), p("server-key.pem"), p("wrap.key"),
		quote(f.rule), quote(strings.Repeat("7d", 32)), f.further)
}

func (f *keyServerFixture) writeKey() {
	f.t.Helper()
	key := newKey(f.t)
	mustWrite(f.t, f.path("wrap.key"), key[:], 0o600)
}

// writeCertificate writes a new certificate and its key.
func (f *keyServerFixture) writeCertificate() {
	f.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		f.t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.t.Fatal(err)
	}
	mustWrite(f.t, f.path("server.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o644)
	mustWrite(f.t, f.path("server-key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), 0o600)
}

// state is what the running server says of itself; nil if none runs.
func (f *keyServerFixture) state() *keyserver.State {
	f.t.Helper()
	state, err := keyserver.ReadState(deploy.KeyServerFilesIn(f.server()).State)
	if err != nil {
		f.t.Fatal(err)
	}
	return state
}

// pid is the process of the running server.
func (f *keyServerFixture) pid() int {
	f.t.Helper()
	state := f.state()
	if state == nil || state.PID == 0 {
		f.t.Fatal("no key server runs")
	}
	return state.PID
}

// kill ends the server, if there is one, as a crash would.
func (f *keyServerFixture) kill() {
	state := f.state()
	if state == nil || state.PID == 0 {
		return
	}
	process, err := os.FindProcess(state.PID)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := process.Kill(); err != nil {
		f.t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); f.state() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("process %d does not die", state.PID)
		}
	}
}

// processPlaces is what other users of the machine can read of a process.
func processPlaces(t *testing.T, pid int) map[string][]byte {
	t.Helper()
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	if _, err := os.Stat(proc); err != nil {
		return nil
	}
	return map[string][]byte{
		"command line": mustRead(t, filepath.Join(proc, "cmdline")), "environment": mustRead(t, filepath.Join(proc, "environ")),
	}
}
