//go:build linux

package protectedfile

import (
	"bytes"
	"crypto/rand"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var (
	benchReport = flag.Bool("pf.report", false, "measure against the machine's limits and print a report")
	benchRounds = flag.Int("pf.rounds", 7, "rounds of the measurement in memory")
	benchMemory = flag.Int64("pf.memory", 512<<20, "bytes of plaintext of the measurement in memory")
	benchDisk   = flag.Int64("pf.disk", 2<<30, "bytes of the file of the measurement on disk; 0 for none")
	benchLarge  = flag.Int64("pf.large", 8<<30, "bytes of the file whose encryption shows the peak memory; 0 for none")
)

// limit encrypts src to dst in blocks of a node, on all cores, each under a
// fresh random key: what the format costs at least.
func limit(src, dst []byte) {
	var wg sync.WaitGroup
	jobs := runtime.GOMAXPROCS(0)
	part := len(src) / jobs / NodeSize * NodeSize
	for j := range jobs {
		wg.Go(func() {
			keys := make([]byte, dataPerHash*keySize)
			out := make([]byte, NodeSize+tagSize)
			end := (j + 1) * part
			if j == jobs-1 {
				end = len(src) / NodeSize * NodeSize
			}
			for i, off := 0, j*part; off < end; i, off = i+1, off+NodeSize {
				k := i % dataPerHash
				if k == 0 {
					_, _ = rand.Read(keys)
				}
				to := out
				if off+NodeSize+tagSize <= end {
					to = dst[off:] // the tag is overwritten by the next block
				}
				newGCM(keys[k*keySize:][:keySize]).Seal(to[:0], zeroNonce[:], src[off:off+NodeSize], nil)
			}
		})
	}
	wg.Wait()
}

// bareLimit does the same to one block per core that stays in its cache.
func bareLimit(size int) {
	var wg sync.WaitGroup
	jobs := runtime.GOMAXPROCS(0)
	for range jobs {
		wg.Go(func() {
			keys := make([]byte, dataPerHash*keySize)
			in, out := make([]byte, NodeSize), make([]byte, NodeSize+tagSize)
			for i := range size / NodeSize / jobs {
				k := i % dataPerHash
				if k == 0 {
					_, _ = rand.Read(keys)
				}
				newGCM(keys[k*keySize:][:keySize]).Seal(out[:0], zeroNonce[:], in, nil)
			}
		})
	}
	wg.Wait()
}

func rate(size int64, d time.Duration) string {
	return fmt.Sprintf("%.0f MB/s", float64(size)/1e6/d.Seconds())
}

func median[T int64 | float64 | time.Duration](v []T) T {
	s := slices.Clone(v)
	slices.Sort(s)
	return s[len(s)/2]
}

// TestBenchReport measures encrypting, decrypting and verifying against what the
// machine can do at all, and prints a report. It is not run by default:
//
//	go test ./internal/sgxcrypto/protectedfile -run '^TestBenchReport$' -v -timeout 60m -pf.report
func TestBenchReport(t *testing.T) {
	if !*benchReport {
		t.Skip("not asked for: give -pf.report")
	}
	fmt.Fprintf(os.Stdout, "%s, %d cores, %s\n\n", cpuName(), runtime.GOMAXPROCS(0), runtime.Version())
	reportMemory(t)
	if *benchDisk > 0 {
		reportDisk(t)
	}
}

func cpuName() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(info)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.Trim(name, " \t\n:")
		}
	}
	return runtime.GOARCH
}

