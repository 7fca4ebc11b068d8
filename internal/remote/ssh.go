package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// SSHConfig says how a machine is reached. HostKeys or KnownHosts is required.
type SSHConfig struct {
	Address string // host:port
	User    string
	// HostKeys are the host's public keys as ssh-keyscan prints them, without
	// the host name: "ssh-ed25519 AAAA...".
	HostKeys []string
	// KnownHosts is the path of a known_hosts file; unused with HostKeys.
	KnownHosts string
	// PrivateKeyFile is the path of an unencrypted private key.
	PrivateKeyFile string
	// PrivateKey is such a key itself.
	PrivateKey PrivateKey
	// AgentSocket is the path of an agent's socket; empty: no agent.
	AgentSocket string
	// Sudo runs everything as root by way of `sudo -n`.
	Sudo bool
	// Jump is a host in between.
	Jump *SSHConfig
	// ConnectTimeout bounds the connection with its handshake; 0: 30 s.
	ConnectTimeout time.Duration
	// KeepAlive is the time between questions whether the host is still there.
	// A host that leaves one without answer for twice as long is given up.
	// 0: 15 s.
	KeepAlive time.Duration
}

// PrivateKey is a private key in OpenSSH's or PEM form. It prints as a word.
type PrivateKey string

const redacted = "(private key)"

// String implements fmt.Stringer without the key.
func (PrivateKey) String() string { return redacted }

// Format implements fmt.Formatter without the key.
func (PrivateKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText implements encoding.TextMarshaler without the key.
func (PrivateKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer without the key.
func (PrivateKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// SSH is a machine that is reached by SSH.
type SSH struct {
	config SSHConfig
	client *ssh.Client
	under  []func() error // what else is to be closed, such as the jump host's connection
	done   chan struct{}
	closed sync.Once

	mu   sync.Mutex
	sftp *sftp.Client
}

var _ Executor = (*SSH)(nil)

const (
	defaultConnectTimeout = 30 * time.Second
	defaultKeepAlive      = 15 * time.Second
)

// DialSSH connects and authenticates.
func DialSSH(ctx context.Context, c SSHConfig) (*SSH, error) {
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = defaultConnectTimeout
	}
	if c.KeepAlive == 0 {
		c.KeepAlive = defaultKeepAlive
	}
	x := &SSH{config: c, done: make(chan struct{})}
	if err := x.dial(ctx); err != nil {
		_ = x.Close()
		return nil, fmt.Errorf("connect to %s: %w", x, err)
	}
	go x.keepAlive()
	return x, nil
}

// String names the machine.
func (x *SSH) String() string { return x.config.User + "@" + x.config.Address }

func (x *SSH) dial(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, x.config.ConnectTimeout)
	defer cancel()
	config, err := x.clientConfig(ctx)
	if err != nil {
		return err
	}
	raw, err := x.reach(ctx)
	if err != nil {
		return err
	}
	// The handshake knows no context: closing what it reads from ends it.
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	conn, channels, requests, err := ssh.NewClientConn(raw, x.config.Address, config)
	if !stop() && ctx.Err() != nil {
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		_ = raw.Close()
		return explainHandshake(err, x.config)
	}
	x.client = ssh.NewClient(conn, channels, requests)
	return nil
}

// reach opens the TCP connection, directly or from the jump host.
func (x *SSH) reach(ctx context.Context) (net.Conn, error) {
	if x.config.Jump == nil {
		return (&net.Dialer{}).DialContext(ctx, "tcp", x.config.Address)
	}
	jump, err := DialSSH(ctx, *x.config.Jump)
	if err != nil {
		return nil, fmt.Errorf("by way of jump host: %w", err)
	}
	x.under = append(x.under, jump.Close)
	conn, err := jump.client.DialContext(ctx, "tcp", x.config.Address)
	if err != nil {
		return nil, fmt.Errorf("by way of jump host %s: %w", jump, err)
	}
	return conn, nil
}

func (x *SSH) clientConfig(ctx context.Context) (*ssh.ClientConfig, error) {
	check, algorithms, err := hostKeyCheck(x.config)
	if err != nil {
		return nil, err
	}
	sources, err := x.keySources(ctx)
	if err != nil {
		return nil, err
	}
	// One method for all of them: each method is tried once only.
	keys := ssh.PublicKeysCallback(func() (all []ssh.Signer, err error) {
		for _, source := range sources {
			signers, err := source()
			if err != nil {
				return nil, err
			}
			all = append(all, signers...)
		}
		return all, nil
	})
	return &ssh.ClientConfig{
		User: x.config.User, HostKeyCallback: check, HostKeyAlgorithms: algorithms, Auth: []ssh.AuthMethod{keys},
	}, nil
}

// keySources are where keys to authenticate with come from.
func (x *SSH) keySources(ctx context.Context) ([]func() ([]ssh.Signer, error), error) {
	var sources []func() ([]ssh.Signer, error)
	if x.config.PrivateKeyFile != "" {
		signer, err := readPrivateKey(x.config.PrivateKeyFile)
		if err != nil {
			return nil, err
		}
		sources = append(sources, func() ([]ssh.Signer, error) { return []ssh.Signer{signer}, nil })
	}
	if x.config.PrivateKey != "" {
		signer, err := parsePrivateKey([]byte(x.config.PrivateKey), "that was given")
		if err != nil {
			return nil, err
		}
		sources = append(sources, func() ([]ssh.Signer, error) { return []ssh.Signer{signer}, nil })
	}
	if x.config.AgentSocket != "" {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", x.config.AgentSocket)
		if err != nil {
			return nil, fmt.Errorf("ask SSH agent: %w", err)
		}
		x.under = append(x.under, conn.Close)
		sources = append(sources, agent.NewClient(conn).Signers)
	}
	if len(sources) == 0 {
		return nil, errors.New("neither a private key nor an SSH agent is given, so there is nothing to authenticate with")
	}
	return sources, nil
}

func readPrivateKey(path string) (ssh.Signer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read private key: %w", err)
	}
	return parsePrivateKey(data, path)
}

