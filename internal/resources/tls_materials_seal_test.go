package resources_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"

	"github.com/ccctl/terraform-provider-cc/internal/provider"
	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

// sealedSSL is what an enclave finds in the encrypted ssl.cfg, which ccctl opens for it.
func sealedSSL(t *testing.T, dir, keyFile string) *tlsmaterials.SSLConfig {
	t.Helper()
	plain := filepath.Join(t.TempDir(), "ssl.cfg")
	cmd := exec.Command(ccctlPath(t), "pf", "decrypt", "-w", keyFile, "-i", filepath.Join(dir, "ssl.cfg.pf"), "-o", plain, "--path", "ssl.cfg")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	config, err := tlsmaterials.ParseSSLConfig(mustRead(t, plain))
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// getsAlong has a TLS server with the configuration and the client of the directory meet.
func getsAlong(t *testing.T, config *tlsmaterials.SSLConfig, dir string, at time.Time) {
	t.Helper()
	server, err := tls.X509KeyPair([]byte(config.ServerCert), []byte(config.ServerKey))
	if err != nil {
		t.Fatal(err)
	}
	client, err := tls.LoadX509KeyPair(tlsFile(dir, "client/cert.pem"), tlsFile(dir, "client/key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := func(pem []byte) *x509.CertPool {
		p := x509.NewCertPool()
		p.AppendCertsFromPEM(pem)
		return p
	}
	now := func() time.Time { return at }
	a, b := net.Pipe()
	defer func() { _ = a.Close(); _ = b.Close() }()
	go func() {
		conn := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: pool([]byte(config.CustomCA)),
			ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12, Time: now})
		_, _ = conn.Write([]byte{1})
	}()
	conn := tls.Client(b, &tls.Config{Certificates: []tls.Certificate{client}, RootCAs: pool(mustRead(t, tlsFile(dir, "ca_cert.pem"))),
		ServerName: "grpc.tf-serving.service.com", MinVersion: tls.VersionTLS12, Time: now})
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Errorf("server and client do not get along: %v", err)
	}
}

