package pccs

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Greeting is what a service shows of itself when it is asked for the QE identity, which every service has.
type Greeting struct {
	URL string // what was asked
	// APIVersion is 4, or 3 for a service that answers under version 3 of the API only. Nothing was asked for
	// differently: a client made with that URL and ClientOptions.AllowAPIv3 can ask it.
	APIVersion int
	Latency    time.Duration
	// Skew is how far this machine's clock is ahead of the service's; it is known up to SkewError, for HTTP dates are
	// in whole seconds. Both are 0 with DateMissing.
	Skew, SkewError time.Duration
	DateMissing     bool
	// TLSExpires is when the service's certificate expires; zero without TLS.
	TLSExpires time.Time
	// Warning is the header by which Intel announces the end of a version; mostly empty.
	Warning string
}

// Greet asks the service one question, for a person who wants to know whether it is there. It is not asked again when it
// fails. The error is of type *Error unless ctx ended.
func (c *Client) Greet(ctx context.Context) (*Greeting, error) {
	id := docID{kind: docQEIdentity}
	ref := &url.URL{Path: id.path(levelSet{})}
	target, version := c.base.ResolveReference(ref), 4
	if c.levels.v3 {
		version = 3
	}
	got, err := c.get(ctx, id, target)
	var failure *Error
	if version == 4 && errors.As(err, &failure) && failure.Status == http.StatusNotFound {
		older := *c.base
		older.Path = strings.TrimSuffix(older.Path, apiPath) + apiPathV3
		if old, v3Err := c.get(ctx, id, older.ResolveReference(ref)); v3Err == nil {
			got, err, target, version = old, nil, older.ResolveReference(ref), 3
		}
	}
	if err != nil {
		return nil, err
	}
	g := &Greeting{
		URL: target.String(), APIVersion: version, Latency: got.received.Sub(got.sent).Round(time.Millisecond),
		Warning: got.header.Get("Warning"),
	}
	if got.tls != nil && len(got.tls.PeerCertificates) > 0 {
		g.TLSExpires = got.tls.PeerCertificates[0].NotAfter
	}
	g.readDate(got)
	return g, nil
}

// readDate compares the clocks. A proxy between may answer from its cache, and says with Age how old the date is.
func (g *Greeting) readDate(got *answer) {
	date, err := http.ParseTime(got.header.Get("Date"))
	if err != nil {
		g.DateMissing = true
		return
	}
	if age, err := strconv.Atoi(got.header.Get("Age")); err == nil && age > 0 {
		date = date.Add(time.Duration(age) * time.Second)
	}
	// The service wrote the date at some moment between the two, and cut its fraction of a second off.
	trip := got.received.Sub(got.sent)
	middle := got.sent.Add(trip / 2)
	g.Skew = middle.Sub(date.Add(500 * time.Millisecond)).Round(100 * time.Millisecond)
	g.SkewError = (trip/2 + 500*time.Millisecond).Round(100 * time.Millisecond)
}
