package keyserver

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/audit"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
	"github.com/ccctl/terraform-provider-cc/internal/testfault"
	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

// TestFaultCollateralService: while the service fails no enclave gets a key, the log says that it is not the enclave's
// fault, and when the service is well the key is released.
func TestFaultCollateralService(t *testing.T) {
	every := func(f func(a *sgxsim.Answer)) func(*http.Request, *sgxsim.Answer) {
		return func(_ *http.Request, a *sgxsim.Answer) { f(a) }
	}
	for _, tt := range []struct {
		fault string
		do    func(*http.Request, *sgxsim.Answer)
		age   time.Duration // of what the service serves
	}{
		{fault: "Collateral service down", do: every(func(a *sgxsim.Answer) { a.Abort = true })},
		{fault: "Collateral service slow", do: every(func(a *sgxsim.Answer) { a.Delay = time.Minute })},
		{fault: "Collateral service gives wrong answers", do: every(func(a *sgxsim.Answer) { a.Body = []byte("<html>Welcome</html>") })},
		{fault: "Collateral altered on its way", do: func(r *http.Request, a *sgxsim.Answer) {
			if strings.HasSuffix(r.URL.Path, "/tcb") {
				a.Body = bytes.Replace(a.Body, []byte("SWHardeningNeeded"), []byte("UpToDate"), 1)
			}
		}},
		{fault: "Collateral service stale", age: 60 * 24 * time.Hour},
	} {
		t.Run(tt.fault, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.setFault(tt.do)
			var age atomic.Int64
			age.Store(int64(tt.age))
			w.pccs.Now = func() time.Time { return time.Now().Add(-time.Duration(age.Load())) }
			limit := "20s"
			if tt.fault == "Collateral service slow" {
				limit = "300ms"
			}
			s, offset := w.startClocked(w.config() + "limits: { collateral_timeout: " + limit + " }\n")
			if _, err := provision(t, w.enclave(s)); err == nil {
				t.Fatal("a key was released")
			}
			testfault.Expect(t, tt.fault, testfault.KeyServer, w.log.waitFor(t, "msg=refused"))
			w.setFault(nil)
			age.Store(0)
			if tt.fault == "Collateral service slow" && os.Getenv("CC_CHAOS") == "" {
				return // what was asked takes its time to be given up
			}
			offset.Store(int64(2 * time.Minute)) // a service that fails is left alone for a while
			waitUntil(t, "the key is released when the service is well", func() bool {
				_, err := provision(t, w.enclave(s))
				return err == nil
			})
		})
	}
}

// TestFaultCollateralServiceTLS: a service that shows a certificate which is not good is not asked for anything.
func TestFaultCollateralServiceTLS(t *testing.T) {
	for _, tt := range []struct {
		fault string
		until time.Duration
		known bool // its authority is the one that the configuration names
	}{
		{"Collateral service with a certificate that nobody vouches for", time.Hour, false},
		{"Collateral service with an expired certificate", -time.Hour, true},
	} {
		t.Run(tt.fault, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			url, certificate := w.serveUntil(time.Now().Add(tt.until))
			config := strings.Replace(w.config(), w.url, url, 1)
			if tt.known {
				w.write("service.pem", certificate)
				config = strings.Replace(config, "collateral: {", "collateral: { ca: service.pem,", 1)
			}
			s := w.start(config)
			if _, err := provision(t, w.enclave(s)); err == nil {
				t.Fatal("a key was released")
			}
			testfault.Expect(t, tt.fault, testfault.KeyServer, w.log.waitFor(t, "msg=refused"))
			good, certificate := w.serveUntil(time.Now().Add(time.Hour))
			w.write("service.pem", certificate)
			config = strings.Replace(w.config(), w.url, good, 1)
			if err := s.Reload(w.parse(strings.Replace(config, "collateral: {", "collateral: { ca: service.pem,", 1))); err != nil {
				t.Fatal(err)
			}
			if _, err := provision(t, w.enclave(s)); err != nil {
				t.Errorf("with a good certificate: %v", err)
			}
		})
	}
}

