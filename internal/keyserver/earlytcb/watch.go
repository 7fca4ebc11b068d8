package earlytcb

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/console"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
)

// Bounds of a watch.
const (
	maxPlatforms = 256         // kinds of platforms that are remembered, of some 20 KiB each
	every        = time.Hour   // between comparisons; the collateral is cached for longer
	again        = time.Minute // after a failure
	patience     = time.Minute // for the collateral of one platform
)

// Source is where the early set comes from.
type Source interface {
	Collateral(ctx context.Context, p *dcap.Platform) (*dcap.Collateral, error)
}

// Judgement is what rules say of an enclave.
type Judgement struct {
	Released bool
	Rule     string
	Reasons  []console.Reason // why not
}

// Setup is what platforms are compared under: a configuration in force.
type Setup struct {
	// Source is nil where no comparison can be made; Off then says why.
	Source Source
	Off    string
	// Roots are the trusted root certificates; nil trusts Intel only.
	Roots []*x509.Certificate
	// Judge asks the rules.
	Judge func(v *dcap.Verdict, serverName string) Judgement
	// Explain puts into words why a quote is not genuine.
	Explain func(error) console.Reason
}

// Acceptance is an enclave that was given its secret.
type Acceptance struct {
	Quote      *quote.Quote
	Verdict    *dcap.Verdict
	ServerName string
	Rule       string
}

// Watch remembers platforms and compares them. It may be used by several goroutines at once.
type Watch struct {
	log *slog.Logger
	now func() time.Time

	mu        sync.Mutex
	setup     Setup
	setups    int // counts calls of Use
	platforms map[key]*platform
	failure   error         // of the last round
	wake      chan struct{} // there is something to compare
	results   map[string]uint64
}

// key tells kinds of platforms apart, in one patch state, under one rule.
type key struct {
	fmspc      dcap.FMSPC
	components [16]uint8
	pceSVN     uint16
	qeSVN      uint16
	rule       string
}

// platform is a kind of platform. Its fields are guarded by Watch.mu.
type platform struct {
	accepted Acceptance
	seen     time.Time
	checked  time.Time // zero: not under this setup
	tried    time.Time // the last attempt, successful or not
	number   uint32
	status   string
	refused  bool
	reasons  []console.Reason
	warned   uint32 // evaluation number that was warned of
}

// New makes a watch that compares nothing yet.
func New(log *slog.Logger, now func() time.Time) *Watch {
	return &Watch{
		log: log, now: now, platforms: map[key]*platform{}, wake: make(chan struct{}, 1), results: map[string]uint64{},
		setup: Setup{Off: "the server is starting"},
	}
}

// Use puts another configuration in force. Everything is compared anew.
func (w *Watch) Use(s Setup) {
	w.mu.Lock()
	w.setup, w.failure = s, nil
	w.setups++
	for _, p := range w.platforms {
		p.checked, p.tried = time.Time{}, time.Time{}
	}
	w.mu.Unlock()
	w.nudge()
}

func (w *Watch) nudge() {
	select {
	case w.wake <- struct{}{}:
	default: // somebody else has
	}
}

// Accepted remembers the platform of an enclave. It never waits for a comparison.
func (w *Watch) Accepted(a Acceptance) {
	k := key{
		fmspc: a.Verdict.PCK.FMSPC, components: a.Verdict.PCK.Components, pceSVN: a.Verdict.PCK.PCESVN,
		qeSVN: a.Verdict.QE.ISVSVN, rule: a.Rule,
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.platforms[k]
	if p == nil {
		w.makeRoom()
		p = &platform{}
		w.platforms[k] = p
		w.nudge()
	}
	p.accepted, p.seen = a, w.now()
}

// makeRoom forgets the platform that has not been seen for longest. The caller holds the lock.
func (w *Watch) makeRoom() {
	if len(w.platforms) < maxPlatforms {
		return
	}
	var oldest key
	first := true
	for k, p := range w.platforms {
		if first || p.seen.Before(w.platforms[oldest].seen) {
			oldest, first = k, false
		}
	}
	delete(w.platforms, oldest)
}

// Run compares platforms as they come, and again from time to time, until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	for {
		w.round(ctx)
		timer := time.NewTimer(w.pause())
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-w.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// pause is the time until something is due.
func (w *Watch) pause() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failure != nil {
		return again
	}
	return every
}

// due lists what to compare now.
func (w *Watch) due() (keys []key, setup Setup, setups int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.setup.Source == nil {
		return nil, w.setup, w.setups
	}
	now := w.now()
	for k, p := range w.platforms {
		// A clock that was set back makes everything due.
		if age := now.Sub(p.checked); p.checked.IsZero() || age >= every || age < 0 {
			if since := now.Sub(p.tried); p.tried.IsZero() || since >= again || since < 0 {
				keys = append(keys, k)
			}
		}
	}
	return keys, w.setup, w.setups
}

// round compares everything that is due.
func (w *Watch) round(ctx context.Context) {
	keys, setup, setups := w.due()
	if len(keys) == 0 {
		return
	}
	var failure error
	for _, k := range keys {
		if ctx.Err() != nil {
			return
		}
		w.mu.Lock()
		var accepted Acceptance
		p := w.platforms[k]
		if p != nil {
			accepted = p.accepted
			p.tried = w.now()
		}
		w.mu.Unlock()
		if p == nil {
			continue
		}
		r := w.compare(ctx, &setup, &accepted)
		if ctx.Err() != nil {
			return
		}
		if !w.settle(k, p, setups, &r) {
			return // another configuration is in force
		}
		failure = cmp.Or(failure, r.failure)
	}
	w.mu.Lock()
	w.failure = failure
	w.mu.Unlock()
}

