package pccs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ccctl/terraform-provider-cc/internal/sgxcrypto/dcap"
)

// Update says how soon after a TCB recovery its stricter TCB levels are asked for. Services that predate the argument
// ignore it.
type Update string

// Updates.
const (
	UpdateStandard Update = "standard" // once the industry has had its time to patch; what a service does unasked
	UpdateEarly    Update = "early"    // from the day the recovery is disclosed
)

// levelSet says which set of TCB levels is asked for.
type levelSet struct {
	update Update
	number uint32 // tcbEvaluationDataNumber; 0: the one of update
	v3     bool   // of version 3 of the API, which has one set
}

func (s levelSet) set(query url.Values) {
	switch {
	case s.number != 0:
		query.Set("tcbEvaluationDataNumber", strconv.FormatUint(uint64(s.number), 10))
	case s.update == UpdateEarly:
		query.Set("update", string(s.update))
	}
}

// String is part of the names of cache files; the standard set's is empty.
func (s levelSet) String() string {
	switch {
	case s.v3:
		return "v3"
	case s.number != 0:
		return strconv.FormatUint(uint64(s.number), 10)
	case s.update == UpdateEarly:
		return string(s.update)
	}
	return ""
}

// check holds what came against what was asked for: services that predate the arguments ignore them. Whether "early" was
// ignored cannot be told, since most of the time it is the same set.
func (s levelSet) check(id docID, doc *document) error {
	if s.number != 0 && id.hasLevels() && doc.number != s.number {
		return fmt.Errorf("the document has tcbEvaluationDataNumber %d, and %d was asked for", doc.number, s.number)
	}
	return nil
}

// ClientOptions say which service to ask, and how.
type ClientOptions struct {
	// URL is the service's address, as NormalizeURL completes it.
	URL string
	// RootCACRLURL replaces the place of the root CA CRL: "rootcacrl" below URL, or Intel's distribution point where
	// URL is Intel's.
	RootCACRLURL string
	// Roots are the certification authorities that may have issued the service's TLS certificate; nil is the system's.
	Roots *x509.CertPool
	// Update is UpdateStandard unless given.
	Update Update
	// EvaluationNumber, if not 0, asks for TCB info and QE identity of that tcbEvaluationDataNumber, instead of Update's.
	EvaluationNumber uint32
	// AllowAPIv3 accepts a URL that ends in /sgx/certification/v3/. Intel has retired that version; a caching service
	// may still have documents of its time, whose TCB info (version 2) lists no advisories.
	AllowAPIv3 bool
	// Attempts to get a document, the first included; 3 unless given.
	Attempts int
	// Timeout of one attempt; 10 seconds unless given.
	Timeout time.Duration
}

// Client asks a collateral service. It keeps nothing: see Cache. It may be used by several goroutines at once.
type Client struct {
	base, rootCRL *url.URL
	levels        levelSet
	attempts      int
	timeout       time.Duration
	http          *http.Client
	pause         func(ctx context.Context, d time.Duration) error
}

// NewClient checks the options; it connects to nothing.
func NewClient(opts ClientOptions) (*Client, error) {
	base, err := parseBase(opts.URL, opts.AllowAPIv3)
	if err != nil {
		return nil, err
	}
	rootCRL, err := rootCRLURL(base, opts.RootCACRLURL)
	if err != nil {
		return nil, err
	}
	if opts.Update != "" && opts.Update != UpdateStandard && opts.Update != UpdateEarly {
		return nil, fmt.Errorf("ask collateral service: update is %q, want %q or %q", opts.Update, UpdateStandard, UpdateEarly)
	}
	levels := levelSet{opts.Update, opts.EvaluationNumber, strings.HasSuffix(base.Path, apiPathV3)}
	switch {
	case opts.Update == UpdateEarly && levels.number != 0:
		return nil, errors.New("ask collateral service: give either an evaluation number or update early, not both")
	case levels.v3 && (opts.Update == UpdateEarly || levels.number != 0):
		return nil, errors.New("ask collateral service: version 3 of the API has one set of TCB levels: give neither update early nor an evaluation number")
	}
	c := &Client{
		base: base, rootCRL: rootCRL, levels: levels,
		attempts: opts.Attempts, timeout: opts.Timeout, pause: pause,
	}
	if c.attempts <= 0 {
		c.attempts = 3
	}
	if c.timeout <= 0 {
		c.timeout = 10 * time.Second
	}
	c.http = &http.Client{Transport: transport(opts.Roots), CheckRedirect: sameHost}
	return c, nil
}

