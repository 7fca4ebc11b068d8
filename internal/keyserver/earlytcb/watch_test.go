package earlytcb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/keyserver/console"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/quote"
	"github.com/ccctl/terraform-provider-cc/internal/sim/sgxsim"
)

// lab is a platform that was accepted, and an early set that a test chooses.
type lab struct {
	t        *testing.T
	platform *sgxsim.Platform
	early    sgxsim.TCBSet // of the source
	accept   []dcap.Status // by the rules
	quote    *quote.Quote
	verdict  *dcap.Verdict
	log      bytes.Buffer
	watch    *Watch

	mu      sync.Mutex
	failure error // of the source
	asked   int   // of the source
}

func newLab(t *testing.T) *lab {
	t.Helper()
	p, err := sgxsim.New(sgxsim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, platform: p, early: p.Early, accept: []dcap.Status{dcap.StatusSWHardeningNeeded}}
	var id sgxsim.Identity
	id.MRENCLAVE[0] = 1
	if l.quote, err = p.NewQuote(id, [64]byte{}); err != nil {
		t.Fatal(err)
	}
	c, err := p.Collateral(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if l.verdict, err = dcap.Verify(l.quote, (*dcap.Collateral)(c), dcap.VerifyOptions{At: time.Now(), Roots: l.roots().Roots}); err != nil {
		t.Fatal(err)
	}
	l.watch = New(slog.New(slog.NewTextHandler(&l.log, nil)), time.Now)
	return l
}

func (l *lab) roots() Setup {
	roots, err := dcap.ParseRoots(l.platform.RootPEM())
	if err != nil {
		l.t.Fatal(err)
	}
	return Setup{Roots: roots}
}

// Collateral implements Source: the early set.
func (l *lab) Collateral(_ context.Context, _ *dcap.Platform) (*dcap.Collateral, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	if l.failure != nil {
		return nil, l.failure
	}
	standard := l.platform.Standard
	l.platform.Standard = l.early
	defer func() { l.platform.Standard = standard }()
	c, err := l.platform.Collateral(time.Now())
	return (*dcap.Collateral)(c), err
}

func (l *lab) setup() Setup {
	s := l.roots()
	s.Source = l
	s.Judge = func(v *dcap.Verdict, serverName string) Judgement {
		policy := dcap.Policy{
			AcceptStatuses: l.accept, AcceptAdvisories: []string{"INTEL-SA-00615"}, MRENCLAVE: [][32]byte{{1}}, MaxCollateralAge: time.Nanosecond,
		}
		if v == l.verdict {
			policy.MaxCollateralAge = 0
		}
		if policy.Check(v) == nil && serverName != "another" {
			return Judgement{Released: true, Rule: "the rule"}
		}
		j := Judgement{}
		for _, f := range policy.Explain(v) {
			if !f.OK {
				j.Reasons = append(j.Reasons, console.Reason{Rule: "the rule", Check: f.Check, Got: f.Got, Wanted: f.Want})
			}
		}
		return j
	}
	s.Explain = func(err error) console.Reason { return console.Reason{Check: "not genuine", Got: err.Error()} }
	return s
}

func (l *lab) accepted() {
	l.watch.Accepted(Acceptance{Quote: l.quote, Verdict: l.verdict, ServerName: "keys.example.com", Rule: "the rule"})
}

func (l *lab) only() console.EarlyPlatform {
	l.t.Helper()
	s := l.watch.Status()
	if len(s.Platforms) != 1 {
		l.t.Fatalf("status: %+v", s)
	}
	return s.Platforms[0]
}

func TestRefusedUnderTheEarlySet(t *testing.T) {
	l := newLab(t)
	l.watch.Use(l.setup())
	l.accepted()
	if p := l.only(); !p.Checked.IsZero() || p.Refused || p.Rule != "the rule" || p.ServerName != "keys.example.com" || p.FMSPC != "00606A000000" {
		t.Errorf("before the comparison: %+v", p)
	}
	l.watch.round(t.Context())
	p := l.only()
	if !p.Refused || p.EvaluationNumber != 18 || p.TCBStatus != "OutOfDate" || p.Checked.IsZero() || len(p.Reasons) != 2 ||
		p.Reasons[0].Check != "tcb_status" || p.Reasons[1].Check != "tcb_advisories" || p.Reasons[1].Got != "INTEL-SA-01313" {
		t.Errorf("after it: %+v", p)
	}
	for _, word := range []string{"level=WARN", "TCB early warning: accepted today, refused under the early TCB set", "fmspc=00606A000000", "tcb_evaluation_data_number=18", "INTEL-SA-01313"} {
		if !strings.Contains(l.log.String(), word) {
			t.Errorf("the log does not say %q: %s", word, &l.log)
		}
	}
	f := l.watch.Figures()
	if f.Refused["00606A000000"] != 1 || f.Numbers["00606A000000"] != 18 || f.Results[resultRefused] != 1 || f.Results[resultAccepted] != 0 {
		t.Errorf("figures: %+v", f)
	}
	// Once for each platform and evaluation number, however often it is seen, compared, or its configuration loaded.
	l.accepted()
	l.watch.Use(l.setup())
	l.watch.round(t.Context())
	if n := strings.Count(l.log.String(), "TCB early warning"); n != 1 {
		t.Errorf("%d warnings", n)
	}
	l.early.EvaluationNumber = 19
	l.watch.Use(l.setup())
	l.watch.round(t.Context())
	if n := strings.Count(l.log.String(), "TCB early warning"); n != 2 || l.only().EvaluationNumber != 19 {
		t.Errorf("%d warnings after the next recovery", n)
	}
}

func TestOutcomes(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(l *lab)
		check  func(t *testing.T, s console.EarlyTCB, log string)
	}{
		{"accepted", func(l *lab) { l.early = l.platform.Standard }, func(t *testing.T, s console.EarlyTCB, log string) {
			if p := s.Platforms[0]; p.Refused || p.Checked.IsZero() || p.EvaluationNumber != 17 || len(p.Reasons) != 0 || log != "" {
				t.Errorf("%+v, %s", p, log)
			}
		}},
		{"no level fits", func(l *lab) { l.early.Levels = l.early.Levels[:1] }, func(t *testing.T, s console.EarlyTCB, log string) {
			if p := s.Platforms[0]; !p.Refused || p.Reasons[0].Check != "not genuine" || !strings.Contains(log, "TCB early warning") {
				t.Errorf("%+v, %s", p, log)
			}
		}},
		{"unreachable", func(l *lab) { l.failure = errors.New("connection refused") }, func(t *testing.T, s console.EarlyTCB, log string) {
			if p := s.Platforms[0]; p.Refused || !p.Checked.IsZero() || !strings.HasSuffix(s.Error, "connection refused") || log != "" {
				t.Errorf("%+v, %s", s, log)
			}
		}},
		{"signed by somebody else", func(l *lab) {
			other, err := sgxsim.New(sgxsim.Options{})
			if err != nil {
				l.t.Fatal(err)
			}
			l.platform.TCBSigner = other.TCBSigner
		}, func(t *testing.T, s console.EarlyTCB, log string) {
			if p := s.Platforms[0]; p.Refused || !p.Checked.IsZero() || !strings.Contains(s.Error, "judge FMSPC 00606A000000 under the early set: ") || log != "" {
				t.Errorf("%+v, %s", s, log)
			}
		}},
		{"revoked", func(l *lab) {
			l.platform.RevokedPCK = append(l.platform.RevokedPCK, l.platform.PCK.Certificate.Serial)
		}, func(t *testing.T, s console.EarlyTCB, _ string) {
			// Not a matter of TCB levels: the standard set says so too.
			if p := s.Platforms[0]; p.Refused || s.Error == "" {
				t.Errorf("%+v", s)
			}
		}},
		{"refused by the rules of today", func(l *lab) { l.accept = []dcap.Status{dcap.StatusUpToDate} }, func(t *testing.T, s console.EarlyTCB, log string) {
			if len(s.Platforms) != 0 || log != "" {
				t.Errorf("%+v, %s", s, log)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t)
			tt.change(l)
			l.watch.Use(l.setup())
			l.accepted()
			l.watch.round(t.Context())
			tt.check(t, l.watch.Status(), l.log.String())
		})
	}
}

