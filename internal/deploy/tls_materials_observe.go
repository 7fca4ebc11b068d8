package deploy

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/serving/tlsmaterials"
)

// maxTLSFile is the size in bytes above which a file is not read. Real ones have a few KiB.
const maxTLSFile = 1 << 20

// TLSProblemKind classifies what is wrong with a file.
type TLSProblemKind uint8

// Kinds of problems.
const (
	TLSMissing    TLSProblemKind = iota + 1 // not here
	TLSUnreadable                           // here, but the system does not let us see what it is
	TLSChanged                              // here, with another content
)

// String is the kind in a sentence: "the file is changed".
func (k TLSProblemKind) String() string {
	switch k {
	case TLSMissing:
		return "missing"
	case TLSUnreadable:
		return "unreadable"
	case TLSChanged:
		return "changed"
	default:
		return fmt.Sprintf("problem %d", uint8(k))
	}
}

// TLSProblem is a file that is not as the record says.
type TLSProblem struct {
	File   string // relative to the directory, with slashes
	Kind   TLSProblemKind
	Detail string // may be empty
}

// String is one line for people.
func (p TLSProblem) String() string {
	if p.Detail == "" {
		return p.File + ": " + p.Kind.String()
	}
	return p.File + ": " + p.Kind.String() + ": " + p.Detail
}

// TLSObservation is the condition of a set of TLS materials on this machine.
type TLSObservation struct {
	// Set is what the record says, with those private keys that are here and belong to it.
	Set *tlsmaterials.Materials
	// Problems are in the order in which files are written. A missing authority's key is none: it may rightly be kept
	// elsewhere.
	Problems []TLSProblem
	// Exposed lists secret files that others than the owner may read or replace.
	Exposed []string
	// Absent tells that not a single file of the set is here.
	Absent bool
}

// Repairable lists the problems that an update puts right. What cannot be read is left alone until somebody needs it, and
// so is the authority's key: nobody else has another copy.
func (o *TLSObservation) Repairable(ignoreMissing bool) []TLSProblem {
	var list []TLSProblem
	for _, p := range o.Problems {
		if p.Kind == TLSUnreadable || p.Kind == TLSMissing && ignoreMissing || slices.Contains(tlsmaterials.AuthorityKeyFiles(), p.File) {
			continue
		}
		list = append(list, p)
	}
	return list
}

func (o *TLSObservation) problem(file string) TLSProblem {
	for _, p := range o.Problems {
		if p.File == file {
			return p
		}
	}
	return TLSProblem{}
}

// ObserveTLSMaterials compares the files in a directory with a record: the public halves of a set, as a state keeps
// them. It changes nothing and reports no error of its own: what cannot be read is a problem like others.
func ObserveTLSMaterials(dir string, record *tlsmaterials.Materials) *TLSObservation {
	set := *record
	set.Leaves = slices.Clone(record.Leaves)
	set.Authority.Key, set.TrustedKey = tlsmaterials.PrivateKey{}, tlsmaterials.PrivateKey{}
	o := &TLSObservation{Set: &set, Absent: true}
	w := &tlsWatch{dir: dir, o: o}

	w.authorityKeys()
	w.certificates(tlsmaterials.AuthorityCertificateFile, append([]*x509.Certificate{set.Authority.Certificate}, set.Trusted...))
	for i := range set.Leaves {
		leaf := &set.Leaves[i]
		leaf.Key = tlsmaterials.PrivateKey{}
		if set.Sealed == nil || leaf.Place != tlsmaterials.ServerPlace {
			leaf.Key = w.key(leaf.KeyFile, leaf.Certificate)
		}
		w.certificates(leaf.CertificateFile, []*x509.Certificate{leaf.Certificate})
	}
	switch {
	case set.Sealed != nil:
		w.sealedSSLConfig()
	case set.SSLConfig:
		w.sslConfig()
	}
	return o
}

// tlsWatch looks at one file after the other.
type tlsWatch struct {
	dir string
	o   *TLSObservation
}

func (w *tlsWatch) problem(file string, kind TLSProblemKind, detail string) {
	w.o.Problems = append(w.o.Problems, TLSProblem{file, kind, detail})
}

// read returns the content of a file, or nil after having noted why not.
func (w *tlsWatch) read(file string, mayBeElsewhere bool) []byte {
	data, mode, err := readTLSFile(filepath.Join(w.dir, filepath.FromSlash(file)))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if !mayBeElsewhere {
			w.problem(file, TLSMissing, "")
		}
		return nil
	case err != nil:
		w.o.Absent = false
		w.problem(file, TLSUnreadable, err.Error())
		return nil
	}
	w.o.Absent = false
	if tlsmaterials.IsSecret(file) && runtime.GOOS != "windows" && mode.Perm()&0o077 != 0 {
		w.o.Exposed = append(w.o.Exposed, file)
	}
	return data
}

// authorityKeys takes an authority's key from whatever file it is in: a rotation that was interrupted may have left it at
// its old place, or at both.
func (w *tlsWatch) authorityKeys() {
	set := w.o.Set
	for _, file := range tlsmaterials.AuthorityKeyFiles() {
		data := w.read(file, true)
		if data == nil {
			continue
		}
		key, err := tlsmaterials.ParsePrivateKey(data)
		switch {
		case err != nil:
			w.problem(file, TLSChanged, err.Error())
		case key.Matches(set.Authority.Certificate):
			set.Authority.Key = key
		case len(set.Trusted) > 0 && key.Matches(set.Trusted[0]):
			set.TrustedKey = key
		default:
			w.problem(file, TLSChanged, "it is not the key of the certificate "+tlsmaterials.CertificateFingerprint(set.Authority.Certificate))
		}
	}
}

