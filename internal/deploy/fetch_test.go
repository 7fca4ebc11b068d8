package deploy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fileServer serves one file over TLS and does what a test tells it to.
type fileServer struct {
	*httptest.Server

	mu       sync.Mutex
	content  []byte
	requests []string                                                 // Range headers
	handle   func(w http.ResponseWriter, r *http.Request, n int) bool // true: handled; n counts from 0
}

func newFileServer(t *testing.T) *fileServer {
	t.Helper()
	s := &fileServer{content: bytes.Repeat([]byte("frozen graph "), 20_000)}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		n := len(s.requests)
		s.requests = append(s.requests, r.Header.Get("Range"))
		content, handle := s.content, s.handle
		s.mu.Unlock()
		if handle == nil || !handle(w, r, n) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *fileServer) sum() string {
	sum := sha256.Sum256(s.content)
	return hex.EncodeToString(sum[:])
}

func (s *fileServer) spec(t *testing.T) FetchSpec {
	t.Helper()
	return FetchSpec{
		URL: s.URL + "/graph.pb?token=secret", SHA256: s.sum(), Destination: filepath.Join(t.TempDir(), "graph.pb"), Client: s.Client(),
		Wait: func(ctx context.Context, _ int) error { return ctx.Err() },
	}
}

// cut sends the first n bytes of what was asked for and ends the connection.
func (s *fileServer) cut(n int) func(http.ResponseWriter, *http.Request, int) bool {
	return func(w http.ResponseWriter, r *http.Request, count int) bool {
		if count > 0 {
			return false
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(s.content)))
		_, _ = w.Write(s.content[:n])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

func checkFetched(t *testing.T, spec FetchSpec, want []byte) {
	t.Helper()
	got, err := os.ReadFile(spec.Destination)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v; want %d", len(got), err, len(want))
	}
	if left := listing(t, filepath.Dir(spec.Destination)); left != "graph.pb" {
		t.Errorf("the directory has %s", left)
	}
	if info, err := os.Stat(spec.Destination); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestFetch(t *testing.T) {
	s := newFileServer(t)
	spec := s.spec(t)
	var last, total int64
	spec.Progress = func(done, of int64) { last, total = done, of }
	got, err := Fetch(t.Context(), spec)
	if err != nil || got.Size != int64(len(s.content)) || got.Resumed != 0 || got.Present {
		t.Fatalf("%+v, %v", got, err)
	}
	if last != got.Size || total != got.Size {
		t.Errorf("progress %d of %d", last, total)
	}
	checkFetched(t, spec, s.content)
	again, err := Fetch(t.Context(), spec)
	if err != nil || !again.Present || len(s.requests) != 1 {
		t.Errorf("%+v, %v after %d requests", again, err, len(s.requests))
	}
}

func TestFetchResumes(t *testing.T) {
	const have = 100_000
	tests := []struct {
		name    string
		part    func(content []byte) []byte // what is there from before
		handle  func(s *fileServer) func(http.ResponseWriter, *http.Request, int) bool
		ranges  string
		resumed int64
	}{
		{"a connection that breaks", nil, func(s *fileServer) func(http.ResponseWriter, *http.Request, int) bool { return s.cut(have) }, " bytes=100000-", 0},
		{"an earlier call", func(c []byte) []byte { return c[:have] }, nil, "bytes=100000-", have},
		{"an earlier call that had all", func(c []byte) []byte { return c }, nil, "bytes=260000-", 260_000},
		{"a part of something else", func(c []byte) []byte { return bytes.Repeat([]byte("x"), have) }, nil, "bytes=100000- ", 0},
		{"a part that is too long", func(c []byte) []byte { return append(bytes.Clone(c), 1) }, nil, "bytes=260001- ", 0},
		{"a server without ranges", func(c []byte) []byte { return c[:have] }, func(s *fileServer) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, _ *http.Request, _ int) bool { _, _ = w.Write(s.content); return true }
		}, "bytes=100000-", 0},
		{"a server that sends another range", func(c []byte) []byte { return c[:have] }, func(s *fileServer) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, _ *http.Request, n int) bool {
				if n > 0 {
					return false
				}
				w.Header().Set("Content-Range", "bytes 5-10/260000")
				w.WriteHeader(http.StatusPartialContent)
				return true
			}
		}, "bytes=100000- ", 0},
		{"errors that pass", nil, func(*fileServer) func(http.ResponseWriter, *http.Request, int) bool {
			return func(w http.ResponseWriter, _ *http.Request, n int) bool {
				if n < 3 {
					http.Error(w, "", []int{500, 503, 429}[n])
				}
				return n < 3
			}
		}, "   ", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newFileServer(t)
			if tt.handle != nil {
				s.handle = tt.handle(s)
			}
			spec := s.spec(t)
			if tt.part != nil {
				if err := os.WriteFile(partName(spec), tt.part(s.content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := Fetch(t.Context(), spec)
			if err != nil || got.Resumed != tt.resumed {
				t.Fatalf("%+v, %v", got, err)
			}
			checkFetched(t, spec, s.content)
			if got := strings.Join(s.requests, " "); got != tt.ranges {
				t.Errorf("asked for %q, want %q", got, tt.ranges)
			}
		})
	}
}

