package deploy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
	"github.com/ccctl/terraform-provider-cc/internal/remote"
	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

// scripted is a machine whose programs end as a test says.
type scripted struct {
	remote.Executor
	stdout, stderr string
	err            error
}

func (s scripted) Run(_ context.Context, c remote.Command) error {
	_, _ = io.WriteString(c.Stdout, s.stdout)
	_, _ = io.WriteString(c.Stderr, s.stderr)
	return s.err
}

func (s scripted) String() string { return "the machine" }

func TestAskContainer(t *testing.T) {
	t.Parallel()
	ended := func(code int) error {
		return &remote.ExitError{Command: "docker exec", Host: "the machine", Code: code}
	}
	for _, tt := range []struct {
		name          string
		machine       scripted
		state, reason string
	}{
		{"ready", scripted{stdout: `{"ready":"yes","status":{"ready":true,"problems":[]}}`}, KeyServerReady, ""},
		{"not ready", scripted{stdout: `{"ready":"no","status":{"ready":false,"problems":["a","b"]}}`, err: ended(1)}, KeyServerUnhealthy, "a; b"},
		{"certificate expired", scripted{stdout: `{"ready":"yes","status":{"ready":true,"problems":["the certificate has expired"]}}`, err: ended(1)}, KeyServerUnhealthy, "the certificate has expired"},
		{"starting", scripted{stdout: `{"ready":"it is starting"}`, err: ended(1)}, KeyServerUnhealthy, "it is starting"},
		{"no container", scripted{stderr: "Error response from daemon: No such container: x\n", err: ended(1)}, KeyServerAbsent, "there is no container x on the machine"},
		{"stopped", scripted{stderr: "Error response from daemon: container 0a1b is not running\n", err: ended(1)}, KeyServerAbsent, "the container x on the machine does not run"},
		{"no Docker", scripted{stderr: "sh: 1: exec: docker: not found\n", err: ended(127)}, KeyServerUnreachable, "there is no Docker on the machine"},
		{"no daemon", scripted{stderr: "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n", err: ended(1)}, KeyServerUnreachable, "exit code 1"},
		{"another image", scripted{stderr: "OCI runtime exec failed: exec: \"/ccctl\": no such file or directory\n", err: ended(127)}, KeyServerUnhealthy, "exit code 127"},
		{"no sense", scripted{stdout: "hello"}, KeyServerUnhealthy, "its answer makes no sense"},
		{"connection lost", scripted{err: remote.ErrConnectionLost}, KeyServerUnreachable, "connection lost"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := AskContainer(t.Context(), tt.machine, "x")
			if a.State != tt.state || !strings.Contains(a.Reason, tt.reason) || (a.State == KeyServerReady) != (a.Reason == "") {
				t.Errorf("%q (%s), want %q (%s)", a.State, a.Reason, tt.state, tt.reason)
			}
		})
	}
}

func TestAskProcess(t *testing.T) {
	t.Parallel()
	if err := KeyServerSupported(); err != nil {
		t.Skip(err)
	}
	a, err := AskProcess(t.Context(), t.TempDir())
	if err != nil || a.State != KeyServerAbsent {
		t.Errorf("%+v %v", a, err)
	}
}

