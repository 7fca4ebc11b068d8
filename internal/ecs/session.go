package ecs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// refreshBefore is how long before its end a session is renewed: longer than
// any single call may take.
const refreshBefore = 3 * time.Minute

// resolver keeps the session of one source and renews it when it ends.
type resolver struct {
	source string
	fetch  func(context.Context) (session, error)

	mu      sync.Mutex
	current session
	held    bool
}

func (r *resolver) get(ctx context.Context) (session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held && (r.current.expires.IsZero() || time.Until(r.current.expires) > refreshBefore) {
		return r.current, nil
	}
	s, err := r.fetch(ctx)
	if err != nil {
		// A session that has not ended yet is better than none.
		if r.held && time.Until(r.current.expires) > 0 {
			return r.current, nil
		}
		return session{}, fmt.Errorf("get credentials from %s: %w", r.source, err)
	}
	r.current, r.held = s, true
	return s, nil
}

// sessionExpired is the code by which the service refuses a session that has
// ended. By this machine's clock, if that is behind, it may have a while yet.
const sessionExpired = "InvalidSecurityToken.Expired"

// drop forgets a session that the service takes for ended, and tells whether
// there may be another.
func (r *resolver) drop(s session) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.expires.IsZero() { // it was given, and nobody gives another
		return false
	}
	if r.current == s { // nobody else has renewed it meanwhile
		r.held = false
	}
	return true
}

// stsReply is what AssumeRole and AssumeRoleWithOIDC answer.
type stsReply struct {
	Credentials struct {
		AccessKey  string    `json:"AccessKeyId"`
		Secret     string    `json:"AccessKeySecret"`
		Token      string    `json:"SecurityToken"`
		Expiration time.Time `json:"Expiration"`
	} `json:"Credentials"`
}

func (r stsReply) session(action string) (session, error) {
	c := r.Credentials
	if c.AccessKey == "" || c.Secret == "" || c.Token == "" {
		return session{}, &Error{Action: action, Err: errors.New("the answer has no complete credentials")}
	}
	return session{accessKey: c.AccessKey, secret: c.Secret, token: c.Token, expires: c.Expiration}, nil
}

// Limits of AssumeRole's DurationSeconds in STS.
const (
	minSession   = 15 * time.Minute
	usualSession = time.Hour
)

// assuming wraps a source in a role.
func (r *resolver) assuming(c *Client, role AssumeRole) (*resolver, error) {
	if !strings.HasPrefix(role.RoleARN, "acs:ram::") {
		return nil, fmt.Errorf("assume_role: role_arn %q is not of the form acs:ram::ACCOUNT:role/NAME", role.RoleARN)
	}
	if role.Duration == 0 {
		role.Duration = usualSession
	}
	if role.Duration < minSession {
		return nil, fmt.Errorf("assume_role: a session of %s is shorter than the 15 minutes that STS gives at least", role.Duration)
	}
	if role.SessionName == "" {
		role.SessionName = "cc"
	}
	params := map[string]string{
		"RoleArn": role.RoleARN, "RoleSessionName": role.SessionName,
		"DurationSeconds": strconv.Itoa(int(role.Duration.Seconds())),
	}
	set(params, "ExternalId", role.ExternalID)
	set(params, "Policy", role.Policy)
	return &resolver{
		source: fmt.Sprintf("role %s, assumed with %s", role.RoleARN, r.source),
		fetch: func(ctx context.Context) (session, error) {
			var out stsReply
			if err := c.callWith(ctx, assumeRole, params, &out, r); err != nil {
				return session{}, err
			}
			return out.session(assumeRole.name)
		},
	}, nil
}

// oidc exchanges an identity provider's token for a session. The call is not
// signed: the token is the proof.
func oidc(c *Client, conf OIDC) (*resolver, error) {
	if conf.ProviderARN == "" || conf.TokenFile == "" || conf.RoleARN == "" {
		return nil, errors.New("OIDC needs a provider ARN, a token file and a role ARN, all three")
	}
	if conf.SessionName == "" {
		conf.SessionName = "cc"
	}
	return &resolver{
		source: fmt.Sprintf("role %s, with the OIDC token in %s", conf.RoleARN, conf.TokenFile),
		fetch:  func(ctx context.Context) (session, error) { return c.assumeWithOIDC(ctx, conf) },
	}, nil
}

var assumeRoleWithOIDC = &action{name: "AssumeRoleWithOIDC", product: productSTS, timeout: usualTimeout}

func (c *Client) assumeWithOIDC(ctx context.Context, conf OIDC) (session, error) {
	a := assumeRoleWithOIDC
	token, err := os.ReadFile(conf.TokenFile) // again each time: the file is rotated
	if err != nil {
		return session{}, err
	}
	s := &scrubber{}
	s.add(strings.TrimSpace(string(token)))
	form := url.Values{
		"Action": {a.name}, "Version": {a.product.version}, "Format": {"JSON"},
		"Timestamp": {time.Now().UTC().Format("2006-01-02T15:04:05Z")}, "SignatureNonce": {NewToken()},
		"RoleArn": {conf.RoleARN}, "OIDCProviderArn": {conf.ProviderARN}, "RoleSessionName": {conf.SessionName},
		"OIDCToken": {strings.TrimSpace(string(token))}, "DurationSeconds": {strconv.Itoa(int(usualSession.Seconds()))},
	}
	where := c.endpoints[a.product.name]
	var out stsReply
	for attempt := 1; ; attempt++ {
		failure := c.plainPost(ctx, a, where.scheme+"://"+where.host+"/", form, &out, s)
		if failure == nil {
			return out.session(a.name)
		}
		failure.Attempts = attempt
		wait, again := c.again(ctx, failure, attempt)
		if !again {
			return session{}, failure
		}
		form.Set("SignatureNonce", NewToken())
		if err := sleep(ctx, wait); err != nil {
			return session{}, interrupted(a, failure, attempt, err)
		}
	}
}

