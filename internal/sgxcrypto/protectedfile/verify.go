package protectedfile

import (
	"context"
	"fmt"
	"io"
	"sync"
)

// Report says what a file was found to be.
type Report struct {
	Path      string // as embedded
	Format    Format
	Size      int64 // of the plaintext, in bytes
	FileSize  int64 // in bytes
	DataNodes int64
	HashNodes int64
	// HeaderDigest is the SHA-256 of node 0.
	HeaderDigest [digestSize]byte
	// Warnings are as of [Reader.Warnings].
	Warnings []*Error
}

// Report says what the file is, as far as opening it tells.
func (r *Reader) Report() Report {
	return Report{
		Path: r.path, Format: r.header.Format, Size: r.shape.size, FileSize: r.header.FileSize,
		DataNodes: r.shape.data, HashNodes: r.shape.hash, HeaderDigest: r.header.Digest, Warnings: r.warnings,
	}
}

// Verify authenticates every node of a file. Of several damaged nodes the error
// names the one in the first group, hash nodes before the data they cover.
func Verify(ctx context.Context, src io.ReaderAt, size int64, key Key, opts ReaderOptions) (Report, error) {
	r, err := NewReader(src, size, key, opts)
	if err != nil {
		return Report{}, err
	}
	return r.Report(), r.Verify(ctx)
}

// Verify authenticates every node of the file.
func (r *Reader) Verify(ctx context.Context) error {
	return r.each(ctx, nil, nil)
}

// Decrypt writes the plaintext to dst, in groups and not in order. Each group is
// authenticated before it is written; after an error, what dst holds is
// incomplete and must be thrown away.
func Decrypt(ctx context.Context, dst io.WriterAt, src io.ReaderAt, size int64, key Key, opts ReaderOptions) (Report, error) {
	r, err := NewReader(src, size, key, opts)
	if err != nil {
		return Report{}, err
	}
	return r.Report(), r.Decrypt(ctx, dst)
}

// Decrypt writes the whole plaintext to dst, like the function [Decrypt].
func (r *Reader) Decrypt(ctx context.Context, dst io.WriterAt) error {
	return r.each(ctx, dst, func(off int64, p []byte) error {
		if _, err := dst.WriteAt(p, off); err != nil {
			return fmt.Errorf("write plaintext: %w", err)
		}
		return nil
	})
}

// each passes the plaintext to do in parts, from several goroutines and in no
// order: first what the metadata holds, then a group at a time. Without do, the
// plaintext is thrown away; what it puts into a dst in memory itself it does not
// pass on.
func (r *Reader) each(ctx context.Context, dst any, do func(off int64, p []byte) error) error {
	head := r.meta.inline()[:min(r.shape.size, inlineSize)]
	if len(head) > 0 && do != nil {
		if err := do(0, head); err != nil {
			return err
		}
	}
	var mu sync.Mutex
	progress := func(n int) {
		if r.opts.Progress != nil {
			mu.Lock()
			defer mu.Unlock()
			r.opts.Progress(int64(n))
		}
	}
	progress(len(head))
	return eachGroup(ctx, workers(r.opts.Jobs, r.shape.hash), groupsOf(r.shape), func(g group, buf *groupBuffer) error {
		start := groupStart(g.m)
		to := window(dst, start, g.n)
		if err := r.openGroup(g, buf, to); err != nil {
			return err
		}
		if do != nil && to == nil {
			if err := do(start, buf.data()[:g.n]); err != nil {
				return err
			}
		}
		progress(g.n)
		return nil
	})
}

// openGroup reads and decrypts a group into buf, or its plaintext into to if
// that is not nil.
func (r *Reader) openGroup(g group, buf *groupBuffer, to []byte) error {
	// The slot first: if a hash node above is damaged, that is the finding.
	at, err := r.hashSlot(g.m)
	if err != nil {
		return err
	}
	count := r.shape.dataIn(g.m)
	if err := r.readNodes(buf[:(1+count)*NodeSize], hashNodeNumber(g.m)); err != nil {
		return err
	}
	if !openNode(buf[:], buf[:], at) {
		return r.badNode(hashNodeNumber(g.m))
	}
	hash := (*hashNode)(buf[:NodeSize])
	for i := range count {
		in := buf.node(i)
		out := in
		rest := to[min(i*NodeSize, len(to)):]
		if len(rest) >= NodeSize {
			out = rest
		}
		if !openNode(out, in, hash.dataSlot(i)) {
			return r.badNode(dataNodeNumber(g.m*dataPerHash + int64(i)))
		}
		if len(rest) > 0 && len(rest) < NodeSize {
			copy(rest, in)
		}
	}
	return nil
}