// serveUntil serves the world's collateral with a certificate of its own that is valid until a time.
func (w *world) serveUntil(until time.Time) (url string, certificate []byte) {
	w.t.Helper()
	key := newKey(w.t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: until.Add(-48 * time.Hour), NotAfter: until, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(w.pccs)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	w.t.Cleanup(s.Close)
	return s.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestFaultServiceGoneForLong: what was fetched is good until it expires, so that a service may be away for days.
func TestFaultServiceGoneForLong(t *testing.T) {
	w := newWorld(t)
	s, offset := w.startClocked(w.config())
	if _, err := provision(t, w.enclave(s)); err != nil {
		t.Fatal(err)
	}
	w.setFault(func(_ *http.Request, a *sgxsim.Answer) { a.Status = http.StatusServiceUnavailable })
	offset.Store(int64(3 * 24 * time.Hour))
	if _, err := provision(t, w.enclave(s)); err != nil {
		t.Errorf("three days later: %v", err)
	}
	waitUntil(t, "the status names the document that is not renewed", func() bool {
		for _, warning := range s.Status().Warnings {
			if strings.Contains(warning, "503") {
				testfault.Expect(t, "Collateral service gone for days", testfault.KeyServer, warning)
				return true
			}
		}
		return false
	})
}

// TestFaultClockAhead: by a clock that is a year ahead everything has expired. The server stops listening and says why,
// and goes on when the clock is right.
func TestFaultClockAhead(t *testing.T) {
	w := newWorld(t)
	s, offset := w.startClocked(w.config())
	if _, err := provision(t, w.enclave(s)); err != nil {
		t.Fatal(err)
	}
	offset.Store(int64(365 * 24 * time.Hour))
	waitUntil(t, "it stops listening", func() bool { return !listens(t, s.addr) })
	testfault.Expect(t, "Clock ahead", testfault.KeyServer, w.log.waitFor(t, "level=ERROR", "stopped listening"))
	offset.Store(0)
	waitUntil(t, "it listens again", func() bool { return listens(t, s.addr) })
	if _, err := provision(t, w.enclave(s)); err != nil {
		t.Errorf("by the right clock: %v", err)
	}
}

// TestFaultClockWasAhead: an entry that was written by a clock that was ahead keeps the server from releasing anything
// under an earlier time. The way out that the message names works, and what was written stays what it was.
func TestFaultClockWasAhead(t *testing.T) {
	w := newWorld(t)
	now := time.Now
	opts := w.options()
	opts.Now = func() time.Time { return now().AddDate(0, 0, 7) }
	srv, err := New(w.parse(w.audited()), opts)
	if err != nil {
		t.Fatal(err)
	}
	srv.Close() // it has accounted for its configuration
	opts.Now = now
	if srv, err = New(w.parse(w.config()+"audit: { file: audit.log, checkpoint_key: audit.key }\n"), opts); err == nil {
		srv.Close()
		t.Fatal("it starts under a clock that was turned back")
	}
	testfault.Expect(t, "Clock behind the audit log", testfault.KeyServer, err.Error())
	for _, name := range []string{"audit.log", "audit.log.checkpoint"} {
		if err := os.Rename(filepath.Join(w.dir, name), filepath.Join(w.dir, "kept-"+name)); err != nil {
			t.Fatal(err)
		}
	}
	s := w.start(w.config() + "audit: { file: audit.log, checkpoint_key: audit.key }\n")
	if _, err := provision(t, w.enclave(s)); err != nil {
		t.Errorf("with a new log: %v", err)
	}
	if r, err := audit.VerifyFiles([]string{filepath.Join(w.dir, "kept-audit.log")}, audit.VerifyOptions{}); err != nil || r.Events["config"] != 1 {
		t.Errorf("the former log: %+v, %v", r, err)
	}
}

// TestFaultDiskFull: on a full disk nothing is released, because its entry could not be kept; refusing goes on, and so
// does releasing when there is room.
func TestFaultDiskFull(t *testing.T) {
	disk := testhost.NewDisk(t, 1<<20)
	w := newWorld(t)
	config := strings.Replace(w.audited(), "file: audit.log", "file: "+disk.Path("audit.log"), 1)
	s := w.start(config)
	if _, err := provision(t, w.enclave(s)); err != nil {
		t.Fatal(err)
	}
	w.log.waitFor(t, `msg="secret sent"`)
	disk.Fill()
	refused := 0
	for n := 0; refused < 3; n++ { // an entry may find room in the last block
		if _, err := provision(t, w.enclave(s)); err != nil {
			refused++
		} else if n > 100 {
			t.Fatal("it goes on releasing")
		}
	}
	said := w.log.waitFor(t, "level=WARN", `msg="no secret sent"`)
	testfault.Expect(t, "Disk full under the audit log", testfault.KeyServer, said)
	if err := s.Ready(); err == nil || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("readiness: %v", err)
	}
	disk.Free()
	if _, err := provision(t, w.enclave(s)); err != nil {
		t.Errorf("when there is room: %v", err)
	}
	if err := s.Ready(); err != nil {
		t.Errorf("readiness: %v", err)
	}
	released := strings.Count(w.log.String(), `msg="secret sent"`)
	s.stop()
	r, err := audit.VerifyFiles([]string{disk.Path("audit.log")}, audit.VerifyOptions{})
	if err != nil || r.Events["release"] < released {
		t.Errorf("%d releases, and the log has %+v, %v", released, r, err)
	}
}

// TestFaultDiskFullOfCollateral: a cache that cannot be written costs requests and nothing else.
func TestFaultDiskFullOfCollateral(t *testing.T) {
	disk := testhost.NewDisk(t, 1<<20)
	w := newWorld(t)
	if err := os.Mkdir(disk.Path("cache"), 0o700); err != nil {
		t.Fatal(err)
	}
	disk.Fill()
	s := w.start(strings.Replace(w.config(), "collateral: {", "collateral: { cache_dir: "+disk.Path("cache")+",", 1))
	if _, err := provision(t, w.enclave(s)); err != nil {
		t.Errorf("on a full disk: %v", err)
	}
	if entries, err := os.ReadDir(disk.Path("cache")); err != nil || len(entries) > 0 {
		t.Errorf("it left %v, %v", entries, err)
	}
	testfault.Expect(t, "Disk full under the cache of collateral", testfault.KeyServer, w.log.waitFor(t, "level=WARN", "collateral"))
}

// TestFaultDiskFullOfState: a server that cannot say where it is serves all the same, and says so in its log.
func TestFaultDiskFullOfState(t *testing.T) {
	disk := testhost.NewDisk(t, 1<<20)
	w := newWorld(t)
	w.write("server.yaml", []byte(w.config()))
	state := disk.Path("state.json")
	if err := os.WriteFile(state, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	disk.Fill()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, filepath.Join(w.dir, "server.yaml"), RunOptions{Options: w.options(), StateFile: state, WatchInterval: 20 * time.Millisecond})
	}()
	testfault.Expect(t, "Disk full under the state file", testfault.KeyServer, w.log.waitFor(t, "level=ERROR", "state file"))
	line := w.log.waitFor(t, "listening for enclaves")
	address := strings.TrimSpace(line[strings.Index(line, "address=")+len("address="):])
	if err := w.ask(address); err != nil {
		t.Errorf("it does not serve: %v", err)
	}
	disk.Free()
	waitUntil(t, "the state file is written when there is room", func() bool {
		s, err := ReadState(state)
		return err == nil && s != nil && s.Listen == address
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestFaultKilled kills a server that serves, again and again: what it has released is in its audit log, and it starts
// again on the same files.
func TestFaultKilled(t *testing.T) {
	rounds := 3
	if os.Getenv("CC_CHAOS") != "" {
		rounds = 20
	}
	w := newWorld(t)
	config := w.audited()
	released := 0
	for round := range rounds {
		addr, kill := w.spawnToKill(config)
		for n := 0; n <= round%3; n++ {
			if err := fetch(t.Context(), addr, w.clientConfig()); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			released++
		}
		kill()
	}
	r, err := audit.VerifyFiles([]string{filepath.Join(w.dir, "audit.log")}, audit.VerifyOptions{})
	if err != nil || r.Events["release"] < released {
		t.Fatalf("%d keys were released, and the log has %+v, %v", released, r, err)
	}
	s := w.start(config)
	if _, err := provision(t, w.enclave(s)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	testfault.Expect(t, "Killed", testfault.KeyServer, w.log.String())
}

// spawnToKill starts a server in a process of its own.
func (w *world) spawnToKill(config string) (addr string, kill func()) {
	w.t.Helper()
	w.write("killed.yaml", []byte(config))
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(self, "server", filepath.Join(w.dir, "killed.yaml"))
	in, err := cmd.StdinPipe() // it would end when this does
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	kill = func() {
		_ = cmd.Process.Kill()
		_ = in.Close()
		_ = cmd.Wait()
	}
	if err != nil {
		kill()
		w.t.Fatalf("it did not start: %v", err)
	}
	return strings.TrimSpace(line), kill
}