// parsePrivateKey reads a key and overwrites it. Errors repeat nothing of it.
func parsePrivateKey(data []byte, name string) (ssh.Signer, error) {
	defer clear(data)
	signer, err := ssh.ParsePrivateKey(data)
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		return nil, fmt.Errorf("read private key %s: it is protected by a passphrase; add it to an SSH agent (ssh-add) and use that", name)
	case err != nil:
		return nil, fmt.Errorf("read private key %s: it is not a private key in OpenSSH's or PEM form", name)
	}
	return signer, nil
}

// ErrAuthentication is wrapped by the error of a host that does not let the
// user in.
var ErrAuthentication = errors.New("not let in")

// explainHandshake words the failures that an operator meets.
func explainHandshake(err error, c SSHConfig) error {
	if strings.Contains(err.Error(), "unable to authenticate") {
		return fmt.Errorf("%w: %w; is the public key among authorized_keys of user %s there?", ErrAuthentication, err, c.User)
	}
	return err
}

// keepAlive notices a host that has gone without a word.
func (x *SSH) keepAlive() {
	tick := time.NewTicker(x.config.KeepAlive)
	defer tick.Stop()
	for {
		select {
		case <-x.done:
			return
		case <-tick.C:
		}
		answered := make(chan error, 1)
		go func() {
			_, _, err := x.client.SendRequest("keepalive@openssh.com", true, nil)
			answered <- err
		}()
		patience := time.NewTimer(2 * x.config.KeepAlive)
		select {
		case <-x.done:
		case err := <-answered:
			if err != nil {
				_ = x.client.Close()
				patience.Stop()
				return
			}
		case <-patience.C:
			_ = x.client.Close()
			return
		}
		patience.Stop()
	}
}

// Close ends the connection. What uses it fails with [ErrConnectionLost].
func (x *SSH) Close() error {
	x.closed.Do(func() {
		close(x.done)
		if x.client != nil {
			_ = x.client.Close() // a connection that is broken has nothing to say on closing
		}
		for i := len(x.under) - 1; i >= 0; i-- {
			_ = x.under[i]()
		}
	})
	return nil
}
