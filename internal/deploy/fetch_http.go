package deploy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// fetchClient is the client for those who bring none.
func fetchClient() *http.Client {
	transport := http.DefaultTransport
	if t, ok := transport.(*http.Transport); ok {
		t = t.Clone() // keeps the proxy environment
		t.ResponseHeaderTimeout = headerTimeout
		t.DisableCompression = true // the digest is of the file, not of a compressed form
		transport = t
	}
	return &http.Client{Transport: transport}
}

// httpsOnly refuses to be sent to a server that anybody can impersonate. The
// digest would notice another file, not that somebody reads along.
func httpsOnly(req *http.Request, via []*http.Request) error {
	if req.URL.Scheme != "https" {
		return errRedirect{fmt.Sprintf("it redirects to %s://%s, want https", req.URL.Scheme, req.URL.Host)}
	}
	if len(via) >= 10 {
		return errRedirect{"it redirects more than 10 times"}
	}
	return nil
}

type errRedirect struct{ reason string }

func (e errRedirect) Error() string { return e.reason }

// get downloads what is missing, and tries again as long as that may help.
func (d *download) get(ctx context.Context, u fetchURL) error {
	client := d.spec.Client
	if client == nil {
		client = fetchClient()
	}
	c := *client
	c.CheckRedirect = httpsOnly
	wait := d.spec.Wait
	if wait == nil {
		wait = pause
	}
	tries := d.spec.Tries
	if tries <= 0 {
		tries = defaultTries
	}
	for fruitless := 0; ; {
		before := d.done
		err := d.getOnce(ctx, &c, u)
		if err == nil {
			if err = d.matches(); err == nil {
				return nil
			}
			if ctx.Err() != nil { // the end of the body may have been ours
				return ctx.Err()
			}
			if d.resumed == 0 { // all of it came from this server just now
				return d.discard(err)
			}
			if err := d.restart(); err != nil { // the beginning was of something else
				return err
			}
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var again *retryError
		if !errors.As(err, &again) {
			return err
		}
		if fruitless++; d.done > before {
			fruitless = 0
		}
		if fruitless >= tries {
			return fmt.Errorf("%w: %w; %d bytes have arrived and are kept for the next try", ErrUnreachable, again.err, d.done)
		}
		if err := wait(ctx, fruitless); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, try int) error {
	t := time.NewTimer(time.Second << min(try, 4) / 2) // 1, 2, 4, 8 seconds
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// retryError is a failure that another try may not meet.
type retryError struct{ err error }

func (e *retryError) Error() string { return e.err.Error() }
func (e *retryError) Unwrap() error { return e.err }

// getOnce asks once for what is missing.
func (d *download) getOnce(ctx context.Context, client *http.Client, u fetchURL) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return errors.New("the URL cannot be requested")
	}
	req.Header.Set("User-Agent", "ccctl")
	req.Header.Set("Accept-Encoding", "identity")
	if d.done > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(d.done, 10)+"-")
	}
	resp, err := client.Do(req)
	if err != nil {
		return requestError(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := d.accept(resp); err != nil || resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return err
	}
	stalled := time.AfterFunc(stallTimeout, func() { cancel(errStalled) })
	defer stalled.Stop()
	_, err = io.Copy(d, stallReader{resp.Body, stalled})
	var tooLarge errTooLarge
	var local localError
	switch {
	case err == nil && d.total >= 0 && d.done < d.total:
		return &retryError{fmt.Errorf("the connection ended after %d of %d bytes", d.done, d.total)}
	case err == nil:
		return nil
	case errors.As(err, &tooLarge):
		return d.discard(tooLarge)
	case errors.As(err, &local):
		return local.error
	case errors.Is(context.Cause(ctx), errStalled):
		return &retryError{errStalled}
	default:
		return &retryError{withoutURL(err)}
	}
}

var errStalled = fmt.Errorf("nothing has arrived for %s", stallTimeout)

// stallReader puts off giving up each time that something arrives.
type stallReader struct {
	r     io.Reader
	timer *time.Timer
}

func (s stallReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if n > 0 {
		s.timer.Reset(stallTimeout)
	}
	return n, err
}

// accept looks at the status and prepares for the body. A range that the server
// does not have leaves nothing to read: the digest decides whether the part is
// the whole file.
func (d *download) accept(resp *http.Response) error {
	switch {
	case resp.StatusCode == http.StatusPartialContent && d.done > 0:
		start, total, ok := contentRange(resp.Header.Get("Content-Range"))
		if !ok || start != d.done {
			err := &retryError{fmt.Errorf("the server was asked for bytes from %d and answered with %q", d.done, resp.Header.Get("Content-Range"))}
			return errors.Join(d.restart(), err)
		}
		d.total = total
	case resp.StatusCode == http.StatusOK:
		if d.done > 0 { // it sends all of it
			if err := d.restart(); err != nil {
				return err
			}
		}
		d.total = resp.ContentLength
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && d.done > 0:
		return nil
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500:
		return &retryError{fmt.Errorf("the server answered %s", resp.Status)}
	default:
		return fmt.Errorf("the server answered %s", resp.Status)
	}
	if limit := d.spec.MaxSize; limit > 0 && d.total > limit {
		return d.discard(errTooLarge{limit})
	}
	return nil
}

// contentRange reads "bytes START-END/TOTAL"; the total may be "*".
func contentRange(s string) (start, total int64, ok bool) {
	s, ok = strings.CutPrefix(s, "bytes ")
	span, size, slash := strings.Cut(s, "/")
	first, _, dash := strings.Cut(span, "-")
	if !ok || !slash || !dash {
		return 0, 0, false
	}
	start, err := strconv.ParseInt(first, 10, 64)
	if err != nil || start < 0 {
		return 0, 0, false
	}
	if size == "*" {
		return start, -1, true
	}
	total, err = strconv.ParseInt(size, 10, 64)
	return start, total, err == nil && total > start
}

// requestError sorts the failures of a request: a redirect that is not followed
// and a certificate that is not trusted stay as they are.
func requestError(err error) error {
	var redirect errRedirect
	if errors.As(err, &redirect) {
		return redirect
	}
	err = withoutURL(err)
	if isCertificateError(err) {
		return err
	}
	return &retryError{err}
}

// withoutURL strips the URL that net/http adds: its query may have a token.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// isCertificateError tells that the server is not who it should be.
func isCertificateError(err error) bool {
	var verification *tls.CertificateVerificationError
	return errors.As(err, &verification)
}
