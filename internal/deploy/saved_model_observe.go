package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
	"github.com/ccctl/terraform-provider-cc/internal/serving/savedmodel"
)

// InspectSavedModel describes the model file at path: a frozen graph in binary
// or text form, a SavedModel, or the saved_model.pb in a directory.
func InspectSavedModel(path string) (*savedmodel.GraphInfo, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, savedmodel.FileName)
	}
	f, info, err := openRegular(path)
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	graph, size, err := SavedModelSpec{}.binary(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", path, err)
	}
	described, err := savedmodel.Inspect(graph, size)
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", path, err)
	}
	if graph != io.ReaderAt(f) { // it was text
		described.Kind, described.Size = savedmodel.FrozenGraphText, info.Size()
	}
	return described, nil
}

// CheckSavedModel compares the published model with its digest. The error
// wraps [fs.ErrNotExist] when it is missing, [ErrModelChanged] when it is
// another, [ErrOtherDigestKey] when the key cannot tell; with anything else it
// could not be read.
func CheckSavedModel(ctx context.Context, file string, key *DigestKey, digest string) error {
	if !key.Made(digest) {
		f, _, err := openRegular(file)
		if err != nil {
			return fmt.Errorf("read saved model %s: %w", file, err)
		}
		_ = f.Close()
		return fmt.Errorf("check saved model %s: %w", file, ErrOtherDigestKey)
	}
	got, err := DigestSavedModel(ctx, file, key)
	if err != nil {
		return err
	}
	if got != digest {
		return fmt.Errorf("use saved model %s: %w", file, ErrModelChanged)
	}
	return nil
}

// CompareSavedModel compares the published model with what the source converts
// to now, with the errors of [CheckSavedModel]; it needs no digest. An error of
// the source is a [*SourceError].
//
// A source that is a URL is not fetched for it: the graph inside the published
// model must then be the pinned one, and convert to that model.
func CompareSavedModel(ctx context.Context, spec SavedModelSpec) error {
	if spec.Remote() {
		return spec.compareRemote(ctx)
	}
	var finding error
	err := spec.convert(ctx, func(c *conversion) error {
		same, err := spec.compare(ctx, c)
		switch {
		case err != nil:
			finding = fmt.Errorf("read saved model %s: %w", spec.File(), err)
		case !same:
			finding = fmt.Errorf("use saved model %s: %w", spec.File(), ErrModelChanged)
		}
		return nil
	})
	if err != nil {
		return &SourceError{err}
	}
	return finding
}

func (s SavedModelSpec) compareRemote(ctx context.Context) error {
	f, info, err := openRegular(s.File())
	if err != nil {
		return fmt.Errorf("read saved model %s: %w", s.File(), err)
	}
	defer func() { _ = f.Close() }()
	changed := func(err error) error {
		return fmt.Errorf("use saved model %s: %w: %w", s.File(), ErrModelChanged, err)
	}
	graph, err := savedmodel.EmbeddedGraph(f, info.Size())
	if err != nil {
		return changed(err)
	}
	if err := checkSHA256(ctx, graph, s.SourceSHA256); err != nil {
		return changed(err)
	}
	c, err := savedmodel.Prepare(graph, graph.Size(), s.options())
	if err != nil {
		return changed(err)
	}
	if same, err := s.compare(ctx, &conversion{Conversion: c}); err != nil || !same {
		return changed(errDifferent)
	}
	return nil
}

// DigestSavedModel is the digest of a published model under a key.
func DigestSavedModel(ctx context.Context, file string, key *DigestKey) (string, error) {
	f, _, err := openRegular(file)
	if err != nil {
		return "", fmt.Errorf("read saved model %s: %w", file, err)
	}
	defer func() { _ = f.Close() }()
	h := key.hash()
	if _, err := io.Copy(contextWriter{ctx, h}, f); err != nil {
		return "", fmt.Errorf("read saved model %s: %w", file, pathCause(err))
	}
	return key.format(h), nil
}

// A SourceError is a failure to read or convert a source, as opposed to one of
// the file made from it.
type SourceError struct{ Err error }

func (e *SourceError) Error() string { return e.Err.Error() }
func (e *SourceError) Unwrap() error { return e.Err }

// RemoveSavedModel removes a published saved_model.pb, its version directory if
// nothing else is in it, and the digest key of the export directory if nothing
// is left for it to key. It is no error if the model is gone. Whether it is the
// one that was published is for the caller to check.
func RemoveSavedModel(exportDir string, version int64) error {
	spec := SavedModelSpec{ExportDir: exportDir, Version: version}
	err := os.Remove(spec.File())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete saved model %s: %w", spec.File(), pathCause(err))
	}
	if err := removeEmpty(spec.VersionDir()); err != nil {
		return fmt.Errorf("delete saved model %s: %w", spec.File(), err)
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

// AdoptSavedModel finds out how the published model of ExportDir and Version
// was made from the source: it fills in the inputs and outputs of the spec, in
// the fewest words. The error wraps [ErrModelChanged] when the model was made of
// something else or by something else.
func AdoptSavedModel(ctx context.Context, spec SavedModelSpec) (SavedModelSpec, error) {
	info, err := InspectSavedModel(spec.File())
	if err != nil {
		return spec, err
	}
	if info.Kind != savedmodel.SavedModel || len(info.MetaGraphs) != 1 || len(info.MetaGraphs[0].Signatures) != 1 {
		return spec, fmt.Errorf("adopt %s: %w: it is a %s with %d graphs, and one with one signature is made here",
			spec.File(), ErrModelChanged, info.Kind, len(info.MetaGraphs))
	}
	signature := info.MetaGraphs[0].Signatures[0]
	for _, typed := range []bool{false, true} {
		if spec.Inputs, err = adoptTensors(savedmodel.Input, signature.Inputs, typed); err != nil {
			return spec, fmt.Errorf("adopt %s: %w", spec.File(), err)
		}
		if spec.Outputs, err = adoptTensors(savedmodel.Output, signature.Outputs, typed); err != nil {
			return spec, fmt.Errorf("adopt %s: %w", spec.File(), err)
		}
		if err = CompareSavedModel(ctx, spec); err == nil {
			return spec, nil
		}
	}
	return spec, err
}

// adoptTensors words a signature's tensors; the dtype and shape only if typed.
func adoptTensors(role savedmodel.Role, tensors []savedmodel.SignatureTensor, typed bool) ([]savedmodel.TensorSpec, error) {
	specs := make([]savedmodel.TensorSpec, 0, len(tensors))
	for _, t := range tensors {
		spec, err := savedmodel.ParseTensorSpec(t.Tensor)
		if err != nil {
			return nil, err
		}
		if typed {
			spec.DType, spec.Shape = t.DType, t.Shape
		}
		specs = append(specs, spec)
	}
	keyed := savedmodel.WithKeys(role, specs)
	for i, t := range tensors {
		if keyed[i].Key != t.Key {
			specs[i].Key = t.Key
		}
	}
	return specs, nil
}
