package console

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/admission"
)

// Limits of the listener's connections: at the limit the oldest makes room, so that a health check always gets in.
const (
	maxConnections           = 64
	maxConnectionsPerAddress = 32
)

// Serve answers on l until the returned function is called. With secure, which returns the TLS configuration for each
// connection, it speaks TLS alone.
func Serve(l net.Listener, h http.Handler, secure func() *tls.Config, log *slog.Logger) (stop func()) {
	log.Info("listening for administration", "address", l.Addr().String(), "mutual_tls", secure != nil)
	return serve(l, h, secure, log)
}

func serve(l net.Listener, h http.Handler, secure func() *tls.Config, log *slog.Logger) (stop func()) {
	server := newServer(h, log)
	stopping, cancel := context.WithCancel(context.Background())
	server.BaseContext = func(net.Listener) context.Context { return stopping }
	server.RegisterOnShutdown(cancel) // whoever waits for a decision
	var limited net.Listener = &gated{Listener: l, gate: admission.New(maxConnections, maxConnectionsPerAddress)}
	if secure != nil {
		limited = tls.NewListener(limited, &tls.Config{
			MinVersion:         tls.VersionTLS13,
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return secure(), nil },
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(limited); !errors.Is(err, http.ErrServerClosed) {
			log.Error("a listener for operators failed", "address", l.Addr().String(), "error", err)
		}
	}()
	return func() {
		defer cancel()
		ctx, end := context.WithTimeout(context.Background(), 2*time.Second)
		defer end()
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
		<-done
	}
}

// newServer bounds what a client of the listener can take.
func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // failed handshakes and the like
	}
}

// TLSConfig makes the listener's side of mutual TLS: its certificate chain and private key, and the certificates of those
// who issue clients' certificates, all PEM.
func TLSConfig(chain, key, clientCA []byte, now time.Time) (*tls.Config, error) {
	cert, err := tls.X509KeyPair(chain, key)
	if err != nil {
		// Its texts name PEM block types and never repeat content.
		return nil, fmt.Errorf("load certificate and private key: %w", err)
	}
	switch {
	case now.After(cert.Leaf.NotAfter):
		return nil, fmt.Errorf("load certificate: it expired on %s", cert.Leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(cert.Leaf.NotBefore):
		return nil, fmt.Errorf("load certificate: it is valid from %s only", cert.Leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(clientCA) {
		return nil, errors.New("load client CA: it holds no PEM certificate")
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"},
		SessionTicketsDisabled: true, // or a client that is no longer wanted would resume for hours
	}, nil
}

// gated bounds the connections of a listener.
type gated struct {
	net.Listener

	gate *admission.Gate
}

// Accept implements net.Listener.
func (g *gated) Accept() (net.Conn, error) {
	conn, err := g.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &gatedConn{Conn: conn, pass: g.gate.Admit(admission.AddressOf(conn.RemoteAddr()), conn)}, nil
}

type gatedConn struct {
	net.Conn

	once sync.Once
	pass *admission.Pass
}

// Close implements net.Conn.
func (c *gatedConn) Close() error {
	c.once.Do(func() { c.pass.Release() })
	return c.Conn.Close()
}
