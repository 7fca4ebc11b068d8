package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

// encrypted looks at the encrypted mounts and at the files that will lie there.
func (c *checker) encrypted() {
	c.check = "encrypted mount"
	var mounts []Mount
	for _, m := range c.m.Mounts {
		if m.Type == typeEncrypted {
			mounts = append(mounts, m)
		}
	}
	for _, uri := range c.m.LegacyProtectedFiles { // Gramine 1.0 and 1.1
		mounts = append(mounts, Mount{Type: typeEncrypted, Path: "sgx.protected_files", URI: uri, Key: defaultKey})
	}
	if len(mounts) == 0 {
		c.add(Failed, "fs.mounts", `add { type = "encrypted", path = ..., uri = "file:...", key_name = ... } for the model and ssl.cfg`, "no mount is encrypted: the enclave would read plaintext from the host")
		return
	}
	for n, m := range mounts {
		host, err := m.HostPath("")
		if err != nil {
			c.add(Failed, m.Path, "correct the mount's uri", "%v", err)
			continue
		}
		for _, other := range mounts[n+1:] {
			if second, err := other.HostPath(""); err == nil && (within(host, second) || within(second, host)) {
				c.add(Failed, m.Path, "let each file of the host lie in one encrypted mount", "it overlaps the mount at %s on the host, which Gramine does not support", other.Path)
			}
		}
		if uri, ok := c.allowedBy(host); ok {
			c.add(Failed, host, fmt.Sprintf("remove %q from sgx.allowed_files", uri), "it is encrypted and an allowed file: through another path the host can give any content for it")
		}
		if c.key(m) {
			c.files(m, host)
		}
	}
	c.strays(mounts)
}

// key looks at where the key of a mount comes from, and tells whether it is the one that the server gives.
func (c *checker) key(m Mount) bool {
	if strings.HasPrefix(m.Key, "_") {
		c.add(Skipped, m.Path, "", "its key %s is the processor's own: no file made elsewhere can lie there", m.Key)
		return false
	}
	if len(m.Key) > maxKeyName {
		c.add(Failed, m.Path, "choose a shorter key_name", "the name of its key has %d bytes, secret provisioning takes %d", len(m.Key), maxKeyName)
	}
	name, set := c.keyName()
	switch {
	case !set:
		c.add(Failed, m.Path, fmt.Sprintf("set loader.env.%s = %q", envKey, m.Key), "nothing installs its key %q", m.Key)
	case name != m.Key:
		c.add(Failed, m.Path, fmt.Sprintf("let key_name and %s be the same", envKey), "its key is %q, and secret provisioning installs %q", m.Key, name)
	}
	return true
}

// files looks at every file of a mount.
func (c *checker) files(m Mount, host string) {
	if c.opts.Artifacts == nil {
		c.add(Skipped, m.Path, "give --artifacts", "the files of %s were not given", host)
		return
	}
	root, err := artifact(host)
	if err != nil {
		c.add(Skipped, m.Path, "give the folder above as --artifacts", "%s: %v", host, err)
		return
	}
	count := 0
	err = fs.WalkDir(c.opts.Artifacts, root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		count++
		below := strings.TrimPrefix(strings.TrimPrefix(name, root), "/")
		p, err := m.HostPath(below)
		if err != nil {
			return err
		}
		c.file(name, p)
		return nil
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.add(Failed, host, "encrypt the file with --path "+host+" and put it there", "there is no such file, and the mount at %s needs it", m.Path)
	case err != nil:
		c.add(Failed, host, "", "read: %v", err)
	case count == 0:
		c.add(Warning, host, "", "the folder of the mount at %s is empty", m.Path)
	}
}

// recoverySuffix is that of the files that Gramine 1.9 keeps beside protected ones while it writes.
const recoverySuffix = ".gramine.recovery"

// file looks at one file of an encrypted mount. Gramine opens it if the path it was made for is p.
func (c *checker) file(name, p string) {
	if strings.HasSuffix(name, recoverySuffix) {
		c.add(Warning, p, "start the enclave once with enable_recovery, or put a whole file there", "a write was interrupted, and this is what it left")
		return
	}
	src, size, closeFile, err := c.readerAt(name)
	if err != nil {
		c.add(Failed, p, "", "read: %v", err)
		return
	}
	defer closeFile()
	encrypt := "encrypt it with --path " + p
	header, err := protectedfile.Inspect(src, size)
	if err != nil {
		c.add(Failed, p, encrypt, "it is no protected file: %v", err)
		return
	}
	if c.opts.Key == nil {
		c.add(Skipped, p, "give -w KEYFILE", "a protected file of format %d; the path it was made for is open without the wrap key", header.Format)
		return
	}
	r, err := protectedfile.NewReader(src, size, *c.opts.Key, protectedfile.ReaderOptions{Path: p, Jobs: 1})
	if err != nil {
		c.findings = append(c.findings, Finding{Check: c.check, Status: Failed, Subject: p, Found: err.Error(), Fix: encrypt + " and the wrap key that the server gives", Err: err})
		return
	}
	c.add(OK, p, "", "a protected file of format %d for this path and wrap key, %d bytes of plaintext", header.Format, r.Size())
	for _, w := range r.Warnings() {
		c.add(Warning, p, encrypt, "%v", w)
	}
}

