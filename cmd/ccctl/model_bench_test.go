//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/serving/graphopt"
	"github.com/ccctl/terraform-provider-cc/internal/serving/graphtest"
)

var (
	modelReport = flag.Bool("model.report", false, "measure model convert against copying the file, and print a report")
	modelRounds = flag.Int("model.rounds", 11, "rounds of that measurement")
)

// TestModelBenchReport measures model convert, plain and optimised, of a graph of
// 100 MB against cp and sync of the same file in the same rounds, and its memory.
// It is not run by default:
//
//	go test ./cmd/ccctl -run '^TestModelBenchReport$' -v -timeout 30m -model.report
func TestModelBenchReport(t *testing.T) {
	if !*modelReport {
		t.Skip("not asked for: give -model.report")
	}
	dir := t.TempDir() // TMPDIR says on which disk
	at := func(name string) string { return filepath.Join(dir, name) }
	norms := writeResNet(t, at("graph.pb"))
	info, err := os.Stat(at("graph.pb"))
	if err != nil {
		t.Fatal(err)
	}
	measure(t, "go", "build", "-o", at("ccctl"), ".")
	convert := []string{"model", "convert", "-q", "--json", "--import-path", at("graph.pb"), "--export-dir", at("model")}
	work := []struct {
		name  string
		args  []string
		limit float64 // of the copy's time
		took  []time.Duration
		cpu   []time.Duration
		peak  int64
		out   []byte
	}{
		{name: "cp && sync", args: []string{"sh", "-c", `cp "$0" "$1" && sync "$1"`, at("graph.pb"), at("copy.pb")}, limit: 1},
		{name: "convert", args: append([]string{at("ccctl")}, convert...), limit: 1.5},
		{name: "convert --optimize", args: append(append([]string{at("ccctl")}, convert...), "--optimize"), limit: 3},
	}
	for round := range *modelRounds + 1 {
		for i := range work {
			w := &work[i]
			// Nothing of an earlier round is to be overwritten or written back.
			if err := os.RemoveAll(at("model")); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(at("copy.pb")); err != nil {
				t.Fatal(err)
			}
			syscall.Sync()
			took, usage, out := measure(t, w.args[0], w.args[1:]...)
			if round > 0 { // the first one warms up
				w.took = append(w.took, took)
				w.cpu = append(w.cpu, time.Duration(usage.Utime.Nano()+usage.Stime.Nano()))
			}
			w.peak, w.out = max(w.peak, usage.Maxrss<<10), out
		}
	}
	var report struct {
		Optimization *graphopt.Report `json:"optimization"`
	}
	if err := json.Unmarshal(work[2].out, &report); err != nil || report.Optimization == nil || report.Optimization.Folded() != norms {
		t.Fatalf("%s, %v", work[2].out, err)
	}
	fmt.Fprintf(os.Stdout, "%d bytes, %d nodes, %d normalisations folded; %d cores, %s, median of %d rounds in turn\n", info.Size(), report.Optimization.NodesBefore, norms,
		runtime.GOMAXPROCS(0), runtime.Version(), *modelRounds)
	const largest = 4 * 3 * 3 * 512 * 512 // bytes of the largest tensor
	for i := range work {
		w := &work[i]
		slices.Sort(w.took)
		slices.Sort(w.cpu)
		median, copied := w.took[len(w.took)/2], work[0].took[len(work[0].took)/2]
		ratio := median.Seconds() / copied.Seconds()
		fmt.Fprintf(os.Stdout, "  %-20s %6.0f ms (%.0f to %.0f)  %.2f of the copy's, at most %.1f; %.0f ms of processor; %.1f MiB\n", w.name, 1e3*median.Seconds(),
			1e3*w.took[0].Seconds(), 1e3*w.took[len(w.took)-1].Seconds(), ratio, w.limit, 1e3*w.cpu[len(w.cpu)/2].Seconds(), float64(w.peak)/(1<<20))
		if ratio > w.limit {
			t.Errorf("%s takes %.2f times as long as a copy, more than %.1f", w.name, ratio, w.limit)
		}
		if i > 0 && w.peak > 64<<20+largest {
			t.Errorf("%s takes %d bytes of memory, more than 64 MiB beside the largest tensor", w.name, w.peak)
		}
	}
}

func writeResNet(tb testing.TB, name string) (norms int) {
	tb.Helper()
	f, err := os.Create(name)
	if err != nil {
		tb.Fatal(err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	if norms, err = graphtest.ResNet50(w); err != nil {
		tb.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		tb.Fatal(err)
	}
	if err := f.Close(); err != nil {
		tb.Fatal(err)
	}
	return norms
}

// measure runs a command and returns how long it took, the kernel's account of it,
// and its output. The memory of that account includes this process, which the
// command was forked from, and which therefore keeps small.
func measure(tb testing.TB, name string, args ...string) (time.Duration, *syscall.Rusage, []byte) {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), name, args...)
	cmd.Stderr = os.Stderr
	start := time.Now()
	out, err := cmd.Output()
	took := time.Since(start)
	if err != nil {
		tb.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		tb.Fatal("the system does not tell what a process used")
	}
	return took, usage, out
}
