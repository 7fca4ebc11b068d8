package ecs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Config is what a [Client] is made of.
type Config struct {
	// Region is the id of the region, such as "cn-beijing". Required.
	Region string
	// Credentials say who calls.
	Credentials Credentials
	// Endpoints overrides where the services are. Optional.
	Endpoints Endpoints
	// RootCAs are trusted in place of the system's when not nil.
	RootCAs *x509.CertPool
	// UserAgent names the caller to the service, such as "terraform-provider-cc/1.0".
	UserAgent string
	// Backoff is the pace of retries and polls.
	Backoff Backoff
	// Log is told of every attempt, with no secret in it. Optional.
	Log func(ctx context.Context, message string, fields map[string]any)
}

// Endpoints are the addresses of the services: HOST or HOST:PORT, spoken to
// over TLS. "http://HOST:PORT" does without TLS and is accepted for a loopback
// address only. Empty means the region's own.
type Endpoints struct{ ECS, VPC, STS, KMS string }

// A Client calls the services of one region with one identity.
type Client struct {
	region    string
	creds     *resolver
	endpoints map[string]endpoint // by product name
	http      *http.Client
	userAgent string
	backoff   Backoff
	log       func(ctx context.Context, message string, fields map[string]any)
	gates     gates
	creations string // what the tokens of NewCreationToken start with

	account struct {
		sync.Mutex
		id string
	}
}

// transportConnectTimeout bounds connecting and the TLS handshake, each.
const transportConnectTimeout = 10 * time.Second

var regionPattern = regexp.MustCompile(`^[a-z]{2,}(-[a-z0-9]+)+$`)

// New checks the configuration and returns a client. It makes no call: that the
// identity is accepted shows with the first one.
func New(conf Config) (*Client, error) {
	if conf.Region == "" {
		return nil, errors.New("configure Alibaba Cloud: region is missing")
	}
	if !regionPattern.MatchString(conf.Region) {
		return nil, fmt.Errorf("configure Alibaba Cloud: region %q is not the id of a region, such as cn-beijing", conf.Region)
	}
	c := &Client{
		region:    conf.Region,
		endpoints: map[string]endpoint{},
		userAgent: conf.UserAgent,
		backoff:   conf.Backoff.orDefault(),
		log:       conf.Log,
		creations: NewToken()[:creationTokenHalf],
	}
	if c.log == nil {
		c.log = func(context.Context, string, map[string]any) {}
	}
	for _, p := range []struct {
		product product
		custom  string
	}{{productECS, conf.Endpoints.ECS}, {productVPC, conf.Endpoints.VPC}, {productSTS, conf.Endpoints.STS}, {productKMS, conf.Endpoints.KMS}} {
		e, err := parseEndpoint(p.custom, defaultEndpoint(p.product.name, conf.Region))
		if err != nil {
			return nil, fmt.Errorf("configure Alibaba Cloud: endpoint of %s: %w", p.product.name, err)
		}
		c.endpoints[p.product.name] = e
	}
	c.http = &http.Client{
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: transportConnectTimeout, KeepAlive: 30 * time.Second}).DialContext,
			TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: conf.RootCAs},
			TLSHandshakeTimeout:   transportConnectTimeout,
			MaxIdleConns:          32,
			MaxIdleConnsPerHost:   16,
			IdleConnTimeout:       60 * time.Second,
			ExpectContinueTimeout: time.Second,
			ForceAttemptHTTP2:     true,
		},
		// A redirect would carry the signed request to somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	creds, err := newResolver(c, conf.Credentials)
	if err != nil {
		return nil, err
	}
	c.creds = creds
	return c, nil
}

// Region returns the id of the region the client works in.
func (c *Client) Region() string { return c.region }

// CredentialSource says where the credentials come from, without any of them:
// "access_key and secret_key", "profile \"dev\" of /home/u/.aliyun/config.json".
func (c *Client) CredentialSource() string { return c.creds.source }

// Close gives the idle connections back.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// AccountID returns the id of the account that the credentials belong to. It
// is asked for once.
func (c *Client) AccountID(ctx context.Context) (string, error) {
	c.account.Lock()
	defer c.account.Unlock()
	if c.account.id != "" {
		return c.account.id, nil
	}
	var out struct {
		AccountID text `json:"AccountId"`
	}
	if err := c.call(ctx, getCallerIdentity, nil, &out); err != nil {
		return "", err
	}
	if out.AccountID == "" {
		return "", &Error{Action: getCallerIdentity.name, Err: errors.New("the answer has no AccountId")}
	}
	c.account.id = string(out.AccountID)
	return c.account.id, nil
}

type endpoint struct{ scheme, host string }

// parseEndpoint reads an endpoint setting. Plain HTTP carries signatures and
// tokens in the clear, so only this machine may be spoken to that way.
func parseEndpoint(custom, byDefault string) (endpoint, error) {
	if custom == "" {
		return endpoint{"https", byDefault}, nil
	}
	e := endpoint{scheme: "https", host: custom}
	if scheme, host, ok := strings.Cut(custom, "://"); ok {
		e = endpoint{strings.ToLower(scheme), host}
	}
	e.host = strings.TrimSuffix(e.host, "/")
	if e.host == "" || strings.ContainsAny(e.host, "/?#@ \t\r\n\\") {
		return e, fmt.Errorf("%q is not HOST or HOST:PORT", custom)
	}
	name := e.host
	if h, port, err := net.SplitHostPort(e.host); err == nil {
		if h == "" || port == "" {
			return e, fmt.Errorf("%q is not HOST or HOST:PORT", custom)
		}
		name = h
	}
	switch e.scheme {
	case "https":
		return e, nil
	case "http":
		if !loopback(name) {
			return e, fmt.Errorf("%q would send signatures and tokens in the clear: plain http is for loopback addresses only", custom)
		}
		return e, nil
	default:
		return e, fmt.Errorf("%q has a scheme that is neither https nor http", custom)
	}
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.IsLoopback()
}

// defaultEndpoint names the public endpoint of a product in a region. The
// exceptions are those of services/ecs/endpoint.go and services/vpc/endpoint.go
// of Alibaba's SDK that still matter.
func defaultEndpoint(product, region string) string {
	switch {
	case product == "ecs" && region == "cn-hangzhou":
		return "ecs-cn-hangzhou.aliyuncs.com"
	case product == "vpc" && region == "cn-hangzhou":
		return "vpc.aliyuncs.com"
	default:
		return product + "." + region + ".aliyuncs.com"
	}
}
