package console

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func get(t *testing.T, client *http.Client, url string) (int, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func TestServe(t *testing.T) {
	l := listen(t)
	var log bytes.Buffer
	opts := shown()
	stop := Serve(l, Handler(opts), nil, slog.New(slog.NewTextHandler(&log, nil)))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	url := "http://" + l.Addr().String()
	if status, body, err := get(t, client, url+"/readyz"); err != nil || status != http.StatusOK {
		t.Fatalf("%d %s %v", status, body, err)
	}
	// Whoever waits for a decision does not hold up the end.
	waiting := make(chan error, 1)
	go func() {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url+"/decisions?wait=20", nil)
		if err == nil {
			var resp *http.Response
			if resp, err = client.Do(req); err == nil {
				err = resp.Body.Close()
			}
		}
		waiting <- err
	}()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		opts.Recent.mu.Lock()
		arrived := opts.Recent.changed != nil
		opts.Recent.mu.Unlock()
		if arrived {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the request does not arrive")
		}
	}
	stop()
	if err := <-waiting; err != nil {
		t.Errorf("who waited got %v", err)
	}
	if _, _, err := get(t, client, url+"/readyz"); err == nil {
		t.Error("it still answers")
	}
	if strings.Contains(log.String(), "failed") {
		t.Errorf("log: %s", &log)
	}
	if h := newServer(http.NotFoundHandler(), slog.New(slog.DiscardHandler)); h.ReadHeaderTimeout == 0 || h.ReadTimeout == 0 ||
		h.WriteTimeout == 0 || h.IdleTimeout == 0 || h.MaxHeaderBytes == 0 {
		t.Error("the admin listener waits for ever")
	}
}

// TestAFullListenerStillAnswers: connections that do nothing make room for a health check.
func TestAFullListenerStillAnswers(t *testing.T) {
	l := listen(t)
	stop := Serve(l, Handler(shown()), nil, slog.New(slog.DiscardHandler))
	defer stop()
	var conns []net.Conn
	for range maxConnections + 10 {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		conns = append(conns, conn)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if status, body, err := get(t, client, "http://"+l.Addr().String()+"/healthz"); err != nil || status != http.StatusOK {
		t.Errorf("%d %s %v", status, body, err)
	}
	// The oldest have made room, long before any timeout would have closed them.
	for i, conn := range conns[:maxConnections+10-maxConnectionsPerAddress] {
		if err := conn.SetReadDeadline(time.Now().Add(4 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("connection %d is still open: %v", i, err)
		}
	}
}

// authority issues certificates.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  []byte
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{}
	a.pem, _, a.cert, a.key = issue(t, nil, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

// issue makes a certificate and its key; without an authority it signs itself.
func issue(t *testing.T, by *authority, template *x509.Certificate) (chain, key []byte, cert *x509.Certificate, private *ecdsa.PrivateKey) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1)
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent, signer := template, private
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, private.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), cert, private
}

func server() *x509.Certificate {
	return &x509.Certificate{DNSNames: []string{"keys.example.com"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
}

func TestMutualTLS(t *testing.T) {
	ours, others := newAuthority(t, "ours"), newAuthority(t, "others")
	chain, key, _, _ := issue(t, ours, server())
	config, err := TLSConfig(chain, key, ours.pem, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	l := listen(t)
	stop := Serve(l, Handler(shown()), func() *tls.Config {
		mu.Lock()
		defer mu.Unlock()
		return config
	}, slog.New(slog.DiscardHandler))
	defer stop()
	roots := x509.NewCertPool()
	roots.AddCert(ours.cert)
	call := func(by *authority, template *x509.Certificate, scheme string) (int, string, error) {
		t.Helper()
		conf := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
		if template != nil {
			c, k, _, _ := issue(t, by, template)
			pair, err := tls.X509KeyPair(c, k)
			if err != nil {
				t.Fatal(err)
			}
			// Whatever the server asks for.
			conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		return get(t, &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: conf}}, scheme+"://"+l.Addr().String()+"/healthz")
	}
	client := func() *x509.Certificate {
		return &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	}
	if status, body, err := call(ours, client(), "https"); err != nil || status != http.StatusOK {
		t.Errorf("a client of ours: %d %s %v", status, body, err)
	}
	expired := client()
	expired.NotBefore, expired.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	for _, tt := range []struct {
		name     string
		by       *authority
		template *x509.Certificate
	}{
		{"no certificate", nil, nil},
		{"another CA's", others, client()},
		{"its own", nil, client()},
		{"a server's", ours, server()},
		{"expired", ours, expired},
	} {
		if status, body, err := call(tt.by, tt.template, "https"); err == nil {
			t.Errorf("%s: %d %s", tt.name, status, body)
		}
	}
	if status, body, err := call(nil, nil, "http"); err == nil && (status == http.StatusOK || strings.Contains(body, "ok")) {
		t.Errorf("without TLS: %d %s", status, body)
	}
	// A reload takes effect with the next connection.
	mu.Lock()
	config, err = TLSConfig(chain, key, others.pem, time.Now())
	mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := call(ours, client(), "https"); err == nil {
		t.Error("a client of the former CA is answered")
	}
	if status, _, err := call(others, client(), "https"); err != nil || status != http.StatusOK {
		t.Errorf("a client of the new CA: %d, %v", status, err)
	}
}

func TestTLSConfig(t *testing.T) {
	ca := newAuthority(t, "ca")
	chain, key, _, _ := issue(t, ca, server())
	_, otherKey, _, _ := issue(t, ca, server())
	expired := server()
	expired.NotBefore, expired.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	expiredChain, expiredKey, _, _ := issue(t, ca, expired)
	future := server()
	future.NotBefore, future.NotAfter = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	futureChain, futureKey, _, _ := issue(t, ca, future)
	for _, tt := range []struct {
		name           string
		chain, key, ca []byte
		err            string
	}{
		{"good", chain, key, ca.pem, ""},
		{"another key", chain, otherKey, ca.pem, "load certificate and private key: tls: private key does not match public key"},
		{"no key", chain, nil, ca.pem, "load certificate and private key: tls: failed to find any PEM data in key input"},
		{"expired", expiredChain, expiredKey, ca.pem, "load certificate: it expired on "},
		{"not valid yet", futureChain, futureKey, ca.pem, "load certificate: it is valid from "},
		{"no CA", chain, key, []byte("none"), "load client CA: it holds no PEM certificate"},
		{"a key for a CA", chain, key, key, "load client CA: it holds no PEM certificate"},
	} {
		c, err := TLSConfig(tt.chain, tt.key, tt.ca, time.Now())
		if (err == nil) != (tt.err == "") || err != nil && !strings.HasPrefix(err.Error(), tt.err) {
			t.Errorf("%s: error is %v, want %q", tt.name, err, tt.err)
		}
		if err == nil && (c.ClientAuth != tls.RequireAndVerifyClientCert || c.ClientCAs == nil || c.MinVersion != tls.VersionTLS13) {
			t.Errorf("%s: %+v", tt.name, c)
		}
	}
}
