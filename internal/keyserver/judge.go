package keyserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/ratls"
)

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
	if peer != nil && s.doubt(g, peer.Evidence, err) {
		r.verdict, err = g.verifier.Verify(ctx, peer.Evidence)
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

// doubt reports whether it is worth verifying once more, with fresh collateral, because what was cached is not good. A
// lying or broken service must not lock out a platform until the next regular refresh.
func (s *Server) doubt(g *generation, evidence *ratls.Evidence, err error) bool {
	var failure *dcap.Error
	if g.cache == nil || !errors.As(err, &failure) {
		return false
	}
	switch failure.Stage {
	case dcap.StageRootCRL, dcap.StagePCKCRL, dcap.StageTCBInfo, dcap.StageQEIdentity:
	default:
		return false
	}
	platform, err := dcap.CheckEvidence(evidence.Quote, dcap.VerifyOptions{At: s.now(), Roots: g.roots})
	return err == nil && g.cache.Doubt(platform)
}
