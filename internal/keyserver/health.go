package keyserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/metrics"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/pccs"
)

// pulse is how the server watches its own ability to verify.
type pulse struct {
	every    time.Duration // between looks while all is well
	again    time.Duration // between looks while it is not
	patience time.Duration // how long it may be unable before it says so by not listening
}

var defaultPulse = pulse{every: time.Minute, again: 15 * time.Second, patience: time.Minute}

// ability reports why no quote of any platform can be verified: the QE identity or the root CA's CRL are gone beyond
// their validity, or beyond the configuration's max_age. Nothing of a single platform counts here.
func (g *generation) ability(ctx context.Context, now time.Time) error {
	if g.cache != nil {
		if err := g.cache.Warm(ctx); err != nil {
			return err
		}
	}
	maxAge := time.Duration(g.cfg.Collateral.MaxAge)
	for _, d := range g.documents() {
		switch {
		case d.Kind != pccs.KindQEIdentity && d.Kind != pccs.KindRootCACRL:
		case !now.Before(d.Expires):
			return fmt.Errorf("the %s expired on %s", d.Document, d.Expires.UTC().Format(time.RFC3339))
		case d.Kind == pccs.KindQEIdentity && now.Sub(d.Issued) > maxAge:
			return fmt.Errorf("the %s was issued on %s, longer ago than collateral.max_age allows (%v)",
				d.Document, d.Issued.UTC().Format(time.RFC3339), maxAge)
		}
	}
	return nil
}

