//go:build unix

package atomicfile

import (
	"errors"
	"syscall"
)

// isInvalid tells that the file system does not know fsync on directories.
func isInvalid(err error) bool {
	return errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP)
}
