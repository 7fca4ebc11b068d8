package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// attestationWorld is what the scripts of the key server have around them.
type attestationWorld struct {
	platform *sgxsim.Platform
	ca       []byte
}

var worlds sync.Map // by directory

// cmdAttestationWorld is the script command "attestation-world DIR". It puts a simulated platform's root.pem, a server's
// server.pem and server-key.pem with its ca.pem, a client.pem and client-key.pem of the same CA, and a wrap-key into a new directory, and serves the platform's collateral
// at $PCCS. $MRENCLAVE is the enclave that "enclave" plays.
func cmdAttestationWorld(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: attestation-world DIR")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	write := func(name string, data []byte) { ts.Check(os.WriteFile(filepath.Join(dir, name), data, 0o600)) }
	p, err := sgxsim.New(sgxsim.Options{})
	ts.Check(err)
	service := httptest.NewServer(p.Handler())
	ts.Defer(service.Close)

	w := &attestationWorld{platform: p}
	caKey, caTemplate := scriptKey(ts), &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Script CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, caTemplate, caTemplate, caKey.Public(), caKey)
	ts.Check(err)
	key, template := scriptKey(ts), &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "key server"}, DNSNames: []string{"localhost", "127.0.0.1"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, caTemplate, key.Public(), caKey)
	ts.Check(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	w.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
	write("ca.pem", w.ca)
	write("server.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write("server-key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	write("root.pem", p.RootPEM())
	write("wrap-key", []byte("script-wrap-key!"))
	clientKey, clientTemplate := scriptKey(ts), &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "an operator"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	clientDER, err := x509.CreateCertificate(rand.Reader, clientTemplate, caTemplate, clientKey.Public(), caKey)
	ts.Check(err)
	clientKeyDER, err := x509.MarshalPKCS8PrivateKey(clientKey)
	ts.Check(err)
	write("client.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: clientDER}))
	write("client-key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: clientKeyDER}))
	measurement := simulatedMeasurement("MRENCLAVE")
	ts.Setenv("MRENCLAVE", hex.EncodeToString(measurement[:]))
	ts.Setenv("PCCS", service.URL)
	ts.Setenv("WORLD", dir)
	worlds.Store(dir, w)
	ts.Defer(func() { worlds.Delete(dir) })
}

func scriptKey(ts *testscript.TestScript) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	return key
}

// cmdKeyserver is the script command "keyserver wait STATEFILE [CONFIG]", which waits until a server is ready, with that
// configuration in force, and puts its addresses into $SERVER and $ADMIN; or "keyserver signal STATEFILE HUP|TERM"; or "keyserver log
// FILE REGEXP", which waits for such a line.
func cmdKeyserver(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: keyserver wait STATEFILE [CONFIG] | signal STATEFILE HUP|TERM | log FILE REGEXP")
	}
	want := ""
	if args[0] == "log" && len(args) == 3 {
		awaitLine(ts, args[1], args[2])
		return
	}
	if args[0] == "wait" && len(args) == 3 {
		sum := sha256.Sum256([]byte(ts.ReadFile(args[2])))
		want = hex.EncodeToString(sum[:])
	}
	var state *keyserver.State
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var err error
		state, err = keyserver.ReadState(ts.MkAbs(args[1]))
		if err == nil && state != nil && state.PID != 0 && (want == "" || state.ConfigSHA256 == want) {
			break
		}
		if time.Now().After(deadline) {
			ts.Fatalf("the server does not come up: state %+v, error %v", state, err)
		}
	}
	switch args[0] {
	case "wait":
		ts.Setenv("SERVER", state.Listen)
		ts.Setenv("SERVER_PID", strconv.Itoa(state.PID))
		ts.Setenv("ADMIN", state.Admin)
	case "signal":
		process, err := os.FindProcess(state.PID)
		ts.Check(err)
		ts.Check(process.Signal(map[string]syscall.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM}[args[2]]))
	default:
		ts.Fatalf("unknown verb %q", args[0])
	}
}

// awaitLine waits for a line of a log to match.
func awaitLine(ts *testscript.TestScript, file, pattern string) {
	re, err := regexp.Compile(pattern)
	ts.Check(err)
	for deadline := time.Now().Add(20 * time.Second); !re.MatchString(ts.ReadFile(file)); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("%s has no line that matches %s:\n%s", file, pattern, ts.ReadFile(file))
		}
	}
}

// cmdEnclave is the script command "enclave [debug|other]": an enclave asks $SERVER for its key. With "!" it must be
// refused.
func cmdEnclave(ts *testscript.TestScript, neg bool, args []string) {
	value, ok := worlds.Load(ts.Getenv("WORLD"))
	w, isWorld := value.(*attestationWorld)
	if !ok || !isWorld {
		ts.Fatalf("enclave: call attestation-world first")
	}
	id := sgxsim.Identity{MRENCLAVE: simulatedMeasurement("MRENCLAVE"), MRSIGNER: simulatedMeasurement("MRSIGNER")}
	switch variant := append(args, "")[0]; variant {
	case "":
	case "debug":
		id.Debug = true
	case "other":
		id.MRENCLAVE[0] ^= 1
	default:
		ts.Fatalf("unknown variant %q", variant)
	}
	e := &sgxsim.Enclave{Quoter: w.platform.Quoter(id), Servers: ts.Getenv("SERVER"), CA: w.ca}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	d, err := e.Provision(ctx)
	switch {
	case neg && err == nil:
		ts.Fatalf("the enclave was given a key")
	case !neg && err != nil:
		ts.Fatalf("the enclave was refused: %v", err)
	case !neg && string(d.Secret) != "script-wrap-key!":
		ts.Fatalf("the enclave was given something else")
	}
}
