package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

func owner(info os.FileInfo) Owner {
	s := info.Sys().(*syscall.Stat_t)
	return Owner{UID: int(s.Uid), GID: int(s.Gid)}
}

func TestHostKeyIsRequired(t *testing.T) {
	s, config := newTestServer(t)
	dir := t.TempDir()
	other := testhost.NewKey(t, filepath.Join(dir, "other"))
	knownFile := func(name, line string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	host := knownhosts.Normalize(s.address)
	for _, tt := range []struct {
		name   string
		keys   []string
		known  string
		reject string
	}{
		{name: "nothing", reject: "the host's key must be known beforehand"},
		{name: "listed", keys: []string{other, s.hostKey + " comment"}},
		{name: "another listed", keys: []string{other}, reject: "which is not among the host keys given: it is another machine, or one in between listens"},
		{name: "no key", keys: []string{"AAAA"}, reject: `read host key 1: "AAAA" is not of the form "ssh-ed25519 AAAA..."`},
		{name: "host name", keys: []string{"host " + s.hostKey}, reject: "leave the host name out"},
		{name: "known", known: knownFile("known", host+" "+s.hostKey)},
		{name: "known by another key", known: knownFile("changed", host+" "+other), reject: "has another key for this host"},
		{name: "unknown", known: knownFile("unknown", "elsewhere "+s.hostKey), reject: "It is not trusted on first use"},
		{name: "revoked", known: knownFile("revoked", "@revoked "+host+" "+s.hostKey), reject: "is revoked"},
		{name: "no file", known: filepath.Join(dir, "none"), reject: "read known hosts: open "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := config
			c.HostKeys, c.KnownHosts = tt.keys, tt.known
			x, err := DialSSH(t.Context(), c)
			if err == nil {
				_ = x.Close()
			}
			if (err == nil) != (tt.reject == "") || err != nil && !strings.Contains(err.Error(), tt.reject) {
				t.Errorf("error is %v, want %q", err, tt.reject)
			}
		})
	}
}

func TestAuthentication(t *testing.T) {
	_, config := newTestServer(t)
	dir := t.TempDir()
	stranger := filepath.Join(dir, "stranger")
	testhost.NewKey(t, stranger)
	garbage := filepath.Join(dir, "garbage")
	if err := os.WriteFile(garbage, []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	locked := filepath.Join(dir, "locked")
	signerKey, err := ssh.ParseRawPrivateKey(mustRead(t, stranger))
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKeyWithPassphrase(signerKey, "", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(locked, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, file, agent, want string }{
		{"agent", "", startAgent(t, config.PrivateKeyFile), ""},
		{"agent without the key", "", startAgent(t, stranger), "is the public key among authorized_keys of user tester there?"},
		{"wrong key, agent with the right one", stranger, startAgent(t, config.PrivateKeyFile), ""},
		{"nothing", "", "", "nothing to authenticate with"},
		{"stranger", stranger, "", "is the public key among authorized_keys of user tester there?"},
		{"garbage", garbage, "", "it is not a private key in OpenSSH's or PEM form"},
		{"locked", locked, "", "add it to an SSH agent (ssh-add)"},
		{"no file", filepath.Join(dir, "none"), "", "read private key: open "},
		{"no agent", "", filepath.Join(dir, "none"), "ask SSH agent: dial unix"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := config
			c.PrivateKeyFile, c.AgentSocket = tt.file, tt.agent
			x, err := DialSSH(t.Context(), c)
			if err == nil {
				_ = x.Close()
			}
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("the error shows a key file: %v", err)
			}
		})
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func startAgent(t *testing.T, keyFile string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") //nolint:usetesting // The path of a socket must be short.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	key, err := ssh.ParseRawPrivateKey(mustRead(t, keyFile))
	if err != nil {
		t.Fatal(err)
	}
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(ring, conn) }()
		}
	}()
	return l.Addr().String()
}

func TestJumpHost(t *testing.T) {
	jump, between := newTestServer(t)
	_, config := newTestServer(t)
	config.Jump = &between
	x := dialTest(t, config)
	if out, err := Output(t.Context(), x, "echo", "there"); err != nil || string(out) != "there\n" {
		t.Errorf("%q, %v", out, err)
	}
	jump.cut()
	if err := x.Run(t.Context(), Command{Args: []string{"true"}}); !errors.Is(err, ErrConnectionLost) {
		t.Errorf("without the jump host: %v", err)
	}
	between.HostKeys = nil
	if _, err := DialSSH(t.Context(), config); err == nil || !strings.Contains(err.Error(), "by way of jump host: connect to tester@") ||
		!strings.Contains(err.Error(), "must be known beforehand") {
		t.Errorf("without its key: %v", err)
	}
}

