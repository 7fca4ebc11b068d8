//go:build !unix || solaris || aix

package keyserver

import (
	"errors"
	"os"
)

func tryLock(*os.File, bool) error { return errors.ErrUnsupported }