func TestFetchFailures(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	answer := func(status int) func(http.ResponseWriter, *http.Request, int) bool {
		return func(w http.ResponseWriter, _ *http.Request, _ int) bool { w.WriteHeader(status); return true }
	}
	tests := []struct {
		name   string
		handle func(http.ResponseWriter, *http.Request, int) bool
		change func(*FetchSpec)
		want   string
		is     error
		tries  int
	}{
		{"not found", answer(404), nil, "the server answered 404 Not Found", nil, 1},
		{"server error", answer(502), nil, "the server cannot be reached: the server answered 502 Bad Gateway; 0 bytes have arrived and are kept for the next try", ErrUnreachable, 5},
		{"two tries", answer(502), func(s *FetchSpec) { s.Tries = 2 }, "502", ErrUnreachable, 2},
		{"redirect to plain http", func(w http.ResponseWriter, r *http.Request, _ int) bool {
			http.Redirect(w, r, plain.URL+"/x?secret", http.StatusFound)
			return true
		}, nil, "it redirects to " + plain.URL + ", want https", nil, 1},
		{"redirect for ever", func(w http.ResponseWriter, r *http.Request, _ int) bool {
			http.Redirect(w, r, "/again", http.StatusFound)
			return true
		}, nil, "it redirects more than 10 times", nil, 10},
		{"another file", nil, func(s *FetchSpec) { s.SHA256 = strings.Repeat("0", 64) }, "it is not the pinned file: its SHA-256 is ", ErrSourceDigest, 1},
		{"too large, announced", nil, func(s *FetchSpec) { s.MaxSize = 1000 }, "it has more than the 1000 bytes that are allowed", nil, 1},
		{"too large, not announced", func(w http.ResponseWriter, _ *http.Request, _ int) bool {
			for range 100 {
				_, _ = w.Write(make([]byte, 100))
				_ = http.NewResponseController(w).Flush()
			}
			return true
		}, func(s *FetchSpec) { s.MaxSize = 1000 }, "it has more than the 1000 bytes that are allowed", nil, 1},
		{"unknown authority", nil, func(s *FetchSpec) { s.Client = nil }, "certificate", nil, 0},
		{"nobody there", nil, func(s *FetchSpec) { s.URL = "https://127.0.0.1:1/x"; s.Tries = 1 }, "connection refused", ErrUnreachable, 0},
		{"no digest", nil, func(s *FetchSpec) { s.SHA256 = "" }, `the SHA-256 "" is not 64 hex digits`, nil, 0},
		{"plain http", nil, func(s *FetchSpec) { s.URL = "http://127.0.0.1/x" }, `fetch http://127.0.0.1/x: the scheme is "http", want https or file`, nil, 0},
		{"password", nil, func(s *FetchSpec) { s.URL = "https://user:secret@127.0.0.1/x" }, "fetch https://127.0.0.1/x: the URL has a user name or password", nil, 0},
		{"no host", nil, func(s *FetchSpec) { s.URL = "https:///x" }, "the URL has no host", nil, 0},
		{"file URL with a host", nil, func(s *FetchSpec) { s.URL = "file://graph.pb" }, "a file URL has three slashes", nil, 0},
		{"no URL", nil, func(s *FetchSpec) { s.URL = "https://[secret" }, "parse URL: it is not one", nil, 0},
		{"destination is a directory", nil, func(s *FetchSpec) { s.Destination = filepath.Dir(s.Destination) }, "it is not a regular file but a directory", nil, 0},
		{"no directory", nil, func(s *FetchSpec) { s.Destination += "/x/y" }, "no such file or directory", nil, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newFileServer(t)
			s.handle = tt.handle
			spec := s.spec(t)
			if tt.change != nil {
				tt.change(&spec)
			}
			_, err := Fetch(t.Context(), spec)
			if err == nil || !strings.Contains(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) || tt.is == nil && errors.Is(err, ErrUnreachable) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("%v has the URL's secrets", err)
			}
			if len(s.requests) != tt.tries {
				t.Errorf("%d requests, want %d", len(s.requests), tt.tries)
			}
			if _, err := os.Stat(spec.Destination); err == nil && tt.name != "destination is a directory" {
				t.Error("the destination exists")
			}
		})
	}
}

