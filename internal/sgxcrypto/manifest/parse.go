package manifest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

// Manifest is what matters here of a manifest.
type Manifest struct {
	// Debug is sgx.debug.
	Debug bool
	// RemoteAttestation is sgx.remote_attestation: "dcap", "epid" or "none"; "on" for the boolean of Gramine up to 1.3.
	RemoteAttestation string
	// FileCheckPolicy is sgx.file_check_policy, "strict" if it is not set.
	FileCheckPolicy string
	// ISVProdID and ISVSVN are sgx.isvprodid and sgx.isvsvn.
	ISVProdID, ISVSVN int64
	// Mounts in the order in which they are made, the root first.
	Mounts []Mount
	// Allowed and Trusted are sgx.allowed_files and sgx.trusted_files.
	Allowed []string
	Trusted []TrustedFile
	// Env is loader.env. UseHostEnv is loader.insecure__use_host_env and EnvFile loader.env_src_file.
	Env        map[string]Variable
	UseHostEnv bool
	EnvFile    string
	// Argv is loader.argv. UseHostArgv is loader.insecure__use_cmdline_argv and ArgvFile loader.argv_src_file.
	Argv        []string
	UseHostArgv bool
	ArgvFile    string
	// InsecureKeys are the names of the keys that are written in the manifest; the keys are not kept.
	InsecureKeys []string
	// LegacyProtectedFiles is sgx.protected_files of Gramine 1.0 and 1.1.
	LegacyProtectedFiles []string
	// LogLevel is loader.log_level.
	LogLevel string
}

// Mount is an entry of fs.mounts.
type Mount struct {
	Type string // "chroot", "encrypted", "tmpfs"
	Path string // in the enclave, absolute and normalised
	URI  string // as it is written
	Key  string // key_name of an encrypted mount, "default" if it is not set
}

// HostPath is the path on the host of what lies below the mount point, as Gramine 1.3 and later embed and compare it:
// relative to the folder where gramine-sgx is started unless the URI is absolute, never made absolute, no link resolved
// (libos/src/fs/libos_fs_encrypted.c).
func (m Mount) HostPath(below string) (string, error) {
	return protectedfile.NormalizePath(strings.TrimPrefix(m.URI, fileScheme) + "/" + below)
}

// TrustedFile is an entry of sgx.trusted_files.
type TrustedFile struct {
	URI    string
	SHA256 string // in hex; empty before the manifest is signed
}

// Variable is an entry of loader.env.
type Variable struct {
	Value       string
	Passthrough bool // the host sets it
}

const fileScheme = "file:"

// maxSize of a manifest in bytes. Those with thousands of trusted files have less than a megabyte.
const maxSize = 64 << 20

// ErrTemplate is the error of a Jinja template that was not rendered.
var ErrTemplate = errors.New("is a template: render it with gramine-manifest first, and give what that writes")

// ErrFormat is the error of what is no manifest.
var ErrFormat = errors.New("is no Gramine manifest")

// file is the layout of a manifest. Fields whose type has changed between versions are left to be read by hand.
type file struct {
	Loader struct {
		Env         map[string]any `toml:"env"`
		UseHostEnv  bool           `toml:"insecure__use_host_env"`
		EnvFile     string         `toml:"env_src_file"`
		Argv        []string       `toml:"argv"`
		UseHostArgv bool           `toml:"insecure__use_cmdline_argv"`
		ArgvFile    string         `toml:"argv_src_file"`
		LogLevel    string         `toml:"log_level"`
	} `toml:"loader"`
	FS struct {
		Root   mount          `toml:"root"`
		Mounts []mount        `toml:"mounts"`
		Mount  map[string]any `toml:"mount"`
		Keys   map[string]any `toml:"insecure__keys"`
	} `toml:"fs"`
	SGX struct {
		Debug             bool   `toml:"debug"`
		RemoteAttestation any    `toml:"remote_attestation"`
		FileCheckPolicy   string `toml:"file_check_policy"`
		ISVProdID         int64  `toml:"isvprodid"`
		ISVSVN            int64  `toml:"isvsvn"`
		Allowed           any    `toml:"allowed_files"`
		Trusted           any    `toml:"trusted_files"`
		Protected         any    `toml:"protected_files"`
		ProtectedKey      any    `toml:"insecure__protected_files_key"`
	} `toml:"sgx"`
}

