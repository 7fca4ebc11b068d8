// Package metrics counts what a server does and writes it in Prometheus' text exposition format, version 0.0.4
// (https://prometheus.io/docs/instrumenting/exposition_formats/).
//
// It is the few kinds of metrics that the key server needs and no more. The number of time series is bounded: beyond a
// limit new values of a label are counted together as "other".
package metrics

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxSeries bounds the values of a counter's label.
const maxSeries = 1000

// other is the value under which all values beyond the limit are counted.
const other = "other"

// Counter counts events by the value of one label. The zero Counter is ready for use, by several goroutines at once.
type Counter struct {
	mu     sync.Mutex
	values map[string]uint64
}

// Inc counts one event.
func (c *Counter) Inc(value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.values == nil {
		c.values = map[string]uint64{}
	}
	if _, known := c.values[value]; !known && len(c.values) >= maxSeries {
		value = other
	}
	c.values[value]++
}

// Expect makes values known before their first event, so that they are written as 0 and a first event is seen as an increase.
func (c *Counter) Expect(values ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.values == nil {
		c.values = map[string]uint64{}
	}
	for _, value := range values {
		if _, known := c.values[value]; !known && len(c.values) < maxSeries {
			c.values[value] = 0
		}
	}
}

// Value is how many events of a value were counted.
func (c *Counter) Value(value string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.values[value]
}

// Total is how many events were counted.
func (c *Counter) Total() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	var total uint64
	for _, n := range c.values {
		total += n
	}
	return total
}

func (c *Counter) snapshot() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.values)
}

// buckets are the upper bounds of a histogram, in seconds.
var buckets = [...]float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}

// Histogram counts durations. The zero Histogram is ready for use, by several goroutines at once.
type Histogram struct {
	mu     sync.Mutex
	counts [len(buckets)]uint64
	count  uint64
	sum    float64
}

// Observe counts one duration.
func (h *Histogram) Observe(d time.Duration) {
	seconds := d.Seconds()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count++
	h.sum += seconds
	for i, bound := range buckets {
		if seconds <= bound {
			h.counts[i]++
		}
	}
}

// Writer writes metrics. Each name may be written once.
type Writer struct{ w *bufio.Writer }

// NewWriter writes to w, to be flushed.
func NewWriter(w io.Writer) *Writer { return &Writer{bufio.NewWriter(w)} }

// Flush writes what is left and returns the first error of all writing.
func (w *Writer) Flush() error { return w.w.Flush() }

func (w *Writer) head(name, kind, help string) {
	_, _ = fmt.Fprintf(w.w, "# HELP %s %s\n# TYPE %s %s\n", name, escape(help, false), name, kind)
}

// Counter writes a counter; label is the name of its label.
func (w *Writer) Counter(name, help, label string, c *Counter) {
	w.Counts(name, help, label, c.snapshot())
}

// Counts writes a counter that somebody else keeps.
func (w *Writer) Counts(name, help, label string, values map[string]uint64) {
	w.head(name, "counter", help)
	for _, value := range slices.Sorted(maps.Keys(values)) {
		_, _ = fmt.Fprintf(w.w, "%s{%s=\"%s\"} %d\n", name, label, escape(value, true), values[value])
	}
}

// Total writes a counter without a label.
func (w *Writer) Total(name, help string, n uint64) {
	w.head(name, "counter", help)
	_, _ = fmt.Fprintf(w.w, "%s %d\n", name, n)
}

// Gauge writes one value.
func (w *Writer) Gauge(name, help string, value float64) {
	w.head(name, "gauge", help)
	_, _ = fmt.Fprintf(w.w, "%s %s\n", name, number(value))
}

// Gauges writes values by a label.
func (w *Writer) Gauges(name, help, label string, values map[string]float64) {
	w.head(name, "gauge", help)
	for _, value := range slices.Sorted(maps.Keys(values)) {
		_, _ = fmt.Fprintf(w.w, "%s{%s=\"%s\"} %s\n", name, label, escape(value, true), number(values[value]))
	}
}

// Histogram writes a histogram of seconds.
func (w *Writer) Histogram(name, help string, h *Histogram) {
	h.mu.Lock()
	counts, count, sum := h.counts, h.count, h.sum
	h.mu.Unlock()
	w.head(name, "histogram", help)
	for i, bound := range buckets {
		_, _ = fmt.Fprintf(w.w, "%s_bucket{le=\"%s\"} %d\n", name, number(bound), counts[i])
	}
	_, _ = fmt.Fprintf(w.w, "%s_bucket{le=\"+Inf\"} %d\n%s_sum %s\n%s_count %d\n", name, count, name, number(sum), name, count)
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

func escape(s string, label bool) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "?"), `\`, `\\`)
	s = strings.ReplaceAll(s, "\n", `\n`)
	if label {
		s = strings.ReplaceAll(s, `"`, `\"`)
	}
	return s
}
