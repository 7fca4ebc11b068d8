package deploy

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
)

// flushEvery is the number of bytes after which the device is told to start.
const flushEvery = 8 << 20

// fileJobs is the number of goroutines when the caller leaves it open: one more
// than there are cores, since only one at a time can write to a file.
func fileJobs(jobs int) int {
	if jobs == 0 {
		return runtime.GOMAXPROCS(0) + 1
	}
	return jobs
}

// flushing is a file whose content goes to the device while it is being
// written, instead of all of it when it is synced at the end: the processor and
// the device then work at the same time. It makes nothing durable.
type flushing struct {
	*os.File

	written atomic.Int64
}

// reserveFrom is the size in bytes from which on space is reserved.
const reserveFrom = 1 << 20

// reserve makes the file size bytes long and finds it the space, if the system
// can do that: a device that is too small is noticed at once, and writing in no
// order costs less in a file that has its blocks.
func (f *flushing) reserve(size int64) error {
	if size < reserveFrom {
		return nil
	}
	if err := reserveSpace(f.File, size); err != nil {
		return fmt.Errorf("reserve %d bytes: %w", size, err)
	}
	return nil
}

func (f *flushing) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	if after := f.written.Add(int64(n)); after/flushEvery > (after-int64(n))/flushEvery {
		startWriteback(f.File)
	}
	return n, err
}

// unlessCancelled syncs a large file and does not wait for a slow device when it
// is cancelled meanwhile: the file is then to be thrown away.
func unlessCancelled(ctx context.Context, sync func() error) error {
	done := make(chan error, 1)
	go func() { done <- sync() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
