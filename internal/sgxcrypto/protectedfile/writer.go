package protectedfile

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
)

// WriterOptions say what to write and how.
type WriterOptions struct {
	// Path is what is embedded, normalised by [NormalizePath]: the path under
	// which Gramine will open the file. Required.
	Path string
	// Format is [FormatV1] when zero.
	Format Format
	// Jobs is the number of goroutines that encrypt; the number of cores when
	// 0.
	Jobs int
	// Size is the number of plaintext bytes to come when it is known, else 0.
	// Another number is an error then; hash nodes are written only once, and
	// few stay in memory.
	Size int64
	// Digest asks for [Summary.SourceDigest], which costs as much as
	// encrypting. [EncryptReproducible] always computes it.
	Digest bool
	// Rand gives the keys of the nodes and the nonce; the operating system's
	// source when nil. It must never give the same bytes twice.
	Rand io.Reader
	// Progress, when set, is called with the number of plaintext bytes written
	// since the last call. Calls do not overlap.
	Progress func(n int64)
}

// Summary says what was written.
type Summary struct {
	Path      string // as embedded
	Format    Format
	Size      int64 // of the plaintext, in bytes
	FileSize  int64 // in bytes
	DataNodes int64
	HashNodes int64
	// SourceDigest is what [SourceDigest] gives for the plaintext; zero unless
	// it was asked for.
	SourceDigest [digestSize]byte
	// HeaderDigest is the SHA-256 of node 0. Since node 0 vouches for all
	// others, no other file that the wrap key opens has it.
	HeaderDigest [digestSize]byte
}

// unknown is the number of groups of a plaintext whose size is not known yet.
const unknown = -1

// Writer encrypts what is written to it. The data goes out as it comes in, a
// group of 96 nodes at a time and not in order; the hash nodes above others and
// node 0 follow on [Writer.Close]. Of a plaintext whose size is not known
// beforehand, hash nodes are read back from dst when it is an [io.ReaderAt]
// too; otherwise they all stay in memory, about 1 % of the plaintext.
//
// Either Close or [Writer.Abort] must be called. A Writer is for one goroutine.
type Writer struct {
	dst    io.WriterAt
	back   io.ReaderAt
	wrap   Key
	opts   WriterOptions
	keys   keySource
	groups int64 // hash nodes in all, or unknown

	meta     metadata
	size     int64
	interior map[int64]*hashNode // hash nodes with others below them
	current  *groupBuffer        // of the group that is being filled
	leaves   leaves
	witness  *witness // of an earlier pass over the source, or nil

	jobs    chan job
	free    chan struct{} // a token for each buffer that may be taken
	stopped chan struct{} // closed on the first error
	running sync.WaitGroup

	mu       sync.Mutex
	idle     sync.Cond
	inFlight map[int64]struct{}
	err      error
	closed   bool
	summary  Summary
}

// job is a group on its way to a worker.
type job struct {
	m      int64
	n      int // plaintext bytes
	buf    *groupBuffer
	own    *hashNode // where the slots go if the hash node is kept, else nil
	parent *hashNode // nil for the root
	leaf   *[digestSize]byte
}

// NewWriter starts a protected file at offset 0 of dst. What dst held before
// must be gone: nothing is truncated.
func NewWriter(dst io.WriterAt, key Key, opts WriterOptions) (*Writer, error) {
	if err := opts.complete(key); err != nil {
		return nil, err
	}
	return newWriter(dst, key, opts, &randomKeys{rand: opts.Rand}), nil
}

// complete checks the options and fills in what they leave out.
func (o *WriterOptions) complete(key Key) error {
	path, err := EmbeddablePath(o.Path)
	if err != nil {
		return err
	}
	o.Path = path
	if o.Format == 0 {
		o.Format = FormatV1
	}
	if !o.Format.valid() {
		return fmt.Errorf("write protected file: format %d does not exist, want 1 or 2", o.Format)
	}
	if _, err := shapeOf(o.Size); err != nil {
		return fmt.Errorf("write protected file: %w", err)
	}
	if key.isZero() {
		return fmt.Errorf("write protected file: %w", errZeroKey)
	}
	return nil
}

// newWriter starts a Writer with options that are complete.
func newWriter(dst io.WriterAt, key Key, opts WriterOptions, keys keySource) *Writer {
	w := &Writer{
		dst: dst, wrap: key, opts: opts, keys: keys, groups: unknown,
		interior: map[int64]*hashNode{},
		inFlight: map[int64]struct{}{},
		stopped:  make(chan struct{}),
	}
	if s, err := shapeOf(opts.Size); err == nil && opts.Size > 0 {
		w.groups = s.hash
	}
	if opts.Digest {
		w.leaves = make(leaves, 1, 1+max(w.groups, 0))
	}
	w.back, _ = dst.(io.ReaderAt)
	w.idle.L = &w.mu
	copy(w.meta[:pathSize], opts.Path)
	return w
}

