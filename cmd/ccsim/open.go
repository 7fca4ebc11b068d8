package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

// protectedFile is one argument of --open.
type protectedFile struct{ file, enclavePath string }

// openFiles opens all files and prints a line for each, in the format of sha256sum. The first that does not open ends it.
func openFiles(ctx context.Context, s *streams, key protectedfile.Key, files []protectedFile, extract string) error {
	for _, f := range files {
		sum, err := f.open(ctx, key, extract)
		if err != nil {
			return fmt.Errorf("open %s as %s: %w", f.file, f.enclavePath, err)
		}
		if _, err := fmt.Fprintf(s.out, "%x  %s\n", sum, f.enclavePath); err != nil {
			return fmt.Errorf("write result: %w", err)
		}
	}
	return nil
}

func (f protectedFile) open(ctx context.Context, key protectedfile.Key, extract string) (sum []byte, err error) {
	src, err := os.Open(f.file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = src.Close() }()
	info, err := src.Stat()
	if err != nil {
		return nil, err
	}
	r, err := protectedfile.NewReader(src, info.Size(), key, protectedfile.ReaderOptions{Path: f.enclavePath})
	if err != nil {
		return nil, err
	}
	dst, finish, err := f.destination(extract)
	if err != nil {
		return nil, err
	}
	hash := sha256.New()
	_, err = io.Copy(io.MultiWriter(hash, dst), contextReader{ctx, io.NewSectionReader(r, 0, r.Size())})
	return hash.Sum(nil), errors.Join(err, finish(err == nil))
}

// destination opens the file for the plaintext below dir, or nothing when there is none. What finish gets
// tells whether the file is complete; an incomplete one is removed.
func (f protectedFile) destination(dir string) (w io.Writer, finish func(complete bool) error, err error) {
	if dir == "" {
		return io.Discard, func(bool) error { return nil }, nil
	}
	name := strings.TrimPrefix(path.Clean("/"+f.enclavePath), "/")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	// The root keeps a symbolic link below dir from leading elsewhere.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	name = filepath.FromSlash(name)
	if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, nil, errors.Join(err, root.Close())
	}
	out, err := root.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, errors.Join(err, root.Close())
	}
	return out, func(complete bool) error {
		err := out.Close()
		if !complete || err != nil {
			err = errors.Join(err, root.Remove(name))
		}
		return errors.Join(err, root.Close())
	}, nil
}

// contextReader stops a copy when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
