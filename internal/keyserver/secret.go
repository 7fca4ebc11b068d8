package keyserver

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"runtime"
	"sync"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/custody"
	"github.com/ccctl/terraform-provider-cc/internal/keysource"
)

// Encodings of a wrap key on the wire.
const (
	EncodingRaw = "raw" // 16 bytes, for Gramine 1.3 and later
	EncodingHex = "hex" // 32 hex digits and a NUL, for Gramine 1.0 to 1.2
)

// wrapKeySize is the size of a wrap key in bytes: an AES-128 key.
const wrapKeySize = keysource.Size

const redacted = "[redacted]"

// Secret is a wrap key in the form in which it is sent. It shows itself by name alone, however it is printed.
type Secret struct {
	name        string
	encoding    string
	fingerprint string
	wire        []byte
}

// Name is the secret's name in the configuration.
func (s *Secret) Name() string { return s.name }

// Fingerprint tells keys apart and is safe to show; empty when the server was given no way to compute it.
func (s *Secret) Fingerprint() string { return s.fingerprint }

// String implements fmt.Stringer without the key.
func (s *Secret) String() string { return s.name + " " + redacted }

// GoString implements fmt.GoStringer without the key.
func (s *Secret) GoString() string { return "keyserver.Secret{" + s.name + " " + redacted + "}" }

