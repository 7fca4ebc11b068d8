package keysource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// File is a key in a file of its own.
type File struct {
	Path string
	Form Form // empty: Raw
	// AllowReadableByOthers accepts a file that every user of the machine can read.
	AllowReadableByOthers bool
}

// Files implements Source.
func (f File) Files() []string { return []string{f.Path} }

// String implements Source.
func (f File) String() string { return "file " + f.Path }

// Read implements Source.
func (f File) Read(_ context.Context, key *[Size]byte) error {
	return readFile(f.Path, f.Form, key, func(info fs.FileInfo) error { return checkMode(info, f.AllowReadableByOthers) })
}

// CredentialsDirectory is the variable in which systemd names the directory of a service's credentials
// (systemd.exec(5), LoadCredential=).
const CredentialsDirectory = "CREDENTIALS_DIRECTORY"

// Credential is a key that systemd hands to a service.
type Credential struct {
	Name string
	Form Form // empty: Raw
}

// CheckCredentialName tells whether systemd would take the name.
func CheckCredentialName(name string) error {
	if name == "" || len(name) > 255 || name == "." || name == ".." || strings.ContainsAny(name, "/\\\x00") {
		return fmt.Errorf("%q is not a name of a credential", name)
	}
	return nil
}

func (c Credential) path() (string, error) {
	if err := CheckCredentialName(c.Name); err != nil {
		return "", err
	}
	dir := os.Getenv(CredentialsDirectory)
	switch {
	case dir == "":
		return "", fmt.Errorf("%s is not set: start the server by a systemd unit with LoadCredential=%s:FILE", CredentialsDirectory, c.Name)
	case !filepath.IsAbs(dir):
		return "", fmt.Errorf("%s is %q, want an absolute path", CredentialsDirectory, dir)
	}
	return filepath.Join(dir, c.Name), nil
}

// Files implements Source.
func (c Credential) Files() []string {
	path, err := c.path()
	if err != nil {
		return nil
	}
	return []string{path}
}

// String implements Source.
func (c Credential) String() string { return "credential " + c.Name }

// Read implements Source. Directory and file must belong to root or to this process's user, and to nobody else.
func (c Credential) Read(_ context.Context, key *[Size]byte) error {
	clear(key[:])
	path, err := c.path()
	if err != nil {
		return fmt.Errorf("find credential %s: %w", c.Name, err)
	}
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("find credential %s: %w", c.Name, err)
	}
	if perm := dir.Mode().Perm(); runtime.GOOS != "windows" && perm&0o022 != 0 {
		return fmt.Errorf("find credential %s: the mode of %s is %#o, so others can put files there", c.Name, filepath.Dir(path), perm)
	}
	if err := checkOwner(dir); err != nil {
		return fmt.Errorf("find credential %s: %s %w", c.Name, filepath.Dir(path), err)
	}
	return readFile(path, c.Form, key, func(info fs.FileInfo) error {
		if err := checkOwner(info); err != nil {
			return fmt.Errorf("it %w", err)
		}
		return checkMode(info, false)
	})
}

// readFile reads a key from a regular file that check finds good.
func readFile(path string, form Form, key *[Size]byte, check func(fs.FileInfo) error) error {
	clear(key[:])
	if form == "" {
		form = Raw
	}
	// Before it is opened: opening a pipe would wait for a writer.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("read wrap key %s: it is not a regular file (%s)", path, info.Mode().Type())
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open wrap key: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read wrap key: %w", err)
	}
	if err := check(info); err != nil {
		return fmt.Errorf("read wrap key %s: %w", path, err)
	}
	var buf [maxText]byte
	defer clear(buf[:])
	n, err := io.ReadFull(f, buf[:])
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read wrap key %s: %w", path, err)
	}
	if err := form.decode(buf[:n], key); err != nil {
		return fmt.Errorf("read wrap key %s: %w", path, err)
	}
	return nil
}

// maxCiphertext is more than any service makes of a wrap key, in bytes.
const maxCiphertext = 4096

// ReadCiphertext reads a file that holds a wrap key as a service encrypted it: one line of text, for which looksRight is
// asked. The error says then that the file does not hold what is wanted, and repeats nothing of it: a file that holds the key
// itself may have been named by mistake.
func ReadCiphertext(path string, looksRight func(line string) bool, want string) (string, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return "", fmt.Errorf("read %s: it is not a regular file (%s)", path, info.Mode().Type())
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxCiphertext+1))
	defer clear(text)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	line := strings.TrimSpace(string(text))
	if len(text) > maxCiphertext || !looksRight(line) {
		return "", fmt.Errorf("%s does not hold %s", path, want)
	}
	return line, nil
}

// checkMode refuses a key that every user of the machine can read. Its group may read it: that is how an orchestrator
// hands a file to a server which is not root.
func checkMode(info fs.FileInfo, allow bool) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("it is not a regular file (%s)", info.Mode().Type())
	}
	if perm := info.Mode().Perm(); runtime.GOOS != "windows" && perm&0o007 != 0 && !allow {
		return fmt.Errorf("its mode is %#o, so every user of this machine can read or replace it; run chmod 0600", perm)
	}
	return nil
}
