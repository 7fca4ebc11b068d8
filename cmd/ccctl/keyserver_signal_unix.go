//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// reloadSignal delivers SIGHUP until stop is called.
func reloadSignal() (reload <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}
