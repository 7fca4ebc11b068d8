package vaultkey_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/keysource"
	"github.com/ccctl/terraform-provider-cc/internal/keysource/vaultkey"
	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

var secret = [keysource.Size]byte([]byte("0123456789abcdef"))

const token = "canary-root-token"

// server answers as Vault's HTTP API says (secret/kv version 2 and Transit).
func server(t *testing.T) {
	t.Helper()
	fields := map[string]any{
		"wrap_key": base64.StdEncoding.EncodeToString(secret[:]), "hex": hex.EncodeToString(secret[:]) + "\n", "short": "abc",
		"zero": strings.Repeat("0", 32), "nohex": strings.Repeat("z", 32), "no64": strings.Repeat("-", 24), "number": 3,
	}
	answer := func(w http.ResponseWriter, status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Vault-Token") != token {
			answer(w, http.StatusForbidden, map[string]any{"errors": []string{"permission denied"}})
			return
		}
		switch r.URL.Path {
		case "/v1/secret/data/models/resnet50", "/v1/team/kv/data/resnet50":
			answer(w, http.StatusOK, map[string]any{"data": map[string]any{"data": fields, "metadata": map[string]any{"version": 1, "created_time": "2026-01-01T00:00:00Z"}}})
		case "/v1/transit/decrypt/resnet50":
			var in struct{ Ciphertext string }
			if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.Method != http.MethodPut {
				answer(w, http.StatusBadRequest, map[string]any{"errors": []string{"malformed"}})
				return
			}
			kept := map[string][]byte{"vault:v1:good": secret[:], "vault:v1:long": []byte("a wrap key has 16 bytes")}[in.Ciphertext]
			if kept == nil {
				answer(w, http.StatusBadRequest, map[string]any{"errors": []string{"cipher: message authentication failed"}})
				return
			}
			answer(w, http.StatusOK, map[string]any{"data": map[string]any{"plaintext": base64.StdEncoding.EncodeToString(kept)}})
		case "/v1/sealed/data/x":
			answer(w, http.StatusServiceUnavailable, map[string]any{"errors": []string{"Vault is sealed"}})
		default:
			answer(w, http.StatusNotFound, map[string]any{"errors": []string{}})
		}
	}))
	t.Cleanup(web.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	environment(t, web.URL)
	t.Setenv("VAULT_CACERT", ca)
}

// environment names a server; nothing of the developer's own is left.
func environment(t *testing.T, address string) {
	t.Helper()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "VAULT_") || strings.HasPrefix(name, "BAO_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("VAULT_ADDR", address)
	t.Setenv("VAULT_TOKEN", token)
	t.Setenv("VAULT_MAX_RETRIES", "0")
}

func read(t *testing.T, ref string) ([keysource.Size]byte, error) {
	t.Helper()
	source, err := vaultkey.Parse(ref)
	if err != nil {
		t.Fatal(err)
	}
	key := [keysource.Size]byte{1}
	err = source.Read(t.Context(), &key)
	return key, err
}

func TestRead(t *testing.T) {
	server(t)
	dir := t.TempDir()
	for name, text := range map[string]string{"good": "vault:v1:good\n", "long": "vault:v1:long", "foreign": "vault:v1:foreign", "raw": string(secret[:])} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := func(name string) string { return "vault:transit:transit/resnet50@" + filepath.Join(dir, name) }
	for _, ref := range []string{"vault:kv:secret/models/resnet50", "vault:kv:secret/models/resnet50#hex", "vault:kv:team/kv//resnet50#wrap_key", file("good")} {
		if key, err := read(t, ref); err != nil || key != secret {
			t.Errorf("%s: %v", ref, err)
		}
	}
	for _, tt := range []struct{ ref, want string }{
		{"vault:kv:secret/models/other", "there is no such secret on https://127.0.0.1"},
		{"vault:kv:secret/models/resnet50#none", "no text in field none; it has the fields hex, no64, nohex, number, short, wrap_key, zero"},
		{"vault:kv:secret/models/resnet50#number", "no text in field number"},
		{"vault:kv:secret/models/resnet50#short", "found 3 characters, want 24 of base64 or 32 hex digits"},
		{"vault:kv:secret/models/resnet50#zero", "all 16 bytes are zero"},
		{"vault:kv:secret/models/resnet50#nohex", "not all hex digits"},
		{"vault:kv:secret/models/resnet50#no64", "not base64 of 16 bytes"},
		{"vault:kv:sealed/x", "answered 503: Vault is sealed; the server is sealed"},
		{file("foreign"), "answered 400: cipher: message authentication failed"},
		{file("long"), "not the 16 bytes of a wrap key"},
		{file("raw"), `a line that starts with "vault:v1:"`},
		{file("none"), "no such file"},
		{"vault:transit:transit/resnet50@" + dir, "it is not a regular file"},
		{"vault:transit:nothing/resnet50@" + filepath.Join(dir, "good"), "answered 404: Not Found; is the mount right?"},
	} {
		key, err := read(t, tt.ref)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.ref, err, tt.want)
		}
		if key != [keysource.Size]byte{} {
			t.Errorf("%s: the array is not wiped", tt.ref)
		}
		if err != nil && (strings.Contains(err.Error(), token) || strings.Contains(err.Error(), string(secret[:]))) {
			t.Errorf("%s: the error tells a secret", tt.ref)
		}
	}
	t.Setenv("VAULT_TOKEN", "another")
	if _, err := read(t, "vault:kv:secret/models/resnet50"); err == nil || !strings.Contains(err.Error(), "answered 403: permission denied; the token is not valid, or its policy") {
		t.Errorf("error %v", err)
	}
}