func reportMemory(t *testing.T) {
	size := *benchMemory
	src := make([]byte, size)
	if _, err := rand.Read(src); err != nil {
		t.Fatal(err)
	}
	fileSize, err := FileSize(size)
	if err != nil {
		t.Fatal(err)
	}
	file, out := make(Memory, fileSize), make(Memory, size)
	ctx := t.Context()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	limit(src, file) // the kernel gives memory when it is first touched
	copy(out, src)
	read := ReaderOptions{Path: testPath}
	work := []struct {
		name string
		do   func()
		took []time.Duration
		cpu  []time.Duration
	}{
		{name: "limit", do: func() { limit(src, file) }},
		// Pages of source and destination that lie alike get into each other's
		// way on some processors; the format's do not.
		{name: "limit, 3072 bytes apart", do: func() { limit(src[inlineSize:len(src)-NodeSize+inlineSize], file) }},
		{name: "bare limit", do: func() { bareLimit(int(size)) }},
		{name: "encrypt", do: func() {
			_, err := Encrypt(ctx, file, Memory(src).Reader(), testKey, WriterOptions{Path: testPath, Size: size})
			must(err)
		}},
		{name: "decrypt", do: func() {
			_, err := Decrypt(ctx, out, file, fileSize, testKey, read)
			must(err)
		}},
		{name: "verify", do: func() {
			_, err := Verify(ctx, file, fileSize, testKey, read)
			must(err)
		}},
		// What a file costs beyond that, for it has to be copied in and out.
		{name: "encrypt, copied", do: func() {
			_, err := Encrypt(ctx, fixed(file), bytes.NewReader(src), testKey, WriterOptions{Path: testPath, Size: size})
			must(err)
		}},
		{name: "decrypt, copied", do: func() {
			_, err := Decrypt(ctx, fixed(out), bytes.NewReader(file), fileSize, testKey, read)
			must(err)
		}},
		{name: "verify, copied", do: func() {
			_, err := Verify(ctx, bytes.NewReader(file), fileSize, testKey, read)
			must(err)
		}},
		{name: "encrypt, unknown size", do: func() {
			_, err := Encrypt(ctx, fixed(file), bytes.NewReader(src), testKey, WriterOptions{Path: testPath})
			must(err)
		}},
		{name: "encrypt, reproducible", do: func() {
			_, err := EncryptReproducible(ctx, file, Memory(src), size, testKey, WriterOptions{Path: testPath})
			must(err)
		}},
	}
	for range *benchRounds {
		for i := range work {
			w := &work[i]
			runtime.GC()
			start, cpu := time.Now(), cpuTime(t)
			w.do()
			w.took, w.cpu = append(w.took, time.Since(start)), append(w.cpu, cpuTime(t)-cpu)
		}
	}
	fmt.Fprintf(os.Stdout, "in memory, %d MiB, median of %d rounds in turn\n", size>>20, *benchRounds)
	for i := range work {
		w := &work[i]
		ratio := func(of func(i int) []time.Duration) float64 {
			r := make([]float64, len(w.took))
			for j := range r {
				r[j] = of(0)[j].Seconds() / of(i)[j].Seconds()
			}
			return median(r)
		}
		fmt.Fprintf(os.Stdout, "  %-24s %12s  %.2f of the limit's rate, %.2f by processor time (%s per core)\n", w.name, rate(size, median(w.took)),
			ratio(func(i int) []time.Duration { return work[i].took }), ratio(func(i int) []time.Duration { return work[i].cpu }), rate(size, median(w.cpu)))
	}
	fmt.Fprintln(os.Stdout)
}

// cpuTime is the processor time of this process on all cores. Unlike the time
// on the clock it does not suffer when the machine has other work.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// run runs a command and returns how long it took and its peak memory in bytes.
func run(t *testing.T, stdin *os.File, name string, args ...string) (time.Duration, int64) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if stdin != nil {
		cmd.Stdin = stdin
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The kernel's own account at the end includes this process, which the
	// command was forked from; the running command's is its own.
	var peak atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			n := peakMemory(cmd.Process.Pid)
			if n == 0 {
				return
			}
			peak.Store(n)
			time.Sleep(5 * time.Millisecond)
		}
	}()
	err := cmd.Wait()
	took := time.Since(start)
	<-done
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out.Bytes())
	}
	return took, peak.Load()
}

