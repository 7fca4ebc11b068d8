package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layer is a file system. It is compressed once, and only if somebody asks.
type layer struct {
	content    []byte // a tar archive
	diffID     v1.Hash
	compressed func() ([]byte, error)
}

var _ partial.CompressedLayer = (*layer)(nil)

func newLayer(content []byte) *layer {
	return &layer{content: content, diffID: digestOf(content), compressed: sync.OnceValues(func() ([]byte, error) {
		var b bytes.Buffer
		z := gzip.NewWriter(&b) // its header has no time
		_, err := z.Write(content)
		if err := errors.Join(err, z.Close()); err != nil {
			return nil, fmt.Errorf("compress layer: %w", err)
		}
		return b.Bytes(), nil
	})}
}

// Digest implements partial.CompressedLayer.
func (l *layer) Digest() (v1.Hash, error) {
	data, err := l.compressed()
	return digestOf(data), err
}

// DiffID is the digest of what is not compressed.
func (l *layer) DiffID() (v1.Hash, error) { return l.diffID, nil }

// Size implements partial.CompressedLayer.
func (l *layer) Size() (int64, error) {
	data, err := l.compressed()
	return int64(len(data)), err
}

// MediaType implements partial.CompressedLayer.
func (l *layer) MediaType() (types.MediaType, error) { return types.DockerLayer, nil }

// Compressed implements partial.CompressedLayer.
func (l *layer) Compressed() (io.ReadCloser, error) {
	data, err := l.compressed()
	return io.NopCloser(bytes.NewReader(data)), err
}

// manifest lists what the image is made of.
func (i *Image) manifest() ([]byte, error) {
	size, err := i.layer.Size()
	if err != nil {
		return nil, err
	}
	digest, err := i.layer.Digest()
	if err != nil {
		return nil, err
	}
	return json.Marshal(&v1.Manifest{
		SchemaVersion: 2, MediaType: types.DockerManifestSchema2,
		Config: v1.Descriptor{MediaType: types.DockerConfigJSON, Size: int64(len(i.config)), Digest: digestOf(i.config)},
		Layers: []v1.Descriptor{{MediaType: types.DockerLayer, Size: size, Digest: digest}},
	})
}

// core is the image as the library takes it.
type core struct{ *Image }

var _ partial.CompressedImageCore = core{}

func (c core) RawConfigFile() ([]byte, error)      { return c.config, nil }
func (c core) RawManifest() ([]byte, error)        { return c.manifest() }
func (c core) MediaType() (types.MediaType, error) { return types.DockerManifestSchema2, nil }
func (c core) LayerByDigest(digest v1.Hash) (partial.CompressedLayer, error) {
	if found, err := c.layer.Digest(); err != nil || found != digest {
		return nil, fmt.Errorf("find layer %s: there is none: %w", digest, err)
	}
	return c.layer, nil
}

func digestOf(data []byte) v1.Hash {
	sum := sha256.Sum256(data)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

// layerTar is the file system. A temporary directory is in it because
// libraries expect one; the server is given none that it can write to.
func layerTar(program []byte) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []*tar.Header{
		{Name: "ccctl", Typeflag: tar.TypeReg, Mode: 0o555, Size: int64(len(program))},
		{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777},
	} {
		h.ModTime, h.Format = time.Unix(0, 0).UTC(), tar.FormatPAX
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("write layer: %w", err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(program); err != nil {
				return nil, fmt.Errorf("write layer: %w", err)
			}
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	return b.Bytes(), nil
}