func (w *tlsWatch) key(file string, certificate *x509.Certificate) tlsmaterials.PrivateKey {
	data := w.read(file, false)
	if data == nil {
		return tlsmaterials.PrivateKey{}
	}
	key, err := tlsmaterials.ParsePrivateKey(data)
	if err != nil {
		w.problem(file, TLSChanged, err.Error())
		return tlsmaterials.PrivateKey{}
	}
	if !key.Matches(certificate) {
		w.problem(file, TLSChanged, "it is not the key of the certificate "+tlsmaterials.CertificateFingerprint(certificate))
		return tlsmaterials.PrivateKey{}
	}
	return key
}

// certificates compares certificates, not bytes: another tool may have written the file.
func (w *tlsWatch) certificates(file string, want []*x509.Certificate) {
	data := w.read(file, false)
	if data == nil {
		return
	}
	got, err := tlsmaterials.ParseCertificates(data)
	switch {
	case err != nil:
		w.problem(file, TLSChanged, err.Error())
	case !slices.EqualFunc(got, want, (*x509.Certificate).Equal):
		w.problem(file, TLSChanged, fmt.Sprintf("it holds %s, not %s", describeCertificates(got), describeCertificates(want)))
	}
}

func describeCertificates(certs []*x509.Certificate) string {
	first := fmt.Sprintf("the certificate %s until %s", tlsmaterials.CertificateFingerprint(certs[0]), certs[0].NotAfter.UTC().Format(time.RFC3339))
	if len(certs) == 1 {
		return first
	}
	return fmt.Sprintf("%s and %d more", first, len(certs)-1)
}

// sslConfig compares meanings with what would be written, as far as the keys for that are here.
func (w *tlsWatch) sslConfig() {
	const file = tlsmaterials.SSLConfigFile
	data := w.read(file, false)
	if data == nil {
		return
	}
	got, err := tlsmaterials.ParseSSLConfig(data)
	if err != nil {
		w.problem(file, TLSChanged, err.Error())
		return
	}
	if err := got.CheckAgainst(w.o.Set); err != nil {
		w.problem(file, TLSChanged, err.Error())
	}
}

// readTLSFile reads a regular file of sensible size. Its errors do not repeat the path.
func readTLSFile(path string) ([]byte, fs.FileMode, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, pathCause(err)
	}
	if !info.Mode().IsRegular() { // opening a named pipe would wait for ever
		return nil, 0, fmt.Errorf("not a regular file but %s", info.Mode().Type())
	}
	if info.Size() > maxTLSFile {
		return nil, 0, fmt.Errorf("%d bytes found, want at most %d", info.Size(), maxTLSFile)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, pathCause(err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxTLSFile))
	if err != nil {
		return nil, 0, pathCause(err)
	}
	return append([]byte{}, data...), info.Mode(), nil // never nil, even if empty
}

// ReadPrivateKey reads a private key from a file. The error wraps [fs.ErrNotExist] if there is none.
func ReadPrivateKey(name string) (tlsmaterials.PrivateKey, error) {
	data, _, err := readTLSFile(name)
	if err != nil {
		return tlsmaterials.PrivateKey{}, fmt.Errorf("read private key %s: %w", name, err)
	}
	key, err := tlsmaterials.ParsePrivateKey(data)
	if err != nil {
		return tlsmaterials.PrivateKey{}, fmt.Errorf("read private key %s: %w", name, err)
	}
	return key, nil
}

// ReadTLSMaterials reads whatever set of TLS materials a directory holds, with all its keys, for adopting or inspecting
// it. Findings say what is missing or unparseable. The error is about the directory, or a file that the system does not
// let us read.
func ReadTLSMaterials(dir string) (*tlsmaterials.Materials, []tlsmaterials.Finding, error) {
	files, err := readTLSDirectory(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("read TLS materials in %s: %w", dir, err)
	}
	if len(files) == 0 {
		return nil, nil, fmt.Errorf("read TLS materials in %s: none of the files is there (%s, %s, ...)",
			dir, tlsmaterials.AuthorityCertificateFile, tlsmaterials.ServerCertificateFile)
	}
	m, findings := tlsmaterials.ParseFiles(files)
	if m.Sealed != nil {
		if err := inspectSealed(dir, m.Sealed); err != nil {
			findings = append(findings, tlsmaterials.Finding{File: tlsmaterials.SealedSSLConfigFile, Problem: tlsmaterials.Unparseable, Detail: err.Error()})
		}
	}
	return m, findings, nil
}

func readTLSDirectory(dir string) (map[string][]byte, error) {
	if _, err := os.ReadDir(dir); err != nil {
		return nil, pathCause(err)
	}
	places := []tlsmaterials.Place{tlsmaterials.ServerPlace, tlsmaterials.ClientPlace}
	folders, err := os.ReadDir(filepath.Join(dir, "clients"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("clients: %w", pathCause(err))
	}
	for _, f := range folders {
		places = append(places, tlsmaterials.FurtherClientPlace(f.Name()))
	}
	files := map[string][]byte{}
	for _, path := range append(tlsmaterials.Paths(places, true), tlsmaterials.SealedSSLConfigFile) {
		data, _, err := readTLSFile(filepath.Join(dir, filepath.FromSlash(path)))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		files[path] = data
	}
	return files, nil
}
