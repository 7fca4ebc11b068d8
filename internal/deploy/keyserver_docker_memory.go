package deploy

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/image"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
	"github.com/ccctl/terraform-provider-cc/internal/remote"
)

// A server whose secrets are in memory alone waits for them when it starts, in
// a directory of a file system in memory (which the memory limit keeps from
// being swapped out). They come as a tar archive in the standard input of a
// second program in its container, so that they are in no argument, no
// environment and no file of the machine. Rules can be changed by a reload, as
// ever; other secrets take a new container. The old one is not stopped before
// the new one works, since it could not be started again: it is taken off the
// network.

// handedOver is where the files are in the container.
const handedOver = image.StateDir + "/files"

// Limits of what is handed over: the file system in memory has 1 MiB.
const (
	maxHandedOver = 512 << 10 // bytes
	maxHanded     = 256       // files
)

// isSecret tells which files of a configuration never get onto a disk. A file of
// certificates may hold a private key too.
func isSecret(c *keyserver.Config, f containerFile) bool {
	return f.path == &c.TLS.Certificate || f.path == &c.TLS.PrivateKey || strings.HasPrefix(f.name, "secret-")
}

// handOver gives a server in a container the files it waits for.
func (p *preparedContainer) handOver(ctx context.Context, name string) error {
	if !p.InMemory {
		return nil
	}
	archive, err := p.handed()
	if err != nil {
		return fmt.Errorf("hand over secrets: %w", err)
	}
	defer clear(archive)
	err = p.Host.Run(ctx, remote.Command{
		Args:  []string{"docker", "exec", "--interactive", name, image.Program, "keyserver", "receive", handedOver},
		Stdin: bytes.NewReader(archive), Secret: true,
	})
	if err != nil {
		return fmt.Errorf("hand over secrets: %w", err)
	}
	return nil
}

// handed is the archive of what is handed over.
func (p *preparedContainer) handed() ([]byte, error) {
	local := p.absolute()
	archive := bytes.NewBuffer(make([]byte, 0, maxHandedOver)) // so that it does not move and leave copies
	w := tar.NewWriter(archive)
	for _, f := range containerFiles(&local) {
		if !isSecret(&local, f) {
			continue
		}
		data, err := readSmallFile(*f.path)
		if err == nil && archive.Len()+len(data)+4096 > maxHandedOver {
			err = fmt.Errorf("%s: with the others it has more than the %d bytes that are kept in memory", *f.path, maxHandedOver)
		}
		if err == nil {
			err = w.WriteHeader(&tar.Header{Name: f.name, Typeflag: tar.TypeReg, Mode: 0o400, Size: int64(len(data))})
		}
		if err == nil {
			_, err = w.Write(data)
		}
		clear(data)
		if err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return archive.Bytes(), nil
}

// ReceiveFiles reads a tar archive of regular files and makes the directory dir
// of them, which must not be there: complete or not at all.
func ReceiveFiles(r io.Reader, dir string) error {
	fail := func(err error) error { return fmt.Errorf("receive files: %w", err) }
	if _, err := os.Lstat(dir); err == nil {
		return fail(fmt.Errorf("%s is there already; what has been handed over is not replaced while the server runs", dir))
	}
	part, err := os.MkdirTemp(filepath.Dir(dir), ".cc-tmp-")
	if err != nil {
		return fail(err)
	}
	defer func() { _ = os.RemoveAll(part) }() // gone already if all went well
	if err := unpack(r, part); err != nil {
		return fail(err)
	}
	if err := os.Rename(part, dir); err != nil {
		return fail(err)
	}
	return nil
}

func unpack(r io.Reader, dir string) error {
	t := tar.NewReader(io.LimitReader(r, maxHandedOver))
	for n := 0; ; n++ {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF) && n == 0:
			return errors.New("there are none")
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read archive: %w", err)
		case h.Typeflag != tar.TypeReg || h.Name != path.Base(h.Name) || strings.ContainsAny(h.Name, `/\`) || strings.HasPrefix(h.Name, "."):
			return fmt.Errorf("read archive: %q is not the name of a regular file in one directory", h.Name)
		case n == maxHanded:
			return fmt.Errorf("read archive: it has more than %d files", maxHanded)
		}
		data, err := io.ReadAll(t)
		if err == nil {
			err = writeNew(filepath.Join(dir, h.Name), data) //nolint:gosec // Its name has been checked above.
		}
		clear(data)
		if err != nil {
			return fmt.Errorf("write %s: %w", h.Name, err)
		}
	}
}

func writeNew(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// AwaitFiles waits until [ReceiveFiles] has made the directory.
func AwaitFiles(ctx context.Context, dir string) error {
	tick := time.NewTicker(2 * pollInterval)
	defer tick.Stop()
	for {
		if info, err := os.Lstat(dir); err == nil && info.IsDir() {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for files in %s: %w", dir, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// inMemory tells that a container was handed its secrets.
func (c *containerInfo) inMemory() bool { return c.Config.Labels[labelFiles] != "" }

// setAside makes room for a new container, so that the old one can come back.
func (p *preparedContainer) setAside(ctx context.Context, old *containerInfo) error {
	if _, err := p.docker(ctx, "rename", p.Name, p.previousName()); err != nil {
		return err
	}
	args := []string{"stop", p.previousName()}
	if old.inMemory() {
		args = []string{"network", "disconnect", "bridge", p.previousName()}
	}
	_, err := p.docker(ctx, args...)
	return err
}

// takeBack undoes setAside. It returns false if there is nothing to come back:
// a container that was stopped has lost the secrets it was handed.
func (p *preparedContainer) takeBack(ctx context.Context) (bool, error) {
	previous, err := p.inspect(ctx, p.previousName())
	if err != nil || previous == nil {
		return false, err
	}
	if previous.inMemory() && !previous.State.Running {
		return false, p.discard(ctx, p.previousName())
	}
	if _, err := p.docker(ctx, "rename", p.previousName(), p.Name); err != nil {
		return false, err
	}
	switch {
	case !previous.State.Running:
		_, err = p.docker(ctx, "start", p.Name)
	case len(previous.NetworkSettings.Networks) == 0:
		_, err = p.docker(ctx, "network", "connect", "bridge", p.Name)
	}
	return err == nil, err
}

// awaitFilesFlag is the argument by which a server waits for files.
const awaitFilesFlag = "--await-files"
