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
	"reflect"
)

// errSourceChanged is what a source meets whose content is not what was
// announced, or what the first pass saw.
var errSourceChanged = errors.New("the source changed while it was read")

// source is where plaintext comes from.
type source struct {
	at      io.ReaderAt // several goroutines read it, offset by base; or nil
	base    int64
	mem     io.ReaderAt // what at is a section of, offset by memBase, or nil
	memBase int64
	r       io.Reader // else: from front to back
	eof     bool      // of r
}

// sourceOf finds out how the next size bytes of r, when that is known and not
// 0, can be read.
func sourceOf(r io.Reader, size int64) *source {
	if at, ok := r.(interface {
		io.ReaderAt
		io.Seeker
	}); ok && size > 0 {
		if base, err := at.Seek(0, io.SeekCurrent); err == nil { // a pipe cannot
			s := &source{at: at, base: base}
			if section, ok := r.(*io.SectionReader); ok {
				outer, off, n := section.Outer()
				if size <= n-base {
					s.mem, s.memBase = outer, off+base
				}
			}
			return s
		}
	}
	return &source{r: r}
}

// anywhere tells whether the source is read in several places at once.
func (s *source) anywhere() bool { return s.at != nil }

// window gives n bytes at off themselves, nil if the source is not in memory.
func (s *source) window(off int64, n int) []byte { return window(s.mem, s.memBase+off, n) }

// read fills p from offset off, which matters only to a source that is read
// anywhere. One that is not gives less at its end.
func (s *source) read(ctx context.Context, p []byte, off int64) (n int, err error) {
	if s.anywhere() {
		n, err = len(p), readSource(s.at, p, s.base+off)
	} else {
		n, err = s.fill(ctx, p)
	}
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("read plaintext: %w", err)
	}
	return n, err
}

// maxEmptyReads is how often a reader may give nothing and no error.
const maxEmptyReads = 100

func (s *source) fill(ctx context.Context, p []byte) (int, error) {
	n, empty := 0, 0
	for n < len(p) && !s.eof {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		m, err := s.r.Read(p[n:])
		n += m
		if errors.Is(err, io.EOF) {
			s.eof = true
		} else if err != nil {
			return n, err
		}
		if empty++; m > 0 {
			empty = 0
		} else if empty == maxEmptyReads {
			return n, io.ErrNoProgress
		}
	}
	return n, nil
}

// goesOn tells whether the source has more than size bytes.
func (s *source) goesOn(ctx context.Context, size int64) (more bool, err error) {
	if s.anywhere() {
		more, err = goesOn(s.at, s.base+size)
	} else {
		var next [1]byte
		var n int
		n, err = s.fill(ctx, next[:])
		more = n > 0
	}
	if err != nil {
		err = fmt.Errorf("read plaintext: %w", err)
	}
	return more, err
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

// goesOn tells whether there is a byte at offset size.
func goesOn(src io.ReaderAt, size int64) (bool, error) {
	var next [1]byte
	n, err := src.ReadAt(next[:], size)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return n > 0, nil
}

// Memory is a plaintext or a protected file in memory: a source or a
// destination of a fixed size. [Encrypt] works between two of them without a
// buffer, and [Decrypt] puts the plaintext into one without another; to encrypt
// one, pass [Memory.Reader].
type Memory []byte

// ReadAt reads what is there.
func (m Memory) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(m)) {
		return 0, io.EOF
	}
	n := copy(p, m[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes what there is room for; the error for more is
// [io.ErrShortWrite].
func (m Memory) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(m)) {
		return 0, io.ErrShortWrite
	}
	n := copy(m[off:], p)
	if n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

// Reader reads from the beginning, and anywhere.
func (m Memory) Reader() *io.SectionReader { return io.NewSectionReader(m, 0, int64(len(m))) }

// window gives n bytes at off themselves, nil if f is not in memory or has not
// as many.
func window(f any, off int64, n int) []byte {
	m, ok := f.(Memory)
	if !ok || off < 0 || off > int64(len(m)) || int64(n) > int64(len(m))-off {
		return nil
	}
	return m[off:][:n]
}

// overlap tells whether two slices share bytes. GCM wants to know.
func overlap(a, b []byte) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	p, q := reflect.ValueOf(a).Pointer(), reflect.ValueOf(b).Pointer()
	return p < q+uintptr(len(b)) && q < p+uintptr(len(a))
}

const digestSize = sha256.Size

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
	more, err := goesOn(src, s.size)
	if err != nil {
		return err
	}
	if more {
		return fmt.Errorf("%w: it has more than %d bytes", errSourceChanged, s.size)
	}
	return eachGroup(ctx, workers(jobs, s.hash), groupsOf(s), func(g group, buf *groupBuffer) error {
		part := buf.data()[:g.n]
		if err := readSource(src, part, groupStart(g.m)); err != nil {
			return err
		}
		do(1+g.m, part)
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

// SourceDigest decrypts the whole file and gives the [SourceDigest] of its
// plaintext under the wrap key it was opened with, and whether the file is the
// one that [EncryptReproducible] makes of it.
func (r *Reader) SourceDigest(ctx context.Context, key Key) (digest [digestSize]byte, reproducible bool, err error) {
	l := newLeaves(r.shape)
	err = r.each(ctx, nil, func(off int64, p []byte) error {
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
