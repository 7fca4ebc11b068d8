package console

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestServeHealth(t *testing.T) {
	var unready atomic.Pointer[error]
	l := listen(t)
	var log bytes.Buffer
	stop := ServeHealth(l, func() error {
		if err := unready.Load(); err != nil {
			return *err
		}
		return nil
	}, slog.New(slog.NewTextHandler(&log, nil)))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	url := "http://" + l.Addr().String()
	check := func(path string, status int, text string) {
		t.Helper()
		got, body, err := get(t, client, url+path)
		if err != nil || got != status || body != text+"\n" {
			t.Errorf("%s: %d %q %v, want %d %q", path, got, body, err, status, text)
		}
	}
	check("/healthz", 200, "ok")
	check("/readyz", 200, "ok")
	// Why is nobody's business here: the text may name rules, files and services.
	why := errors.New("no enclave can be verified: canary")
	unready.Store(&why)
	check("/healthz", 200, "ok")
	check("/readyz", 503, "not ready")
	stop()
	if _, _, err := get(t, client, url+"/healthz"); err == nil {
		t.Error("it still listens")
	}
	if !strings.Contains(log.String(), `msg="listening for health checks" address=`+l.Addr().String()) {
		t.Errorf("log: %s", log.String())
	}
}

// TestHealthAnswersNothingElse: of all that the administrative listener shows, nothing is here.
func TestHealthAnswersNothingElse(t *testing.T) {
	h := healthHandler(func() error { return nil })
	for _, tt := range []struct {
		method, path, host string
		status             int
	}{
		{"GET", "/healthz", "192.0.2.7:9434", 200}, // the kubelet calls by the address of the pod
		{"GET", "/readyz", "anything.example.com", 200},
		{"HEAD", "/readyz", "192.0.2.7:9434", 200},
		{"POST", "/readyz", "192.0.2.7:9434", 405},
		{"GET", "/", "192.0.2.7:9434", 404},
		{"GET", "/status", "192.0.2.7:9434", 404},
		{"GET", "/decisions", "192.0.2.7:9434", 404},
		{"GET", "/metrics", "192.0.2.7:9434", 404},
	} {
		r := httptest.NewRequestWithContext(t.Context(), tt.method, "http://"+tt.host+tt.path, nil)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tt.status {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.path, w.Code, tt.status)
		}
	}
}
