package protectedfile

import (
	"context"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
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
// each group.
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
	s, err := shapeOf(size)
	if err != nil {
		return [digestSize]byte{}, fmt.Errorf("digest source: %w", err)
	}
	l := newLeaves(s)
	err = eachPart(ctx, src, s, jobs, func(i int64, part []byte) { l[i] = sha256.Sum256(part) })
	if err != nil {
		return [digestSize]byte{}, fmt.Errorf("digest source: %w", err)
	}
	return keyed(key, l.root(size)), nil
}

// eachPart reads a source once and passes each part to do with its place among
// the leaves, from several goroutines.
func eachPart(ctx context.Context, src io.ReaderAt, s shape, jobs int, do func(i int64, part []byte)) error {
	var head [inlineSize]byte
	part := head[:min(s.size, inlineSize)]
	if err := readSource(src, part, 0); err != nil {
		return err
	}
	do(0, part)
	if n, err := src.ReadAt(head[:1], s.size); n > 0 {
		return fmt.Errorf("%w: it has more than %d bytes", errSourceChanged, s.size)
	} else if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return eachGroup(ctx, s, jobs, func(m int64, buf *groupBuffer) error {
		start := groupStart(m)
		part := buf.data()[:min(s.size-start, groupData)]
		if err := readSource(src, part, start); err != nil {
			return err
		}
		do(1+m, part)
		return nil
	})
}

// witness recognises the parts of a source in the second pass over it. It does
// so for a quarter of what a digest costs: by a GMAC under a key that nobody
// else ever has, of which no tag leaves the process. A part that differs has
// the same tag with a probability of at most 2^-112, whoever chose it.
type witness struct {
	aead cipher.AEAD
	tags [][tagSize]byte
}

func newWitness(s shape) (*witness, error) {
	var key [keySize]byte
	if _, err := rand.Read(key[:]); err != nil {
		return nil, fmt.Errorf("draw key to recognise the source: %w", err)
	}
	return &witness{aead: newGCM(key[:]), tags: make([][tagSize]byte, 1+s.hash)}, nil
}

// see notes a part in the first pass.
func (w *witness) see(i int64, part []byte) { w.tags[i] = w.tag(i, part) }

// recognises tells in the second pass whether a part is the one that was seen.
func (w *witness) recognises(i int64, part []byte) bool {
	tag := w.tag(i, part)
	return i < int64(len(w.tags)) && subtle.ConstantTimeCompare(tag[:], w.tags[i][:]) == 1
}

func (w *witness) tag(i int64, part []byte) (tag [tagSize]byte) {
	var nonce [12]byte
	binary.BigEndian.PutUint64(nonce[4:], uint64(i))
	w.aead.Seal(tag[:0], nonce[:], nil, part)
	return tag
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