type mount struct {
	Type string `toml:"type"`
	Path string `toml:"path"`
	URI  string `toml:"uri"`
	Key  string `toml:"key_name"`
}

// Parse reads a rendered manifest. Its errors wrap [ErrTemplate] or [ErrFormat].
func Parse(text []byte) (*Manifest, error) {
	if len(text) > maxSize {
		return nil, fmt.Errorf("read manifest: it %w: %d bytes are more than the limit of %d", ErrFormat, len(text), maxSize)
	}
	if line := templateLine(string(text)); line > 0 {
		return nil, fmt.Errorf("read manifest: line %d has a Jinja expression, so this %w", line, ErrTemplate)
	}
	var f file
	meta, err := toml.Decode(string(text), &f)
	if err != nil {
		var syntax toml.ParseError
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("read manifest: it %w: line %d: %s", ErrFormat, syntax.Position.Line, syntax.Message)
		}
		return nil, fmt.Errorf("read manifest: it %w: %s", ErrFormat, strings.TrimPrefix(err.Error(), "toml: "))
	}
	if !meta.IsDefined("loader") && !meta.IsDefined("libos") && !meta.IsDefined("fs") && !meta.IsDefined("sgx") {
		return nil, fmt.Errorf("read manifest: it %w: it has none of the tables loader, libos, fs and sgx", ErrFormat)
	}
	m, err := f.manifest()
	if err != nil {
		return nil, fmt.Errorf("read manifest: it %w: %w", ErrFormat, err)
	}
	return m, nil
}

// templateLine is the number of the first line with a Jinja expression outside a comment, 0 if there is none.
func templateLine(text string) int {
	for n, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		if strings.Contains(line, "{{") || strings.Contains(line, "{%") {
			return n + 1
		}
	}
	return 0
}

func (f *file) manifest() (*Manifest, error) {
	m := &Manifest{
		Debug: f.SGX.Debug, FileCheckPolicy: f.SGX.FileCheckPolicy, ISVProdID: f.SGX.ISVProdID, ISVSVN: f.SGX.ISVSVN,
		UseHostEnv: f.Loader.UseHostEnv, EnvFile: f.Loader.EnvFile,
		Argv: f.Loader.Argv, UseHostArgv: f.Loader.UseHostArgv, ArgvFile: f.Loader.ArgvFile, LogLevel: f.Loader.LogLevel,
		InsecureKeys: slices.Sorted(maps.Keys(f.FS.Keys)),
	}
	if m.FileCheckPolicy == "" {
		m.FileCheckPolicy = "strict"
	}
	if f.SGX.ProtectedKey != nil {
		m.InsecureKeys = append(m.InsecureKeys, "sgx.insecure__protected_files_key")
	}
	var err error
	if m.RemoteAttestation, err = attestation(f.SGX.RemoteAttestation); err != nil {
		return nil, err
	}
	if m.Mounts, err = f.mounts(); err != nil {
		return nil, err
	}
	if m.Env, err = environment(f.Loader.Env); err != nil {
		return nil, err
	}
	allowed, err := fileList("sgx.allowed_files", f.SGX.Allowed)
	if err != nil {
		return nil, err
	}
	for _, a := range allowed {
		m.Allowed = append(m.Allowed, a.URI)
	}
	if m.Trusted, err = fileList("sgx.trusted_files", f.SGX.Trusted); err != nil {
		return nil, err
	}
	protected, err := fileList("sgx.protected_files", f.SGX.Protected)
	if err != nil {
		return nil, err
	}
	for _, p := range protected {
		m.LegacyProtectedFiles = append(m.LegacyProtectedFiles, p.URI)
	}
	return m, nil
}

func attestation(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "none", nil
	case string:
		return v, nil
	case bool:
		if v {
			return "on", nil
		}
		return "none", nil
	default:
		return "", fmt.Errorf("sgx.remote_attestation is %v, want a string", v)
	}
}

