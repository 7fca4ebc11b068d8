package doccheck

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/ratls"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// TestSessions runs what the documents tell their readers to run, with the real programs and the real Terraform. SGX, the
// collateral service and the enclaves are simulated.
//
// A session begins in a folder that looks like a clone of the repository after "make build": programs in bin, which is on
// PATH, and the examples. Its commands beside those of testscript are
//
//	status CODE COMMAND...   the command ends with that exit code
//	await FILE [NAME]        waits for a file that is not empty, and puts its text into the variable NAME
//	expand FILE...           replaces $NAME in files by the session's variables
//	await-log FILE TEXT      waits for a line that has the text
//	client-certificate PLATFORM MRENCLAVE FILE
//	                         writes the certificate that an enclave of a simulated platform shows a key server
//	named-enclave PLATFORM CA NAME FILE
//	                         an enclave looks for its server by a name that is in no DNS, finds SERVER there, and writes its key
//	script-certificates DIR  makes what generate_twoway_ssl_config.sh leaves
//	server STATEFILE         waits for a key server and puts its address into SERVER
func TestSessions(t *testing.T) {
	t.Parallel()
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	rc := terraformrc(t)
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "session"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			if err := os.Symlink(bin, filepath.Join(env.WorkDir, "bin")); err != nil {
				return err
			}
			from := filepath.Join(root, "examples")
			if err := copyExamples(filepath.Join(env.WorkDir, "examples"), from); err != nil {
				return err
			}
			sigstruct, err := os.ReadFile(filepath.Join(root, "internal", "sgxcrypto", "sigstruct", "testdata", "v19_release.sig"))
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(env.WorkDir, "tf_serving.sig"), sigstruct, 0o600); err != nil {
				return err
			}
			home := filepath.Join(env.WorkDir, ".home")
			if err := os.Mkdir(home, 0o700); err != nil {
				return err
			}
			env.Defer(func() { stopServers(t, env.WorkDir) })
			env.Setenv("HOME", home)
			env.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
			env.Setenv("TF_CLI_CONFIG_FILE", rc)
			for _, name := range []string{"CHECKPOINT_DISABLE", "TF_IN_AUTOMATION", "TF_INPUT", "ALIBABA_CLOUD_ECS_METADATA_DISABLED"} {
				env.Setenv(name, os.Getenv(name))
			}
			env.Setenv("NO_COLOR", "1")
			env.Setenv("TF_CLI_ARGS", "-no-color")
			env.Setenv("ENCLAVE", mrEnclave)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status":    cmdStatus,
			"await":     cmdAwait,
			"await-log": cmdAwaitLog,
			"expand":    cmdExpand,
			"server":    cmdServer,

			"client-certificate": cmdClientCertificate,
			"named-enclave":      cmdNamedEnclave,

			"script-certificates": cmdScriptCertificates,
		},
	})
}

// stopServers ends the key servers that a session which failed has left: those of Terraform live on without it.
func stopServers(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.Name() != "state.json" {
			return err
		}
		state, err := keyserver.ReadState(path)
		if err != nil || state == nil || state.PID == 0 {
			return err // it has ended
		}
		process, err := os.FindProcess(state.PID)
		if err != nil {
			return err
		}
		return process.Kill()
	})
	if err != nil {
		t.Error(err)
	}
}

// mrEnclave is the enclave of the sessions, and of the documents.
const mrEnclave = "7de5a2c4c9b1f0e38d6a4b7c5e2f19081726354453627180a9b8c7d6e5f40312"

// copyExamples copies the examples without what a developer's own apply has left in them.
func copyExamples(to, from string) error {
	return filepath.WalkDir(from, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if strings.HasPrefix(name, ".terraform") || name == "work" || strings.Contains(name, ".tfstate") {
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(to, relative), 0o750)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, relative), data, 0o600)
	})
}

func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status CODE COMMAND [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%s: %v", args[1], err)
	}
	if got != want {
		ts.Fatalf("%s: exit code %d, want %d", args[1], got, want)
	}
}

// patience is how long something may take to come about that normally takes moments.
const patience = 30 * time.Second

