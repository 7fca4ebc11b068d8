package kmskey

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/ecs"
	"github.com/ccctl/terraform-provider-cc/internal/keysource"
)

// Scheme starts a reference.
const Scheme = "kms:"

// timeout of one reading, retries included.
const timeout = 30 * time.Second

// Key is a wrap key in a file, encrypted by a key of KMS.
type Key struct {
	File string
	// Context is the encryption context; nil for none.
	Context map[string]string
	Account Account
	// Client, if any, is asked instead of the account's, and not closed.
	Client *ecs.Client
}

// Parse reads a reference; see the package's comment.
func Parse(ref string) (Key, error) {
	rest, found := strings.CutPrefix(ref, Scheme)
	bad := func(what string) (Key, error) {
		return Key{}, fmt.Errorf("reference %q: %s; want kms:FILE, or kms:NAME=VALUE,NAME=VALUE@FILE with an encryption context", ref, what)
	}
	if !found {
		return bad("it does not start with kms:")
	}
	pairs, file, named := strings.Cut(rest, "@")
	if !named {
		pairs, file = "", rest
	}
	if file == "" {
		return bad("it names no file")
	}
	k := Key{File: file}
	if pairs == "" {
		return k, nil
	}
	encryptionContext, err := ParseContext(strings.Split(pairs, ","))
	if err != nil {
		return bad(err.Error())
	}
	k.Context = encryptionContext
	return k, nil
}

// ParseContext reads an encryption context of pairs NAME=VALUE.
func ParseContext(pairs []string) (map[string]string, error) {
	all := map[string]string{}
	for _, pair := range pairs {
		name, value, found := strings.Cut(pair, "=")
		if !found || name == "" || value == "" {
			return nil, fmt.Errorf("%q is not NAME=VALUE", pair)
		}
		if _, twice := all[name]; twice {
			return nil, fmt.Errorf("%s is named twice", name)
		}
		all[name] = value
	}
	if len(all) == 0 {
		return nil, nil
	}
	return all, nil
}

// Reference is the reference that [Parse] reads as this key; the account is not part of it.
func (k Key) Reference() string {
	pairs := make([]string, 0, len(k.Context))
	for _, name := range slices.Sorted(maps.Keys(k.Context)) {
		pairs = append(pairs, name+"="+k.Context[name])
	}
	if len(pairs) == 0 && !strings.Contains(k.File, "@") {
		return Scheme + k.File
	}
	return Scheme + strings.Join(pairs, ",") + "@" + k.File
}

// Files implements keysource.Source.
func (k Key) Files() []string { return []string{k.File} }

// String implements keysource.Source.
func (k Key) String() string { return k.File + ", encrypted by Alibaba Cloud KMS" }

// Read implements keysource.Source.
func (k Key) Read(ctx context.Context, key *[keysource.Size]byte) error {
	clear(key[:])
	fail := func(err error) error { return fmt.Errorf("read wrap key from %v: %w", k, err) }
	blob, err := keysource.ReadCiphertext(k.File, isBlob, "the CiphertextBlob that the action Encrypt answers, one line of base64")
	if err != nil {
		return fail(err)
	}
	c, done, err := k.client()
	if err != nil {
		return fail(err)
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	text, err := c.Decrypt(ctx, blob, k.Context)
	defer clear(text)
	if err != nil {
		return fail(explain(c, err))
	}
	if err := keysource.DecodeText(text, key); err != nil {
		return fail(fmt.Errorf("what was encrypted is no wrap key: %w", err))
	}
	return nil
}

// Seal encrypts a wrap key with a key of KMS, named by its id, its ARN or its alias ("alias/NAME"), and returns the content of
// a file that is read as k, without a line end. k.File is not written.
func (k Key) Seal(ctx context.Context, keyID string, key *[keysource.Size]byte) (*ecs.Sealed, error) {
	fail := func(err error) (*ecs.Sealed, error) { return nil, fmt.Errorf("seal wrap key with %s: %w", keyID, err) }
	c, done, err := k.client()
	if err != nil {
		return fail(err)
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	sealed, err := c.Encrypt(ctx, keyID, key[:], k.Context)
	if err != nil {
		return fail(explain(c, err))
	}
	if !isBlob(sealed.CiphertextBlob) {
		return fail(errors.New("the service answered with something that is not base64"))
	}
	return sealed, nil
}

func (k Key) client() (c *ecs.Client, done func(), err error) {
	if k.Client != nil {
		return k.Client, func() {}, nil
	}
	c, err = k.Account.Client()
	if err != nil {
		return nil, nil, err
	}
	return c, c.Close, nil
}

// isBlob tells a CiphertextBlob from anything else, above all from a wrap key in base64, which is shorter.
func isBlob(line string) bool {
	const least = 48 // an initialisation vector, 16 bytes and a tag alone, in bytes
	raw, err := base64.StdEncoding.DecodeString(line)
	return err == nil && len(raw) >= least && !strings.ContainsAny(line, "\r\n")
}

// explain adds to an error of the service what to do, and tells when the same may go well later.
func explain(c *ecs.Client, err error) error {
	if remedy := ecs.RemedyOf(err); remedy != "" {
		err = fmt.Errorf("%w. %s", err, strings.TrimRight(remedy, ". "))
	}
	if class := ecs.ClassOf(err); class == ecs.ClassTransient || class == ecs.ClassThrottled || errors.Is(err, context.DeadlineExceeded) {
		return &keysource.UnreachableError{Place: "KMS in " + c.Region(), Err: err}
	}
	return err
}
