package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
	"github.com/ccctl/terraform-provider-cc/internal/serving/savedmodel"
)

// publishing is what has to be done to publish a model.
type publishing uint8

const (
	leaveModel  publishing = iota // it is there
	newVersion                    // the version directory does not exist
	intoVersion                   // it exists, and its one file is missing or may be replaced
	swapVersion                   // it exists, and gives way to another directory
)

func (s SavedModelSpec) decide(ctx context.Context, m *made, opts PublishOptions) (publishing, error) {
	fail := func(format string, a ...any) (publishing, error) {
		return 0, fmt.Errorf("publish %s: %w: "+format, append([]any{s.File(), ErrModelExists}, a...)...)
	}
	if err := s.checkSiblings(); err != nil {
		return 0, err
	}
	if _, err := os.Lstat(s.VersionDir()); errors.Is(err, fs.ErrNotExist) {
		return newVersion, nil
	}
	there, odd := modelFiles(s.VersionDir())
	if odd != nil && !opts.Replace {
		return fail("%w", odd)
	}
	stale := slices.ContainsFunc(opts.Owned, func(name string) bool { return slices.Contains(there, name) && !slices.Contains(m.names(), name) })
	same, err := s.compare(ctx, m)
	switch {
	case same && !stale:
		return leaveModel, nil
	case err == nil && !same && !opts.Replace:
		return fail("publish the model under another version, or delete that one if no server needs it")
	case err != nil && !errors.Is(err, fs.ErrNotExist) && !opts.Replace:
		return fail("it cannot be read: %w", err)
	case len(there) > 0 && !opts.Replace:
		return fail("%s has other files, such as %s", s.VersionDir(), there[0])
	case len(m.files) == 1 && !stale:
		return intoVersion, nil
	}
	// A whole directory gives way, and with it what somebody else put there.
	if odd != nil {
		return fail("%s cannot be replaced: %w", s.VersionDir(), odd)
	}
	for _, name := range there {
		if !slices.Contains(opts.Owned, name) && !slices.Contains(m.names(), name) {
			return fail("%s has a file that was not published with it, %s, and would be lost: move it away", s.VersionDir(), name)
		}
	}
	return swapVersion, nil
}

// publish does it. What is in the model goes to the sums too.
func (s SavedModelSpec) publish(ctx context.Context, what publishing, m *made, sums *sums) error {
	switch what {
	case newVersion:
		return s.publishDir(ctx, m, sums, false)
	case swapVersion:
		return s.publishDir(ctx, m, sums, true)
	case intoVersion:
		return s.writeFiles(ctx, s.VersionDir(), m, sums)
	default:
		for _, f := range m.files {
			if err := f.write(contextWriter{ctx, sums.file(f.name, f.size)}); err != nil {
				return err
			}
		}
		return nil
	}
}

// checkSiblings refuses a second spelling of the same version, such as 001: the
// server would take one of them.
func (s SavedModelSpec) checkSiblings() error {
	entries, err := os.ReadDir(s.ExportDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read export directory %s: %w", s.ExportDir, pathCause(err))
	}
	for _, e := range entries {
		v, err := strconv.ParseInt(e.Name(), 10, 64)
		if err == nil && v == s.Version && e.Name() != strconv.FormatInt(v, 10) {
			return fmt.Errorf("publish %s: %w: %s is the same version to TensorFlow Serving", s.File(), ErrModelExists, filepath.Join(s.ExportDir, e.Name()))
		}
	}
	return nil
}

// path is where a file of the model is published.
func (s SavedModelSpec) path(name string) string {
	return filepath.Join(s.VersionDir(), filepath.FromSlash(name))
}

// compare tells whether the published files have the bytes of the model. The
// error wraps [fs.ErrNotExist] when one is missing.
func (s SavedModelSpec) compare(ctx context.Context, m *made) (bool, error) {
	for _, f := range m.files { // a look at all of them before any is read
		if _, err := os.Lstat(s.path(f.name)); err != nil {
			return false, pathCause(err)
		}
	}
	for _, f := range m.files {
		if same, err := s.compareFile(ctx, f); !same || err != nil {
			return false, err
		}
	}
	return true, nil
}

