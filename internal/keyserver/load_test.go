package keyserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/protocol"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/ratls"
)

// TestLoad lets many enclaves fetch their key while stalled clients hold connections open. With CC_LOAD=1 it is 2,000
// enclaves and 200 stalled clients, and a minute is what they may take.
func TestLoad(t *testing.T) {
	enclaves, stalled, limit := 150, 40, 30*time.Second
	if os.Getenv("CC_LOAD") == "1" {
		enclaves, stalled, limit = 2000, 200, time.Minute
	}
	w := newWorld(t)
	w.writeBundle("collateral.json")
	srv, err := New(w.parse(w.config()), Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s := w.serve(srv)
	alone := w.load(s, enclaves/4)
	for i := range stalled {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if i%2 == 0 { // half of them in the middle of a record
			if _, err := conn.Write([]byte{22, 3, 1, 2}); err != nil {
				t.Fatal(err)
			}
		}
	}
	waitUntil(t, "the stalled clients are there", func() bool {
		open, _ := s.gate.Count()
		return open >= stalled
	})
	start := time.Now()
	beside := w.load(s, enclaves)
	took := time.Since(start)
	t.Logf("%d enclaves beside %d stalled clients took %v: %.0f a second; p50 %v, p99 %v, and p99 without stalled clients %v",
		enclaves, stalled, took, float64(enclaves)/took.Seconds(), beside[enclaves/2], beside[enclaves*99/100], alone[len(alone)*99/100])
	if took > limit {
		t.Errorf("they took %v, more than %v", took, limit)
	}
}

// load lets n enclaves fetch their key, some at a time, and returns how long each took, sorted. Their certificates are made
// before, so that the server is what is measured, as far as one process can.
func (w *world) load(s *running, n int) []time.Duration {
	w.t.Helper()
	certs := make([]tls.Certificate, 8)
	for i := range certs {
		certs[i] = w.certificate(ratls.CertificateOptions{})
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.ca)
	took := make([]time.Duration, n)
	jobs := make(chan int)
	var wg sync.WaitGroup
	for i := range 16 {
		conf := &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12, Certificates: certs[i%len(certs) : i%len(certs)+1]}
		wg.Go(func() {
			for job := range jobs {
				start := time.Now()
				if err := fetch(w.t.Context(), s.addr, conf); err != nil {
					w.t.Error(err)
				}
				took[job] = time.Since(start)
			}
		})
	}
	for i := range n {
		jobs <- i
	}
	close(jobs)
	wg.Wait()
	slices.Sort(took)
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
	w.writeBundle("collateral.json")
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
	conf := &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true,
	}
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t := tls.Server(conn, conf)
			if protocol.ReadRequest(t) == nil {
				_ = protocol.WriteResponse(t, canary[:])
			}
			_ = t.Close()
		}
	}()
	w.benchmark(b, l.Addr().String())
}

func (w *world) benchmark(b *testing.B, addr string) {
	b.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.ca)
	conf := &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{w.certificate(ratls.CertificateOptions{})}}
	for b.Loop() {
		if err := fetch(b.Context(), addr, conf); err != nil {
			b.Fatal(err)
		}
	}
}
