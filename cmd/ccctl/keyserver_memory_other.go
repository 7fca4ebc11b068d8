//go:build !linux

package main

import (
	"errors"
	"fmt"
)

// guardMemory is for Linux; elsewhere core dumps are the operator's to turn off.
func guardMemory() error { return fmt.Errorf("turn core dumps off: %w", errors.ErrUnsupported) }
