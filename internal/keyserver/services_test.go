package keyserver

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keysource"
	"github.com/ccctl/terraform-provider-cc/internal/sim/ecssim"
	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

const vaultToken = "services-root-token"

// services are an OpenBao server behind a door that a test can shut, and a simulated Alibaba Cloud. The environment leads to
// neither.
type services struct {
	t      *testing.T
	w      *world
	vault  string // OpenBao itself
	door   string // what the key server is told
	shut   atomic.Bool
	sim    *ecssim.Server
	kmsKey string
}

func newServices(t *testing.T, w *world) *services {
	t.Helper()
	v := &services{t: t, w: w, vault: testhost.StartOpenBao(t, vaultToken)}
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "VAULT_") || strings.HasPrefix(name, "BAO_") || strings.HasPrefix(name, "ALICLOUD_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("VAULT_MAX_RETRIES", "0")
	inside, err := url.Parse(v.vault)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(inside)
	transport := &http.Transport{DisableKeepAlives: true}
	proxy.Transport = transport
	door := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if v.shut.Load() {
			http.Error(rw, `{"errors":["Vault is sealed"]}`, http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(rw, r)
	}))
	t.Cleanup(door.Close)
	v.door = door.URL
	w.write("token", []byte(vaultToken+"\n"))
	v.post("sys/mounts/transit", map[string]any{"type": "transit"})
	v.post("transit/keys/models", map[string]any{})

	if v.sim, err = ecssim.New(ecssim.Options{}); err != nil {
		t.Fatal(err)
	}
	cloud := httptest.NewServer(v.sim)
	t.Cleanup(func() { cloud.Close(); v.sim.Close() })
	t.Setenv("ALIBABA_CLOUD_ENDPOINT_KMS", cloud.URL)
	out, err := v.sim.Do("cn-beijing", "CreateKey", nil)
	if err != nil {
		t.Fatal(err)
	}
	metadata, _ := out["KeyMetadata"].(map[string]any)
	v.kmsKey, _ = metadata["KeyId"].(string)
	w.write("profiles.json", fmt.Appendf(nil, `{"profiles":[{"name":"server","mode":"AK","access_key_id":%q,"access_key_secret":%q}]}`, ecssim.DefaultAccessKey, ecssim.DefaultSecretKey))
	return v
}

// post writes to OpenBao past the door.
func (v *services) post(path string, in any) map[string]any {
	v.t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		v.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, v.vault+"/v1/"+path, bytes.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", vaultToken)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		v.t.Fatalf("%s: %s %v\n%s", path, resp.Status, err, text)
	}
	var out struct {
		Data map[string]any `json:"data"`
	}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &out); err != nil {
			v.t.Fatal(err)
		}
	}
	return out.Data
}

// keep puts keys of a generation, and the two after it, into the three places.
func (v *services) keep(generation byte) {
	v.t.Helper()
	text := func(n byte) string { return base64.StdEncoding.EncodeToString(newKeyOf(generation + n)) }
	v.post("secret/data/model", map[string]any{"data": map[string]any{"wrap_key": text(0)}})
	wrapped, _ := v.post("transit/encrypt/models", map[string]any{"plaintext": text(1)})["ciphertext"].(string)
	v.w.write("wrapped", []byte(wrapped))
	out, err := v.sim.Do("cn-beijing", "Encrypt", map[string]string{"KeyId": v.kmsKey, "Plaintext": text(2), "EncryptionContext": `{"model":"m"}`})
	if err != nil {
		v.t.Fatal(err)
	}
	blob, _ := out["CiphertextBlob"].(string)
	v.w.write("sealed", []byte(blob))
}

// config has a secret of each service, and more of what is asked for.
func (v *services) config(more string) string {
	w := v.w
	secrets := `  - { name: kv, vault_kv: { mount: secret, path: model }, refresh: 1s }
  - { name: transit, vault_transit: { mount: transit, key: models, ciphertext_file: wrapped }, refresh: 1s }
  - { name: kms, alibaba_kms: { ciphertext_file: sealed, encryption_context: { model: m } }, refresh: 1s }
` + more
	text := strings.Replace(w.base(), "  - { name: model-hex, file: wrap-key, encoding: hex }\n", secrets, 1)
	text += fmt.Sprintf("vault: { address: %q, token_file: token }\nalibaba_cloud: { region: cn-beijing, profile: server, shared_credentials_file: profiles.json }\naudit: { file: audit.log }\nrules:\n", v.door)
	for _, kind := range []string{"kv", "transit", "kms"} {
		text += w.rule(kind, kind, "server_name: ["+kind+".example.com]")
	}
	return text + w.rule("file", "model")
}

