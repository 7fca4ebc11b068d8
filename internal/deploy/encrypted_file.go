package deploy

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ccctl/terraform-provider-cc/internal/atomicfile"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

// EncryptSpec says which protected file is wished.
type EncryptSpec struct {
	// Source is the file to encrypt; Input, when set, is read instead, and
	// Source only names it.
	Source string
	Input  io.Reader
	// Destination is the protected file. What is there is replaced in one step.
	Destination string
	// EnclavePath is embedded: the path under which Gramine opens the file.
	EnclavePath string
	Format      protectedfile.Format // version 1 when zero
	Key         protectedfile.Key
	// Reproducible makes the same file of the same source each time. Input
	// cannot be read twice, so it needs a Source.
	Reproducible bool
	// Digest asks for the digest of the source in the result. It costs about as
	// much as encrypting, and nothing more for a reproducible file.
	Digest bool
	// CreateDirs makes missing directories above the destination.
	CreateDirs bool
	// Jobs is the number of goroutines; one more than there are cores when 0.
	Jobs int
	// Progress is told how many more bytes are done.
	Progress func(n int64)
}

// EncryptedFile identifies a protected file by what may be stored of it.
type EncryptedFile struct {
	EnclavePath   string               `json:"path"`
	Format        protectedfile.Format `json:"format"`
	KeyID         string               `json:"wrap_key"` // the fingerprint
	SourceDigest  string               `json:"source_digest,omitempty"`
	HeaderSHA256  string               `json:"header_sha256"`
	PlaintextSize int64                `json:"plaintext_size"` // bytes
	EncryptedSize int64                `json:"encrypted_size"` // bytes
	DataNodes     int64                `json:"data_nodes"`
	HashNodes     int64                `json:"hash_nodes"`
}

// EncryptFile makes the protected file. The destination keeps the mode bits of
// the source; it appears complete and synced to the device, or not at all.
func EncryptFile(ctx context.Context, spec EncryptSpec) (EncryptedFile, error) {
	file, err := encryptFile(ctx, spec)
	if err != nil {
		return EncryptedFile{}, fmt.Errorf("encrypt %s: %w", spec.Source, err)
	}
	return file, nil
}

func encryptFile(ctx context.Context, spec EncryptSpec) (EncryptedFile, error) {
	in, mode, size, err := spec.open()
	if err != nil {
		return EncryptedFile{}, err
	}
	defer func() { _ = in.Close() }()
	opts := protectedfile.WriterOptions{
		Path: spec.EnclavePath, Format: spec.Format, Jobs: fileJobs(spec.Jobs), Progress: spec.Progress, Size: size, Digest: spec.Digest,
	}
	if spec.CreateDirs {
		if err := os.MkdirAll(filepath.Dir(spec.Destination), 0o755); err != nil { //nolint:gosec // What lies there is encrypted.
			return EncryptedFile{}, err
		}
	}
	var sum protectedfile.Summary
	err = publish(ctx, in, spec.Destination, mode, func(out *flushing) error {
		encrypted, err := protectedfile.FileSize(size)
		if err != nil {
			return err
		}
		if err := out.reserve(encrypted); err != nil {
			return err
		}
		if f, ok := in.(*os.File); ok && spec.Reproducible {
			sum, err = protectedfile.EncryptReproducible(ctx, out, f, size, spec.Key, opts)
		} else {
			sum, err = protectedfile.Encrypt(ctx, out, in, spec.Key, opts)
		}
		return err
	})
	if err != nil {
		return EncryptedFile{}, err
	}
	file := EncryptedFile{
		EnclavePath: sum.Path, Format: sum.Format, KeyID: spec.Key.Fingerprint(), HeaderSHA256: hex.EncodeToString(sum.HeaderDigest[:]),
		PlaintextSize: sum.Size, EncryptedSize: sum.FileSize, DataNodes: sum.DataNodes, HashNodes: sum.HashNodes,
	}
	if spec.Digest || spec.Reproducible {
		file.SourceDigest = hex.EncodeToString(sum.SourceDigest[:])
	}
	return file, nil
}

// open opens the source; the size is 0 when it is not known.
func (spec *EncryptSpec) open() (io.ReadCloser, fs.FileMode, int64, error) {
	if spec.Input != nil {
		if spec.Reproducible {
			return nil, 0, 0, errors.New("a reproducible file takes two passes over its source, and this one can be read only once")
		}
		return io.NopCloser(spec.Input), 0o644, 0, nil
	}
	f, info, err := openRegular(spec.Source)
	if err != nil {
		return nil, 0, 0, err
	}
	return f, info.Mode().Perm() | 0o600, info.Size(), nil
}

// openRegular opens a file whose size means something.
func openRegular(path string) (*os.File, fs.FileInfo, error) {
	info, err := os.Stat(path) // before opening: a named pipe would wait for a writer
	if err != nil {
		return nil, nil, pathCause(err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("it is not a regular file but %s", describeMode(info.Mode()))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, pathCause(err)
	}
	if info, err = f.Stat(); err != nil {
		_ = f.Close()
		return nil, nil, pathCause(err)
	}
	return f, info, nil
}

func describeMode(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	default:
		return "a file of type " + mode.Type().String()
	}
}

