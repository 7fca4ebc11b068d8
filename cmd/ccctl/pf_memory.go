package main

import (
	"os"
	"runtime/debug"
)

// Every node of a protected file leaves some garbage, the tables of its key, and
// the heap of this program is tiny: at the usual pace a third of the time goes
// to collecting. So it is collected later, as late as these limits allow.
const (
	// gcPercent lets the heap grow until the limit is what counts.
	gcPercent = 800
	// heapLimit is where the runtime's memory is kept, in bytes. The program
	// itself, about 20 MiB, comes on top.
	heapLimit = 28 << 20
	// heapShare is the part of a file, as a shift, by which the limit is higher:
	// twice what is kept of each group until the file is finished.
	heapShare = 10
)

// ownProcess says that the limits of this process are ours to set.
var ownProcess bool

// takeProcess is called by main: nobody else lives in the process, as opposed to
// a test. Who has set the limits from outside knows better.
func takeProcess() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		ownProcess = true
	}
}

// bulk is the progress of work on a file that may be large.
type bulk struct {
	*progress

	room int64 // bytes of the file that the limit allows for
}

// bulk starts work on a file.
func (u *ui) bulk(what, file string) *bulk {
	size := sizeOf(file)
	b := &bulk{progress: u.progress(what+" "+file, size)}
	if ownProcess {
		debug.SetGCPercent(gcPercent)
	}
	b.allow(max(size, 0))
	return b
}

// add counts n more bytes.
func (b *bulk) add(n int64) {
	b.progress.add(n)
	if b.done > b.room {
		b.allow(b.done + 1<<30) // its size was not known
	}
}

// allow sets the limit for a file of a size.
func (b *bulk) allow(size int64) {
	b.room = size
	if ownProcess {
		debug.SetMemoryLimit(heapLimit + size>>heapShare)
	}
}
