package vaultkey

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/ccctl/terraform-provider-cc/internal/keysource"
)

// Scheme starts a reference.
const Scheme = "vault:"

const (
	// DefaultField is the field of a secret that is read unless another is named.
	DefaultField = "wrap_key"
	// maxCiphertext is more than Transit makes of a wrap key, in bytes.
	maxCiphertext = 4096
	// timeout of one reading, retries included.
	timeout = 30 * time.Second
)

// KV is a key in a field of a secret.
type KV struct {
	Mount, Path, Field string
}

// Transit is a key in a file, wrapped by a key of the Transit engine.
type Transit struct {
	Mount, Key, File string
}

// Parse reads a reference; see the package's comment.
func Parse(ref string) (keysource.Source, error) {
	kind, rest, _ := strings.Cut(strings.TrimPrefix(ref, Scheme), ":")
	bad := func(want string) error { return fmt.Errorf("reference %q: want %s", ref, want) }
	switch {
	case !strings.HasPrefix(ref, Scheme):
		return nil, bad(Scheme + "kv:... or " + Scheme + "transit:...")
	case kind == "kv":
		where, field, named := strings.Cut(rest, "#")
		if !named {
			field = DefaultField
		}
		mount, path := cutMount(where)
		if mount == "" || path == "" || field == "" {
			return nil, bad("vault:kv:MOUNT/PATH#FIELD, such as vault:kv:secret/models/resnet50#wrap_key")
		}
		return KV{Mount: mount, Path: path, Field: field}, nil
	case kind == "transit":
		where, file, _ := strings.Cut(rest, "@")
		mount, key := cutMount(where)
		if mount == "" || key == "" || file == "" || strings.Contains(key, "/") {
			return nil, bad("vault:transit:MOUNT/KEY@FILE, such as vault:transit:transit/resnet50@wrap-key.vault")
		}
		return Transit{Mount: mount, Key: key, File: file}, nil
	default:
		return nil, bad(Scheme + "kv:... or " + Scheme + "transit:...")
	}
}

func cutMount(s string) (mount, rest string) {
	if mount, rest, found := strings.Cut(s, "//"); found {
		return strings.Trim(mount, "/"), strings.Trim(rest, "/")
	}
	mount, rest, _ = strings.Cut(s, "/")
	return mount, strings.Trim(rest, "/")
}

// Files implements keysource.Source: only asking the server tells.
func (KV) Files() []string { return nil }

// String implements keysource.Source.
func (k KV) String() string { return fmt.Sprintf("Vault, field %s of %s/%s", k.Field, k.Mount, k.Path) }

// Read implements keysource.Source.
func (k KV) Read(ctx context.Context, key *[keysource.Size]byte) error {
	clear(key[:])
	fail := func(err error) error { return fmt.Errorf("read wrap key from %v: %w", k, err) }
	c, err := newClient()
	if err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	secret, err := c.KVv2(k.Mount).Get(ctx, k.Path)
	switch {
	case errors.Is(err, api.ErrSecretNotFound):
		return fail(fmt.Errorf("there is no such secret on %s; the mount must be a KV engine of version 2", c.Address()))
	case err != nil:
		return fail(explain(c, err))
	}
	value, ok := secret.Data[k.Field].(string)
	if !ok {
		names := make([]string, 0, len(secret.Data))
		for name := range secret.Data {
			names = append(names, name)
		}
		slices.Sort(names)
		return fail(fmt.Errorf("the secret has no text in field %s; it has the fields %s", k.Field, strings.Join(names, ", ")))
	}
	if err := decode([]byte(strings.TrimSpace(value)), key); err != nil {
		return fail(err)
	}
	return nil
}

// decode takes base64 and hex, which no text of the right length can both be.
func decode(text []byte, key *[keysource.Size]byte) error {
	defer clear(text)
	var out [keysource.Size + 2]byte
	defer clear(out[:])
	switch len(text) {
	case hex.EncodedLen(keysource.Size):
		if _, err := hex.Decode(out[:], text); err != nil {
			return errors.New("it has 32 characters that are not all hex digits")
		}
	case base64.StdEncoding.EncodedLen(keysource.Size):
		if n, err := base64.StdEncoding.Strict().Decode(out[:], text); err != nil || n != keysource.Size {
			return errors.New("it has 24 characters that are not base64 of 16 bytes")
		}
	default:
		return fmt.Errorf("it has %d characters, want 24 of base64 or 32 hex digits", len(text))
	}
	if [keysource.Size]byte(out[:]) == [keysource.Size]byte{} {
		return errors.New("all its bytes are zero, which no random source gives")
	}
	copy(key[:], out[:])
	return nil
}

// Files implements keysource.Source.
func (t Transit) Files() []string { return []string{t.File} }

// String implements keysource.Source.
func (t Transit) String() string {
	return fmt.Sprintf("%s, wrapped by Vault's key %s/%s", t.File, t.Mount, t.Key)
}

