package pccs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// clock is a time that tests move.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time             { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *clock) advance(d time.Duration)    { c.offset.Add(int64(d)) }
func (c *clock) service(s *sgxsim.PCCS)     { s.Now = c.now }
func (c *clock) cacheOptions() CacheOptions { return CacheOptions{Now: c.now} }

func newCache(t *testing.T, s *service, opts CacheOptions) *Cache {
	t.Helper()
	c, err := NewCache(s.client(t, ClientOptions{}), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// eventually waits for background work.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("did not happen: " + what)
		}
	}
}

// settle waits until no refresh runs.
func (c *Cache) settle(t *testing.T) {
	t.Helper()
	eventually(t, "refreshes end", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, e := range c.entries {
			if e.flight != nil {
				return false
			}
		}
		return true
	})
}

func (c *Cache) mustGet(t *testing.T, p *dcap.Platform) *dcap.Collateral {
	t.Helper()
	got, err := c.Collateral(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func failing(status int) func(*http.Request, *sgxsim.Answer) {
	return func(_ *http.Request, a *sgxsim.Answer) { a.Status = status }
}

func TestCacheAsksOnce(t *testing.T) {
	s := newService(t)
	s.setFault(func(_ *http.Request, a *sgxsim.Answer) { a.Delay = 50 * time.Millisecond })
	c := newCache(t, s, CacheOptions{})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := c.Collateral(t.Context(), s.where()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := s.total(); n != 4 {
		t.Errorf("50 callers made %d requests, want 4", n)
	}
	got := c.mustGet(t, s.where())
	s.verify(t, got)
	// Callers own what they get.
	clear(got.TCBInfo)
	s.verify(t, c.mustGet(t, s.where()))
}

func TestOnePlatformDoesNotHoldUpAnother(t *testing.T) {
	s := newService(t)
	slow := make(chan struct{})
	t.Cleanup(func() { close(slow) })
	s.setFault(func(r *http.Request, a *sgxsim.Answer) {
		if r.URL.Query().Get("fmspc") == "00906ED50000" {
			<-slow
		}
	})
	c := newCache(t, s, CacheOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := c.Collateral(ctx, &dcap.Platform{FMSPC: dcap.FMSPC{0, 0x90, 0x6e, 0xd5}, CA: dcap.CAPlatform})
		done <- err
	}()
	s.verify(t, c.mustGet(t, s.where()))
	if err := <-done; !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "fetch TCB info of FMSPC 00906ED50000") {
		t.Errorf("the slow platform's error is %v", err)
	}
}

func TestCacheRefreshesInTheBackground(t *testing.T) {
	s, clk := newService(t), new(clock)
	clk.service(s.pccs)
	c := newCache(t, s, clk.cacheOptions())
	first := c.mustGet(t, s.where())

	clk.advance(23 * time.Hour)
	c.mustGet(t, s.where())
	c.settle(t)
	if n := s.total(); n != 4 {
		t.Fatalf("%d requests before the documents were due", n)
	}
	clk.advance(2 * time.Hour)
	if diff := cmp.Diff(first, c.mustGet(t, s.where())); diff != "" {
		t.Errorf("a due document is not served while it is being renewed")
	}
	c.settle(t)
	if n := s.total(); n != 8 {
		t.Errorf("%d requests after the documents were due, want 8", n)
	}
	if cmp.Equal(first.TCBInfo, c.mustGet(t, s.where()).TCBInfo) {
		t.Error("the renewed document is not served")
	}
}

func TestCacheServesStaleWithinValidityOnly(t *testing.T) {
	s, clk := newService(t), new(clock)
	clk.service(s.pccs)
	var log bytes.Buffer
	opts := clk.cacheOptions()
	opts.Log = slog.New(slog.NewTextHandler(&log, nil))
	c := newCache(t, s, opts)
	c.mustGet(t, s.where())
	expiry := c.Status()[0].Expires
	for _, st := range c.Status() {
		if st.Expires.Before(expiry) {
			expiry = st.Expires
		}
	}
	s.setFault(failing(503))
	for clk.now().Add(24 * time.Hour).Before(expiry) {
		clk.advance(24 * time.Hour)
		c.mustGet(t, s.where())
		c.settle(t)
	}
	if !strings.Contains(log.String(), "collateral refresh failed") || !strings.Contains(log.String(), "copy_at_hand_expires=") {
		t.Errorf("the log does not tell of failed refreshes: %s", &log)
	}
	for _, st := range c.Status() {
		if st.Err == nil {
			t.Errorf("status of %s does not tell of the failure", st.Document)
		}
	}
	clk.advance(expiry.Sub(clk.now()) + time.Second)
	_, err := c.Collateral(t.Context(), s.where())
	var failure *Error
	if !errors.As(err, &failure) {
		t.Fatalf("expired collateral: error %v", err)
	}
	_, err = c.Collateral(t.Context(), s.where()) // now from memory
	if !errors.As(err, &failure) || failure.Kind != Expired || !strings.Contains(err.Error(), "the one at hand expired at ") {
		t.Errorf("expired collateral: error %v", err)
	}
	c.settle(t) // what is still on its way would fail after the clock has moved, and be waited for anew
	s.setFault(nil)
	clk.advance(10 * time.Minute)
	c.mustGet(t, s.where())
}

func TestServiceWithExpiredCopies(t *testing.T) {
	s, clk := newService(t), new(clock)
	c := newCache(t, s, clk.cacheOptions())
	clk.advance(500 * 24 * time.Hour) // the service's clock stands still
	_, err := c.Collateral(t.Context(), s.where())
	var failure *Error
	if !errors.As(err, &failure) || failure.Kind != Expired ||
		!strings.Contains(err.Error(), "the service's own copy expired at ") || !strings.Contains(err.Error(), "clock is wrong") {
		t.Errorf("error is %v", err)
	}
}

func TestCacheLeavesAFailingServiceAlone(t *testing.T) {
	s, clk := newService(t), new(clock)
	clk.service(s.pccs)
	s.setFault(failing(404))
	c := newCache(t, s, clk.cacheOptions())
	for range 10 {
		_, err := c.Collateral(t.Context(), s.where())
		var failure *Error
		if !errors.As(err, &failure) || failure.Kind != NotFound {
			t.Fatalf("error is %v", err)
		}
		c.settle(t)
	}
	if n := s.requests("tcb"); n != 1 {
		t.Errorf("asked %d times in a moment, want 1", n)
	}
	clk.advance(6 * time.Second)
	s.setFault(nil)
	s.verify(t, c.mustGet(t, s.where()))
}

func TestBackoffGrowsAndIsBounded(t *testing.T) {
	plain := errors.New("x")
	for _, tt := range []struct {
		failures int
		err      error
		want     time.Duration
	}{
		{1, plain, 5 * time.Second},
		{2, plain, 10 * time.Second},
		{4, plain, 40 * time.Second},
		{7, plain, 5 * time.Minute},
		{1000000, plain, 5 * time.Minute},
		{1, &Error{retryAfter: time.Hour}, time.Hour},
	} {
		if got := backoff(tt.failures, tt.err); got != tt.want {
			t.Errorf("after %d failures (%v) it waits %v, want %v", tt.failures, tt.err, got, tt.want)
		}
	}
}

func TestCacheSurvivesARestart(t *testing.T) {
	s := newService(t)
	dir := filepath.Join(t.TempDir(), "made", "on demand")
	first := newCache(t, s, CacheOptions{Dir: dir})
	want := first.mustGet(t, s.where())
	first.Close()
	s.setFault(failing(500))
	second := newCache(t, s, CacheOptions{Dir: dir})
	if diff := cmp.Diff(want, second.mustGet(t, s.where())); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
	if n := s.total(); n != 4 {
		t.Errorf("%d requests, want 4", n)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		names[i] = filepath.Base(name)
	}
	if diff := cmp.Diff([]string{"pck-crl-platform.json", "qe-identity.json", "root-ca-crl.json", "tcb-info-00606a000000.json"}, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestProcessesShareADirectory(t *testing.T) {
	s, clk := newService(t), new(clock)
	clk.service(s.pccs)
	opts := clk.cacheOptions()
	opts.Dir = t.TempDir()
	a, b := newCache(t, s, opts), newCache(t, s, opts)
	a.mustGet(t, s.where())
	b.mustGet(t, s.where())
	if n := s.total(); n != 4 {
		t.Fatalf("two caches made %d requests, want 4", n)
	}
	clk.advance(25 * time.Hour)
	a.mustGet(t, s.where())
	a.settle(t)
	b.mustGet(t, s.where())
	b.settle(t)
	if n := s.total(); n != 8 {
		t.Errorf("after a day two caches made %d requests, want 8", n)
	}
}

func TestDamagedFilesAreReplaced(t *testing.T) {
	for _, tt := range []struct{ name, content, err string }{
		{"empty", "", "unexpected end of JSON input"},
		{"half", `{"version":1,"body":"e`, "unexpected end of JSON input"},
		{"another version", `{"version":2}`, "its version is 2, want 1"},
		{"no document", `{"version":1}`, "unexpected end of JSON input"},
		{"another platform's", `{"version":1,"body":"eyJ0Y2JJbmZvIjp7ImZtc3BjIjoieCJ9fQ=="}`, `the document is for FMSPC "x"`},
		{"too long", strings.Repeat(" ", maxStored+1), "it is longer than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newService(t)
			dir := t.TempDir()
			file := filepath.Join(dir, "tcb-info-00606a000000.json")
			if err := os.WriteFile(file, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			c := newCache(t, s, CacheOptions{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
			s.verify(t, c.mustGet(t, s.where()))
			if !strings.Contains(log.String(), "collateral in the cache directory is not usable") || !strings.Contains(log.String(), strings.ReplaceAll(tt.err, `"`, `\"`)) {
				t.Errorf("log is %s, want %q in it", &log, tt.err)
			}
			if doc, err := c.store.load(docID{docTCBInfo, "00606A000000"}); err != nil || doc == nil {
				t.Errorf("the file was not replaced: %v", err)
			}
		})
	}
}

func TestUnusableDirectories(t *testing.T) {
	s := newService(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewCache(s.client(t, ClientOptions{}), CacheOptions{Dir: file}); err == nil ||
		!strings.HasPrefix(err.Error(), "make collateral cache directory: ") {
		t.Errorf("a file for a directory: %v", err)
	}
	// A directory that goes away does not stop the service.
	dir := filepath.Join(t.TempDir(), "cache")
	var log bytes.Buffer
	c := newCache(t, s, CacheOptions{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	s.verify(t, c.mustGet(t, s.where()))
	if !strings.Contains(log.String(), "collateral cannot be kept for the next start") {
		t.Errorf("log is %s", &log)
	}
}

func TestOlderDocumentsDoNotReplaceNewerOnes(t *testing.T) {
	s, clk := newService(t), new(clock)
	clk.service(s.pccs)
	c := newCache(t, s, clk.cacheOptions())
	newer := c.mustGet(t, s.where())
	clk.advance(25 * time.Hour)
	s.pccs.Now = func() time.Time { return time.Now().Add(-3 * 24 * time.Hour) } // a replica that lags
	c.mustGet(t, s.where())
	c.settle(t)
	if diff := cmp.Diff(newer, c.mustGet(t, s.where())); diff != "" {
		t.Error("older documents replaced newer ones")
	}
	n := s.total()
	c.mustGet(t, s.where())
	c.settle(t)
	if s.total() != n {
		t.Error("the lagging service is asked again at once")
	}
}

func TestDoubtedDocumentsAreFetchedAgain(t *testing.T) {
	s, clk := newService(t), new(clock)
	clk.service(s.pccs)
	spoil := atomic.Bool{}
	spoil.Store(true)
	s.setFault(func(r *http.Request, a *sgxsim.Answer) {
		if spoil.Load() && strings.HasSuffix(r.URL.Path, "/tcb") {
			// Well formed, newer than the true one, and of course not signed.
			a.Body = bytes.Replace(a.Body, []byte(`"issueDate":"20`), []byte(`"issueDate":"29`), 1)
			a.Body = bytes.Replace(a.Body, []byte(`"nextUpdate":"20`), []byte(`"nextUpdate":"29`), 1)
		}
	})
	c := newCache(t, s, clk.cacheOptions())
	if !c.Doubt(s.where()) {
		t.Error("nothing is at hand, so asking can make a difference")
	}
	c.mustGet(t, s.where())
	spoil.Store(false)
	if c.Doubt(s.where()) {
		t.Error("a document that was fetched a moment ago is to be fetched again")
	}
	clk.advance(2 * time.Minute)
	if !c.Doubt(s.where()) {
		t.Error("a document of two minutes ago is not to be fetched again")
	}
	s.verify(t, c.mustGet(t, s.where()))
	if n := s.requests("tcb"); n != 2 {
		t.Errorf("asked %d times, want 2", n)
	}
	if c.Doubt(&dcap.Platform{}) {
		t.Error("a platform that is none can be doubted")
	}
	// While the service fails, what is at hand is better than nothing: it may be another document that is bad.
	clk.advance(2 * time.Minute)
	s.setFault(failing(503))
	if !c.Doubt(s.where()) {
		t.Error("cannot doubt")
	}
	if _, err := c.Collateral(t.Context(), s.where()); err != nil {
		t.Logf("first: %v", err)
	}
	c.settle(t)
	s.verify(t, c.mustGet(t, s.where()))
}

func TestWarm(t *testing.T) {
	s := newService(t)
	c := newCache(t, s, CacheOptions{})
	if err := c.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.requests("qe/identity") != 1 || s.requests("rootcacrl") != 1 || s.total() != 2 {
		t.Errorf("%d requests, want one for the QE identity and one for the root CA CRL", s.total())
	}
}

func TestClosedCache(t *testing.T) {
	s := newService(t)
	s.setFault(func(_ *http.Request, a *sgxsim.Answer) { a.Delay = time.Minute })
	c := newCache(t, s, CacheOptions{})
	done := make(chan error, 1)
	go func() {
		_, err := c.Collateral(context.Background(), s.where())
		done <- err
	}()
	eventually(t, "requests arrive", func() bool { return s.total() == 4 })
	c.Close()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "the cache is closed") {
		t.Errorf("the waiting caller gets %v", err)
	}
	if _, err := c.Collateral(t.Context(), s.where()); err == nil {
		t.Error("a closed cache serves")
	}
	c.Close()
}

func TestCacheMemoryIsBounded(t *testing.T) {
	s := newService(t)
	c := newCache(t, s, CacheOptions{})
	c.mustGet(t, s.where())
	for i := range maxEntries {
		c.mu.Lock()
		c.makeRoom()
		c.entries[docID{docTCBInfo, fmt.Sprintf("%012X", i)}] = &entry{used: time.Now()}
		c.mu.Unlock()
	}
	if n := len(c.entries); n != maxEntries {
		t.Errorf("%d entries, want %d", n, maxEntries)
	}
	if _, ok := c.entries[docID{docTCBInfo, "00606A000000"}]; ok {
		t.Error("the document of longest ago is still there")
	}
	s.verify(t, c.mustGet(t, s.where()))
}

func TestStatusIsSorted(t *testing.T) {
	s := newService(t)
	c := newCache(t, s, CacheOptions{})
	c.mustGet(t, s.where())
	var names []string
	for _, st := range c.Status() {
		names = append(names, st.Document)
		if st.Issued.IsZero() || !st.Expires.After(st.Issued) || st.Fetched.IsZero() || st.Err != nil {
			t.Errorf("status %+v", st)
		}
	}
	want := []string{"CRL of the PCK platform CA", "CRL of the root CA", "QE identity", "TCB info of FMSPC 00606A000000"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("documents (-want +got):\n%s", diff)
	}
}

func TestClockSetBack(t *testing.T) {
	s, clk := newService(t), new(clock)
	clk.service(s.pccs)
	opts := clk.cacheOptions()
	opts.Dir = t.TempDir()
	c := newCache(t, s, opts)
	c.mustGet(t, s.where())
	clk.advance(-time.Hour)
	c.mustGet(t, s.where()) // due: nobody knows how old it is
	c.settle(t)
	if n := s.total(); n != 8 {
		t.Errorf("%d requests, want 8", n)
	}
}

// TestLevels: the documents of an update come alone, and without the CRLs.
func TestLevels(t *testing.T) {
	s := newService(t)
	c := newCache(t, s, CacheOptions{})
	levels, err := c.Levels(t.Context(), s.where())
	if err != nil {
		t.Fatal(err)
	}
	if n := s.total(); n != 2 {
		t.Errorf("it took %d requests, want 2", n)
	}
	if levels.PCKCRL != nil || levels.RootCACRL != nil || levels.PCKCRLIssuerChain != nil {
		t.Error("there are CRLs")
	}
	whole := c.mustGet(t, s.where())
	whole.TCBInfo, whole.TCBInfoIssuerChain = levels.TCBInfo, levels.TCBInfoIssuerChain
	whole.QEIdentity, whole.QEIdentityIssuerChain = levels.QEIdentity, levels.QEIdentityIssuerChain
	s.verify(t, whole)
	if _, err := c.Levels(t.Context(), nil); err == nil {
		t.Error("no platform has levels")
	}
	c.Close()
	if _, err := c.Levels(t.Context(), s.where()); err == nil {
		t.Error("a closed cache has levels")
	}
}