func (s SavedModelSpec) compareFile(ctx context.Context, m madeFile) (bool, error) {
	f, info, err := openRegular(s.path(m.name))
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	if info.Size() != m.size {
		return false, nil
	}
	err = m.write(contextWriter{ctx, &comparer{r: f}})
	if errors.Is(err, errDifferent) {
		return false, nil
	}
	return err == nil, err
}

var errDifferent = errors.New("the files differ")

// comparer fails on the first byte that differs from what r has.
type comparer struct {
	r   io.Reader
	buf []byte
}

func (w *comparer) Write(p []byte) (int, error) {
	w.buf = append(w.buf[:0], p...)
	if _, err := io.ReadFull(w.r, w.buf); err != nil {
		return 0, err
	}
	if !bytes.Equal(p, w.buf) {
		return 0, errDifferent
	}
	return len(p), nil
}

// publishDir publishes a version under a name of its own before it gets its own
// in one step. One that it replaces is moved aside first, so that no server ever
// sees parts of both; if that is interrupted, no version is there, and the next
// try publishes it.
func (s SavedModelSpec) publishDir(ctx context.Context, m *made, sums *sums, replace bool) error {
	hidden := "." + strconv.FormatInt(s.Version, 10) + ".tmp-"
	temp, err := os.MkdirTemp(s.ExportDir, hidden)
	if err != nil {
		return fmt.Errorf("publish %s: %w", s.File(), pathCause(err))
	}
	defer func() { _ = os.RemoveAll(temp) }() // gone once it is renamed
	if err := os.Chmod(temp, m.dir); err != nil {
		return fmt.Errorf("publish %s: %w", s.File(), pathCause(err))
	}
	if err := s.writeFiles(ctx, temp, m, sums); err != nil {
		return err
	}
	putBack := func() {}
	if replace {
		aside, err := os.MkdirTemp(s.ExportDir, hidden)
		if err != nil {
			return fmt.Errorf("publish %s: %w", s.File(), pathCause(err))
		}
		defer func() { _ = os.RemoveAll(aside) }()
		old := filepath.Join(aside, "old")
		if err := os.Rename(s.VersionDir(), old); err != nil {
			return fmt.Errorf("replace %s: %w", s.VersionDir(), pathCause(err))
		}
		putBack = func() { _ = os.Rename(old, s.VersionDir()) } // fails if another one has published meanwhile
	}
	// rename(2) does not replace a directory that has files, so two that publish
	// at the same time cannot mix.
	if err := os.Rename(temp, s.VersionDir()); err != nil {
		putBack()
		if same, cerr := s.compare(ctx, m); cerr == nil && same {
			return nil // the other one published the same
		}
		return fmt.Errorf("publish %s: %w: %w", s.File(), ErrModelExists, err)
	}
	return atomicfile.SyncDir(s.ExportDir)
}

func (s SavedModelSpec) writeFiles(ctx context.Context, dir string, m *made, sums *sums) error {
	inner := map[string]bool{}
	for _, f := range m.files {
		path := filepath.Join(dir, filepath.FromSlash(f.name))
		for parent := filepath.Dir(path); len(parent) > len(dir); parent = filepath.Dir(parent) {
			inner[parent] = true
		}
		if err := os.MkdirAll(filepath.Dir(path), m.dir); err != nil {
			return fmt.Errorf("publish %s: %w", s.path(f.name), pathCause(err))
		}
		if err := writeModel(ctx, path, f, sums.file(f.name, f.size), progressWriter(s.Progress)); err != nil {
			return err
		}
	}
	for path := range inner {
		if err := os.Chmod(path, m.dir); err != nil {
			return fmt.Errorf("publish %s: %w", s.File(), pathCause(err))
		}
		if err := atomicfile.SyncDir(filepath.Dir(path)); err != nil {
			return err
		}
	}
	return nil
}

