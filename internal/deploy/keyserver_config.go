package deploy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
)

// Check finds what is wrong with the configuration as far as that can be told
// without opening the files it names: the same check as the server's own. The
// error is a *[KeyServerConfigError].
func (k KeyServer) Check() error { return k.check(false) }

func (k KeyServer) check(container bool) error {
	if _, _, err := k.render(nil); err != nil {
		return err
	}
	if problems := k.checkCustody(container); len(problems) > 0 {
		return &keyserver.ConfigError{Problems: problems}
	}
	return nil
}

// Warnings says where the configuration is looser than it could be, in whole
// sentences. It says nothing about one that [KeyServer.Check] refuses.
func (k KeyServer) Warnings() []string {
	_, config, err := k.render(nil)
	if err != nil {
		return nil
	}
	return config.Warnings()
}

// preparedKeyServer is a key server whose configuration has been found good.
type preparedKeyServer struct {
	directory string // absolute, without symbolic links
	files     KeyServerFiles
	program   string
	config    *keyserver.Config
	text      []byte
	digest    string
}

// prepare does what can fail without touching a running server.
func (k KeyServer) prepare() (*preparedKeyServer, error) {
	program, err := FindCcctl(k.Program)
	if err != nil {
		return nil, err
	}
	if err := k.Check(); err != nil {
		return nil, err
	}
	inputs, err := keyServerInputs(k.absolute())
	if err != nil {
		return nil, fmt.Errorf("configure key server: %w", err)
	}
	text, config, err := k.render(inputs)
	if err != nil {
		return nil, err
	}
	// The server would say the same when it starts, but to its log, and after
	// a running one has been stopped for it.
	if err := keyserver.CheckFiles(config); err != nil {
		return nil, fmt.Errorf("configure key server: %w", err)
	}
	directory, err := makePrivateDirectory(k.Directory)
	if err != nil {
		return nil, err
	}
	return &preparedKeyServer{
		directory: directory, files: KeyServerFilesIn(directory), program: program,
		config: config, text: text, digest: config.Digest(),
	}, nil
}

// needsRestart tells that a running server cannot get from its old
// configuration to the new one by reloading: it keeps its listeners.
func (p *preparedKeyServer) needsRestart(old []byte) bool {
	former, err := keyserver.ParseConfig(old, p.directory)
	if err != nil {
		return true
	}
	return former.Listen != p.config.Listen || listenerOf(former.Admin) != listenerOf(p.config.Admin)
}

// configHead starts each configuration file.
const configHead = `# Written by the Terraform provider cc; the next apply undoes changes made here.
`

// inputMark starts the line of an input in the configuration file.
const inputMark = "#   "

// listedInputs reads back the inputs that a configuration file goes with.
func listedInputs(text []byte) map[string]string {
	inputs := map[string]string{}
	for line := range strings.Lines(string(text)) {
		entry, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), inputMark)
		if i := strings.LastIndexByte(entry, ' '); ok && i > 0 {
			inputs[entry[:i]] = entry[i+1:]
		}
	}
	return inputs
}

// render writes the configuration as YAML and reads it back, checked.
func (k KeyServer) render(inputs map[string]string) ([]byte, *keyserver.Config, error) {
	return renderKeyServer(k.absolute(), k.Directory, inputs)
}

// renderKeyServer is render for a configuration whose paths are those of the
// machine that it is for.
func renderKeyServer(config keyserver.Config, directory string, inputs map[string]string) ([]byte, *keyserver.Config, error) {
	body, err := yaml.Dump(&config, yaml.WithV4Defaults())
	if err != nil {
		return nil, nil, fmt.Errorf("write key server configuration: %w", err)
	}
	// Before anything of it gets into a comment.
	if _, err := keyserver.ParseConfig(body, directory); err != nil {
		return nil, nil, err
	}
	text := bytes.NewBufferString(configHead)
	if len(inputs) > 0 {
		text.WriteString("# It goes with these files; when one of them changes it is written anew and reloaded:\n")
		for _, field := range slices.Sorted(maps.Keys(inputs)) {
			fmt.Fprintf(text, "%s%s %s\n", inputMark, field, inputs[field])
		}
	}
	text.Write(body)
	checked, err := keyserver.ParseConfig(text.Bytes(), directory)
	return text.Bytes(), checked, err
}

// absolute resolves the paths of the configuration, which are relative to the
// working directory, before the server resolves them against its own.
func (k KeyServer) absolute() keyserver.Config {
	c := k.Config
	ownSecrets(&c)
	paths := ownFiles(&c)
	for i := range c.Secrets {
		paths = append(paths, c.Secrets[i].Paths()...)
	}
	for _, p := range paths {
		if *p == "" {
			continue
		}
		if abs, err := filepath.Abs(*p); err == nil {
			*p = abs
		}
	}
	return c
}

