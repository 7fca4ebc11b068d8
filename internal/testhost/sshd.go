package testhost

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/ccctl/terraform-provider-cc/internal/testshared"
)

// SSHD is a running OpenSSH server that lets the current user in.
type SSHD struct {
	Address string // host:port
	User    string
	HostKey string // "ssh-ed25519 AAAA..."
	KeyFile string // private key of the user
}

// StartSSHD starts a server whose sessions have the given environment
// variables ("NAME=value") beside their usual ones.
func StartSSHD(tb testing.TB, environ ...string) *SSHD {
	tb.Helper()
	program := find("sshd")
	if program == "" {
		testshared.Missing(tb, "sshd is not installed (package openssh-server)")
	}
	me, err := user.Current()
	if err != nil {
		tb.Fatal(err)
	}
	if me.Uid == "0" { // where a server of root goes without privileges
		if err := os.MkdirAll("/run/sshd", 0o750); err != nil {
			tb.Fatal(err)
		}
	}
	dir := tb.TempDir()
	hostKey := NewKey(tb, filepath.Join(dir, "host"))
	userKey := NewKey(tb, filepath.Join(dir, "user"))
	write(tb, filepath.Join(dir, "authorized"), userKey+"\n")
	address := FreeAddress(tb)
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		tb.Fatal(err)
	}
	config := fmt.Sprintf(`Port %s
ListenAddress %s
HostKey %s
AuthorizedKeysFile %s
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
Subsystem sftp internal-sftp
`, port, host, filepath.Join(dir, "host"), filepath.Join(dir, "authorized"))
	if len(environ) > 0 {
		config += "SetEnv " + strings.Join(environ, " ") + "\n"
	}
	write(tb, filepath.Join(dir, "config"), config)
	log := filepath.Join(dir, "log")
	start(tb, log, "", program, "-D", "-e", "-f", filepath.Join(dir, "config"))
	waitFor(tb, log, func() bool {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return &SSHD{Address: address, User: me.Username, HostKey: hostKey, KeyFile: filepath.Join(dir, "user")}
}

// NewKey writes a new private key and returns its public half in one line.
func NewKey(tb testing.TB, path string) string {
	tb.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "test")
	if err != nil {
		tb.Fatal(err)
	}
	write(tb, path, string(pem.EncodeToMemory(block)))
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// FreeAddress is an address of the loopback that nobody listens on.
func FreeAddress(tb testing.TB) string {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func write(tb testing.TB, path, text string) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// find looks for a program on PATH and where daemons are, which may not be on it.
func find(program string) string {
	for _, name := range []string{program, "/usr/sbin/" + program, "/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}
