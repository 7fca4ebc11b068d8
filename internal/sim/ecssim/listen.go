package ecssim

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"sync"
	"time"
)

// Listener serves a simulator with and without TLS on one port.
type Listener struct {
	// Addr is HOST:PORT, as it belongs into an endpoint setting.
	Addr string
	// RootPEM is the certificate that TLS clients have to trust.
	RootPEM []byte

	server *http.Server
	done   chan struct{}
}

// Listen starts to serve h on a loopback address, such as "127.0.0.1:0".
func Listen(addr string, h http.Handler) (*Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("listen on %s: a simulator serves loopback addresses only, such as 127.0.0.1:0", addr)
	}
	cert, root, err := selfSigned(host)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	inner, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	l := &Listener{
		Addr: inner.Addr().String(), RootPEM: root, done: make(chan struct{}),
		server: &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, ConnContext: keepConn},
	}
	conf := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	go func() {
		defer close(l.done)
		_ = l.server.Serve(&sniffer{Listener: inner, conf: conf})
	}()
	return l, nil
}

// Close stops serving and waits until the last answer is out, two seconds at
// most.
func (l *Listener) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := l.server.Shutdown(ctx); err != nil {
		_ = l.server.Close()
	}
	<-l.done
}

// selfSigned makes a certificate for a loopback address that is its own root.
func selfSigned(host string) (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "CC SIMULATED Alibaba Cloud - NOT ALIBABA"},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true,
		IPAddresses: []net.IP{net.ParseIP(host)}, DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// sniffer wraps connections that start with a TLS record in TLS.
type sniffer struct {
	net.Listener
	conf *tls.Config
}

func (l *sniffer) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &sniffed{Conn: c, conf: l.conf}, nil
}

// sniffed decides at the first read, so that accepting never waits for a
// client.
type sniffed struct {
	net.Conn
	conf *tls.Config
	once sync.Once
	in   net.Conn
}

// tlsHandshake is the content type with which a TLS connection starts.
const tlsHandshake = 0x16

func (c *sniffed) decide() {
	c.once.Do(func() {
		peeked := &peekedConn{Conn: c.Conn, r: bufio.NewReader(c.Conn)}
		c.in = peeked
		if first, err := peeked.r.Peek(1); err == nil && first[0] == tlsHandshake {
			c.in = tls.Server(peeked, c.conf)
		}
	})
}

func (c *sniffed) Read(p []byte) (int, error) { c.decide(); return c.in.Read(p) }

func (c *sniffed) Write(p []byte) (int, error) { c.decide(); return c.in.Write(p) }

type connKey struct{}

func keepConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// isTLS tells whether a request came encrypted.
func isTLS(r *http.Request) bool {
	if c, ok := r.Context().Value(connKey{}).(*sniffed); ok {
		c.decide()
		_, encrypted := c.in.(*tls.Conn)
		return encrypted
	}
	return r.TLS != nil
}

type peekedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *peekedConn) Read(p []byte) (int, error) { return c.r.Read(p) }
