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
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
	"github.com/ccctl/terraform-provider-cc/internal/serving/graphtext"
	"github.com/ccctl/terraform-provider-cc/internal/serving/savedmodel"
)

var (
	// ErrModelExists says that a version directory holds something else than
	// what was to be published there.
	ErrModelExists = errors.New("the version exists with other content")
	// ErrModelChanged says that a published model is not the one that was
	// published.
	ErrModelChanged = errors.New("it is not the model that was published")
	// ErrSourceDigest says that a source is not the pinned one.
	ErrSourceDigest = errors.New("it is not the pinned file")
)

// SavedModelSpec says which SavedModel is wished.
type SavedModelSpec struct {
	// Source is the frozen graph, in binary or text form: a path, or a URL as
	// [Fetch] takes them, which must be in binary form.
	Source       string
	SourceSHA256 string // its SHA-256 in hex; empty: any, which a URL cannot be
	// ExportDir is the directory that TensorFlow Serving is given as the model's
	// base path; Version is the directory below it, from 0.
	ExportDir string
	Version   int64
	// Inputs and Outputs are the tensors of the signature; see
	// [savedmodel.Options].
	Inputs, Outputs []savedmodel.TensorSpec
	// Optimize rewrites the graph for inference.
	Optimize bool
	// Progress is told how many more bytes are written.
	Progress func(n int64)
	// Client fetches a source that is a URL; see [FetchSpec].
	Client *http.Client

	fetched bool // the source has been fetched
}

// Remote tells that the source is a URL.
func (s SavedModelSpec) Remote() bool { return strings.Contains(s.Source, "://") }

// SavedModel is what may be told of a SavedModel, published or about to be.
type SavedModel struct {
	File string `json:"file"` // path of saved_model.pb
	savedmodel.Report
	SHA256  string `json:"sha256"` // of the file; empty before it is made. Not for a state: it would confirm guesses.
	Digest  string `json:"-"`      // keyed, for a state; empty without a key
	Written bool   `json:"written"`
}

func (s SavedModelSpec) options() savedmodel.Options {
	return savedmodel.Options{Inputs: s.Inputs, Outputs: s.Outputs, Optimize: s.Optimize}
}

// VersionDir is the directory that is published.
func (s SavedModelSpec) VersionDir() string {
	return filepath.Join(s.ExportDir, strconv.FormatInt(s.Version, 10))
}

// File is the path of the published saved_model.pb.
func (s SavedModelSpec) File() string { return filepath.Join(s.VersionDir(), savedmodel.FileName) }

// PlanSavedModel tells what [PublishSavedModel] would make, without writing
// anything. With a key, the model is converted in memory for its digest. The
// error wraps [fs.ErrNotExist] when there is no source.
func PlanSavedModel(ctx context.Context, spec SavedModelSpec, key *DigestKey) (SavedModel, error) {
	var model SavedModel
	err := spec.convert(ctx, func(c *conversion) error {
		model = SavedModel{File: spec.File(), Report: c.Report()}
		if key == nil {
			return nil
		}
		sum := key.hash()
		if _, err := c.WriteTo(contextWriter{ctx, sum}); err != nil {
			return err
		}
		model.Digest = key.format(sum)
		return c.unchanged()
	})
	return model, err
}

// PublishOptions say how a SavedModel is published.
type PublishOptions struct {
	// Replace allows to write over a version with other content: one that the
	// caller has published itself.
	Replace bool
	// Digest makes the result carry a digest that a state may keep, keyed by
	// DigestKeyFile, or by a file of the export directory that is made if need
	// be.
	Digest        bool
	DigestKeyFile string
}

