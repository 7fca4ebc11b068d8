package keyserver

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/audit"
)

// audited is a configuration with an audit log and checkpoints.
func (w *world) audited() string {
	w.t.Helper()
	secret, public, err := audit.GenerateKey("keys.example.com")
	if err != nil {
		w.t.Fatal(err)
	}
	w.write("audit.key", []byte(secret+"\n"))
	w.write("audit.pub", []byte(public+"\n"))
	return w.config() + "audit: { file: audit.log, checkpoint_key: audit.key }\n"
}

type auditEntry struct {
	Event string
	Data  map[string]any
}

// entries verifies the audit log and returns what it says.
func (w *world) entries() []auditEntry {
	w.t.Helper()
	read := func(name string) []byte {
		raw, err := os.ReadFile(filepath.Join(w.dir, name))
		if err != nil {
			w.t.Fatal(err)
		}
		return raw
	}
	verifier, err := audit.ParseVerifier(string(read("audit.pub")))
	if err != nil {
		w.t.Fatal(err)
	}
	raw := read("audit.log")
	if _, err := audit.Verify(bytes.NewReader(raw), audit.VerifyOptions{Verifier: verifier}); err != nil {
		w.t.Fatal(err)
	}
	checkNoCanary(w.t, "the audit log", string(raw))
	var all []auditEntry
	for line := range bytes.Lines(raw) {
		var e auditEntry
		if err := json.Unmarshal(line, &e); err != nil {
			w.t.Fatal(err)
		}
		if e.Event != "checkpoint" {
			all = append(all, e)
		}
	}
	return all
}

func events(all []auditEntry) string {
	names := make([]string, len(all))
	for i, e := range all {
		names[i] = e.Event
	}
	return strings.Join(names, " ")
}

func TestAudit(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.audited())
	if _, err := provision(t, w.enclave(s)); err != nil {
		t.Fatal(err)
	}
	w.log.waitFor(t, "secret sent")
	e := w.enclave(s)
	id := w.identity
	id.Debug = true
	e.Quoter = w.platform.Quoter(id)
	if _, err := provision(t, e); err == nil {
		t.Fatal("a debug enclave got the key")
	}
	w.log.waitFor(t, "msg=refused")
	if err := s.Reload(w.parse(w.config() + "audit: { file: audit.log, checkpoint_key: audit.key }\n# again\n")); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(w.parse(w.config())); err == nil || !strings.Contains(err.Error(), "audit: changed; restart the server") {
		t.Errorf("a reload without audit: %v", err)
	}
	s.stop()

	all := w.entries()
	if got := events(all); got != "begin config release sent refuse config stop" {
		t.Fatalf("events are %s", got)
	}
	config, release, sent, refuse := all[1].Data, all[2].Data, all[3].Data, all[4].Data
	if len(config["sha256"].(string)) != 64 || !strings.HasSuffix(config["allow_trusted_root"].(string), "root.pem") || len(config["warnings"].([]any)) == 0 {
		t.Errorf("config: %v", config)
	}
	for name, want := range map[string]any{
		"rule": "the rule", "secret": "model", "key_fingerprint": "fingerprint", "verified": true, "simulated": true, "allow_trusted_root": true,
		"tcb_status": "SWHardeningNeeded", "fmspc": "00606A000000", "server_name": "127.0.0.1", "config_sha256": config["sha256"],
	} {
		if release[name] != want {
			t.Errorf("release: %s is %v, want %v", name, release[name], want)
		}
	}
	if n, ok := sent["of"].(float64); !ok || n != 4 || sent["error"] != nil { // begin, checkpoint, config, release
		t.Errorf("sent: %v", sent)
	}
	raw, err := json.Marshal(refuse)
	if err != nil || !strings.Contains(string(raw), `"check":"debug"`) || refuse["debug"] != true || refuse["rule"] != nil {
		t.Errorf("refuse: %s", raw)
	}
}

