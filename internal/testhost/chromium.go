package testhost

import (
	"os"
	"testing"
	"time"

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
	profile, err := os.MkdirTemp("", "ccchromium") //nolint:usetesting // Its processes may still be writing when the test ends.
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		for deadline := time.Now().Add(10 * time.Second); os.RemoveAll(profile) != nil && time.Now().Before(deadline); {
			time.Sleep(50 * time.Millisecond)
		}
	})
	return program, map[string]any{
		"headless": true, "disable-gpu": true, "disable-quic": true, "no-first-run": true, "disable-background-networking": true,
		"disable-component-update": true, "disable-sync": true, "disable-dev-shm-usage": true, "user-data-dir": profile,
		"no-sandbox": os.Geteuid() == 0, // Chromium has none for root
	}
}
