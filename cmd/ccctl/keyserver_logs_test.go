package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/console"
)

func TestPrintable(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"keys.example.com", "keys.example.com"},
		{`the "rule" ä 漢`, `the "rule" ä 漢`},
		{"\x1b[2J\x1b]0;owned\x07", `\x1b[2J\x1b]0;owned\a`},
		{"a\nb\r", `a\nb\r`},
		{"\u202egnp.exe", `\u202egnp.exe`},
		{"\"\xff", `"\xff`},
	} {
		if got := printable(tt.in); got != tt.want {
			t.Errorf("printable(%q) is %q, want %q", tt.in, got, tt.want)
		}
	}
	line := decisionLine(&console.Decision{ServerName: "\x1b[31m", Error: "\r", Reasons: []console.Reason{{Check: "x", Got: "\x1b"}}})
	if strings.ContainsAny(line, "\x1b\r") {
		t.Errorf("a stranger moves the cursor: %q", line)
	}
}

func TestAdminError(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code int
		hint string
	}{
		{&net.OpError{Op: "dial", Err: errors.New("connection refused")}, exitUnreachable, ""},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, exitUnreachable, "compare it with admin.tls.client_ca"},
		{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, exitNotGenuine, "compare --ca and --server-name"},
		{errors.New(`net/http: HTTP/1.x transport connection broken: malformed HTTP response "\x15"`), exitUnreachable, "the listener speaks TLS"},
		{context.Canceled, exitInterrupted, ""},
		{context.DeadlineExceeded, exitUnreachable, ""},
	} {
		err := adminError(fmt.Errorf("get: %w", tt.err))
		if got := strings.Join(hints(err), ""); exitCode(err) != tt.code || !strings.Contains(got, tt.hint) || (tt.hint == "") != (got == "") {
			t.Errorf("%v: exit code %d, hints %q; want %d, %q", tt.err, exitCode(err), got, tt.code, tt.hint)
		}
	}
}

