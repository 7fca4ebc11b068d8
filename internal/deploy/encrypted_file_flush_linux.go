//go:build linux && (amd64 || arm64)

package deploy

import (
	"errors"
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

// reserveSpace is fallocate(2). That a file system does not know it is no error.
func reserveSpace(f *os.File, size int64) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := conn.Control(func(fd uintptr) {
		failed = syscall.Fallocate(int(fd), 0, 0, size)
	}); err != nil {
		return err
	}
	switch {
	case errors.Is(failed, syscall.ENOSPC), errors.Is(failed, syscall.EDQUOT), errors.Is(failed, syscall.EFBIG):
		return failed
	default:
		return nil
	}
}
