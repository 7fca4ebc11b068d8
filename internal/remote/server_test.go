package remote

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/ccctl/terraform-provider-cc/internal/testhost"
)

// testServer is an SSH server in this process: fast to start, and with a
// connection that can be cut.
type testServer struct {
	t       *testing.T
	hostKey string
	config  *ssh.ServerConfig
	env     []string

	mu      sync.Mutex
	conns   []net.Conn
	files   []io.Closer
	address string
}

func newTestServer(t *testing.T) (*testServer, SSHConfig) {
	t.Helper()
	keyFile := filepath.Join(t.TempDir(), "id")
	authorized := testhost.NewKey(t, keyFile)
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	s := &testServer{t: t, hostKey: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))}
	s.config = &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) != authorized {
			return nil, errors.New("not authorized")
		}
		return &ssh.Permissions{}, nil
	}}
	s.config.AddHostKey(signer)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, conn)
			s.mu.Unlock()
			go s.serve(conn)
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		s.cut()
	})
	return s, SSHConfig{Address: s.address, User: "tester", HostKeys: []string{s.hostKey}, PrivateKeyFile: keyFile}
}

// cut breaks every connection.
func (s *testServer) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

// endSFTP ends the sessions for files.
func (s *testServer) endSFTP() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.files {
		_ = c.Close()
	}
}

func (s *testServer) serve(raw net.Conn) {
	_, channels, requests, err := ssh.NewServerConn(raw, s.config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		switch c.ChannelType() {
		case "session":
			ch, reqs, err := c.Accept()
			if err == nil {
				go s.session(ch, reqs)
			}
		case "direct-tcpip":
			go forward(c)
		default:
			_ = c.Reject(ssh.UnknownChannelType, "no")
		}
	}
}

func forward(c ssh.NewChannel) {
	var to struct {
		Host       string
		Port       uint32
		Origin     string
		OriginPort uint32
	}
	_ = ssh.Unmarshal(c.ExtraData(), &to)
	conn, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", net.JoinHostPort(to.Host, fmt.Sprint(to.Port)))
	if err != nil {
		_ = c.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	ch, reqs, err := c.Accept()
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs)
	go func() { _, _ = io.Copy(conn, ch); _ = conn.Close() }()
	_, _ = io.Copy(ch, conn)
	_ = ch.Close()
}

func (s *testServer) session(ch ssh.Channel, reqs <-chan *ssh.Request) {
	var cmd *exec.Cmd
	for req := range reqs {
		switch req.Type {
		case "subsystem":
			_ = req.Reply(true, nil)
			server, err := sftp.NewServer(ch)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.files = append(s.files, ch)
			s.mu.Unlock()
			go func() { _ = server.Serve(); _ = ch.Close() }()
		case "exec":
			line := string(req.Payload[4:])
			cmd = exec.Command("/bin/sh", "-c", line)
			cmd.Env = append(os.Environ(), s.env...)
			cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			in, err := cmd.StdinPipe()
			if err == nil {
				err = cmd.Start()
			}
			_ = req.Reply(err == nil, nil)
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(in, ch); _ = in.Close() }()
			go wait(ch, cmd)
		case "signal":
			if cmd != nil {
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
			}
		default:
			_ = req.Reply(false, nil)
		}
	}
}

func wait(ch ssh.Channel, cmd *exec.Cmd) {
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if name := endingSignal(exit.ProcessState); name != "" {
			_, _ = ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
				Signal string
				Core   bool
				Text   string
				Lang   string
			}{Signal: name}))
			_ = ch.Close()
			return
		}
	}
	status := make([]byte, 4)
	binary.BigEndian.PutUint32(status, uint32(cmd.ProcessState.ExitCode()))
	_, _ = ch.SendRequest("exit-status", false, status)
	_ = ch.Close()
}