// Write encrypts p. After an error all that is left is [Writer.Abort].
func (w *Writer) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		room, err := w.room()
		if err != nil {
			return written, err
		}
		n := copy(room, p)
		p = p[n:]
		written += n
		if err := w.advance(n); err != nil {
			return written, err
		}
	}
	return written, nil
}

// ReadFrom encrypts what r gives until its end.
func (w *Writer) ReadFrom(r io.Reader) (int64, error) {
	return w.readFrom(context.Background(), r)
}

func (w *Writer) readFrom(ctx context.Context, r io.Reader) (int64, error) {
	var total int64
	empty := 0
	for {
		if err := ctx.Err(); err != nil {
			return total, err
		}
		room, err := w.room()
		if err != nil {
			return total, err
		}
		n, err := r.Read(room)
		total += int64(n)
		if aerr := w.advance(n); aerr != nil {
			return total, aerr
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, fmt.Errorf("read plaintext: %w", err)
		}
		if empty++; n > 0 {
			empty = 0
		} else if empty == 100 {
			return total, fmt.Errorf("read plaintext: %w", io.ErrNoProgress)
		}
	}
}

// room is where the next plaintext bytes go; it is never empty.
func (w *Writer) room() ([]byte, error) {
	if w.closed {
		return nil, errors.New("write protected file: already closed")
	}
	if w.size < inlineSize {
		return w.meta.inline()[w.size:], nil
	}
	if w.current == nil {
		if err := w.acquire(); err != nil {
			return nil, err
		}
	}
	return w.current.data()[(w.size-inlineSize)%groupData:], nil
}

// advance counts n bytes that were put into the room, and passes a full group
// on.
func (w *Writer) advance(n int) error {
	if n == 0 {
		return nil
	}
	limit := int64(MaxPlaintextSize)
	if w.opts.Size > 0 {
		limit = w.opts.Size
	}
	if w.size > limit-int64(n) {
		return fmt.Errorf("write protected file: %w: it has more than %d bytes", errSourceChanged, limit)
	}
	w.size += int64(n)
	if filled := w.size - inlineSize; filled > 0 && filled%groupData == 0 {
		return w.dispatch(filled/groupData-1, groupData)
	}
	return nil
}

// Close writes what is left and the nodes that vouch for the rest. Without it
// there is no protected file.
func (w *Writer) Close() error {
	if w.closed {
		return errors.New("write protected file: already closed")
	}
	// A buffer may have been taken for bytes that never came.
	if filled := w.size - inlineSize; filled > 0 && filled%groupData > 0 {
		if err := w.dispatch(filled/groupData, int(filled%groupData)); err != nil {
			w.Abort()
			return err
		}
	}
	w.stop()
	if err := w.failure(); err != nil {
		return err
	}
	if err := w.finish(); err != nil {
		return fmt.Errorf("write protected file: %w", err)
	}
	return nil
}

// Abort ends the goroutines of a Writer that will not be closed. After Close
// it does nothing.
func (w *Writer) Abort() {
	if !w.closed {
		w.fail(errors.New("write protected file: aborted"))
		w.stop()
	}
}

// Summary says what was written, after Close.
func (w *Writer) Summary() Summary { return w.summary }

