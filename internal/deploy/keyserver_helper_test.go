package deploy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver/statefile"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/protectedfile"
)

// The tests start this very test binary as their ccctl, through a link whose
// name says how it is to behave. "ccctl" is the real server.
func init() {
	if len(os.Args) < 2 || os.Args[1] != "keyserver" {
		return
	}
	os.Exit(playCcctl(filepath.Base(os.Args[0]), os.Args[1:])) //nolint:forbidigo // Here it is the main program.
}

func playCcctl(name string, args []string) int {
	if len(args) != 6 || strings.Join([]string{args[0], args[1], args[2], args[4]}, " ") != "keyserver serve --config --state-file" {
		fmt.Fprintln(os.Stderr, "started as", args)
		return 2
	}
	config, stateFile := args[3], args[5]
	reload := make(chan os.Signal, 1)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	switch name {
	case "ccctl-fails":
		fmt.Fprintln(os.Stderr, "error: the dog ate it \x1b[31m")
		return 3
	case "ccctl-mute": // takes the lock and says nothing more
		if _, err := statefile.Create(stateFile); err != nil {
			return 1
		}
		time.Sleep(time.Minute)
		return 0
	case "ccctl-deaf": // does not stop, does not reload
		signal.Ignore(syscall.SIGTERM)
		ctx = context.Background()
	default:
		signal.Notify(reload, syscall.SIGHUP)
	}
	if name == "ccctl-deaf" {
		signal.Ignore(syscall.SIGHUP)
	}
	err := keyserver.Run(ctx, config, keyserver.RunOptions{
		Options:   keyserver.Options{Log: slog.New(slog.NewTextHandler(os.Stderr, nil))},
		StateFile: stateFile, Version: "test", Reload: reload,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}

// fakeCcctl returns a program that behaves as its name says.
func fakeCcctl(t *testing.T, name string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// testKeyServer returns a key server with all files it needs, not started, and
// makes sure that nothing of it is left running.
func testKeyServer(t *testing.T, program string) KeyServer {
	t.Helper()
	if err := KeyServerSupported(); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	writeCertificate(t, dir)
	key, _, _ := keyIn(t, dir, "wrap.key")
	zero := uint16(0)
	k := KeyServer{
		Directory: filepath.Join(dir, "server"),
		Program:   fakeCcctl(t, program),
		Config: KeyServerConfig{
			Listen:     "127.0.0.1:0",
			TLS:        KeyServerTLS{Certificate: filepath.Join(dir, "server.pem"), PrivateKey: filepath.Join(dir, "server-key.pem")},
			Collateral: KeyServerCollateral{URL: "https://127.0.0.1:1/"},
			Secrets:    []KeyServerSecret{{Name: "model", File: key}},
			Rules: []KeyServerRule{{
				Name: "any", MRSigner: []string{strings.Repeat("ab", 32)}, ISVProdID: &zero, MinISVSVN: &zero,
				TCB: KeyServerTCB{Accept: []string{"UpToDate"}}, Secret: "model",
			}},
		},
	}
	t.Cleanup(func() { killKeyServer(t, k.Directory) })
	return k
}

// killKeyServer ends the server of a directory that the test has started.
func killKeyServer(t *testing.T, directory string) {
	t.Helper()
	stateFile := KeyServerFilesIn(directory).State
	if state, err := serverState(stateFile); err != nil || state == nil {
		return
	}
	process, _, err := findKeyServer(stateFile)
	if err != nil {
		t.Errorf("a server is left that the test cannot end: %v", err)
		return
	}
	_ = process.Kill()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := waitGone(ctx, stateFile); err != nil {
		t.Error(err)
	}
}

// writeCertificate writes server.pem and server-key.pem, anew at each call.
func writeCertificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "server.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})), 0o644)
	writeFile(t, filepath.Join(dir, "server-key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})), 0o600)
}

// start starts the server, or fails the test.
func start(t *testing.T, k KeyServer) KeyServerRun {
	t.Helper()
	run, err := k.Start(t.Context())
	if err != nil {
		t.Fatal(full(err))
	}
	return run
}

// pidOf returns the process id of a running server.
func pidOf(t *testing.T, k KeyServer) int {
	t.Helper()
	state, err := serverState(KeyServerFilesIn(k.Directory).State)
	if err != nil || state == nil {
		t.Fatalf("no server runs: %v, %v", state, err)
	}
	return state.PID
}

// observe returns the status of a server that was left as run.
func observe(t *testing.T, k KeyServer, run KeyServerRun) KeyServerObservation {
	t.Helper()
	o, err := ObserveKeyServer(k.Directory, run.ConfigSHA256)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// full is an error with all it has to say.
func full(err error) string {
	text := fmt.Sprint(err)
	var known *Error
	if asError(err, &known) {
		text += "\n" + known.Remedy + "\n" + known.Evidence
	}
	return text
}

func newTestKey(t *testing.T, path string) {
	t.Helper()
	key, err := protectedfile.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, string(key[:]), 0o600)
}
