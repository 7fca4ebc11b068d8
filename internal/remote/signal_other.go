//go:build !unix

package remote

import "os"

// endingSignal names the signal that ended a process; here there are none.
func endingSignal(*os.ProcessState) string { return "" }
