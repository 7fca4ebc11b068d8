package manifest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/manifest"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/sigstruct"
)

// good is a manifest without a fault, but for the hash of the authority.
const good = `
libos.entrypoint = "/usr/bin/tensorflow_model_server"
loader.argv = ["tensorflow_model_server", "--model_base_path=/models/resnet50", "--ssl_config_file", "/ssl.cfg"]
loader.env.LD_PRELOAD = "libsecret_prov_attest.so"
loader.env.SECRET_PROVISION_CONSTRUCTOR = "1"
loader.env.SECRET_PROVISION_SET_KEY = "default"
loader.env.SECRET_PROVISION_CA_CHAIN_PATH = "/certs/ca.pem"
loader.env.SECRET_PROVISION_SERVERS = "attestation.service.com:4433"
fs.mounts = [
  { path = "/certs", uri = "file:certs" },
  { type = "encrypted", path = "/models/resnet50/1/saved_model.pb", uri = "file:models/resnet50/1/saved_model.pb" },
  { type = "encrypted", path = "/ssl.cfg", uri = "file:ssl.cfg", key_name = "default" },
]
sgx.remote_attestation = "dcap"
sgx.isvprodid = 1
sgx.isvsvn = 2
[[sgx.trusted_files]]
uri = "file:certs/ca.pem"
sha256 = "HASH"
`

// world is a manifest with all that belongs to it.
type world struct {
	text  string
	files fstest.MapFS
	opts  manifest.Options
	ca    *x509.Certificate
	caKey *ecdsa.PrivateKey
}

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{files: fstest.MapFS{}}
	key, err := protectedfile.ParseKey([]byte("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	w.opts = manifest.Options{Artifacts: w.files, Key: &key, At: now}
	w.encrypt(t, "models/resnet50/1/saved_model.pb", "models/resnet50/1/saved_model.pb")
	w.encrypt(t, "ssl.cfg", "ssl.cfg")
	w.caKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	w.ca = w.sign(t, template, template, w.caKey.Public())
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.ca.Raw})
	w.files["certs/ca.pem"] = &fstest.MapFile{Data: authority}
	sum := sha256.Sum256(authority)
	w.text = strings.Replace(good, "HASH", hex.EncodeToString(sum[:]), 1)
	w.certificate(t, func(c *x509.Certificate) { c.DNSNames = []string{"attestation.service.com"} })
	return w
}

func (w *world) sign(t *testing.T, template, parent *x509.Certificate, public any) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, w.caKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// certificate gives the key server another certificate.
func (w *world) certificate(t *testing.T, change func(*x509.Certificate)) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "server"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	change(template)
	public := template.PublicKey
	if public == nil {
		public = w.caKey.Public()
	}
	w.opts.ServerCertificate = []*x509.Certificate{w.sign(t, template, w.ca, public)}
}

type buffer struct{ bytes.Buffer }

func (b *buffer) WriteAt(p []byte, off int64) (int, error) {
	if grow := int(off) + len(p) - b.Len(); grow > 0 {
		b.Write(make([]byte, grow))
	}
	return copy(b.Bytes()[off:], p), nil
}

// encrypt puts a protected file among the artifacts, made for another path if the two differ.
func (w *world) encrypt(t *testing.T, name, embedded string) {
	t.Helper()
	var out buffer
	_, err := protectedfile.Encrypt(t.Context(), &out, strings.NewReader("secret"), *w.opts.Key, protectedfile.WriterOptions{Path: embedded})
	if err != nil {
		t.Fatal(err)
	}
	w.files[name] = &fstest.MapFile{Data: bytes.Clone(out.Bytes())}
}

func (w *world) check(t *testing.T) []manifest.Finding {
	t.Helper()
	m, err := manifest.Parse([]byte(w.text))
	if err != nil {
		t.Fatal(err)
	}
	return manifest.Check(m, w.opts)
}

func (w *world) replace(t *testing.T, old, now string) {
	t.Helper()
	if !strings.Contains(w.text, old) {
		t.Fatalf("%q is not in the manifest", old)
	}
	w.text = strings.Replace(w.text, old, now, 1)
}

