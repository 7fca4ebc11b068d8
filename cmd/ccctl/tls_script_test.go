package main

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ccctl/terraform-provider-cc/internal/deploy"
)

// cmdMakeTLS is the script command "make-tls DIR expired|tutorial". It makes sets that ccctl would not make: one that has
// ended, or the one that the tutorial's script leaves.
func cmdMakeTLS(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: make-tls DIR expired|tutorial")
	}
	dir := ts.MkAbs(args[0])
	switch args[1] {
	case "expired":
		_, err := deploy.CreateTLSMaterials(deploy.TLSSpec{
			Directory: dir, ServerNames: []string{"localhost"}, ClientName: "client.example.com", Lifetime: time.Hour, SSLConfig: true,
		}, time.Now().Add(-2*time.Hour), false)
		ts.Check(err)
	case "tutorial":
		ts.Check(os.CopyFS(dir, os.DirFS(filepath.Join(repository, "internal", "serving", "tlsmaterials", "testdata", "tutorial"))))
	default:
		ts.Fatalf("unknown variant %q", args[1])
	}
}

// repository is the module's root, from the directory in which the tests start.
var repository = func() string {
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		panic(err)
	}
	return dir
}()

// cmdServeTLS is the script command "serve-tls VARIABLE DIR two-way|grpc|one-way|tls12|plain|silent|stalled". It serves with the
// materials in DIR until the script ends and puts the address into the variable. A client that is let in is sent
// something, as a gRPC server does, unless the variant is silent or stalled. As gRPC's, the variant grpc hangs up on a
// client that it refuses, without an alert; the variant stalled does nothing at all.
func cmdServeTLS(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: serve-tls VARIABLE DIR VARIANT")
	}
	dir, variant := ts.MkAbs(args[1]), args[2]
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = listener.Close() })
	_, port, err := net.SplitHostPort(listener.Addr().String())
	ts.Check(err)
	ts.Setenv(args[0], port)

	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if variant != "plain" {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server", "cert.pem"), filepath.Join(dir, "server", "key.pem"))
		ts.Check(err)
		conf.Certificates = []tls.Certificate{pair}
		ca, err := os.ReadFile(filepath.Join(dir, "ca_cert.pem"))
		ts.Check(err)
		conf.ClientCAs = x509.NewCertPool()
		conf.ClientCAs.AppendCertsFromPEM(ca)
	}
	switch variant {
	case "grpc":
		conf.ClientAuth, conf.NextProtos = tls.RequestClientCert, []string{"h2"}
	case "two-way":
		conf.ClientAuth, conf.NextProtos = tls.RequireAndVerifyClientCert, []string{"h2"}
	case "tls12":
		conf.ClientAuth, conf.MaxVersion = tls.RequireAndVerifyClientCert, tls.VersionTLS12
	case "one-way":
		conf.NextProtos = []string{"h2"}
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serveTLSClient(conn, conf, variant)
		}
	}()
}

func serveTLSClient(conn net.Conn, conf *tls.Config, variant string) {
	defer func() { _ = conn.Close() }()
	if variant == "plain" {
		_, _ = conn.Write([]byte("HTTP/1.0 400 Bad Request\r\n\r\n"))
		return
	}
	if variant == "stalled" {
		_, _ = io.Copy(io.Discard, conn)
		return
	}
	server := tls.Server(conn, conf)
	if server.Handshake() != nil {
		return
	}
	if variant == "grpc" {
		peers := server.ConnectionState().PeerCertificates
		if len(peers) == 0 {
			return
		}
		if _, err := peers[0].Verify(x509.VerifyOptions{Roots: conf.ClientCAs, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			return
		}
	}
	if variant != "silent" {
		_, _ = server.Write([]byte("settings"))
	}
	_, _ = server.Read(make([]byte, 1)) // until the client hangs up
}
