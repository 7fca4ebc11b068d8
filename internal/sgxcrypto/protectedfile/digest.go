package protectedfile

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const digestSize = sha256.Size

// errSourceChanged is what a source meets whose content is not what the first
// pass saw.
var errSourceChanged = errors.New("the source changed while it was read")

// leaves are the digests of a plaintext's parts: the inline bytes first, then
// each group. They are what two passes over a source are compared by.
type leaves [][digestSize]byte

func newLeaves(s shape) leaves { return make(leaves, 1+s.hash) }

// root is the digest of the plaintext as a whole.
func (l leaves) root(size int64) (digest [digestSize]byte) {
	h := sha256.New()
	h.Write([]byte("cc protected file plaintext v1\x00"))
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(size))
	h.Write(n[:])
	for i := range l {
		h.Write(l[i][:])
	}
	h.Sum(digest[:0])
	return digest
}

// keyed turns a plaintext digest into the one that may be stored.
func keyed(wrap Key, digest [digestSize]byte) (mac [digestSize]byte) {
	h := hmac.New(sha256.New, deriveSecret(wrap, "cc protected file source digest v1", 32))
	h.Write(digest[:])
	h.Sum(mac[:0])
	return mac
}

// SourceDigest identifies a plaintext of the given size under a wrap key: an
// HMAC of its digest with a key derived from the wrap key. Unlike a plain
// digest it cannot be used to test guesses without the wrap key, so it may be
// stored. [Encrypt] gives the same value of what it encrypted.
//
// It uses jobs goroutines, the number of cores when 0. A source that ends
// before size bytes or goes on after them gives an error.
func SourceDigest(ctx context.Context, src io.ReaderAt, size int64, key Key, jobs int) ([digestSize]byte, error) {
	if key.isZero() {
		return [digestSize]byte{}, fmt.Errorf("digest source: %w", errZeroKey)
	}
	l, err := digestLeaves(ctx, src, size, jobs)
	if err != nil {
		return [digestSize]byte{}, fmt.Errorf("digest source: %w", err)
	}
	return keyed(key, l.root(size)), nil
}

// digestLeaves reads the source once, a group at a time on every goroutine.
func digestLeaves(ctx context.Context, src io.ReaderAt, size int64, jobs int) (leaves, error) {
	s, err := shapeOf(size)
	if err != nil {
		return nil, err
	}
	l := newLeaves(s)
	var head [inlineSize]byte
	part := head[:min(size, inlineSize)]
	if err := readSource(src, part, 0); err != nil {
		return nil, err
	}
	l[0] = sha256.Sum256(part)
	if n, err := src.ReadAt(head[:1], size); n > 0 {
		return nil, fmt.Errorf("%w: it has more than %d bytes", errSourceChanged, size)
	} else if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	err = eachGroup(ctx, s, jobs, func(m int64, buf *groupBuffer) error {
		start := groupStart(m)
		part := buf.data()[:min(size-start, groupData)]
		if err := readSource(src, part, start); err != nil {
			return err
		}
		l[1+m] = sha256.Sum256(part)
		return nil
	})
	return l, err
}

// readSource fills p from offset off; an early end means that the source has
// shrunk.
func readSource(src io.ReaderAt, p []byte, off int64) error {
	n, err := src.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return fmt.Errorf("%w: it ends after %d bytes", errSourceChanged, off+int64(n))
	default:
		return err
	}
}

// SourceDigest decrypts the whole file and gives the [SourceDigest] of its
// plaintext under the wrap key it was opened with, and whether the file is the
// one that [EncryptReproducible] makes of it.
func (r *Reader) SourceDigest(ctx context.Context, key Key) (digest [digestSize]byte, reproducible bool, err error) {
	l := newLeaves(r.shape)
	err = r.each(ctx, func(off int64, p []byte) error {
		l[(off+groupData-1)/groupData] = sha256.Sum256(p)
		return nil
	})
	if err != nil {
		return digest, false, err
	}
	if r.shape.size == 0 {
		l[0] = sha256.Sum256(nil)
	}
	root := l.root(r.shape.size)
	derived := newDerivedKeys(key, root, r.shape, r.header.Format, r.path)
	return keyed(key, root), derived.nonce == r.nonce, nil
}
