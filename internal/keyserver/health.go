package keyserver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/console"
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
	releases, refusals, ends, reloads, refreshes metrics.Counter
	verdicts                                     metrics.Histogram
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

// Values of labels that are known beforehand.
var (
	waysToEnd     = []string{"evicted", "secret not sent", "no verdict"}
	reloadResults = []string{"in force", "refused"}
)

// WriteMetrics writes what Prometheus reads; the package comment lists it. No label has more values than rules, checks, kinds
// of documents or platform families there are, and none names an enclave or a key.
func (s *Server) WriteMetrics(out io.Writer) error {
	g := s.acquire()
	defer s.release(g)
	s.mu.Lock()
	refused := s.refused
	s.mu.Unlock()
	truth := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	w := metrics.NewWriter(out)
	const prefix = "cc_keyserver_"
	w.Counter(prefix+"releases_total", "Secrets sent, by rule. The protocol has no acknowledgement.", "rule", &s.counts.releases)
	w.Counter(prefix+"refusals_total", "Enclaves refused, by the first failed check of the rule that came closest.", "check", &s.counts.refusals)
	w.Counter(prefix+"connections_ended_total", "Connections that ended with neither secret nor refusal, by how.", "how", &s.counts.ends)
	w.Counter(prefix+"config_reloads_total", "Configurations that were read again, by result.", "result", &s.counts.reloads)
	w.Gauge(prefix+"config_load_timestamp_seconds", "When the configuration in force was loaded.", float64(g.loaded.Unix()))
	w.Gauge(prefix+"config_current", "0 while the configuration file was changed and refused, else 1.", truth(refused == nil))
	w.Histogram(prefix+"handshake_duration_seconds", "Time from accepting a connection to its verdict: handshake, collateral, verification.", &s.counts.verdicts)
	open, _ := s.gate.Count()
	w.Gauge(prefix+"connections_open", "Connections that are open.", float64(open))
	w.Gauge(prefix+"ready", "1 while enclaves are served.", truth(s.Ready() == nil))
	w.Gauge(prefix+"audit_writable", "1 while the audit log can be written; without it nothing is released.", truth(s.account.err() == nil))
	w.Gauge(prefix+"start_timestamp_seconds", "When the server was started.", float64(s.started.Unix()))
	w.Gauge(prefix+"certificate_expiry_timestamp_seconds", "When the server's own certificate expires.", float64(g.certificate.Leaf.NotAfter.Unix()))
	fetched := map[string]float64{}
	for name := range g.secrets {
		s.counts.refreshes.Expect(name)
		fetched[name] = float64(g.loaded.Unix())
	}
	s.mu.Lock()
	for name, care := range g.upkeep {
		fetched[name] = float64(care.fetched.Unix())
	}
	s.mu.Unlock()
	w.Counter(prefix+"secret_refresh_failures_total", "Times that the source of a secret did not give it again; its last key stayed in force.", "secret", &s.counts.refreshes)
	w.Gauges(prefix+"secret_fetch_timestamp_seconds", "When the source of a secret gave it last.", "secret", fetched)
	g.writeCollateral(w, prefix)
	early := s.early.Figures()
	w.Gauges(prefix+"tcb_early_refused_platforms", "Kinds of platforms accepted today and refused under the early TCB set.", "fmspc", early.Refused)
	w.Gauges(prefix+"tcb_early_evaluation_number", "The tcbEvaluationDataNumber of the early set that platforms were compared with.", "fmspc", early.Numbers)
	w.Counts(prefix+"tcb_early_comparisons_total", "Comparisons with the early TCB set, by result.", "result", early.Results)
	return w.Flush()
}