func TestOff(t *testing.T) {
	l := newLab(t)
	l.accepted()
	l.watch.round(t.Context())
	if s := l.watch.Status(); s.State != "the server is starting" || len(s.Platforms) != 1 {
		t.Errorf("status: %+v", s)
	}
	l.watch.Use(Setup{Off: "collateral comes from a file"})
	l.watch.round(t.Context())
	if s := l.watch.Status(); s.State != "collateral comes from a file" || l.asked != 0 {
		t.Errorf("status: %+v", s)
	}
	if f := l.watch.Figures(); len(f.Refused) != 0 {
		t.Errorf("figures of what was not compared: %+v", f)
	}
}

func TestBounded(t *testing.T) {
	l := newLab(t)
	now := time.Now()
	l.watch.now = func() time.Time { now = now.Add(time.Second); return now }
	for i := range maxPlatforms + 50 {
		l.watch.Accepted(Acceptance{Quote: l.quote, Verdict: l.verdict, Rule: fmt.Sprint(i)})
	}
	s := l.watch.Status()
	if len(s.Platforms) != maxPlatforms {
		t.Fatalf("%d platforms are remembered", len(s.Platforms))
	}
	for _, p := range s.Platforms {
		if len(p.Rule) == 1 {
			t.Errorf("the platform of rule %s is still remembered", p.Rule)
		}
	}
}