// keyNowhere wants no byte of the server's private key in the directory or the state.
func keyNowhere(t *testing.T, config *tlsmaterials.SSLConfig, dir, state string) {
	t.Helper()
	secrets := map[string][]byte{}
	addKeySecrets(t, secrets, "server", []byte(config.ServerKey))
	places := map[string][]byte{"state": []byte(state)}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			places[path] = mustRead(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range secrets {
		for place, text := range places {
			if form := findSecret(text, secret); form != "" {
				t.Errorf("the private key (%s) is in %s, as %s", name, place, form)
			}
		}
	}
	for _, file := range []string{"server/key.pem", "ssl.cfg"} {
		mustBeGone(t, tlsFile(dir, file))
	}
}

// TestTLSMaterialsSealed keeps ssl.cfg encrypted only, through a renewal, and goes back to files in clear.
func TestTLSMaterialsSealed(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir, keyFile := filepath.Join(root, "tls"), filepath.Join(root, "wrap-key")
	wrapKey := "resource \"cc_wrap_key\" \"k\" {\n  file = " + quote(keyFile) + "\n}\n"
	sealed := wrapKey + tlsConfig(dir, `encrypted_ssl_config = { enclave_path = "ssl.cfg", wrap_key_file = cc_wrap_key.k.file }`)
	kept := strings.TrimPrefix(strings.Replace(sealed, "cc_wrap_key.k.file", quote(keyFile), 1), wrapKey) // the file stays
	var shift atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }
	var keys []string
	opened := func(s *terraform.State) error {
		config := sealedSSL(t, dir, keyFile)
		getsAlong(t, config, dir, now())
		keyNowhere(t, config, dir, fmt.Sprint(s))
		if slices.Contains(keys, config.ServerKey) {
			t.Error("the server has a key that it had before")
		}
		keys = append(keys, config.ServerKey)
		return nil
	}
	null := func(name string) statecheck.StateCheck {
		return statecheck.ExpectKnownValue(tlsAddr, tlsAttribute(name), knownvalue.Null())
	}
	acceptWith(t, []provider.Option{provider.WithClock(now)},
		resource.TestStep{ // the wrap key is made in the same apply
			Config: sealed, Check: opened,
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				plancheck.ExpectKnownValue(tlsAddr, tlsAttribute("encrypted_ssl_config_file"), knownvalue.StringExact(tlsFile(dir, "ssl.cfg.pf"))),
				plancheck.ExpectUnknownValue(tlsAddr, tlsAttribute("encrypted_ssl_config_header_sha256")),
			}},
			ConfigStateChecks: []statecheck.StateCheck{null("server_key_file"), null("ssl_config_file"),
				statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("ssl_config"), knownvalue.Bool(true)),
				statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("encrypted_ssl_config_size"), knownvalue.NotNull()),
			},
		},
		resource.TestStep{Config: sealed, ConfigPlanChecks: emptyPlan()},
		resource.TestStep{Config: kept, ConfigPlanChecks: expectAction(tlsAddr, plancheck.ResourceActionNoop)},
		resource.TestStep{ // the wrap key is not needed where nothing is issued
			PreConfig: func() { rename(t, keyFile, keyFile+".away") }, Config: kept, ConfigPlanChecks: emptyPlan(),
		},
		resource.TestStep{ // a renewal needs it
			PreConfig: func() { shift.Store(int64(340 * 24 * time.Hour)) },
			Config:    kept, ExpectError: says("Error: Wrap key missing"),
		},
		resource.TestStep{
			PreConfig: func() { rename(t, keyFile+".away", keyFile) },
			Config:    kept, Check: opened,
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				expectBefore(tlsAddr, "ready_for_renewal", "true"),
				plancheck.ExpectUnknownValue(tlsAddr, tlsAttribute("server_certificate_pem")),
				plancheck.ExpectUnknownValue(tlsAddr, tlsAttribute("encrypted_ssl_config_file")),
				plancheck.ExpectKnownValue(tlsAddr, tlsAttribute("ca_certificate_sha256"), knownvalue.NotNull()),
			}},
		},
		resource.TestStep{
			ResourceName: tlsAddr, ImportState: true, ImportStateId: dir, ImportStateVerify: true,
			ImportStateVerifyIgnore: []string{"encrypted_ssl_config", "encrypted_ssl_config_key_id"}, // in the file's encrypted part
		},
		resource.TestStep{ // back to files in clear: the key that is in the encrypted one cannot be taken out
			Config: tlsConfig(dir), Check: func(*terraform.State) error {
				mustBeGone(t, tlsFile(dir, "ssl.cfg.pf"))
				config, err := tlsmaterials.ParseSSLConfig(mustRead(t, tlsFile(dir, "ssl.cfg")))
				if err != nil || slices.Contains(keys, config.ServerKey) {
					t.Errorf("ssl.cfg: %v", err)
				}
				return nil
			},
			ConfigStateChecks: []statecheck.StateCheck{null("encrypted_ssl_config_file"), null("encrypted_ssl_config_size"), null("encrypted_ssl_config_key_id")},
		},
		resource.TestStep{Config: tlsConfig(dir), ConfigPlanChecks: emptyPlan()},
	)
	if len(keys) != 2 {
		t.Errorf("the file was opened %d times", len(keys))
	}
}

