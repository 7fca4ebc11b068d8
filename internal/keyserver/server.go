package keyserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/admission"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver/configsign"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver/console"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver/earlytcb"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver/protocol"
	"github.com/ccctl/terraform-provider-cc/internal/keysource"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/ratls"
)

// Options are what a server needs beside its configuration.
type Options struct {
	// Log receives a line for every decision; nil discards them.
	Log *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// ConfigKeys are those by one of which configuration files must be signed; nil demands no signature.
	ConfigKeys *configsign.Verifier
	// Stdout receives the entries of the audit log where the configuration asks for that; nil refuses such a configuration.
	Stdout io.Writer
	// Fingerprint makes the name by which a wrap key is shown; nil shows none.
	Fingerprint func(key [wrapKeySize]byte) string
}

// Server releases secrets. Serve may be called once; Close it when Serve has returned.
type Server struct {
	opts    Options
	log     *slog.Logger
	now     func() time.Time
	gate    *admission.Gate
	account *account
	counts  counts
	environ *keysource.Environ
	recent  console.Recent
	early   *earlytcb.Watch
	started time.Time

	pulse      pulse
	conns      sync.WaitGroup
	background sync.WaitGroup

	swap     sync.Mutex    // held while another generation is made and put in force
	replaced chan struct{} // told of a new configuration

	mu      sync.Mutex
	current *generation
	ready   error            // nil: connections are accepted
	address string           // that enclaves connect to; empty before Serve
	refused *console.Refused // the last configuration that was not good; nil after one that was
}

// generation is one configuration in force and who uses it: its secrets are wiped when the last connection that began
// under it has ended.
type generation struct {
	cfg *Config
	*material
	tls     *tls.Config
	loaded  time.Time
	users   int  // guarded by Server.mu
	retired bool // guarded by Server.mu
}

// New loads what the configuration names. The error is a *ConfigError when something in it is wrong.
func New(cfg *Config, opts Options) (*Server, error) {
	return newServer(context.Background(), cfg, opts)
}

// newServer is New that ends with ctx: a command that prints a key may take its time.
func newServer(ctx context.Context, cfg *Config, opts Options) (*Server, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s := &Server{
		opts: opts, log: opts.Log, now: opts.Now,
		gate:  admission.New(cfg.Limits.UnfinishedHandshakes, cfg.Limits.UnfinishedPerAddress),
		ready: errors.New("the server has not started to listen"),
		pulse: defaultPulse, started: opts.Now(), early: earlytcb.New(opts.Log, opts.Now), environ: keysource.NewEnviron(),
		replaced: make(chan struct{}, 1),
	}
	g, err := s.prepare(ctx, cfg, nil)
	if err != nil {
		s.environ.Close()
		return nil, err
	}
	if s.account, err = openAccount(cfg, s); err != nil {
		g.destroy()
		s.environ.Close()
		return nil, err
	}
	s.current = g
	s.early.Use(g.foresight())
	s.counts.ends.Expect(waysToEnd...)
	s.counts.reloads.Expect(reloadResults...)
	s.announce(g)
	if err := s.account.loaded(cfg, nil); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// prepare loads a configuration; old, if any, is the one that it follows.
func (s *Server) prepare(ctx context.Context, cfg *Config, old *generation) (*generation, error) {
	var former *material
	// With a CA file there may be new content under the old name.
	if old != nil && cfg.Collateral == old.cfg.Collateral && cfg.Collateral.CA == "" {
		former = old.material
	}
	loader := &secretLoader{environ: s.environ, fingerprint: s.opts.Fingerprint, now: s.now, former: old}
	loader.fetched = func(name string) time.Time {
		s.mu.Lock()
		defer s.mu.Unlock()
		if care := old.upkeep[name]; care != nil {
			return care.fetched
		}
		return old.loaded
	}
	m, err := loadMaterial(ctx, cfg, &s.opts, loader, former)
	if err != nil {
		return nil, err
	}
	return &generation{cfg: cfg, material: m, tls: m.verifier.ServerConfig(m.certificate), loaded: s.now()}, nil
}

// announce says what is in force, at each start and reload.
func (s *Server) announce(g *generation) {
	for _, w := range g.warnings {
		s.log.Warn("configuration permits more than the strict: " + w)
	}
	for name, care := range g.upkeep {
		if care.failed != nil {
			s.log.Warn("the source of a secret does not give it; its last key stays in force", "secret", name,
				"last_fetched", care.fetched.UTC().Format(time.RFC3339), "error", care.failed)
		}
	}
	for _, r := range g.cfg.Rules {
		s.counts.releases.Expect(r.Name)
		secret := g.secrets[r.Secret]
		s.log.Info("rule in force", "rule", r.Name, "secret", secret.name, "key_fingerprint", secret.fingerprint,
			"encoding", secret.encoding, "tcb_accept", r.TCB.Accept, "allow_debug", r.AllowDebug)
	}
	if by := g.cfg.signature; by != nil {
		s.log.Info("the configuration is signed", "by", by.Signer, "at", by.Time.UTC().Format(time.RFC3339))
	}
	s.log.Info("configuration in force", "file", g.cfg.path, "config_sha256", g.cfg.digest,
		"rules", len(g.cfg.Rules), "secrets", len(g.cfg.Secrets), "certificate_names", names(g.certificate.Leaf),
		"certificate_expires", g.certificate.Leaf.NotAfter.UTC().Format(time.RFC3339))
}

// acquire returns the configuration in force, to be released.
func (s *Server) acquire() *generation {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current.users++
	return s.current
}

func (s *Server) release(g *generation) {
	s.mu.Lock()
	g.users--
	last := g.retired && g.users == 0
	s.mu.Unlock()
	if last {
		g.destroy()
	}
}

// Config is the configuration in force.
func (s *Server) Config() *Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current.cfg
}

