// Package filelock takes the lock (flock) by which a file belongs to one process. The kernel drops it with the process.
package filelock

import "errors"

// ErrHeld says that another process holds the lock.
var ErrHeld = errors.New("another running key server holds it")
