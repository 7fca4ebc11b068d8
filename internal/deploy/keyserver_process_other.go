//go:build !unix

package deploy

import "syscall"

// detached is for systems where [KeyServerSupported] says no.
func detached() *syscall.SysProcAttr { return nil }
