package main

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
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/pccs"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/ratls"
)

// TestMain lets the scripts run this program as the command "ccsim".
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"ccsim": main,
	})
}

// TestScript runs the sessions under testdata/script.
func TestScript(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if len(scripts) == 0 {
		t.Fatal("testdata/script has no scripts")
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("ONES", strings.Repeat("1", 64))
			env.Setenv("TWOS", strings.Repeat("2", 64))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status":      cmdStatus,
			"waitfile":    cmdWaitFile,
			"fetch":       cmdFetch,
			"verifyquote": cmdVerifyQuote,
			"keyserver":   cmdKeyServer,
			"protect":     cmdProtect,
			"samekey":     cmdSameKey,
			"mode":        cmdMode,
		},
	})
}

// check ends the script on an error.
func check[T any](v T, err error) func(*testscript.TestScript) T {
	return func(ts *testscript.TestScript) T {
		ts.Check(err)
		return v
	}
}

// cmdStatus is "status CODE COMMAND ARG...": it asserts an exit code.
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status CODE COMMAND [ARG...]")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%s: %v", args[1], err)
		}
		got = exit.ExitCode()
	}
	if want := check(strconv.Atoi(args[0]))(ts); got != want {
		ts.Fatalf("%s: exit code %d, want %d", args[1], got, want)
	}
}

// cmdWaitFile is "waitfile FILE VAR": it waits for a file and puts its first line into a variable.
func cmdWaitFile(ts *testscript.TestScript, _ bool, args []string) {
	for range 400 {
		if data, err := os.ReadFile(ts.MkAbs(args[0])); err == nil {
			ts.Setenv(args[1], strings.TrimSpace(string(data)))
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	ts.Fatalf("%s has not appeared", args[0])
}

// cmdFetch is "fetch URL STATUS": an HTTP request.
func cmdFetch(ts *testscript.TestScript, _ bool, args []string) {
	client := http.Client{Timeout: 20 * time.Second}
	if strings.HasPrefix(args[0], "https") {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM([]byte(ts.ReadFile("tls.pem")))
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}
	}
	r, err := client.Get(args[0])
	ts.Check(err)
	defer r.Body.Close()
	check(io.Copy(ts.Stdout(), r.Body))(ts)
	if want := check(strconv.Atoi(args[1]))(ts); r.StatusCode != want {
		ts.Fatalf("%s: status %d, want %d", args[0], r.StatusCode, want)
	}
}

// cmdVerifyQuote is "verifyquote QUOTE COLLATERAL ROOT": the product's verdict.
func cmdVerifyQuote(ts *testscript.TestScript, neg bool, args []string) {
	q := check(quote.Parse([]byte(ts.ReadFile(args[0]))))(ts)
	bundle := check(pccs.ReadBundle(strings.NewReader(ts.ReadFile(args[1]))))(ts)
	block, _ := pem.Decode([]byte(ts.ReadFile(args[2])))
	opts := dcap.VerifyOptions{At: time.Now(), Roots: []*x509.Certificate{check(x509.ParseCertificate(block.Bytes))(ts)}}
	evidence := check(dcap.CheckEvidence(q, opts))(ts)
	v, err := evidence.Verify(check(bundle.Collateral(context.Background(), evidence.Platform()))(ts), opts.At)
	if (err != nil) != neg {
		ts.Fatalf("verify: %v", err)
	}
	if v != nil {
		fmt.Fprintf(ts.Stdout(), "%s mrenclave=%x mrsigner=%x prod=%d svn=%d debug=%v data=%x\n",
			v.Status, v.Report.MRENCLAVE, v.Report.MRSIGNER, v.Report.ISVProdID, v.Report.ISVSVN, v.Report.Attributes.Debug(), v.Report.ReportData)
	}
}

// cmdKeyServer is "keyserver KEYFILE raw|hex": it starts a server that refuses debug enclaves and gives all others
// the key, writes its certificate to ca.pem and puts its port into $PORT.
func cmdKeyServer(ts *testscript.TestScript, _ bool, args []string) {
	secret := []byte(ts.ReadFile(args[0]))
	if args[1] == "hex" {
		secret = append(fmt.Appendf(nil, "%x", secret), 0)
	}
	cert, text := selfSigned(ts)
	ts.Check(os.WriteFile(ts.MkAbs("ca.pem"), text, 0o644))
	config := &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			e, err := ratls.ParseCertificate(cs.PeerCertificates[0])
			if err == nil && e.Quote.Body.Attributes.Debug() {
				err = fmt.Errorf("debug enclave")
			}
			return err
		},
	}
	l := check(tls.Listen("tcp", "127.0.0.1:0", config))(ts)
	ts.Defer(func() { l.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	ts.Setenv("PORT", port)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			answer(conn, secret)
		}
	}()
}

func answer(conn net.Conn, secret []byte) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadFull(conn, make([]byte, 35)); err == nil {
		conn.Write(append([]byte("SECRET_PROVISION_RA_TLS_RESPONSE_V1:\x00\x00\x00\x00"), append([]byte{byte(len(secret))}, secret...)...))
	}
}

func selfSigned(ts *testscript.TestScript) (tls.Certificate, []byte) {
	key := check(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(ts)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der := check(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))(ts)
	keyDER := check(x509.MarshalPKCS8PrivateKey(key))(ts)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	ts.Check(os.WriteFile(ts.MkAbs("tls.pem"), text, 0o644))
	ts.Check(os.WriteFile(ts.MkAbs("tls-key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, text
}

// cmdProtect is "protect KEYFILE IN OUT ENCLAVE_PATH": it makes a key where there is none, and a protected file.
func cmdProtect(ts *testscript.TestScript, _ bool, args []string) {
	if _, err := os.Stat(ts.MkAbs(args[0])); err != nil {
		raw := make([]byte, 16)
		check(rand.Read(raw))(ts)
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), raw, 0o600))
	}
	key := check(protectedfile.ParseKey([]byte(ts.ReadFile(args[0]))))(ts)
	out := check(os.Create(ts.MkAbs(args[2])))(ts)
	defer out.Close()
	check(protectedfile.Encrypt(context.Background(), out, strings.NewReader(ts.ReadFile(args[1])), key, protectedfile.WriterOptions{Path: args[3]}))(ts)
}

// cmdSameKey is "samekey A B": cmp would print the difference of two keys.
func cmdSameKey(ts *testscript.TestScript, neg bool, args []string) {
	if bytes.Equal([]byte(ts.ReadFile(args[0])), []byte(ts.ReadFile(args[1]))) == neg {
		ts.Fatalf("%s and %s: equal %v", args[0], args[1], neg)
	}
}

// cmdMode is "mode FILE OCTAL".
func cmdMode(ts *testscript.TestScript, _ bool, args []string) {
	info := check(os.Stat(ts.MkAbs(args[0])))(ts)
	if got := fmt.Sprintf("%o", info.Mode().Perm()); got != args[1] {
		ts.Fatalf("%s has mode %s, want %s", args[0], got, args[1])
	}
}