func TestDialErrors(t *testing.T) {
	_, config := newTestServer(t)
	config.Address = testhost.FreeAddress(t)
	if _, err := DialSSH(t.Context(), config); err == nil || !strings.HasPrefix(err.Error(), "connect to tester@"+config.Address+": dial tcp") {
		t.Errorf("nobody there: %v", err)
	}
	// One that accepts and says nothing.
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	config.Address, config.ConnectTimeout = l.Addr().String(), 200*time.Millisecond
	if _, err := DialSSH(t.Context(), config); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("mute: %v", err)
	}
}

// TestPutResumes cuts the connection in the middle of a file, again and again.
func TestPutResumes(t *testing.T) {
	s, config := newTestServer(t)
	data := make([]byte, 10*chunkSize+5)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(data)
	name := filepath.Join(t.TempDir(), "model")
	total := int64(0)
	for cuts := 0; ; cuts++ {
		if cuts > 6 {
			t.Fatal("it does not come to an end")
		}
		x := dialTest(t, config)
		first, sent := int64(-1), int64(0)
		f := BytesFile(name, data, 0o600)
		f.Progress = func(n int64) {
			if first < 0 {
				first = n
			}
			sent = n - first + chunkSize
			if cuts < 3 && sent >= 3*chunkSize {
				s.cut()
			}
		}
		err := x.Put(t.Context(), f)
		total += sent
		if err == nil {
			if cuts != 3 {
				t.Errorf("after %d cuts", cuts)
			}
			break
		}
		if !errors.Is(err, ErrConnectionLost) {
			t.Fatal(err)
		}
		if _, err := os.Stat(name); err == nil {
			t.Fatal("half a file has its final name")
		}
	}
	if !bytes.Equal(mustRead(t, name), data) {
		t.Error("the content is another")
	}
	if limit := int64(len(data)) + 4*chunkSize; total > limit {
		t.Errorf("sent %d bytes for %d: it began anew", total, len(data))
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(name), ".cc-tmp-*"))
	if len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestPutDoesNotTrustAPart puts other bytes where the beginning should be.