func rootCRLURL(base *url.URL, given string) (*url.URL, error) {
	if given == "" {
		if strings.EqualFold(base.Hostname(), "api.trustedservices.intel.com") {
			given = intelRootCRL
		} else {
			return base.JoinPath(docID{kind: docRootCACRL}.path(levelSet{})), nil
		}
	}
	u, err := url.Parse(given)
	switch {
	case err != nil, u.Host == "", u.User != nil:
		return nil, fmt.Errorf("read URL of the root CA CRL %q: it is not of the form https://host/path", redactURL(given))
	case u.Scheme == "https", u.Scheme == "http" && loopbackName(u.Hostname()):
		return u, nil
	default:
		return nil, fmt.Errorf("read URL of the root CA CRL %q: use https; plain http is for loopback addresses only", given)
	}
}

// transport always verifies TLS; there is no way to ask it not to.
func transport(roots *x509.CertPool) *http.Transport {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	plain := &net.Dialer{Timeout: 5 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		if !loopbackAddress(address) {
			return fmt.Errorf("plain http to %s, which is not a loopback address", address)
		}
		return nil
	}}
	return &http.Transport{
		Proxy:                  httpsProxy,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    5 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           4,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: maxHeader,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if ctx.Value(plainHTTP{}) != nil {
				return plain.DialContext(ctx, network, address)
			}
			return dialer.DialContext(ctx, network, address)
		},
	}
}

// plainHTTP marks the context of a request without TLS.
type plainHTTP struct{}

// httpsProxy leaves plain http, which never goes further than this machine, out of any proxy.
func httpsProxy(r *http.Request) (*url.URL, error) {
	if r.URL.Scheme == "http" {
		return nil, nil //nolint:nilnil // http.Transport's way to say "no proxy".
	}
	return http.ProxyFromEnvironment(r)
}

func sameHost(r *http.Request, via []*http.Request) error {
	first := via[0].URL
	if r.URL.Scheme != first.Scheme || !strings.EqualFold(r.URL.Host, first.Host) {
		return fmt.Errorf("it redirects to another host, %s; give that URL if it is meant", r.URL.Host)
	}
	if len(via) > 3 {
		return errors.New("it redirects in circles")
	}
	return nil
}