// readerAt opens an artifact for random access.
func (c *checker) readerAt(name string) (src io.ReaderAt, size int64, closeFile func(), err error) {
	f, err := c.opts.Artifacts.Open(name)
	if err != nil {
		return nil, 0, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("it is no regular file but %v", info.Mode().Type())
	}
	if err != nil {
		_ = f.Close()
		return nil, 0, nil, err
	}
	if at, ok := f.(io.ReaderAt); ok {
		return at, info.Size(), func() { _ = f.Close() }, nil
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, 0, nil, err
	}
	return bytes.NewReader(data), int64(len(data)), func() {}, nil
}

// strays looks for protected files that no mount leads to.
func (c *checker) strays(mounts []Mount) {
	if c.opts.Artifacts == nil {
		return
	}
	_ = fs.WalkDir(c.opts.Artifacts, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // what cannot be read is no finding here
		}
		for _, m := range mounts {
			if host, err := m.HostPath(""); err == nil {
				if root, err := artifact(host); err == nil && (root == "." || within(name, root)) {
					return nil
				}
			}
		}
		src, size, closeFile, err := c.readerAt(name)
		if err != nil {
			return nil
		}
		defer closeFile()
		if _, err := protectedfile.Inspect(src, size); err == nil {
			c.add(Warning, name, "mount it with type = \"encrypted\", or leave it out", "it is a protected file, and no encrypted mount leads to it")
		}
		return nil
	})
}

// serving looks at the files that TensorFlow Serving is told to read (--ssl_config_file, --model_base_path).
func (c *checker) serving() {
	c.check = "arguments"
	if c.m.UseHostArgv {
		c.add(Warning, "loader.insecure__use_cmdline_argv", "write the arguments in loader.argv", "the host chooses the arguments: it can start the service without TLS or with another model")
	}
	if c.m.ArgvFile != "" {
		c.add(Skipped, "loader.argv_src_file", "", "%s is not looked into", c.m.ArgvFile)
	}
	if p := argument(c.m.Argv, "ssl_config_file"); p != "" {
		c.secret(p, "ssl.cfg holds the server's private key")
	}
	if p := argument(c.m.Argv, "model_base_path"); p != "" {
		// The base may lie above the mounts of single files.
		mount, host, err := c.resolve(p)
		inside := slices.ContainsFunc(c.m.Mounts, func(m Mount) bool { return m.Type == typeEncrypted && within(m.Path, path.Clean(p)) })
		if err == nil && mount.Type != typeEncrypted && !inside {
			c.add(Warning, p, "mount it with type = \"encrypted\"", "the model at %s is not encrypted", host)
		}
	}
	for _, uri := range c.m.Allowed {
		if strings.HasSuffix(uri, "ssl.cfg") {
			c.add(Failed, uri, "remove it from sgx.allowed_files, encrypt ssl.cfg and mount it with type = \"encrypted\"", "ssl.cfg, which holds a private key, is a plain file that the host reads and replaces")
		}
	}
}

// secret looks at a file that has to be encrypted.
func (c *checker) secret(p, why string) {
	mount, host, err := c.resolve(p)
	switch {
	case err != nil:
		c.add(Failed, p, "", "%v", err)
	case mount.Type == typeEncrypted:
		c.add(OK, p, "", "lies in the encrypted mount at %s", mount.Path)
	default:
		c.add(Failed, p, fmt.Sprintf("encrypt %s and mount it with type = \"encrypted\"", host), "%s and lies in a mount of type %s, where the host reads it", why, mount.Type)
	}
}

// argument is the value of --name=value or --name value.
func argument(argv []string, name string) string {
	for n, a := range argv {
		flag, value, found := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if flag != name || !strings.HasPrefix(a, "-") {
			continue
		}
		if !found && n+1 < len(argv) {
			return argv[n+1]
		}
		return value
	}
	return ""
}

// trusted compares every trusted file that is among the artifacts with its hash.
func (c *checker) trusted() {
	c.check = "trusted files"
	if c.opts.Artifacts == nil {
		return
	}
	same, absent := 0, 0
	for _, t := range c.m.Trusted {
		host, folder := hostPath(t.URI)
		if t.SHA256 == "" || folder {
			continue
		}
		sum, err := c.sum(host)
		switch {
		case err != nil: // most are libraries of the image
			absent++
		case sum != t.SHA256:
			c.add(Failed, host, "put the file that was signed in its place, or sign again", "it has the hash %.16s..., the manifest wants %.16s...", sum, t.SHA256)
		default:
			same++
		}
	}
	if same+absent > 0 {
		c.add(OK, "sgx.trusted_files", "", "%d of the artifacts have their hash, %d files are not among them", same, absent)
	}
}