// TestNoReleaseWithoutItsEntry: here the clock is turned back, on which nothing can be accounted for.
func TestNoReleaseWithoutItsEntry(t *testing.T) {
	w := newWorld(t)
	var offset atomic.Int64
	opts := w.options()
	opts.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	srv, err := New(w.parse(w.audited()), opts)
	if err != nil {
		t.Fatal(err)
	}
	s := w.serve(srv)
	if _, err := provision(t, w.enclave(s)); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the end of the release is written", func() bool {
		raw, err := os.ReadFile(filepath.Join(w.dir, "audit.log"))
		return err == nil && bytes.Contains(raw, []byte(`"event":"sent"`))
	})
	offset.Store(int64(-10 * time.Minute))
	if d, err := provision(t, w.enclave(s)); err == nil {
		t.Fatalf("%d bytes were released without an entry", len(d.Secret))
	}
	w.log.waitFor(t, "level=WARN", `msg="no secret sent"`, "no secret is released without its entry in the audit log: write audit log: the clock has been turned back")
	if err := s.Ready(); err == nil || !strings.Contains(err.Error(), "the clock has been turned back") {
		t.Errorf("readiness: %v", err)
	}
	offset.Store(0)
	if _, err := provision(t, w.enclave(s)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if err := s.Ready(); err != nil {
		t.Errorf("readiness afterwards: %v", err)
	}
	s.stop()
	if got := events(w.entries()); got != "begin config release sent release sent stop" {
		t.Errorf("events are %s", got)
	}
}

func TestAReleaseThatDoesNotArriveIsAccountedFor(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.audited())
	r := &record{config: s.Config(), err: os.ErrDeadlineExceeded}
	if err := s.account.release(r); err != nil {
		t.Fatal(err)
	}
	s.account.ended(r)
	s.stop()
	all := w.entries()
	if got := events(all); got != "begin config release not_sent stop" || all[3].Data["error"] != "i/o timeout" {
		t.Errorf("events are %s, %v", got, all[3].Data)
	}
}

// TestStrangersFillNoDisk: what nothing vouches for is written up to a rate.
func TestStrangersFillNoDisk(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.audited())
	for range 5000 {
		s.account.ended(&record{config: s.Config(), refused: true, refusal: os.ErrInvalid})
	}
	s.account.ended(&record{config: s.Config(), refused: true, verdict: goodVerdict(), decision: Decision{}})
	s.stop()
	all := w.entries()
	refusals, left := 0, 0.0
	for _, e := range all {
		if e.Event == "refuse" {
			refusals++
			if n, ok := e.Data["refusals_not_written"].(float64); ok {
				left += n
			}
		}
	}
	if refusals > 2000 || float64(refusals)+left != 5001 {
		t.Errorf("%d refusals are written and %v counted, of 5001", refusals, left)
	}
}

func TestConfigurationsThatAreRefusedAreAccountedFor(t *testing.T) {
	w := newWorld(t)
	s := w.start(w.audited())
	w.write("server.yaml", []byte("listen: x\n"))
	if err := s.reload(t.Context(), filepath.Join(w.dir, "server.yaml")); err == nil {
		t.Fatal("a bad configuration is in force")
	}
	s.stop()
	all := w.entries()
	if got := events(all); got != "begin config config_refused stop" || !strings.Contains(all[2].Data["refused"].(string), "listen: \"x\" is not host:port") {
		t.Errorf("events are %s: %v", got, all[2].Data)
	}
}

func TestAuditLogsThatCannotBeKept(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct{ name, audit, err string }{
		{"no directory", "audit: { file: absent/audit.log }", "open audit log: "},
		{"another file", "audit: { file: root.pem }", "its last line is not an entry; move the file away and keep it"},
		{"no key", "audit: { file: audit.log, checkpoint_key: absent }", "read checkpoint key: open file: "},
		{"another key", "audit: { file: audit.log, checkpoint_key: wrap-key }", "it is not a key as 'ccctl audit gen-key' writes it"},
	} {
		s, err := New(w.parse(w.config()+tt.audit+"\n"), w.options())
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.err)
		} else {
			checkNoCanary(t, "the error", err.Error())
		}
	}
	if _, err := os.Stat(filepath.Join(w.dir, "root.pem.checkpoint")); err == nil {
		t.Error("something was written beside another file")
	}
}
