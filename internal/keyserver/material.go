package keyserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/console"
	"github.com/ccctl/terraform-provider-cc/internal/keyserver/earlytcb"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/pccs"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/ratls"
)

// maxPEM bounds certificate and key files, in bytes.
const maxPEM = 1 << 20

// material is what a configuration names, loaded and checked.
type material struct {
	certificate tls.Certificate
	verifier    *ratls.Verifier
	roots       []*x509.Certificate // nil: Intel's
	source      ratls.CollateralSource
	cache       *pccs.Cache // nil when the source is a file
	early       *pccs.Cache // of the early set; nil when there is none to compare with
	ownsCache   bool        // whether destroy closes it; guarded by Server.mu
	secrets     map[string]*Secret
	upkeep      map[string]*upkeep // of those that are asked for again and again; guarded by Server.mu
	rules       *Rules
	admin       *tls.Config // of the administrative listener; nil: it speaks no TLS
	warnings    []string
}

// loadMaterial opens every file that the configuration names. The error is a *ConfigError with everything that is wrong.
// The caches of the former material, if it is given, serve on: collateral does not change with the rules.
func loadMaterial(ctx context.Context, c *Config, opts *Options, loader *secretLoader, former *material) (*material, error) {
	m := &material{secrets: map[string]*Secret{}, upkeep: map[string]*upkeep{}, warnings: c.Warnings()}
	var k checker
	note := func(field string, err error) {
		if err != nil {
			k.add(field, "", "%v", err)
			k.problems[len(k.problems)-1].Err = err
		}
	}
	var err error
	m.certificate, err = loadCertificate(&c.TLS, opts.Now())
	note("tls", err)
	if left := m.certificate.Leaf; left != nil && left.NotAfter.Sub(opts.Now()) < 14*24*time.Hour {
		m.warnings = append(m.warnings, fmt.Sprintf("the server's certificate expires on %s; clients refuse it after that",
			left.NotAfter.UTC().Format(time.RFC3339)))
	}
	if c.AllowTrustedRoot != "" {
		m.roots, err = loadRoots(c.AllowTrustedRoot)
		note("allow_trusted_root", err)
	}
	failed := loader.load(ctx, c, m)
	for _, i := range slices.Sorted(maps.Keys(failed)) {
		note(fmt.Sprintf("secrets[%d].%s", i, c.Secrets[i].sources()[0]), failed[i])
	}
	if c.Admin != nil && c.Admin.TLS != nil {
		m.admin, err = loadAdminTLS(c.Admin.TLS, opts.Now())
		note("admin.tls", err)
	}
	m.rules, err = NewRules(c)
	note("rules", err)
	if former != nil && former.cache != nil {
		m.cache, m.source, m.early = former.cache, former.cache, former.early
	} else {
		note("collateral", m.openSource(&c.Collateral, opts))
	}
	if len(k.problems) == 0 {
		verify := ratls.VerifierOptions{
			Collateral: patience{m.source, time.Duration(c.Limits.CollateralTimeout)}, Roots: m.roots, Now: opts.Now,
		}
		if m.cache != nil {
			verify.Doubt = m.cache.Doubt
		}
		m.verifier, err = ratls.NewVerifier(verify)
		note("allow_trusted_root", err)
	}
	if len(k.problems) > 0 {
		m.destroy()
		return nil, &ConfigError{Path: c.path, Problems: k.problems}
	}
	return m, nil
}

// destroy wipes the secrets and ends background work.
func (m *material) destroy() {
	for _, s := range m.secrets {
		s.destroy()
	}
	if m.ownsCache {
		m.cache.Close()
		if m.early != nil {
			m.early.Close()
		}
	}
}

func (m *material) openSource(c *CollateralConfig, opts *Options) error {
	if c.Bundle != "" {
		f, err := os.Open(c.Bundle) //nolint:gosec // The operator names the file.
		if err != nil {
			return fmt.Errorf("open collateral file: %w", err)
		}
		defer func() { _ = f.Close() }()
		bundle, err := pccs.ReadBundle(f)
		if err != nil {
			return fmt.Errorf("%w (%s)", err, c.Bundle)
		}
		m.source = bundle
		return nil
	}
	client := pccs.ClientOptions{URL: c.URL, RootCACRLURL: c.RootCACRLURL, Update: pccs.Update(c.Update)}
	if c.Region != "" {
		var err error
		if client.URL, err = pccs.AlibabaURL(c.Region, pccs.Network(c.Network)); err != nil {
			return err
		}
	}
	if c.CA != "" {
		raw, err := readSmall(c.CA)
		if err != nil {
			return err
		}
		client.Roots = x509.NewCertPool()
		if !client.Roots.AppendCertsFromPEM(raw) {
			return fmt.Errorf("read %s: it holds no PEM certificate", c.CA)
		}
	}
	cl, err := pccs.NewClient(client)
	if err != nil {
		return err
	}
	m.cache, err = pccs.NewCache(cl, pccs.CacheOptions{Dir: c.CacheDir, Log: opts.Log, Now: opts.Now})
	if err != nil {
		return err
	}
	m.source, m.ownsCache = m.cache, true
	if client.Update == pccs.UpdateEarly {
		return nil
	}
	client.Update, client.Attempts = pccs.UpdateEarly, 1
	if cl, err = pccs.NewClient(client); err == nil {
		// In memory alone: a directory does not tell the two sets apart.
		m.early, err = pccs.NewCache(cl, pccs.CacheOptions{Now: opts.Now})
	}
	if err != nil {
		m.cache.Close()
		m.ownsCache = false
	}
	return err
}

