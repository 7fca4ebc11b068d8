package protectedfile

import (
	"context"
	"crypto/sha256"
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
	// Progress, when set, is called with the number of plaintext bytes that were
	// done since the last call; of [EncryptReproducible], each of the two passes
	// counts for half of them. Calls do not overlap.
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

// Encrypt makes a protected file of what src gives, with keys and nonce drawn
// at random: encrypting the same twice gives two different files. What dst held
// before must be gone, and after an error what it holds must be thrown away.
//
// A src that is an [io.ReaderAt] and an [io.Seeker] too, such as a file, is read
// in several places at once if [WriterOptions.Size] says how far: from its
// position on, which stays. Any other is read from front to back. Of a
// plaintext whose size is not known, hash nodes are read back from dst when it
// is an [io.ReaderAt] too; otherwise they stay in memory, about 1 % of the
// plaintext.
//
// It encrypts on several goroutines and returns when they have ended.
// Cancelling ctx ends it within the time that the reading or writing of one
// group of 384 KiB takes.
func Encrypt(ctx context.Context, dst io.WriterAt, src io.Reader, key Key, opts WriterOptions) (Summary, error) {
	if err := opts.complete(key); err != nil {
		return Summary{}, err
	}
	return newEncryption(dst, sourceOf(src, opts.Size), key, opts, &randomKeys{rand: opts.Rand}).run(ctx)
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
	progress := opts.Progress
	if progress == nil {
		progress = func(int64) {}
	}
	// Each pass is half of the work.
	opts.Progress = func(n int64) { progress(n - n/2) }
	var mu sync.Mutex
	l := newLeaves(s)
	err = eachPart(ctx, src, s, opts.Jobs, func(i int64, part []byte) {
		l[i] = sha256.Sum256(part)
		witness.see(i, part)
		mu.Lock()
		defer mu.Unlock()
		progress(int64(len(part)) / 2)
	})
	if err != nil {
		return Summary{}, fmt.Errorf("digest source: %w", err)
	}
	digest := l.root(size)
	e := newEncryption(dst, &source{at: src}, key, opts, newDerivedKeys(key, digest, s, opts.Format, opts.Path))
	e.witness = witness
	sum, err := e.run(ctx)
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
	return newEncryption(dst, &source{at: r}, newKey, opts, &randomKeys{rand: opts.Rand}).run(ctx)
}

// unknown is the number of groups of a plaintext whose size is not known yet.
const unknown = -1

// encryption is the making of one protected file. The goroutine whose turn it
// is takes the next group and decides where slots go; then it encrypts the
// group on its own. It touches only its buffer and the slots of that group, so
// nothing of that needs a lock but telling that it is done.
//
// Data goes out a group of 96 nodes at a time, not in order; the hash nodes
// above others follow at the end, then node 0. Of a plaintext of unknown size,
// hash nodes are read back from dst when it is an [io.ReaderAt] too; otherwise
// they all stay in memory, about 1 % of the plaintext.
type encryption struct {
	dst     io.WriterAt
	back    io.ReaderAt
	wrap    Key
	opts    WriterOptions
	keys    keySource
	src     *source
	witness *witness // of an earlier pass over the source, or nil
	groups  int64    // hash nodes in all, or unknown

	// Of the goroutine whose turn it is:
	meta     metadata
	size     int64 // plaintext bytes taken
	next     int64 // the next group
	interior map[int64]*hashNode

	mu       sync.Mutex // guards what follows
	idle     sync.Cond
	inFlight map[int64]struct{}
	failed   error
	leaves   leaves
}

// newEncryption starts with options that are complete.
func newEncryption(dst io.WriterAt, src *source, key Key, opts WriterOptions, keys keySource) *encryption {
	e := &encryption{
		dst: dst, wrap: key, opts: opts, keys: keys, src: src, groups: unknown,
		interior: map[int64]*hashNode{},
		inFlight: map[int64]struct{}{},
	}
	if s, err := shapeOf(opts.Size); err == nil && opts.Size > 0 {
		e.groups = s.hash
	}
	if opts.Digest {
		e.leaves = make(leaves, 1, 1+max(e.groups, 0))
	}
	e.back, _ = dst.(io.ReaderAt)
	e.idle.L = &e.mu
	copy(e.meta[:pathSize], opts.Path)
	return e
}

// run encrypts all of the source and finishes.
func (e *encryption) run(ctx context.Context) (Summary, error) {
	if err := e.takeInline(ctx); err != nil {
		return Summary{}, err
	}
	if e.size == inlineSize {
		n := e.groups
		if n == unknown {
			n = MaxPlaintextSize
		}
		err := eachGroup(ctx, workers(e.opts.Jobs, n), func(buf *groupBuffer) (group, error) { return e.take(ctx, buf) }, e.seal)
		if err != nil {
			return Summary{}, err
		}
	}
	if err := e.checkEnd(ctx); err != nil {
		return Summary{}, err
	}
	sum, err := e.finish()
	if err != nil {
		return Summary{}, fmt.Errorf("write protected file: %w", err)
	}
	return sum, nil
}

// takeInline reads what the metadata holds.
func (e *encryption) takeInline(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n, err := e.src.read(ctx, e.meta.inline()[:min(e.limit(), inlineSize)], 0)
	if err != nil {
		return err
	}
	e.size = int64(n)
	inline := e.meta.inline()[:n]
	if e.opts.Digest {
		e.leaves[0] = sha256.Sum256(inline)
	}
	if e.witness != nil && !e.witness.recognises(0, inline) {
		return fmt.Errorf("write protected file: %w: its first bytes are not what they were", errSourceChanged)
	}
	return nil
}

// limit is the number of bytes that the plaintext may have.
func (e *encryption) limit() int64 {
	if e.opts.Size > 0 || e.witness != nil {
		return e.opts.Size
	}
	return MaxPlaintextSize
}

// checkEnd compares what was read with what was announced.
func (e *encryption) checkEnd(ctx context.Context) error {
	if limit := e.limit(); limit < MaxPlaintextSize {
		if e.size != limit {
			return fmt.Errorf("write protected file: %w: it has %d bytes, not %d", errSourceChanged, e.size, limit)
		}
		more, err := e.src.goesOn(ctx, e.size)
		if err != nil {
			return err
		}
		if more {
			return fmt.Errorf("write protected file: %w: it has more than %d bytes", errSourceChanged, limit)
		}
	}
	return nil
}

// finish writes the kept hash nodes, children before parents, then node 0.
func (e *encryption) finish() (Summary, error) {
	s, err := shapeOf(e.size)
	if err != nil {
		return Summary{}, err
	}
	var out [NodeSize + tagSize]byte
	for m := s.hash - 1; m >= 0; m-- {
		node, kept := e.interior[m]
		if !kept {
			continue
		}
		at := e.meta.root()
		if m > 0 {
			at = e.interior[parentHash(m)].hashSlot(m)
		}
		if err := e.keys.nodeKeys(hashNodeNumber(m), at.key()); err != nil {
			return Summary{}, err
		}
		sealHash(&out, node, at)
		if err := e.writeNode(out[:NodeSize], hashNodeNumber(m)); err != nil {
			return Summary{}, err
		}
	}
	e.meta.setSize(uint64(e.size))
	var head [NodeSize]byte
	if err := sealHeader(&head, &e.meta, e.wrap, e.opts.Format, e.keys); err != nil {
		return Summary{}, err
	}
	if err := e.writeNode(head[:], 0); err != nil {
		return Summary{}, err
	}
	sum := Summary{
		Path: e.opts.Path, Format: e.opts.Format, Size: s.size, FileSize: s.fileSize(), DataNodes: s.data, HashNodes: s.hash,
		HeaderDigest: sha256.Sum256(head[:]),
	}
	if e.opts.Digest {
		sum.SourceDigest = keyed(e.wrap, e.leaves.root(s.size))
	}
	if e.opts.Progress != nil {
		e.opts.Progress(min(e.size, inlineSize))
	}
	return sum, nil
}

func (e *encryption) writeNode(p []byte, node int64) error {
	if _, err := e.dst.WriteAt(p, node*NodeSize); err != nil {
		return fmt.Errorf("write node %d: %w", node, err)
	}
	return nil
}