func TestDialable(t *testing.T) {
	for in, want := range map[string]string{
		"0.0.0.0:1": "127.0.0.1:1", "[::]:1": "127.0.0.1:1", ":1": "127.0.0.1:1", "127.0.0.1:1": "127.0.0.1:1", "keys.example.com:1": "keys.example.com:1", "x": "x",
	} {
		if got := dialable(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

// entry is a line of an audit log.
func entry(seq int, event string, data any) string {
	raw, err := json.Marshal(map[string]any{"seq": seq, "time": time.Unix(int64(1.8e9)+int64(seq), 0).UTC(), "event": event, "prev": "", "data": data})
	if err != nil {
		panic(err)
	}
	return string(raw) + "\n"
}

// readLog reads a log to its end.
func readLog(t *testing.T, path string, l *logReader) ([]console.Decision, error) {
	t.Helper()
	var out, errOut bytes.Buffer
	l.u = newUI(nil, &out, &errOut)
	l.u.json = true
	err := l.readAudit(t.Context(), path)
	var all []console.Decision
	for line := range strings.Lines(out.String()) {
		var d console.Decision
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	return all, err
}

// TestRotatedAuditLog: the former files come first, and a release may end in another file than it began in.
func TestRotatedAuditLog(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	write := func(name string, lines ...string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Join(lines, "")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("audit.log.000000000001", entry(1, "begin", nil), entry(2, "config", map[string]string{"sha256": "aa"}), entry(3, "release", map[string]string{"peer": "first", "rule": "r"}))
	write("audit.log.000000000004", entry(4, "continue", nil), entry(5, "sent", map[string]int{"of": 3}), entry(6, "release", map[string]string{"peer": "second", "rule": "r"}))
	write("audit.log", entry(7, "continue", nil), entry(8, "not_sent", map[string]any{"of": 6, "error": "cable cut"}),
		entry(9, "refuse", map[string]any{"peer": "third", "reasons": []map[string]string{{"rule": "s", "check": "debug"}}}),
		entry(10, "release", map[string]string{"peer": "fourth"}), entry(11, "sent", map[string]int{"of": 1}), entry(12, "checkpoint", map[string]string{"note": "x"}))
	for _, other := range []string{"audit.log.checkpoint", "audit.log.5", "audit.log.000000000004.gz", "another.log.000000000001"} {
		write(other, "rubbish")
	}
	all, err := readLog(t, path, &logReader{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range all {
		got = append(got, strings.Join([]string{d.Verdict, d.Peer, d.Rule, d.Error}, " "))
	}
	want := "config -  |sent first r |not_sent second r cable cut|refused third  |sent -  |released fourth  "
	if strings.Join(got, "|") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "|"), want)
	}
	for _, tt := range []struct {
		l    logReader
		want int
	}{
		{logReader{tail: 2}, 2}, {logReader{tail: 100}, 6}, {logReader{verdicts: []string{"sent"}}, 2}, {logReader{rules: []string{"s"}}, 1},
		{logReader{rules: []string{"r"}}, 2}, {logReader{since: time.Unix(1.8e9+9, 0)}, 3}, {logReader{rules: []string{"x"}}, 0},
	} {
		if all, err := readLog(t, path, &tt.l); err != nil || len(all) != tt.want {
			t.Errorf("%+v: %d, %v, want %d", tt.l, len(all), err, tt.want)
		}
	}
}

// TestFollowingThroughARotation: nothing is lost where the log goes on in a new file, and a line is waited for to its end.
func TestFollowingThroughARotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	add := func(text string) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			if _, err = f.WriteString(text); err == nil {
				err = f.Close()
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	refuse := func(seq int, peer string) string { return entry(seq, "refuse", map[string]string{"peer": peer}) }
	add(entry(1, "begin", nil) + refuse(2, "before"))
	out := &syncBuffer{}
	l := &logReader{follow: true, u: newUI(nil, out, out)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.readAudit(ctx, path) }()
	out.await(t, "before")
	half := refuse(3, "halved")
	add(half[:20])
	add(half[20:])
	out.await(t, "halved")
	add(refuse(4, "last"))
	if err := os.Rename(path, path+".000000000001"); err != nil {
		t.Fatal(err)
	}
	add(entry(5, "continue", nil) + refuse(6, "next"))
	out.await(t, "next")
	cancel()
	if err := l.followed(ctx, <-done); err != nil {
		t.Error(err)
	}
	if lines := strings.Count(out.String(), "\n"); lines != 4 || !strings.Contains(out.String(), "last") {
		t.Errorf("output:\n%s", out.String())
	}
}

// TestFollowingAServerThatRestarts: the numbers of the new one begin anew, and nothing is shown twice.
func TestFollowingAServerThatRestarts(t *testing.T) {
	type run struct {
		recent  *console.Recent
		started time.Time
	}
	runs := make(chan run, 1)
	serve := func(peers ...string) run {
		r := run{&console.Recent{}, time.Now()}
		for _, p := range peers {
			r.recent.Add(console.Decision{Verdict: console.VerdictSent, Peer: p, Time: time.Now()})
		}
		return r
	}
	runs <- serve("one", "two")
	down := make(chan bool, 1)
	down <- false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		isDown := <-down
		down <- isDown
		if isDown {
			panic(http.ErrAbortHandler)
		}
		r := <-runs
		runs <- r
		console.Handler(console.Options{
			Recent: r.recent, Started: r.started,
		}).ServeHTTP(w, req)
	}))
	defer server.Close()
	out := &syncBuffer{}
	l := &logReader{follow: true, u: newUI(nil, out, out)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.readAdmin(ctx, &adminFlags{address: server.Listener.Addr().String()}) }()
	out.await(t, "two")
	<-down
	down <- true
	old := <-runs
	runs <- serve("three")
	server.CloseClientConnections()
	out.await(t, "trying again")
	<-down
	down <- false
	old.recent.Add(console.Decision{}) // lets go whoever waits
	out.await(t, "three")
	cancel()
	if err := l.followed(ctx, <-done); err != nil {
		t.Error(err)
	}
	for _, peer := range []string{"one", "two", "three"} {
		if n := strings.Count(out.String(), peer); n != 1 {
			t.Errorf("%s is shown %d times:\n%s", peer, n, out.String())
		}
	}
}

// syncBuffer is written to and read by several goroutines.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// await waits for a word.
func (b *syncBuffer) await(t *testing.T, word string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(b.String(), word); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %q in %s", word, b.String())
		}
	}
}

// FuzzAuditReader: whatever a file holds, reading it ends, and what it says moves no cursor.
func FuzzAuditReader(f *testing.F) {
	f.Add([]byte(entry(1, "begin", nil) + entry(2, "release", map[string]string{"peer": "p", "mr_enclave": "\xff"}) + entry(3, "sent", map[string]int{"of": 2})))
	f.Add([]byte(entry(1, "refuse", map[string]any{"peer": "\x1b[2J", "reasons": []map[string]string{{"check": "debug", "got": "\r"}}})))
	f.Add([]byte(entry(1, "config", map[string]string{"sha256": "aa", "refused": "\u202e"}) + `{"seq":2`))
	f.Add([]byte(`{"seq":1,"event":"refuse","data":{"reasons":null,"advisories":[""]}}` + "\n\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var out bytes.Buffer
		l := &logReader{u: newUI(nil, &out, &out)}
		a := &auditReader{l: l, open: map[uint64]console.Decision{}}
		err := a.read(t.Context(), bytes.NewReader(raw), "log")
		if err == nil {
			err = a.unfinished()
		}
		if cerr := l.catchUp(); err == nil {
			err = cerr
		}
		if code := exitCode(err); code != exitOK && code != exitFormat && code != exitNotGenuine {
			t.Errorf("exit code %d: %v", code, err)
		}
		for _, r := range out.String() {
			if r != '\n' && !strconv.IsGraphic(r) {
				t.Errorf("output has %q: %q", r, out.String())
			}
		}
	})
}
