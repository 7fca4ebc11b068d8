package keyserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/configsign"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver/console"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver/statefile"
)

// State is what a running server says of itself in its state file.
type State = statefile.State

// Status is the account that a running server gives of itself, as its admin listener has it under /status.
type Status = console.Status

// ReadState reads a state file: nil when no server holds it, PID 0 when the server that does is not ready yet.
func ReadState(path string) (*State, error) { return statefile.Read(path) }

// RunOptions are what a server process needs beside its configuration.
type RunOptions struct {
	Options

	// StateFile is where the process says where it is; empty: nowhere.
	StateFile string
	// Version goes into the state file.
	Version string
	// Reload asks for the configuration to be read again; nil: never. A changed file is noticed without it.
	Reload <-chan os.Signal
	// WatchInterval is how often files are looked at; 3 seconds unless given.
	WatchInterval time.Duration
}

// Run serves a configuration file until ctx ends, and then drains. It returns an error when it cannot start, and nil
// after a clean stop.
func Run(ctx context.Context, configPath string, opts RunOptions) (err error) {
	var state *statefile.File
	if opts.StateFile != "" {
		// First of all: when another server holds it, nothing of this one shall come to life.
		if state, err = statefile.Create(opts.StateFile); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, state.Close()) }()
	}
	cfg, err := LoadSignedConfig(configPath, opts.ConfigKeys)
	if err != nil {
		return err
	}
	// Before they are read: what changes from now on is noticed.
	watched := watch{seen: stamp(filesOf(cfg, configPath, opts.ConfigKeys != nil))}
	s, err := newServer(ctx, cfg, opts.Options)
	if err != nil {
		return err
	}
	defer s.Close()
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen for enclaves: %w", err)
	}
	defer func() { _ = l.Close() }()
	report := State{
		PID: os.Getpid(), Started: s.now().UTC(), ConfigSHA256: cfg.digest, Listen: l.Addr().String(), Version: opts.Version,
	}
	if cfg.Admin != nil {
		al, err := lc.Listen(ctx, "tcp", cfg.Admin.Listen)
		if err != nil {
			return fmt.Errorf("listen for administration: %w", err)
		}
		report.Admin, report.AdminTLS = al.Addr().String(), cfg.Admin.TLS != nil
		stop := s.serveAdmin(al, opts.Version)
		defer stop()
	}
	if cfg.Health != nil {
		hl, err := lc.Listen(ctx, "tcp", cfg.Health.Listen)
		if err != nil {
			return fmt.Errorf("listen for health checks: %w", err)
		}
		report.Health = hl.Addr().String()
		stop := console.ServeHealth(hl, s.Ready, s.log)
		defer stop()
	}
	told := true
	tell := func() {
		if state == nil {
			return
		}
		err := state.Write(report)
		if err != nil && told { // once: it is tried again and again
			s.log.Error("the state file cannot be written; who looks for this server by it will not find it", "error", err)
		}
		told = err == nil
	}
	tell()
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	if opts.WatchInterval <= 0 {
		opts.WatchInterval = 3 * time.Second
	}
	tick := time.NewTicker(opts.WatchInterval)
	defer tick.Stop()
	for {
		select {
		case err := <-served:
			return err
		case <-opts.Reload:
		case <-tick.C:
			if !told {
				tell()
			}
			if !watched.changed(stamp(s.files(configPath))) {
				continue
			}
			s.log.Info("the configuration, or a file that it names, has changed")
		}
		// Before they are read: what changes while they are is looked at again.
		files := s.files(configPath)
		watched.seen = stamp(files)
		if s.reload(ctx, configPath) == nil {
			report.ConfigSHA256 = s.Config().digest
			tell()
		}
		if now := s.files(configPath); !slices.Equal(now, files) {
			watched.seen = stamp(now)
		}
	}
}

// serveAdmin answers operators on l until the returned function is called.
func (s *Server) serveAdmin(l net.Listener, version string) (stop func()) {
	handler := console.Handler(console.Options{
		Ready: s.Ready, Metrics: s.WriteMetrics, Recent: &s.recent, Started: s.started.UTC(),
		Status: func() *console.Status {
			status := s.Status()
			status.Version = version
			return status
		},
		Names: func() []string { return s.Config().Admin.ServerNames },
	})
	var secure func() *tls.Config
	if s.Config().Admin.TLS != nil {
		secure = func() *tls.Config {
			g := s.acquire()
			defer s.release(g)
			return g.admin
		}
	}
	return console.Serve(l, handler, secure, s.log)
}

// files are those whose change calls for reading the configuration again.
func (s *Server) files(path string) []string {
	return filesOf(s.Config(), path, s.opts.ConfigKeys != nil)
}