// Close wipes the secrets. Call it after Serve has returned.
func (s *Server) Close() {
	s.mu.Lock()
	g := s.current
	retired := g.retired
	g.retired = true
	last := !retired && g.users == 0
	s.mu.Unlock()
	if last {
		g.destroy()
	}
	if !retired {
		s.account.close()
		s.environ.Close()
	}
}

// accept takes connections from l until it is closed.
func (s *Server) accept(ctx, work context.Context, l net.Listener) error {
	delay := time.Duration(0)
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			delay = 0
		case ctx.Err() != nil:
			return nil //nolint:nilerr // The listener was closed because of ctx.
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept connection: %w", err)
		default:
			// Out of file descriptors, or a client that left the queue: neither is a reason to stop.
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			s.log.Warn("accepting a connection failed", "error", err, "retry_in", delay)
			select {
			case <-ctx.Done():
			case <-time.After(delay):
			}
			continue
		}
		g := s.acquire()
		pass := s.gate.Admit(admission.AddressOf(conn.RemoteAddr()), conn)
		s.conns.Go(func() {
			defer s.release(g)
			s.handle(work, g, conn, pass)
		})
	}
}

// drain waits for connections and cuts what is left.
func (s *Server) drain(cut context.CancelFunc) {
	done := make(chan struct{})
	go func() {
		s.conns.Wait()
		close(done)
	}()
	open, _ := s.gate.Count()
	limit := time.Duration(s.Config().Limits.DrainTimeout)
	if open > 0 {
		s.log.Info("stopped listening, letting connections finish", "connections", open, "at_most", limit)
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		open, _ = s.gate.Count()
		s.log.Warn("closing connections that did not finish in time", "connections", open)
		cut()
		<-done
	}
	s.log.Info("stopped")
}

func (s *Server) setReady(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = err
}

// Ready is nil while enclaves are served, and else says why not.
func (s *Server) Ready() error {
	s.mu.Lock()
	err := s.ready
	s.mu.Unlock()
	if err == nil {
		err = s.account.err()
	}
	return err
}

