//go:build !unix

package main

import "os"

// reloadSignal: there is no such signal here.
func reloadSignal() (reload <-chan os.Signal, stop func()) { return nil, func() {} }
