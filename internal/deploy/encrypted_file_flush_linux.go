//go:build linux && (amd64 || arm64)

package deploy

import (
	"os"
	"syscall"
)

// syncFileRangeWrite is SYNC_FILE_RANGE_WRITE of sync_file_range(2): start to
// write the dirty pages, and wait for nothing.
const syncFileRangeWrite = 2

// startWriteback hands the dirty pages of a file to the device. Where that does
// not work, the sync at the end does it.
func startWriteback(f *os.File) {
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) {
		_ = syscall.SyncFileRange(int(fd), 0, 0, syncFileRangeWrite)
	})
}
