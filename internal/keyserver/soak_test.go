package keyserver

import (
	"context"
	"flag"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/audit"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver/protocol"
)

var soak = flag.Duration("soak", 0, "how long TestSoak lasts; not at all unless given")

// TestSoak lets a server serve, refuse, be stalled, flooded with rubbish and reloaded for as long as -soak says, and wants its
// memory and its goroutines to have no slope: what a line through all samples but those of the first fifth rises by
// in the whole time.
func TestSoak(t *testing.T) {
	if *soak <= 0 {
		t.Skip("make soak runs it")
	}
	w := newWorld(t)
	text := w.audited()
	text = text[:len(text)-len(" }\n")] + ", rotate_size: 1MiB, checkpoint_interval: 10s }\n" +
		"limits: { unfinished_handshakes: 256, unfinished_per_address: 256 }\n" // with the timeouts that machines of any speed keep
	c := w.spawn("server", text)
	wanted := w.clientConfig()
	w.identity.Debug = true
	unwanted := w.clientConfig()
	// Not a deadline, which a connection notices a moment before the context does.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	time.AfterFunc(*soak, cancel)
	var served, refused, others atomic.Int64
	var clients sync.WaitGroup
	every := func(pause time.Duration, act func()) {
		clients.Go(func() {
			for ctx.Err() == nil {
				act()
				select {
				case <-ctx.Done():
				case <-time.After(time.Duration(rand.Int64N(int64(2 * pause)))):
				}
			}
		})
	}
	for range 2 {
		every(20*time.Millisecond, func() {
			if err := fetch(ctx, c.addr, wanted); err == nil {
				served.Add(1)
			} else if ctx.Err() == nil {
				t.Errorf("an enclave: %v", err)
				cancel()
			}
		})
	}
	every(100*time.Millisecond, func() {
		if err := fetch(ctx, c.addr, unwanted); err == nil {
			t.Error("a debug enclave was given the key")
			cancel()
		} else if ctx.Err() == nil {
			refused.Add(1)
		}
	})
	rubbish := make([]byte, 3000)
	for i := range 3 {
		every(200*time.Millisecond, func() {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.addr)
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			switch i {
			case 0: // stalls until it is cut off
				_, _ = conn.Write([]byte{22, 3, 1, 2})
				_, _ = io.Copy(io.Discard, conn)
			case 1: // no TLS
				_, _ = conn.Write(rubbish)
			default: // no TLS, and politely
				_, _ = io.WriteString(conn, protocol.Request)
				_, _ = io.Copy(io.Discard, conn)
			}
			others.Add(1)
		})
	}
	var heap, rss, goroutines series
	start := time.Now()
	interval := max(*soak/600, 200*time.Millisecond)
	for tick := time.NewTicker(interval); ctx.Err() == nil; {
		select {
		case <-ctx.Done():
			tick.Stop()
			continue
		case <-tick.C:
		}
		if len(heap.y)%5 == 0 {
			c.ask("reload")
		}
		u := c.ask("heap")
		if x := time.Since(start); x > *soak/5 {
			heap.add(x, float64(u.Heap))
			rss.add(x, float64(u.RSS))
			goroutines.add(x, float64(u.Goroutines))
		}
	}
	clients.Wait()
	t.Logf("%v: %d served, %d refused, %d others; %d samples", time.Since(start).Round(time.Second), served.Load(), refused.Load(), others.Load(), len(heap.y))
	if len(heap.y) < 10 {
		t.Fatalf("%d samples tell nothing", len(heap.y))
	}
	for _, s := range []struct {
		name  string
		of    series
		limit float64 // rise in the whole time
		unit  float64
	}{
		{"heap, MiB", heap, 1 << 20, 1 << 20},
		{"resident set, MiB", rss, 8 << 20, 1 << 20},
		{"goroutines", goroutines, 5, 1},
	} {
		rise := s.of.slope() * soak.Seconds()
		t.Logf("%s: mean %.2f, rises by %.2f", s.name, s.of.mean()/s.unit, rise/s.unit)
		if rise > s.limit {
			t.Errorf("%s: it rises by %.2f, more than %.2f", s.name, rise/s.unit, s.limit/s.unit)
		}
	}
	if served.Load() == 0 || refused.Load() == 0 || others.Load() == 0 {
		t.Error("not all kinds of clients were there")
	}
	if r, err := audit.VerifyFiles([]string{filepath.Join(w.dir, "audit.log")}, audit.VerifyOptions{}); err != nil || int64(r.Events["release"]) < served.Load() {
		t.Errorf("audit log: %+v, %v", r, err)
	}
}

// series are samples over time.
type series struct{ x, y []float64 }

func (s *series) add(x time.Duration, y float64) {
	s.x, s.y = append(s.x, x.Seconds()), append(s.y, y)
}

func (s *series) mean() float64 { return mean(s.y) }

func mean(of []float64) (m float64) {
	for _, v := range of {
		m += v / float64(len(of))
	}
	return m
}

// slope is that of the line which fits the samples best (least squares), a second.
func (s *series) slope() float64 {
	mx, my := mean(s.x), mean(s.y)
	var xy, xx float64
	for i := range s.x {
		xy += (s.x[i] - mx) * (s.y[i] - my)
		xx += (s.x[i] - mx) * (s.x[i] - mx)
	}
	return xy / xx
}
