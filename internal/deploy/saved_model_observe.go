package deploy

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/ccctl/terraform-provider-cc/internal/serving/savedmodel"
)

// InspectSavedModel describes the model file at path: a frozen graph in binary
// or text form, a SavedModel, or the directory of one, whose other files are
// checked too.
func InspectSavedModel(path string) (*savedmodel.GraphInfo, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		names, err := modelFiles(path)
		if err != nil {
			return nil, fmt.Errorf("inspect %s: %w", path, err)
		}
		described, err := inspectTree(path, names)
		if err != nil {
			return nil, fmt.Errorf("inspect %s: %w", path, err)
		}
		return described, nil
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
//
// The spec says where the model is; files are those it was published
// with, saved_model.pb alone if nil.
func CheckSavedModel(ctx context.Context, spec SavedModelSpec, files []string, key *DigestKey, digest string) error {
	if !key.Made(digest) {
		for _, name := range orOne(files) {
			f, _, err := openRegular(spec.path(name))
			if err != nil {
				return fmt.Errorf("read saved model %s: %w", spec.path(name), err)
			}
			_ = f.Close()
		}
		return fmt.Errorf("check saved model %s: %w", spec.File(), ErrOtherDigestKey)
	}
	got, err := DigestSavedModel(ctx, spec, files, key)
	if err != nil {
		return err
	}
	if got != digest {
		return fmt.Errorf("use saved model %s: %w", spec.File(), ErrModelChanged)
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
	err := spec.make(ctx, func(m *made) error {
		same, err := spec.compare(ctx, m)
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
	if s.Optimize {
		return &SourceError{fmt.Errorf("compare saved model %s: the graph in an optimised model is not the pinned one, which would have to be fetched again", s.File())}
	}
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
	if same, err := s.compare(ctx, madeOf(c, nil, nil)); err != nil || !same {
		return changed(errDifferent)
	}
	return nil
}

// orOne is what a frozen graph makes where no files are named.
func orOne(files []string) []string {
	if files == nil {
		return []string{savedmodel.FileName}
	}
	return files
}

// DigestSavedModel is the digest of a published model under a key.
func DigestSavedModel(ctx context.Context, spec SavedModelSpec, files []string, key *DigestKey) (string, error) {
	files = orOne(files)
	sums := newSums(key, len(files))
	for _, name := range files {
		path := spec.path(name)
		f, info, err := openRegular(path)
		if err != nil {
			return "", fmt.Errorf("read saved model %s: %w", path, err)
		}
		_, err = io.Copy(contextWriter{ctx, sums.file(name, info.Size())}, f)
		_ = f.Close()
		if err != nil {
			return "", fmt.Errorf("read saved model %s: %w", path, pathCause(err))
		}
	}
	return key.format(sums.keyed), nil
}

// A SourceError is a failure to read or convert a source, as opposed to one of
// the file made from it.
type SourceError struct{ Err error }

func (e *SourceError) Error() string { return e.Err.Error() }
func (e *SourceError) Unwrap() error { return e.Err }

// AdoptSavedModel finds out how the published model of ExportDir and Version
// was made from the source: it fills in the inputs and outputs of the spec, in
// the fewest words. The error wraps [ErrModelChanged] when the model was made of
// something else or by something else.
func AdoptSavedModel(ctx context.Context, spec SavedModelSpec) (SavedModelSpec, error) {
	if spec.Directory() { // published as it is
		return spec, CompareSavedModel(ctx, spec)
	}
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
