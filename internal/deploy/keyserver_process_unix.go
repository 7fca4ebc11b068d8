//go:build unix

package deploy

import "syscall"

// detached are the attributes of a process in a session of its own.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