func (g *generation) writeCollateral(w *metrics.Writer, prefix string) {
	issued, expires, failing := map[string]float64{}, map[string]float64{}, map[string]float64{}
	for _, d := range g.documents() {
		failing[d.Kind] += 0
		if d.Err != nil {
			failing[d.Kind]++
		}
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
	w.Gauges(prefix+"collateral_failing_documents", "Collateral of a kind whose last renewal failed.", "kind", failing)
}

// Status is the account of the server at this moment, without its decisions.
func (s *Server) Status() *console.Status {
	g := s.acquire()
	defer s.release(g)
	now := s.now().UTC()
	leaf := g.certificate.Leaf
	sum := sha256.Sum256(leaf.Raw)
	open, _ := s.gate.Count()
	s.mu.Lock()
	listen, refused := s.address, s.refused
	s.mu.Unlock()
	status := &console.Status{
		PID: os.Getpid(), Listen: listen, Now: now, Started: s.started.UTC(), UptimeSeconds: int64(now.Sub(s.started).Seconds()),
		Ready: true, Problems: []string{}, Warnings: g.cfg.Warnings(), ConnectionsOpen: open,
		Releases: s.counts.releases.Total(), Refusals: s.counts.refusals.Total(),
		Configuration: console.Configuration{File: g.cfg.path, SHA256: g.cfg.digest, Loaded: g.loaded.UTC(), Refused: refused},
		Certificate: console.Certificate{
			Subject: leaf.Subject.String(), Names: names(leaf), NotBefore: leaf.NotBefore.UTC(), NotAfter: leaf.NotAfter.UTC(),
			SHA256: hex.EncodeToString(sum[:]),
		},
		Rules: []console.Rule{}, Secrets: []console.Secret{},
		Collateral: g.collateral(now), EarlyTCB: s.early.Status(),
	}
	if err := s.Ready(); err != nil {
		status.Ready = false
		status.Problems = append(status.Problems, err.Error())
	}
	if left := leaf.NotAfter.Sub(now); left < 0 {
		status.Problems = append(status.Problems, "the server's certificate has expired: every client refuses it")
	} else if left < 14*24*time.Hour {
		status.Warnings = append(status.Warnings, fmt.Sprintf("the server's certificate expires in %s; clients refuse it after that", console.Span(left)))
	}
	if g.admin != nil {
		if left := g.admin.Certificates[0].Leaf.NotAfter.Sub(now); left < 14*24*time.Hour {
			status.Warnings = append(status.Warnings, fmt.Sprintf("the admin listener's certificate expires in %s; clients refuse it after that", console.Span(max(left, 0))))
		}
	}
	if refused != nil {
		status.Warnings = append(status.Warnings, "a newer configuration was refused; the one in force is older than its file")
	}
	status.Warnings = append(status.Warnings, s.staleSecrets(g)...)
	for _, d := range status.Collateral.Documents {
		if d.State != "good" || d.Error != "" {
			status.Warnings = append(status.Warnings, strings.TrimSuffix(fmt.Sprintf("collateral: %s is %s: %s", d.Name, d.State, d.Error), ": "))
		}
	}
	for _, p := range status.EarlyTCB.Platforms {
		if p.Refused {
			status.Warnings = append(status.Warnings, fmt.Sprintf("TCB early warning: platforms of FMSPC %s that rule %q accepts today are refused under the early set: update them before it comes into force",
				p.FMSPC, p.Rule))
		}
	}
	if g.cfg.Audit != nil {
		status.Audit = &console.Audit{File: g.cfg.Audit.File}
		if err := s.account.err(); err != nil {
			status.Audit.Error = err.Error()
		}
	}
	g.inventory(status, &s.counts.releases)
	if status.Warnings == nil {
		status.Warnings = []string{}
	}
	return status
}

// inventory lists rules and secrets.
func (g *generation) inventory(status *console.Status, releases *metrics.Counter) {
	releasedBy := map[string][]string{}
	for i := range g.cfg.Rules {
		r := &g.cfg.Rules[i]
		releasedBy[r.Secret] = append(releasedBy[r.Secret], r.Name)
		status.Rules = append(status.Rules, console.Rule{
			Name: r.Name, MREnclave: r.MREnclave, MRSigner: r.MRSigner, ISVProdID: r.ISVProdID, MinISVSVN: r.MinISVSVN, ServerName: r.ServerName,
			TCBAccept: r.TCB.Accept, AcceptAdvisories: r.TCB.AcceptAdvisories, MinEvaluationNumber: r.TCB.MinEvaluationNumber,
			AllowDebug: r.AllowDebug, Secret: r.Secret, Releases: releases.Value(r.Name),
		})
	}
	for _, name := range slices.Sorted(maps.Keys(g.secrets)) {
		secret := g.secrets[name]
		status.Secrets = append(status.Secrets, console.Secret{
			Name: name, Fingerprint: secret.fingerprint, Encoding: secret.encoding, Rules: append([]string{}, releasedBy[name]...),
		})
	}
}

// collateral tells how fresh everything is that quotes are judged with.
func (g *generation) collateral(now time.Time) console.Collateral {
	conf := &g.cfg.Collateral
	maxAge := time.Duration(conf.MaxAge)
	c := console.Collateral{Source: conf.Bundle, MaxAgeSeconds: int64(maxAge.Seconds()), Documents: []console.Document{}}
	if g.cache != nil {
		c.Source = g.cache.URL()
	}
	for _, d := range g.documents() {
		doc := console.Document{
			Name: d.Document, Kind: d.Kind, Issued: d.Issued.UTC(), Expires: d.Expires.UTC(), Fetched: d.Fetched.UTC(), State: "good",
		}
		switch aged := d.Kind == pccs.KindTCBInfo || d.Kind == pccs.KindQEIdentity; {
		case d.Expires.IsZero():
			doc.State = "missing"
		case !now.Before(d.Expires):
			doc.State = "expired"
		case aged && now.Sub(d.Issued) > maxAge:
			doc.State = "too old"
		}
		if d.Err != nil {
			doc.Error = d.Err.Error()
		}
		c.Documents = append(c.Documents, doc)
	}
	return c
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
	s.mu.Lock()
	s.address = l.Addr().String()
	s.mu.Unlock()
	watching, stopWatching := context.WithCancel(ctx)
	health := make(chan error)
	s.background.Go(func() { s.monitor(watching, health) })
	s.background.Go(func() { s.early.Run(watching) })
	s.background.Go(func() { s.keepUp(watching) })

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