// ReadKeyServerConfig reads the configuration in a key server's directory as
// it is written there, without defaults, after checking it. The error wraps
// fs.ErrNotExist when there is none.
func ReadKeyServerConfig(directory string) (KeyServerConfig, error) {
	var config keyserver.Config
	path := KeyServerFilesIn(directory).Config
	if _, err := keyserver.LoadConfig(path); err != nil {
		return config, fmt.Errorf("read key server in %s: %w", directory, err)
	}
	text, err := readSmallFile(path)
	if err == nil {
		err = yaml.Load(text, &config, yaml.WithV4Defaults())
	}
	if err != nil {
		return config, fmt.Errorf("read key server in %s: %w", directory, err)
	}
	return config, nil
}

// keyServerInputs identifies the files that the server loads, by the field
// that names them. Paths in c are absolute.
func keyServerInputs(c keyserver.Config) (map[string]string, error) {
	inputs := map[string]string{}
	files := map[string]string{
		"tls.certificate": c.TLS.Certificate, "collateral.ca": c.Collateral.CA, "allow_trusted_root": c.AllowTrustedRoot,
	}
	if c.Admin != nil && c.Admin.TLS != nil {
		files["admin.tls.certificate"], files["admin.tls.client_ca"] = c.Admin.TLS.Certificate, c.Admin.TLS.ClientCA
	}
	for field, path := range files {
		if path == "" {
			continue
		}
		sum, err := certificatesDigest(path)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", field, err)
		}
		inputs[field] = sum
	}
	if c.Collateral.Bundle != "" {
		data, err := readSmallFile(c.Collateral.Bundle)
		if err != nil {
			return nil, fmt.Errorf("read collateral.bundle: %w", err)
		}
		inputs["collateral.bundle"] = hexDigest(data)
	}
	for i := range c.Secrets {
		sum, err := secretInput(&c.Secrets[i])
		if err != nil {
			return nil, fmt.Errorf("read secret %q: %w", c.Secrets[i].Name, err)
		}
		if sum != "" {
			inputs["secrets."+c.Secrets[i].Name] = sum
		}
	}
	return inputs, nil
}

// maxInput bounds the files that are read to be identified, in bytes.
const maxInput = 16 << 20

// certificatesDigest is the SHA-256 of the certificates in a PEM file. It
// leaves out what else may be in there, such as a private key, of which not
// even a digest should be kept.
func certificatesDigest(path string) (string, error) {
	data, err := readSmallFile(path)
	if err != nil {
		return "", err
	}
	var certificates []byte
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			certificates = append(certificates, block.Bytes...)
		}
	}
	if len(certificates) == 0 {
		return "", fmt.Errorf("%s: no PEM certificate in it", path)
	}
	return hexDigest(certificates), nil
}

func readSmallFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file but %s", path, info.Mode().Type())
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxInput+1))
	if err == nil && len(data) > maxInput {
		err = fmt.Errorf("%s: larger than %d bytes", path, maxInput)
	}
	return data, err
}

func hexDigest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// makePrivateDirectory makes the directory if it is missing and returns its
// real path.
func makePrivateDirectory(directory string) (string, error) {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return "", fmt.Errorf("make key server directory: %w", err)
	}
	found, err := realPath(directory)
	if err != nil {
		return "", fmt.Errorf("make key server directory: %w", err)
	}
	info, err := os.Stat(found)
	if err != nil {
		return "", fmt.Errorf("make key server directory: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0 {
		return "", &Error{
			Summary: "Key server directory writable by others",
			Err:     fmt.Errorf("use key server directory %s: its mode is %04o", directory, info.Mode().Perm()),
			Remedy:  "Whoever can write the configuration can release keys. Take the permission away (chmod go-w) or choose another directory.",
		}
	}
	return found, nil
}

func realPath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(abs)
}

// FindCcctl returns the absolute path of the program ccctl: the given one or,
// if that is empty, the one beside this program, or else the one on PATH.
func FindCcctl(given string) (string, error) {
	if given != "" {
		path, err := filepath.Abs(given)
		if err == nil {
			path, err = exec.LookPath(path) // also checks that it may be executed
		}
		if err != nil {
			return "", &Error{Summary: "Program ccctl not found", Err: fmt.Errorf("find ccctl at %s: %w", given, lookPathCause(err)),
				Remedy: "ccctl_path must name an executable file. Leave it out to look beside the provider and on PATH."}
		}
		return path, nil
	}
	name := "ccctl"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	beside := "the directory of this program"
	if self, err := os.Executable(); err == nil {
		beside = filepath.Join(filepath.Dir(self), name)
		if path, err := exec.LookPath(beside); err == nil {
			return path, nil
		}
	}
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	return "", &Error{Summary: "Program ccctl not found", Err: fmt.Errorf("find ccctl: neither %s nor on PATH", beside),
		Remedy: "The key server is the program ccctl. Install it in one of these places, or name it with ccctl_path."}
}

func lookPathCause(err error) error {
	var e *exec.Error
	if errors.As(err, &e) {
		err = e.Err
	}
	return pathCause(err)
}

// oneLine makes an error's text fit into a phrase.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