func TestPutDoesNotTrustAPart(t *testing.T) {
	_, config := newTestServer(t)
	x := dialTest(t, config)
	data := bytes.Repeat([]byte("x"), 3*chunkSize)
	f := BytesFile(filepath.Join(t.TempDir(), "model"), data, 0o600)
	newDigest := func(data []byte) hash.Hash {
		digest := sha256.New()
		digest.Write(data)
		return digest
	}
	for _, size := range []int{2*chunkSize + 1, 3 * chunkSize, 4 * chunkSize} {
		digest := newDigest(data)
		if err := os.WriteFile(partName(f, digest), bytes.Repeat([]byte("y"), size), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := x.Put(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(mustRead(t, f.Path), data) {
			t.Errorf("%d: the content is another", size)
		}
	}
	if err := os.Symlink("/dev/null", partName(f, newDigest(data))); err != nil {
		t.Fatal(err)
	}
	if err := x.Put(t.Context(), f); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a link in the way: %v", err)
	}
}

// TestPutNoticesDamage has a far side that computes another digest.
func TestPutNoticesDamage(t *testing.T) {
	s, config := newTestServer(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sha256sum"), []byte("#!/bin/sh\necho 00 x\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.env = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
	x := dialTest(t, config)
	f := BytesFile(filepath.Join(t.TempDir(), "f"), []byte("content"), 0o600)
	if err := x.Put(t.Context(), f); err == nil || !strings.Contains(err.Error(), "what arrived is not what was sent") {
		t.Errorf("error is %v", err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(f.Path)); len(entries) != 0 {
		t.Errorf("left: %v", entries)
	}
}

// TestKeepAlive has a host that goes silent without closing anything.
func TestKeepAlive(t *testing.T) {
	s, config := newTestServer(t)
	address, freeze := muteProxy(t, s.address)
	config.Address, config.KeepAlive = address, 100*time.Millisecond
	x := dialTest(t, config)
	if err := x.Run(t.Context(), Command{Args: []string{"sleep", "0.5"}}); err != nil {
		t.Fatalf("a host that answers was given up: %v", err)
	}
	time.AfterFunc(100*time.Millisecond, freeze)
	begun := time.Now()
	err := x.Run(t.Context(), Command{Args: []string{"sleep", "20"}})
	if !errors.Is(err, ErrConnectionLost) || time.Since(begun) > 5*time.Second {
		t.Errorf("after %v: %v", time.Since(begun), err)
	}
}

// TestCanceledOnSilentHost returns although nothing ever answers.
func TestCanceledOnSilentHost(t *testing.T) {
	t.Parallel()
	s, config := newTestServer(t)
	address, freeze := muteProxy(t, s.address)
	config.Address = address
	x := dialTest(t, config)
	if _, err := x.Get(t.Context(), "/none", 1); err == nil {
		t.Fatal("it is there")
	}
	freeze()
	for name, work := range map[string]func(ctx context.Context) error{
		"put": func(ctx context.Context) error {
			return x.Put(ctx, BytesFile(filepath.Join(t.TempDir(), "f"), []byte("x"), 0o600))
		},
		"get": func(ctx context.Context) error { _, err := x.Get(ctx, "/etc/hostname", 100); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			begun := time.Now()
			if err := work(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > 4*stopPatience {
				t.Errorf("after %v: %v", time.Since(begun), err)
			}
		})
	}
}

// muteProxy forwards to an address until it is frozen.
func muteProxy(t *testing.T, to string) (address string, freeze func()) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	frozen := make(chan struct{})
	pump := func(dst, src net.Conn) {
		buf := make([]byte, 32<<10)
		for {
			n, err := src.Read(buf)
			select {
			case <-frozen:
				return // neither passed on nor closed
			default:
			}
			if err != nil {
				_ = dst.Close()
				return
			}
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
	}
	go func() {
		in, err := l.Accept()
		if err != nil {
			return
		}
		out, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", to)
		if err != nil {
			return
		}
		go pump(out, in)
		go pump(in, out)
	}()
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String(), func() { close(frozen) }
}

func TestSudoNeedsNoPassword(t *testing.T) {
	s, config := newTestServer(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sudo"), []byte("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.env = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
	config.Sudo = true
	x := dialTest(t, config)
	if err := x.Run(t.Context(), Command{Args: []string{"true"}}); err == nil || !strings.Contains(err.Error(), "a password is required") {
		t.Errorf("run: %v", err)
	}
	if err := x.Put(t.Context(), BytesFile("/nowhere", nil, 0o600)); err == nil || !strings.Contains(err.Error(), "start sftp-server as root with `sudo -n`") {
		t.Errorf("put: %v", err)
	}
}

func TestQuote(t *testing.T) {
	for want, args := range map[string][]string{
		"docker run -p 127.0.0.1:1:2": {"docker", "run", "-p", "127.0.0.1:1:2"},
		`'' 'a b' 'it'\''s' '$x'`:     {"", "a b", "it's", "$x"},
	} {
		if got := Quote(args); got != want {
			t.Errorf("Quote(%q) = %s, want %s", args, got, want)
		}
	}
}

func TestLocalEnvironment(t *testing.T) {
	t.Setenv("ALICLOUD_SECRET_KEY", "canary")
	out, err := Output(t.Context(), Local{}, "env")
	if err != nil || bytes.Contains(out, []byte("canary")) || !bytes.Contains(out, []byte("PATH=")) {
		t.Errorf("%s, %v", out, err)
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var tl tail
	for i := range 3000 {
		_, _ = io.WriteString(&tl, strings.Repeat(string(rune('a'+i%26)), i%7))
	}
	_, _ = io.WriteString(&tl, strings.Repeat("z", 5000)+"end")
	if s := tl.String(); len(s) != tailSize || !strings.HasSuffix(s, "zend") {
		t.Errorf("%d bytes, ending %q", len(s), s[len(s)-10:])
	}
}

// TestSFTPServerEnds has the server of files end while the connection stays.
func TestSFTPServerEnds(t *testing.T) {
	t.Parallel()
	s, config := newTestServer(t)
	x := dialTest(t, config)
	f := BytesFile(filepath.Join(t.TempDir(), "f"), []byte("x"), 0o600)
	if err := x.Put(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	s.endSFTP()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := x.Put(t.Context(), f) // the first may still meet the old session
		if err == nil {
			break
		}
		if !errors.Is(err, ErrConnectionLost) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestOpenSSH goes each way to the real server.
func TestOpenSSH(t *testing.T) {
	t.Parallel()
	sudo := fakeSudo(t)
	d := testhost.StartSSHD(t, "PATH="+sudo+string(os.PathListSeparator)+os.Getenv("PATH"))
	key := mustRead(t, d.KeyFile)
	known := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(known, []byte(knownhosts.Line([]string{d.Address}, mustHostKey(t, d.HostKey))+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	base := SSHConfig{Address: d.Address, User: d.User, HostKeys: []string{d.HostKey}}
	with := func(change func(c *SSHConfig)) SSHConfig { c := base; change(&c); return c }
	byFile := with(func(c *SSHConfig) { c.PrivateKeyFile = d.KeyFile })
	for name, config := range map[string]SSHConfig{
		"key file":    byFile,
		"key":         with(func(c *SSHConfig) { c.PrivateKey = PrivateKey(key) }),
		"agent":       with(func(c *SSHConfig) { c.AgentSocket = startAgent(t, d.KeyFile) }),
		"known hosts": with(func(c *SSHConfig) { c.PrivateKeyFile, c.HostKeys, c.KnownHosts = d.KeyFile, nil, known }),
		"jump host":   with(func(c *SSHConfig) { c.PrivateKeyFile, c.Jump = d.KeyFile, &byFile }),
		"sudo":        with(func(c *SSHConfig) { c.PrivateKeyFile, c.Sudo = d.KeyFile, true }),
	} {
		t.Run(name, func(t *testing.T) {
			x := dialTest(t, config)
			want := "plain\n"
			if config.Sudo {
				want = "by sudo\n"
			}
			if out, err := Output(t.Context(), x, "sh", "-c", `echo "${CC_FAKE_SUDO:-plain}"`); err != nil || string(out) != want {
				t.Errorf("%q, %v", out, err)
			}
			f := BytesFile(filepath.Join(t.TempDir(), "f"), []byte("content"), 0o640)
			f.Secret = true
			if err := x.Put(t.Context(), f); err != nil || string(mustRead(t, f.Path)) != "content" {
				t.Errorf("put: %v", err)
			}
		})
	}
	t.Run("keep-alive", func(t *testing.T) {
		config := byFile
		var freeze func()
		config.Address, freeze = muteProxy(t, d.Address)
		config.KeepAlive = 100 * time.Millisecond
		x := dialTest(t, config)
		if err := x.Run(t.Context(), Command{Args: []string{"sleep", "0.5"}}); err != nil {
			t.Fatalf("a host that answers was given up: %v", err)
		}
		freeze()
		if err := x.Run(t.Context(), Command{Args: []string{"sleep", "20"}}); !errors.Is(err, ErrConnectionLost) {
			t.Errorf("a silent host: %v", err)
		}
	})
}

func mustHostKey(t *testing.T, line string) ssh.PublicKey {
	t.Helper()
	key, err := ParseHostKey(line)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestPrivateKeyIsNotPrinted prints a configuration in every way.
func TestPrivateKeyIsNotPrinted(t *testing.T) {
	t.Parallel()
	c := SSHConfig{PrivateKey: "canary", Jump: &SSHConfig{PrivateKey: "canary"}}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", c.PrivateKey, "config", c)
	text, err := json.Marshal(c)
	all := fmt.Sprintf("%v %+v %#v %s %x %+v %s %s", c, c, c, c.PrivateKey, c.PrivateKey, *c.Jump, text, log.Bytes())
	if err != nil || strings.Contains(all, "canary") || strings.Contains(all, "63616e617279") {
		t.Errorf("%s, %v", all, err)
	}
	c.HostKeys, c.Address = []string{testhost.NewKey(t, filepath.Join(t.TempDir(), "k"))}, "127.0.0.1:1"
	if _, err := DialSSH(t.Context(), c); err == nil || !strings.Contains(err.Error(), "read private key that was given: it is not a private key") || strings.Contains(err.Error(), "canary") {
		t.Errorf("error is %v", err)
	}
}