func (c *Client) plainPost(ctx context.Context, a *action, target string, form url.Values, out any, s *scrubber) *Error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		return &Error{Action: a.name, Err: errors.New("compose the request: the endpoint is not usable in a URL")}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("User-Agent", c.userAgent)
	resp, err := c.http.Do(req)
	if err != nil {
		return transportError(a, err, s)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if err != nil {
		return transportError(a, fmt.Errorf("read the answer: %w", err), s)
	}
	if resp.StatusCode/100 != 2 {
		return replyError(a, resp.StatusCode, body, s)
	}
	return decodeReply(a, body, out, s)
}

// The metadata service of an ECS instance, and how long it may take to answer:
// it is on the same machine, or it is not there.
const (
	metadataURL     = "http://100.100.100.200"
	metadataTimeout = 2 * time.Second
	metadataTTL     = "300" // seconds that a token of it holds
)

// fromMetadata takes the session of the role attached to this machine.
func fromMetadata(c *Client, conf Credentials, role string) (*resolver, error) {
	if conf.DisableMetadata {
		return nil, fmt.Errorf("the RAM role %q of this instance is asked for, but ALIBABA_CLOUD_ECS_METADATA_DISABLED forbids asking the metadata service", role)
	}
	if role == "" || strings.ContainsAny(role, "/?#") {
		return nil, fmt.Errorf("%q is not the name of a RAM role", role)
	}
	base := metadataURL
	if conf.MetadataURL != "" {
		e, err := parseEndpoint(conf.MetadataURL, "")
		if err != nil {
			return nil, fmt.Errorf("metadata service: %w", err)
		}
		base = e.scheme + "://" + e.host
	}
	return &resolver{
		source: fmt.Sprintf("RAM role %s of this ECS instance", role),
		fetch:  func(ctx context.Context) (session, error) { return c.metadataSession(ctx, base, role) },
	}, nil
}

// metadataAttempts is how often the service is asked that answers and fails.
const metadataAttempts = 3

// metadataSession asks again where the service is there and fails.
func (c *Client) metadataSession(ctx context.Context, base, role string) (session, error) {
	for attempt := 1; ; attempt++ {
		s, err := c.metadataOnce(ctx, base, role)
		var failing *metadataFailure
		if err == nil || !errors.As(err, &failing) || attempt == metadataAttempts || sleep(ctx, c.backoff.after(attempt)) != nil {
			return s, err
		}
	}
}

// metadataFailure is an answer of the service that may be another one soon.
type metadataFailure struct{ status int }

func (e *metadataFailure) Error() string { return fmt.Sprintf("HTTP %d, again and again", e.status) }

// metadataOnce speaks the token-only form of the service alone: a request
// forged through a careless program on the machine cannot send the PUT.
func (c *Client) metadataOnce(ctx context.Context, base, role string) (session, error) {
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	token, err := c.metadata(ctx, http.MethodPut, base+"/latest/api/token", "X-aliyun-ecs-metadata-token-ttl-seconds", metadataTTL)
	if err != nil {
		return session{}, err
	}
	body, err := c.metadata(ctx, http.MethodGet, base+"/latest/meta-data/ram/security-credentials/"+url.PathEscape(role), "X-aliyun-ecs-metadata-token", string(token))
	if err != nil {
		return session{}, err
	}
	var out struct {
		Code       string
		AccessKey  string `json:"AccessKeyId"`
		Secret     string `json:"AccessKeySecret"`
		Token      string `json:"SecurityToken"`
		Expiration time.Time
	}
	if err := json.Unmarshal(body, &out); err != nil {
		return session{}, errors.New("the metadata service's answer is not JSON")
	}
	if out.Code != "Success" || out.AccessKey == "" || out.Secret == "" || out.Token == "" {
		return session{}, fmt.Errorf("the metadata service has no credentials for the role (code %q)", clip(out.Code, 40))
	}
	return session{accessKey: out.AccessKey, secret: out.Secret, token: out.Token, expires: out.Expiration}, nil
}

func (c *Client) metadata(ctx context.Context, method, target, header, value string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set(header, value)
	resp, err := metadataClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the metadata service: %w. Is this an ECS instance?", transportError(&action{name: "metadata"}, err, &scrubber{}).Err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return nil, fmt.Errorf("ask the metadata service: %w", err)
	}
	if resp.StatusCode >= http.StatusInternalServerError {
		return nil, fmt.Errorf("ask the metadata service: %w", &metadataFailure{resp.StatusCode})
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask the metadata service: HTTP %d; is the role attached to this instance?", resp.StatusCode)
	}
	return body, nil
}

// metadataClient uses no proxy: one would be asked for its own credentials.
var metadataClient = &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
