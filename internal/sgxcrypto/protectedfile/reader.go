package protectedfile

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// ReaderOptions say what a reader insists on.
type ReaderOptions struct {
	// Path is the path that the file must have been made for, as Gramine would
	// open it; it is normalised before it is compared. Required unless
	// AllowAnyPath is set.
	Path string
	// AllowAnyPath opens the file whatever path it was made for. A host that
	// holds several files of one key can then pass one off as another.
	AllowAnyPath bool
	// Strict refuses what is otherwise a warning.
	Strict bool
	// AllowPending reads a file of version 2 whose last write was interrupted,
	// as it is. Nodes that were being written may fail to authenticate.
	AllowPending bool
	// Recovery is the recovery file that Gramine left beside such a file
	// (<name>.gramine.recovery), of RecoverySize bytes. It is applied in memory
	// and gives the content from before the interrupted write.
	Recovery     io.ReaderAt
	RecoverySize int64
	// Jobs is the number of goroutines of [Decrypt] and [Verify]; the number
	// of cores when 0.
	Jobs int
	// Progress, when set, is called by [Decrypt] and [Verify] with the number
	// of plaintext bytes done since the last call. Calls do not overlap.
	Progress func(n int64)
}

// Reader gives random access to the plaintext of a protected file. It verifies
// the nodes that a read touches, and the hash nodes above them, when they are
// touched; it never gives a byte that did not authenticate. It is an
// [io.ReaderAt] and safe for concurrent use, as far as the underlying one is.
// [io.NewSectionReader] makes an io.ReadSeeker of it, as [net/http.ServeContent]
// and [archive/zip.NewReader] want.
type Reader struct {
	src      io.ReaderAt
	opts     ReaderOptions
	header   Header
	shape    shape
	meta     metadata
	nonce    [nonceSize]byte
	path     string
	warnings []*Error
	cache    [hashCacheSize]atomic.Pointer[cachedHash]
}

// hashCacheSize is the number of decrypted hash nodes that a Reader remembers,
// 4 KiB each.
const hashCacheSize = 64

type cachedHash struct {
	m    int64
	node hashNode
}

// NewReader opens a protected file of size bytes: it authenticates the metadata
// and the root hash node, compares the path and the length. Findings about the
// file are errors of type *[Error].
func NewReader(src io.ReaderAt, size int64, key Key, opts ReaderOptions) (*Reader, error) {
	if key.isZero() {
		return nil, fmt.Errorf("open protected file: %w", errZeroKey)
	}
	want, err := opts.wantedPath()
	if err != nil {
		return nil, err
	}
	r := &Reader{src: src, opts: opts}
	var node [NodeSize]byte
	if r.header, err = readHeader(src, size, &node); err != nil {
		return nil, err
	}
	if r.header.Pending {
		// In a file of version 1 the flag is a bit of ciphertext.
		if openBody(&node, key, FormatV1, &r.meta) {
			return nil, swappedFinding(FormatV1, FormatV2)
		}
		if err := r.recover(&node); err != nil {
			return nil, err
		}
	}
	if err := openHeader(&node, key, r.header.Format, &r.meta); err != nil {
		return nil, err
	}
	r.nonce = [nonceSize]byte(node[offNonce:])
	if err := r.checkMetadata(want); err != nil {
		return nil, err
	}
	if r.shape.hash > 0 {
		if _, err := r.hashNode(0); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// wantedPath is the normalised path to insist on, empty for any.
func (o *ReaderOptions) wantedPath() (string, error) {
	switch {
	case o.Path != "":
		return EmbeddablePath(o.Path)
	case o.AllowAnyPath:
		return "", nil
	default:
		return "", errors.New("open protected file: no path given to compare with the embedded one, nor any allowed")
	}
}

// checkMetadata checks what the authenticated metadata says against the path
// that is wanted and the length that was found.
func (r *Reader) checkMetadata(want string) error {
	embedded, ok := r.meta.path()
	if !ok {
		return headerFinding(KindMetadataInvalid, int64(r.header.Format.bodyOffset()), "the path in the metadata has no end")
	}
	r.path = embedded
	if want != "" && embedded != want {
		return r.wrongPath(want)
	}
	size := r.meta.size()
	if size > MaxPlaintextSize {
		return headerFinding(KindMetadataInvalid, int64(r.header.Format.bodyOffset())+offSize,
			"the plaintext size in the metadata is %d bytes, more than any file has", size)
	}
	var err error
	if r.shape, err = shapeOf(int64(size)); err != nil {
		return err
	}
	return r.checkLength()
}

func (r *Reader) wrongPath(want string) error {
	at := int64(r.header.Format.bodyOffset())
	if n, err := NormalizePath(r.path); err == nil && n == want {
		return headerFinding(KindWrongPath, at,
			"it was encrypted for the path %q, not %q: the two name the same file, but Gramine 1.3 and later normalise only the one in the manifest and refuse it; encrypt it again",
			r.path, want)
	}
	return headerFinding(KindWrongPath, at, "it was encrypted for the path %q, not %q", r.path, want)
}

// checkLength compares the length of the file with its shape.
func (r *Reader) checkLength() error {
	r.warnings = r.header.Warnings
	have, want := r.header.FileSize, r.shape.fileSize()
	switch {
	case have < want:
		return &Error{
			Kind: KindTruncated, Node: have / NodeSize, Offset: have,
			Err: fmt.Errorf("truncated: %d bytes found, %d bytes of plaintext take %d", have, r.shape.size, want),
		}
	case have%NodeSize != 0:
		return &Error{
			Kind: KindTrailingBytes, Node: r.shape.nodes, Offset: want,
			Err: fmt.Errorf("%d bytes follow the last node; they are not part of the file", have-want),
		}
	case have > want:
		r.warnings = append(r.warnings, finding(KindTrailingNodes, r.shape.nodes,
			"%d unused nodes follow the last one; they are not authenticated and ignored", (have-want)/NodeSize))
	}
	if r.opts.Strict && len(r.warnings) > 0 {
		return r.warnings[0]
	}
	return nil
}

// Size is the number of plaintext bytes.
func (r *Reader) Size() int64 { return r.shape.size }

// Path is the path that the file was made for.
func (r *Reader) Path() string { return r.path }

// Format is the version of the file.
func (r *Reader) Format() Format { return r.header.Format }

// Warnings are findings that do not affect the plaintext and that Gramine does
// not mind; [ReaderOptions.Strict] makes them errors.
func (r *Reader) Warnings() []*Error { return r.warnings }

// readRun is the number of data nodes that ReadAt reads at a time.
const readRun = 16

type runBuffer [readRun*NodeSize + tagSize]byte

var runBuffers = sync.Pool{New: func() any { return new(runBuffer) }}

// ReadAt reads plaintext. If a node does not authenticate, it returns the bytes
// before it and an *[Error].
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read protected file: offset %d is negative", off)
	}
	if off >= r.shape.size {
		return 0, io.EOF
	}
	short := false
	if rest := r.shape.size - off; int64(len(p)) > rest {
		p, short = p[:rest], true
	}
	n := 0
	if off < inlineSize {
		n = copy(p, r.meta.inline()[off:])
	}
	if n < len(p) {
		buf, ok := runBuffers.Get().(*runBuffer)
		if !ok {
			buf = new(runBuffer)
		}
		defer runBuffers.Put(buf)
		for n < len(p) {
			m, err := r.readRun(buf, p[n:], off+int64(n))
			n += m
			if err != nil {
				return n, err
			}
		}
	}
	if short {
		return n, io.EOF
	}
	return n, nil
}

