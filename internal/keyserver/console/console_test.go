package console

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHandler(t *testing.T) {
	unready := errors.New("the server has not started to listen")
	h := Handler(func() error { return unready }, figures)
	ask := func(method, host, path string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
		r.Host = host
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		return rec
	}
	for _, tt := range []struct {
		method, host, path string
		status             int
		body               string
	}{
		{"GET", "127.0.0.1:9433", "/healthz", 200, "ok"},
		{"GET", "localhost:9433", "/healthz", 200, "ok"},
		{"GET", "localhost", "/healthz", 200, "ok"},
		{"GET", "[::1]:9433", "/healthz", 200, "ok"},
		{"HEAD", "127.0.0.1:9433", "/healthz", 200, ""},
		{"GET", "127.0.0.1:9433", "/readyz", 503, "the server has not started to listen"},
		{"GET", "rebound.example.com", "/healthz", 421, "this listener is for localhost"},
		{"GET", "192.0.2.7:9433", "/readyz", 421, "this listener is for localhost"},
		{"GET", "", "/readyz", 421, "this listener is for localhost"},
		{"GET", "localhost.example.com", "/readyz", 421, "this listener is for localhost"},
		{"GET", "127.0.0.1:9433", "/metrics", 200, "figures 1"},
		{"GET", "rebound.example.com", "/metrics", 421, "this listener is for localhost"},
		{"POST", "127.0.0.1:9433", "/healthz", 405, "Method Not Allowed"},
		{"GET", "127.0.0.1:9433", "/secrets", 404, "404 page not found"},
	} {
		rec := ask(tt.method, tt.host, tt.path)
		if rec.Code != tt.status || tt.body != "" && strings.TrimSpace(rec.Body.String()) != tt.body {
			t.Errorf("%s %s for %s: %d %q, want %d %q", tt.method, tt.path, tt.host, rec.Code, rec.Body, tt.status, tt.body)
		}
	}
	unready = nil
	rec := ask("GET", "127.0.0.1:9433", "/readyz")
	if rec.Code != 200 || rec.Header().Get("Cache-Control") != "no-store" || rec.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("ready: %d, %v", rec.Code, rec.Header())
	}
	if h := newServer(http.NotFoundHandler()); h.ReadHeaderTimeout == 0 || h.ReadTimeout == 0 || h.WriteTimeout == 0 || h.IdleTimeout == 0 {
		t.Error("the admin listener waits for ever")
	}
}

func TestServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	stop := Serve(l, Handler(func() error { return nil }, figures), slog.New(slog.NewTextHandler(&log, nil)))
	get := func() (*http.Response, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String()+"/readyz", nil)
		if err != nil {
			t.Fatal(err)
		}
		return (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	}
	resp, err := get()
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("status %s", resp.Status)
	}
	stop()
	if resp, err := get(); err == nil {
		_ = resp.Body.Close()
		t.Error("it still answers")
	}
	if strings.Contains(log.String(), "failed") {
		t.Errorf("log: %s", &log)
	}
}

func figures(w io.Writer) error {
	_, err := io.WriteString(w, "figures 1\n")
	return err
}
