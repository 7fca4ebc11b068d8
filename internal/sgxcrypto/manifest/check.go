package manifest

import (
	"crypto/x509"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/sigstruct"
)

const (
	typeChroot    = "chroot"
	typeEncrypted = "encrypted"
	typeTmpfs     = "tmpfs"
	defaultKey    = "default"
)

// Status says what a finding means.
type Status string

// The statuses, from good to bad.
const (
	OK      Status = "ok"
	Skipped Status = "skipped" // not looked at, for the reason given
	Warning Status = "warning"
	Failed  Status = "failed"
)

// Finding is what became of one check.
type Finding struct {
	Check   string `json:"check"` // such as "encrypted mount"
	Status  Status `json:"status"`
	Subject string `json:"subject"`       // what was looked at: a path, a variable
	Found   string `json:"found"`         // what was found there
	Fix     string `json:"fix,omitempty"` // what to do
	// Err is the error of a protected file that is not genuine or not for this place, a *protectedfile.Error.
	Err error `json:"-"`
}

// Options say what a manifest is checked against.
type Options struct {
	// Artifacts holds the files as they will lie in the folder where gramine-sgx is started. Host paths that are
	// absolute are looked for below it as well. Nil: only the manifest is looked at.
	Artifacts fs.FS
	// Key is the wrap key that the enclave will get. Nil: the paths embedded in protected files stay unchecked.
	Key *protectedfile.Key
	// ServerCertificate is the key server's certificate, leaf first, and At the time to check it for. The name is
	// compared as mbedTLS does: dNSName in any letter case, IP addresses of iPAddress entries only from Gramine 1.8 on.
	ServerCertificate []*x509.Certificate
	At                time.Time
	// Sigstruct is the enclave's, already verified; nil to leave it out.
	Sigstruct *sigstruct.Sigstruct
}

// Check compares a manifest with what it will run with. The findings come in a fixed order.
func Check(m *Manifest, opts Options) []Finding {
	c := &checker{m: m, opts: opts}
	c.enclave()
	c.environment()
	c.authority()
	c.server()
	c.encrypted()
	c.serving()
	c.trusted()
	return c.findings
}

type checker struct {
	m        *Manifest
	opts     Options
	findings []Finding
	check    string // being made
}

func (c *checker) add(s Status, subject, fix, format string, a ...any) {
	c.findings = append(c.findings, Finding{Check: c.check, Status: s, Subject: subject, Found: fmt.Sprintf(format, a...), Fix: fix})
}

// enclave looks at what the enclave as a whole is.
func (c *checker) enclave() {
	c.check = "enclave"
	if c.m.Debug {
		c.add(Failed, "sgx.debug", "set sgx.debug = false and sign again", "the enclave is a debug enclave: whoever has the host reads its memory")
	} else {
		c.add(OK, "sgx.debug", "", "no debug enclave")
	}
	switch c.m.RemoteAttestation {
	case "dcap", "on":
		c.add(OK, "sgx.remote_attestation", "", "%s", c.m.RemoteAttestation)
	default:
		c.add(Failed, "sgx.remote_attestation", `set sgx.remote_attestation = "dcap"`, "it is %q, so the enclave has no DCAP quote to show", c.m.RemoteAttestation)
	}
	if c.m.FileCheckPolicy != "strict" {
		c.add(Failed, "sgx.file_check_policy", `remove it: "strict" is the default`, "it is %q: every file of the host is readable unchecked", c.m.FileCheckPolicy)
	}
	for _, name := range c.m.InsecureKeys {
		c.add(Failed, "fs.insecure__keys", "remove it, and let secret provisioning bring the key", "the key %s is written in the manifest, which the host reads", name)
	}
	switch c.m.LogLevel {
	case "", "none", "error":
	default:
		c.add(Warning, "loader.log_level", `set it to "error"`, "level %q may write what the enclave works on to the host", c.m.LogLevel)
	}
	c.sigstruct()
}

func (c *checker) sigstruct() {
	s := c.opts.Sigstruct
	if s == nil {
		return
	}
	c.check = "sigstruct"
	const again = "sign again with gramine-sgx-sign, and make the key server's rule from the new .sig"
	if s.Debug() != c.m.Debug {
		c.add(Failed, "debug", again, "the SIGSTRUCT says %t, the manifest %t", s.Debug(), c.m.Debug)
	}
	if int64(s.ISVProdID) != c.m.ISVProdID || int64(s.ISVSVN) != c.m.ISVSVN {
		c.add(Failed, "ISVPRODID, ISVSVN", again, "the SIGSTRUCT says %d, %d, the manifest %d, %d", s.ISVProdID, s.ISVSVN, c.m.ISVProdID, c.m.ISVSVN)
	}
	if len(c.findings) == 0 || c.findings[len(c.findings)-1].Check != c.check {
		c.add(OK, "SIGSTRUCT", "", "debug, ISVPRODID and ISVSVN are those of the manifest")
	}
}

// resolve finds the mount that a path in the enclave leads to, and the path on the host.
func (c *checker) resolve(enclavePath string) (Mount, string, error) {
	p, err := protectedfile.NormalizePath("/" + enclavePath)
	if err != nil {
		return Mount{}, "", err
	}
	var found Mount
	for _, m := range c.m.Mounts { // what is mounted later covers what was there
		if within(p, m.Path) {
			found = m
		}
	}
	host, err := found.HostPath(strings.TrimPrefix(p, strings.TrimSuffix(found.Path, "/")))
	return found, host, err
}

// within tells whether p is dir or below it; both are normalised.
func within(p, dir string) bool {
	return p == dir || dir == "" || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

// hostPath is the normalised path of a file: URI, and whether it stands for a whole folder.
func hostPath(uri string) (p string, folder bool) {
	p, err := protectedfile.NormalizePath(strings.TrimPrefix(uri, fileScheme))
	if err != nil {
		return uri, false
	}
	return p, strings.HasSuffix(uri, "/") || p == ""
}

// covers tells whether the URI of a list stands for the file.
func covers(uri, host string) bool {
	p, folder := hostPath(uri)
	return p == host || folder && within(host, p)
}

// allowedBy is the entry of sgx.allowed_files that lets the host write the file, if there is one.
func (c *checker) allowedBy(host string) (string, bool) {
	n := slices.IndexFunc(c.m.Allowed, func(uri string) bool { return covers(uri, host) })
	if n < 0 {
		return "", false
	}
	return c.m.Allowed[n], true
}

// trustedBy is the entry of sgx.trusted_files for the file; one with a hash is preferred.
func (c *checker) trustedBy(host string) (TrustedFile, bool) {
	var found TrustedFile
	ok := false
	for _, t := range c.m.Trusted {
		if covers(t.URI, host) && (!ok || t.SHA256 != "") {
			found, ok = t, true
		}
	}
	return found, ok
}

// outsideError is the error of a host path that leads out of the artifacts.
type outsideError string

func (e outsideError) Error() string { return "it lies outside the artifacts" }

// artifact is the name below the artifacts of a path of the host.
func artifact(host string) (string, error) {
	name := strings.TrimPrefix(host, "/")
	if name == "" {
		name = "."
	}
	if !fs.ValidPath(name) {
		return "", outsideError(host)
	}
	return path.Clean(name), nil
}