func TestToken(t *testing.T) {
	server(t)
	t.Setenv("VAULT_TOKEN", "")
	const ref = "vault:kv:secret/models/resnet50"
	if _, err := read(t, ref); err == nil || !strings.Contains(err.Error(), "VAULT_TOKEN is not set, and its file cannot be read") {
		t.Errorf("error %v", err)
	}
	name := filepath.Join(t.TempDir(), "sink")
	t.Setenv("VAULT_TOKEN_FILE", name)
	for text, good := range map[string]bool{token + "\n": true, " \n": false} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if key, err := read(t, ref); (err == nil) != good || (key == secret) != good {
			t.Errorf("token file %q: %v", text, err)
		}
	}
	t.Setenv("VAULT_TOKEN_FILE", "")
	if err := os.WriteFile(filepath.Join(os.Getenv("HOME"), ".vault-token"), []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	if key, err := read(t, ref); err != nil || key != secret {
		t.Errorf("token in the home directory: %v", err)
	}
}

func TestServerRefused(t *testing.T) {
	server(t)
	const ref = "vault:kv:secret/models/resnet50"
	good := os.Getenv("VAULT_ADDR")
	for _, tt := range []struct{ name, value, want string }{
		{"VAULT_SKIP_VERIFY", "1", "VAULT_SKIP_VERIFY is set: the server's certificate is always verified"},
		{"VAULT_ADDR", "", "VAULT_ADDR is not set"},
		{"VAULT_ADDR", "vault.example.com", "want https://HOST:PORT"},
		{"VAULT_ADDR", "http://192.0.2.1:8200", "plain http is for loopback addresses only"},
		{"VAULT_ADDR", "https://user:pass@127.0.0.1", "has a user name or password in it"},
		{"VAULT_CACERT", "", "certificate"},
		{"VAULT_CACERT", "/nowhere", "nowhere"},
	} {
		t.Run(tt.name+tt.value, func(t *testing.T) {
			t.Setenv(tt.name, tt.value)
			if _, err := read(t, ref); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "pass@") {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	t.Setenv("VAULT_ADDR", closed.URL)
	var unreachable *keysource.UnreachableError
	if _, err := read(t, ref); !errors.As(err, &unreachable) {
		t.Errorf("error %v", err)
	}
	t.Setenv("VAULT_ADDR", good)
	if _, err := read(t, ref); err != nil {
		t.Error(err)
	}
}

// TestServer: what a configuration names counts before the environment.
func TestServer(t *testing.T) {
	server(t)
	address, ca := os.Getenv("VAULT_ADDR"), os.Getenv("VAULT_CACERT")
	environment(t, "https://192.0.2.1:1")
	t.Setenv("VAULT_TOKEN", "another")
	t.Setenv("VAULT_CACERT", "")
	sink := filepath.Join(t.TempDir(), "sink")
	k := vaultkey.KV{Mount: "secret", Path: "models/resnet50", Field: "wrap_key", Server: vaultkey.Server{Address: address, CAFile: ca, TokenFile: sink}}
	var key [keysource.Size]byte
	if err := k.Read(t.Context(), &key); err == nil || !strings.Contains(err.Error(), "read Vault's token: open "+sink) {
		t.Errorf("no token: %v", err)
	}
	for text, want := range map[string]string{"": sink + " is empty", "old": "answered 403", token + "\n": ""} {
		if err := os.WriteFile(sink, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := k.Read(t.Context(), &key); want == "" && (err != nil || key != secret) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("token %q: %v, want %q", text, err, want)
		}
	}
	for address, want := range map[string]string{
		"http://192.0.2.1:8200": "the address is \"http://192.0.2.1:8200\": want https, plain http is for loopback addresses only",
		"https://user:pass@h":   "the address has a user name or password in it",
		"vault":                 "want https://HOST:PORT",
		"":                      "",
		"https://vault.example": "",
	} {
		if err := (vaultkey.Server{Address: address}).Check(); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", address, err, want)
		}
	}
	k.Server.CAFile = sink
	if err := k.Read(t.Context(), &key); err == nil || !strings.Contains(err.Error(), "read certification authorities "+sink) {
		t.Errorf("no authorities: %v", err)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for ref, want := range map[string]string{
		"vault:kv:secret/a/b#k":          "Vault, field k of secret/a/b",
		"vault:kv:secret/a":              "Vault, field wrap_key of secret/a",
		"vault:kv:team/kv//a/b":          "Vault, field wrap_key of team/kv/a/b",
		"vault:transit:transit/k@f/g":    "f/g, wrapped by Vault's key transit/k",
		"vault:transit:a/b//k@f@g":       "f@g, wrapped by Vault's key a/b/k",
		"vault:kv:secret":                "",
		"vault:kv:secret/a#":             "",
		"vault:kv:/a":                    "",
		"vault:transit:transit/k":        "",
		"vault:transit:transit/k/l@f":    "",
		"vault:cubbyhole:a/b":            "",
		"vault:":                         "",
		"consul:kv:secret/a":             "",
		"vault:transit:transit@wrap-key": "",
	} {
		source, err := vaultkey.Parse(ref)
		switch {
		case want == "" && (err == nil || !strings.Contains(err.Error(), ref) || !strings.Contains(err.Error(), "want vault:")):
			t.Errorf("%s: %v, %v", ref, source, err)
		case want != "" && (err != nil || source.String() != want):
			t.Errorf("%s: %v, %v; want %s", ref, source, err, want)
		}
	}
}

// post writes to a Vault server; the answer is decoded into out.
func post(t *testing.T, address, path string, in, out any) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address+"/v1/"+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		t.Fatalf("%s: %s %v\n%s", path, resp.Status, err, text)
	}
	if out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRealServer asks an OpenBao server, which speaks Vault's API.
func TestRealServer(t *testing.T) {
	address := testhost.StartOpenBao(t, token)
	environment(t, address)
	post(t, address, "sys/mounts/transit", map[string]any{"type": "transit"}, nil)
	post(t, address, "transit/keys/resnet50", map[string]any{}, nil)
	var key [keysource.Size]byte
	_, _ = rand.Read(key[:])
	var wrapped struct{ Data struct{ Ciphertext string } }
	post(t, address, "transit/encrypt/resnet50", map[string]any{"plaintext": base64.StdEncoding.EncodeToString(key[:])}, &wrapped)
	name := filepath.Join(t.TempDir(), "wrap-key.vault")
	if err := os.WriteFile(name, []byte(wrapped.Data.Ciphertext+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	post(t, address, "secret/data/models/resnet50", map[string]any{"data": map[string]any{"wrap_key": hex.EncodeToString(key[:])}}, nil)
	for _, ref := range []string{"vault:kv:secret/models/resnet50", "vault:transit:transit/resnet50@" + name} {
		if got, err := read(t, ref); err != nil || got != key {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if _, err := read(t, "vault:kv:secret/models/other"); err == nil || !strings.Contains(err.Error(), "there is no such secret") {
		t.Errorf("error %v", err)
	}
	sealing, err := vaultkey.ParseTransit("vault:transit:transit/resnet50@" + name)
	if err != nil {
		t.Fatal(err)
	}
	line, err := sealing.Seal(t.Context(), &key)
	if err != nil || line == wrapped.Data.Ciphertext {
		t.Fatalf("sealed %q, %v", line, err)
	}
	if err := os.WriteFile(name, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, "vault:transit:transit/resnet50@"+name); err != nil || got != key {
		t.Errorf("sealed here: %v", err)
	}
	sealing.Mount = "nowhere"
	if _, err := sealing.Seal(t.Context(), &key); err == nil || !strings.Contains(err.Error(), "seal wrap key with Vault's key nowhere/resnet50: ") || strings.Contains(err.Error(), base64.StdEncoding.EncodeToString(key[:])) {
		t.Errorf("error %v", err)
	}
	// A newer version of the wrapping key leaves the old ciphertext readable.
	post(t, address, "transit/keys/resnet50/rotate", map[string]any{}, nil)
	if got, err := read(t, "vault:transit:transit/resnet50@"+name); err != nil || got != key {
		t.Errorf("after rotation: %v", err)
	}
	t.Setenv("VAULT_TOKEN", "none")
	if _, err := read(t, "vault:kv:secret/models/resnet50"); err == nil || !strings.Contains(err.Error(), "answered 403") {
		t.Errorf("error %v", err)
	}
}