// PublishSavedModel converts the source and publishes it as
// ExportDir/Version/saved_model.pb. TensorFlow Serving polls the export
// directory and loads a version as soon as it has a name, so the version is
// complete and durable under a name that the server ignores before it gets its
// own in one step. A version that has the same bytes already is left as it is;
// one with other content is left too and the error wraps [ErrModelExists],
// unless it may be replaced. The files have the access bits of the source.
//
// A source that is a URL is fetched into the export directory and removed again
// when it has been converted.
func PublishSavedModel(ctx context.Context, spec SavedModelSpec, opts PublishOptions) (SavedModel, error) {
	if spec.Remote() {
		return publishRemote(ctx, spec, opts)
	}
	var model SavedModel
	err := spec.convert(ctx, func(c *conversion) error {
		what, err := spec.decide(ctx, c, opts.Replace)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(spec.ExportDir, c.dirMode()); err != nil {
			return fmt.Errorf("create export directory %s: %w", spec.ExportDir, pathCause(err))
		}
		key, err := opts.key(spec.ExportDir)
		if err != nil {
			return err
		}
		plain, keyed := sha256.New(), key.hash()
		sums := io.Writer(plain)
		if keyed != nil {
			sums = io.MultiWriter(plain, keyed)
		}
		if err := spec.publish(ctx, what, c, sums); err != nil {
			return err
		}
		model = SavedModel{
			File: spec.File(), Report: c.Report(), SHA256: hex.EncodeToString(plain.Sum(nil)), Digest: key.format(keyed), Written: what != leaveModel,
		}
		return nil
	})
	return model, err
}

func publishRemote(ctx context.Context, spec SavedModelSpec, opts PublishOptions) (SavedModel, error) {
	if _, err := parseFetchURL(spec.Source); err != nil { // before anything is made
		return SavedModel{}, err
	}
	// Only the owner may see what is fetched, and what is made of it.
	if err := os.MkdirAll(spec.ExportDir, 0o700); err != nil {
		return SavedModel{}, fmt.Errorf("create export directory %s: %w", spec.ExportDir, pathCause(err))
	}
	fetched, err := Fetch(ctx, FetchSpec{
		URL: spec.Source, SHA256: spec.SourceSHA256, Destination: filepath.Join(spec.ExportDir, ".source-"+shortDigest(spec.SourceSHA256)+".pb"),
		MaxSize: savedmodel.MaxSize, Client: spec.Client,
	})
	if err != nil {
		return SavedModel{}, err
	}
	local := spec
	local.Source, local.fetched = fetched.File, true
	model, err := PublishSavedModel(ctx, local, opts)
	if err != nil && ctx.Err() != nil {
		return model, err // the next try need not fetch it again
	}
	if rerr := os.Remove(fetched.File); err == nil && rerr != nil {
		err = fmt.Errorf("delete %s: %w", fetched.File, pathCause(rerr))
	}
	return model, err
}

func shortDigest(sum string) string { return sum[:min(len(sum), 16)] }

// errNotFetched says that a URL was given where there is only a look at files.
var errNotFetched = errors.New("it is a URL, and is fetched when it is published only")

