package vaultkey

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
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
	// timeout of one reading, retries included.
	timeout = 30 * time.Second
)

// KV is a key in a field of a secret.
type KV struct {
	Mount, Path, Field string
	Server             Server
}

// Transit is a key in a file, wrapped by a key of the Transit engine.
type Transit struct {
	Mount, Key, File string
	Server           Server
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
		t, err := ParseTransit(ref)
		if err != nil {
			return nil, err // and no Transit in a Source that is not nil
		}
		return t, nil
	default:
		return nil, bad(Scheme + "kv:... or " + Scheme + "transit:...")
	}
}

// ParseTransit reads a reference that must be to a key that Transit has wrapped.
func ParseTransit(ref string) (Transit, error) {
	rest, found := strings.CutPrefix(ref, Scheme+"transit:")
	where, file, _ := strings.Cut(rest, "@")
	mount, key := cutMount(where)
	if !found || mount == "" || key == "" || file == "" || strings.Contains(key, "/") {
		return Transit{}, fmt.Errorf("reference %q: want vault:transit:MOUNT/KEY@FILE, such as vault:transit:transit/resnet50@wrap-key.vault", ref)
	}
	return Transit{Mount: mount, Key: key, File: file}, nil
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
	c, done, err := k.Server.client()
	if err != nil {
		return fail(err)
	}
	defer done()
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
	if err := decode(strings.TrimSpace(value), key); err != nil {
		return fail(err)
	}
	return nil
}

func decode(value string, key *[keysource.Size]byte) error {
	text := []byte(value)
	defer clear(text)
	return keysource.DecodeText(text, key)
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
	ciphertext, err := keysource.ReadCiphertext(t.File, isCiphertext, `what transit/encrypt answers, a line that starts with "vault:v1:"`)
	if err != nil {
		return fail(err)
	}
	c, done, err := t.Server.client()
	if err != nil {
		return fail(err)
	}
	defer done()
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
	if err := decode(plaintext, key); err != nil {
		return fail(err)
	}
	return nil
}

// isCiphertext tells what Transit answered from anything else.
func isCiphertext(line string) bool {
	return (strings.HasPrefix(line, "vault:v") || strings.HasPrefix(line, "bao:v")) && !strings.ContainsAny(line, "\n\r")
}

// Seal lets Transit wrap a key and returns the content of a file that is read as t, without a line end. t.File is not written.
func (t Transit) Seal(ctx context.Context, key *[keysource.Size]byte) (string, error) {
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("seal wrap key with Vault's key %s/%s: %w", t.Mount, t.Key, err)
	}
	c, done, err := t.Server.client()
	if err != nil {
		return fail(err)
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	secret, err := c.Logical().WriteWithContext(ctx, t.Mount+"/encrypt/"+url.PathEscape(t.Key), map[string]any{"plaintext": base64.StdEncoding.EncodeToString(key[:])})
	if err != nil {
		return fail(explain(c, err))
	}
	if secret == nil {
		return fail(errors.New("the answer is empty"))
	}
	line, ok := secret.Data["ciphertext"].(string)
	if !ok || !isCiphertext(line) {
		return fail(errors.New("the answer has no ciphertext"))
	}
	return line, nil
}