// URL is the service's base address.
func (c *Client) URL() string { return c.base.String() }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Collateral gets all documents for a platform, at once. The error is of type *Error unless ctx ended.
func (c *Client) Collateral(ctx context.Context, p *dcap.Platform) (*dcap.Collateral, error) {
	ids, err := platformDocs(p)
	if err != nil {
		return nil, err
	}
	docs := make([]*document, len(ids))
	group, ctx := errgroup.WithContext(ctx)
	for i, id := range ids {
		group.Go(func() error {
			var err error
			docs[i], err = c.fetch(ctx, id)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return assemble(docs), nil
}

// Available gets what it can of the documents for a platform, at once, and returns what kept it from getting the others,
// each of type *Error unless ctx ended. Without an FMSPC no TCB info is asked for.
func (c *Client) Available(ctx context.Context, fmspc *dcap.FMSPC, ca string) (*dcap.Collateral, []error) {
	p := &dcap.Platform{CA: ca}
	if fmspc != nil {
		p.FMSPC = *fmspc
	}
	ids, err := platformDocs(p)
	if err != nil {
		return &dcap.Collateral{}, []error{err}
	}
	docs, errs := make([]*document, len(ids)), make([]error, len(ids))
	var wait sync.WaitGroup
	for i, id := range ids {
		docs[i] = &document{}
		if fmspc == nil && id.kind == docTCBInfo {
			continue
		}
		wait.Go(func() {
			if doc, err := c.fetch(ctx, id); err == nil {
				docs[i] = doc
			} else {
				errs[i] = err
			}
		})
	}
	wait.Wait()
	return assemble(docs), slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}

// fetch gets one document, again if the service fails in a way that may pass.
func (c *Client) fetch(ctx context.Context, id docID) (*document, error) {
	for attempt := 1; ; attempt++ {
		doc, err := c.fetchOnce(ctx, id)
		var failure *Error
		if err == nil || !errors.As(err, &failure) || failure.Kind != Unreachable || attempt == c.attempts {
			return doc, err
		}
		// Full jitter: many servers that lost the same service must not come back to it in step.
		wait := rand.N(250 * time.Millisecond << (2 * (attempt - 1))) //nolint:gosec // Spreads load, guards nothing.
		if err := c.pause(ctx, min(max(wait, failure.retryAfter), 10*time.Second)); err != nil {
			return nil, fmt.Errorf("%w (after: %w)", err, failure)
		}
	}
}

func (c *Client) fetchOnce(ctx context.Context, id docID) (*document, error) {
	target := c.rootCRL
	if id.kind != docRootCACRL {
		ref, err := url.Parse(id.path(c.levels))
		if err != nil {
			return nil, fmt.Errorf("ask for %s: %w", id, err)
		}
		target = c.base.ResolveReference(ref)
	}
	got, err := c.get(ctx, id, target)
	if err != nil {
		return nil, err
	}
	chain, err := chainOf(id, got.header)
	if err == nil {
		var doc *document
		if doc, err = newDocument(id, got.body, chain); err == nil {
			err = c.levels.check(id, doc)
		}
		if err == nil {
			return doc, nil
		}
	}
	return nil, &Error{
		Kind: Malformed, Document: id.String(), URL: target.String(), Err: err, Remedy: "check that the URL is a PCCS of API version 4",
	}
}

// answer is what a service said with status 200.
type answer struct {
	header         http.Header
	body           []byte
	tls            *tls.ConnectionState // nil without TLS
	sent, received time.Time            // by this machine's clock
}

// get asks once. The error is of type *Error unless ctx ended.
func (c *Client) get(ctx context.Context, id docID, target *url.URL) (*answer, error) {
	failure := &Error{Document: id.String(), URL: target.String()}
	attemptCtx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if target.Scheme == "http" {
		attemptCtx = context.WithValue(attemptCtx, plainHTTP{}, true)
	}
	req, err := http.NewRequestWithContext(attemptCtx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", id, err)
	}
	req.Header.Set("User-Agent", "ccctl")
	got := &answer{sent: time.Now()}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.connectionError(ctx, attemptCtx, failure, err)
	}
	got.received, got.header, got.tls = time.Now(), resp.Header, resp.TLS
	defer func() { _ = resp.Body.Close() }()
	got.body, err = io.ReadAll(io.LimitReader(resp.Body, id.limit()+1))
	if resp.StatusCode != http.StatusOK {
		return nil, statusError(failure, resp)
	}
	switch {
	case err != nil:
		return nil, c.connectionError(ctx, attemptCtx, failure, err)
	case int64(len(got.body)) > id.limit():
		failure.Kind = Malformed
		failure.Err = fmt.Errorf("the answer is longer than %d bytes", id.limit())
		return nil, failure
	}
	return got, nil
}

func chainOf(id docID, header http.Header) ([]byte, error) {
	names := id.chainHeaders()
	for _, name := range names {
		if value := header.Get(name); value != "" {
			chain, err := decodeChain(value)
			if err != nil {
				return nil, fmt.Errorf("read header %s: %w", name, err)
			}
			return chain, nil
		}
	}
	if names != nil {
		return nil, fmt.Errorf("the answer has no header %s", strings.Join(names, " or "))
	}
	return nil, nil
}

// connectionError says why there was no answer. The end of the caller's own context is no fault of the service.
func (c *Client) connectionError(ctx, attempt context.Context, failure *Error, err error) error {
	if cause := ctx.Err(); cause != nil {
		return fmt.Errorf("fetch %s: %w", failure.Document, cause)
	}
	failure.Kind = Unreachable
	var uerr *url.Error
	if errors.As(err, &uerr) {
		err = uerr.Err // url.Error repeats the URL
	}
	failure.Err = err
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	// What the connection says when it is given up for lateness depends on who noticed first.
	case errors.Is(err, context.DeadlineExceeded), attempt.Err() != nil:
		failure.Err = fmt.Errorf("no answer within %v", c.timeout)
	case errors.As(err, &unknown):
		failure.Kind = Refused
		failure.Remedy = "if the service has a private CA, give its certificate; verification cannot be turned off"
	case errors.As(err, &name), errors.As(err, &invalid):
		failure.Kind = Refused
	case strings.Contains(err.Error(), "redirects"):
		failure.Kind = Refused
	}
	if failure.Remedy == "" {
		failure.Remedy = connectionRemedy(failure.Err)
	}
	return failure
}

func statusError(failure *Error, resp *http.Response) error {
	failure.Status = resp.StatusCode
	switch {
	case resp.StatusCode == http.StatusNotFound, resp.StatusCode == 461: // 461: PCCS, platform unknown
		failure.Kind = NotFound
		failure.Err = errors.New("the service has no such document")
		failure.Remedy = "check that the platform is an SGX platform of Intel's, or ask another service"
	case resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode >= 500:
		failure.Kind = Unreachable
		failure.Remedy = "try again later, or ask another service"
		if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
			failure.retryAfter = time.Duration(min(seconds, 3600)) * time.Second
		}
	case resp.StatusCode == http.StatusGone:
		failure.Kind = Refused
		failure.Err = errors.New("the document has been withdrawn")
	default:
		failure.Kind = Refused
	}
	// Intel's service, and Alibaba's after it, says why in a header.
	if said := resp.Header.Get("Error-Message"); said != "" {
		err := fmt.Errorf("the service says %.200q", said)
		if failure.Err != nil {
			err = fmt.Errorf("%w, and %w", failure.Err, err)
		}
		failure.Err = err
	}
	return failure
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
