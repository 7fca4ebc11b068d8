package pccs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
)

const (
	// maxEntries bounds the memory: every family of platforms that Intel has made is a few hundred.
	maxEntries = 4096
	// fetchTimeout bounds one refresh, all attempts together.
	fetchTimeout = 40 * time.Second
	// doubtInterval is how young a document must be for its refetch to be pointless.
	doubtInterval = time.Minute
)

// CacheOptions say where a cache keeps documents and how long it uses them.
type CacheOptions struct {
	// Dir is where documents survive a restart; several processes may share it. Empty: memory only.
	Dir string
	// RefreshAfter is the age at which a document is fetched again, in the background; 24 hours unless given. A document
	// that expires within twice that is fetched again halfway there.
	RefreshAfter time.Duration
	// Log receives failed refreshes; nil discards them.
	Log *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Cache keeps what a client gets, each document by itself: TCB info by FMSPC, PCK CRLs by CA, and one each of QE
// identity and root CA CRL.
//
// A document that is due is still served, and renewed in the background; after its own next update it is not served
// any more, whatever happens. However many callers wait for a document, it is asked for once, and no caller waits for
// a document it does not need. After a failure the service is left alone for a while: callers get that failure again.
//
// It may be used by several goroutines at once. Close ends its background work.
type Cache struct {
	client       *Client
	store        *store
	refreshAfter time.Duration
	log          *slog.Logger
	now          func() time.Time

	ctx    context.Context //nolint:containedctx // Ends the background refreshes, which outlive every call.
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	entries map[docID]*entry
}

// entry is one document and the attempts to renew it. Its fields are guarded by Cache.mu.
type entry struct {
	doc      *document
	doubted  bool // it did not verify: a newer one is wanted before it is served again
	used     time.Time
	failures int
	err      error
	nextTry  time.Time     // not before, after a failure
	flight   chan struct{} // closed when the running refresh is over; nil: none runs
}

// NewCache puts a cache before client. A directory that does not exist is made.
func NewCache(client *Client, opts CacheOptions) (*Cache, error) {
	c := &Cache{
		client: client, refreshAfter: opts.RefreshAfter, log: opts.Log, now: opts.Now,
		entries: map[docID]*entry{},
	}
	if c.refreshAfter <= 0 {
		c.refreshAfter = 24 * time.Hour
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.now == nil {
		c.now = time.Now
	}
	if opts.Dir != "" {
		var err error
		if c.store, err = openStore(opts.Dir, client.levels); err != nil {
			return nil, err
		}
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// Close interrupts what is being fetched and waits for it to end.
func (c *Cache) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.wait.Wait()
	c.client.Close()
}

// Collateral returns all documents for a platform. The error is of type *Error unless ctx ended.
func (c *Cache) Collateral(ctx context.Context, p *dcap.Platform) (*dcap.Collateral, error) {
	ids, err := platformDocs(p)
	if err != nil {
		return nil, err
	}
	docs, err := c.getAll(ctx, ids)
	if err != nil {
		return nil, err
	}
	return assemble(docs), nil
}

// Levels returns the documents that an update replaces, TCB info and QE identity, without the CRLs, which are the same for
// all. The error is of type *Error unless ctx ended.
func (c *Cache) Levels(ctx context.Context, p *dcap.Platform) (*dcap.Collateral, error) {
	ids, err := platformDocs(p)
	if err != nil {
		return nil, err
	}
	docs, err := c.getAll(ctx, ids[:2])
	if err != nil {
		return nil, err
	}
	return assemble([]*document{docs[0], docs[1], {}, {}}), nil
}

// URL is the base address of the service behind the cache.
func (c *Cache) URL() string { return c.client.URL() }

// Warm gets what every platform needs: the QE identity and the root CA CRL. While it fails, no quote of any platform
// can be verified.
func (c *Cache) Warm(ctx context.Context) error {
	_, err := c.getAll(ctx, []docID{{kind: docQEIdentity}, {kind: docRootCACRL}})
	return err
}

// Doubt tells the cache that its documents for a platform did not verify. They are fetched again before they are
// served again, but not more than once a minute. It reports whether asking again can make a difference.
func (c *Cache) Doubt(p *dcap.Platform) bool {
	ids, err := platformDocs(p)
	if err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	worthwhile := false
	for _, id := range ids {
		e := c.entries[id]
		if e == nil || e.doc == nil {
			worthwhile = true
			continue
		}
		if c.now().Sub(e.doc.Fetched) > doubtInterval && !c.now().Before(e.nextTry) {
			e.doubted, worthwhile = true, true
		}
	}
	return worthwhile
}

// getAll starts every fetch that is needed before it waits for any.
func (c *Cache) getAll(ctx context.Context, ids []docID) ([]*document, error) {
	for _, id := range ids {
		_, _, _ = c.peek(id) // what it finds, or why not, get says below
	}
	docs := make([]*document, len(ids))
	for i, id := range ids {
		doc, err := c.get(ctx, id)
		if err != nil {
			return nil, err
		}
		docs[i] = doc
	}
	return docs, nil
}

func (c *Cache) get(ctx context.Context, id docID) (*document, error) {
	for range 3 { // at most: load from disk, fetch, look
		doc, flight, err := c.peek(id)
		if flight == nil {
			return doc, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("fetch %s: %w", id, ctx.Err())
		case <-flight:
		}
	}
	doc, _, err := c.peek(id)
	if doc == nil && err == nil {
		err = &Error{Kind: Unreachable, Document: id.String(), Err: errors.New("it expired as it was fetched")}
	}
	return doc, err
}

// peek returns the document, or the error that stands for it, or the refresh to wait for. It starts a refresh when one
// is due.
func (c *Cache) peek(id docID) (*document, <-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, errors.New("fetch " + id.String() + ": the cache is closed")
	}
	now := c.now()
	e := c.entries[id]
	if e == nil {
		e = &entry{}
		c.makeRoom()
		c.entries[id] = e
	}
	e.used = now
	mayTry := !now.Before(e.nextTry)
	if usable := e.doc != nil && now.Before(e.doc.Expires); usable && (!e.doubted || !mayTry) {
		if mayTry && c.due(e.doc, now) {
			c.start(id, e)
		}
		return e.doc, nil, nil
	}
	if e.flight != nil || mayTry {
		return nil, c.start(id, e), nil
	}
	return nil, nil, c.standing(id, e, now)
}

// standing is the error for a document that cannot be had before the next try.
func (c *Cache) standing(id docID, e *entry, now time.Time) error {
	if e.doc != nil && !now.Before(e.doc.Expires) {
		return &Error{
			Kind: Expired, Document: id.String(), URL: c.client.URL(), Err: e.err,
			Remedy: fmt.Sprintf("the one at hand expired at %s", e.doc.Expires.UTC().Format(time.RFC3339)),
		}
	}
	return e.err
}

// due reports whether a document that may still be served should be renewed.
func (c *Cache) due(doc *document, now time.Time) bool {
	if doc.Fetched.After(now.Add(5 * time.Minute)) {
		return true // the clock was set back: its age is not known
	}
	age := max(min(c.refreshAfter, doc.Expires.Sub(doc.Fetched)/2), time.Minute)
	return now.Sub(doc.Fetched) >= age
}

// start makes sure that a refresh of e runs. The caller holds the lock.
func (c *Cache) start(id docID, e *entry) <-chan struct{} {
	if e.flight == nil {
		e.flight = make(chan struct{})
		held, doubted := e.doc, e.doubted
		c.wait.Go(func() {
			doc, err := c.refresh(id, held, doubted)
			c.finish(id, e, doc, err)
		})
	}
	return e.flight
}

// refresh gets a document that is better than held: from the directory, where another process may have put it, or from
// the service.
func (c *Cache) refresh(id docID, held *document, doubted bool) (*document, error) {
	if c.store != nil {
		doc, err := c.store.load(id)
		switch {
		case err != nil:
			c.log.Warn("collateral in the cache directory is not usable", "document", id.String(), "error", err)
		case doc != nil && c.now().Before(doc.Expires) && !doc.Fetched.After(c.now().Add(5*time.Minute)) &&
			(held == nil || doc.Fetched.After(held.Fetched)):
			return doc, nil
		}
	}
	ctx, cancel := context.WithTimeout(c.ctx, fetchTimeout)
	defer cancel()
	doc, err := c.client.fetch(ctx, id)
	if err != nil {
		return nil, err
	}
	now := c.now()
	if !now.Before(doc.Expires) {
		return nil, &Error{
			Kind: Expired, Document: id.String(), URL: c.client.URL(),
			Err:    fmt.Errorf("the service's own copy expired at %s", doc.Expires.UTC().Format(time.RFC3339)),
			Remedy: "the service does not refresh its collateral, or this machine's clock is wrong",
		}
	}
	// A service behind a load balancer may answer with an older document than the one at hand, which is no reason to
	// step back, unless the one at hand is what does not verify.
	if held != nil && !doubted && doc.Issued.Before(held.Issued) && now.Before(held.Expires) {
		older := *held
		doc = &older
	}
	doc.Fetched = now
	if c.store != nil {
		if err := c.store.save(id, doc); err != nil {
			c.log.Warn("collateral cannot be kept for the next start", "document", id.String(), "error", err)
		}
	}
	return doc, nil
}

func (c *Cache) finish(id docID, e *entry, doc *document, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		e.doc, e.doubted, e.failures, e.err, e.nextTry = doc, false, 0, nil, time.Time{}
	} else {
		e.failures++
		e.err = err
		e.nextTry = c.now().Add(backoff(e.failures, err))
		if c.ctx.Err() == nil {
			args := []any{"document", id.String(), "error", err, "next_try", e.nextTry.UTC().Format(time.RFC3339)}
			if e.doc != nil {
				args = append(args, "copy_at_hand_expires", e.doc.Expires.UTC().Format(time.RFC3339))
			}
			c.log.Warn("collateral refresh failed", args...)
		}
	}
	close(e.flight)
	e.flight = nil
}

// backoff is how long a service is left alone after so many failures in a row.
func backoff(failures int, err error) time.Duration {
	var failure *Error
	if errors.As(err, &failure) && failure.retryAfter > 0 {
		return failure.retryAfter
	}
	return min(5*time.Second<<min(failures-1, 10), 5*time.Minute)
}

// makeRoom drops the document that has been of no use for longest. The caller holds the lock.
func (c *Cache) makeRoom() {
	if len(c.entries) < maxEntries {
		return
	}
	var oldest docID
	found := false
	for id, e := range c.entries {
		if e.flight == nil && (!found || e.used.Before(c.entries[oldest].used)) {
			oldest, found = id, true
		}
	}
	if found {
		delete(c.entries, oldest)
	}
}

// DocumentStatus is what a cache knows of one document.
type DocumentStatus struct {
	Document string    // for example "TCB info of FMSPC 00606A000000"
	Kind     string    // tcb-info, qe-identity, pck-crl or root-ca-crl
	Issued   time.Time // zero when there is none
	Expires  time.Time
	Fetched  time.Time
	Err      error // of the last attempt to renew it
}

// Status lists the documents that have been asked for, sorted by name.
func (c *Cache) Status() []DocumentStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]DocumentStatus, 0, len(c.entries))
	for id, e := range c.entries {
		s := DocumentStatus{Document: id.String(), Kind: string(id.kind), Err: e.err}
		if e.doc != nil {
			s.Issued, s.Expires, s.Fetched = e.doc.Issued, e.doc.Expires, e.doc.Fetched
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b DocumentStatus) int {
		switch {
		case a.Document < b.Document:
			return -1
		case a.Document > b.Document:
			return 1
		default:
			return 0
		}
	})
	return all
}
