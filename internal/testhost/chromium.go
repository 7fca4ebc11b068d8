package testhost

import (
	"os"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/testshared"
)

// Chromium returns the path of a Chromium browser and the flags, without their leading hyphens, with which a test starts it:
// headless, with a profile of its own that ends with the test, and quiet on the network.
func Chromium(tb testing.TB) (program string, flags map[string]any) {
	tb.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if program = find(name); program != "" {
			break
		}
	}
	if program == "" {
		testshared.Missing(tb, "chromium is not installed (package chromium)")
	}
	return program, map[string]any{
		"headless": true, "disable-gpu": true, "disable-quic": true, "no-first-run": true, "disable-background-networking": true,
		"disable-component-update": true, "disable-sync": true, "disable-dev-shm-usage": true, "user-data-dir": tb.TempDir(),
		"no-sandbox": os.Geteuid() == 0, // Chromium has none for root
	}
}
