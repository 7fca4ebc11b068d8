package keyserver

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/protocol"
)

// TestLoad lets many enclaves fetch their key while stalled clients hold connections open. With CC_LOAD=1 it is 2,000
// enclaves and 200 stalled clients; a minute is what they may take, and the slowest of a hundred half as long again as those
// of a server without stalled clients, which is asked in turn with the other, so that both meet what else the machine does.
func TestLoad(t *testing.T) {
	enclaves, stalled, limit := 100, 40, 30*time.Second
	long := os.Getenv("CC_LOAD") == "1"
	if long {
		enclaves, stalled, limit = 2000, 200, time.Minute
	}
	w := newWorld(t)
	start := func() *running {
		srv, err := New(w.parse(w.config()+"limits: { handshake_timeout: 5m }\n"), Options{Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return w.serve(srv)
	}
	alone, beside := start(), start()
	w.load(enclaves/10, alone, beside) // collateral is fetched, heaps grow
	defer w.stall(beside, stalled)()
	began := time.Now()
	w.load(enclaves, beside)
	all := time.Since(began)
	t.Logf("%d enclaves beside %d stalled clients took %v: %.0f a second", enclaves, stalled, all, float64(enclaves)/all.Seconds())
	if all > limit {
		t.Errorf("they took %v, more than %v", all, limit)
	}
	took := w.load(enclaves, alone, beside)
	p99 := func(of []time.Duration) time.Duration { return of[len(of)*99/100] }
	ratio := float64(p99(took[1])) / float64(p99(took[0]))
	t.Logf("p99 beside %d stalled clients %v, without %v: ratio %.2f", stalled, p99(took[1]), p99(took[0]), ratio)
	if long && ratio > 1.5 {
		t.Errorf("the ratio is %.2f, want at most 1.5", ratio)
	}
}

// stall lets clients connect that go no further, half of them in the middle of a record.
func (w *world) stall(s *running, n int) (end func()) {
	w.t.Helper()
	conns := make([]net.Conn, 0, n)
	for i := range n {
		conn, err := new(net.Dialer).DialContext(w.t.Context(), "tcp", s.addr)
		if err != nil {
			w.t.Fatal(err)
		}
		conns = append(conns, conn)
		if i%2 == 0 {
			if _, err := conn.Write([]byte{22, 3, 1, 2}); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	waitUntil(w.t, "the stalled clients are there", func() bool {
		open, _ := s.gate.Count()
		return open >= n
	})
	return func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
		waitUntil(w.t, "the stalled clients are gone", func() bool {
			open, _ := s.gate.Count()
			return open == 0
		})
	}
}

// load lets n enclaves fetch their key from each of the servers in turn, some at a time, and returns how long they took,
// sorted, for each server. Their certificates are made before, so that the server is what is measured, as far as one
// process can.
func (w *world) load(n int, servers ...*running) [][]time.Duration {
	w.t.Helper()
	confs := make([]*tls.Config, 16)
	for i := range confs {
		confs[i] = w.clientConfig()
	}
	took := make([][]time.Duration, len(servers))
	for i := range took {
		took[i] = make([]time.Duration, n)
	}
	jobs := make(chan int)
	var wg sync.WaitGroup
	for _, conf := range confs {
		wg.Go(func() {
			for job := range jobs {
				for i, s := range servers {
					start := time.Now()
					if err := fetch(w.t.Context(), s.addr, conf); err != nil {
						w.t.Error(err)
					}
					took[i][job] = time.Since(start)
				}
			}
		})
	}
	for i := range n {
		jobs <- i
	}
	close(jobs)
	wg.Wait()
	for i := range took {
		slices.Sort(took[i])
	}
	return took
}

// fetch is the least that a client does.
func fetch(ctx context.Context, addr string, conf *tls.Config) error {
	conn, err := (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, protocol.Request); err != nil {
		return err
	}
	got := make([]byte, 41+wrapKeySize)
	_, err = io.ReadFull(conn, got)
	return err
}

// BenchmarkRelease is one enclave after the other, P-384, with warm collateral; client and server are one process.
// BenchmarkBareTLS is the same without attestation: a mutual handshake, a request, an answer.
func BenchmarkRelease(b *testing.B) {
	w := newWorld(b)
	srv, err := New(w.parse(w.config()), Options{})
	if err != nil {
		b.Fatal(err)
	}
	s := w.serve(srv)
	w.benchmark(b, s.addr)
}

func BenchmarkBareTLS(b *testing.B) {
	w := newWorld(b)
	pair, err := loadCertificate(&w.parse(w.config()).TLS, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	b.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	go func() {
		defer close(done)
		if err := serveBare(l, pair); err != nil {
			b.Error(err)
		}
	}()
	w.benchmark(b, l.Addr().String())
}

func (w *world) benchmark(b *testing.B, addr string) {
	b.Helper()
	conf := w.clientConfig()
	for b.Loop() {
		if err := fetch(b.Context(), addr, conf); err != nil {
			b.Fatal(err)
		}
	}
}
