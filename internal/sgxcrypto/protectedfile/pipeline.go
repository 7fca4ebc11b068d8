package protectedfile

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// This file is the parallel half of Writer. The goroutine that calls Write
// fills buffers and decides where slots go; the workers encrypt. A worker
// touches only its buffer and the slots of its own group, so nothing it does
// needs a lock but reporting that it is done.

// acquire takes a buffer for the next group; the first time it starts the
// workers.
func (w *Writer) acquire() error {
	if w.jobs == nil {
		n := workers(w.opts.Jobs, MaxPlaintextSize)
		w.jobs = make(chan job)
		// One buffer is filled while the others are worked on, one more keeps
		// both sides from waiting for each other.
		w.free = make(chan struct{}, n+2)
		for range n + 2 {
			w.free <- struct{}{}
		}
		for range n {
			w.running.Go(w.work)
		}
	}
	select {
	case <-w.free:
		w.current = getBuffer()
		return nil
	case <-w.stopped:
		return w.failure()
	}
}

// dispatch passes the current buffer on as group m with n plaintext bytes.
func (w *Writer) dispatch(m int64, n int) error {
	j := job{m: m, n: n, buf: w.current}
	if m > 0 {
		p, err := w.keep(parentHash(m))
		if err != nil {
			return err
		}
		j.parent = p
	}
	// The root is kept, for there is nothing to lose; others are known to
	// have children, or may get them and cannot be read back.
	if m == 0 || (w.groups != unknown && firstChild(m) < w.groups) || (w.groups == unknown && w.back == nil) {
		j.own = new(hashNode)
		w.interior[m] = j.own
	}
	if w.opts.Digest {
		if int64(cap(w.leaves)) <= 1+m {
			// The workers hold pointers into the slice; growing it must not
			// race with them.
			w.drain()
			w.leaves = slices.Grow(w.leaves, int(m)+64)
		}
		w.leaves = append(w.leaves, [digestSize]byte{})
		j.leaf = &w.leaves[1+m]
	}

	w.mu.Lock()
	w.inFlight[m] = struct{}{}
	w.mu.Unlock()
	w.current = nil
	select {
	case w.jobs <- j:
		return nil
	case <-w.stopped:
		return w.failure()
	}
}

// keep returns hash node m for filling in the slot of a child. A hash node that
// was thought to have none is already on disk; it is read back, and gets a new
// key when it is written again.
func (w *Writer) keep(m int64) (*hashNode, error) {
	if node, ok := w.interior[m]; ok {
		return node, nil
	}
	if err := w.wait(m); err != nil {
		return nil, err
	}
	var buf [NodeSize + tagSize]byte
	number := hashNodeNumber(m)
	if n, err := w.back.ReadAt(buf[:NodeSize], number*NodeSize); n < NodeSize {
		return nil, fmt.Errorf("write protected file: read back node %d: %w", number, err)
	}
	if !openNode(buf[:], w.interior[parentHash(m)].hashSlot(m)) {
		return nil, fmt.Errorf("write protected file: read back node %d: it is not what was written", number)
	}
	node := hashNode(buf[:NodeSize])
	w.interior[m] = &node
	return &node, nil
}

// wait returns when group m is written.
func (w *Writer) wait(m int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.err == nil {
		if _, busy := w.inFlight[m]; !busy {
			return nil
		}
		w.idle.Wait()
	}
	return w.err
}

// drain returns when no worker is busy.
func (w *Writer) drain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.err == nil && len(w.inFlight) > 0 {
		w.idle.Wait()
	}
}

func (w *Writer) work() {
	for j := range w.jobs {
		// After an error the groups that are still queued are dropped.
		err := w.failure()
		if err == nil {
			err = w.seal(j)
		}
		groupBuffers.Put(j.buf)
		w.done(j, err)
		w.free <- struct{}{}
	}
}

// done tells everyone who waits that a group is written, or why not.
func (w *Writer) done(j job, err error) {
	if err != nil {
		w.fail(fmt.Errorf("write protected file: %w", err))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.inFlight, j.m)
	w.idle.Broadcast()
	if err == nil && w.opts.Progress != nil {
		w.opts.Progress(int64(j.n))
	}
}

// seal encrypts and writes a group.
func (w *Writer) seal(j job) error {
	plain := j.buf.data()[:j.n]
	if j.leaf != nil {
		*j.leaf = sha256.Sum256(plain)
	}
	if w.witness != nil && !w.witness.recognises(1+j.m, plain) {
		return fmt.Errorf("%w: bytes %d to %d are not what they were", errSourceChanged, groupStart(j.m), groupStart(j.m)+int64(j.n)-1)
	}
	count := int(ceilDiv(int64(j.n), NodeSize))
	clear(j.buf.data()[j.n : count*NodeSize])

	var keys [groupNodes * keySize]byte
	if err := w.keys.nodeKeys(hashNodeNumber(j.m), keys[:(1+count)*keySize]); err != nil {
		return err
	}
	own := j.own
	if own == nil {
		// No hash node below: the buffer's first node can be sealed here.
		own = (*hashNode)(j.buf[:NodeSize])
		clear(own[:])
	}
	for i := range count {
		at := own.dataSlot(i)
		copy(at.key(), keys[(1+i)*keySize:])
		sealNode(j.buf.node(i), at)
	}
	first := 1
	if j.own == nil {
		at := j.parent.hashSlot(j.m)
		copy(at.key(), keys[:keySize])
		sealNode(j.buf[:], at)
		first = 0
	}
	return w.writeNode(j.buf[first*NodeSize:(1+count)*NodeSize], hashNodeNumber(j.m)+int64(first))
}

// fail records the first error and tells the other goroutines.
func (w *Writer) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
		close(w.stopped)
		w.idle.Broadcast()
	}
}

func (w *Writer) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// stop lets the workers finish what they have and ends them.
func (w *Writer) stop() {
	w.closed = true
	if w.jobs != nil {
		close(w.jobs)
		w.running.Wait()
	}
	if w.current != nil {
		groupBuffers.Put(w.current)
		w.current = nil
	}
}

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

// eachGroup calls do for every group of a file from several goroutines, each
// with a buffer. Of several errors it returns that of the first group, so that
// what is reported does not depend on who was faster.
func eachGroup(ctx context.Context, s shape, jobs int, do func(m int64, buf *groupBuffer) error) error {
	var (
		next   atomic.Int64
		failed atomic.Int64 // the first group that failed; later ones are not started
		mu     sync.Mutex
		first  error
		wg     sync.WaitGroup
	)
	failed.Store(math.MaxInt64)
	work := func() {
		buf := getBuffer()
		defer groupBuffers.Put(buf)
		for {
			m := next.Add(1) - 1
			if m >= s.hash || m >= failed.Load() {
				return
			}
			err := ctx.Err()
			if err == nil {
				err = do(m, buf)
			}
			if err == nil {
				continue
			}
			mu.Lock()
			if m < failed.Load() {
				failed.Store(m)
				first = err
			}
			mu.Unlock()
			return
		}
	}
	for range workers(jobs, s.hash) {
		wg.Go(work)
	}
	wg.Wait()
	return first
}
