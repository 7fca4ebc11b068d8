//go:build !unix

package atomicfile

// isInvalid tells that directories cannot be synced, which is so everywhere
// but on Unix.
func isInvalid(error) bool { return true }