// peakMemory reads VmHWM, which is 0 when the process has ended.
func peakMemory(pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	var kib int64
	for line := range strings.Lines(string(status)) {
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	return 0
}

func reportDisk(t *testing.T) {
	dir := t.TempDir() // TMPDIR says on which disk
	at := func(name string) string { return filepath.Join(dir, name) }
	ccctl := at("ccctl")
	run(t, nil, "go", "build", "-o", ccctl, "../../../cmd/ccctl")
	run(t, nil, ccctl, "pf", "gen-key", "-w", at("key"))
	run(t, nil, ccctl, "pf", "gen-key", "-w", at("new"))
	fill(t, at("plain"), *benchDisk)
	pf := func(args ...string) (time.Duration, int64) {
		return run(t, nil, ccctl, append([]string{"pf"}, args...)...)
	}
	encrypt := func(in, out string, args ...string) (time.Duration, int64) {
		return pf(append([]string{"encrypt", "-w", at("key"), "-i", at(in), "-o", at(out), "--path", "x"}, args...)...)
	}
	work := []struct {
		name string
		do   func() (time.Duration, int64)
		took []time.Duration
		rss  int64
	}{
		{name: "cp FILE OUT && sync OUT", do: func() (time.Duration, int64) {
			copied, rss := run(t, nil, "cp", at("plain"), at("copy"))
			synced, _ := run(t, nil, "sync", at("copy"))
			return copied + synced, rss
		}},
		{name: "encrypt", do: func() (time.Duration, int64) { return encrypt("plain", "x.pf") }},
		{name: "decrypt", do: func() (time.Duration, int64) {
			return pf("decrypt", "-w", at("key"), "-i", at("x.pf"), "-o", at("back"), "--path", "x")
		}},
		{name: "verify", do: func() (time.Duration, int64) { return pf("verify", "-w", at("key"), "--path", "x", at("x.pf")) }},
		{name: "encrypt, reproducible", do: func() (time.Duration, int64) { return encrypt("plain", "y.pf", "--reproducible") }},
	}
	for range 5 {
		for i := range work {
			w := &work[i]
			for _, old := range []string{"copy", "back", "y.pf"} {
				_ = os.Remove(at(old))
			}
			if w.name == "encrypt" {
				_ = os.Remove(at("x.pf"))
			}
			run(t, nil, "sync")
			warmPageCache(t, at("warm"), *benchDisk)
			took, rss := w.do()
			w.took, w.rss = append(w.took, took), max(w.rss, rss)
		}
	}
	fmt.Fprintf(os.Stdout, "on disk, %d MiB, median of 5 rounds in turn\n", *benchDisk>>20)
	for i := range work {
		w := &work[i]
		fmt.Fprintf(os.Stdout, "  %-24s %12s  %.2f times cp && sync  peak RSS %d MiB\n", w.name, rate(*benchDisk, median(w.took)),
			median(w.took).Seconds()/median(work[0].took).Seconds(), w.rss>>20)
	}
	for _, name := range []string{"plain", "copy", "back", "x.pf", "y.pf"} {
		_ = os.Remove(at(name))
	}
	if *benchLarge == 0 {
		return
	}
	fill(t, at("plain"), *benchLarge)
	fmt.Fprintf(os.Stdout, "\npeak memory, %d MiB\n", *benchLarge>>20)
	for _, w := range []struct {
		name string
		do   func() (time.Duration, int64)
	}{
		{"encrypt", func() (time.Duration, int64) { return encrypt("plain", "x.pf") }},
		{"decrypt", func() (time.Duration, int64) {
			return pf("decrypt", "-w", at("key"), "-i", at("x.pf"), "-o", at("back"))
		}},
		{"verify", func() (time.Duration, int64) { return pf("verify", "-w", at("key"), at("x.pf")) }},
		{"rewrap", func() (time.Duration, int64) {
			return pf("rewrap", "-w", at("key"), "--new-wrap-key", at("new"), at("x.pf"))
		}},
		{"encrypt a stream", func() (time.Duration, int64) {
			in, err := os.Open(at("plain"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = in.Close() }()
			return run(t, in, ccctl, "pf", "encrypt", "-w", at("key"), "-i", "-", "-o", at("x.pf"), "--path", "x")
		}},
		{"encrypt, reproducible", func() (time.Duration, int64) { return encrypt("plain", "x.pf", "--reproducible") }},
	} {
		took, rss := w.do()
		fmt.Fprintf(os.Stdout, "  %-24s %12s  peak RSS %d MiB\n", w.name, rate(*benchLarge, took), rss>>20)
		_ = os.Remove(at("back"))
	}
}

// warmPageCache writes a file and removes it, so that whoever writes the next
// one finds memory that was used a moment ago. Otherwise a virtual machine may
// have given it back to its host in the meantime, and getting it again takes
// longer than anything that is measured here.
func warmPageCache(t *testing.T, path string, size int64) {
	t.Helper()
	run(t, nil, "dd", "if=/dev/zero", "of="+path, "bs=256K", fmt.Sprintf("count=%d", size>>18))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// fill makes a file of random bytes, a block of them repeated.
func fill(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	block := make([]byte, 1<<20)
	if _, err := rand.Read(block); err != nil {
		t.Fatal(err)
	}
	for ; size > 0; size -= int64(len(block)) {
		if _, err := f.Write(block[:min(size, int64(len(block)))]); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}
