//go:build !unix

package testhost

import (
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/testshared"
)

// DockerHost skips the test: there is no Docker daemon of one's own here.
func DockerHost(tb testing.TB) string {
	tb.Helper()
	testshared.Missing(tb, "a Docker daemon of one's own needs Linux")
	return ""
}

// StopDocker does nothing.
func StopDocker() {}