// finish writes the kept hash nodes, children before parents, then node 0.
func (w *Writer) finish() error {
	s, err := shapeOf(w.size)
	if err != nil {
		return err
	}
	if w.opts.Size > 0 && w.size != w.opts.Size {
		return fmt.Errorf("%w: it has %d bytes, not %d", errSourceChanged, w.size, w.opts.Size)
	}
	if w.opts.Digest {
		w.leaves[0] = sha256.Sum256(w.meta.inline()[:min(w.size, inlineSize)])
	}
	if w.witness != nil && !w.witness.recognises(0, w.meta.inline()[:min(w.size, inlineSize)]) {
		return fmt.Errorf("%w: its first bytes are not what they were", errSourceChanged)
	}
	var out [NodeSize + tagSize]byte
	for m := s.hash - 1; m >= 0; m-- {
		node, kept := w.interior[m]
		if !kept {
			continue
		}
		at := w.meta.root()
		if m > 0 {
			at = w.interior[parentHash(m)].hashSlot(m)
		}
		if err := w.keys.nodeKeys(hashNodeNumber(m), at.key()); err != nil {
			return err
		}
		sealHash(&out, node, at)
		if err := w.writeNode(out[:NodeSize], hashNodeNumber(m)); err != nil {
			return err
		}
	}
	w.meta.setSize(uint64(w.size))
	var head [NodeSize]byte
	if err := sealHeader(&head, &w.meta, w.wrap, w.opts.Format, w.keys); err != nil {
		return err
	}
	if err := w.writeNode(head[:], 0); err != nil {
		return err
	}
	w.summary = Summary{
		Path: w.opts.Path, Format: w.opts.Format, Size: s.size, FileSize: s.fileSize(), DataNodes: s.data, HashNodes: s.hash,
		HeaderDigest: sha256.Sum256(head[:]),
	}
	if w.opts.Digest {
		w.summary.SourceDigest = keyed(w.wrap, w.leaves.root(s.size))
	}
	if w.opts.Progress != nil {
		w.opts.Progress(min(w.size, inlineSize))
	}
	return nil
}

func (w *Writer) writeNode(p []byte, node int64) error {
	if _, err := w.dst.WriteAt(p, node*NodeSize); err != nil {
		return fmt.Errorf("write node %d: %w", node, err)
	}
	return nil
}

// Encrypt makes a protected file of what src gives, with keys and nonce drawn
// at random: encrypting the same twice gives two different files. What dst held
// before must be gone, and after an error what it holds must be thrown away.
//
// It encrypts on several goroutines and returns when they have ended.
// Cancelling ctx ends it within the time that the reading or writing of one
// group of 384 KiB takes.
func Encrypt(ctx context.Context, dst io.WriterAt, src io.Reader, key Key, opts WriterOptions) (Summary, error) {
	w, err := NewWriter(dst, key, opts)
	if err != nil {
		return Summary{}, err
	}
	return w.run(ctx, src)
}

// EncryptReproducible makes the one protected file that belongs to the
// plaintext, the wrap key, the path and the format; the package comment says
// how and what it reveals. It reads src twice and fails when the two passes see
// different bytes. [WriterOptions.Rand] is not used.
func EncryptReproducible(ctx context.Context, dst io.WriterAt, src io.ReaderAt, size int64, key Key, opts WriterOptions) (Summary, error) {
	opts.Size, opts.Digest = size, false // the first pass makes the digest
	if err := opts.complete(key); err != nil {
		return Summary{}, err
	}
	s, err := shapeOf(size)
	if err != nil {
		return Summary{}, err
	}
	witness, err := newWitness(s)
	if err != nil {
		return Summary{}, err
	}
	l := newLeaves(s)
	err = eachPart(ctx, src, s, opts.Jobs, func(i int64, part []byte) {
		l[i] = sha256.Sum256(part)
		witness.see(i, part)
	})
	if err != nil {
		return Summary{}, fmt.Errorf("digest source: %w", err)
	}
	digest := l.root(size)
	w := newWriter(dst, key, opts, newDerivedKeys(key, digest, s, opts.Format, opts.Path))
	w.witness = witness
	// One byte more than expected, so that a source that grew is noticed.
	sum, err := w.run(ctx, io.NewSectionReader(src, 0, size+1))
	if err != nil {
		return Summary{}, err
	}
	sum.SourceDigest = keyed(key, digest)
	return sum, nil
}

// Reencrypt writes the plaintext of r as a new file under another wrap key, with
// the path as it is embedded, the same format, and fresh keys for every node.
// [WriterOptions.Path], Format and Size are not used. The new wrap key may be
// the old one.
func Reencrypt(ctx context.Context, dst io.WriterAt, r *Reader, newKey Key, opts WriterOptions) (Summary, error) {
	opts.Path, opts.Format, opts.Size = "placeholder", r.Format(), r.Size()
	if err := opts.complete(newKey); err != nil {
		return Summary{}, err
	}
	// Tools before Gramine 1.4 embedded paths that were not normalised; it is
	// not for this function to make a file of another name of them.
	opts.Path = r.Path()
	w := newWriter(dst, newKey, opts, &randomKeys{rand: opts.Rand})
	return w.run(ctx, io.NewSectionReader(r, 0, r.Size()))
}

// run encrypts all of src and finishes.
func (w *Writer) run(ctx context.Context, src io.Reader) (Summary, error) {
	defer w.Abort()
	if _, err := w.readFrom(ctx, src); err != nil {
		return Summary{}, err
	}
	if err := w.Close(); err != nil {
		return Summary{}, err
	}
	return w.Summary(), nil
}
