package deploy

import (
	"os"
	"sync/atomic"
)

// flushEvery is the number of bytes after which the device is told to start.
const flushEvery = 16 << 20

// flushing is a file whose content goes to the device while it is being
// written, instead of all of it when it is synced at the end: the processor and
// the device then work at the same time. It makes nothing durable.
type flushing struct {
	*os.File

	written atomic.Int64
}

func (f *flushing) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	if after := f.written.Add(int64(n)); after/flushEvery > (after-int64(n))/flushEvery {
		startWriteback(f.File)
	}
	return n, err
}