// TestRun compares what comes at once, tries again a minute after a failure, and looks again every hour.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		// The simulator's documents are dated, and time begins in 2000 here.
		l.watch.now = time.Now
		l.failure = errors.New("connection refused")
		l.watch.Use(l.setup())
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { l.watch.Run(ctx) })
		asked := func() int {
			synctest.Wait()
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.asked
		}
		if n := asked(); n != 0 {
			t.Errorf("without platforms it asked %d times", n)
		}
		l.accepted()
		if n := asked(); n != 1 {
			t.Errorf("after the first acceptance it has asked %d times", n)
		}
		for range 5 {
			l.accepted()
		}
		if n := asked(); n != 1 {
			t.Errorf("after more of the same platform it has asked %d times", n)
		}
		time.Sleep(again + time.Second)
		if n := asked(); n != 2 {
			t.Errorf("a minute after a failure it has asked %d times", n)
		}
		l.mu.Lock()
		l.failure = nil
		l.mu.Unlock()
		time.Sleep(again + time.Second)
		if n := asked(); n != 3 || l.only().Checked.IsZero() || l.watch.Status().Error != "" {
			t.Errorf("after the service has come back it has asked %d times: %+v", n, l.watch.Status())
		}
		time.Sleep(every / 2)
		if n := asked(); n != 3 {
			t.Errorf("half an hour later it has asked %d times", n)
		}
		time.Sleep(every)
		if n := asked(); n != 4 {
			t.Errorf("an hour later it has asked %d times", n)
		}
		cancel()
		running.Wait()
	})
}

// TestAReloadDuringAComparison: what was found under the former configuration counts no more.
func TestAReloadDuringAComparison(t *testing.T) {
	l := newLab(t)
	setup := l.setup()
	judge := setup.Judge
	reloads := 0
	setup.Judge = func(v *dcap.Verdict, name string) Judgement {
		if reloads++; reloads == 2 {
			l.watch.Use(Setup{Off: "a newer configuration"})
		}
		return judge(v, name)
	}
	l.watch.Use(setup)
	l.accepted()
	l.watch.round(t.Context())
	if p := l.only(); p.Refused || !p.Checked.IsZero() || l.log.Len() != 0 {
		t.Errorf("%+v, %s", p, &l.log)
	}
}

func TestConcurrently(t *testing.T) {
	l := newLab(t)
	l.watch.Use(l.setup())
	ctx, cancel := context.WithCancel(t.Context())
	var running, clients sync.WaitGroup
	running.Go(func() { l.watch.Run(ctx) })
	for i := range 4 {
		clients.Go(func() {
			for j := range 20 {
				l.watch.Accepted(Acceptance{Quote: l.quote, Verdict: l.verdict, Rule: fmt.Sprint(i, j)})
				l.watch.Status()
				l.watch.Figures()
			}
		})
	}
	clients.Wait()
	for deadline := time.Now().Add(20 * time.Second); l.watch.Figures().Refused["00606A000000"] != 80; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("figures: %+v", l.watch.Figures())
		}
	}
	cancel()
	running.Wait()
}