// publish writes a file under a temporary name and gives it its final one when
// write has succeeded. It refuses to replace the file that is being read, and
// anything that is not a file.
func publish(ctx context.Context, in any, path string, mode fs.FileMode, write func(*flushing) error) error {
	// A link is followed, as any program that opens the path would do; the
	// rename would otherwise replace the link.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	if old, err := os.Stat(path); err == nil {
		if !old.Mode().IsRegular() {
			return fmt.Errorf("replace %s: it is not a regular file but %s", path, describeMode(old.Mode()))
		}
		if f, ok := in.(*os.File); ok {
			if info, err := f.Stat(); err == nil && os.SameFile(info, old) {
				return fmt.Errorf("replace %s: %w", path, ErrSameFile)
			}
		}
	}
	out, err := atomicfile.Create(path, mode)
	if err != nil {
		return err
	}
	defer out.Abort()
	if err := write(&flushing{File: out.File}); err != nil {
		return err
	}
	if err := unlessCancelled(ctx, out.Sync); err != nil {
		return err
	}
	return out.Commit()
}

// ErrSameFile says that the output would replace the input.
var ErrSameFile = errors.New("it is the input")

// DecryptSpec says which protected file to decrypt, and what to insist on.
type DecryptSpec struct {
	Source      string
	Destination string
	Key         protectedfile.Key
	Options     protectedfile.ReaderOptions
}

// DecryptFile decrypts a protected file. The destination appears when every
// node has been authenticated, with the mode bits of the source less the access
// of others: a protected file may lie about, its plaintext may not.
func DecryptFile(ctx context.Context, spec DecryptSpec) (protectedfile.Report, error) {
	spec.Options.Jobs = fileJobs(spec.Options.Jobs)
	var report protectedfile.Report
	err := withProtected(spec.Source, spec.Key, spec.Options, func(in *os.File, r *protectedfile.Reader) error {
		info, err := in.Stat()
		if err != nil {
			return pathCause(err)
		}
		report = r.Report()
		mode := info.Mode().Perm()&^0o007 | 0o600
		return publish(ctx, in, spec.Destination, mode, func(out *flushing) error {
			if err := out.reserve(r.Size()); err != nil {
				return err
			}
			return r.Decrypt(ctx, out)
		})
	})
	if err != nil {
		return protectedfile.Report{}, fmt.Errorf("decrypt %s: %w", spec.Source, err)
	}
	return report, nil
}

// DecryptTo writes the plaintext to w in order, for a pipe. It reads the file
// twice: nothing is written before all of it has been authenticated, and what
// is written is authenticated once more, since the file may have changed.
func DecryptTo(ctx context.Context, w io.Writer, spec DecryptSpec) (protectedfile.Report, error) {
	var report protectedfile.Report
	err := withProtected(spec.Source, spec.Key, spec.Options, func(_ *os.File, r *protectedfile.Reader) error {
		report = r.Report()
		if err := r.Verify(ctx); err != nil {
			return err
		}
		const step = 1 << 20
		for off := int64(0); off < r.Size(); off += step {
			if err := ctx.Err(); err != nil {
				return err
			}
			if _, err := io.Copy(w, io.NewSectionReader(r, off, step)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return protectedfile.Report{}, fmt.Errorf("decrypt %s: %w", spec.Source, err)
	}
	return report, nil
}

// OpenFile authenticates the metadata of a protected file and its first hash
// node, and tells what they say.
func OpenFile(path string, key protectedfile.Key, opts protectedfile.ReaderOptions) (protectedfile.Report, error) {
	var report protectedfile.Report
	err := withProtected(path, key, opts, func(_ *os.File, r *protectedfile.Reader) error {
		report = r.Report()
		return nil
	})
	if err != nil {
		return protectedfile.Report{}, fmt.Errorf("open %s: %w", path, err)
	}
	return report, nil
}

// VerifyFile authenticates every node of a protected file and writes nothing.
func VerifyFile(ctx context.Context, path string, key protectedfile.Key, opts protectedfile.ReaderOptions) (protectedfile.Report, error) {
	var report protectedfile.Report
	err := withProtected(path, key, opts, func(_ *os.File, r *protectedfile.Reader) error {
		report = r.Report()
		return r.Verify(ctx)
	})
	if err != nil {
		return report, fmt.Errorf("verify %s: %w", path, err)
	}
	return report, nil
}

// withProtected opens a protected file for f.
func withProtected(path string, key protectedfile.Key, opts protectedfile.ReaderOptions, f func(*os.File, *protectedfile.Reader) error) error {
	in, info, err := openRegular(path)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	r, err := protectedfile.NewReader(in, info.Size(), key, opts)
	if err != nil {
		return err
	}
	return f(in, r)
}