// monitor sends an error when the server has been unable to verify anybody for too long, and nil when it is able again.
func (s *Server) monitor(ctx context.Context, health chan<- error) {
	var since time.Time // of the inability
	told := false
	for {
		g := s.acquire()
		err := g.ability(ctx, s.now())
		s.release(g)
		if ctx.Err() != nil {
			return
		}
		wait := s.pulse.every
		var tell bool
		if err == nil {
			tell, since = told, time.Time{}
		} else {
			wait = s.pulse.again
			if since.IsZero() {
				since = time.Now()
				s.log.Warn("no enclave can be verified at present", "error", err)
			}
			tell = !told && time.Since(since) >= s.pulse.patience
		}
		if tell {
			told = err != nil
			select {
			case health <- err:
			case <-ctx.Done():
				return
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// counts is what the server counts of itself.
type counts struct {
	releases, refusals, ends, reloads metrics.Counter
	verdicts                          metrics.Histogram
}

// ended counts a connection.
func (c *counts) ended(r *record) {
	switch {
	case r.sent:
		c.releases.Inc(r.decision.Rule)
	case r.refused:
		c.refusals.Inc(r.reasons()[0].Check)
	case r.evicted:
		c.ends.Inc("evicted")
	case r.decision.Released:
		c.ends.Inc("secret not sent")
	default:
		c.ends.Inc("no verdict")
	}
	if r.sent || r.refused {
		c.verdicts.Observe(r.judged)
	}
}

// WriteMetrics writes what Prometheus reads. No label has more values than rules, checks or kinds of documents there are,
// and none names an enclave or a key.
func (s *Server) WriteMetrics(out io.Writer) error {
	g := s.acquire()
	defer s.release(g)
	w := metrics.NewWriter(out)
	const prefix = "cc_keyserver_"
	w.Counter(prefix+"releases_total", "Secrets sent, by rule. The protocol has no acknowledgement.", "rule", &s.counts.releases)
	w.Counter(prefix+"refusals_total", "Enclaves refused, by the first failed check of the rule that came closest.", "check", &s.counts.refusals)
	w.Counter(prefix+"connections_ended_total", "Connections that ended with neither secret nor refusal, by how.", "how", &s.counts.ends)
	w.Counter(prefix+"config_reloads_total", "Configurations that were read again, by result.", "result", &s.counts.reloads)
	w.Histogram(prefix+"verdict_seconds", "Time from accepting a connection to its verdict.", &s.counts.verdicts)
	open, _ := s.gate.Count()
	w.Gauge(prefix+"connections_open", "Connections that are open.", float64(open))
	ready := 1.0
	if s.Ready() != nil {
		ready = 0
	}
	w.Gauge(prefix+"ready", "1 while enclaves are served.", ready)
	w.Gauge(prefix+"certificate_expiry_timestamp_seconds", "When the server's own certificate expires.", float64(g.certificate.Leaf.NotAfter.Unix()))
	issued, expires := map[string]float64{}, map[string]float64{}
	for _, d := range g.documents() {
		if d.Expires.IsZero() {
			continue
		}
		if at, seen := issued[d.Kind]; !seen || float64(d.Issued.Unix()) < at {
			issued[d.Kind] = float64(d.Issued.Unix())
		}
		if at, seen := expires[d.Kind]; !seen || float64(d.Expires.Unix()) < at {
			expires[d.Kind] = float64(d.Expires.Unix())
		}
	}
	w.Gauges(prefix+"collateral_issued_timestamp_seconds", "When the oldest collateral of a kind was issued.", "kind", issued)
	w.Gauges(prefix+"collateral_expiry_timestamp_seconds", "When the first collateral of a kind expires.", "kind", expires)
	return w.Flush()
}

// documents is the collateral at hand.
func (g *generation) documents() []pccs.DocumentStatus {
	switch source := g.source.(type) {
	case *pccs.Cache:
		return source.Status()
	case *pccs.Bundle:
		return source.Documents()
	default:
		return nil
	}
}

// Serve accepts enclaves from l until ctx ends. Then it closes l first, because Gramine's client tries its next server
// only when a connection is refused, lets running connections finish for as long as the configuration says, and returns
// nil.
//
// While it can verify nobody at all it does not listen either, for the same reason; it then listens again on the same
// address.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	// Connections outlive ctx until the drain is over.
	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	watching, stopWatching := context.WithCancel(ctx)
	health := make(chan error)
	s.background.Go(func() { s.monitor(watching, health) })

	err := s.serve(ctx, work, l, health)
	s.setReady(errors.New("the server is stopping"))
	stopWatching()
	s.drain(cut)
	s.background.Wait()
	return err
}

func (s *Server) serve(ctx, work context.Context, l net.Listener, health <-chan error) error {
	address := l.Addr()
	for {
		s.setReady(nil)
		s.log.Info("listening for enclaves", "address", address.String())
		unable, err := s.listen(ctx, work, l, health)
		if unable == nil {
			return err
		}
		s.setReady(fmt.Errorf("no enclave can be verified: %w", unable))
		s.log.Error("stopped listening, because no enclave can be verified: enclaves try their next server", "error", unable)
		for unable != nil {
			select {
			case unable = <-health:
			case <-ctx.Done():
				return nil
			}
		}
		s.log.Info("enclaves can be verified again")
		if l = s.relisten(ctx, address); l == nil {
			return nil
		}
	}
}

// listen accepts from l until ctx ends or health says why nobody can be verified; l is closed then.
func (s *Server) listen(ctx, work context.Context, l net.Listener, health <-chan error) (unable, err error) {
	accepted := make(chan error, 1)
	go func() { accepted <- s.accept(ctx, work, l) }()
	select {
	case <-ctx.Done():
	case unable = <-health:
	case err = <-accepted:
		_ = l.Close()
		return nil, err
	}
	_ = l.Close()
	if err := <-accepted; err != nil && !errors.Is(err, net.ErrClosed) {
		s.log.Warn("accepting connections ended", "error", err)
	}
	return unable, nil
}

// relisten opens the listener again; nil when ctx ended.
func (s *Server) relisten(ctx context.Context, address net.Addr) net.Listener {
	var lc net.ListenConfig
	for {
		l, err := lc.Listen(ctx, address.Network(), address.String())
		if err == nil {
			return l
		}
		s.log.Error("cannot listen again", "error", err)
		timer := time.NewTimer(s.pulse.again)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}