// TestFetchKeepsThePart interrupts a fetch and goes on from there.
func TestFetchKeepsThePart(t *testing.T) {
	s := newFileServer(t)
	spec := s.spec(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.handle = func(w http.ResponseWriter, r *http.Request, n int) bool {
		if n == 0 {
			_, _ = w.Write(s.content[:50_000])
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
		return n == 0
	}
	spec.Progress = func(done, _ int64) {
		if done == 50_000 {
			cancel()
		}
	}
	if _, err := Fetch(ctx, spec); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	spec.Progress = nil
	got, err := Fetch(t.Context(), spec)
	if err != nil || got.Resumed != 50_000 {
		t.Fatalf("%+v, %v", got, err)
	}
	checkFetched(t, spec, s.content)
}

// endsWhenCancelled is a transport whose first answer ends, without an error,
// when the request is cancelled.
type endsWhenCancelled struct {
	http.RoundTripper
	answered bool
}

func (e *endsWhenCancelled) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := e.RoundTripper.RoundTrip(r.WithContext(context.WithoutCancel(r.Context())))
	if err == nil && !e.answered {
		e.answered = true
		resp.ContentLength = -1
		resp.Body = &endingBody{ReadCloser: resp.Body, ctx: r.Context(), left: 50_000}
	}
	return resp, err
}

type endingBody struct {
	io.ReadCloser
	ctx  context.Context //nolint:containedctx // Of the request whose body it is.
	left int
}

func (b *endingBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		<-b.ctx.Done()
		return 0, io.EOF
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// TestFetchKeepsThePartOfAnEndThatLooksWhole: a cancelled answer may end as if
// it were complete, which is no reason to take it for another file.
func TestFetchKeepsThePartOfAnEndThatLooksWhole(t *testing.T) {
	s := newFileServer(t)
	spec := s.spec(t)
	client := *spec.Client
	client.Transport = &endsWhenCancelled{RoundTripper: client.Transport}
	spec.Client = &client
	ctx, cancel := context.WithCancel(t.Context())
	spec.Progress = func(done, _ int64) {
		if done == 50_000 {
			cancel()
		}
	}
	if _, err := Fetch(ctx, spec); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	spec.Progress = nil
	got, err := Fetch(t.Context(), spec)
	if err != nil || got.Resumed != 50_000 {
		t.Fatalf("%+v, %v", got, err)
	}
	checkFetched(t, spec, s.content)
}

func TestFetchDoesNotReplace(t *testing.T) {
	s := newFileServer(t)
	spec := s.spec(t)
	if err := os.WriteFile(spec.Destination, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Fetch(t.Context(), spec)
	if err == nil || !strings.Contains(err.Error(), "a file is there, and it is another one: move it away") || len(s.requests) != 0 {
		t.Errorf("got %v after %d requests", err, len(s.requests))
	}
}

func TestFetchFile(t *testing.T) {
	content := []byte("frozen graph")
	dir := t.TempDir()
	source := filepath.Join(dir, "a graph.pb")
	if err := os.WriteFile(source, content, 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	spec := FetchSpec{URL: "file://" + strings.ReplaceAll(source, " ", "%20"), SHA256: fmt.Sprintf("%x", sum), Destination: filepath.Join(t.TempDir(), "graph.pb")}
	if _, err := Fetch(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	checkFetched(t, spec, content)
	spec.Destination += ".other"
	spec.SHA256 = strings.Repeat("0", 64)
	if _, err := Fetch(t.Context(), spec); !errors.Is(err, ErrSourceDigest) {
		t.Errorf("got %v", err)
	}
	spec.URL += ".none"
	if _, err := Fetch(t.Context(), spec); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if left := listing(t, filepath.Dir(spec.Destination)); left != "graph.pb" {
		t.Errorf("left %s", left)
	}
}

// TestFetchClient looks at what the ordinary client is set to.
func TestFetchClient(t *testing.T) {
	transport, ok := fetchClient().Transport.(*http.Transport)
	if !ok || transport.Proxy == nil || !transport.DisableCompression || transport.ResponseHeaderTimeout != headerTimeout {
		t.Errorf("%+v", transport)
	}
	if transport.TLSClientConfig != nil && transport.TLSClientConfig.InsecureSkipVerify {
		t.Error("certificates are not checked")
	}
}

func TestContentRange(t *testing.T) {
	for in, want := range map[string]string{
		"bytes 5-9/10": "5 10 true", "bytes 0-9/*": "0 -1 true", "bytes */10": "0 0 false", "bytes 5-9": "0 0 false",
		"items 5-9/10": "0 0 false", "bytes x-9/10": "0 0 false", "bytes 5-9/x": "5 0 false", "bytes 5-9/5": "5 5 false", "": "0 0 false",
	} {
		start, total, ok := contentRange(in)
		if got := fmt.Sprint(start, total, ok); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}
