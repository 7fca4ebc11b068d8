package deploy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

// listening answers connections with serve until the test ends.
func listening(t *testing.T, serve func(conn net.Conn)) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				serve(conn)
			}()
		}
	}()
	return l.Addr().String()
}

func speakingTLS(t *testing.T, dir string, ask tls.ClientAuthType) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: ask, MinVersion: tls.VersionTLS12}
	return listening(t, func(conn net.Conn) { _ = tls.Server(conn, config).HandshakeContext(t.Context()) })
}

func certificateIn(t *testing.T, dir string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(readFile(t, filepath.Join(dir, "server.pem")))
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestProbe meets each thing that may be in the way.
func TestProbe(t *testing.T) {
	t.Parallel()
	dir, others := t.TempDir(), t.TempDir()
	writeCertificate(t, dir)
	writeCertificate(t, others)
	good := speakingTLS(t, dir, tls.RequireAnyClientCert)
	for _, tt := range []struct {
		name, address string
		names         []string
		summary, want string
		remedy        string
	}{
		{name: "good", address: good},
		{name: "good, by its name", address: good, names: []string{"localhost"}},
		{name: "another name", address: good, names: []string{"localhost", "attestation.service.com"}, summary: "Certificate for another name",
			want: "its certificate is for localhost, 127.0.0.1, not for attestation.service.com", remedy: "Add the name to server_names of the certificate"},
		{name: "nobody", address: testhost.FreeAddress(t), want: "connection refused", remedy: "nobody listens at this address, or a firewall of the machine itself rejects it"},
		{name: "dropped", address: deafAddress(t), want: "i/o timeout", remedy: "a security group or a firewall on the way drops connections to this port"},
		{name: "no such name", address: "no-such-host.invalid:1", want: "no-such-host.invalid", remedy: "The name does not lead to an address from here"},
		{name: "another server", address: speakingTLS(t, others, tls.RequireAnyClientCert), want: "it shows another certificate than tls.certificate: one for localhost, 127.0.0.1 by CN=test",
			remedy: "Another server listens at this address, or something on the way ends TLS"},
		{name: "asks for nothing", address: speakingTLS(t, dir, tls.NoClientCert), want: "it asks for no evidence", remedy: "Another server listens"},
		{name: "no TLS", address: listening(t, func(conn net.Conn) { _, _ = conn.Write([]byte("220 mail ready\r\n")) }), want: "shake hands: ", remedy: "speaks no TLS"},
		{name: "mute", address: listening(t, func(net.Conn) { <-t.Context().Done() }), want: "shake hands: context deadline exceeded", remedy: "accepts connections and says nothing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := serverProbe{address: tt.address, certificate: certificateIn(t, dir), names: tt.names, patience: time.Second}.run(t.Context())
			if tt.want == "" {
				if err != nil {
					t.Error(full(err))
				}
				return
			}
			if tt.summary == "" {
				tt.summary = "Key server not reachable"
			}
			var known *Error
			if !errors.As(err, &known) || known.Summary != tt.summary || !strings.Contains(err.Error(), tt.want) || !strings.Contains(known.Remedy, tt.remedy) {
				t.Errorf("%s", full(err))
			}
		})
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (serverProbe{address: good, certificate: certificateIn(t, dir), patience: time.Second}).run(canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func TestProbedNames(t *testing.T) {
	t.Parallel()
	rules := []KeyServerRule{{ServerName: []string{"b.example.com", "a.example.com"}}, {ServerName: []string{"a.example.com"}}, {}}
	for address, want := range map[string]string{
		"192.0.2.1:4433": "a.example.com b.example.com", "c.example.com:1": "a.example.com b.example.com c.example.com", "localhost:1": "a.example.com b.example.com",
	} {
		p := &preparedContainer{KeyServerContainer: KeyServerContainer{Probe: address, KeyServer: KeyServer{Config: KeyServerConfig{Rules: rules}}}}
		if got := strings.Join(p.serverNames(), " "); got != want {
			t.Errorf("%s: %s", address, got)
		}
	}
}

// deafAddress is one at which connections are neither taken nor refused: its
// listener never accepts, and its queue is full. To the caller it is as one
// whose packets a firewall drops.
func deafAddress(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(name.(*syscall.SockaddrInet4).Port))
	for range 10 {
		conn, err := (&net.Dialer{Timeout: 300 * time.Millisecond}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("the queue does not get full")
	return ""
}
