package image

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// What the image holds and runs as.
const (
	Program    = "/ccctl"
	Repository = "cc-key-server"
	// UID is the user and group of the server in the image: "nonroot" of the
	// distroless images, which no system gives to a person.
	UID = 65532

	// ConfigDir is where the configuration is mounted, and ConfigFile its name.
	ConfigDir  = "/etc/cc-key-server"
	ConfigFile = ConfigDir + "/config.yaml"
	// StateDir is a file system in memory, where the server says where it is.
	StateDir  = "/run/cc-key-server"
	StateFile = StateDir + "/state.json"
	// CacheDir is where collateral is kept over a restart.
	CacheDir = "/var/lib/cc-key-server"
)

// maxProgram bounds the program in bytes; it is held in memory.
const maxProgram = 256 << 20

// Image is a container image that has been made. What only its sending needs
// is computed then: a host that has the image is asked for its id, which
// follows from what is not compressed.
type Image struct {
	id     string
	config []byte
	layer  *layer
}

// ID is the digest of the image's configuration, "sha256:...": what Docker
// calls the image's id.
func (i *Image) ID() string { return i.id }

// Digest is the digest of its manifest, "sha256:...": what Docker calls its id
// where it keeps images in containerd.
func (i *Image) Digest() (string, error) {
	manifest, err := i.manifest()
	if err != nil {
		return "", err
	}
	return digestOf(manifest).String(), nil
}

// Size is the number of bytes that are sent, compressed.
func (i *Image) Size() (int64, error) { return i.layer.Size() }

// Reference is the name that Docker knows it by. It follows from its content.
func (i *Image) Reference() string { return Repository + ":" + i.id[len("sha256:"):][:16] }

// WriteTo writes the image as `docker load` reads it.
func (i *Image) WriteTo(w io.Writer) (int64, error) {
	tag, err := name.NewTag(i.Reference())
	if err != nil {
		return 0, fmt.Errorf("name image: %w", err)
	}
	img, err := partial.CompressedToImage(core{i})
	if err != nil {
		return 0, fmt.Errorf("write image: %w", err)
	}
	c := &countingWriter{w: w}
	if err := tarball.Write(tag, img, c); err != nil {
		return c.n, fmt.Errorf("write image: %w", err)
	}
	return c.n, nil
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// Build makes the image of the program at path, which must be ccctl for
// linux/amd64, statically linked.
func Build(path string) (*Image, error) {
	program, err := readProgram(path)
	if err != nil {
		return nil, fmt.Errorf("build image from %s: %w", path, err)
	}
	i, err := build(program)
	if err != nil {
		return nil, fmt.Errorf("build image from %s: %w", path, err)
	}
	return i, nil
}

func readProgram(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	program, err := io.ReadAll(io.LimitReader(f, maxProgram+1))
	if err == nil && len(program) > maxProgram {
		err = fmt.Errorf("it is larger than %d bytes", maxProgram)
	}
	if err == nil {
		err = CheckProgram(bytes.NewReader(program))
	}
	return program, err
}

func build(program []byte) (*Image, error) {
	content, err := layerTar(program)
	if err != nil {
		return nil, err
	}
	l := newLayer(content)
	epoch := v1.Time{Time: time.Unix(0, 0).UTC()}
	config, err := json.Marshal(&v1.ConfigFile{
		Architecture: "amd64", OS: "linux", Created: epoch,
		RootFS:  v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{l.diffID}},
		History: []v1.History{{Created: epoch, CreatedBy: "ccctl"}},
		Config: v1.Config{
			Entrypoint: []string{Program}, WorkingDir: "/", User: fmt.Sprintf("%d:%d", UID, UID),
			Cmd:    []string{"keyserver", "serve", "--config", ConfigFile, "--state-file", StateFile},
			Labels: map[string]string{"org.opencontainers.image.title": Repository},
			// Here and not in an option of `docker run`, which would want a shell.
			Healthcheck: &v1.HealthConfig{
				Test:     []string{"CMD", Program, "keyserver", "status", "--state-file", StateFile},
				Interval: 10 * time.Second, Timeout: 10 * time.Second, StartPeriod: 10 * time.Second, Retries: 3,
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("configure: %w", err)
	}
	return &Image{id: digestOf(config).String(), config: config, layer: l}, nil
}
