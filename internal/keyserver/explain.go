package keyserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keysource"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/ratls"
)

// ExplainOptions change what an explanation is made with.
type ExplainOptions struct {
	// At is the time to judge for; zero is now.
	At time.Time
	// ServerName is what the enclave would ask for.
	ServerName string
	// Collateral replaces the configuration's source; nil does not.
	Collateral ratls.CollateralSource
}

// Explanation is what a server with some configuration would say of an enclave.
type Explanation struct {
	// Refusal is why there is no verdict: a *dcap.Error when the quote is not genuine, a *ratls.CollateralError when
	// there was nothing to judge it with. Nil when there is a verdict.
	Refusal error
	Verdict *dcap.Verdict
	// Decision holds every check of every rule.
	Decision Decision
}

// Reasons lists why nothing is released; empty when something is.
func (e *Explanation) Reasons() Reasons {
	if e.Refusal == nil && e.Decision.Released {
		return nil
	}
	r := record{refusal: e.Refusal, decision: e.Decision}
	return r.reasons()
}

// Explain judges a quote as a server with that configuration would. It reads no secret and no private key.
func Explain(ctx context.Context, cfg *Config, q *quote.Quote, opts ExplainOptions) (*Explanation, error) {
	now := time.Now
	if !opts.At.IsZero() {
		now = func() time.Time { return opts.At }
	}
	var m material
	var err error
	if cfg.AllowTrustedRoot != "" {
		if m.roots, err = loadRoots(cfg.AllowTrustedRoot); err != nil {
			return nil, err
		}
	}
	if opts.Collateral != nil {
		m.source = opts.Collateral
	} else if err := m.openSource(&cfg.Collateral, &Options{Now: now}); err != nil {
		return nil, err
	}
	defer m.destroy()
	rules, err := NewRules(cfg)
	if err != nil {
		return nil, err
	}
	verifier, err := ratls.NewVerifier(ratls.VerifierOptions{
		Collateral: patience{m.source, time.Duration(cfg.Limits.CollateralTimeout)}, Roots: m.roots, Now: now,
	})
	if err != nil {
		return nil, err
	}
	verdict, err := verifier.Verify(ctx, &ratls.Evidence{Quote: q})
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, fmt.Errorf("verify quote: %w", context.Cause(ctx))
	case refusal(err):
		return &Explanation{Refusal: err}, nil
	default:
		return nil, err
	}
	return &Explanation{Verdict: verdict, Decision: rules.Explain(verdict, opts.ServerName)}, nil
}

// CheckConfig reads a configuration file and everything it names, as a server would before it listens, and returns what
// the server would warn of. The error is a *ConfigError with every problem, unless the file cannot be read.
func CheckConfig(path string, opts Options) (*Config, []string, error) {
	cfg, err := LoadSignedConfig(path, opts.ConfigKeys)
	if err != nil {
		return nil, nil, err
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	environ := keysource.NewEnviron()
	defer environ.Close()
	m, err := loadMaterial(context.Background(), cfg, &opts, environ, nil)
	if err != nil {
		return nil, nil, err
	}
	warnings := m.warnings
	m.destroy()
	return cfg, warnings, nil
}

// IsUnreachable reports whether an explanation failed for want of collateral, and not because of the enclave.
func (e *Explanation) IsUnreachable() bool {
	var collateral *ratls.CollateralError
	return errors.As(e.Refusal, &collateral)
}