// Read implements keysource.Source.
func (t Transit) Read(ctx context.Context, key *[keysource.Size]byte) error {
	clear(key[:])
	fail := func(err error) error { return fmt.Errorf("read wrap key from %v: %w", t, err) }
	ciphertext, err := readCiphertext(t.File)
	if err != nil {
		return fail(err)
	}
	c, err := newClient()
	if err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	secret, err := c.Logical().WriteWithContext(ctx, t.Mount+"/decrypt/"+url.PathEscape(t.Key), map[string]any{"ciphertext": ciphertext})
	if err != nil {
		return fail(explain(c, err))
	}
	if secret == nil {
		return fail(errors.New("the answer is empty"))
	}
	plaintext, ok := secret.Data["plaintext"].(string)
	if !ok {
		return fail(errors.New("the answer has no plaintext"))
	}
	// Transit takes and gives base64 of whatever was wrapped.
	if len(plaintext) != base64.StdEncoding.EncodedLen(keysource.Size) {
		return fail(errors.New("what was wrapped is not the 16 bytes of a wrap key"))
	}
	if err := decode([]byte(plaintext), key); err != nil {
		return fail(err)
	}
	return nil
}

func readCiphertext(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxCiphertext+1))
	if err != nil {
		return "", err
	}
	text = bytes.TrimSpace(text)
	// The rest is not repeated: a file that holds the key itself may have been named by mistake.
	if len(text) > maxCiphertext || !bytes.HasPrefix(text, []byte("vault:v")) && !bytes.HasPrefix(text, []byte("bao:v")) {
		return "", errors.New(`the file does not hold what transit/encrypt answers, a line that starts with "vault:v1:"`)
	}
	return string(text), nil
}

// newClient makes a client as the environment says.
func newClient() (*api.Client, error) {
	if skip, err := strconv.ParseBool(os.Getenv(api.EnvVaultSkipVerify)); err == nil && skip {
		return nil, fmt.Errorf("%s is set: the server's certificate is always verified here; name its authority in %s", api.EnvVaultSkipVerify, api.EnvVaultCACert)
	}
	conf := api.DefaultConfig()
	if conf.Error != nil {
		return nil, fmt.Errorf("read Vault's environment: %w", conf.Error)
	}
	address := firstEnv(api.EnvVaultAgentAddr, api.EnvVaultAddress, "BAO_ADDR")
	if address == "" {
		return nil, fmt.Errorf("%s is not set: which server keeps the key?", api.EnvVaultAddress)
	}
	if err := checkAddress(address); err != nil {
		return nil, err
	}
	conf.Address, conf.AgentAddress = address, ""
	c, err := api.NewClient(conf)
	if err != nil {
		return nil, fmt.Errorf("set up Vault's client: %w", err)
	}
	token, err := findToken()
	if err != nil {
		return nil, err
	}
	c.SetToken(token)
	c.SetLogger(nil)
	return c, nil
}

// checkAddress lets plain http lead to this machine alone: the token goes that way.
func checkAddress(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return fmt.Errorf("%s is %q, want https://HOST:PORT", api.EnvVaultAddress, address)
	}
	if u.User != nil {
		return fmt.Errorf("%s has a user name or password in it", api.EnvVaultAddress)
	}
	if u.Scheme == "https" {
		return nil
	}
	host := u.Hostname()
	addr, err := netip.ParseAddr(host)
	if u.Scheme == "http" && (host == "localhost" || err == nil && addr.IsLoopback()) {
		return nil
	}
	return fmt.Errorf("%s is %q: want https, plain http is for loopback addresses only", api.EnvVaultAddress, address)
}

func firstEnv(names ...string) string {
	for _, name := range names {
		if v := os.Getenv(name); v != "" {
			return v
		}
	}
	return ""
}

func findToken() (string, error) {
	if token := firstEnv(api.EnvVaultToken, "BAO_TOKEN"); token != "" {
		return token, nil
	}
	name := os.Getenv("VAULT_TOKEN_FILE")
	if name == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("%s is not set, and there is no home directory with a .vault-token", api.EnvVaultToken)
		}
		name = filepath.Join(home, ".vault-token")
	}
	token, err := os.ReadFile(name) //nolint:gosec // The operator names the file.
	if err != nil {
		return "", fmt.Errorf("%s is not set, and its file cannot be read: %w", api.EnvVaultToken, err)
	}
	token = bytes.TrimSpace(token)
	if len(token) == 0 {
		return "", fmt.Errorf("%s is not set, and %s is empty", api.EnvVaultToken, name)
	}
	return string(token), nil
}

// UnreachableError is the error of a server that did not answer.
type UnreachableError struct {
	Address string
	Err     error
}

func (e *UnreachableError) Error() string { return fmt.Sprintf("reach %s: %v", e.Address, e.Err) }
func (e *UnreachableError) Unwrap() error { return e.Err }

// explain says in a line what the server said in several.
func explain(c *api.Client, err error) error {
	var answer *api.ResponseError
	if !errors.As(err, &answer) {
		var network *net.OpError
		if errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded) {
			return &UnreachableError{Address: c.Address(), Err: err}
		}
		return fmt.Errorf("ask %s: %w", c.Address(), err)
	}
	said := strings.Join(answer.Errors, "; ")
	if answer.RawError || said == "" {
		said = http.StatusText(answer.StatusCode)
	}
	said = strings.Join(strings.Fields(said), " ")
	var hint string
	switch answer.StatusCode {
	case http.StatusForbidden:
		hint = "; the token is not valid, or its policy does not allow this path"
	case http.StatusNotFound:
		hint = "; is the mount right?"
	case http.StatusServiceUnavailable:
		hint = "; the server is sealed"
	}
	return fmt.Errorf("%s answered %d: %s%s", c.Address(), answer.StatusCode, said, hint)
}