// TestTLSMaterialsSealedWriteOnly gives the wrap key as an ephemeral value. Its version moves ssl.cfg to another key.
func TestTLSMaterialsSealedWriteOnly(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir := filepath.Join(root, "tls")
	key, other := newKey(t), newKey(t)
	file := func(key protectedfile.Key) string {
		name := filepath.Join(root, key.Fingerprint())
		mustWrite(t, name, key[:], 0o600)
		return name
	}
	config := func(key protectedfile.Key, version int) string {
		return fmt.Sprintf("ephemeral \"cc_wrap_key\" \"k\" {\n  file = %s\n}\n", quote(file(key))) +
			tlsConfig(dir, fmt.Sprintf(`encrypted_ssl_config = { enclave_path = "ssl.cfg", wrap_key_wo = ephemeral.cc_wrap_key.k.hex, wrap_key_wo_version = %d }`, version))
	}
	var before remembered
	under := func(key protectedfile.Key, changed bool) func(*terraform.State) error {
		return func(s *terraform.State) error {
			config := sealedSSL(t, dir, file(key))
			keyNowhere(t, config, dir, fmt.Sprint(s))
			if strings.Contains(fmt.Sprint(s), hex.EncodeToString(key[:])) {
				t.Error("the wrap key is in the state")
			}
			if before != nil {
				before.expect(t, changed)
			}
			before = remember(t, dir, "ssl.cfg.pf", "server/cert.pem")
			return nil
		}
	}
	keyID := func(key protectedfile.Key) []statecheck.StateCheck {
		return []statecheck.StateCheck{
			statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("encrypted_ssl_config_key_id"), knownvalue.StringExact(key.Fingerprint())),
			statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("encrypted_ssl_config").AtMapKey("wrap_key_wo"), knownvalue.Null()),
		}
	}
	accept(t,
		resource.TestStep{Config: config(key, 1), Check: under(key, true), ConfigStateChecks: keyID(key)},
		resource.TestStep{Config: config(key, 1), ConfigPlanChecks: emptyPlan()},
		resource.TestStep{Config: config(other, 1), ExpectError: says("Wrap key changed without its version")},
		resource.TestStep{Config: config(key, 2), Check: under(key, false), ConfigStateChecks: keyID(key)}, // the same key: the same file
		resource.TestStep{Config: config(other, 3), Check: under(other, true), ConfigStateChecks: keyID(other)},
	)
	rejects(t, []rejection{
		{"no key", tlsConfig(dir, `encrypted_ssl_config = { enclave_path = "ssl.cfg" }`), "Invalid Attribute Combination"},
		{"two keys", tlsConfig(dir, `encrypted_ssl_config = { enclave_path = "ssl.cfg", wrap_key_file = "k", wrap_key_wo = "x", wrap_key_wo_version = 1 }`), "Invalid Attribute Combination"},
		{"no version", tlsConfig(dir, `encrypted_ssl_config = { enclave_path = "ssl.cfg", wrap_key_wo = "x" }`), "must be specified when"},
		{"no path", tlsConfig(dir, `encrypted_ssl_config = { enclave_path = "/", wrap_key_file = "k" }`), "value must be a path that names a file"},
		{"malformed key", tlsConfig(dir, `encrypted_ssl_config = { enclave_path = "ssl.cfg", wrap_key_wo = "x", wrap_key_wo_version = 1 }`), "read encrypted_ssl_config.wrap_key_wo: parse wrap key: 1 characters found"},
		{"no ssl.cfg", tlsConfig(dir, "ssl_config = false", `encrypted_ssl_config = { enclave_path = "ssl.cfg", wrap_key_file = "k" }`), "an encrypted ssl.cfg is asked for, and no ssl.cfg"},
	})
}

// TestTLSMaterialsSealedImport takes over a sealed set of ccctl's. The first apply learns of path and key, and issues nothing.
func TestTLSMaterialsSealedImport(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir, keyFile := filepath.Join(root, "tls"), filepath.Join(root, "wrap-key")
	key := newKey(t)
	mustWrite(t, keyFile, key[:], 0o600)
	cmd := exec.Command(ccctlPath(t), "tls", "generate", "--server-name", "grpc.tf-serving.service.com", "--client-name", "client.tf-serving.service.com", "--out", dir, "-w", keyFile, "--path", "ssl.cfg")
	if out, err := cmd.CombinedOutput(); err != nil || bytes.Contains(out, []byte("PRIVATE KEY")) {
		t.Fatalf("%v: %s", err, out)
	}
	getsAlong(t, sealedSSL(t, dir, keyFile), dir, time.Now())
	before := remember(t, dir, "ssl.cfg.pf", "server/cert.pem", "client/key.pem", "ca_key.pem")
	config := tlsConfig(dir, `encrypted_ssl_config = { enclave_path = "ssl.cfg", wrap_key_file = `+quote(keyFile)+" }")
	accept(t,
		resource.TestStep{Config: config, ResourceName: tlsAddr, ImportState: true, ImportStateId: dir, ImportStatePersist: true},
		resource.TestStep{Config: config, ConfigStateChecks: []statecheck.StateCheck{
			statecheck.ExpectKnownValue(tlsAddr, tlsAttribute("encrypted_ssl_config_key_id"), knownvalue.StringExact(key.Fingerprint())),
		}},
		resource.TestStep{Config: config, ConfigPlanChecks: emptyPlan()},
	)
	before.expect(t, false)
	if _, err := os.Stat(tlsFile(dir, "server/key.pem")); err == nil {
		t.Error("there is a key in clear")
	}
}
