package keyserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/ratls"
)

const (
	// maxIdle is what 10,000 connections whose clients have shown no evidence may take of the server's memory, in bytes.
	maxIdle = 256 << 20
	// maxEach is what any connection may take, with what a heap has in reserve: crypto/tls alone keeps three copies of a
	// certificate.
	maxEach = 192 << 10
)

// TestIdleConnections holds connections open that do nothing, before, in and after their handshake, and looks at what the
// server takes for them. With CC_LOAD=1 they are 10,000, or as many as the default limits let in.
func TestIdleConnections(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's memory is not the server's")
	}
	n := 300
	if os.Getenv("CC_LOAD") == "1" {
		n = 10_000
	}
	if limit := openFiles(); limit < uint64(n)+200 {
		t.Skipf("this process may open %d files, which is too few for %d connections", limit, n)
	}
	// Beyond these the default limits refuse.
	limits := DefaultLimits()
	const patient = "limits: { unfinished_handshakes: 20000, unfinished_per_address: 20000, handshake_timeout: 20m, request_timeout: 20m }\n"

	t.Run("before the handshake", func(t *testing.T) {
		w := newWorld(t)
		c := w.spawn("server", w.config()+patient)
		w.idle(c, n, false, func() (net.Conn, error) { return new(net.Dialer).DialContext(t.Context(), "tcp", c.addr) })
	})
	t.Run("in the handshake", func(t *testing.T) {
		w := newWorld(t)
		c := w.spawn("server", w.config()+patient)
		conf := w.clientConfig()
		// The server has sent its certificate and waits for the client's.
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		asked := make(chan struct{}, n)
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		var stalled sync.WaitGroup
		defer stalled.Wait()
		defer cancel()
		w.idle(c, min(n, limits.UnfinishedHandshakes), false, func() (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", c.addr)
			if err == nil {
				stalled.Go(func() { _ = tls.Client(conn, conf).HandshakeContext(ctx) })
				<-asked
			}
			return conn, err
		})
	})
	// Only enclaves that a rule accepts get that far, and stay for limits.request_timeout, 10 seconds unless given.
	t.Run("after the handshake", func(t *testing.T) {
		w := newWorld(t)
		c := w.spawn("server", w.config()+patient)
		conf := w.clientConfig()
		w.idle(c, min(n, limits.UnfinishedHandshakes), true, func() (net.Conn, error) {
			return (&tls.Dialer{Config: conf}).DialContext(t.Context(), "tcp", c.addr)
		})
	})
	t.Run("beyond the limits", func(t *testing.T) {
		w := newWorld(t)
		perAddress := n / 10
		c := w.spawn("server", w.config()+fmt.Sprintf("limits: { unfinished_handshakes: %d, unfinished_per_address: %d, handshake_timeout: 20m }\n", 4*perAddress, perAddress))
		conns := make([]net.Conn, 0, n)
		defer func() {
			for _, conn := range conns {
				_ = conn.Close()
			}
		}()
		for range n {
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", c.addr)
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, conn)
		}
		var u usage
		waitUntil(t, "all have been admitted or refused", func() bool {
			u = c.ask("usage")
			return u.Open+int(u.Evicted) >= n
		})
		if u.Open > perAddress {
			t.Errorf("%d connections of one address are open, and the limit is %d", u.Open, perAddress)
		}
		if err := fetch(t.Context(), c.addr, w.clientConfig()); err != nil {
			t.Errorf("an enclave beside them: %v", err)
		}
		t.Logf("of %d connections %d are open and %d were closed to make room; %d MiB", n, u.Open, u.Evicted, c.ask("heap").RSS>>20)
	})
}

// clientConfig is what an enclave with a P-384 key and both kinds of evidence speaks TLS with.
func (w *world) clientConfig() *tls.Config {
	w.t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.ca)
	return &tls.Config{
		RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12,
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256}, // as Gramine has them
		Certificates:     []tls.Certificate{w.certificate(ratls.CertificateOptions{})},
	}
}

// idle opens connections that stay, and asks the server what they take. Those of enclaves that a rule accepts may take more
// in all.
func (w *world) idle(c *child, n int, attested bool, open func() (net.Conn, error)) {
	w.t.Helper()
	if err := fetch(w.t.Context(), c.addr, w.clientConfig()); err != nil { // so that collateral is at hand
		w.t.Fatal(err)
	}
	before := c.ask("heap")
	var mu sync.Mutex
	var conns []net.Conn
	defer func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	jobs := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range jobs {
				conn, err := open()
				if err != nil {
					if !strings.Contains(err.Error(), "canceled") {
						w.t.Error(err)
					}
					continue
				}
				mu.Lock()
				conns = append(conns, conn)
				mu.Unlock()
			}
		})
	}
	for range n {
		jobs <- struct{}{}
	}
	close(jobs)
	wg.Wait()
	var u usage
	waitUntil(w.t, "all connections are open", func() bool {
		u = c.ask("usage")
		return u.Open >= n
	})
	if err := fetch(w.t.Context(), c.addr, w.clientConfig()); err != nil {
		w.t.Errorf("an enclave beside them: %v", err)
	}
	settled := c.ask("heap")
	each := (u.RSS - before.RSS) / int64(n)
	w.t.Logf("%d idle connections: %d MiB, at most %d MiB, and %d MiB when settled; %d KiB each", n, u.RSS>>20, u.Peak>>20, settled.RSS>>20, each>>10)
	if u.Peak > maxIdle && !attested {
		w.t.Errorf("they took up to %d MiB, more than %d", u.Peak>>20, maxIdle>>20)
	}
	if each > maxEach {
		w.t.Errorf("each takes %d bytes, more than %d", each, maxEach)
	}
}
