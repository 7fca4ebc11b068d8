package protectedfile

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
)

// This file is how encrypting, decrypting, verifying and digesting go through a
// file. There is no queue between goroutines: each takes the next group when it
// is done with the last and goes through with it alone, in a buffer of its own
// that stays in the cache of its core.

// groupBuffer holds a group as it is on disk: the hash node, the data nodes,
// and room behind them for the tag of the last.
type groupBuffer [groupNodes*NodeSize + tagSize]byte

// data is the part of the data nodes.
func (b *groupBuffer) data() []byte { return b[NodeSize:][:groupData] }

// node is the i-th data node and the room that sealing and opening it needs.
func (b *groupBuffer) node(i int) []byte { return b[(1+i)*NodeSize:][:NodeSize+tagSize] }

// groupBuffers recycles the buffers of all readers and writers.
var groupBuffers = sync.Pool{New: func() any { return new(groupBuffer) }}

func getBuffer() *groupBuffer {
	if b, ok := groupBuffers.Get().(*groupBuffer); ok {
		return b
	}
	return new(groupBuffer)
}

// workers is the number of goroutines for n groups.
func workers(jobs int, n int64) int {
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	return int(min(int64(jobs), n))
}

// group is a hash node and its data on the way through.
type group struct {
	m int64
	n int // plaintext bytes
	// Only when encrypting:
	own    *hashNode // where the slots go if the hash node is kept, else nil
	parent *hashNode // nil for the root
}

// eachGroup calls take and then do from several goroutines until take says
// [io.EOF]. One goroutine at a time is in take, which hands out the groups in
// their order; every group that it hands out is done. Of several errors
// eachGroup returns that of the first group, so that what is reported does not
// depend on who was faster.
func eachGroup(ctx context.Context, workers int, take func(*groupBuffer) (group, error), do func(group, *groupBuffer) error) error {
	var (
		turn  sync.Mutex // held in take
		ended bool
		over  atomic.Bool // no further group is taken

		mu    sync.Mutex
		first error
		at    int64 = math.MaxInt64 // the group of the first error
		wg    sync.WaitGroup
	)
	fail := func(m int64, err error) {
		over.Store(true)
		mu.Lock()
		defer mu.Unlock()
		if m < at {
			at, first = m, err
		}
	}
	next := func(buf *groupBuffer) (group, bool) {
		turn.Lock()
		defer turn.Unlock()
		if ended || over.Load() {
			return group{}, false
		}
		err := ctx.Err()
		var g group
		if err == nil {
			g, err = take(buf)
		}
		if err != nil {
			ended = true
			if !errors.Is(err, io.EOF) {
				// Groups that were taken before have more to say.
				fail(math.MaxInt64-1, err)
			}
		}
		return g, err == nil
	}
	for range workers {
		wg.Go(func() {
			buf := getBuffer()
			defer groupBuffers.Put(buf)
			for {
				g, ok := next(buf)
				if !ok {
					return
				}
				if err := do(g, buf); err != nil {
					fail(g.m, err)
					return
				}
			}
		})
	}
	wg.Wait()
	return first
}

// groupsOf hands out the groups of a file whose size is known.
func groupsOf(s shape) func(*groupBuffer) (group, error) {
	var m int64
	return func(*groupBuffer) (group, error) {
		if m == s.hash {
			return group{}, io.EOF
		}
		g := group{m: m, n: int(min(s.size-groupStart(m), groupData))}
		m++
		return g, nil
	}
}

// take hands out the next group; a source that must be read from front to back
// is read here.
func (e *encryption) take(ctx context.Context, buf *groupBuffer) (group, error) {
	g := group{m: e.next, n: int(min(e.limit()-e.size, groupData))}
	if !e.src.anywhere() {
		n, err := e.src.read(ctx, buf.data()[:g.n], e.size)
		if err != nil {
			return group{}, err
		}
		g.n = n
	}
	if g.n == 0 {
		return group{}, io.EOF
	}
	if g.m > 0 {
		p, err := e.keep(parentHash(g.m))
		if err != nil {
			return group{}, fmt.Errorf("write protected file: %w", err)
		}
		g.parent = p
	}
	// The root is kept, for there is nothing to lose; others are known to
	// have children, or may get them and cannot be read back.
	if g.m == 0 || (e.groups != unknown && firstChild(g.m) < e.groups) || (e.groups == unknown && e.back == nil) {
		g.own = new(hashNode)
		e.interior[g.m] = g.own
	}
	e.next++
	e.size += int64(g.n)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.inFlight[g.m] = struct{}{}
	if e.opts.Digest {
		e.leaves = append(e.leaves, [digestSize]byte{})
	}
	return g, nil
}

