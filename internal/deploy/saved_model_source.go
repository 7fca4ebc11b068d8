package deploy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphtext"
	"github.com/ccctl/terraform-provider-cc/internal/serving/savedmodel"
)

// made is a model that is ready to be written: what its files will be.
type made struct {
	report savedmodel.Report
	files  []madeFile // sorted by name
	dir    fs.FileMode
}

// madeFile is one file of a model.
type madeFile struct {
	name  string // below the version directory, with slashes
	size  int64  // in bytes
	mode  fs.FileMode
	write func(io.Writer) error // fails if the source changed meanwhile
}

func (m *made) names() []string {
	names := make([]string, 0, len(m.files))
	for _, f := range m.files {
		names = append(names, f.name)
	}
	return names
}

// errNotFetched says that a URL was given where there is only a look at files.
var errNotFetched = errors.New("it is a URL, and is fetched when it is published only")

// make opens the source and says what model it makes.
func (s SavedModelSpec) make(ctx context.Context, f func(*made) error) error {
	fail := func(err error) error { return fmt.Errorf("convert %s: %w", s.Source, err) }
	if s.Version < 0 {
		return fail(fmt.Errorf("model version %d is negative, and TensorFlow Serving does not count so", s.Version))
	}
	if s.Remote() {
		return fail(errNotFetched)
	}
	if s.Directory() {
		m, err := s.makeTree()
		if err == nil && s.Files != nil && !slices.Equal(s.Files, m.names()) {
			err = ErrFilesChanged
		}
		if err == nil {
			err = f(m)
		}
		if err != nil {
			return fail(err)
		}
		return nil
	}
	in, info, err := openRegular(s.Source)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = in.Close() }()
	if err := checkSHA256(ctx, in, s.SourceSHA256); err != nil {
		return fail(err)
	}
	graph, size, err := s.binary(in, info.Size())
	if err != nil {
		return fail(err)
	}
	c, err := savedmodel.Prepare(graph, size, s.options())
	if err != nil {
		return fail(err)
	}
	if err := f(madeOf(c, in, info)); err != nil {
		return fail(err)
	}
	return nil
}

// madeOf is the model that a graph is converted to, which is one file. Those may
// read it who may read the graph.
func madeOf(c *savedmodel.Conversion, source *os.File, info fs.FileInfo) *made {
	m := &made{report: c.Report()}
	one := madeFile{name: savedmodel.FileName, size: c.Report().Size, mode: 0o600}
	if info != nil {
		one.mode |= info.Mode().Perm()
		m.dir = dirMode(info.Mode())
	}
	one.write = func(w io.Writer) error {
		if _, err := c.WriteTo(w); err != nil || source == nil {
			return err
		}
		return unchanged(source, info)
	}
	m.files = []madeFile{one}
	return m
}

// dirMode lets those into a directory who may read a file.
func dirMode(mode fs.FileMode) fs.FileMode {
	perm := mode.Perm()
	return perm | perm&0o444>>2 | 0o700
}

// unchanged makes sure that a file is what it was when it was opened.
func unchanged(f *os.File, was fs.FileInfo) error {
	now, err := f.Stat()
	if err != nil {
		return pathCause(err)
	}
	if now.Size() != was.Size() || !now.ModTime().Equal(was.ModTime()) {
		return errors.New("it was changed while it was read")
	}
	return nil
}

// binary is the graph itself, or its binary form in memory if it is text.
func (s SavedModelSpec) binary(in io.ReaderAt, size int64) (io.ReaderAt, int64, error) {
	kind, err := savedmodel.Detect(in, size)
	if err != nil || kind != savedmodel.FrozenGraphText {
		return in, size, nil //nolint:nilerr // Prepare says what is wrong.
	}
	if s.fetched {
		return nil, 0, errors.New("it is a graph in text form, and a graph that is fetched must be in binary form, by which the pinned digest is found again in the model")
	}
	data, err := graphtext.Binary(in, size)
	return bytes.NewReader(data), int64(len(data)), err
}

func checkSHA256(ctx context.Context, f io.Reader, want string) error {
	if want == "" {
		return nil
	}
	h := sha256.New()
	if _, err := io.Copy(contextWriter{ctx, h}, f); err != nil {
		return pathCause(err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("%w: its SHA-256 is %s, not %s", ErrSourceDigest, got, want)
	}
	return nil
}

// Directory tells that the source is a directory: a SavedModel that stays as it
// is.
func (s SavedModelSpec) Directory() bool {
	if s.Remote() {
		return false
	}
	info, err := os.Stat(s.Source)
	return err == nil && info.IsDir()
}

// SourceFiles are the files that the model will have, as far as a look at the
// source tells: a frozen graph becomes one, a directory keeps its own. The error
// wraps [fs.ErrNotExist] when there is no source.
func (s SavedModelSpec) SourceFiles() ([]string, error) {
	if !s.Remote() {
		info, err := os.Stat(s.Source)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", s.Source, pathCause(err))
		}
		if info.IsDir() {
			return modelFiles(s.Source)
		}
	}
	return []string{savedmodel.FileName}, nil
}

// Limits of a SavedModel's directory.
const (
	maxModelFiles = 10_000
	maxModelDepth = 16
)

