package deploy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

// ArtifactSource says which files of this machine are to be sent to another
// one. The other one is not trusted with their content, so a file has to be a
// protected file unless it is named in Plaintext.
type ArtifactSource struct {
	// Directory is sent with everything below it. Exactly one of Directory and
	// Files is given.
	Directory string
	// Files are single files: the path on this machine by the name there,
	// relative to the directory and with slashes.
	Files map[string]string
	// Plaintext names what is sent as it is.
	Plaintext []string
}

// Artifact is a file to be sent.
type Artifact struct {
	Name   string // on the machine, relative to the directory, with slashes
	Path   string // on this machine
	Size   int64  // in bytes
	SHA256 string // in hex
}

const (
	// maxArtifacts bounds a source: each file is in the state.
	maxArtifacts = 10000
	// maxArtifactPath bounds a name, in bytes, and maxArtifactBase its last
	// part: while it is on the way the file has a longer one.
	maxArtifactPath = 3072
	maxArtifactBase = 255 - len(artifactPart) - 17
	// artifactPart starts the names of files that are on the way.
	artifactPart = ".cc-tmp-"
	// maxPEM is the size in bytes up to which a plaintext is searched for a
	// private key.
	maxPEM = 1 << 20
	// maxNamed is how many names an error has.
	maxNamed = 10
)

// list returns the files of the source in the order of their names, without
// opening them. The error wraps fs.ErrNotExist where the directory is not there.
func (s ArtifactSource) list() ([]Artifact, error) {
	if (s.Directory == "") == (len(s.Files) == 0) {
		return nil, errors.New("list files to send: exactly one of a directory and single files is needed")
	}
	if s.Directory == "" {
		var all []Artifact
		for _, name := range slices.Sorted(maps.Keys(s.Files)) {
			all = append(all, Artifact{Name: name, Path: s.Files[name]})
		}
		return all, checkArtifactNames(all)
	}
	// A link to the directory itself is what the user has named; links below are not followed.
	root, err := filepath.EvalSymlinks(s.Directory)
	if err != nil {
		return nil, fmt.Errorf("list files in %s: %w", s.Directory, pathCause(err))
	}
	var all []Artifact
	var irregular []string
	err = filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		if !d.Type().IsRegular() {
			irregular = append(irregular, name)
			return nil
		}
		if all = append(all, Artifact{Name: name, Path: file}); len(all) > maxArtifacts {
			return fmt.Errorf("it has more than %d files", maxArtifacts)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("list files in %s: %w", s.Directory, err)
	case len(irregular) > 0:
		return nil, &Error{Summary: "File not sendable",
			Err:    fmt.Errorf("list files in %s: neither files nor directories are %s", s.Directory, someNames(irregular)),
			Remedy: "Symbolic links, sockets and devices are not sent. Put a file in the place of a link, or send single files with files = { name = path }."}
	case len(all) == 0:
		return nil, &Error{Summary: "Nothing to send", Err: fmt.Errorf("list files in %s: there is none", s.Directory),
			Remedy: "If what was uploaded is to go, destroy the resource."}
	}
	slices.SortFunc(all, func(a, b Artifact) int { return strings.Compare(a.Name, b.Name) })
	return all, checkArtifactNames(all)
}

// CheckArtifactName tells what is wrong with the name of a file on the machine.
func CheckArtifactName(name string) error {
	base := path.Base(name)
	switch {
	case !utf8.ValidString(name):
		return fmt.Errorf("%q is not UTF-8", name)
	case !fs.ValidPath(name) || name == ".":
		return fmt.Errorf("%q is not a relative path without . and .. in it", name)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("%q holds a control character", name)
	case len(name) > maxArtifactPath:
		return fmt.Errorf("%.40q... is longer than %d bytes", name, maxArtifactPath)
	case len(base) > maxArtifactBase:
		return fmt.Errorf("the last part of %.40q... is longer than %d bytes", name, maxArtifactBase)
	case base == artifactListName || strings.HasPrefix(base, artifactPart):
		return fmt.Errorf("%q is a name that an upload uses itself", name)
	}
	return nil
}

func checkArtifactNames(all []Artifact) error {
	if len(all) > maxArtifacts {
		return fmt.Errorf("list files to send: there are more than %d", maxArtifacts)
	}
	known := map[string]bool{}
	for _, a := range all {
		if err := CheckArtifactName(a.Name); err != nil {
			return &Error{Summary: "File name not usable", Err: fmt.Errorf("send file: %w", err), Remedy: "Give it another name."}
		}
		known[a.Name] = true
	}
	for _, a := range all {
		for dir := path.Dir(a.Name); dir != "."; dir = path.Dir(dir) {
			if known[dir] {
				return fmt.Errorf("send file %q: %q is a file too, and cannot hold it", a.Name, dir)
			}
		}
	}
	return nil
}