// keep returns hash node m for filling in the slot of a child. A hash node that
// was thought to have none is already on disk; it is read back, and gets a new
// key when it is written again.
func (e *encryption) keep(m int64) (*hashNode, error) {
	if node, ok := e.interior[m]; ok {
		return node, nil
	}
	if err := e.wait(m); err != nil {
		return nil, err
	}
	var buf [NodeSize + tagSize]byte
	number := hashNodeNumber(m)
	if n, err := e.back.ReadAt(buf[:NodeSize], number*NodeSize); n < NodeSize {
		return nil, fmt.Errorf("read back node %d: %w", number, err)
	}
	if !openNode(buf[:], buf[:], e.interior[parentHash(m)].hashSlot(m)) {
		return nil, fmt.Errorf("read back node %d: it is not what was written", number)
	}
	node := hashNode(buf[:NodeSize])
	e.interior[m] = &node
	return &node, nil
}

// wait returns when group m is written, or will not be.
func (e *encryption) wait(m int64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.failed == nil {
		if _, busy := e.inFlight[m]; !busy {
			return nil
		}
		e.idle.Wait()
	}
	return e.failed
}

// seal encrypts and writes a group, and tells who waits for it.
func (e *encryption) seal(g group, buf *groupBuffer) error {
	var leaf [digestSize]byte
	plain, err := e.fetch(g, buf)
	if err == nil {
		leaf, err = e.look(g, plain)
		if err == nil {
			err = e.sealGroup(g, buf, plain)
		}
		if err != nil {
			err = fmt.Errorf("write protected file: %w", err)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.inFlight, g.m)
	if e.failed == nil {
		e.failed = err
	}
	e.idle.Broadcast()
	if err != nil {
		return err
	}
	if e.opts.Digest {
		e.leaves[1+g.m] = leaf
	}
	if e.opts.Progress != nil {
		e.opts.Progress(int64(g.n))
	}
	return nil
}

// fetch reads a group that take left to be read, and tells where its plaintext
// is.
func (e *encryption) fetch(g group, buf *groupBuffer) ([]byte, error) {
	plain := buf.data()[:g.n]
	if !e.src.anywhere() {
		return plain, nil
	}
	// What the witness recognises must not change any more.
	if e.witness == nil {
		if p := e.src.window(groupStart(g.m), g.n); p != nil {
			return p, nil
		}
	}
	_, err := e.src.read(context.Background(), plain, groupStart(g.m))
	return plain, err
}

// look does with a group's plaintext what must be done before it is encrypted.
func (e *encryption) look(g group, plain []byte) (leaf [digestSize]byte, err error) {
	if e.opts.Digest {
		leaf = sha256.Sum256(plain)
	}
	if e.witness != nil && !e.witness.recognises(1+g.m, plain) {
		start := groupStart(g.m)
		return leaf, fmt.Errorf("%w: bytes %d to %d are not what they were", errSourceChanged, start, start+int64(g.n)-1)
	}
	return leaf, nil
}

// sealGroup encrypts and writes a group. The plaintext is in buf, or elsewhere
// in memory.
func (e *encryption) sealGroup(g group, buf *groupBuffer, plain []byte) error {
	count := int(ceilDiv(int64(g.n), NodeSize))
	nodes := (1 + count) * NodeSize
	var keys [groupNodes * keySize]byte
	if err := e.keys.nodeKeys(hashNodeNumber(g.m), keys[:(1+count)*keySize]); err != nil {
		return err
	}
	own := g.own
	if own == nil {
		// No hash node below: it is not kept, and sealed at once.
		own = (*hashNode)(buf[:NodeSize])
		clear(own[:])
	}
	// The last node may need padding, and room behind it that in memory
	// belongs to another group.
	last := count - 1
	copy(buf.node(last), plain[last*NodeSize:])
	clear(buf.data()[g.n : count*NodeSize])

	out := buf[:]
	to := window(e.dst, hashNodeNumber(g.m)*NodeSize, nodes)
	if to != nil && !overlap(to, plain) {
		out = to
	}
	for i := range last {
		at := own.dataSlot(i)
		copy(at.key(), keys[(1+i)*keySize:])
		sealNode(out[(1+i)*NodeSize:], plain[i*NodeSize:], at)
	}
	at := own.dataSlot(last)
	copy(at.key(), keys[count*keySize:])
	sealNode(buf.node(last), buf.node(last), at)
	first := 1
	if g.own == nil {
		at := g.parent.hashSlot(g.m)
		copy(at.key(), keys[:keySize])
		sealNode(out, own[:], at)
		first = 0
	}
	if &out[0] != &buf[0] {
		first = count // the others are there
	}
	return e.writeNode(buf[first*NodeSize:nodes], hashNodeNumber(g.m)+int64(first))
}