// TestServicesKeepSecrets: secrets come from OpenBao and KMS, follow them, and stay in force while they do not answer.
func TestServicesKeepSecrets(t *testing.T) {
	w := newWorld(t)
	w.issue("kv.example.com", "transit.example.com", "kms.example.com")
	v := newServices(t, w)
	v.keep('a')
	opts := w.options()
	opts.Fingerprint = func(key [wrapKeySize]byte) string { return "fp-" + string(key[15:]) }
	srv, err := New(w.parse(v.config("")), opts)
	if err != nil {
		t.Fatal(err)
	}
	s := w.serve(srv)
	check := func(when, want string) {
		t.Helper()
		for i, kind := range []string{"kv", "transit", "kms"} {
			got, err := w.askFor(s, kind+".example.com")
			if err != nil || len(got) != wrapKeySize || got[15] != want[i] {
				t.Errorf("%s: the key of %s is another: %v", when, kind, err)
			}
		}
	}
	serves := func(kind string, generation byte) func() bool {
		return func() bool {
			got, err := w.askFor(s, kind+".example.com")
			return err == nil && got[15] == generation
		}
	}
	check("at the start", "abc")

	// Another key in KV is in force without anybody's doing; the former is wiped with its last connection.
	old := s.acquire()
	v.post("secret/data/model", map[string]any{"data": map[string]any{"wrap_key": hex.EncodeToString(newKeyOf('A'))}})
	waitUntil(t, "the new key is served", serves("kv", 'A'))
	if strings.Trim(string(old.secrets["kv"].wire), "\x00") == "" {
		t.Error("the former key was wiped while a connection had it")
	}
	s.release(old)
	for name, secret := range old.secrets {
		if strings.Trim(string(secret.wire), "\x00") != "" {
			t.Errorf("the former key of %s is still in memory", name)
		}
	}
	check("after a change", "Abc")
	w.log.waitFor(t, "another key of a secret is in force", "secret=kv", "key_fingerprint=fp-A", "former_key_fingerprint=fp-a")

	// The services are away: what was fetched is good, also for another configuration.
	v.shut.Store(true)
	v.sim.Inject(ecssim.Refused("Decrypt", http.StatusServiceUnavailable, "ServiceUnavailableTemporary", -1))
	for _, kind := range []string{"kv", "transit"} {
		w.log.waitFor(t, "the source of a secret does not give it", "secret="+kind, "it answered 503: Vault is sealed; the server is sealed")
	}
	check("while the services are away", "Abc")
	metrics := func() string {
		t.Helper()
		var b strings.Builder
		if err := s.WriteMetrics(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if text := metrics(); strings.Contains(text, `secret_refresh_failures_total{secret="kv"} 0`) || !strings.Contains(text, `cc_keyserver_secret_fetch_timestamp_seconds{secret="transit"}`) ||
		!strings.Contains(text, `secret_refresh_failures_total{secret="model"} 0`) {
		t.Errorf("metrics:\n%s", text)
	}
	waitUntil(t, "the status warns", func() bool {
		return strings.Contains(strings.Join(s.Status().Warnings, "\n"), `secret "kv" is in force as it was fetched on `)
	})
	err = s.Reload(w.parse(strings.Replace(v.config(""), "refresh: 1s", "refresh: 2s", 1)))
	var refused *ConfigError
	if !errors.As(err, &refused) || !refused.IsUnreachable() || !strings.Contains(err.Error(), "secrets[1].vault_kv: read wrap key from Vault") {
		t.Errorf("a secret that changed: %v", err)
	}
	v.sim.ClearFaults()
	if err := s.Reload(w.parse(v.config("") + w.rule("one more", "model"))); err != nil {
		t.Fatalf("rules cannot be changed while Vault is away: %v", err)
	}
	check("after a reload without Vault", "Abc")

	// They are back, with other keys.
	v.shut.Store(false)
	v.keep('x')
	waitUntil(t, "the key of KV is the new one", serves("kv", 'x'))
	waitUntil(t, "the key of Transit is the new one", serves("transit", 'y'))
	waitUntil(t, "the key of KMS is the new one", serves("kms", 'z'))
	w.log.waitFor(t, "the source of a secret gives it again", "secret=kv")
	if text := strings.Join(s.Status().Warnings, "\n"); strings.Contains(text, "fetched on") {
		t.Errorf("the status still warns: %s", text)
	}
	current := s.current.secrets
	s.stop()
	for name, secret := range current {
		if strings.Trim(string(secret.wire), "\x00") != "" {
			t.Errorf("the key of %s outlives the server", name)
		}
	}
	record, err := os.ReadFile(filepath.Join(w.dir, "audit.log"))
	if err != nil || !strings.Contains(string(record), `"secret_changed"`) || !strings.Contains(string(record), `"former_key_fingerprint":"fp-a","key_fingerprint":"fp-A"`) {
		t.Errorf("the audit log does not tell of the change: %v\n%s", err, record)
	}
	for where, text := range map[string]string{"log": w.log.String(), "audit log": string(record)} {
		checkNoCanary(t, "the "+where, text)
		for _, generation := range []byte("abcAxyz") {
			if key := newKeyOf(generation); strings.Contains(text, hex.EncodeToString(key)) || strings.Contains(text, strings.TrimRight(base64.StdEncoding.EncodeToString(key), "=")) || strings.Contains(text, vaultToken) {
				t.Errorf("the %s shows a secret", where)
			}
		}
	}
}

// TestServicesAtStart: no key, no start, and the error tells what will pass from what will not.
func TestServicesAtStart(t *testing.T) {
	w := newWorld(t)
	t.Setenv("VAULT_MAX_RETRIES", "0")
	w.write("token", []byte("a token"))
	closed := httptest.NewServer(nil)
	closed.Close()
	denying := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		http.Error(rw, `{"errors":["permission denied"]}`, http.StatusForbidden)
	}))
	defer denying.Close()
	config := func(address, more string) *Config {
		text := strings.Replace(w.config(), "{ name: model, file: wrap-key }", "{ name: model, vault_kv: { mount: secret, path: model } }", 1)
		return w.parse(strings.Replace(text, "wrap-key, encoding", more+", encoding", 1) + fmt.Sprintf("vault: { address: %q, token_file: token }\n", address))
	}
	for _, tt := range []struct {
		name        string
		cfg         *Config
		want        string
		unreachable bool
	}{
		{"nobody answers", config(closed.URL, "wrap-key"), "secrets[0].vault_kv: read wrap key from Vault, field wrap_key of secret/model: reach " + closed.URL, true},
		{"and a file is missing", config(closed.URL, "absent"), "2 problems", false},
		{"denied", config(denying.URL, "wrap-key"), "answered 403: permission denied; the token is not valid", false},
	} {
		_, err := New(tt.cfg, w.options())
		var problems *ConfigError
		if !errors.As(err, &problems) || !strings.Contains(err.Error(), tt.want) || problems.IsUnreachable() != tt.unreachable {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if strings.Contains(fmt.Sprint(err), "a token") {
			t.Errorf("%s: the error shows the token", tt.name)
		}
		// A check of the files alone is content where the files are.
		if err := CheckFiles(tt.cfg); (err == nil) != (tt.want != "2 problems") {
			t.Errorf("%s: files: %v", tt.name, err)
		}
	}
	for more, want := range map[string]string{
		"vault: { address: 'http://vault.example.com' }\n": `vault.address: the address is "http://vault.example.com": want https, plain http is for loopback addresses only`,
		"alibaba_cloud: { network: lan }\n":                `alibaba_cloud: "lan" is not a network; write "public" or "vpc"`,
	} {
		text := strings.Replace(w.config(), "{ name: model, file: wrap-key }", "{ name: model, vault_kv: { mount: secret, path: model } }", 1)
		text = strings.Replace(text, "file: wrap-key,", "alibaba_kms: { ciphertext_file: f },", 1)
		if _, err := ParseConfig([]byte(text+more), w.dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if (&ConfigError{}).IsUnreachable() {
		t.Error("no problem is unreachable")
	}
	var unreachable *keysource.UnreachableError
	if _, err := New(config(closed.URL, "wrap-key"), w.options()); !errors.As(err, &unreachable) || unreachable.Place != closed.URL {
		t.Errorf("the cause is lost: %v", err)
	}
}

// TestCommandIsRunAgain: a command has its refresh when the configuration says so.
func TestCommandIsRunAgain(t *testing.T) {
	w := newWorld(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w.write("printed", newKeyOf('1'))
	s := w.start(strings.Replace(w.config(), "file: wrap-key }", fmt.Sprintf("command: [%q, print-key, %q], form: base64, refresh: 1s }", self, filepath.Join(w.dir, "printed")), 1))
	ask := func() byte {
		got, err := w.askFor(s, "localhost")
		if err != nil {
			t.Fatal(err)
		}
		return got[15]
	}
	if key := ask(); key != '1' {
		t.Errorf("served %c", key)
	}
	w.write("printed", []byte("no key"))
	w.log.waitFor(t, "the source of a secret does not give it", "secret=model", "exit status 1")
	if key := ask(); key != '1' {
		t.Errorf("served %c after a failure", key)
	}
	w.write("printed", newKeyOf('2'))
	waitUntil(t, "the new key is served", func() bool { return ask() == '2' })
}

// TestRefreshLosesToReload: keys that were fetched for a configuration that was replaced meanwhile are wiped.
func TestRefreshLosesToReload(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.config())
	g := s.acquire()
	fresh := &Secret{name: "model", encoding: EncodingRaw, wire: newKeyOf('n')}
	if err := s.Reload(w.parse(w.config())); err != nil {
		t.Fatal(err)
	}
	s.renew(g, map[string]*Secret{"model": fresh})
	s.release(g)
	if strings.Trim(string(fresh.wire), "\x00") != "" {
		t.Error("the late key is still in memory")
	}
	if got, err := w.askFor(s, "localhost"); err != nil || !bytes.Equal(got, canary[:]) {
		t.Errorf("another key is served: %v", err)
	}
	if spread(0) != 0 || spread(time.Minute) > time.Minute || spread(time.Minute) < 54*time.Second {
		t.Error("intervals are spread otherwise than up to a tenth")
	}
}