// handle serves one connection to its end.
func (s *Server) handle(work context.Context, g *generation, conn net.Conn, pass *admission.Pass) {
	r := &record{start: s.now(), peer: conn.RemoteAddr().String(), config: g.cfg}
	defer func() {
		if fault := recover(); fault != nil {
			// One client's input must not end the service for all. The trace holds no argument's content.
			s.log.Error("a connection ended in a panic: please report it", "peer", r.peer, "panic", fmt.Sprint(fault), "stack", string(debug.Stack()))
			r.err = errors.New("the server panicked: see its log")
		}
		r.evicted = pass.Release()
		_ = conn.Close()
		r.duration = s.now().Sub(r.start)
		s.remember(r)
		r.log(s.log)
		s.account.ended(r)
		s.counts.ended(r)
	}()
	ctx, cancel := context.WithCancel(work)
	defer cancel()
	// Whoever stops the server, or evicts this connection, closes it; that ends every read and write.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()

	limits := &g.cfg.Limits
	_ = conn.SetDeadline(time.Now().Add(time.Duration(limits.HandshakeTimeout)))
	t := tls.Server(&meter{Conn: conn, left: maxFromClient}, g.tls)
	goOn := s.judge(ctx, g, t, r)
	r.judged = s.now().Sub(r.start)
	_ = conn.SetDeadline(time.Now().Add(time.Duration(limits.RequestTimeout)))
	if !goOn {
		_ = t.Close()
		return
	}
	if err := protocol.ReadRequest(t); err != nil {
		r.err = err
		return
	}
	r.secret = g.secrets[r.decision.Secret]
	if r.err = s.account.release(r); r.err != nil {
		return
	}
	if err := protocol.WriteResponse(t, r.secret.wire); err != nil {
		r.err = err
		return
	}
	r.sent = true
	hangUp(t)
}

// maxFromClient is how much a client may send, in bytes. With two quotes of the largest size in its certificate an enclave sends
// some 20 KiB; crypto/tls alone would let a stranger fill 256 KiB of memory and stall.
const maxFromClient = 64 << 10

var errTooMuch = fmt.Errorf("the client sent more than %d KiB, which no enclave does", maxFromClient>>10)

// meter is a connection that ends when too much has come in.
type meter struct {
	net.Conn

	left int
}

// Read implements net.Conn.
func (m *meter) Read(p []byte) (int, error) {
	if m.left <= 0 {
		return 0, errTooMuch
	}
	n, err := m.Conn.Read(p[:min(len(p), m.left)])
	m.left -= n
	return n, err
}

// hangUp sends close_notify and waits a moment for the client's own: closing the socket under data that was not read
// would reset the connection, and the client might lose what it has not read yet.
func hangUp(t *tls.Conn) {
	if t.CloseWrite() != nil {
		return
	}
	_ = t.SetReadDeadline(time.Now().Add(2 * time.Second))
	_, _ = io.CopyN(io.Discard, t, 4096)
}

// patience bounds how long one connection waits for collateral, whatever the source behind it does.
type patience struct {
	source ratls.CollateralSource
	limit  time.Duration
}

func (p patience) Collateral(ctx context.Context, platform *dcap.Platform) (*dcap.Collateral, error) {
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	c, err := p.source.Collateral(ctx, platform)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("%w (limits.collateral_timeout is %v)", err, p.limit)
	}
	return c, err
}

// judge shakes hands, asks whether the client's evidence is genuine and lets the rules decide. It reports whether the
// connection goes on; if not the record says why.
func (s *Server) judge(ctx context.Context, g *generation, t *tls.Conn, r *record) bool {
	peer, err := g.verifier.Handshake(ctx, t)
	if peer != nil {
		r.serverName, r.tlsVersion, r.evidence = peer.ServerName, tls.VersionName(peer.TLSVersion), peer.Evidence
		r.verdict = peer.Verdict
	}
	switch {
	case err == nil:
	case refusal(err):
		r.refused, r.refusal = true, err
		return false
	default:
		r.err = err
		return false
	}
	r.decision = g.rules.Decide(r.verdict, r.serverName)
	r.refused = !r.decision.Released
	return r.decision.Released
}

// refusal tells a verdict on the client's evidence from a connection that came to nothing.
func refusal(err error) bool {
	var certificate *ratls.Error
	var evidence *dcap.Error
	var collateral *ratls.CollateralError
	return errors.As(err, &certificate) || errors.As(err, &evidence) || errors.As(err, &collateral)
}
