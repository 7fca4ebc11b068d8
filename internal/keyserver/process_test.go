package keyserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/protocol"
)

// usage is what a process says of itself.
type usage struct {
	CPU        time.Duration // user and system, of all threads
	RSS        int64         // resident set, bytes
	Peak       int64         // the largest it was
	Heap       int64         // live objects after a collection
	Stacks     int64         // of goroutines
	Goroutines int
	Open       int // connections
	Evicted    uint64
}

func init() {
	programs["server"] = func(args []string) int {
		cfg, err := LoadConfig(args[0])
		if err != nil {
			return fail(err)
		}
		s, err := New(cfg, Options{Log: slog.New(slog.NewJSONHandler(io.Discard, nil)), Fingerprint: func([wrapKeySize]byte) string { return "fingerprint" }})
		if err != nil {
			return fail(err)
		}
		defer s.Close()
		return answer(server{
			serve: func(ctx context.Context, l net.Listener) error { return s.Serve(ctx, l) },
			count: s.gate.Count, reload: func() error { return s.reload(context.Background(), args[0]) },
		})
	}
	// The same mutual handshake without attestation, a request and an answer.
	programs["bare"] = func(args []string) int {
		cfg, err := LoadConfig(args[0])
		if err != nil {
			return fail(err)
		}
		pair, err := loadCertificate(&cfg.TLS, time.Now())
		if err != nil {
			return fail(err)
		}
		return answer(server{serve: func(ctx context.Context, l net.Listener) error {
			stop := context.AfterFunc(ctx, func() { _ = l.Close() })
			defer stop()
			return serveBare(l, pair)
		}})
	}
}

func fail(err error) int {
	_, _ = fmt.Fprintln(os.Stderr, err)
	return 1
}

// serveBare is the least that a Go TLS server does to authenticate a client and answer it.
func serveBare(l net.Listener, pair tls.Certificate) error {
	conf := &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true,
	}
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		conns.Go(func() {
			t := tls.Server(conn, conf)
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			if protocol.ReadRequest(t) == nil {
				_ = protocol.WriteResponse(t, canary[:])
			}
			hangUp(t)
			_ = t.Close()
		})
	}
}

type server struct {
	serve  func(ctx context.Context, l net.Listener) error
	count  func() (open int, evicted uint64)
	reload func() error
}

// answer serves on a port of its own until stdin ends, and says how it is for every line that comes; "heap" collects
// garbage first, "reload" reads the configuration again.
func answer(s server) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, l) }()
	_, _ = fmt.Fprintln(os.Stdout, l.Addr())
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var u usage
		switch lines.Text() {
		case "heap":
			debug.FreeOSMemory()
		case "reload":
			if err := s.reload(); err != nil {
				return fail(err)
			}
		}
		u.CPU = processTime()
		u.RSS, u.Peak = memory("VmRSS:"), memory("VmHWM:")
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		u.Heap, u.Stacks, u.Goroutines = int64(m.HeapAlloc), int64(m.StackInuse), runtime.NumGoroutine()
		if s.count != nil {
			u.Open, u.Evicted = s.count()
		}
		if err := json.NewEncoder(os.Stdout).Encode(u); err != nil {
			return fail(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		return fail(err)
	}
	return 0
}

// memory reads a line of /proc/self/status, in bytes.
func memory(name string) int64 {
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		if rest, found := strings.CutPrefix(line, name); found {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err == nil {
				return n << 10
			}
		}
	}
	return 0
}

// child is a server in a process of its own, so that what it takes is told from what its clients take.
type child struct {
	t    testing.TB
	addr string
	in   io.WriteCloser
	out  *bufio.Reader
}

// spawn starts one of the programs that serve; it ends with the test.
func (w *world) spawn(program, config string) *child {
	w.t.Helper()
	if runtime.GOOS != "linux" {
		w.t.Skip("what a process takes is read from /proc here")
	}
	name := program + ".yaml"
	w.write(name, []byte(config))
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(self, program, filepath.Join(w.dir, name)) // it ends when its stdin does
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	c := &child{t: w.t, in: in, out: bufio.NewReader(out)}
	w.t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			w.t.Errorf("%s: %v", program, err)
		}
	})
	line, err := c.out.ReadString('\n')
	if err != nil {
		w.t.Fatalf("%s did not start: %v", program, err)
	}
	c.addr = strings.TrimSpace(line)
	return c
}

// ask asks the child how it is; see answer.
func (c *child) ask(what string) usage {
	c.t.Helper()
	if _, err := io.WriteString(c.in, what+"\n"); err != nil {
		c.t.Fatal(err)
	}
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		c.t.Fatal(err)
	}
	var u usage
	if err := json.Unmarshal(line, &u); err != nil {
		c.t.Fatal(err)
	}
	return u
}