// earlySource has the levels of the early set, and the CRLs of the standard one, which are the same.
type earlySource struct{ standard, early *pccs.Cache }

func (s earlySource) Collateral(ctx context.Context, p *dcap.Platform) (*dcap.Collateral, error) {
	c, err := s.standard.Collateral(ctx, p)
	if err != nil {
		return nil, err
	}
	levels, err := s.early.Levels(ctx, p)
	if err != nil {
		return nil, err
	}
	c.TCBInfo, c.TCBInfoIssuerChain = levels.TCBInfo, levels.TCBInfoIssuerChain
	c.QEIdentity, c.QEIdentityIssuerChain = levels.QEIdentity, levels.QEIdentityIssuerChain
	return c, nil
}

// foresight is what the early warning compares platforms under.
func (m *material) foresight() earlytcb.Setup {
	setup := earlytcb.Setup{
		Roots: m.roots, Explain: func(err error) console.Reason { return console.Reason(evidenceReason(err)) },
		Judge: func(v *dcap.Verdict, serverName string) earlytcb.Judgement {
			d := m.rules.Decide(v, serverName)
			j := earlytcb.Judgement{Released: d.Released, Rule: d.Rule}
			if !d.Released {
				j.Reasons = consoleReasons((&record{decision: d}).reasons())
			}
			return j
		},
	}
	switch {
	case m.early != nil:
		setup.Source = earlySource{standard: m.cache, early: m.early}
	case m.cache != nil:
		setup.Off = "the early set is in force: nothing stricter is known (collateral.update)"
	default:
		setup.Off = "no early set is at hand: collateral comes from a file"
	}
	return setup
}

func readSmall(path string) ([]byte, error) {
	raw, err := readUpTo(path, maxPEM)
	var failed *fs.PathError
	if errors.As(err, &failed) && failed.Op == "open" {
		return nil, fmt.Errorf("open file: %w", err)
	}
	return raw, err
}

// readUpTo reads a file of no more than so many bytes.
func readUpTo(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // The operator names the file.
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("read %s: it is longer than %d bytes", path, limit)
	}
	return raw, nil
}

func loadRoots(path string) ([]*x509.Certificate, error) {
	raw, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	roots, err := dcap.ParseRoots(raw)
	if err != nil {
		return nil, fmt.Errorf("read trust root %s: %w", path, err)
	}
	return roots, nil
}

func loadAdminTLS(c *AdminTLSConfig, now time.Time) (*tls.Config, error) {
	var files [3][]byte
	for i, path := range []string{c.Certificate, c.PrivateKey, c.ClientCA} {
		var err error
		if files[i], err = readSmall(path); err != nil {
			return nil, err
		}
	}
	defer clear(files[1])
	return console.TLSConfig(files[0], files[1], files[2], now)
}

// loadCertificate reads the server's chain and key and refuses what no Gramine client would accept.
func loadCertificate(c *TLSConfig, now time.Time) (tls.Certificate, error) {
	fail := func(err error) (tls.Certificate, error) {
		return tls.Certificate{}, fmt.Errorf("load server certificate %s: %w", c.Certificate, err)
	}
	chain, err := readSmall(c.Certificate)
	if err != nil {
		return fail(err)
	}
	key, err := readSmall(c.PrivateKey)
	if err != nil {
		return fail(err)
	}
	defer clear(key)
	cert, err := tls.X509KeyPair(chain, key)
	if err != nil {
		// Its texts name PEM block types and never repeat content.
		return fail(fmt.Errorf("with private key %s: %w", c.PrivateKey, err))
	}
	leaf := cert.Leaf
	switch pub := leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		if pub.N.BitLen() < 2048 {
			return fail(fmt.Errorf("its RSA key has %d bits; clients want at least 2048", pub.N.BitLen()))
		}
	case *ecdsa.PublicKey:
	default:
		return fail(fmt.Errorf("its key is of type %T; Gramine's TLS library knows RSA and ECDSA only", leaf.PublicKey))
	}
	switch {
	case now.After(leaf.NotAfter):
		return fail(fmt.Errorf("it expired on %s and every client refuses it; renew it", leaf.NotAfter.UTC().Format(time.RFC3339)))
	case now.Before(leaf.NotBefore):
		return fail(fmt.Errorf("it is valid from %s only, and it is %s by this machine's clock",
			leaf.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)))
	case len(leaf.DNSNames) == 0 && len(leaf.IPAddresses) == 0:
		return fail(errors.New("it has no subject alternative name"))
	}
	return cert, nil
}