// convert opens the source and prepares the conversion for f.
func (s SavedModelSpec) convert(ctx context.Context, f func(*conversion) error) error {
	fail := func(err error) error { return fmt.Errorf("convert %s: %w", s.Source, err) }
	if s.Version < 0 {
		return fail(fmt.Errorf("model version %d is negative, and TensorFlow Serving does not count so", s.Version))
	}
	if s.Remote() {
		return fail(errNotFetched)
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
	if err := f(&conversion{Conversion: c, file: in, source: info}); err != nil {
		return fail(err)
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

// conversion is one whose source is open.
type conversion struct {
	*savedmodel.Conversion

	file   *os.File
	source fs.FileInfo
}

// unchanged makes sure that the source is what it was when it was prepared.
func (c *conversion) unchanged() error {
	now, err := c.file.Stat()
	if err != nil {
		return pathCause(err)
	}
	if now.Size() != c.source.Size() || !now.ModTime().Equal(c.source.ModTime()) {
		return errors.New("it was changed while it was read")
	}
	return nil
}

// dirMode lets those into a directory who may read the source.
func (c *conversion) dirMode() fs.FileMode {
	perm := c.source.Mode().Perm()
	return perm | perm&0o444>>2 | 0o700
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

// publishing is what has to be done to publish a model.
type publishing uint8

const (
	leaveModel  publishing = iota // it is there
	newVersion                    // the version directory does not exist
	intoVersion                   // it exists, and its file is missing or may be replaced
)

func (s SavedModelSpec) decide(ctx context.Context, c *conversion, replace bool) (publishing, error) {
	fail := func(format string, a ...any) (publishing, error) {
		return 0, fmt.Errorf("publish %s: %w: "+format, append([]any{s.File(), ErrModelExists}, a...)...)
	}
	if err := s.checkSiblings(); err != nil {
		return 0, err
	}
	same, err := s.compare(ctx, c)
	switch {
	case same:
		return leaveModel, nil
	case err == nil && !replace:
		return fail("publish the model under another version, or delete that one if no server needs it")
	case err != nil && !errors.Is(err, fs.ErrNotExist) && !replace:
		return fail("it cannot be read: %w", err)
	}
	entries, err := os.ReadDir(s.VersionDir())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return newVersion, nil
	case err != nil:
		return 0, fmt.Errorf("publish %s: %w", s.File(), pathCause(err))
	case len(entries) > 0 && !replace:
		return fail("%s has other files, such as %s", s.VersionDir(), entries[0].Name())
	}
	return intoVersion, nil
}

// publish does it. What is in the model goes to sums too.
func (s SavedModelSpec) publish(ctx context.Context, what publishing, c *conversion, sums io.Writer) error {
	dst := io.MultiWriter(sums, progressWriter(s.Progress))
	switch what {
	case newVersion:
		return s.publishDir(ctx, c, dst)
	case intoVersion:
		return writeModel(ctx, s.File(), c, dst)
	default:
		_, err := c.WriteTo(contextWriter{ctx, sums})
		return err
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

// compare tells whether the published file has the bytes of the conversion.
func (s SavedModelSpec) compare(ctx context.Context, c *conversion) (bool, error) {
	f, info, err := openRegular(s.File())
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	if info.Size() != c.Report().Size {
		return false, nil
	}
	_, err = c.WriteTo(contextWriter{ctx, &comparer{r: f}})
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

// publishDir publishes a version that does not exist yet.
func (s SavedModelSpec) publishDir(ctx context.Context, c *conversion, sums io.Writer) error {
	temp, err := os.MkdirTemp(s.ExportDir, "."+strconv.FormatInt(s.Version, 10)+".tmp-")
	if err != nil {
		return fmt.Errorf("publish %s: %w", s.File(), pathCause(err))
	}
	defer func() { _ = os.RemoveAll(temp) }() // gone once it is renamed
	if err := os.Chmod(temp, c.dirMode()); err != nil {
		return fmt.Errorf("publish %s: %w", s.File(), pathCause(err))
	}
	if err := writeModel(ctx, filepath.Join(temp, savedmodel.FileName), c, sums); err != nil {
		return err
	}
	// rename(2) does not replace a directory that has files, so two that publish
	// at the same time cannot mix.
	if err := os.Rename(temp, s.VersionDir()); err != nil {
		if same, cerr := s.compare(ctx, c); cerr == nil && same {
			return nil // the other one published the same
		}
		return fmt.Errorf("publish %s: %w: %w", s.File(), ErrModelExists, err)
	}
	return atomicfile.SyncDir(s.ExportDir)
}

func writeModel(ctx context.Context, path string, c *conversion, sums io.Writer) error {
	out, err := atomicfile.Create(path, c.source.Mode().Perm()|0o600)
	if err != nil {
		return err
	}
	defer out.Abort()
	if _, err := c.WriteTo(contextWriter{ctx, bothWriter{out, sums}}); err != nil {
		return err
	}
	if err := c.unchanged(); err != nil {
		return err
	}
	return out.Commit()
}

// bothWriter writes to both at the same time: hashing takes as long as writing.
type bothWriter struct{ a, b io.Writer }

func (w bothWriter) Write(p []byte) (int, error) {
	other := make(chan error, 1)
	go func() {
		_, err := w.b.Write(p)
		other <- err
	}()
	n, err := w.a.Write(p)
	if berr := <-other; err == nil && berr != nil {
		return 0, berr
	}
	return n, err
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