func environment(entries map[string]any) (map[string]Variable, error) {
	env := make(map[string]Variable, len(entries))
	for name, v := range entries {
		switch v := v.(type) {
		case string:
			env[name] = Variable{Value: v}
		case map[string]any:
			value, isValue := v["value"].(string)
			passthrough, isFlag := v["passthrough"].(bool)
			switch {
			case len(v) == 1 && isValue:
				env[name] = Variable{Value: value}
			case len(v) == 1 && isFlag && passthrough:
				env[name] = Variable{Passthrough: true}
			default:
				return nil, fmt.Errorf("loader.env.%s needs either a value or passthrough = true", name)
			}
		default:
			return nil, fmt.Errorf("loader.env.%s is neither a string nor a table", name)
		}
	}
	return env, nil
}

// mounts lists what is mounted. Gramine up to 1.1 had a table of named mounts instead, without an order of their own.
func (f *file) mounts() ([]Mount, error) {
	root := f.FS.Root
	root.Path = "/"
	if root.URI == "" {
		root.URI = "file:."
	}
	all := []mount{root}
	for _, name := range slices.Sorted(maps.Keys(f.FS.Mount)) {
		if err := named(f.FS.Mount[name], "fs.mount."+name, &all); err != nil {
			return nil, err
		}
	}
	// A mount below another one is made after it.
	slices.SortStableFunc(all[1:], func(a, b mount) int { return strings.Count(a.Path, "/") - strings.Count(b.Path, "/") })
	all = append(all, f.FS.Mounts...)
	mounts := make([]Mount, 0, len(all))
	for n, r := range all {
		m := Mount{Type: r.Type, URI: r.URI, Key: r.Key}
		if m.Type == "" {
			m.Type = typeChroot
		}
		if !strings.HasPrefix(r.Path, "/") {
			return nil, fmt.Errorf("mount %d of fs.mounts has the path %q, want an absolute one", n, r.Path)
		}
		if m.Type != typeTmpfs && r.URI == "" {
			return nil, fmt.Errorf("the mount at %s has no uri", r.Path)
		}
		if m.Type == typeEncrypted && m.Key == "" {
			m.Key = defaultKey
		}
		var err error
		if m.Path, err = protectedfile.NormalizePath(r.Path); err != nil {
			return nil, fmt.Errorf("the mount at %q: %w", r.Path, err)
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

// named reads fs.mount.NAME, or what is below it: names could be nested.
func named(v any, name string, into *[]mount) error {
	table, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf("%s is no table", name)
	}
	if _, ok := table["path"].(string); !ok {
		for _, below := range slices.Sorted(maps.Keys(table)) {
			if err := named(table[below], name+"."+below, into); err != nil {
				return err
			}
		}
		return nil
	}
	text := func(key string) string { s, _ := table[key].(string); return s }
	*into = append(*into, mount{Type: text("type"), Path: text("path"), URI: text("uri"), Key: text("key_name")})
	return nil
}

// fileList reads a list of URIs: strings, tables with uri and sha256, or, up to Gramine 1.1, a table of named URIs.
func fileList(name string, v any) ([]TrustedFile, error) {
	var files []TrustedFile
	add := func(v any) error {
		switch v := v.(type) {
		case string:
			files = append(files, TrustedFile{URI: v})
			return nil
		case map[string]any:
			uri, ok := v["uri"].(string)
			if !ok {
				return fmt.Errorf("an entry of %s has no uri", name)
			}
			sum, _ := v["sha256"].(string)
			files = append(files, TrustedFile{URI: uri, SHA256: strings.ToLower(sum)})
			return nil
		default:
			return fmt.Errorf("an entry of %s is neither a URI nor a table", name)
		}
	}
	switch v := v.(type) {
	case nil:
	case []any:
		for _, e := range v {
			if err := add(e); err != nil {
				return nil, err
			}
		}
	case []map[string]any: // [[sgx.trusted_files]]
		for _, e := range v {
			if err := add(e); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if err := add(v[key]); err != nil {
				return nil, err
			}
		}
	default:
		return nil, fmt.Errorf("%s is no list", name)
	}
	return files, nil
}
