package console

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

func TestStrangersHideNothing(t *testing.T) {
	var r Recent
	r.Add(Decision{Verified: true, Verdict: VerdictSent})
	for range 10 * keep {
		r.Add(Decision{Verdict: VerdictRefused})
	}
	all, last := r.After(0)
	if len(all) != keep+1 || last != 10*keep+1 || all[0].Verdict != VerdictSent || all[1].Seq != 9*keep+2 || all[keep].Seq != last {
		t.Errorf("%d are remembered, the last is %d, the first is %+v", len(all), last, all[0])
	}
	if all, _ := r.After(last - 3); len(all) != 3 || all[0].Seq != last-2 {
		t.Errorf("after the third last: %+v", all)
	}
	if all, last := r.After(1 << 40); len(all) != 0 || all == nil || last == 0 {
		t.Errorf("after what has not been: %v", all)
	}
}

func TestDecisionsAreBounded(t *testing.T) {
	long := strings.Repeat("ä", 100000)
	d := Decision{ServerName: long, Error: "\xff" + long, Advisories: make([]string, 1000), Reasons: make([]Reason, 40)}
	for i := range d.Reasons {
		d.Reasons[i] = Reason{Rule: long, Check: long, Wanted: long, Got: long, NextStep: long}
	}
	original := d.Reasons[0].Got
	var r Recent
	r.Add(d)
	all, _ := r.After(0)
	raw, err := json.Marshal(all)
	if err != nil || len(raw) > 16<<10 {
		t.Errorf("%v: %d bytes", err, len(raw))
	}
	got := all[0]
	if !utf8.ValidString(got.ServerName) || !strings.HasSuffix(got.ServerName, "ä...") || !strings.HasPrefix(got.Error, "\uFFFD") {
		t.Errorf("text: %q, %q", got.ServerName, got.Error)
	}
	if len(got.Reasons) != maxReasons+1 || got.Reasons[maxReasons].Check != "more" {
		t.Errorf("%d reasons", len(got.Reasons))
	}
	if d.Reasons[0].Got != original {
		t.Error("the caller's reasons were changed")
	}
}

func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := shown()
		opts.Started = time.Now()
		h := Handler(opts)
		get := func(query string) (Page, time.Duration) {
			t.Helper()
			begin := time.Now()
			req := httptest.NewRequestWithContext(t.Context(), "GET", "/decisions"+query, nil)
			req.Host = "localhost"
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, req)
			var p Page
			if err := json.Unmarshal(rec.Body.Bytes(), &p); err != nil {
				t.Fatalf("%v: %s", err, rec.Body)
			}
			return p, time.Since(begin)
		}
		if p, took := get("?wait=5"); took != 5*time.Second || len(p.Decisions) != 0 || p.Last != 0 {
			t.Errorf("without decisions: %+v after %v", p, took)
		}
		if _, took := get("?wait=9999"); took != maxWait*time.Second {
			t.Errorf("it waited for %v", took)
		}
		time.AfterFunc(3*time.Second, func() { opts.Recent.Add(Decision{Verdict: VerdictSent}) })
		p, took := get("?wait=20")
		if took != 3*time.Second || len(p.Decisions) != 1 || p.Last != 1 || p.Missed != 0 {
			t.Errorf("with one: %+v after %v", p, took)
		}
		started := p.Started.Format(time.RFC3339Nano)
		if p, took := get("?after=0&wait=20"); took != 0 || len(p.Decisions) != 1 {
			t.Errorf("with one that has been: %+v after %v", p, took)
		}
		// Another run's number means nothing in this one.
		if p, took := get("?after=500&wait=20&started=2020-01-01T00:00:00Z"); took != 0 || len(p.Decisions) != 1 {
			t.Errorf("with another run's number: %+v after %v", p, took)
		}
		for range keep + 10 {
			opts.Recent.Add(Decision{Verdict: VerdictRefused})
		}
		if p, _ := get("?after=1&started=" + started); len(p.Decisions) != keep || p.Missed != 10 {
			t.Errorf("%d decisions, %d missed", len(p.Decisions), p.Missed)
		}
	})
}

func TestRecentConcurrently(t *testing.T) {
	var r Recent
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 300 {
				r.Add(Decision{Verified: i%2 == 0, Verdict: VerdictSent, Peer: fmt.Sprint(i)})
			}
		})
		wg.Go(func() {
			for seq := uint64(0); seq < 1200; {
				r.Wait(context.Background(), seq)
				all, last := r.After(seq)
				for i := 1; i < len(all); i++ {
					if all[i].Seq <= all[i-1].Seq {
						t.Error("out of order")
					}
				}
				seq = last
			}
		})
	}
	wg.Wait()
}
