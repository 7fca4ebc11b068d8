package keyserver

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// DefaultRefresh is how often a service that keeps a secret is asked again.
const DefaultRefresh = 5 * time.Minute

const (
	// minRefresh bounds refresh from below.
	minRefresh = time.Second
	// maxRetry is how long after a failure the next attempt is made at the latest.
	maxRetry = 30 * time.Second
)

// upkeep is how a secret is kept up with its source. It is guarded by Server.mu once it is in force.
type upkeep struct {
	every   time.Duration
	next    time.Time // when the source is asked again
	fetched time.Time // when it answered last
	failed  error     // why it did not since; nil when it did
}

// refreshEvery is the interval; 0: never.
func (s *SecretConfig) refreshEvery() time.Duration {
	if s.Refresh == 0 && len(s.services()) > 0 {
		return DefaultRefresh
	}
	return time.Duration(s.Refresh)
}

// spread is d or up to a tenth less, so that many servers do not ask together.
func spread(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d - rand.N(d/10+1) //nolint:gosec // Spreads load; nobody gains by guessing it.
}

func retryAfter(every time.Duration) time.Duration { return spread(min(every, maxRetry)) }

// keepUp asks the sources of secrets again until ctx ends. A source that fails leaves its last key in force, for as long as
// it fails: a key does not grow old, and enclaves that were served yesterday shall be served while Vault is being repaired.
// What is withdrawn is withdrawn by the configuration.
func (s *Server) keepUp(ctx context.Context) {
	for {
		g := s.acquire()
		next := s.refresh(ctx, g)
		s.release(g)
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-s.replaced:
			timer.Stop()
		}
	}
}

// refresh asks the sources whose time has come, puts other keys in force, and tells when to come again.
func (s *Server) refresh(ctx context.Context, g *generation) time.Time {
	fresh := map[string]*Secret{}
	for i := range g.cfg.Secrets {
		conf := &g.cfg.Secrets[i]
		care := g.upkeep[conf.Name]
		if care == nil || !s.due(care) {
			continue
		}
		source := g.cfg.source(conf, s.environ)
		secret, err := loadSecret(ctx, conf, source, s.opts.Fingerprint)
		if ctx.Err() != nil {
			if secret != nil {
				secret.destroy()
			}
			break
		}
		s.noteRefresh(conf.Name, source.String(), care, err)
		if err != nil {
			continue
		}
		if bytes.Equal(secret.wire, g.secrets[conf.Name].wire) { // both are ours: nobody measures the time
			secret.destroy()
			continue
		}
		fresh[conf.Name] = secret
	}
	if len(fresh) > 0 {
		s.renew(g, fresh)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := time.Now().Add(time.Hour)
	for _, care := range g.upkeep {
		if care.next.Before(next) {
			next = care.next
		}
	}
	return next
}

func (s *Server) due(care *upkeep) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !time.Now().Before(care.next)
}

// noteRefresh writes down how a refresh went, and says so when it went otherwise than the one before.
func (s *Server) noteRefresh(name, source string, care *upkeep, err error) {
	s.mu.Lock()
	before, fetched := care.failed, care.fetched
	care.failed = err
	if err == nil {
		care.fetched, care.next = s.now(), time.Now().Add(spread(care.every))
	} else {
		care.next = time.Now().Add(retryAfter(care.every))
	}
	s.mu.Unlock()
	switch {
	case err != nil:
		s.counts.refreshes.Inc(name)
		if before == nil || before.Error() != err.Error() {
			s.log.Warn("the source of a secret does not give it; its last key stays in force", "secret", name, "source", source,
				"last_fetched", fetched.UTC().Format(time.RFC3339), "error", err)
		}
	case before != nil:
		s.log.Info("the source of a secret gives it again", "secret", name, "source", source)
	}
}

// renew puts other keys in force under the same configuration. Connections that began before end with the former keys, which
// are wiped after the last of them.
func (s *Server) renew(g *generation, fresh map[string]*Secret) {
	s.swap.Lock()
	defer s.swap.Unlock()
	m := *g.material
	m.ownsCache, m.secrets = false, map[string]*Secret{}
	for name, secret := range g.secrets {
		if fresh[name] == nil {
			m.secrets[name] = secret.copy()
		}
	}
	for name, secret := range fresh {
		m.secrets[name] = secret
	}
	s.mu.Lock()
	late := s.current != g
	s.mu.Unlock()
	if late { // a reload, which has read them all afresh
		m.destroy()
		return
	}
	// A key that cannot be accounted for does not come into force.
	for name, secret := range fresh {
		if err := s.account.refreshed(g.cfg, g.secrets[name], secret); err != nil {
			s.log.Error("another key of a secret does not come into force: the audit log cannot be written", "secret", name, "error", err)
			m.destroy()
			return
		}
	}
	next := &generation{cfg: g.cfg, material: &m, tls: g.tls, loaded: g.loaded}
	s.mu.Lock()
	g.retired = true
	g.ownsCache, next.ownsCache = false, g.ownsCache
	s.current = next
	s.mu.Unlock()
	for name, secret := range fresh {
		s.log.Info("another key of a secret is in force", "secret", name, "key_fingerprint", secret.fingerprint, "former_key_fingerprint", g.secrets[name].fingerprint)
	}
}

// staleSecrets tells of the secrets whose sources do not give them at present.
func (s *Server) staleSecrets(g *generation) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, name := range slices.Sorted(maps.Keys(g.upkeep)) {
		if care := g.upkeep[name]; care.failed != nil {
			all = append(all, fmt.Sprintf("secret %q is in force as it was fetched on %s: %v", name, care.fetched.UTC().Format(time.RFC3339), care.failed))
		}
	}
	return all
}
