// Package console is the key server's administrative listener: health checks for whoever supervises the process. It shows
// no secret, and it is for a loopback address.
//
//	/healthz  200 while the process works
//	/readyz   200 while enclaves are served; else 503 with the reason
//	/metrics  counters and gauges for Prometheus
package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// Handler answers requests; ready says why enclaves are not served, or nil, and metrics writes Prometheus' text format.
func Handler(ready func() error, metrics func(io.Writer) error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			answer(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		_ = metrics(w) // fails when the client has gone
	})
	return checkHost(mux)
}

// Serve answers on l until the returned function is called.
func Serve(l net.Listener, h http.Handler, log *slog.Logger) (stop func()) {
	server := newServer(h)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the admin listener failed", "error", err)
		}
	}()
	log.Info("listening for health checks", "address", l.Addr().String())
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
		<-done
	}
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, text)
}

// checkHost refuses requests that name another host than this machine. A browser on this machine that was lured to a
// name which resolves to 127.0.0.1 sends that name here (DNS rebinding).
func checkHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		addr, err := netip.ParseAddr(host)
		if host != "localhost" && (err != nil || !addr.Unmap().IsLoopback()) {
			answer(w, http.StatusMisdirectedRequest, "this listener is for localhost")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// newServer bounds what a client of the listener can take.
func newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
}