// Format implements fmt.Formatter without the key: verbs such as %x ignore String.
func (s *Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalJSON implements json.Marshaler without the key.
func (s *Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// LogValue implements slog.LogValuer without the key.
func (s *Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// destroy overwrites the key.
func (s *Secret) destroy() {
	clear(s.wire)
	runtime.KeepAlive(s)
}

// copy is a second one of the same key.
func (s *Secret) copy() *Secret {
	c := *s
	c.wire = append(make([]byte, 0, len(s.wire)), s.wire...)
	return &c
}

// sources names the fields that say where the key is.
func (s *SecretConfig) sources() []string {
	var given []string
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"file", s.File != ""}, {"credential", s.Credential != ""}, {"environment", s.Environment != ""}, {"command", len(s.Command) > 0},
		{"vault_kv", s.VaultKV != nil}, {"vault_transit", s.VaultTransit != nil}, {"alibaba_kms", s.AlibabaKMS != nil},
	} {
		if f.set {
			given = append(given, f.name)
		}
	}
	return given
}

// services are the fields that name a service.
func (s *SecretConfig) services() map[string]custody.Missing {
	all := map[string]custody.Missing{}
	if s.VaultKV != nil {
		all["vault_kv"] = s.VaultKV
	}
	if s.VaultTransit != nil {
		all["vault_transit"] = s.VaultTransit
	}
	if s.AlibabaKMS != nil {
		all["alibaba_kms"] = s.AlibabaKMS
	}
	return all
}

// Paths point to the fields that hold paths of files, given or not.
func (s *SecretConfig) Paths() []*string {
	paths := []*string{&s.File}
	if s.VaultTransit != nil {
		paths = append(paths, &s.VaultTransit.CiphertextFile)
	}
	if s.AlibabaKMS != nil {
		paths = append(paths, &s.AlibabaKMS.CiphertextFile)
	}
	return paths
}

// Clone is a secret that shares nothing with s that [SecretConfig.Paths] points to.
func (s *SecretConfig) Clone() SecretConfig {
	c := *s
	if s.VaultTransit != nil {
		transit := *s.VaultTransit
		c.VaultTransit = &transit
	}
	if s.AlibabaKMS != nil {
		kms := *s.AlibabaKMS
		c.AlibabaKMS = &kms
	}
	return c
}

// source is where a secret of the configuration is. The configuration has been checked.
func (c *Config) source(s *SecretConfig, environ *keysource.Environ) keysource.Source {
	form := keysource.Form(s.Form)
	switch {
	case s.Credential != "":
		return keysource.Credential{Name: s.Credential, Form: form}
	case s.Environment != "":
		return environ.Variable(s.Environment, form)
	case len(s.Command) > 0:
		return keysource.Command{
			Argv: s.Command, Form: form, Timeout: time.Duration(s.CommandTimeout), PassEnvironment: s.PassEnvironment,
		}
	case s.VaultKV != nil:
		return s.VaultKV.Source(c.Vault)
	case s.VaultTransit != nil:
		return s.VaultTransit.Source(c.Vault)
	case s.AlibabaKMS != nil:
		return s.AlibabaKMS.Source(c.AlibabaCloud)
	default:
		return keysource.File{Path: s.File, Form: form, AllowReadableByOthers: s.AllowReadableByOthers}
	}
}

// loadSecret reads a wrap key. The error text never repeats what is there.
func loadSecret(ctx context.Context, conf *SecretConfig, source keysource.Source, fingerprint func(key [wrapKeySize]byte) string) (*Secret, error) {
	var key [wrapKeySize]byte
	defer clear(key[:])
	if err := source.Read(ctx, &key); err != nil {
		return nil, err
	}
	s := &Secret{name: conf.Name, encoding: conf.Encoding}
	if fingerprint != nil {
		s.fingerprint = fingerprint(key)
	}
	switch conf.Encoding {
	case EncodingRaw:
		s.wire = append(make([]byte, 0, wrapKeySize), key[:]...)
	case EncodingHex:
		s.wire = make([]byte, hex.EncodedLen(wrapKeySize)+1) // the last byte stays NUL
		hex.Encode(s.wire, key[:])
	default:
		return nil, fmt.Errorf("load secret %s: encoding is %q", conf.Name, conf.Encoding)
	}
	return s, nil
}

// secretLoader reads the secrets of a configuration.
type secretLoader struct {
	environ     *keysource.Environ
	fingerprint func(key [wrapKeySize]byte) string
	now         func() time.Time
	// former, if any, is the configuration in force: where a service does not answer, its key of the same source is good.
	former *generation
	// fetched is when that key was last read from its source.
	fetched func(name string) time.Time
	// filesOnly neither asks a service nor runs a program, and leaves out what they keep.
	filesOnly bool
}

// atOnce bounds how many secrets are read at the same time.
const atOnce = 8

// load reads all secrets into m and tells of each that cannot be read, by its index.
func (l *secretLoader) load(ctx context.Context, c *Config, m *material) map[int]error {
	secrets, failures := make([]*Secret, len(c.Secrets)), make([]error, len(c.Secrets))
	slots := make(chan struct{}, atOnce)
	var reading sync.WaitGroup
	for i := range c.Secrets {
		conf := &c.Secrets[i]
		if l.filesOnly && (len(conf.services()) > 0 || len(conf.Command) > 0) {
			continue
		}
		slots <- struct{}{}
		reading.Go(func() {
			secrets[i], failures[i] = loadSecret(ctx, conf, c.source(conf, l.environ), l.fingerprint)
			<-slots
		})
	}
	reading.Wait()
	failed := map[int]error{}
	for i, s := range secrets {
		conf := &c.Secrets[i]
		care := &upkeep{every: conf.refreshEvery(), fetched: l.now(), next: time.Now().Add(spread(conf.refreshEvery()))}
		if err := failures[i]; err != nil {
			if s = l.kept(c, conf, err); s == nil {
				failed[i] = err
				continue
			}
			care.failed, care.next = err, time.Now().Add(retryAfter(care.every))
			care.fetched = l.fetched(conf.Name)
		}
		if s == nil {
			continue // left out
		}
		m.secrets[s.name] = s
		if care.every > 0 {
			m.upkeep[s.name] = care
		}
	}
	return failed
}

// kept is the key in force of the same source, if that did not answer now.
func (l *secretLoader) kept(c *Config, conf *SecretConfig, err error) *Secret {
	var unreachable *keysource.UnreachableError
	if l.former == nil || !errors.As(err, &unreachable) {
		return nil
	}
	old := l.former.cfg
	for i := range old.Secrets {
		if old.Secrets[i].Name == conf.Name && reflect.DeepEqual(old.Secrets[i], *conf) &&
			reflect.DeepEqual(old.Vault, c.Vault) && reflect.DeepEqual(old.AlibabaCloud, c.AlibabaCloud) {
			return l.former.secrets[conf.Name].copy()
		}
	}
	return nil
}
