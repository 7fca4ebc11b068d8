package ecs

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/requests"
)

// maxReply bounds what is read of an answer, in bytes. The longest answer, 100
// instances or images, has about 500 KB.
const maxReply = 16 << 20

// writeGrace is how long a write that has been sent may still take after its
// caller gave up: cutting it would leave open whether it happened.
const writeGrace = 20 * time.Second

// How often a call is made before its failure is believed. The waits between
// add up to about half a minute for transient failures. For throttling and for
// states that pass it is the caller's deadline that counts, or where there is
// none, about ten minutes.
const (
	transientAttempts = 6
	patientAttempts   = 24
)

// secretParams are the arguments whose values must not show anywhere.
var secretParams = []string{"Password", "UserData", "CommandContent", "Content", "Policy", "OIDCToken", "Plaintext"}

// NewToken returns a fresh ClientToken: 32 hex digits, of the at most 64 ASCII
// characters that the service takes.
func NewToken() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: see crypto/rand
	return hex.EncodeToString(b[:])
}

// call makes a call until it succeeds or its failure is final, and decodes the
// answer into out, which may be nil.
func (c *Client) call(ctx context.Context, a *action, params map[string]string, out any) error {
	if a.token && params["ClientToken"] == "" {
		with := map[string]string{"ClientToken": NewToken()}
		for k, v := range params {
			with[k] = v
		}
		params = with
	}
	return c.callWith(ctx, a, params, out, c.creds)
}

// callWith is call with the session of a source.
func (c *Client) callWith(ctx context.Context, a *action, params map[string]string, out any, creds *resolver) error {
	if ctx.Err() != nil {
		return interrupted(a, nil, 0, ctx.Err())
	}
	var last *Error
	lastChance, renewed := false, false
	for attempt := 1; ; attempt++ {
		if err := c.gates.pass(ctx, a.name); err != nil {
			return interrupted(a, last, attempt-1, err)
		}
		id, err := creds.get(ctx)
		if err != nil {
			return err
		}
		started := time.Now()
		failure := c.attempt(ctx, a, params, out, id)
		fields := map[string]any{"action": a.name, "attempt": attempt, "ms": time.Since(started).Milliseconds()}
		if failure == nil {
			c.log(ctx, "called Alibaba Cloud", fields)
			return nil
		}
		failure.Attempts = attempt
		if failure.Class == ClassAuth {
			failure.Remedy = strings.TrimSpace(failure.Remedy + " The credentials come from " + c.creds.source + ".")
		}
		fields["code"], fields["request_id"], fields["class"] = failure.Code, failure.RequestID, failure.Class.String()
		c.log(ctx, "call to Alibaba Cloud failed", fields)
		last = failure
		if failure.Code == sessionExpired && !renewed && creds.drop(id) {
			renewed = true
			continue
		}
		wait, again := c.again(ctx, failure, attempt)
		if !again || lastChance {
			return failure
		}
		if failure.Class == ClassThrottled {
			c.gates.hold(a.name, wait)
			continue
		}
		if cause := sleep(ctx, wait); cause != nil {
			// The caller gave up and nobody knows whether the write
			// happened: making it once more under its token tells.
			if lastChance = failure.ambiguous(a); !lastChance {
				return interrupted(a, failure, attempt, cause)
			}
		}
	}
}

// ambiguous tells that nobody knows whether a write happened, and that making
// it again under the same token would tell.
func (e *Error) ambiguous(a *action) bool {
	return a.token && e.Code == "" && e.Class == ClassTransient
}

// again says whether the call is made once more, and after which wait.
func (c *Client) again(ctx context.Context, e *Error, attempt int) (time.Duration, bool) {
	limit := 1
	switch e.Class {
	case ClassTransient:
		limit = transientAttempts
	case ClassThrottled, ClassState, ClassProcessing:
		limit = patientAttempts
		if _, ok := ctx.Deadline(); ok { // the caller says how long is too long
			limit = math.MaxInt
		}
	case ClassClock:
		limit = 2
	case ClassFinal, ClassAuth, ClassDependency:
	}
	// Dependencies of a machine that is being deleted pass; whether a group's
	// do is the caller's to judge.
	return c.backoff.after(attempt), attempt < limit
}

func interrupted(a *action, last *Error, attempts int, err error) error {
	if last == nil {
		return &Error{Action: a.name, Attempts: attempts, Err: err}
	}
	return &Error{
		Action: a.name, Code: last.Code, Message: last.Message, RequestID: last.RequestID, Status: last.Status,
		Class: last.Class, Attempts: attempts, Remedy: last.Remedy, Err: err,
	}
}