// result is one comparison.
type result struct {
	gone    bool  // the rules do not accept it today either
	failure error // nothing is known
	at      time.Time
	verdict *dcap.Verdict // nil: under the early set the quote is not genuine
	Judgement
}

// compare judges a platform under the early set.
func (w *Watch) compare(ctx context.Context, setup *Setup, a *Acceptance) result {
	if !setup.Judge(a.Verdict, a.ServerName).Released {
		return result{gone: true}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	where := a.Verdict.Platform()
	collateral, err := setup.Source.Collateral(ctx, &where)
	if err != nil {
		return result{failure: fmt.Errorf("get early collateral of FMSPC %s: %w", where.FMSPC, err)}
	}
	r := result{at: w.now()}
	r.verdict, err = dcap.Verify(a.Quote, collateral, dcap.VerifyOptions{At: r.at, Roots: setup.Roots})
	var unfit *dcap.Error
	switch {
	case err == nil:
		// How old the early set is matters to nobody: it is not what releases.
		v := *r.verdict
		v.TCBInfoIssued, v.QEIdentityIssued = v.At, v.At
		r.Judgement = setup.Judge(&v, a.ServerName)
	case errors.As(err, &unfit) && (unfit.Stage == dcap.StageTCBLevel || unfit.Stage == dcap.StageQEReport):
		r.Reasons = []console.Reason{setup.Explain(err)}
	default:
		r.failure = fmt.Errorf("judge FMSPC %s under the early set: %w", where.FMSPC, err)
	}
	return r
}

// Results of comparisons, as they are counted.
const (
	resultAccepted = "accepted"
	resultRefused  = "refused"
	resultFailed   = "failed"
)

// settle keeps a result; false when it was made under a former configuration.
func (w *Watch) settle(k key, p *platform, setups int, r *result) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if setups != w.setups {
		return false
	}
	switch {
	case r.gone:
		delete(w.platforms, k)
		return true
	case r.failure != nil:
		w.results[resultFailed]++
		w.log.Debug("the early TCB set cannot be compared with", "fmspc", k.fmspc.String(), "error", r.failure)
		return true
	}
	p.checked, p.refused, p.reasons = r.at, !r.Released, console.ClipReasons(r.Reasons)
	p.number, p.status = 0, ""
	if r.verdict != nil {
		p.number, p.status = r.verdict.EvaluationNumber, string(r.verdict.Status)
	}
	if r.Released {
		w.results[resultAccepted]++
		return true
	}
	w.results[resultRefused]++
	// Number 0, of a quote that the early set does not know, is warned of once too.
	if number := p.number + 1; p.warned != number {
		p.warned = number
		w.log.Warn("TCB early warning: accepted today, refused under the early TCB set", "fmspc", k.fmspc.String(), "tcb", k.tcb(), "rule", k.rule,
			"server_name", p.accepted.ServerName, "tcb_evaluation_data_number", p.number, "tcb_status", p.status, "reasons", fmt.Sprint(texts(p.reasons)))
	}
	return true
}

func texts(reasons []console.Reason) []string {
	all := make([]string, len(reasons))
	for i, r := range reasons {
		all[i] = r.Check + ": got " + r.Got + ", wanted " + r.Wanted
	}
	return all
}

// tcb is the patch state in words.
func (k *key) tcb() string {
	return fmt.Sprintf("components %x, PCESVN %d, QE ISVSVN %d", k.components, k.pceSVN, k.qeSVN)
}

// Status is what is known, worst first.
func (w *Watch) Status() console.EarlyTCB {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := console.EarlyTCB{State: "accepted platforms are compared with the early set", Platforms: []console.EarlyPlatform{}}
	if w.setup.Source == nil {
		s.State = w.setup.Off
	}
	if w.failure != nil {
		s.Error = w.failure.Error()
	}
	for k, p := range w.platforms {
		s.Platforms = append(s.Platforms, console.EarlyPlatform{
			FMSPC: k.fmspc.String(), TCB: k.tcb(), Rule: k.rule, ServerName: p.accepted.ServerName, Seen: p.seen.UTC(), Checked: p.checked.UTC(),
			EvaluationNumber: p.number, TCBStatus: p.status, Refused: p.refused, Reasons: slices.Clone(p.reasons),
		})
	}
	slices.SortFunc(s.Platforms, func(a, b console.EarlyPlatform) int {
		if a.Refused != b.Refused {
			if a.Refused {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.FMSPC, b.FMSPC), cmp.Compare(a.TCB, b.TCB), cmp.Compare(a.Rule, b.Rule))
	})
	return s
}

// Figures are for metrics.
type Figures struct {
	Refused map[string]float64 // platforms that are refused under the early set, by FMSPC; 0 where all are accepted
	Numbers map[string]float64 // the early set's evaluation number, by FMSPC
	Results map[string]uint64  // comparisons, by how they ended
}

// Figures counts what is known.
func (w *Watch) Figures() Figures {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := Figures{Refused: map[string]float64{}, Numbers: map[string]float64{}, Results: map[string]uint64{}}
	for k, p := range w.platforms {
		if p.checked.IsZero() {
			continue
		}
		name := k.fmspc.String()
		f.Refused[name] += 0
		if p.refused {
			f.Refused[name]++
		}
		f.Numbers[name] = max(f.Numbers[name], float64(p.number))
	}
	for _, name := range []string{resultAccepted, resultRefused, resultFailed} {
		f.Results[name] = w.results[name]
	}
	return f
}
