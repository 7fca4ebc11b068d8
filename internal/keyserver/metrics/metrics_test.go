package metrics

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestExposition(t *testing.T) {
	var releases, empty Counter
	for _, rule := range []string{"b", "a", "b", `say "x\y"` + "\n", "\xff"} {
		releases.Inc(rule)
	}
	var h Histogram
	h.Observe(5 * time.Millisecond)
	h.Observe(60 * time.Millisecond)
	h.Observe(time.Minute)
	var out bytes.Buffer
	w := NewWriter(&out)
	w.Counter("releases_total", "Secrets sent,\nby rule.", "rule", &releases)
	w.Counter("refusals_total", "None.", "reason", &empty)
	w.Total("evicted_total", "Closed.", 7)
	w.Gauge("ready", "1 while serving.", 1)
	w.Gauges("expiry", "When.", "document", map[string]float64{"tcb-info": 1.5e9, "a": -1})
	w.Histogram("seconds", "Time.", &h)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	want := `# HELP releases_total Secrets sent,\nby rule.
# TYPE releases_total counter
releases_total{rule="?"} 1
releases_total{rule="a"} 1
releases_total{rule="b"} 2
releases_total{rule="say \"x\\y\"\n"} 1
# HELP refusals_total None.
# TYPE refusals_total counter
# HELP evicted_total Closed.
# TYPE evicted_total counter
evicted_total 7
# HELP ready 1 while serving.
# TYPE ready gauge
ready 1
# HELP expiry When.
# TYPE expiry gauge
expiry{document="a"} -1
expiry{document="tcb-info"} 1.5e+09
# HELP seconds Time.
# TYPE seconds histogram
seconds_bucket{le="0.005"} 1
seconds_bucket{le="0.01"} 1
seconds_bucket{le="0.025"} 1
seconds_bucket{le="0.05"} 1
seconds_bucket{le="0.1"} 2
seconds_bucket{le="0.25"} 2
seconds_bucket{le="0.5"} 2
seconds_bucket{le="1"} 2
seconds_bucket{le="2.5"} 2
seconds_bucket{le="5"} 2
seconds_bucket{le="10"} 2
seconds_bucket{le="30"} 2
seconds_bucket{le="+Inf"} 3
seconds_sum 60.065
seconds_count 3
`
	// The value that is no UTF-8 is sorted by its bytes, after all others.
	got := strings.Replace(out.String(), "releases_total{rule=\"?\"} 1\n", "", 1)
	if got != strings.Replace(want, "releases_total{rule=\"?\"} 1\n", "", 1) || !strings.Contains(out.String(), `{rule="?"} 1`) {
		t.Errorf("exposition:\n%s\nwant:\n%s", &out, want)
	}
}

func TestSeriesAreBounded(t *testing.T) {
	var c Counter
	for i := range 10 * maxSeries {
		c.Inc(fmt.Sprint(i))
	}
	c.Inc("0") // a value that is known is still counted by itself
	values := c.snapshot()
	if len(values) != maxSeries+1 || values[other] != 9*maxSeries || values["0"] != 2 {
		t.Errorf("%d series, %d others", len(values), values[other])
	}
}

func TestExpectedValues(t *testing.T) {
	var c Counter
	c.Inc("b")
	c.Expect("a", "b")
	var out bytes.Buffer
	w := NewWriter(&out)
	w.Counter("c_total", "Events.", "l", &c)
	if err := w.Flush(); err != nil || !strings.HasSuffix(out.String(), "c_total{l=\"a\"} 0\nc_total{l=\"b\"} 1\n") {
		t.Errorf("%v: %s", err, &out)
	}
	for i := range 2 * maxSeries {
		c.Expect(fmt.Sprint(i))
	}
	if n := len(c.snapshot()); n != maxSeries {
		t.Errorf("%d series", n)
	}
	if c.Value("b") != 1 || c.Value("nobody") != 0 {
		t.Error("values")
	}
}

func TestConcurrentUse(t *testing.T) {
	var c Counter
	var h Histogram
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				c.Inc("x")
				h.Observe(time.Second)
				w := NewWriter(&bytes.Buffer{})
				w.Counter("c", "", "l", &c)
				w.Histogram("h", "", &h)
			}
		})
	}
	wg.Wait()
	if c.snapshot()["x"] != 800 || h.count != 800 {
		t.Errorf("counted %d and %d", c.snapshot()["x"], h.count)
	}
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

func TestErrors(t *testing.T) {
	broken := errors.New("cable cut")
	w := NewWriter(brokenWriter{broken})
	w.Gauge("g", "", 1)
	if err := w.Flush(); !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
}