// modelFiles lists the files of a SavedModel's directory, sorted, as paths below
// it with slashes. Whatever else is there is an error: a link may lead anywhere.
func modelFiles(dir string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return pathCause(err)
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		switch {
		case strings.Count(name, "/") >= maxModelDepth:
			return fmt.Errorf("%q is nested more than %d deep: this is no SavedModel", name, maxModelDepth)
		case e.IsDir():
			return nil
		case !e.Type().IsRegular():
			return fmt.Errorf("%q is not a regular file but %s: put the file itself there", name, describeMode(e.Type()))
		case len(names) == maxModelFiles:
			return fmt.Errorf("it has more than %d files: this is no SavedModel", maxModelFiles)
		case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' || r == 0xfffd }):
			return fmt.Errorf("the name %q cannot be used on every system", name)
		}
		names = append(names, name)
		return nil
	})
	slices.Sort(names)
	return names, err
}

// makeTree validates a SavedModel's directory, and says what is to be copied.
func (s SavedModelSpec) makeTree() (*made, error) {
	switch {
	case s.Optimize:
		return nil, errors.New("it is a SavedModel, and only a frozen graph is optimised")
	case s.SourceSHA256 != "":
		return nil, errors.New("it is a directory, which has no SHA-256 of its own")
	case len(s.Inputs) > 0 || len(s.Outputs) > 0:
		return nil, errors.New("it is a SavedModel, whose signatures stay as they are: inputs and outputs are for frozen graphs")
	}
	names, err := modelFiles(s.Source)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(names, savedmodel.FileName) {
		for name, what := range map[string]string{"saved_model.pbtxt": "in text form", "saved_model.cpb": "in the chunked form of TensorFlow 2.15"} {
			if slices.Contains(names, name) {
				return nil, fmt.Errorf("its model is %s (%s), and cannot be checked here: export it as %s", what, name, savedmodel.FileName)
			}
		}
		return nil, fmt.Errorf("the directory has no %s, so it is not a SavedModel's version directory", savedmodel.FileName)
	}
	info, err := inspectTree(s.Source, names)
	if err != nil {
		return nil, err
	}
	if len(info.Problems) > 0 {
		return nil, &savedmodel.NotServableError{Problems: info.Problems}
	}
	m := &made{report: savedmodel.Report{Inputs: info.Inputs, Outputs: info.Outputs, Nodes: info.Nodes, Warnings: info.Warnings}}
	for _, name := range names {
		path := filepath.Join(s.Source, filepath.FromSlash(name))
		stat, err := os.Lstat(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, pathCause(err))
		}
		m.report.Size += stat.Size()
		m.dir |= dirMode(stat.Mode())
		m.files = append(m.files, madeFile{name: name, size: stat.Size(), mode: stat.Mode().Perm() | 0o600, write: func(w io.Writer) error {
			return copyFile(w, path, name, stat)
		}})
	}
	return m, nil
}

func copyFile(w io.Writer, path, name string, was fs.FileInfo) error {
	f, _, err := openRegular(path)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer func() { _ = f.Close() }()
	// A file that writes itself would choose a small buffer.
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{f}, make([]byte, copyBuffer))
	if err == nil && n != was.Size() {
		err = errors.New("it was changed while it was read")
	}
	if err == nil {
		err = unchanged(f, was)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, pathCause(err))
	}
	return nil
}

// copyBuffer is large enough that system calls do not count, in bytes.
const copyBuffer = 256 << 10

// inspectTree describes a SavedModel's directory, with what its files lack.
func inspectTree(dir string, names []string) (*savedmodel.GraphInfo, error) {
	f, stat, err := openRegular(filepath.Join(dir, savedmodel.FileName))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", savedmodel.FileName, err)
	}
	defer func() { _ = f.Close() }()
	info, err := savedmodel.Inspect(f, stat.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", savedmodel.FileName, err)
	}
	if info.Kind != savedmodel.SavedModel {
		return nil, fmt.Errorf("%s is a %s: name the file itself as the source", savedmodel.FileName, info.Kind)
	}
	info.Problems = append(info.Problems, savedmodel.CheckFiles(info, names)...)
	if slices.Contains(names, savedmodel.VariablesIndex) {
		if err := checkIndex(filepath.Join(dir, filepath.FromSlash(savedmodel.VariablesIndex))); err != nil {
			return nil, fmt.Errorf("%s: %w", savedmodel.VariablesIndex, err)
		}
	}
	info.Servable = len(info.Problems) == 0
	return info, nil
}

// tableMagic ends every table of LevelDB's format, which the index of the
// variables is (tensorflow/core/lib/io/format.h), as written: little-endian.
const tableMagic = "\x57\xfb\x80\x8b\x24\x75\x47\xdb"

// checkIndex makes sure that the index of the variables is whole.
func checkIndex(path string) error {
	f, info, err := openRegular(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	end := make([]byte, len(tableMagic))
	if info.Size() >= 48 { // the footer
		if _, err := f.ReadAt(end, info.Size()-int64(len(end))); err != nil {
			return pathCause(err)
		}
	}
	if string(end) != tableMagic {
		return errors.New("it is not the index of a checkpoint, or is cut off: copy the directory again")
	}
	return nil
}

// sums are the digests that are taken while a model is written: that of
// saved_model.pb, and a keyed one of everything.
type sums struct {
	plain hash.Hash
	keyed hash.Hash // nil without a key
	files int
}

func newSums(key *DigestKey, files int) *sums {
	return &sums{plain: sha256.New(), keyed: key.hash(), files: files}
}

// file is where one file's content goes. A model of one file has the digest of
// that; of several, each comes with its name and size before it.
func (s *sums) file(name string, size int64) io.Writer {
	var writers []io.Writer
	if name == savedmodel.FileName {
		writers = append(writers, s.plain)
	}
	if s.keyed != nil {
		if s.files > 1 {
			fmt.Fprintf(s.keyed, "%d %s %d\n", len(name), name, size)
		}
		writers = append(writers, s.keyed)
	}
	return io.MultiWriter(writers...)
}