func filesOf(c *Config, path string, signed bool) []string {
	files := []string{path, c.TLS.Certificate, c.TLS.PrivateKey, c.Collateral.CA, c.Collateral.Bundle, c.AllowTrustedRoot}
	if signed {
		files = append(files, path+configsign.Extension)
	}
	for i := range c.Secrets {
		files = append(files, c.source(&c.Secrets[i], nil).Files()...)
	}
	if c.Admin != nil && c.Admin.TLS != nil {
		files = append(files, c.Admin.TLS.Certificate, c.Admin.TLS.PrivateKey, c.Admin.TLS.ClientCA)
	}
	return slices.DeleteFunc(files, func(f string) bool { return f == "" })
}

// stamp tells states of files apart without reading them: where a name leads, for Kubernetes replaces mounted files by
// changing a symbolic link above them, how long the file is and when it changed.
func stamp(files []string) string {
	var b strings.Builder
	for _, file := range files {
		target, err := filepath.EvalSymlinks(file)
		if err == nil {
			var info os.FileInfo
			if info, err = os.Stat(target); err == nil {
				fmt.Fprintf(&b, "%s %d %d\n", target, info.Size(), info.ModTime().UnixNano())
			}
		}
		if err != nil {
			fmt.Fprintf(&b, "%s %v\n", file, err)
		}
	}
	return b.String()
}

// watch notices a change once it has lasted from one look to the next, so that files which are written one after the
// other, such as a certificate and its key, are read together.
type watch struct{ seen, pending string }

func (w *watch) changed(now string) bool {
	settled := now != w.seen && now == w.pending
	w.pending = now
	if settled {
		w.seen = now
	}
	return settled
}

// reload reads the configuration file again.
func (s *Server) reload(ctx context.Context, path string) error {
	cfg, err := LoadSignedConfig(path, s.opts.ConfigKeys)
	if err == nil {
		err = s.replace(ctx, cfg)
	}
	if err != nil && ctx.Err() != nil {
		return err // the server is stopping, and nothing is wrong with the configuration
	}
	if err != nil {
		s.counts.reloads.Inc("refused")
		s.mu.Lock()
		s.refused = &console.Refused{Time: s.now().UTC(), Error: err.Error()}
		s.mu.Unlock()
		if aerr := s.account.loaded(nil, err); aerr != nil {
			err = errors.Join(err, aerr)
		}
		s.log.Error("the new configuration is not good; the old one stays in force", "error", err,
			"config_sha256_in_force", s.Config().digest)
		return err
	}
	s.counts.reloads.Inc("in force")
	return nil
}

// Reload puts another configuration in force. After an error the old one is, unchanged. Connections that began under the
// old one end under it; its secrets are wiped after the last of them.
func (s *Server) Reload(cfg *Config) error { return s.replace(context.Background(), cfg) }

func (s *Server) replace(ctx context.Context, cfg *Config) error {
	s.swap.Lock()
	defer s.swap.Unlock()
	old := s.acquire()
	defer s.release(old)
	var k checker
	const remedy = "restart the server"
	if cfg.Listen != old.cfg.Listen {
		k.add("listen", remedy, "changed from %s to %s", old.cfg.Listen, cfg.Listen)
	}
	if admin(cfg) != admin(old.cfg) {
		k.add("admin", remedy, "changed from %s to %s", admin(old.cfg), admin(cfg))
	}
	if !same(cfg.Health, old.cfg.Health) {
		k.add("health", remedy, "changed")
	}
	if !same(cfg.Audit, old.cfg.Audit) {
		k.add("audit", remedy, "changed")
	}
	if len(k.problems) > 0 {
		return &ConfigError{Path: cfg.path, Problems: k.problems}
	}
	g, err := s.prepare(ctx, cfg, old)
	if err != nil {
		return err
	}
	// A configuration that cannot be accounted for does not come into force.
	if err := s.account.loaded(cfg, nil); err != nil {
		g.destroy()
		return err
	}
	s.mu.Lock()
	old.retired = true
	if g.cache == old.cache {
		old.ownsCache, g.ownsCache = false, old.ownsCache
	}
	s.current, s.refused = g, nil
	s.mu.Unlock()
	s.environ.Retain(func(name string) bool {
		return slices.ContainsFunc(cfg.Secrets, func(c SecretConfig) bool { return c.Environment == name })
	})
	select {
	case s.replaced <- struct{}{}:
	default:
	}
	s.early.Use(g.foresight())
	s.gate.SetLimits(cfg.Limits.UnfinishedHandshakes, cfg.Limits.UnfinishedPerAddress)
	s.announce(g)
	return nil
}

func same[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

func admin(c *Config) string {
	if c.Admin == nil {
		return "none"
	}
	if c.Admin.TLS != nil {
		return c.Admin.Listen + " with TLS"
	}
	return c.Admin.Listen
}