// attempt makes the call once.
func (c *Client) attempt(ctx context.Context, a *action, params map[string]string, out any, id session) *Error {
	s := &scrubber{}
	s.add(id.accessKey, id.secret, id.token)
	for _, name := range secretParams {
		s.add(params[name])
	}
	ctx, cancel := attemptContext(ctx, a)
	defer cancel()
	req, err := c.request(ctx, a, params, id)
	if err != nil {
		return &Error{Action: a.name, Err: s.wrap(err)}
	}
	s.add(req.URL.Query().Get("Signature"))
	resp, err := c.http.Do(req)
	if err != nil {
		return transportError(a, err, s)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if a.secretReply {
		defer clear(body)
	}
	if err != nil {
		return transportError(a, fmt.Errorf("read the answer: %w", err), s)
	}
	if resp.StatusCode/100 != 2 {
		return replyError(a, resp.StatusCode, body, s)
	}
	return decodeReply(a, body, out, s)
}

// decodeReply reads a success. An answer that cannot be read is ambiguous for
// a write, so it counts as transient.
func decodeReply(a *action, body []byte, out any, s *scrubber) *Error {
	if len(body) > maxReply {
		return &Error{Action: a.name, Class: ClassFinal, Err: fmt.Errorf("the answer has more than %d bytes", maxReply)}
	}
	if out == nil {
		out = &struct{}{}
	}
	decode := json.NewDecoder(bytes.NewReader(body)).Decode
	if a.secretReply { // a decoder keeps a copy that nobody can wipe, and its errors quote
		decode = func(out any) error {
			if json.Unmarshal(body, out) != nil {
				return errors.New("it is not what the service answers")
			}
			return nil
		}
	}
	if err := decode(out); err != nil {
		return &Error{
			Action: a.name, Class: ClassTransient, Status: http.StatusOK,
			Err:    s.wrap(fmt.Errorf("read the answer%s: %w", a.beginning(" ", body, s), err)),
			Remedy: "Something between here and Alibaba Cloud answered in its place: look at the proxy and the endpoints setting.",
		}
	}
	return nil
}

// attemptContext bounds an attempt. A read ends with its caller; a write goes
// on for a while.
func attemptContext(ctx context.Context, a *action) (context.Context, context.CancelFunc) {
	if !a.write {
		return context.WithTimeout(ctx, a.timeout)
	}
	detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.timeout)
	stop := context.AfterFunc(ctx, func() {
		_ = sleep(detached, writeGrace)
		cancel()
	})
	return detached, func() { stop(); cancel() }
}

// request composes and signs a call with the SDK. Everything but what signing
// adds goes into the body.
func (c *Client) request(ctx context.Context, a *action, params map[string]string, id session) (*http.Request, error) {
	where := c.endpoints[a.product.name]
	r := requests.NewCommonRequest()
	r.Method = requests.POST
	r.Scheme = strings.ToUpper(where.scheme)
	r.Domain = where.host
	r.Version = a.product.version
	r.ApiName = a.name
	r.Product = a.product.name
	r.RegionId = c.region
	r.FormParams = make(map[string]string, len(params))
	for k, v := range params {
		r.FormParams[k] = v
	}
	r.TransToAcsRequest()
	provider := credentials.NewStaticSTSCredentialsProvider(id.accessKey, id.secret, id.token)
	if err := auth.Sign(r, nil, c.region, provider); err != nil {
		return nil, fmt.Errorf("sign the request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, r.BuildUrl(), r.GetBodyReader())
	if err != nil {
		return nil, errors.New("compose the request: the endpoint is not usable in a URL")
	}
	for k, v := range r.Headers {
		req.Header.Set(k, v)
	}
	req.Header.Set("User-Agent", c.userAgent)
	return req, nil
}

// pages calls a paged action until its NextToken is empty, and hands each page
// to add. A token that comes twice would go on for ever.
func (c *Client) pages(ctx context.Context, a *action, params map[string]string, page func() (out any, next func() string)) error {
	seen := map[string]bool{}
	token := ""
	for {
		with := map[string]string{"MaxResults": strconv.Itoa(pageSize)}
		for k, v := range params {
			with[k] = v
		}
		if token != "" {
			with["NextToken"] = token
		}
		out, next := page()
		if err := c.call(ctx, a, with, out); err != nil {
			return err
		}
		token = next()
		if token == "" {
			return nil
		}
		if seen[token] {
			return &Error{Action: a.name, Err: errors.New("the service gives the same NextToken again and again")}
		}
		seen[token] = true
	}
}

// pageSize is what every paged action accepts: 50.
const pageSize = 50

// list writes values as NAME.1, NAME.2 ... into params.
func list(params map[string]string, name string, values []string) {
	for i, v := range values {
		params[fmt.Sprintf("%s.%d", name, i+1)] = v
	}
}

// set writes a value that is not empty: an empty one would be an argument too.
func set(params map[string]string, name, value string) {
	if value != "" {
		params[name] = value
	}
}

// text is a string that the service may also send as a number or a boolean, or
// as null.
type text string

func (t *text) UnmarshalJSON(data []byte) error {
	switch {
	case string(data) == "null":
		return nil
	case len(data) > 0 && data[0] == '"':
		return json.Unmarshal(data, (*string)(t))
	case len(data) > 0 && (data[0] == '{' || data[0] == '['):
		return fmt.Errorf("%s is neither a string nor a number", clip(string(data), 20))
	default:
		*t = text(data)
		return nil
	}
}

// number is a number that the service may also send as a string; an empty one
// is 0.
type number float64

func (n *number) UnmarshalJSON(data []byte) error {
	var t text
	if err := t.UnmarshalJSON(data); err != nil {
		return err
	}
	if t == "" {
		return nil
	}
	f, err := strconv.ParseFloat(string(t), 64)
	if err != nil {
		return fmt.Errorf("%q is not a number", clip(string(t), 20))
	}
	*n = number(f)
	return nil
}