// TestCheckGood has a finding for each thing looked at and no fault.
func TestCheckGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	findings := w.check(t)
	checks := map[string]int{}
	for _, f := range findings {
		checks[f.Check]++
		if f.Status != manifest.OK {
			t.Errorf("%+v", f)
		}
	}
	for _, want := range []string{"enclave", "environment", "authority", "server", "encrypted mount", "arguments", "trusted files"} {
		if checks[want] == 0 {
			t.Errorf("no finding of %q", want)
		}
	}
}

// TestCheckFaults breaks one thing at a time. The fault must be the only finding of its status or worse.
func TestCheckFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		breakIt func(t *testing.T, w *world)
		status  manifest.Status
		subject string
		found   string
		fix     string
	}{
		{"debug", func(t *testing.T, w *world) {
			w.text += "\n[sgx.x]\n"
			w.replace(t, "sgx.isvsvn = 2", "sgx.isvsvn = 2\nsgx.debug = true")
		}, manifest.Failed, "sgx.debug", "whoever has the host reads its memory", "sgx.debug = false"},
		{"no attestation", func(t *testing.T, w *world) { w.replace(t, `sgx.remote_attestation = "dcap"`, "") }, manifest.Failed, "sgx.remote_attestation", `"none"`, "dcap"},
		{"check policy", func(t *testing.T, w *world) {
			w.replace(t, "sgx.isvsvn = 2", "sgx.isvsvn = 2\nsgx.file_check_policy = \"allow_all_but_log\"")
		}, manifest.Failed, "sgx.file_check_policy", "readable unchecked", "strict"},
		{"key in the manifest", func(t *testing.T, w *world) {
			w.replace(t, "sgx.isvprodid", "fs.insecure__keys.default = \"00112233445566778899aabbccddeeff\"\nsgx.isvprodid")
		}, manifest.Failed, "fs.insecure__keys", "the key default is written in the manifest", "secret provisioning"},
		{"log level", func(t *testing.T, w *world) { w.replace(t, "loader.argv", "loader.log_level = \"trace\"\nloader.argv") }, manifest.Warning, "loader.log_level", "trace", "error"},
		{"host environment", func(t *testing.T, w *world) {
			w.replace(t, "loader.argv", "loader.insecure__use_host_env = true\nloader.argv")
		}, manifest.Failed, "loader.insecure__use_host_env", "the host sets any variable", "remove it"},
		{"servers from the host", func(t *testing.T, w *world) {
			w.replace(t, `SERVERS = "attestation.service.com:4433"`, "SERVERS = { passthrough = true }")
			w.opts.ServerCertificate = nil
		}, manifest.Failed, "SECRET_PROVISION_SERVERS", "put its own key server in place of yours", "loader.env.SECRET_PROVISION_SERVERS"},
		{"preload from the host", func(t *testing.T, w *world) {
			w.replace(t, `LD_PRELOAD = "libsecret_prov_attest.so"`, "LD_PRELOAD = { passthrough = true }")
		}, manifest.Failed, "LD_PRELOAD", "passed through", "LD_PRELOAD"},
		{"environment file", func(t *testing.T, w *world) {
			w.replace(t, "loader.argv", "loader.env_src_file = \"file:env\"\nloader.argv")
		}, manifest.Warning, "loader.env_src_file", "file:env is not looked into", "loader.env"},
		{"no servers", func(t *testing.T, w *world) {
			w.replace(t, `loader.env.SECRET_PROVISION_SERVERS = "attestation.service.com:4433"`, "")
			w.certificate(t, func(c *x509.Certificate) { c.DNSNames = []string{"localhost"} })
		}, manifest.Warning, "SECRET_PROVISION_SERVERS", "localhost:4433", "set"},
		{"no authority", func(t *testing.T, w *world) {
			w.replace(t, `loader.env.SECRET_PROVISION_CA_CHAIN_PATH = "/certs/ca.pem"`, "")
		}, manifest.Failed, "SECRET_PROVISION_CA_CHAIN_PATH", "whom to believe", "set"},
		{"no constructor", func(t *testing.T, w *world) { w.replace(t, `CONSTRUCTOR = "1"`, `CONSTRUCTOR = "yes"`) }, manifest.Warning, "SECRET_PROVISION_CONSTRUCTOR", "asks for it", `"1"`},
		{"no library", func(t *testing.T, w *world) { w.replace(t, `loader.env.LD_PRELOAD = "libsecret_prov_attest.so"`, "") }, manifest.Warning, "LD_PRELOAD", "is not loaded before", "libsecret_prov_attest.so"},
		{"old key variable", func(t *testing.T, w *world) { w.replace(t, `SET_KEY = "default"`, `SET_PF_KEY = "1"`) }, manifest.Warning, "SECRET_PROVISION_SET_PF_KEY", "1.9 ignores it", "SECRET_PROVISION_SET_KEY"},
		{"allowed authority", func(t *testing.T, w *world) {
			w.replace(t, "sgx.isvprodid", "sgx.allowed_files = [\"file:certs/\"]\nsgx.isvprodid")
		}, manifest.Failed, "/certs/ca.pem", "the host replaces it, and with it your key server", `remove "file:certs/" from sgx.allowed_files`},
		{"untrusted authority", func(t *testing.T, w *world) {
			w.replace(t, `uri = "file:certs/ca.pem"`, `uri = "file:certs/other.pem"`)
		}, manifest.Failed, "/certs/ca.pem", "no trusted file", `list "file:certs/ca.pem" in sgx.trusted_files`},
		{"encrypted authority", func(t *testing.T, w *world) { w.replace(t, `PATH = "/certs/ca.pem"`, `PATH = "/ssl.cfg"`) }, manifest.Failed, "/ssl.cfg", "needed before there is a key", "plain file"},
		{"authority in tmpfs", func(t *testing.T, w *world) {
			w.replace(t, `{ path = "/certs", uri = "file:certs" },`, `{ type = "tmpfs", path = "/certs" },`)
		}, manifest.Failed, "/certs/ca.pem", "empty at the start", "plain file"},
		{"hash of the authority", func(t *testing.T, w *world) {
			w.replace(t, "sha256 = \"", "sha256 = \"00")
			w.text = strings.Replace(w.text, "\"\n", "\"\n", 1)
		}, manifest.Failed, "/certs/ca.pem", "the enclave refuses to open it", "sign again"},
		{"unsigned manifest", func(t *testing.T, w *world) {
			i := strings.Index(w.text, "[[sgx.trusted_files]]")
			w.text = w.text[:i] + "sgx.trusted_files = [\"file:certs/\"]\n"
		}, manifest.Warning, "/certs/ca.pem", "does not have its hash yet", ".manifest.sgx"},
		{"authority missing", func(_ *testing.T, w *world) { delete(w.files, "certs/ca.pem") }, manifest.Failed, "/certs/ca.pem", "read certs/ca.pem", "that was signed"},
		{"another authority", func(t *testing.T, w *world) {
			other := newWorld(t)
			other.certificate(t, func(c *x509.Certificate) { c.DNSNames = []string{"attestation.service.com"} })
			w.opts.ServerCertificate = other.opts.ServerCertificate
		}, manifest.Failed, "certificate", "does not lead to it", "certs/ca.pem"},
		{"server's name", func(t *testing.T, w *world) {
			w.certificate(t, func(c *x509.Certificate) {
				c.DNSNames = []string{"other.com"}
				c.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 1)}
			})
		}, manifest.Failed, "attestation.service.com", "the certificate is for other.com, 10.0.0.1", "issue a certificate"},
		{"common name beside a SAN", func(t *testing.T, w *world) {
			w.certificate(t, func(c *x509.Certificate) {
				c.Subject.CommonName = "attestation.service.com"
				c.DNSNames = []string{"other.com"}
			})
		}, manifest.Failed, "attestation.service.com", "is for other.com", ""},
		{"common name alone", func(t *testing.T, w *world) {
			w.certificate(t, func(c *x509.Certificate) { c.Subject.CommonName = "attestation.service.com" })
		}, manifest.Warning, "attestation.service.com", "common name alone", "subject alternative name"},
		{"other common name alone", func(t *testing.T, w *world) { w.certificate(t, func(*x509.Certificate) {}) }, manifest.Failed, "attestation.service.com", `for "server", by its common name`, ""},
		{"address alone", func(t *testing.T, w *world) {
			w.replace(t, "attestation.service.com:4433", "10.0.0.1:4433")
			w.certificate(t, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 1)} })
		}, manifest.Warning, "10.0.0.1", "before Gramine 1.8", "dNSName"},
		{"wildcard of an address", func(t *testing.T, w *world) {
			w.replace(t, "attestation.service.com:4433", "10.0.0.1:4433")
			w.certificate(t, func(c *x509.Certificate) { c.DNSNames = []string{"*.0.0.1"} })
		}, manifest.Failed, "10.0.0.1", "is for *.0.0.1", ""},
		{"expired", func(_ *testing.T, w *world) { w.opts.At = now.Add(90 * time.Minute) }, manifest.Failed, "certificate", "it is valid from 2026-06-01 11:00 to 2026-06-01 13:00", "renew"},
		{"small key", func(t *testing.T, w *world) {
			key, err := rsa.GenerateKey(rand.Reader, 1024)
			if err != nil {
				t.Fatal(err)
			}
			w.certificate(t, func(c *x509.Certificate) {
				c.DNSNames = []string{"attestation.service.com"}
				c.PublicKey = key.Public()
			})
		}, manifest.Failed, "certificate", "RSA key of 1024 bits", "3072"},
		{"no port", func(t *testing.T, w *world) {
			w.replace(t, "attestation.service.com:4433", "attestation.service.com:4433;other")
		}, manifest.Failed, "SECRET_PROVISION_SERVERS", `"other" has no port`, "host:port"},
		{"IPv6", func(t *testing.T, w *world) {
			w.replace(t, "attestation.service.com:4433", "attestation.service.com:4433,fe80::1:4433")
		}, manifest.Failed, "SECRET_PROVISION_SERVERS", "IPv6", "a name"},
		{"no encrypted mount", func(t *testing.T, w *world) {
			w.text = strings.ReplaceAll(w.text, `type = "encrypted", `, "")
			w.text = strings.Replace(w.text, `, "--ssl_config_file", "/ssl.cfg"`, "", 1)
			w.text = strings.Replace(w.text, `, key_name = "default"`, "", 1)
		}, manifest.Failed, "fs.mounts", "no mount is encrypted", `type = "encrypted"`},
		{"overlap", func(t *testing.T, w *world) {
			w.replace(t, `  { type = "encrypted", path = "/ssl.cfg"`, "  { type = \"encrypted\", path = \"/m\", uri = \"file:models\" },\n  { type = \"encrypted\", path = \"/ssl.cfg\"")
		}, manifest.Failed, "/models/resnet50/1/saved_model.pb", "overlaps the mount at /m", "one encrypted mount"},
		{"key of another name", func(t *testing.T, w *world) { w.replace(t, `key_name = "default"`, `key_name = "tls"`) }, manifest.Failed, "/ssl.cfg", `its key is "tls", and secret provisioning installs "default"`, "the same"},
		{"no key", func(t *testing.T, w *world) {
			w.replace(t, `loader.env.SECRET_PROVISION_SET_KEY = "default"`, "")
			w.replace(t, `  { type = "encrypted", path = "/ssl.cfg", uri = "file:ssl.cfg", key_name = "default" },`, "")
			w.replace(t, `, "--ssl_config_file", "/ssl.cfg"`, "")
			delete(w.files, "ssl.cfg")
		}, manifest.Failed, "/models/resnet50/1/saved_model.pb", `nothing installs its key "default"`, "SECRET_PROVISION_SET_KEY"},
		{"sealing key", func(t *testing.T, w *world) { w.replace(t, `key_name = "default"`, `key_name = "_sgx_mrsigner"`) }, manifest.Skipped, "/ssl.cfg", "the processor's own", ""},
		{"long key name", func(t *testing.T, w *world) {
			long := strings.Repeat("k", 234)
			w.text = strings.ReplaceAll(w.text, `"default"`, `"`+long+`"`)
			w.replace(t, `uri = "file:models/resnet50/1/saved_model.pb" }`, `uri = "file:models/resnet50/1/saved_model.pb", key_name = "_sgx_mrenclave" }`)
		}, manifest.Failed, "/ssl.cfg", "234 bytes", "shorter"},
		{"file missing", func(_ *testing.T, w *world) { delete(w.files, "ssl.cfg") }, manifest.Failed, "ssl.cfg", "there is no such file", "--path ssl.cfg"},
		{"plaintext file", func(_ *testing.T, w *world) { w.files["ssl.cfg"] = &fstest.MapFile{Data: []byte("server_key: ...")} }, manifest.Failed, "ssl.cfg", "no protected file", "--path ssl.cfg"},
		{"other path", func(t *testing.T, w *world) { w.encrypt(t, "ssl.cfg", "ssl_configure/ssl.cfg") }, manifest.Failed, "ssl.cfg", `ssl_configure/ssl.cfg`, "--path ssl.cfg"},
		{"path without key", func(_ *testing.T, w *world) {
			w.opts.Key = nil
			delete(w.files, "models/resnet50/1/saved_model.pb")
			w.text = strings.Replace(w.text, `uri = "file:models/resnet50/1/saved_model.pb" }`, `uri = "file:models/resnet50/1/saved_model.pb", key_name = "_sgx_mrenclave" }`, 1)
		}, manifest.Skipped, "ssl.cfg", "open without the wrap key", "-w KEYFILE"},
		{"empty folder", func(t *testing.T, w *world) {
			w.replace(t, `uri = "file:models/resnet50/1/saved_model.pb"`, `uri = "file:empty"`)
			w.files["empty"] = &fstest.MapFile{Mode: 0o755 | 1<<31}
			delete(w.files, "models/resnet50/1/saved_model.pb")
		}, manifest.Warning, "empty", "is empty", ""},
		{"left by a write", func(t *testing.T, w *world) {
			w.replace(t, `uri = "file:models/resnet50/1/saved_model.pb"`, `uri = "file:models/"`)
			w.files["models/resnet50/1/saved_model.pb.gramine.recovery"] = &fstest.MapFile{Data: []byte{1}}
		}, manifest.Warning, "models/resnet50/1/saved_model.pb.gramine.recovery", "interrupted", "whole file"},
		{"stray", func(t *testing.T, w *world) { w.encrypt(t, "models/other.pb", "models/other.pb") }, manifest.Warning, "models/other.pb", "no encrypted mount leads to it", "leave it out"},
		{"outside", func(t *testing.T, w *world) {
			w.replace(t, `uri = "file:models/resnet50/1/saved_model.pb"`, `uri = "file:../models/x"`)
			delete(w.files, "models/resnet50/1/saved_model.pb")
		}, manifest.Skipped, "/models/resnet50/1/saved_model.pb", "outside the artifacts", "folder above"},
		{"plain ssl.cfg", func(t *testing.T, w *world) {
			w.replace(t, `{ type = "encrypted", path = "/ssl.cfg", uri = "file:ssl.cfg", key_name = "default" }`, `{ path = "/ssl.cfg", uri = "file:ssl.cfg" }`)
			w.files["ssl.cfg"] = &fstest.MapFile{Data: []byte("x")}
		}, manifest.Failed, "/ssl.cfg", "lies in a mount of type chroot, where the host reads it", "encrypt ssl.cfg"},
		{"allowed ssl.cfg", func(t *testing.T, w *world) {
			w.replace(t, "sgx.isvprodid", "sgx.allowed_files = [\"file:other/ssl.cfg\"]\nsgx.isvprodid")
		}, manifest.Failed, "file:other/ssl.cfg", "the host reads and replaces", "encrypt ssl.cfg"},
		{"model in plain", func(t *testing.T, w *world) {
			w.replace(t, "--model_base_path=/models/resnet50", "--model_base_path=/elsewhere")
		}, manifest.Warning, "/elsewhere", "is not encrypted", "encrypted"},
		{"arguments of the host", func(t *testing.T, w *world) {
			w.replace(t, `loader.argv = ["tensorflow_model_server", "--model_base_path=/models/resnet50", "--ssl_config_file", "/ssl.cfg"]`, "loader.insecure__use_cmdline_argv = true")
		}, manifest.Warning, "loader.insecure__use_cmdline_argv", "without TLS", "loader.argv"},
		{"argument file", func(t *testing.T, w *world) {
			w.replace(t, "loader.env.LD", "loader.argv_src_file = \"file:args\"\nloader.env.LD")
		}, manifest.Skipped, "loader.argv_src_file", "file:args", ""},
		{"other trusted file", func(t *testing.T, w *world) {
			w.text += "[[sgx.trusted_files]]\nuri = \"file:hosts\"\nsha256 = \"" + strings.Repeat("0", 64) + "\"\n"
			w.files["hosts"] = &fstest.MapFile{Data: []byte("127.0.0.1")}
		}, manifest.Failed, "hosts", "the manifest wants 0000000000000000", "sign again"},
		{"no artifacts", func(_ *testing.T, w *world) { w.opts.Artifacts = nil }, manifest.Skipped, "/certs/ca.pem", "was not given", "--artifacts"},
		{"no certificate", func(_ *testing.T, w *world) { w.opts.ServerCertificate = nil }, manifest.Skipped, "certificate", "was not given", "--server-certificate"},
		{"SIGSTRUCT of another version", func(_ *testing.T, w *world) { w.opts.Sigstruct = &sigstruct.Sigstruct{ISVProdID: 1, ISVSVN: 1} }, manifest.Failed, "ISVPRODID, ISVSVN", "the SIGSTRUCT says 1, 1, the manifest 1, 2", "sign again"},
		{"SIGSTRUCT of a debug enclave", func(_ *testing.T, w *world) {
			w.opts.Sigstruct = &sigstruct.Sigstruct{ISVProdID: 1, ISVSVN: 2, Attributes: sigstruct.Attributes{Flags: sigstruct.FlagDebug}}
		}, manifest.Failed, "debug", "the SIGSTRUCT says true, the manifest false", "sign again"},
	}
	rank := map[manifest.Status]int{manifest.OK: 0, manifest.Skipped: 1, manifest.Warning: 2, manifest.Failed: 3}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tt.breakIt(t, w)
			found := false
			for _, f := range w.check(t) {
				switch {
				case f.Status == tt.status && f.Subject == tt.subject && strings.Contains(f.Found, tt.found) && strings.Contains(f.Fix, tt.fix):
					found = true
				case rank[f.Status] > rank[tt.status]:
					t.Errorf("worse: %+v", f)
				case f.Status == manifest.Failed && f.Fix == "":
					t.Errorf("no way out: %+v", f)
				}
			}
			if !found {
				for _, f := range w.check(t) {
					t.Logf("%+v", f)
				}
				t.Errorf("no finding %q on %q with %q", tt.status, tt.subject, tt.found)
			}
		})
	}
}

// TestCheckMounts asks which mount leads to a path: the last one.
func TestCheckMounts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ mounts, want string }{
		{`{ path = "/", uri = "file:root" }, { type = "encrypted", path = "/a/b", uri = "file:enc" }`, "lies in the encrypted mount at /a/b"},
		{`{ type = "encrypted", path = "/a/b", uri = "file:enc" }, { path = "/a", uri = "file:plain" }`, "lies in a mount of type chroot"},
		{`{ type = "encrypted", path = "/a/bc", uri = "file:enc" }`, "lies in a mount of type chroot"},
		{`{ type = "encrypted", path = "/", uri = "file:enc" }`, "lies in the encrypted mount at /"},
	} {
		m, err := manifest.Parse(fmt.Appendf(nil, "loader.argv = [\"x\", \"--ssl_config_file=/a/b/ssl.cfg\"]\nfs.mounts = [%s]\n", tt.mounts))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, f := range manifest.Check(m, manifest.Options{}) {
			found = found || f.Subject == "/a/b/ssl.cfg" && strings.Contains(f.Found, tt.want)
		}
		if !found {
			t.Errorf("mounts %s: want %q", tt.mounts, tt.want)
		}
	}
}