func writeModel(ctx context.Context, path string, f madeFile, sums, progress io.Writer) error {
	out, err := atomicfile.Create(path, f.mode)
	if err != nil {
		return err
	}
	defer out.Abort()
	behind := newBehindWriter(sums)
	err = f.write(contextWriter{ctx, io.MultiWriter(&flushing{File: out.File}, progress, behind)})
	if berr := behind.Close(); err == nil {
		err = berr
	}
	if err != nil {
		return err
	}
	return out.Commit()
}

// Write makes a file that is written from its beginning to its end go to the
// device meanwhile too.
func (f *flushing) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	if after := f.written.Add(int64(n)); after/flushEvery > (after-int64(n))/flushEvery {
		startWriteback(f.File)
	}
	return n, err
}

// behindWriter writes what it is given in a goroutine of its own, some pieces
// behind: hashing takes as long as writing.
type behindWriter struct {
	full, free chan []byte
	done       chan error
}

// behindPieces is how far behind it may be.
const behindPieces = 16

func newBehindWriter(w io.Writer) *behindWriter {
	b := &behindWriter{full: make(chan []byte, behindPieces), free: make(chan []byte, behindPieces), done: make(chan error, 1)}
	for range behindPieces {
		b.free <- nil
	}
	go func() {
		var err error
		for p := range b.full {
			if err == nil {
				_, err = w.Write(p)
			}
			b.free <- p
		}
		b.done <- err
	}()
	return b
}

// Write never fails; what goes wrong, Close says.
func (b *behindWriter) Write(p []byte) (int, error) {
	b.full <- append((<-b.free)[:0], p...)
	return len(p), nil
}

// Close waits until everything is written.
func (b *behindWriter) Close() error {
	close(b.full)
	return <-b.done
}

// contextWriter stops writing when the context ends.
type contextWriter struct {
	ctx context.Context // Lives as long as one call.
	w   io.Writer
}

func (w contextWriter) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.w.Write(p)
}

// progressWriter reports what passes.
type progressWriter func(int64)

func (w progressWriter) Write(p []byte) (int, error) {
	if w != nil {
		w(int64(len(p)))
	}
	return len(p), nil
}

// RemoveSavedModel removes the given files of a published model, its version
// directory if nothing else is in it, and the digest key of the export directory
// if nothing is left for it to key. It is no error if the model is gone. Whether
// it is the one that was published is for the caller to check.
func RemoveSavedModel(exportDir string, version int64, files []string) error {
	spec := SavedModelSpec{ExportDir: exportDir, Version: version}
	dirs := []string{spec.VersionDir()}
	// saved_model.pb goes first: what is left is no model to a server.
	for _, name := range append([]string{savedmodel.FileName}, files...) {
		if !filepath.IsLocal(filepath.FromSlash(name)) { // a state may be edited
			return fmt.Errorf("delete saved model %s: %q is not below it", spec.File(), name)
		}
		path := spec.path(name)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("delete saved model %s: %w", path, pathCause(err))
		}
		for dir := filepath.Dir(path); len(dir) > len(spec.VersionDir()); dir = filepath.Dir(dir) {
			if !slices.Contains(dirs, dir) {
				dirs = append(dirs, dir)
			}
		}
	}
	slices.SortFunc(dirs, func(a, b string) int { return len(b) - len(a) }) // inner ones first
	for _, dir := range dirs {
		if err := removeEmpty(dir); err != nil {
			return fmt.Errorf("delete saved model %s: %w", spec.File(), err)
		}
	}
	entries, err := os.ReadDir(exportDir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("delete saved model %s: %w", spec.File(), pathCause(err))
	}
	if len(entries) == 1 && entries[0].Name() == DigestKeyName {
		if err := os.Remove(filepath.Join(exportDir, DigestKeyName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("delete digest key in %s: %w", exportDir, pathCause(err))
		}
	}
	return atomicfile.SyncDir(exportDir)
}

// removeEmpty removes a directory if it is there and empty.
func removeEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) > 0 {
		return nil
	}
	if err != nil {
		return pathCause(err)
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return pathCause(err)
	}
	return atomicfile.SyncDir(filepath.Dir(dir))
}
