package keyserver

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// listens reports whether something accepts connections there.
func listens(t *testing.T, addr string) bool {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

func waitUntil(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("did not happen: " + what)
		}
	}
}

// startClocked runs a server with a clock that the test moves and a quick pulse.
func (w *world) startClocked(text string) (*running, *atomic.Int64) {
	w.t.Helper()
	var offset atomic.Int64
	opts := w.options()
	opts.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	s, err := New(w.parse(text), opts)
	if err != nil {
		w.t.Fatal(err)
	}
	s.pulse = pulse{every: 10 * time.Millisecond, again: 10 * time.Millisecond, patience: 100 * time.Millisecond}
	return w.serve(s), &offset
}

// TestAServerThatCanVerifyNobodyDoesNotListen: enclaves then go to their next server.
func TestAServerThatCanVerifyNobodyDoesNotListen(t *testing.T) {
	w := newWorld(t)
	var down atomic.Bool
	down.Store(true)
	w.setFault(func(r *http.Request, a *sgxsim.Answer) {
		if down.Load() && strings.HasSuffix(r.URL.Path, "/rootcacrl") {
			a.Status = 404
		}
	})
	s, offset := w.startClocked(w.config())
	w.log.waitFor(t, "level=WARN", "no enclave can be verified at present", "CRL of the root CA")
	waitUntil(t, "it stops listening", func() bool { return !listens(t, s.addr) })
	w.log.waitFor(t, "level=ERROR", "stopped listening, because no enclave can be verified")
	if err := s.Ready(); err == nil || !strings.HasPrefix(err.Error(), "no enclave can be verified: fetch CRL of the root CA") {
		t.Errorf("readiness: %v", err)
	}
	down.Store(false)
	offset.Store(int64(time.Minute))
	waitUntil(t, "it listens again on the same address", func() bool { return s.Ready() == nil })
	if _, err := provision(t, w.enclave(s)); err != nil {
		t.Errorf("after the service has come back: %v", err)
	}
}

func TestOnePlatformIsNoReasonToStop(t *testing.T) {
	w := newWorld(t)
	w.setFault(func(r *http.Request, a *sgxsim.Answer) {
		if strings.HasSuffix(r.URL.Path, "/tcb") || strings.HasSuffix(r.URL.Path, "/pckcrl") {
			a.Status = 404
		}
	})
	s, _ := w.startClocked(w.config())
	if _, err := provision(t, w.enclave(s)); err == nil {
		t.Fatal("released without TCB info")
	}
	time.Sleep(300 * time.Millisecond)
	if err := s.Ready(); err != nil || !listens(t, s.addr) {
		t.Errorf("readiness: %v", err)
	}
}

func TestStoppingAServerThatDoesNotListen(t *testing.T) {
	w := newWorld(t)
	w.setFault(func(_ *http.Request, a *sgxsim.Answer) { a.Status = 404 })
	s, _ := w.startClocked(w.config())
	waitUntil(t, "it stops listening", func() bool { return s.Ready() != nil })
	s.stop()
}

func TestListeningAgainMayTakeAWhile(t *testing.T) {
	w := newWorld(t)
	var down atomic.Bool
	down.Store(true)
	w.setFault(func(_ *http.Request, a *sgxsim.Answer) {
		if down.Load() {
			a.Status = 404
		}
	})
	s, offset := w.startClocked(w.config())
	waitUntil(t, "it stops listening", func() bool { return s.Ready() != nil && !listens(t, s.addr) })
	squatter, err := net.Listen("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	down.Store(false)
	offset.Store(int64(time.Minute))
	w.log.waitFor(t, "level=ERROR", "cannot listen again", "address already in use")
	if err := squatter.Close(); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "it listens again", func() bool { return s.Ready() == nil })
}

func TestAbility(t *testing.T) {
	w := newWorld(t)
	w.writeBundle("collateral.json")
	fromBundle := strings.Replace(w.config(), fmt.Sprintf("url: %q", w.url), "bundle: collateral.json", 1)
	for _, tt := range []struct {
		name, config string
		after        time.Duration
		err          string
	}{
		{"service", w.config(), 0, ""},
		{"service whose copies have expired", w.config(), 400 * 24 * time.Hour, "the service's own copy expired"},
		{"file", fromBundle, 0, ""},
		{"old file", fromBundle, 9 * 24 * time.Hour, "the QE identity was issued on "},
		{"old file, allowed", strings.Replace(fromBundle, "bundle:", "max_age: 600h, bundle:", 1), 9 * 24 * time.Hour, ""},
		{"expired file", strings.Replace(fromBundle, "bundle:", "max_age: 100000h, bundle:", 1), 400 * 24 * time.Hour, "expired on "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Now()
			opts := w.options()
			opts.Now = func() time.Time { return now }
			w.issueUntil(time.Now().Add(1000*24*time.Hour), "localhost", "127.0.0.1")
			s, err := New(w.parse(tt.config), opts)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			now = now.Add(tt.after)
			err = s.current.ability(context.Background(), now)
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error is %v, want %q", err, tt.err)
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.config())
	if _, err := provision(t, w.enclave(s)); err != nil {
		t.Fatal(err)
	}
	e := w.enclave(s)
	id := w.identity
	id.Debug = true
	e.Quoter = w.platform.Quoter(id)
	if _, err := provision(t, e); err == nil {
		t.Fatal("a debug enclave got the key")
	}
	w.write("server.yaml", []byte("x"))
	if err := s.reload(t.Context(), filepath.Join(w.dir, "server.yaml")); err == nil {
		t.Fatal("a bad configuration is in force")
	}
	listens(t, s.addr) // connects and goes
	var out bytes.Buffer
	for _, want := range []string{
		`cc_keyserver_releases_total{rule="the rule"} 1`,
		`cc_keyserver_refusals_total{check="debug"} 1`,
		`cc_keyserver_connections_ended_total{how="no verdict"} 1`,
		`cc_keyserver_config_reloads_total{result="refused"} 1`,
		`cc_keyserver_handshake_duration_seconds_count 2`,
		`cc_keyserver_connections_open 0`,
		`cc_keyserver_ready 1`,
		fmt.Sprintf("cc_keyserver_certificate_expiry_timestamp_seconds %g", float64(s.current.certificate.Leaf.NotAfter.Unix())),
		`cc_keyserver_collateral_expiry_timestamp_seconds{kind="tcb-info"} `,
		`cc_keyserver_collateral_issued_timestamp_seconds{kind="root-ca-crl"} `,
	} {
		waitUntil(t, want, func() bool {
			out.Reset()
			if err := s.WriteMetrics(&out); err != nil {
				t.Fatal(err)
			}
			return strings.Contains(out.String(), want)
		})
	}
	checkNoCanary(t, "metrics", out.String())
	for _, private := range []string{"e100000", "fingerprint", "127.0.0.1"} {
		if strings.Contains(out.String(), private) {
			t.Errorf("metrics show %s", private)
		}
	}
}
