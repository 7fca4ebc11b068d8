//go:build !unix || solaris || aix

package filelock

import (
	"errors"
	"os"
)

// Try: there is no such lock here.
func Try(*os.File, bool) error { return errors.ErrUnsupported }