func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: await FILE [NAME]")
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if data, err := os.ReadFile(ts.MkAbs(args[0])); err == nil && len(data) > 0 {
			if len(args) == 2 {
				ts.Setenv(args[1], strings.TrimSpace(string(data)))
			}
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s has not come", args[0])
		}
	}
}

func cmdAwaitLog(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await-log FILE TEXT")
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		data, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && strings.Contains(string(data), args[1]) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s has no line with %q:\n%s", args[0], args[1], data)
		}
	}
}

func cmdExpand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: expand FILE...")
	}
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
	}
}

// cmdServer is "server STATEFILE": it puts the address that a key server listens on into $SERVER.
func cmdServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: server STATEFILE")
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if state, err := keyserver.ReadState(ts.MkAbs(args[0])); err == nil && state != nil && state.Listen != "" {
			_, port, err := net.SplitHostPort(state.Listen)
			ts.Check(err)
			ts.Setenv("SERVER", "localhost:"+port)
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no key server has %s", args[0])
		}
	}
}

// identity is the enclave with a measurement in hex.
func identity(ts *testscript.TestScript, digits string) sgxsim.Identity {
	var id sgxsim.Identity
	if n, err := hex.Decode(id.MRENCLAVE[:], []byte(digits)); err != nil || n != len(id.MRENCLAVE) {
		ts.Fatalf("%q is no measurement", digits)
	}
	return id
}

func cmdClientCertificate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: client-certificate PLATFORM MRENCLAVE FILE")
	}
	platform, err := sgxsim.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	opts, err := ratls.GramineOptions("1.9")
	ts.Check(err)
	cert, err := ratls.NewCertificate(context.Background(), platform.Quoter(identity(ts, args[1])), opts)
	ts.Check(err)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), text, 0o600))
}

func cmdNamedEnclave(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 4 {
		ts.Fatalf("usage: [!] named-enclave PLATFORM CA NAME FILE")
	}
	platform, err := sgxsim.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	server := ts.Getenv("SERVER")
	_, port, err := net.SplitHostPort(server)
	ts.Check(err)
	e := &sgxsim.Enclave{
		Quoter: platform.Quoter(identity(ts, mrEnclave)), Servers: net.JoinHostPort(args[2], port), CA: []byte(ts.ReadFile(args[1])),
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, server)
		},
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	delivery, err := e.Provision(ctx)
	var refused *sgxsim.EnclaveError
	if neg {
		if !errors.As(err, &refused) {
			ts.Fatalf("the enclave was not refused: %v", err)
		}
		return
	}
	ts.Check(err)
	key, err := delivery.Key()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[3]), key[:], 0o600))
}

// cmdScriptCertificates makes certificates with the faults of the tutorial's: a common name alone, no usage, one serial number, and
// an authority that ends before them.
func cmdScriptCertificates(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: script-certificates DIR")
	}
	now := time.Now()
	write := func(name string, block *pem.Block) {
		file := filepath.Join(ts.MkAbs(args[0]), filepath.FromSlash(name))
		ts.Check(os.MkdirAll(filepath.Dir(file), 0o700))
		ts.Check(os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	}
	issue := func(prefix, name string, serial int64, days int, issuer *x509.Certificate, by *rsa.PrivateKey) (*x509.Certificate, *rsa.PrivateKey) {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		ts.Check(err)
		template := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Minute), NotAfter: now.AddDate(0, 0, days),
			IsCA: issuer == nil, BasicConstraintsValid: issuer == nil,
		}
		if issuer == nil {
			issuer, by = template, key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), by)
		ts.Check(err)
		cert, err := x509.ParseCertificate(der)
		ts.Check(err)
		private, err := x509.MarshalPKCS8PrivateKey(key)
		ts.Check(err)
		write(prefix+"cert.pem", &pem.Block{Type: "CERTIFICATE", Bytes: der})
		write(prefix+"key.pem", &pem.Block{Type: "PRIVATE KEY", Bytes: private})
		return cert, key
	}
	ca, caKey := issue("ca_", "ca", 7, 356, nil, nil)
	issue("server/", "grpc.tf-serving.service.com", 1, 365, ca, caKey)
	issue("client/", "client.tf-serving.service.com", 1, 365, ca, caKey)
}
