package keyserver

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestCPU compares what a release takes of the server's processors, for clients with P-384 keys and with collateral at
// hand, with what a bare TLS server takes for the same mutual handshake. Both run at once in processes of their own and are asked
// in turn, so that a busy machine is busy for both. The audit log is in memory where that can be: what syncing takes
// is the device's affair. With CC_LOAD=1 it is long enough for the ratio to mean something, and more than 1.4 fails.
func TestCPU(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's time is not the server's")
	}
	rounds, each := 5, 25
	long := os.Getenv("CC_LOAD") == "1"
	if long {
		rounds = 101
	}
	w := newWorld(t)
	config := w.audited()
	if dir, err := os.MkdirTemp("/dev/shm", "audit"); err == nil { //nolint:usetesting // In memory.
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		config = w.config() + "audit: { file: " + filepath.Join(dir, "audit.log") + ", checkpoint_key: audit.key }\n"
	}
	released, bare := w.spawn("server", config), w.spawn("bare", config)
	conf := w.clientConfig()
	run := func(c *child) time.Duration {
		before := c.ask("usage").CPU
		for range each {
			if err := fetch(t.Context(), c.addr, conf); err != nil {
				t.Fatal(err)
			}
		}
		return (c.ask("usage").CPU - before) / time.Duration(each)
	}
	run(released) // collateral is fetched, heaps grow
	run(bare)
	var a, b, ratios []float64
	for range rounds {
		x, y := run(released), run(bare)
		a, b, ratios = append(a, float64(x)), append(b, float64(y)), append(ratios, float64(x)/float64(y))
	}
	// Medians: what else runs on the machine is not the server's affair.
	ratio := median(ratios)
	t.Logf("server CPU a release %v, a bare mutual handshake %v, ratio %.2f",
		time.Duration(median(a)).Round(time.Microsecond), time.Duration(median(b)).Round(time.Microsecond), ratio)
	if limit := 1.4; long && ratio > limit || ratio > 5 || math.IsNaN(ratio) {
		t.Errorf("the ratio is %.2f, want at most %v", ratio, limit)
	}
}

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}
