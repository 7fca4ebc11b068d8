package deploy

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/serving/savedmodel"
)

var (
	// ErrModelExists says that a version directory holds something else than
	// what was to be published there.
	ErrModelExists = errors.New("the version exists with other content")
	// ErrModelChanged says that a published model is not the one that was
	// published.
	ErrModelChanged = errors.New("it is not the model that was published")
	// ErrFilesChanged says that a source directory does not have the files that it
	// had.
	ErrFilesChanged = errors.New("it has other files than it had")
	// ErrSourceDigest says that a source is not the pinned one.
	ErrSourceDigest = errors.New("it is not the pinned file")
)

// SavedModelSpec says which SavedModel is wished.
type SavedModelSpec struct {
	// Source is the frozen graph, in binary or text form: a path, or a URL as
	// [Fetch] takes them, which must be in binary form. Or it is the version
	// directory of a SavedModel, which is published as it is.
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
	// Files are those that the model must have, as [SavedModelSpec.SourceFiles]
	// gave them; nil: any.
	Files []string
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
	Files   []string `json:"files"`  // below the version directory, with slashes, sorted
	SHA256  string   `json:"sha256"` // of saved_model.pb; empty before it is made. Not for a state: it would confirm guesses.
	Digest  string   `json:"-"`      // keyed, for a state; empty without a key
	Written bool     `json:"written"`
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
	err := spec.make(ctx, func(m *made) error {
		model = spec.model(m)
		if key == nil {
			return nil
		}
		sums := newSums(key, len(m.files))
		if err := spec.publish(ctx, leaveModel, m, sums); err != nil {
			return err
		}
		model.Digest = key.format(sums.keyed)
		return nil
	})
	return model, err
}

func (s SavedModelSpec) model(m *made) SavedModel {
	return SavedModel{File: s.File(), Report: m.report, Files: m.names()}
}

// PublishOptions say how a SavedModel is published.
type PublishOptions struct {
	// Replace allows to write over a version with other content: one that the
	// caller has published itself.
	Replace bool
	// Owned are the files of that version, below its directory: those that the
	// new one does not have are removed.
	Owned []string
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
	err := spec.make(ctx, func(m *made) error {
		what, err := spec.decide(ctx, m, opts)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(spec.ExportDir, m.dir); err != nil {
			return fmt.Errorf("create export directory %s: %w", spec.ExportDir, pathCause(err))
		}
		key, err := opts.key(spec.ExportDir)
		if err != nil {
			return err
		}
		sums := newSums(key, len(m.files))
		if err := spec.publish(ctx, what, m, sums); err != nil {
			return err
		}
		model = spec.model(m)
		model.SHA256, model.Digest, model.Written = hex.EncodeToString(sums.plain.Sum(nil)), key.format(sums.keyed), what != leaveModel
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