// Scan reads the source: every file of it has been looked at and digested. The
// error wraps fs.ErrNotExist where something is not there (yet), and is about
// a file that must not be sent if there is one.
func (s ArtifactSource) Scan(ctx context.Context) ([]Artifact, error) {
	all, err := s.list()
	if err != nil {
		return nil, err
	}
	var refused []string
	var missing, other error
	for i := range all {
		err := all[i].scan(ctx, slices.Contains(s.Plaintext, all[i].Name))
		var format *protectedfile.Error
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return nil, fmt.Errorf("read %s: %w", all[i].Path, context.Cause(ctx))
		case errors.As(err, &format):
			refused = append(refused, all[i].Name)
		case errors.Is(err, fs.ErrNotExist):
			missing = errors.Join(missing, err)
		default:
			other = errors.Join(other, err)
		}
	}
	if len(refused) > 0 {
		return nil, &Error{Summary: "Plaintext not sent",
			Err: fmt.Errorf("send files of %s: these are no protected files: %s", s.where(), someNames(refused)),
			Remedy: "Whoever controls the machine could read them. Encrypt them with cc_encrypted_file; name in plaintext what anybody may read, " +
				"such as the certificate of a certification authority."}
	}
	if other != nil {
		return nil, other
	}
	return all, missing
}

// complete is Scan for the time when everything has to be there.
func (s ArtifactSource) complete(ctx context.Context) ([]Artifact, error) {
	all, err := s.Scan(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range s.Plaintext {
		if !slices.ContainsFunc(all, func(a Artifact) bool { return a.Name == name }) {
			return nil, fmt.Errorf("send files of %s: plaintext names %q, and there is no such file", s.where(), name)
		}
	}
	return all, nil
}

func (s ArtifactSource) where() string {
	if s.Directory != "" {
		return s.Directory
	}
	return fmt.Sprintf("a list of %d", len(s.Files))
}

// scan fills in size and digest. The error is a [protectedfile.Error] for what
// is not a protected file and has to be one.
func (a *Artifact) scan(ctx context.Context, plaintext bool) error {
	f, err := a.open(plaintext)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	n, err := io.Copy(h, &contextReader{ctx, f})
	if err != nil {
		return fmt.Errorf("read %s: %w", a.Path, pathCause(err))
	}
	a.Size, a.SHA256 = n, hex.EncodeToString(h.Sum(nil))
	return nil
}

// open opens the file, if it may be sent.
func (a *Artifact) open(plaintext bool) (*os.File, error) {
	fail := func(err error) error { return fmt.Errorf("read %s: %w", a.Path, pathCause(err)) }
	// Before it is opened: that would wait at a pipe.
	if info, err := os.Stat(a.Path); err != nil {
		return nil, fail(err)
	} else if !info.Mode().IsRegular() {
		return nil, fail(errors.New("it is not a regular file"))
	}
	f, err := os.Open(a.Path)
	if err != nil {
		return nil, fail(err)
	}
	info, err := f.Stat()
	if err == nil {
		a.Size = info.Size()
		err = a.check(f, plaintext)
	}
	if err != nil {
		_ = f.Close()
		return nil, fail(err)
	}
	return f, nil
}

func (a *Artifact) check(f io.ReaderAt, plaintext bool) error {
	if !plaintext {
		_, err := protectedfile.Inspect(f, a.Size)
		return err
	}
	if a.Size > maxPEM {
		return nil
	}
	text, err := io.ReadAll(io.NewSectionReader(f, 0, a.Size))
	if err != nil {
		return err
	}
	defer clear(text)
	if bytes.Contains(text, []byte("PRIVATE KEY-----")) {
		return &Error{Summary: "Private key not sent", Err: errors.New("it holds a private key, which is not sent in plaintext, named or not"),
			Remedy: "Encrypt the file with cc_encrypted_file and take it out of plaintext."}
	}
	return nil
}

// someNames lists names for an error.
func someNames(names []string) string {
	shown := make([]string, 0, maxNamed+1)
	for i, name := range names {
		if i == maxNamed {
			shown = append(shown, fmt.Sprintf("and %d more", len(names)-i))
			break
		}
		if strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError || r == ',' }) {
			name = fmt.Sprintf("%q", name)
		}
		shown = append(shown, name)
	}
	return strings.Join(shown, ", ")
}

// contextReader stops when its context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