// readRun reads up to readRun data nodes of one group from offset off, which is
// in a data node.
func (r *Reader) readRun(buf *runBuffer, p []byte, off int64) (int, error) {
	within := int((off - inlineSize) % NodeSize)
	first := (off - inlineSize) / NodeSize
	m, index := first/dataPerHash, int(first%dataPerHash)
	node, err := r.hashNode(m)
	if err != nil {
		return 0, err
	}
	count := min(readRun, dataPerHash-index, int(ceilDiv(int64(min(len(p), readRun*NodeSize)+within), NodeSize)))
	if err := r.readNodes(buf[:count*NodeSize], dataNodeNumber(first)); err != nil {
		return 0, err
	}
	n := 0
	for i := range count {
		at := buf[i*NodeSize:]
		if !openNode(at, at, node.dataSlot(index+i)) {
			return n, r.badNode(dataNodeNumber(first + int64(i)))
		}
		n += copy(p[n:], at[within:NodeSize])
		within = 0
	}
	return n, nil
}

// hashNode returns the plaintext of hash node m, which must not be changed.
func (r *Reader) hashNode(m int64) (*hashNode, error) {
	place := &r.cache[m%hashCacheSize]
	if c := place.Load(); c != nil && c.m == m {
		return &c.node, nil
	}
	at, err := r.hashSlot(m)
	if err != nil {
		return nil, err
	}
	var buf [NodeSize + tagSize]byte
	if err := r.readNodes(buf[:NodeSize], hashNodeNumber(m)); err != nil {
		return nil, err
	}
	if !openNode(buf[:], buf[:], at) {
		return nil, r.badNode(hashNodeNumber(m))
	}
	c := &cachedHash{m: m, node: hashNode(buf[:NodeSize])}
	place.Store(c)
	return &c.node, nil
}

// hashSlot is the slot that hash node m hangs off. The depth of the recursion
// is logarithmic: 32 hash nodes hang off each.
func (r *Reader) hashSlot(m int64) (slot, error) {
	if m == 0 {
		return r.meta.root(), nil
	}
	parent, err := r.hashNode(parentHash(m))
	if err != nil {
		return nil, err
	}
	return parent.hashSlot(m), nil
}

// readNodes reads the ciphertext of consecutive nodes.
func (r *Reader) readNodes(p []byte, node int64) error {
	n, err := r.src.ReadAt(p, node*NodeSize)
	switch {
	case n == len(p):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		end := node*NodeSize + int64(n)
		return &Error{
			Kind: KindTruncated, Node: end / NodeSize, Offset: end,
			Err: fmt.Errorf("truncated: the file ends here while it is read, and had %d bytes when it was opened", r.header.FileSize),
		}
	default:
		return fmt.Errorf("read node %d: %w", node, err)
	}
}

// badNode is the finding about a node whose tag does not match.
func (r *Reader) badNode(node int64) error {
	kind := KindDataNodeMAC
	if (node-1)%groupNodes == 0 {
		kind = KindHashNodeMAC
	}
	return finding(kind, node,
		"the authentication tag does not match: the node was damaged, altered or taken from another place or version of a file (the wrap key is right, it opened the metadata)")
}
