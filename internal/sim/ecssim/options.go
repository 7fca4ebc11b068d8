// Package ecssim is Alibaba Cloud, as far as this product and Alibaba's own
// Terraform provider need it, behind its RPC protocol: ECS (2014-05-26), VPC
// (2016-04-28), STS (2015-04-01), symmetric keys of KMS (2016-01-20), and one
// call each of billing and location that providers make on the way.
//
// It is a [http.Handler]. [Listen] serves it with and without TLS on one port,
// because Alibaba's provider sends some calls to https whatever it is told.
//
// # What it is faithful in
//
//   - The wire: GET and POST, arguments in query and body merged, HMAC-SHA1
//     signatures, timestamps within 15 minutes, nonces used once, tokens of
//     temporary keys; error bodies and their codes; JSON with the casing of the
//     real answers.
//   - Time: instances go through Pending, Starting, Running, Stopping, Stopped;
//     what was made is listed only after a while, and what was deleted is still
//     listed for a while ([Latencies]).
//   - Idempotency: a ClientToken that comes again gets the first answer, and with
//     other arguments an error.
//   - Quirks that providers trip over: adding a rule that exists succeeds and
//     adds nothing; removing one that does not succeeds; an instance cannot leave
//     its last group; a missing vSwitch is described as one without an id; a
//     missing instance is an empty list, and a missing group an error of one
//     call and an empty list of the other.
//   - Failures, by action and occasion: see [Fault].
//
// # What it is not
//
// A machine is a record. Cloud Assistant runs its commands for real, by a
// [Runner]: the one of [DirectoryRunner] in a directory with stand-ins for the
// programs of Alibaba Cloud Linux 3. That directory is a place, not a jail.
// Prices, quotas by region, EIPs and most filters are absent; an action that is not simulated answers as an unknown one.
//
// The package shares no code with the client it is there to test.
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

// Options configure a simulator. The zero value is a fast one in memory that
// accepts [DefaultAccessKey].
type Options struct {
	// Keys are the secrets by access key id. Nil means [DefaultAccessKey] with
	// [DefaultSecretKey]. All belong to one account.
	Keys map[string]string
	// Account is the id of the account, "1000000000000001" when empty.
	Account string
	// OIDCToken is accepted from an identity provider; empty accepts none.
	OIDCToken string
	// Latencies are how long things take.
	Latencies Latencies
	// Quotas bound what there may be.
	Quotas Quotas
	// Dir keeps the state across restarts; empty keeps it in memory.
	Dir string
	// Runner runs the commands of Cloud Assistant. Nil lets every command
	// succeed with no output.
	Runner Runner
	// PublicIP gives the next machine's public address, for one that is to be
	// reached; nil hands out addresses of the documentation ranges.
	PublicIP func() string
	// SoldOut are instance types that no zone has, and SoldOutZones zones that
	// have none.
	SoldOut, SoldOutZones []string
	// OnRequest, if any, is told of every call, with no secret in it.
	OnRequest func(Request)
	// Now is the clock, time.Now when nil.
	Now func() time.Time
}

// The key that a simulator accepts unless it is told others.
const (
	DefaultAccessKey = "LTAIsimulatedAccessKey00"
	DefaultSecretKey = "simulatedSecretKey0000000000000"
)

// Latencies are how long things take; zero is at once.
type Latencies struct {
	Starting    time.Duration // from RunInstances or StartInstance to Running, half of it in Pending
	Stopping    time.Duration // from StopInstance to Stopped
	Deleting    time.Duration // from DeleteInstance until it is gone, and until its group can be
	PublicIP    time.Duration // from Running until the address is shown
	Agent       time.Duration // from Running until Cloud Assistant reports in
	Consistency time.Duration // until what was made is listed, or a command has a result
}

// Quotas bound what there may be; zero means Alibaba's usual figures.
type Quotas struct{ SecurityGroups, Rules, Instances, GroupsPerInstance int }

func (q Quotas) orDefault() Quotas {
	for _, v := range []struct {
		at *int
		to int
	}{{&q.SecurityGroups, 100}, {&q.Rules, 200}, {&q.Instances, 1000}, {&q.GroupsPerInstance, 5}} {
		if *v.at == 0 {
			*v.at = v.to
		}
	}
	return q
}

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