// TestAskAdmin asks listeners with mutual TLS and without.
func TestAskAdmin(t *testing.T) {
	t.Parallel()
	answer, code := `{"ready":true,"problems":[],"now":"2026-01-02T03:04:05Z"}`, http.StatusOK
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.String() != "/status?decisions=0" {
			http.NotFound(w, r)
			return
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, answer)
	})
	plain := httptest.NewServer(handler)
	t.Cleanup(plain.Close)
	dir := t.TempDir()
	k := testKeyServer(t, "ccctl") // for a certificate of 127.0.0.1 that signs itself
	pair, err := tls.LoadX509KeyPair(k.Config.TLS.Certificate, k.Config.TLS.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	secure := httptest.NewUnstartedServer(handler)
	ca := x509.NewCertPool()
	ca.AddCert(pair.Leaf)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13}
	secure.StartTLS()
	t.Cleanup(secure.Close)
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		writeFile(t, path, text, 0o600)
		return path
	}
	cert := file("cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Leaf.Raw})))
	other, err := os.ReadFile(testKeyServer(t, "ccctl").Config.TLS.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	otherCA, key := file("other.pem", string(other)), k.Config.TLS.PrivateKey
	at := plain.Listener.Addr().String()
	mutual := KeyServerListener{Address: secure.Listener.Addr().String(), CA: cert, Certificate: cert, PrivateKey: key}
	for _, tt := range []struct {
		name         string
		listener     KeyServerListener
		answer       string
		code         int
		state, wants string
	}{
		{"ready", KeyServerListener{Address: at}, answer, 200, KeyServerReady, ""},
		{"not ready", KeyServerListener{Address: at}, `{"ready":false,"problems":["no collateral"],"now":"2026-01-02T03:04:05Z"}`, 200, KeyServerUnhealthy, "no collateral"},
		{"an error", KeyServerListener{Address: at}, "out of\x1b order", 500, KeyServerUnhealthy, "it answers 500 Internal Server Error: out of? order"},
		{"something else", KeyServerListener{Address: at}, `{"hello":"world"}`, 200, KeyServerUnhealthy, `it answers 200 OK: {"hello":"world"}`},
		{"nobody", KeyServerListener{Address: testhost.FreeAddress(t)}, "", 200, KeyServerUnreachable, "connection refused"},
		{"mutual TLS", mutual, answer, 200, KeyServerReady, ""},
		{"another CA", KeyServerListener{Address: mutual.Address, CA: otherCA, Certificate: cert, PrivateKey: key}, answer, 200, KeyServerUnreachable, "certificate signed by unknown authority"},
		{"no TLS there", KeyServerListener{Address: at, CA: cert, Certificate: cert, PrivateKey: key}, answer, 200, KeyServerUnreachable, "server gave HTTP response to HTTPS client"},
		{"no CA", KeyServerListener{Address: at, CA: key, Certificate: cert, PrivateKey: key}, answer, 200, "", "it holds no certificate"},
		{"not the key", KeyServerListener{Address: at, CA: cert, Certificate: otherCA, PrivateKey: key}, answer, 200, "", "private key does not match public key"},
		{"half of it", KeyServerListener{Address: at, CA: cert}, answer, 200, "", "ca, certificate and private_key go together"},
		{"in the open", KeyServerListener{Address: "192.0.2.7:9433"}, answer, 200, "", "beyond this machine an admin listener speaks mutual TLS"},
		{"a name for nothing", KeyServerListener{Address: at, ServerName: "x"}, answer, 200, "", "server_name goes with"},
		{"no port", KeyServerListener{Address: "localhost"}, answer, 200, "", `"localhost" is not host:port`},
	} {
		t.Run(tt.name, func(t *testing.T) { //nolint:paralleltest // They share a server.
			answer, code = tt.answer, tt.code
			a, err := AskAdmin(t.Context(), tt.listener)
			said := a.Reason
			if err != nil {
				said = err.Error()
			}
			if a.State != tt.state || !strings.Contains(said, tt.wants) || (err != nil) != (tt.state == "") {
				t.Errorf("%q (%s) %v, want %q (%s)", a.State, a.Reason, err, tt.state, tt.wants)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if a, err := AskAdmin(ctx, KeyServerListener{Address: at}); err != nil || a.State != KeyServerUnreachable {
		t.Errorf("interrupted: %+v %v", a, err)
	}
}

func TestCollateralAge(t *testing.T) {
	t.Parallel()
	if _, _, ok := CollateralAge(&keyserver.Status{}); ok {
		t.Error("no collateral has an age")
	}
	var s keyserver.Status
	text := `{"collateral":{"documents":[{"issued":"2026-02-01T00:00:00Z","state":"good"},{"issued":"2026-01-01T00:00:00Z","state":"too old"},{"state":"good"}]}}`
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	issued, state, ok := CollateralAge(&s)
	if want := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC); !ok || !issued.Equal(want) || state != "too old" {
		t.Errorf("%v %q %v", issued, state, ok)
	}
}
